package doctor

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// hostTable is one [host."…"] table of a hosts.toml, or its root, as containerd
// decodes it: a value of another type makes it ignore the file.
type hostTable struct {
	Capabilities []string       `toml:"capabilities"`
	CA           any            `toml:"ca"`
	Client       any            `toml:"client"`
	SkipVerify   *bool          `toml:"skip_verify"`
	Header       map[string]any `toml:"header"`
	OverridePath bool           `toml:"override_path"`
	DialTimeout  string         `toml:"dial_timeout"`
}

// hostsFile is a hosts.toml (containerd's docs/hosts.md).
type hostsFile struct {
	hostTable
	Server string               `toml:"server"`
	Hosts  map[string]hostTable `toml:"host"`
}

// hostEntry is a host that is asked, in the order in which it is asked.
type hostEntry struct {
	url  string
	line int
	hostTable
}

// parsedHosts is what a hosts.toml says.
type parsedHosts struct {
	hosts  []hostEntry
	server hostEntry // url "" when there is none: the registry itself
}

// parseHosts reads a hosts.toml as strictly as containerd does. An error means that
// containerd ignores the file.
func parseHosts(b []byte) (parsedHosts, error) {
	var f hostsFile
	if err := toml.Unmarshal(b, &f); err != nil {
		return parsedHosts{}, tomlError(err)
	}
	lines := tomlLines(b)
	out := parsedHosts{server: hostEntry{f.Server, lines[tomlKey("server")], f.hostTable}}
	for name, t := range f.Hosts {
		line := lines[tomlKey("host", name)]
		if line == 0 {
			// Only tables are found by 1.7 and newer, not dotted keys or inline ones.
			return parsedHosts{}, fmt.Errorf(`expected a table [host.%q], found it written another way`, name)
		}
		out.hosts = append(out.hosts, hostEntry{name, line, t})
	}
	slices.SortFunc(out.hosts, func(a, b hostEntry) int { return a.line - b.line })
	for _, e := range append(out.hosts[:len(out.hosts):len(out.hosts)], out.server) {
		if err := e.valid(); err != nil {
			return parsedHosts{}, err
		}
	}
	return out, nil
}

// tomlError says where, without the text of the file.
func tomlError(err error) error {
	var d *toml.DecodeError
	if errors.As(err, &d) {
		line, column := d.Position()
		return fmt.Errorf("line %d, column %d: %s", line, column, d.Error())
	}
	return err
}

// valid holds the rules for which containerd ignores the whole file.
func (e hostEntry) valid() error {
	if _, err := url.Parse(e.address()); err != nil {
		return fmt.Errorf("line %d: expected a URL", e.line)
	}
	for _, c := range e.Capabilities {
		if !slices.Contains([]string{"pull", "resolve", "push"}, strings.ToLower(c)) {
			return fmt.Errorf("line %d: expected the capabilities pull, resolve and push, found %q", e.line, c)
		}
	}
	if !isText(e.CA) && !isTexts(e.CA) {
		return fmt.Errorf("line %d: expected ca to be a file or a list of files", e.line)
	}
	return nil
}

func isText(v any) bool { _, ok := v.(string); return ok || v == nil }

func isTexts(v any) bool {
	l, ok := v.([]any)
	return ok && !slices.ContainsFunc(l, func(e any) bool { return e == nil || !isText(e) })
}

// address is the URL that containerd asks.
func (e hostEntry) address() string {
	if e.url != "" && !strings.HasPrefix(e.url, "http") {
		return "https://" + e.url
	}
	return e.url
}

// can reports whether a host is asked for something; a host without a list is asked
// for everything.
func (e hostEntry) can(what string) bool {
	return len(e.Capabilities) == 0 || slices.ContainsFunc(e.Capabilities, func(c string) bool { return strings.EqualFold(c, what) })
}

// hostDirs are the directories that are tried for a registry below one root, in
// order; the first that exists counts, whatever is in it.
func hostDirs(root, registry string) []string {
	var out []string
	if i := strings.LastIndex(registry, ":"); i > 0 {
		out = append(out, path.Join(root, registry[:i]+"_"+registry[i+1:]+"_"))
	}
	return append(out, path.Join(root, registry), path.Join(root, "_default"))
}

// hostDir is the directory for a registry below the first root that has one.
func (i *inspection) hostDir(roots []string, registry string) (dir, root string) {
	for _, root := range roots {
		for _, d := range hostDirs(root, registry) {
			if i.n.has(d) {
				return d, root
			}
		}
	}
	return "", ""
}

// hostRules are what differs between the readers of hosts.toml.
type hostRules struct {
	// serverAlone: a file with server and no [host] counts. containerd 1.x ignores
	// it.
	serverAlone bool
	p           proxies
	// proxied: the registry itself is asked through the gate's proxy, so only hosts
	// that the proxies leave out are a way around it.
	proxied bool
}

// byHosts judges the hosts.toml that counts for a registry. It reports whether
// there is a directory for it: without one, the registry itself is asked.
func (i *inspection) byHosts(roots []string, registry string, rules hostRules) bool {
	dir, root := i.hostDir(roots, registry)
	if dir == "" {
		return false
	}
	file := path.Join(dir, "hosts.toml")
	b, err := i.n.read(file, maxFile)
	if err != nil && !absent(err) {
		i.unreadable(file, err)
		return true
	}
	if err != nil || len(strings.TrimSpace(string(b))) == 0 {
		if !rules.proxied {
			i.noHosts(dir, root, registry)
		}
		return true
	}
	parsed, err := parseHosts(b)
	if err != nil && rules.proxied {
		return true // it is ignored
	}
	if err != nil {
		i.add(Finding{
			Severity: SeverityOpen, File: file, Line: errorLine(err), registry: registry,
			Problem:     "does not parse, and is ignored: " + err.Error(),
			Consequence: around(registry) + ", and the gate is not asked at all",
			Fix:         "correct it; " + i.howto(),
		})
		return true
	}
	i.judgeHosts(file, parsed, registry, rules)
	return true
}

var linePattern = regexp.MustCompile(`\bline (\d+)`)

// errorLine is the line that an error of a parser names, 0 when it names none.
func errorLine(err error) int {
	m := linePattern.FindStringSubmatch(err.Error())
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

// noHosts is a directory without a hosts.toml: it stands in front of _default, and
// the registry itself is asked.
func (i *inspection) noHosts(dir, root, registry string) {
	problem := "has no hosts.toml, so " + registry + " itself is asked"
	if path.Base(dir) != "_default" && i.n.has(path.Join(root, "_default", "hosts.toml")) {
		problem = "masks " + path.Join(root, "_default") + " for " + registry + ", and has no hosts.toml itself"
	}
	i.add(Finding{
		Severity: SeverityOpen, File: dir, registry: registry,
		Problem: problem, Consequence: around(registry),
		Fix: "put a hosts.toml that names the gate into it, or take the directory away; " + i.howto(),
	})
}

// judgeHosts looks at every host that can be asked for a registry.
func (i *inspection) judgeHosts(file string, p parsedHosts, registry string, rules hostRules) {
	open := func(line int, problem, consequence string, settled bool, advice ...string) {
		i.add(Finding{
			Severity: SeverityOpen, File: file, Line: line, registry: registry, settled: settled,
			Problem: problem, Consequence: consequence, Fix: strings.Join(advice, "") + i.howto(),
		})
	}
	held := func(e hostEntry) bool { return i.held(rules.p, e.address()) }
	for _, e := range p.hosts {
		if !held(e) {
			open(e.line, "asks "+hostOf(e.address())+", which is not the gate", "a refused image is pulled from "+hostOf(e.address()), false, i.stranger(e.address()))
		}
		i.judgeEntry(file, e)
	}
	switch {
	case p.server.url == "":
		if rules.p.route(i.g, apiHost(registry)) != routeGate {
			open(0, "has no `server`: after the gate, "+registry+" itself is asked", around(registry), false)
		}
	case !held(p.server):
		open(p.server.line, "`server` is "+hostOf(p.server.address())+", which is asked after the gate has refused",
			"a refused image is pulled from "+hostOf(p.server.address()), false, i.stranger(p.server.address()))
	case len(p.hosts) == 0 && !rules.serverAlone && !rules.proxied:
		open(p.server.line, "has `server` and no [host] table, and so containerd 1.6 and 1.7 ignore it",
			around(registry)+", and the gate is not asked at all", true)
	}
	if p.server.url != "" {
		i.judgeEntry(file, p.server)
	}
}

// judgeEntry looks at what is set for a host that is asked.
func (i *inspection) judgeEntry(file string, e hostEntry) {
	if !i.g.is(e.address()) {
		return
	}
	warn := func(severity, problem, consequence, fix string) {
		i.add(Finding{Severity: severity, File: file, Line: e.line, Problem: problem, Consequence: consequence, Fix: fix})
	}
	for _, c := range []string{"pull", "resolve"} {
		if !e.can(c) {
			warn(SeverityWarning, "the gate lacks the capability "+c, "the gate is not asked to "+c+", and whoever comes next in the file is",
				`capabilities = ["pull", "resolve"]`)
		}
	}
	if e.SkipVerify != nil && *e.SkipVerify {
		warn(SeverityWarning, "skip_verify: the gate's certificate is not checked", "whoever is on the path answers in the gate's place",
			"take skip_verify away and name the gate's authority with ca")
	}
	if strings.HasPrefix(e.address(), "http://") && !i.g.plain() {
		warn(SeverityWarning, "asks the gate without TLS", "whoever is on the path answers in the gate's place", "write https://")
	}
	if strings.HasPrefix(e.address(), "https://") {
		i.entryTrust(file, e)
	}
}

// entryTrust checks that the gate's authority is trusted for a host entry.
func (i *inspection) entryTrust(file string, e hostEntry) {
	if i.g.ca == nil || i.n.systemTrusts(i.g.ca) {
		return
	}
	var cas []string
	switch v := e.CA.(type) {
	case string:
		cas = []string{v}
	case []any:
		for _, s := range v {
			cas = append(cas, s.(string))
		}
	}
	for _, p := range cas {
		if !path.IsAbs(p) {
			p = path.Join(path.Dir(file), p)
		}
		if b, err := i.n.read(p, maxFile); err == nil && holds(b, i.g.ca) {
			return
		}
	}
	i.untrusted("the gate's authority (--ca)", hostOf(e.address()), "name it with ca = \"…\" below the entry in "+file)
}

// hostOf is what a finding says of a URL: its host.
func hostOf(raw string) string {
	if u, err := url.Parse(raw); err == nil && u.Host != "" {
		return u.Host
	}
	return "an address that is none"
}
