package doctor

import (
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"path"
	"slices"
	"strings"
)

func sortStrings(s []string) { slices.Sort(s) }

// inspection looks at the configuration of one client.
type inspection struct {
	n          node
	g          *gate
	registries []string
	client     string
	homes      []home
	findings   []Finding
	// containerdStore: docker has the containerd image store.
	containerdStore bool
	advice          advice
	// answers reports whether an address refuses the canary as a gate does; nil when
	// nobody is to be asked.
	answers func(*url.URL) bool
}

// home is a user whose own configuration is looked at.
type home struct{ user, dir string }

// add notes a finding, without credentials.
func (i *inspection) add(f Finding) {
	f.Client = i.client
	for _, text := range []*string{&f.File, &f.Problem, &f.Consequence, &f.Fix} {
		*text = oneLine(redact(*text))
	}
	if !slices.Contains(i.findings, f) {
		i.findings = append(i.findings, f)
	}
}

// unreadable notes that something could not be read: what it says is not known, and
// so nothing is closed for certain.
func (i *inspection) unreadable(file string, err error) {
	i.add(Finding{
		Severity: SeverityWarning, File: file, unsure: true,
		Problem:     "cannot be read: " + err.Error(),
		Consequence: "what it lets " + i.client + " do is not known",
		Fix:         "run doctor as root, and make it a regular file of less than 1 MiB",
	})
}

// file reads a configuration file. Nothing and false when there is none or it
// cannot be read, which is a finding.
func (i *inspection) file(p string) ([]byte, bool) {
	b, err := i.n.read(p, maxFile)
	if err == nil {
		return b, true
	}
	if !absent(err) {
		i.unreadable(p, err)
	}
	return nil, false
}

// unit reads a service of systemd; what could not be read of it is a finding.
func (i *inspection) unit(names ...string) unit {
	var u unit
	for _, name := range names {
		u = i.n.unit(name)
		for _, err := range u.trouble {
			i.unreadable("", err)
		}
		if u.found {
			break
		}
	}
	return u
}

// around is the consequence of most that is open.
func around(registry string) string {
	return "a refused image is pulled from " + registry + " itself"
}

// nothing notes that no file leads the client to the gate for a registry. Name
// resolution or the network may: the proof tells.
func (i *inspection) nothing(registry, file string) {
	i.add(Finding{
		Severity: SeverityOpen, File: file, registry: registry, settled: true,
		Problem:     "nothing here points " + i.client + " at the gate for " + registry,
		Consequence: around(registry),
		Fix:         i.howto(),
	})
}

// byProxy judges proxy settings for a registry and reports whether they decide how
// it is reached: through the gate, or not.
func (i *inspection) byProxy(p proxies, registry string) bool {
	host := apiHost(registry)
	switch p.route(i.g, host) {
	case routeGate:
		return true
	case routeExempt:
		at := p.at["none"]
		i.add(Finding{
			Severity: SeverityOpen, File: at.file, Line: at.line, registry: registry,
			Problem:     "NO_PROXY takes " + host + " out of what goes through the gate's proxy",
			Consequence: around(registry),
			Fix:         "take the entry that covers " + host + " out of NO_PROXY; " + i.howto(),
		})
		return true
	case routeForeign:
		at := p.at["https"]
		i.add(Finding{
			Severity: SeverityWarning, File: at.file, Line: at.line, registry: registry,
			Problem:     "requests for " + host + " go through a proxy that is not the gate's: " + p.https,
			Consequence: "they reach " + registry + " by that proxy, unless it asks the gate in turn",
			Fix:         i.howto(),
		})
	}
	return false
}

// held reports whether a request for a URL, of a client with these proxies, is the
// gate's: it is to the gate, or goes through its proxy.
func (i *inspection) held(p proxies, raw string) bool {
	return i.g.is(raw) || i.g.isProxy(p.forURL(raw))
}

// proxied reports whether the proxies lead to the gate for a registry. What else is
// configured may lead to hosts all the same that they leave out.
func (i *inspection) proxied(p proxies, registry string) bool {
	return p.route(i.g, apiHost(registry)) == routeGate
}

// insecure judges a list of registries whose certificate is not checked.
func (i *inspection) insecure(list []string, at place, registry string) {
	host := apiHost(registry)
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	for _, entry := range list {
		_, all, cidrErr := net.ParseCIDR(entry)
		ip := net.ParseIP(name)
		if entry != host && entry != registry && !(cidrErr == nil && (ip != nil && all.Contains(ip) || isAll(all))) {
			continue
		}
		i.add(Finding{
			Severity: SeverityWarning, File: at.file, Line: at.line,
			Problem:     "the certificate of " + host + " is not checked (" + entry + ")",
			Consequence: "whoever is on the path answers in the place of the gate and of the registry",
			Fix:         "take " + entry + " out of the list, and trust the gate's certificate authority instead",
		})
	}
}

func isAll(n *net.IPNet) bool { ones, _ := n.Mask.Size(); return ones == 0 }

// bundles and certDirs are where Go programs on Linux look for the system's
// certificate authorities (crypto/x509, root_linux.go): the first bundle that
// exists, and all files of all directories.
var (
	bundles = []string{
		"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
		"/etc/pki/tls/cacert.pem", "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem",
	}
	certDirs = []string{"/etc/ssl/certs", "/etc/pki/tls/certs"}
)

// systemTrusts reports whether an authority is in the system's store.
func (n node) systemTrusts(ca *x509.Certificate) bool {
	for _, p := range bundles {
		b, err := n.read(p, maxBundle)
		if err != nil {
			continue
		}
		if holds(b, ca) {
			return true
		}
		break
	}
	for _, dir := range certDirs {
		names, err := n.list(dir)
		if err != nil {
			continue
		}
		for _, name := range names {
			if b, err := n.read(path.Join(dir, name), maxFile); err == nil && holds(b, ca) {
				return true
			}
		}
	}
	return false
}

func holds(b []byte, ca *x509.Certificate) bool {
	return slices.ContainsFunc(certificates(b), ca.Equal)
}

// dirTrusts reports whether an authority is among the .crt files of a directory for
// one registry.
func (n node) dirTrusts(ca *x509.Certificate, dir string) bool {
	files, err := n.dropIns(dir, ".crt")
	if err != nil {
		return false
	}
	return slices.ContainsFunc(files, func(p string) bool {
		b, err := n.read(p, maxFile)
		return err == nil && holds(b, ca)
	})
}

// untrusted notes that the client does not trust a certificate that it is shown.
// That fails closed, and tempts to switch checks off.
func (i *inspection) untrusted(what, host, fix string) {
	i.add(Finding{
		Severity:    SeverityWarning,
		Problem:     fmt.Sprintf("%s is in no store that %s reads for %s", what, i.client, host),
		Consequence: "pulls of allowed images fail with an unknown certificate authority",
		Fix:         fix,
	})
}

// systemStore is how an authority gets into the system's store.
const systemStore = "put it into the system's store (/usr/local/share/ca-certificates and update-ca-certificates, " +
	"or /etc/pki/ca-trust/source/anchors and update-ca-trust) and restart the client"

// proxiedTrust checks that the interception authority is trusted for a registry
// that is reached through the gate's proxy.
func (i *inspection) proxiedTrust(registry string, dirs ...string) {
	if i.g.intercepted == nil || i.n.systemTrusts(i.g.intercepted) {
		return
	}
	for _, dir := range dirs {
		if i.n.dirTrusts(i.g.intercepted, path.Join(dir, apiHost(registry))) || i.n.dirTrusts(i.g.intercepted, path.Join(dir, registry)) {
			return
		}
	}
	i.untrusted("the interception authority", apiHost(registry), systemStore)
}

// gateTrust checks that the gate's own authority is trusted where the client asks
// the gate by name.
func (i *inspection) gateTrust(host string, dirs ...string) {
	if i.g.ca == nil || i.n.systemTrusts(i.g.ca) {
		return
	}
	for _, dir := range dirs {
		if i.n.dirTrusts(i.g.ca, path.Join(dir, host)) {
			return
		}
	}
	i.untrusted("the gate's authority (--ca)", host, "put it into "+path.Join(append(dirs[:1:1], host, "ca.crt")...)+", or "+systemStore)
}

// named reports whether the registry is the gate itself, asked by its own name.
func (i *inspection) named(registry string) bool { return i.g.is(registry) }

// homeOf reads the home directories of users from the node's passwd, root's first.
func homesOf(n node, users []string) ([]home, error) {
	b, err := n.read("/etc/passwd", maxFile)
	if err != nil && !absent(err) {
		return nil, err
	}
	known := map[string]string{"root": "/root"}
	for _, l := range strings.Split(string(b), "\n") {
		if f := strings.Split(l, ":"); len(f) >= 7 && strings.HasPrefix(f[5], "/") {
			known[f[0]] = f[5]
		}
	}
	var out []home
	for _, u := range append([]string{"root"}, users...) {
		dir, ok := known[u]
		if !ok {
			return nil, fmt.Errorf("--user: expected a user of the node's /etc/passwd, found %q", u)
		}
		if h := (home{u, dir}); !slices.Contains(out, h) {
			out = append(out, h)
		}
	}
	return out, nil
}
