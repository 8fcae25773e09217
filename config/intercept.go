package config

import (
	"fmt"
	"net/netip"
	"strings"
)

func (v *validator) intercept() {
	v.authority()
	tunnel := v.c.Intercept.Tunnel
	if len(tunnel) > 0 && v.c.Intercept.Listen == "" {
		v.fault("intercept.tunnel", "does nothing without intercept.listen", "write intercept.listen, like 127.0.0.1:3128, or leave tunnel out")
	}
	if !v.few("intercept.tunnel", len(tunnel), maxItems) {
		return
	}
	own := v.c.ownNames()
	seen := map[string]bool{}
	for i, entry := range tunnel {
		at := fmt.Sprintf("intercept.tunnel[%d]", i)
		t, problem, fix := readTunnel(entry)
		if problem != "" {
			v.fault(at, problem, fix)
			continue
		}
		if seen[t.String()] {
			v.fault(at, fmt.Sprintf("%s stands here a second time", quote(entry)), "list each once")
			continue
		}
		seen[t.String()] = true
		for _, o := range own {
			if o.is(t.host, t.port) {
				v.fault(at, fmt.Sprintf("%s is a host of the registry %s of the upstreams, which is never tunnelled", quote(entry), quote(o.registries[0])),
					"leave it out: the gate answers for it")
				break
			}
		}
	}
}

// tunnel is one entry of intercept.tunnel: either a network, or a port of a host
// (name, address or *.domain).
type tunnel struct {
	host, port string
	network    netip.Prefix
}

func (t tunnel) String() string {
	if t.network.IsValid() {
		return t.network.String()
	}
	return t.host + " " + t.port
}

const tunnelFix = "write a host like auth.docker.io (port 443), host:port, *.domain, an address, address:port, or a CIDR like 10.1.0.0/24"

// readTunnel reads one entry. Only the usual form of an address is read, as one
// reader's name could be another reader's address. Problem is empty when it is
// good.
func readTunnel(entry string) (t tunnel, problem, fix string) {
	if strings.Contains(entry, "@") {
		return t, "holds an @", tunnelFix // not repeated: it may be a password
	}
	if strings.Contains(entry, "/") {
		p, problem, fix := tunnelNetwork(entry)
		return tunnel{network: p}, problem, fix
	}
	if domain, wild := strings.CutPrefix(entry, "*"); wild {
		problem, fix = wildcard(domain)
		return tunnel{host: entry, port: "443"}, problem, fix
	}
	if a, err := netip.ParseAddr(entry); err == nil {
		problem, fix = tunnelAddress(a, entry, a.String())
		return tunnel{host: entry, port: "443"}, problem, fix
	}
	if ap, err := netip.ParseAddrPort(entry); err == nil && ap.Port() > 0 {
		problem, fix = tunnelAddress(ap.Addr(), entry, ap.String())
		return tunnel{host: ap.Addr().String(), port: fmt.Sprint(ap.Port())}, problem, fix
	}
	host, port, hasPort := strings.Cut(entry, ":")
	if !dnsName(host) || hasPort && !plainPort(port) {
		return t, fmt.Sprintf("expected a host, an address or a CIDR, found %s", quote(entry)), tunnelFix
	}
	if !hasPort {
		port = "443"
	}
	return tunnel{host: host, port: port}, "", ""
}

// wildcard checks .domain of *.domain: it must be somebody's, not a whole top-level
// domain.
func wildcard(domain string) (problem, fix string) {
	name, dotted := strings.CutPrefix(domain, ".")
	switch {
	case !dotted || !dnsName(name):
		return fmt.Sprintf("expected *.domain, found %s", quote("*"+domain)), "write it like *.cdn.example.com, without a port"
	case !strings.Contains(name, "."):
		return fmt.Sprintf("%s covers a whole top-level domain", quote("*"+domain)), "name a domain with at least two labels, like *.example.com"
	}
	return "", ""
}

func tunnelNetwork(entry string) (p netip.Prefix, problem, fix string) {
	p, err := parsePrefix(entry)
	switch {
	case err != nil:
		return p, err.Error(), tunnelFix
	case p.Bits() == 0:
		return p, fmt.Sprintf("%s covers every address, those of registries too", quote(entry)), "name the networks of the hosts that clients need"
	case neverTunnelled(p):
		return p, neverProblem(entry), neverFix
	}
	return p, "", ""
}

func tunnelAddress(a netip.Addr, entry, usual string) (problem, fix string) {
	switch {
	case a.Zone() != "" || a.Is4In6() || entry != usual:
		return fmt.Sprintf("expected the usual form of an address, found %s", quote(entry)), "write it like 192.0.2.7, 192.0.2.7:8443 or [2001:db8::7]:8443"
	case neverTunnelled(netip.PrefixFrom(a, a.BitLen())):
		return neverProblem(entry), neverFix
	}
	return "", ""
}

func neverProblem(entry string) string {
	return quote(entry) + " is unspecified, link-local, multicast, reserved or a metadata service, which no tunnel leads to"
}

const neverFix = "leave it out"

// neverTunnelled reports whether a network lies in a block that no tunnel leads
// to. Wider networks may hold such a block; the proxy refuses its addresses each
// by each.
func neverTunnelled(p netip.Prefix) bool {
	for _, b := range []string{
		// IANA special-purpose address registries (RFC 6890): "this network",
		// link-local, multicast, reserved, and translations of IPv4.
		"0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4", "::/128", "fe80::/10", "ff00::/8",
		"64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16",
		// Metadata services of clouds outside of link-local space.
		"100.100.100.200/32", "168.63.129.16/32", "fd00:ec2::/64", "fd20:ce::254/128",
	} {
		block := netip.MustParsePrefix(b)
		if block.Contains(p.Addr()) && p.Bits() >= block.Bits() {
			return true
		}
	}
	return false
}
