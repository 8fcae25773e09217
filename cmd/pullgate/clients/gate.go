package clients

import (
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/distribution/reference"
)

// Mode is the way by which a client reaches the gate.
type Mode string

const (
	// ModeAuto is the client's way that has no fallback and leaves image names as
	// they are. The empty Mode means it.
	ModeAuto Mode = "auto"
	// ModeProxy makes the gate the client's HTTPS proxy: it terminates registries'
	// TLS and judges images under their real names.
	ModeProxy Mode = "proxy"
	// ModeEnvironment is ModeProxy by environment variables, for docker before 23.
	ModeEnvironment Mode = "environment"
	// ModeName makes the client ask the gate by the gate's own name.
	ModeName Mode = "name"
)

// Anchors is the family of systems whose trust store is written to.
type Anchors string

const (
	AnchorsDebian Anchors = "debian" // /usr/local/share/ca-certificates; the default
	AnchorsRHEL   Anchors = "rhel"   // /etc/pki/ca-trust/source/anchors
)

// Gate is what a client has to know of the gate. Which fields are needed depends on
// the client and the mode; [For] says which one is missing.
type Gate struct {
	// URL is the registry API: http:// or https://, host and port, nothing else.
	URL string
	// Proxy is the interception listener: http://[user:password@]host:port. The
	// user and password are how proxy clients say who they are (RFC 9110, section
	// 11.7); nothing but a file that is written holds them.
	Proxy string
	// CAFile names where CA was read, for messages. It is never opened.
	CAFile string
	// CA holds the authorities of the gate's certificate, PEM. Empty: the node
	// trusts the certificate already.
	CA []byte
	// InterceptCA holds the authority that the gate issues certificates of
	// registries with, PEM.
	InterceptCA []byte
	// Registries lists the registries that are pulled from, as in image names:
	// docker.io, registry.example.com:5000. For podman and CRI-O *.domain is
	// possible: it is blocked.
	Registries []string
	// Paths holds the first path element by which the gate knows a registry, where
	// that is not the registry's own name: a port cannot stand in a path.
	Paths map[string]string
	// Mirror is a listener of the gate for docker's registry-mirrors. It is
	// mentioned, never written.
	Mirror string

	Mode    Mode    // default ModeAuto
	Runtime string  // of kubernetes nodes: "containerd" (the default) or "cri-o"
	Anchors Anchors // default AnchorsDebian
	// Passwords says that the gate asks clients for user name and password.
	Passwords bool
	// Certificates says that the gate asks clients for certificates. They are not
	// written: each node has its own.
	Certificates bool
}

const (
	hub           = "docker.io"
	maxRegistries = 1000
)

// hubNames are other names of Docker Hub that clients accept.
var hubNames = []string{"index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"}

var (
	hostName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)
	// pathElement is one element of a repository's name, OCI distribution-spec 1.1,
	// "Pulling manifests".
	pathElement = regexp.MustCompile(`^[a-z0-9]+(?:[._-][a-z0-9]+)*$`)
)

// checked is a Gate that was found to be usable.
type checked struct {
	Gate
	scheme string // of URL
	host   string // of URL, with its port if it has one
	client string // whose plan is made
	shown  string // Proxy as it may be printed, without user and password
	secret bool   // Proxy holds a password
}

// check validates everything of a gate that is given. Nothing of it needs quoting
// in TOML, YAML, JSON, a unit file or a shell afterwards.
func (g Gate) check() (checked, error) {
	c := checked{Gate: g}
	var err error
	if g.URL != "" {
		if c.scheme, c.host, err = plainURL("--gate", g.URL, "https", "http"); err != nil {
			return checked{}, err
		}
	}
	if g.Proxy != "" {
		if err := c.checkProxy(); err != nil {
			return checked{}, err
		}
	}
	if g.Mirror != "" {
		if _, _, err := plainURL("mirror", g.Mirror, "https", "http"); err != nil {
			return checked{}, err
		}
	}
	if c.CA, err = certificates("--ca", g.CA, false); err != nil {
		return checked{}, err
	}
	if c.InterceptCA, err = certificates("--intercept-ca", g.InterceptCA, true); err != nil {
		return checked{}, err
	}
	if err := c.checkRegistries(); err != nil {
		return checked{}, err
	}
	return c, c.checkWords()
}

func (c *checked) checkWords() error {
	if c.Mode == "" {
		c.Mode = ModeAuto
	}
	if c.Anchors == "" {
		c.Anchors = AnchorsDebian
	}
	if c.Runtime == "" {
		c.Runtime = Containerd
	}
	switch {
	case !slices.Contains([]Mode{ModeAuto, ModeProxy, ModeEnvironment, ModeName}, c.Mode):
		return fmt.Errorf("--mode: expected auto, proxy, environment or name, found %q", short(string(c.Mode)))
	case c.Anchors != AnchorsDebian && c.Anchors != AnchorsRHEL:
		return fmt.Errorf("--trust-store: expected debian or rhel, found %q", short(string(c.Anchors)))
	case c.Runtime != Containerd && c.Runtime != CRIO:
		return fmt.Errorf("--runtime: expected containerd or cri-o, found %q", short(c.Runtime))
	}
	return nil
}

func (c *checked) checkRegistries() error {
	if len(c.Registries) == 0 {
		return fmt.Errorf("--registry: none is listed; name the registries that images are pulled from, like docker.io")
	}
	if len(c.Registries) > maxRegistries {
		return fmt.Errorf("--registry: expected at most %d, found %d", maxRegistries, len(c.Registries))
	}
	var names []string
	for _, r := range c.Registries {
		if err := checkRegistry(r); err != nil {
			return err
		}
		if !slices.Contains(names, r) {
			names = append(names, r)
		}
	}
	c.Registries = names
	for r, p := range c.Paths {
		if len(p) > 128 || !pathElement.MatchString(p) {
			return fmt.Errorf("--registry %s: expected one path element in lower case after =, found %q; write the prefix of that upstream", r, short(p))
		}
	}
	return nil
}

// checkRegistry accepts a registry's name as references hold it, or *.domain.
func checkRegistry(name string) error {
	const fix = "write it as in image names, in lower case: docker.io, registry.example.com:5000"
	if strings.Contains(name, "@") {
		return fmt.Errorf("--registry: one holds an @, which no registry's name does; %s", fix) // not repeated: it may be a password
	}
	if domain, wild := strings.CutPrefix(name, "*."); wild {
		if !hostName.MatchString(domain) || len(domain) > 253 {
			return fmt.Errorf("--registry: expected *.domain, found %q", short(name))
		}
		return nil
	}
	if slices.Contains(hubNames, strings.TrimSuffix(name, ":443")) || name == hub+":443" {
		return fmt.Errorf("--registry: %s is another name of docker.io; write docker.io", name)
	}
	host, port, ported := cutPort(name)
	named, err := reference.ParseNormalizedNamed(name + "/x")
	if err != nil || reference.Domain(named) != name || !goodHost(host) || ported && !goodPort(port) {
		return fmt.Errorf("--registry: expected the name of a registry, found %q; %s", short(name), fix)
	}
	return nil
}

// plainURL accepts scheme://host[:port] and nothing more, and returns scheme and
// host. Errors do not repeat the value: people write passwords into URLs.
func plainURL(what, s string, schemes ...string) (scheme, host string, err error) {
	want := schemes[0] + "://host:port"
	fault := func(found string) (string, string, error) {
		return "", "", fmt.Errorf("%s: expected %s, found %s", what, want, found)
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return fault("no URL")
	case u.User != nil:
		return fault("a user name or password in it; clients log in themselves, leave it out")
	case !slices.Contains(schemes, u.Scheme):
		return fault("another scheme; write " + strings.Join(schemes, ":// or ") + "://")
	case u.Path != "" || u.Opaque != "":
		return fault("a path; end it after the host and port, without a slash")
	case strings.ContainsAny(s, "?#"):
		return fault("a query or fragment; leave it out")
	}
	name, port, ported := cutPort(u.Host)
	if s != u.Scheme+"://"+u.Host || !goodHost(name) || ported && !goodPort(port) {
		return fault("no host name in lower case or address, or a port that is none")
	}
	return u.Scheme, u.Host, nil
}

// cutPort splits host[:port]; the brackets of an IPv6 address stay.
func cutPort(s string) (host, port string, ported bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 || strings.HasSuffix(s, "]") {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

func hasPort(host string) bool {
	_, _, ported := cutPort(host)
	return ported
}

func goodHost(host string) bool {
	if inner, ok := strings.CutPrefix(host, "["); ok {
		a, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		return err == nil && a.Is6() && a.Zone() == "" && "["+a.String()+"]" == host
	}
	return len(host) <= 253 && hostName.MatchString(host)
}

func goodPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0 && strconv.FormatUint(n, 10) == port
}

// short keeps what an error repeats readable.
func short(s string) string {
	if len(s) > 80 {
		return strings.ToValidUTF8(s[:80], "") + "…"
	}
	return s
}

// wildcards returns the registries that are *.domain.
func (c checked) wildcards() []string {
	var out []string
	for _, r := range c.Registries {
		if strings.HasPrefix(r, "*.") {
			out = append(out, r)
		}
	}
	return out
}

// needURL, needProxy and needNames say what a plan cannot do without.
func (c checked) needURL() error {
	if c.URL == "" {
		return fmt.Errorf("--gate is missing; give the URL of the gate's registry API, like --gate https://gate.example")
	}
	return nil
}

func (c checked) needProxy() error {
	if c.Proxy == "" {
		return fmt.Errorf("--proxy is missing; give the address of the gate's interception listener, like --proxy http://gate.example:3128")
	}
	if len(c.InterceptCA) == 0 {
		return fmt.Errorf("--intercept-ca is missing; the gate shows certificates of its own for registries: give the file of their authority, --intercept-ca FILE (intercept.ca.cert of the gate, by default intercept-ca.crt in its state_dir)")
	}
	return nil
}

func (c checked) needNames(client string) error {
	if w := c.wildcards(); len(w) > 0 {
		return fmt.Errorf("--registry: %s cannot be given for %s, which is told registries one by one; only podman and cri-o without --mode proxy block *.domain", w[0], client)
	}
	return nil
}
