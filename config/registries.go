package config

import (
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/distribution/reference"
)

// pathElement is one element of a repository's name (OCI distribution-spec 1.1,
// "Pulling manifests": the part between slashes of <name>).
var pathElement = regexp.MustCompile(`^[a-z0-9]+(?:[._-][a-z0-9]+)*$`)

const maxPrefix = 128

// hubNames are hosts of Docker Hub beside docker.io. As a registry of their own
// they would lead around the scopes that the policy has for docker.io.
var hubNames = []string{"index.docker.io", "registry-1.docker.io", "registry.hub.docker.com", "registry.docker.io"}

// registries checks the upstreams and which registry is the default.
func (v *validator) registries() {
	if !v.few("upstreams", len(v.c.Upstreams), maxItems) {
		return
	}
	taken := map[string]string{} // registry or prefix → key that has it
	for i, u := range v.c.Upstreams {
		v.upstream(fmt.Sprintf("upstreams[%d]", i), u, taken)
	}
	for i, u := range v.c.Upstreams {
		if u.Prefix != "" {
			v.prefix(fmt.Sprintf("upstreams[%d].prefix", i), u, taken)
		}
	}
	v.defaultRegistry()
}

func (v *validator) upstream(at string, u Upstream, taken map[string]string) {
	if v.registryName(at+".registry", u.Registry) {
		host := bareHost(u.Registry)
		if first, dup := taken[host]; dup {
			v.fault(at+".registry", fmt.Sprintf("%s is the same registry as %s", quote(u.Registry), first), "list each registry once")
		} else {
			taken[host] = at + ".registry"
		}
	}
	// The default endpoint is as good as the name it is made of.
	if u.Endpoint != DefaultEndpoint(u.Registry) && (u.Registry != "" || u.Endpoint != "") {
		v.endpoint(at+".endpoint", u.Endpoint)
	}
	v.word(at+".transport", u.Transport, TransportDocker, TransportAtomic)
	v.word(at+".credentials", u.Credentials, CredentialsGate, CredentialsClient)
	if _, _, local := cutLocal(u.Endpoint); local && u.Credentials == CredentialsClient {
		v.fault(at+".credentials", "client needs a registry that asks for them, and the endpoint is on the local disk", "write gate, or leave it out")
	}
}

// bareHost leaves out the ports that https and http imply: names that differ only
// by them are one registry.
func bareHost(name string) string {
	return strings.TrimSuffix(strings.TrimSuffix(name, ":443"), ":80")
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
	if v.namesAnother(u) {
		v.fault(at, fmt.Sprintf("%s reads as another registry, which clients could mean", quote(u.Prefix)), "use a word without dots, like corp")
		return
	}
	if first, dup := taken[u.Prefix]; dup && u.Prefix != u.Registry {
		v.fault(at, fmt.Sprintf("%s is the same as %s", quote(u.Prefix), first), "give each upstream a prefix of its own")
		return
	}
	taken[u.Prefix] = at
}

// namesAnother reports whether a path that starts with the prefix could mean
// another registry that is served: by its own name, or as Docker Hub.
func (v *validator) namesAnother(u Upstream) bool {
	if slices.Contains(hubNames, u.Prefix) {
		return u.Registry != dockerHub
	}
	own := u.Prefix == u.Registry || strings.HasPrefix(u.Registry, u.Prefix+":")
	host := strings.Contains(u.Prefix, ".") || u.Prefix == "localhost"
	return host && !own && v.c.OtherRegistries == OthersAllow
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
		problem := fmt.Sprintf("%s is not among the upstreams", quote(c.DefaultRegistry))
		if c.DefaultRegistry == dockerHub && !c.origins.has("default_registry") {
			problem = "is not set, and its default, docker.io, is not among the upstreams"
		}
		v.fault("default_registry", problem,
			"list it there, or name one that is: "+strings.Join(upstreamNames(c.Upstreams), ", "))
	}
}

func upstreamNames(us []Upstream) []string {
	var names []string
	for _, u := range us {
		if name := shorten(u.Registry); name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// served checks that a registry is one that the gate forwards to, by the name that
// the policy has for it.
func (v *validator) served(at, name string) bool {
	if !v.registryName(at, name) {
		return false
	}
	listed := slices.Contains(upstreamNames(v.c.Upstreams), name)
	if _, served := v.c.Upstream(name); !served {
		v.fault(at, fmt.Sprintf("%s is not among the upstreams", quote(name)),
			"list it there, or name one that is: "+strings.Join(upstreamNames(v.c.Upstreams), ", "))
		return false
	}
	if bare := bareHost(name); !listed && bare != name {
		v.fault(at, fmt.Sprintf("%s is another name of %s", quote(name), bare), "write "+bare)
		return false
	}
	return true
}

// registryName checks that references can hold the name and that it is in its
// normal form, as the policy is looked up by it.
func (v *validator) registryName(at, name string) bool {
	const fix = "write a host in lower case, with a dot or a port or localhost: docker.io, registry.example.com:5000"
	if name == "" {
		v.fault(at, "is empty", fix)
		return false
	}
	if strings.Contains(name, "@") {
		v.fault(at, "holds an @", fix+"; credentials belong into auth_file") // not repeated: it may be a password
		return false
	}
	if slices.Contains(hubNames, bareHost(name)) {
		v.fault(at, fmt.Sprintf("%s is another name of %s", quote(name), dockerHub), "write "+dockerHub)
		return false
	}
	named, err := reference.ParseNormalizedNamed(name + "/x")
	if err != nil || reference.Domain(named) != name || name != strings.ToLower(name) || !goodPort(name) {
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
	const fix = "write https://host[:port][/path], http://…, oci:/path of an OCI layout or dir:/path of a directory"
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
	case err != nil || endpoint == "":
		v.fault(at, "is not a URL", fix)
	case u.Scheme != "https" && u.Scheme != "http":
		v.fault(at, "expected a URL that starts with https:// or http://", fix)
	case u.User != nil:
		v.fault(at, "holds a user name or password", "leave it out and put the credentials into auth_file")
	case u.Hostname() == "" || u.Opaque != "" || strings.HasSuffix(u.Host, ":") || u.Port() != "" && !goodPort(u.Host):
		v.fault(at, "names no host, or a port that is none", fix)
	case u.RawQuery != "" || strings.ContainsAny(endpoint, "?#"):
		v.fault(at, "holds a query or fragment", "end it after the path")
	case !goodPath(u.EscapedPath()):
		v.fault(at, "holds a path that is not made of path elements of repositories",
			"write a path like /hub-mirror in lower case, or none; the /v2/ of the registry API is added to it")
	}
}

// goodPath reports whether the path of an endpoint can be put before the name of
// a repository.
func goodPath(path string) bool {
	if path == "" || path == "/" {
		return true
	}
	for i, e := range strings.Split(strings.TrimSuffix(path[1:], "/"), "/") {
		if !pathElement.MatchString(e) || i == 0 && e == "v2" {
			return false
		}
	}
	return true
}

// reportOnly checks that each item could be a scope of the policy. It need not be
// one that the policy has: it may be a part of a broader one.
func (v *validator) reportOnly() {
	seen := map[string]bool{}
	for i, scope := range v.c.ReportOnly {
		at := fmt.Sprintf("report_only[%d]", i)
		switch {
		case !validScope(scope):
			v.fault(at, fmt.Sprintf("expected a scope of the policy, found %s", quote(scope)),
				`write it as it stands in policy.json: a registry, a repository with or without tag or digest, *.domain, or "default"`)
		case seen[scope]:
			v.fault(at, fmt.Sprintf("%s stands here a second time", quote(scope)), "list each scope once")
		}
		seen[scope] = true
	}
}

// validScope reports whether a scope could stand under "docker" or "atomic" of a
// policy (containers-policy.json(5), "Supported transports and their scopes"), or
// is how verdicts name what decides in the absence of one.
func validScope(scope string) bool {
	for _, transport := range []string{TransportDocker, TransportAtomic} {
		if scope == transport+" (transport default)" {
			return true
		}
	}
	if domain, wild := strings.CutPrefix(scope, "*."); wild {
		return domain != "" && !strings.ContainsAny(domain, ":/@") && validScope(domain)
	}
	if _, err := reference.Parse(scope); err == nil {
		return true // also a bare registry, which parses as a name, and its port as a tag
	}
	_, err := reference.ParseNamed(scope + "/x") // [::1]:5000
	return err == nil
}
