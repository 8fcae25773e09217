package doctor

import (
	"net/url"
	"path"
	"regexp"
	"strings"

	"golang.org/x/net/http/httpproxy"
)

// place is where something is configured.
type place struct {
	file string
	line int
}

// proxies are the proxy settings of one process, and where they come from.
type proxies struct {
	http, https, none string
	at                map[string]place // by "http", "https", "none"
}

// set takes a variable when it is one of a proxy's, later ones replacing earlier
// ones. Go programs look at the upper case name first: it is not replaced by the
// lower case one.
func (p *proxies) set(name, value string, at place) {
	if p.at == nil {
		p.at = map[string]place{}
	}
	var kind string
	var field *string
	switch strings.ToUpper(name) {
	case "HTTP_PROXY":
		kind, field = "http", &p.http
	case "HTTPS_PROXY":
		kind, field = "https", &p.https
	case "NO_PROXY":
		kind, field = "none", &p.none
	default:
		return
	}
	*field, p.at[kind] = value, at
}

// overlay returns p with the settings of q in front.
func (p proxies) overlay(q proxies) proxies {
	out := proxies{}
	for _, s := range []proxies{p, q} {
		for name, v := range map[string]string{"http": s.http, "https": s.https} {
			if v != "" {
				out.set(name+"_proxy", v, s.at[name])
			}
		}
		if s.none != "" {
			out.set("no_proxy", s.none, s.at["none"])
		}
	}
	return out
}

// forURL is the proxy that a Go program with these settings uses for a URL, nil for
// none. It is the code that the clients themselves use, NO_PROXY included.
func (p proxies) forURL(raw string) *url.URL {
	u, err := url.Parse(raw)
	if err != nil {
		return nil
	}
	proxy, err := (&httpproxy.Config{HTTPProxy: p.http, HTTPSProxy: p.https, NoProxy: p.none}).ProxyFunc()(u)
	if err != nil {
		return nil
	}
	return proxy
}

// route is how a client with these settings gets to a host.
type route int

const (
	routeDirect  route = iota // nothing is between
	routeGate                 // through the gate's proxy
	routeExempt               // the gate's proxy is set, and NO_PROXY takes the host out
	routeForeign              // through another proxy
)

func (p proxies) route(g *gate, host string) route {
	switch proxy := p.forURL("https://" + host); {
	case proxy != nil && g.isProxy(proxy):
		return routeGate
	case proxy != nil:
		return routeForeign
	}
	without := p
	without.none = ""
	if g.isProxy(without.forURL("https://" + host)) {
		return routeExempt
	}
	return routeDirect
}

// unit is what systemd gives a service: its environment and command line.
type unit struct {
	found   bool
	env     map[string]setting
	exec    string
	execAt  place
	reads   map[string]bool // environment files
	trouble []error
}

// setting is a variable's value and where it is set.
type setting struct {
	value string
	at    place
}

// unitDirs are systemd's directories of units, most important first
// (systemd.unit(5)).
var unitDirs = []string{
	"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system",
}

// unit reads a service and its drop-ins: the first file of each name counts,
// drop-ins are read in the order of their names.
func (n node) unit(name string) unit {
	u := unit{env: map[string]setting{}, reads: map[string]bool{}}
	var files []string
	for _, dir := range unitDirs {
		if p := path.Join(dir, name+".service"); n.has(p) {
			files, u.found = append(files, p), true
			break
		}
	}
	seen, order := map[string]string{}, []string{}
	for _, dir := range unitDirs {
		ds, err := n.dropIns(path.Join(dir, name+".service.d"), ".conf")
		if err != nil {
			u.trouble = append(u.trouble, err)
		}
		for _, d := range ds {
			if _, there := seen[path.Base(d)]; !there {
				seen[path.Base(d)] = d
				order = append(order, path.Base(d))
			}
		}
	}
	sortStrings(order)
	for _, base := range order {
		files = append(files, seen[base])
	}
	var envFiles []string
	for _, f := range files {
		b, err := n.read(f, maxFile)
		if err != nil {
			u.trouble = append(u.trouble, err)
			continue
		}
		envFiles = u.parse(f, b, envFiles)
	}
	// Files are read when the service starts: they win over Environment=.
	for _, f := range envFiles {
		u.reads[f] = true
		b, err := n.read(f, maxFile)
		switch {
		case err == nil:
			for name, s := range envFile(f, b) {
				u.env[name] = s
			}
		case !absent(err):
			u.trouble = append(u.trouble, err)
		}
	}
	return u
}

// parse takes the settings of [Service] that matter here.
func (u *unit) parse(file string, b []byte, envFiles []string) []string {
	section := ""
	lines := strings.Split(string(b), "\n")
	for i := 0; i < len(lines); i++ {
		at, l := place{file, i + 1}, strings.TrimSpace(lines[i])
		for strings.HasSuffix(l, "\\") && i+1 < len(lines) {
			i++
			l = strings.TrimSuffix(l, "\\") + " " + strings.TrimSpace(lines[i])
		}
		if strings.HasPrefix(l, "[") {
			section = l
		}
		key, value, ok := strings.Cut(l, "=")
		if !ok || section != "[Service]" || strings.HasPrefix(l, "#") || strings.HasPrefix(l, ";") {
			continue
		}
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(key) {
		case "Environment":
			if value == "" {
				clear(u.env)
			}
			for _, w := range words(value) {
				if name, v, ok := strings.Cut(w, "="); ok {
					u.env[name] = setting{v, at}
				}
			}
		case "UnsetEnvironment":
			for _, w := range words(value) {
				delete(u.env, w)
			}
		case "EnvironmentFile":
			if value == "" {
				envFiles = nil
			} else {
				envFiles = append(envFiles, strings.TrimPrefix(value, "-"))
			}
		case "ExecStart":
			u.exec, u.execAt = value, at
		}
	}
	return envFiles
}

// proxies are those of the unit's environment. prefix is put in front of the
// variables' names by some (CONTAINERD_HTTPS_PROXY for k3s).
func (u unit) proxies(prefix string) proxies {
	var p proxies
	for _, name := range []string{"http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"} {
		if s, ok := u.env[prefix+name]; ok {
			p.set(name, s.value, s.at)
		}
	}
	return p
}

// flags are the values of a command line's flag, written --name=value or --name
// value.
func (u unit) flags(name string) []string {
	var out []string
	ws := u.arguments()
	for i, w := range ws {
		if w == name && i+1 < len(ws) {
			out = append(out, ws[i+1])
		}
		if v, ok := strings.CutPrefix(w, name+"="); ok {
			out = append(out, v)
		}
	}
	return out
}

// arguments are the words of the command line. A variable that is a word of its own
// is the words of its value (systemd.service(5), "Command lines"): Debian's
// docker.service has $DOCKER_OPTS.
func (u unit) arguments() []string {
	var out []string
	for _, w := range words(u.exec) {
		m := variableWord.FindStringSubmatch(w)
		switch {
		case m == nil:
			out = append(out, w)
		case m[1] != "": // in braces it stays one word
			out = append(out, u.env[m[1]].value)
		default:
			out = append(out, words(u.env[m[2]].value)...)
		}
	}
	return out
}

var variableWord = regexp.MustCompile(`^\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))$`)

// envFile reads NAME=value lines, as systemd, /etc/environment and /etc/default
// have them.
func envFile(file string, b []byte) map[string]setting {
	out := map[string]setting{}
	for i, l := range strings.Split(string(b), "\n") {
		l = strings.TrimPrefix(strings.TrimSpace(l), "export ")
		name, value, ok := strings.Cut(l, "=")
		if !ok || strings.HasPrefix(l, "#") {
			continue
		}
		if ws := words(value); len(ws) > 0 {
			value = ws[0]
		}
		out[strings.TrimSpace(name)] = setting{value, place{file, i + 1}}
	}
	return out
}

// envProxies are the proxies of a file of variables.
func envProxies(file string, b []byte) proxies {
	return unit{env: envFile(file, b)}.proxies("")
}

// words splits a line as systemd and shells do: at spaces outside of quotes.
func words(s string) []string {
	var out []string
	var w strings.Builder
	var quote rune
	in := false
	for _, r := range s {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			w.WriteRune(r)
		case r == '"' || r == '\'':
			quote, in = r, true
		case r == ' ' || r == '\t':
			if in {
				out = append(out, w.String())
				w.Reset()
			}
			in = false
		default:
			w.WriteRune(r)
			in = true
		}
	}
	if in {
		out = append(out, w.String())
	}
	return out
}
