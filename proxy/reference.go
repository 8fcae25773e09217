package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// Names says how the name in a request becomes the name of an image upstream:
// rule 1 of admission. Policy sees the upstream's name, never the gate's.
type Names struct {
	Default    string         // registry of names that name none
	Registries []RegistryName // those that are served
	Others     bool           // serve any other registry under its own name as well
	Hosts      []HostName     // Host headers that stand for a registry
}

// RegistryName is one registry that is served.
type RegistryName struct {
	Name   string // as in image names: docker.io, registry.example.com:5000
	Prefix string // path element by which clients may ask for it, besides Name
	Host   string // host[:port] of its endpoint: another name of the same registry
}

// Names of Docker Hub that all lead to the same images. Policy scopes are written
// for the first, so the others must not lead around them.
var hubNames = map[string]bool{
	"docker.io": true, "index.docker.io": true, "registry-1.docker.io": true, "registry.hub.docker.com": true, "registry.docker.io": true,
}

const hub = "docker.io"

func (n Names) validate() error {
	if n.Default == "" {
		return errors.New("names: a default registry is needed")
	}
	return nil
}

// maxName bounds a repository's name, as the OCI distribution specification
// advises for the whole of host and name.
const maxName = 255

// plainPath refuses a path that could be read in two ways: escapes are never
// needed in names, tags or digests, and would hide a separator from one reader
// and show it to another.
func plainPath(r *http.Request) error {
	p := r.URL.EscapedPath()
	if strings.Contains(p, "%") || r.URL.Path != p {
		return errNameInvalid("the path holds escaped or non-ASCII characters; names, tags and digests need none")
	}
	if strings.Contains(p, "//") || strings.Contains(p, "/./") || strings.Contains(p, "/../") {
		return errNameInvalid("the path holds empty or dot elements")
	}
	return nil
}

// repository maps a request's name to the repository it means. The registry is
// the one that ns names, else the one that the place where the request came in
// stands for, else the one that the first path element names, else the default.
func (n Names) repository(name string, query url.Values, place string) (reference.Named, error) {
	if len(name) > maxName || !isRepositoryPath(name) {
		return nil, errNameInvalid("repository name %q: expected lower-case path elements of letters and digits separated by . _ __ or -", shorten(name))
	}
	switch ns := query["ns"]; {
	case len(ns) > 1:
		return nil, errNameInvalid("the query names %d registries (ns); expected one", len(ns))
	case len(ns) == 1:
		return n.inRegistry(ns[0], name)
	case place != "":
		return n.inRegistry(place, name)
	}
	if first, rest, ok := strings.Cut(name, "/"); ok {
		if registry := n.byElement(first); registry != "" {
			return n.inRegistry(registry, rest)
		}
		if strings.Contains(first, ".") || first == "localhost" {
			return n.inRegistry(first, rest)
		}
	}
	return n.inRegistry(n.Default, name)
}

// Repository names the repository that a token's scope means, which holds the name
// as it stands in the paths of requests: in the registry given, or, when it is
// empty, as a request to the same host would mean it.
func (n Names) Repository(r *http.Request, registry, name string) (reference.Named, error) {
	if registry == "" {
		var err error
		if registry, err = n.place(r, entryOf(r.Context())); err != nil {
			return nil, err
		}
	}
	return n.repository(name, nil, registry)
}

// byElement returns the registry that a first path element stands for, if it is
// one of those that are served.
func (n Names) byElement(element string) string {
	for _, r := range n.Registries {
		if element == r.Name || (r.Prefix != "" && element == r.Prefix) {
			return r.Name
		}
	}
	return ""
}

// inRegistry names a repository of a registry, when that registry is served.
func (n Names) inRegistry(registry, path string) (reference.Named, error) {
	registry, err := n.Canonical(registry)
	if err != nil {
		return nil, err
	}
	if registry == canaryRegistry {
		return nil, errNotServed(registry) // it has nothing but the canary
	}
	if !isRegistry(registry) {
		return nil, errNameInvalid("registry %q is not a registry's host name", shorten(registry))
	}
	named, ok := repositoryOf(registry, path)
	if !ok {
		return nil, errNameInvalid("repository %q of registry %q is not a valid name", shorten(path), shorten(registry))
	}
	return named, nil
}

// Canonical returns the one name by which policy knows a registry, and an error
// when it is not served. Registry is a host[:port].
func (n Names) Canonical(registry string) (string, error) {
	if r := n.listed(registry); r != "" {
		return r, nil
	}
	if hubNames[registry] {
		registry = hub
	}
	if bareHost(registry) == canaryRegistry {
		return canaryRegistry, nil
	}
	if !plainHost(registry) {
		return "", errNameInvalid("registry %q: expected a host name or address in its usual form, in lower case, with a port without zeros before it", shorten(registry))
	}
	if bare, ok := strings.CutSuffix(registry, ":443"); ok {
		return n.Canonical(bare)
	}
	if n.Others || registry == n.Default {
		return registry, nil
	}
	return "", errNotServed(shorten(registry))
}

// Listed returns the name of the listed registry that a host[:port] is, and false
// when it is none, though it may be served ([Names.Canonical]).
func (n Names) Listed(host string) (string, bool) {
	r := n.listed(host)
	return r, r != ""
}

func (n Names) isListed(registry string) bool { return n.listed(registry) != "" }

// listed returns the name of the listed registry that a host[:port] is, by its own
// name or that of its endpoint; "" when it is none.
func (n Names) listed(host string) string {
	if hubNames[host] || hubNames[bareHost(host)] {
		host = hub
	}
	bare := strings.TrimSuffix(host, ":443")
	for _, r := range n.Registries {
		if host == r.Name || bare == r.Name {
			return r.Name
		}
	}
	with := host + ":443"
	for _, r := range n.Registries {
		if r.Host != "" && (host == r.Host || with == r.Host || bare == r.Host) {
			return r.Name
		}
	}
	return ""
}

// plainHost refuses spellings of a host[:port] that the network takes for another
// one: policy scopes are matched letter by letter, so a second spelling of a
// registry would lead around its scopes.
func plainHost(registry string) bool {
	host := registry
	if i := strings.LastIndexByte(registry, ':'); i >= 0 && !strings.HasSuffix(registry, "]") {
		port, err := strconv.ParseUint(registry[i+1:], 10, 16)
		if err != nil || port == 0 || strconv.FormatUint(port, 10) != registry[i+1:] {
			return false
		}
		host = registry[:i]
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		a, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		return err == nil && a.Is6() && !a.Is4In6() && "["+a.String()+"]" == host
	}
	return host != "" && strings.ToLower(host) == host
}

// target is how a client named a repository.
type target struct {
	name string // in the path
	ns   string // in ?ns=
}

// withReference adds a request's tag or digest to a repository.
func withReference(repo reference.Named, s string) (reference.Named, error) {
	if strings.Contains(s, ":") {
		return withDigest(repo, s)
	}
	tagged, err := reference.WithTag(repo, s)
	if err != nil {
		return nil, errManifestInvalid("tag %q: expected up to 128 letters, digits, . _ and -, not beginning with . or -", shorten(s))
	}
	return tagged, nil
}

func withDigest(repo reference.Named, s string) (reference.Canonical, error) {
	d, err := digest.Parse(s)
	if err != nil {
		return nil, errDigestInvalid("digest %q: %v", shorten(s), err)
	}
	if !supportedAlgorithm(d) {
		return nil, errDigestInvalid("digest %q: expected sha256 or sha512", shorten(s))
	}
	c, err := reference.WithDigest(repo, d)
	if err != nil {
		return nil, errDigestInvalid("digest %q: %v", shorten(s), err)
	}
	return c, nil
}

func supportedDigest(d digest.Digest) bool {
	return d.Validate() == nil && supportedAlgorithm(d)
}

// supportedAlgorithm is what remains to be asked of a digest that is valid.
func supportedAlgorithm(d digest.Digest) bool {
	return d.Algorithm() == digest.SHA256 || d.Algorithm() == digest.SHA512
}

// rootName writes the tag or digest of ref as the graph does.
func rootName(ref reference.Named) string {
	switch r := ref.(type) {
	case reference.Canonical:
		return "@" + r.Digest().String()
	case reference.Tagged:
		return ":" + r.Tag()
	}
	return ""
}

// fromRootName is the inverse of rootName.
func fromRootName(repo reference.Named, s string) (reference.Named, error) {
	repo = reference.TrimNamed(repo)
	if d, ok := strings.CutPrefix(s, "@"); ok {
		return reference.WithDigest(repo, digest.Digest(d))
	}
	if t, ok := strings.CutPrefix(s, ":"); ok {
		return reference.WithTag(repo, t)
	}
	return nil, fmt.Errorf("root %q is neither a tag nor a digest", s)
}

func shorten(s string) string {
	const most = 160
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
