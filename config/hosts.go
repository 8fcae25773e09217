package config

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// hosts checks which registry each Host stands for.
func (v *validator) hosts() {
	if !v.few("hosts", len(v.c.Hosts), maxItems) {
		return
	}
	seen := map[string]string{}
	for i, h := range v.c.Hosts {
		at := fmt.Sprintf("hosts[%d]", i)
		if !v.hostName(at+".host", h.Host) {
			continue
		}
		if first, dup := seen[h.Host]; dup {
			v.fault(at+".host", fmt.Sprintf("%s stands at %s already", quote(h.Host), first), "list each host once")
			continue
		}
		seen[h.Host] = at + ".host"
		v.hostRegistry(at, h)
	}
}

// hostName checks name, name:port, *.domain or *.domain:port, in the form in which
// a request shows it.
func (v *validator) hostName(at, value string) bool {
	const fix = "write a DNS name in lower case like hub.gate.example, with the port when clients write one, or *.gate.example"
	name, port, hasPort := strings.Cut(strings.TrimPrefix(value, "*."), ":")
	switch {
	case !dnsName(name):
		v.fault(at, fmt.Sprintf("expected a host name, found %s", quote(value)), fix)
	case hasPort && !plainPort(port):
		v.fault(at, fmt.Sprintf("expected a port from 1 to 65535 without zeros before it, found %s", quote(port)), fix)
	case bareHost(value) != value:
		v.fault(at, fmt.Sprintf("requests to port %s do not show it", port), "write "+bareHost(value))
	default:
		return true
	}
	return false
}

// hostRegistry checks the registry of one item whose host is good.
func (v *validator) hostRegistry(at string, h Host) {
	wild := strings.HasPrefix(h.Host, "*.")
	switch {
	case h.Registry == "" && wild:
		v.labels(at + ".host")
	case h.Registry == "":
		v.fault(at+".registry", "is empty", "name the registry that the host stands for; only *.domain can do without, where the label names it")
	case v.served(at+".registry", h.Registry):
		v.sameRegistry(at, h)
	}
}

// labels checks that each label below a *.domain without a registry names one
// registry.
func (v *validator) labels(at string) {
	if len(v.c.Upstreams) == 0 {
		v.fault(at, "has no registry, so labels name upstreams, and there are none", "list the registries under upstreams")
		return
	}
	named := map[string]string{}
	for _, u := range v.c.Upstreams {
		label := registryLabel(u.Registry)
		if first, dup := named[label]; dup && first != u.Registry {
			v.fault(at, fmt.Sprintf("the label %s would name both %s and %s", quote(label), quote(first), quote(u.Registry)),
				"list a host of its own with its registry for each of the two, and give the *.domain a registry or leave it out")
		}
		named[label] = u.Registry
	}
}

// registryLabel is a registry's name as one label of a host name.
func registryLabel(registry string) string {
	return strings.NewReplacer(".", "-", ":", "-").Replace(registry)
}

// sameRegistry checks that a host that is a registry's own name does not stand for
// another one: clients would get images of another registry under its name.
func (v *validator) sameRegistry(at string, h Host) {
	for _, own := range v.c.ownNames() {
		if v.c.standsFor(h.Host, own) && !slices.Contains(own.registries, h.Registry) {
			v.fault(at+".registry", fmt.Sprintf("%s is a host of %s itself, not of %s", quote(own.host), own.registries[0], quote(h.Registry)),
				"write registry: "+own.registries[0]+", or use a host of the gate's own")
			return
		}
	}
}

// standsFor reports whether requests to a registry's own host would meet the item
// of this host.
func (c *Config) standsFor(host string, own ownName) bool {
	domain, wild := strings.CutPrefix(host, "*")
	name, port, hasPort := strings.Cut(domain, ":")
	here := hasPort && slices.Contains(own.ports, port) || !hasPort && own.usual()
	if !wild {
		return here && name == own.host
	}
	label, below := strings.CutSuffix(own.host, name)
	return here && below && label != "" && !strings.Contains(label, ".") && !c.hasHost(own.host)
}

// hasHost reports whether a host has an item of its own.
func (c *Config) hasHost(host string) bool {
	return slices.ContainsFunc(c.Hosts, func(h Host) bool { return h.Host == host })
}

// ownName is a host at which registries themselves are.
type ownName struct {
	host       string
	ports      []string
	registries []string
}

// usual reports whether clients name the host without a port.
func (o ownName) usual() bool {
	return slices.Contains(o.ports, "443") || slices.Contains(o.ports, "80")
}

func (o ownName) is(host, port string) bool { return o.host == host && slices.Contains(o.ports, port) }

// ownNames returns the hosts of all registries that the configuration names: their
// names, their endpoints, and all of Docker Hub's when it is served.
func (c *Config) ownNames() []ownName {
	var all []ownName
	add := func(host string, registry string, ports ...string) {
		i := slices.IndexFunc(all, func(o ownName) bool { return o.host == host && slices.Equal(o.ports, ports) })
		if i < 0 {
			all = append(all, ownName{host, ports, []string{registry}})
			return
		}
		all[i].registries = append(all[i].registries, registry)
	}
	for _, name := range c.Registries() {
		u, served := c.Upstream(name)
		if !served {
			continue
		}
		host, port := splitPort(name)
		if port != "" && bareHost(name) == name {
			add(host, name, port)
		} else {
			add(host, name, "443", "80")
		}
		if e, err := url.Parse(u.Endpoint); err == nil && e.Hostname() != "" {
			add(strings.ToLower(e.Hostname()), name, endpointPort(e))
		}
	}
	if _, served := c.Upstream(dockerHub); served {
		for _, host := range append([]string{dockerHub}, hubNames...) {
			add(host, dockerHub, "443", "80")
		}
	}
	return all
}

func endpointPort(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "http":
		return "80"
	}
	return "443"
}

// splitPort splits host[:port], with [ ] around IPv6 left out.
func splitPort(name string) (host, port string) {
	if i := strings.LastIndexByte(name, ':'); i >= 0 && !strings.HasSuffix(name, "]") {
		name, port = name[:i], name[i+1:]
	}
	return strings.Trim(name, "[]"), port
}

var dnsLabel = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$`)

const maxDNSName = 253

// dnsName reports whether a name is a host name (RFC 1123, section 2.1) in lower
// case that no reader takes for an address: those take a last label that is a
// number for one (WHATWG URL, "ends in a number").
func dnsName(name string) bool {
	if len(name) > maxDNSName {
		return false
	}
	labels := strings.Split(name, ".")
	for _, l := range labels {
		if !dnsLabel.MatchString(l) {
			return false
		}
	}
	last := labels[len(labels)-1]
	hex, isHex := strings.CutPrefix(last, "0x")
	number := strings.Trim(last, "0123456789") == ""
	return !number && !(isHex && strings.Trim(hex, "0123456789abcdef") == "")
}

// plainPort reports whether a port is one, in its usual form.
func plainPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0 && strconv.FormatUint(n, 10) == port
}
