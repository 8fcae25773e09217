package config

import (
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/distribution/reference"
)

// pathElement is one element of a repository's name (OCI distribution-spec 1.1,
// "Pulling manifests": the part between slashes of <name>).
var pathElement = regexp.MustCompile(`^[a-z0-9]+(?:[._-][a-z0-9]+)*$`)

const maxPrefix = 128

// registries checks the upstreams and which registry is the default.
func (v *validator) registries() {
	taken := map[string]string{} // registry or prefix → key that has it
	for i, u := range v.c.Upstreams {
		at := fmt.Sprintf("upstreams[%d]", i)
		v.registryName(at+".registry", u.Registry)
		if first, dup := taken[u.Registry]; dup {
			v.fault(at+".registry", fmt.Sprintf("%s is the same as %s", quote(u.Registry), first), "list each registry once")
		} else if u.Registry != "" {
			taken[u.Registry] = at + ".registry"
		}
		v.endpoint(at+".endpoint", u.Endpoint)
		v.word(at+".transport", u.Transport, TransportDocker, TransportAtomic)
	}
	for i, u := range v.c.Upstreams {
		if u.Prefix != "" {
			v.prefix(fmt.Sprintf("upstreams[%d].prefix", i), u, taken)
		}
	}
	v.defaultRegistry()
}

// prefix checks one prefix against the shape of a path element and against every
// registry and prefix before it: two registries behind one path would make the
// reference, and with it the scope of the policy, ambiguous.
func (v *validator) prefix(at string, u Upstream, taken map[string]string) {
	if len(u.Prefix) > maxPrefix || !pathElement.MatchString(u.Prefix) {
		v.fault(at, fmt.Sprintf("expected one path element in lower case, found %s", quote(u.Prefix)),
			"write a word like corp, of a-z, 0-9 and single . _ - in between")
		return
	}
	if first, dup := taken[u.Prefix]; dup && u.Prefix != u.Registry {
		v.fault(at, fmt.Sprintf("%s is the same as %s", quote(u.Prefix), first), "give each upstream a prefix of its own")
		return
	}
	taken[u.Prefix] = at
}

func (v *validator) defaultRegistry() {
	c := v.c
	if len(c.Upstreams) == 0 && c.OtherRegistries != OthersAllow {
		v.fault("upstreams", "is empty and other_registries does not allow others, so nothing can be pulled",
			"list an upstream, like {registry: docker.io}, or write other_registries: allow")
		return
	}
	if !v.registryName("default_registry", c.DefaultRegistry) {
		return
	}
	if _, served := c.Upstream(c.DefaultRegistry); !served {
		v.fault("default_registry", fmt.Sprintf("%s is not among the upstreams", quote(c.DefaultRegistry)),
			"list it there, or name one that is: "+strings.Join(upstreamNames(c.Upstreams), ", "))
	}
}

func upstreamNames(us []Upstream) []string {
	var names []string
	for _, u := range us {
		names = append(names, shorten(u.Registry))
	}
	return names
}

// registryName checks that references can hold the name and that it is in its
// normal form, as the policy is looked up by it.
func (v *validator) registryName(at, name string) bool {
	const fix = "write a host in lower case, with a dot or a port or localhost: docker.io, registry.example.com:5000"
	if name == "" {
		v.fault(at, "is empty", fix)
		return false
	}
	named, err := reference.ParseNormalizedNamed(name + "/x")
	domain := ""
	if err == nil {
		domain = reference.Domain(named)
	}
	if domain != name && strings.HasPrefix(name, "index."+domain) && domain != "" {
		v.fault(at, fmt.Sprintf("%s is another name of %s", quote(name), domain), "write "+domain)
		return false
	}
	if domain != name || name != strings.ToLower(name) || !goodPort(name) {
		v.fault(at, fmt.Sprintf("expected the name of a registry, found %s", quote(name)), fix)
		return false
	}
	return true
}

// goodPort reports whether the port of a registry's name, if it has one, is one.
func goodPort(name string) bool {
	i := strings.LastIndexByte(name, ':')
	if i < 0 || strings.HasSuffix(name, "]") {
		return true
	}
	n, err := strconv.ParseUint(name[i+1:], 10, 16)
	return err == nil && n > 0
}

// endpoint checks where an upstream is. Faults never repeat the value, as people
// write passwords into URLs.
func (v *validator) endpoint(at, endpoint string) {
	const fix = "write https://host[:port], http://host[:port], oci:/path of an OCI layout or dir:/path of a directory"
	if _, path, local := cutLocal(endpoint); local {
		if !filepath.IsAbs(path) {
			v.fault(at, fmt.Sprintf("expected an absolute path, found %s", quote(path)), fix)
			return
		}
		v.dir(at, path, fix)
		return
	}
	u, err := url.Parse(endpoint)
	switch {
	case endpoint == "":
		v.fault(at, "is empty", fix)
	case err != nil:
		v.fault(at, "is not a URL", fix)
	case u.Scheme != "https" && u.Scheme != "http":
		v.fault(at, "expected a URL that starts with https:// or http://", fix)
	case u.User != nil:
		v.fault(at, "holds a user name or password", "leave it out and put the credentials into auth_file")
	case u.Hostname() == "" || u.Opaque != "" || u.Port() != "" && !goodPort(u.Host) || strings.HasSuffix(u.Host, ":"):
		v.fault(at, "names no host, or a port that is none", fix)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Contains(endpoint, "#"):
		v.fault(at, "holds a query or fragment", "end it after the port")
	case u.Path != "" && u.Path != "/":
		v.fault(at, fmt.Sprintf("holds a path (%s), but the API of a registry is at /v2/ of its host", quote(u.Path)), "end it after the port")
	}
}

// reportOnly checks that each item could be a scope of the policy. Whether the
// policy has it is checked where the policy is loaded.
func (v *validator) reportOnly() {
	seen := map[string]bool{}
	for i, scope := range v.c.ReportOnly {
		at := fmt.Sprintf("report_only[%d]", i)
		switch {
		case !validScope(scope):
			v.fault(at, fmt.Sprintf("expected a scope of the policy, found %s", quote(scope)),
				`write "default", a registry, a repository with or without tag or digest, or *.domain, as it stands in policy.json`)
		case seen[scope]:
			v.fault(at, fmt.Sprintf("%s stands here a second time", quote(scope)), "list each scope once")
		}
		seen[scope] = true
	}
}

// validScope reports whether a scope could stand under "docker" or "atomic" of a
// policy (containers-policy.json(5), "Supported transports and their scopes").
func validScope(scope string) bool {
	if domain, wild := strings.CutPrefix(scope, "*."); wild {
		return domain != "" && !strings.ContainsAny(domain, ":/@") && validScope(domain)
	}
	if _, err := reference.Parse(scope); err == nil {
		return true // as a bare registry parses as a name, with its port as a tag
	}
	_, err := reference.ParseNamed(scope + "/x") // [::1]:5000
	return err == nil
}
