package doctor

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/pullgate/pullgate/verify/registriesconf"
)

// Where podman, buildah, skopeo and CRI-O read registries.conf
// (containers-registries.conf(5), containers-registries.conf.d(5)).
var (
	registriesConf = []string{"/etc/containers/registries.conf", "/usr/share/containers/registries.conf"}
	registriesDirs = []string{"/usr/share/containers/registries.conf.d", "/etc/containers/registries.conf.d"}
)

const (
	userRegistriesConf = ".config/containers/registries.conf"
	userRegistriesDir  = ".config/containers/registries.conf.d"
)

// containers looks at the configuration that podman, buildah, skopeo and CRI-O
// share.
type containers struct {
	inspection
	proxies proxies
}

// registriesFile is what attributes a rule to the line it is on; what the files say
// together is for the clients' own library to tell.
type registriesFile struct {
	Search     []string `toml:"unqualified-search-registries"`
	Registries []struct {
		Prefix   string `toml:"prefix"`
		Location string `toml:"location"`
	} `toml:"registry"`
}

// merged are registry rules as the library merges them, and where each is.
type merged struct {
	conf   *registriesconf.Conf
	at     map[string]place // by prefix; the last one counts
	search place
	prior  map[string][]place
}

func (c *containers) inspect() {
	const env = "/etc/environment"
	shell := map[string]setting{}
	if b, ok := c.file(env); ok {
		shell = envFile(env, b)
	}
	c.proxies = withShell(c.engineEnvironment(""), shell)
	if c.client == "cri-o" {
		c.proxies = c.unit("crio", "cri-o").proxies("")
	}
	main := ""
	for _, p := range registriesConf {
		if c.n.has(p) {
			main = p
			break
		}
	}
	c.effective(main, registriesDirs)
	if c.client == "cri-o" {
		return // it has no home
	}
	everyone := c.proxies
	defer func() { c.proxies = everyone }()
	for _, h := range c.homes {
		own, dir := path.Join(h.dir, userRegistriesConf), path.Join(h.dir, userRegistriesDir)
		engine := c.engineEnvironment(h.dir)
		if !c.n.has(own, dir) && engine == nil {
			continue
		}
		if c.proxies = everyone; engine != nil {
			c.proxies = withShell(engine, shell)
		}
		theirs := main
		if c.n.has(own) {
			theirs = own
		}
		c.effective(theirs, append(registriesDirs[:len(registriesDirs):len(registriesDirs)], dir))
	}
}

// effective judges one main file with the drop-ins of directories.
func (c *containers) effective(main string, dirs []string) {
	m, ok := c.merge(main, dirs)
	if !ok {
		return
	}
	for _, r := range c.registries {
		c.registry(m, r)
	}
	c.search(m)
}

// merge reads the files, in the order in which the clients do. The library reads
// copies: reading them from the node would be without bounds, and follow links out
// of the root.
func (c *containers) merge(main string, dirs []string) (merged, bool) {
	m := merged{at: map[string]place{}, prior: map[string][]place{}}
	tmp, err := os.MkdirTemp("", "pullgate-doctor-")
	if err != nil {
		c.unreadable("", err)
		return m, false
	}
	defer os.RemoveAll(tmp)
	dropIns := filepath.Join(tmp, "drop-ins")
	copies := registriesconf.Files{Main: filepath.Join(tmp, "main.conf"), DropIns: dropIns}
	files := map[string]string{copies.Main: main} // on the node, by copy
	for _, dir := range dirs {
		more, err := c.n.dropIns(dir, ".conf")
		if err != nil {
			c.unreadable(dir, err)
		}
		for _, f := range more {
			files[filepath.Join(dropIns, fmt.Sprintf("%06d.conf", len(files)))] = f
		}
	}
	if err := os.Mkdir(dropIns, 0o700); err != nil {
		c.unreadable("", err)
		return m, false
	}
	order := slices.Sorted(maps.Keys(files))
	slices.SortStableFunc(order, func(a, b string) int { return cmp.Compare(len(a), len(b)) }) // the main file first
	for _, to := range order {
		var b []byte
		if files[to] != "" {
			b, _ = c.file(files[to])
		}
		if err := os.WriteFile(to, b, 0o600); err != nil {
			c.unreadable(files[to], err)
			return m, false
		}
		m.attribute(files[to], b)
	}
	m.conf, err = registriesconf.Load(copies)
	if err != nil {
		c.broken(files, err)
		return m, false
	}
	return m, true
}

// attribute notes the lines of a file's rules.
func (m *merged) attribute(file string, b []byte) {
	var f registriesFile
	if toml.Unmarshal(b, &f) != nil {
		return
	}
	lines := tomlLines(b)
	here := map[string]bool{}
	for k, r := range f.Registries {
		prefix := r.Prefix
		if prefix == "" {
			prefix = r.Location
		}
		prefix = strings.TrimRight(prefix, "/")
		if here[prefix] {
			continue // the first in a file counts
		}
		here[prefix] = true
		if old, there := m.at[prefix]; there {
			m.prior[prefix] = append(m.prior[prefix], old)
		}
		m.at[prefix] = place{file, lines[fmt.Sprintf("registry#%d", k)]}
	}
	if f.Search != nil {
		m.search = place{file, lines[tomlKey("unqualified-search-registries")]}
	}
}

// broken notes that the clients cannot read their configuration. They stop with an
// error then; which of the copies it was is told by its name on the node.
func (c *containers) broken(files map[string]string, err error) {
	text, file := err.Error(), ""
	for copied, f := range files {
		if strings.Contains(text, copied) {
			text, file = strings.ReplaceAll(text, copied, f), f
		}
	}
	c.add(Finding{
		Severity: SeverityWarning, File: file, Line: errorLine(err), unsure: true,
		Problem:     "the clients refuse this configuration: " + text,
		Consequence: "they pull nothing with it, from nowhere; older versions may read it otherwise",
		Fix:         "correct it; " + c.howto(),
	})
}

// covers reports whether a prefix of registries.conf is for every image of a
// registry, and touches whether it is for some of them.
func covers(prefix, registry string) bool {
	if domain, ok := strings.CutPrefix(prefix, "*"); ok {
		return strings.HasSuffix(registry, domain)
	}
	return prefix == registry
}

func touches(prefix, registry string) bool {
	return covers(prefix, registry) || strings.HasPrefix(prefix, registry+"/") || strings.HasPrefix(prefix, registry+":")
}

// registry judges every rule for images of a registry: the longest prefix decides
// for each, so each has to lead to the gate.
func (c *containers) registry(m merged, registry string) {
	if c.named(registry) {
		return
	}
	if c.byProxy(c.proxies, registry) {
		c.proxiedTrust(registry, "/etc/containers/certs.d", "/etc/docker/certs.d")
		if !c.proxied(c.proxies, registry) {
			return
		}
	}
	covered := c.proxied(c.proxies, registry)
	longest := ""
	for _, r := range m.conf.Registries {
		if covers(r.Prefix, registry) && len(r.Prefix) > len(longest) {
			longest = r.Prefix
		}
	}
	for _, r := range m.conf.Registries {
		switch {
		case !touches(r.Prefix, registry):
		case covers(r.Prefix, registry) && r.Prefix != longest: // a longer one decides
		default:
			covered = covered || r.Prefix == longest
			c.rule(m, r, registry)
		}
	}
	if !covered {
		c.nothing(registry, "")
	}
}

// rule judges one [[registry]].
func (c *containers) rule(m merged, r registriesconf.Registry, registry string) {
	at := m.at[r.Prefix]
	location := r.Location
	if location == "" {
		location = registry // *.example.com without a location
	}
	open := func(problem, from string) {
		c.add(Finding{
			Severity: SeverityOpen, File: at.file, Line: at.line, registry: registry,
			Problem: problem + overrides(m, r.Prefix), Consequence: "a refused image is pulled from " + from, Fix: c.howto(),
		})
	}
	gates := 0
	for _, e := range r.Mirrors {
		if c.byOwnProxy(e) {
			continue
		}
		if !c.g.is(e.Location) {
			open("the mirror "+e.Location+" of "+r.Prefix+" is not the gate", e.Location)
			continue
		}
		gates++
		c.endpoint(at, e)
	}
	switch {
	case r.Blocked:
	case c.g.is(location):
		c.endpoint(at, r.Endpoint)
	case c.byOwnProxy(registriesconf.Endpoint{Location: location, Insecure: r.Insecure}):
	case gates > 0:
		open("the gate is a mirror of "+r.Prefix+", and "+r.Prefix+" is not blocked: it is asked after a refusal", location)
	default:
		open("the location of "+r.Prefix+" is "+location+", which is not the gate", location)
	}
}

// byOwnProxy reports whether a place is asked through the gate's proxy, which judges
// it under its own name. An insecure one is asked without TLS, too, when TLS fails.
func (c *containers) byOwnProxy(e registriesconf.Endpoint) bool {
	host, _, _ := strings.Cut(e.Location, "/")
	host = apiHost(host)
	return c.g.isProxy(c.proxies.forURL("https://"+host)) && (!e.Insecure || c.g.isProxy(c.proxies.forURL("http://"+host)))
}

// overrides says that a rule takes the place of one that was read before it.
func overrides(m merged, prefix string) string {
	var files []string
	for _, p := range m.prior[prefix] {
		if p.file != m.at[prefix].file && !slices.Contains(files, p.file) {
			files = append(files, p.file)
		}
	}
	if len(files) == 0 {
		return ""
	}
	return " (this file replaces the rule in " + strings.Join(files, ", ") + ")"
}

// endpoint looks at how the gate is asked.
func (c *containers) endpoint(at place, e registriesconf.Endpoint) {
	host, _, _ := strings.Cut(e.Location, "/")
	secure := !c.g.plain()
	if e.Insecure && secure {
		c.add(Finding{
			Severity: SeverityWarning, File: at.file, Line: at.line,
			Problem: "insecure = true for the gate: its certificate is not checked", Consequence: "whoever is on the path answers in the gate's place",
			Fix: "take insecure away and trust the gate's authority: /etc/containers/certs.d/" + host + "/ca.crt",
		})
	}
	if secure && !e.Insecure {
		c.gateTrust(host, "/etc/containers/certs.d", "/etc/docker/certs.d")
	}
}

// search judges where names without a registry are looked for.
func (c *containers) search(m merged) {
	for _, r := range m.conf.UnqualifiedSearchRegistries {
		if slices.Contains(c.registries, r) || c.named(r) {
			continue // judged itself
		}
		probe := containers{inspection: inspection{n: c.n, g: c.g, registries: c.registries, client: c.client}, proxies: c.proxies}
		probe.registry(m, r)
		if !slices.ContainsFunc(probe.findings, func(f Finding) bool { return f.Severity == SeverityOpen }) {
			continue
		}
		c.add(Finding{
			Severity: SeverityOpen, File: m.search.file, Line: m.search.line,
			Problem:     "unqualified-search-registries has " + r + ", which no rule leads to the gate",
			Consequence: "an image without a registry in its name is pulled from " + r,
			Fix:         "take " + r + " out of the list, or point it at the gate too; " + c.howto(),
		})
	}
}

// shell notes what in this process's environment makes the proof one of this shell,
// and not of the node.
func (c *containers) shell() {
	for _, name := range []string{"CONTAINERS_REGISTRIES_CONF", "REGISTRIES_CONFIG_PATH", "CONTAINERS_REGISTRIES_CONF_OVERRIDE", "CONTAINERS_CONF", "CONTAINERS_CONF_OVERRIDE"} {
		if os.Getenv(name) != "" {
			c.add(Finding{
				Severity: SeverityWarning, unsure: true,
				Problem:     name + " is set in this shell, and " + c.client + " was run with it",
				Consequence: "what was shown is not so for others",
				Fix:         "unset " + name + " and run doctor again",
			})
		}
	}
	for _, name := range []string{"HTTPS_PROXY", "https_proxy"} {
		v := os.Getenv(name)
		if v == "" || v == c.proxies.https {
			continue
		}
		c.add(Finding{
			Severity:    SeverityWarning,
			Problem:     name + " is set in this shell, and not in /etc/environment",
			Consequence: "what was shown of registries that only the proxy leads to the gate is not so for others",
			Fix:         "unset " + name + " and run doctor again, or write it into /etc/environment",
		})
		for i := range c.findings {
			c.findings[i].settled = false
		}
	}
}
