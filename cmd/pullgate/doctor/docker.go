package doctor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Image stores of docker.
const (
	storeGraph      = "graph"
	storeContainerd = "containerd"
	storeUnknown    = "unknown"
)

const daemonJSON = "/etc/docker/daemon.json"

// daemonFile is what matters here of a daemon.json.
type daemonFile struct {
	Mirrors  []string `json:"registry-mirrors"`
	Insecure []string `json:"insecure-registries"`
	Proxies  struct {
		HTTP  string `json:"http-proxy"`
		HTTPS string `json:"https-proxy"`
		None  string `json:"no-proxy"`
	} `json:"proxies"`
	Features      map[string]any `json:"features"`
	StorageDriver string         `json:"storage-driver"`
}

// parseDaemon reads a daemon.json, which is one JSON object and nothing else.
func parseDaemon(b []byte) (daemonFile, error) {
	var d daemonFile
	if len(bytes.TrimSpace(b)) == 0 {
		return d, nil
	}
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	dec := json.NewDecoder(bytes.NewReader(b))
	if err := dec.Decode(&d); err != nil {
		return daemonFile{}, fmt.Errorf("%s: expected the JSON object that dockerd reads: %w", jsonErrorPosition(b, err), err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return daemonFile{}, fmt.Errorf("expected one JSON object, found more behind it")
	}
	return d, nil
}

// jsonErrorPosition is where JSON is not as expected: at its end, when the error does
// not say.
func jsonErrorPosition(b []byte, err error) string {
	offset := int64(len(b))
	var syntax *json.SyntaxError
	var typed *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		offset = syntax.Offset
	case errors.As(err, &typed):
		offset = typed.Offset
	}
	at := min(max(int(offset)-1, 0), len(b))
	return fmt.Sprintf("line %d, column %d", bytes.Count(b[:at], []byte("\n"))+1, at-bytes.LastIndexByte(b[:at], '\n'))
}

// dockerFacts are what a running daemon says of itself; empty when none answers.
type dockerFacts struct {
	version string
	store   string
	mirrors []string // registry-mirrors that it has, each with a slash at its end
}

// docker looks at dockerd's configuration.
type docker struct {
	inspection
	facts   dockerFacts
	source  string
	raw     []byte
	conf    daemonFile
	proxies proxies
	store   string
}

func (d *docker) inspect() {
	major, known := majorOf(d.facts.version)
	d.advice.oldDocker = known && major < 23
	u := d.unit("docker")
	d.source = daemonJSON
	if fs := u.flags("--config-file"); len(fs) > 0 {
		d.source = fs[len(fs)-1]
	}
	if raw, ok := d.file(d.source); ok {
		d.raw = raw
		conf, err := parseDaemon(raw)
		if err != nil {
			d.add(Finding{
				Severity: SeverityWarning, File: d.source, Line: errorLine(err), unsure: true,
				Problem:     "is not valid: " + err.Error(),
				Consequence: "dockerd does not start with it; one that runs has another configuration than this",
				Fix:         "correct it" + d.validate() + "; " + d.howto(),
			})
		}
		d.conf = conf
	}
	d.conf.Mirrors = append(d.conf.Mirrors, u.flags("--registry-mirror")...)
	d.conf.Insecure = append(d.conf.Insecure, u.flags("--insecure-registry")...)
	d.environment(u)
	d.running()
	d.decideStore()
	d.containerdStore = d.store == storeContainerd
	for _, r := range d.registries {
		d.registry(r)
	}
	d.users()
}

// validate is how dockerd checks its configuration, which it does since 23.
func (d *docker) validate() string {
	if major, known := majorOf(d.facts.version); known && major >= 23 {
		return " (dockerd --validate --config-file " + d.source + ")"
	}
	return ""
}

// environment puts dockerd's proxies together: those of its environment, and in
// front of them those of daemon.json (docker ≥ 23).
func (d *docker) environment(u unit) {
	const defaults = "/etc/default/docker"
	d.proxies = u.proxies("")
	if b, ok := d.file(defaults); ok && !u.reads[defaults] {
		p := envProxies(defaults, b)
		switch {
		case !u.found:
			d.proxies = p
		case p.https != "" || p.http != "":
			d.add(Finding{
				Severity: SeverityWarning, File: defaults, Line: max(p.at["https"].line, p.at["http"].line),
				Problem:     "sets a proxy, and docker.service does not read this file",
				Consequence: "dockerd does not use that proxy",
				Fix:         "set the proxy where dockerd reads it; " + d.howto(),
			})
		}
	}
	var own proxies
	for name, v := range map[string]string{
		"http-proxy": d.conf.Proxies.HTTP, "https-proxy": d.conf.Proxies.HTTPS, "no-proxy": d.conf.Proxies.None,
	} {
		if v != "" {
			own.set(strings.ReplaceAll(name, "-", "_"), v, d.at(name))
		}
		for _, v := range u.flags("--" + name) {
			own.set(strings.ReplaceAll(name, "-", "_"), v, u.execAt)
		}
	}
	d.proxies = d.proxies.overlay(own)
}

// running notes mirrors that the running daemon has and its files have not: it was
// started with other ones, and may have other proxies too.
func (d *docker) running() {
	for _, m := range d.facts.mirrors {
		same := func(s string) bool { return strings.TrimRight(s, "/") == strings.TrimRight(m, "/") }
		if slices.ContainsFunc(d.conf.Mirrors, same) {
			continue
		}
		d.add(Finding{
			Severity: SeverityWarning, File: d.source, unsure: true,
			Problem:     "the running dockerd has registry-mirrors with " + hostOf(m) + ", and what it is configured with has not",
			Consequence: "it was started with another configuration than this, by which it may fall back to docker.io",
			Fix:         "systemctl restart docker, and run doctor again",
		})
	}
}

// at is where a key of daemon.json is.
func (d *docker) at(key string) place { return place{d.source, lineOf(d.raw, `"`+key+`"`)} }

// graphDrivers are storage drivers of the graph-driver image store alone.
var graphDrivers = []string{"overlay2", "vfs", "btrfs", "zfs", "fuse-overlayfs", "devicemapper", "aufs"}

// decideStore tells which image store dockerd has: a running one knows.
func (d *docker) decideStore() {
	enabled, set := d.conf.Features["containerd-snapshotter"].(bool)
	major, known := majorOf(d.facts.version)
	switch {
	case d.facts.store != "":
		d.store = d.facts.store
	case set && enabled:
		d.store = storeContainerd
	case set, slices.Contains(graphDrivers, d.conf.StorageDriver), known && major < 29:
		d.store = storeGraph
	default:
		d.store = storeUnknown
	}
}

// majorOf is the first number of a version.
func majorOf(version string) (int, bool) {
	head, _, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	n, err := strconv.Atoi(head)
	return n, err == nil
}

const dockerCerts = "/etc/docker/certs.d"

func (d *docker) registry(registry string) {
	d.insecure(d.conf.Insecure, d.at("insecure-registries"), registry)
	if d.named(registry) {
		d.gateTrust(registry, dockerCerts)
		return
	}
	decided := d.byProxy(d.proxies, registry)
	if decided {
		d.proxiedTrust(registry, dockerCerts)
		if d.mayReadHosts() && d.proxied(d.proxies, registry) {
			d.byHosts([]string{dockerCerts}, registry, hostRules{serverAlone: true, p: d.proxies, proxied: true})
		}
	} else {
		decided = d.hostsOf(registry)
	}
	if registry == "docker.io" {
		decided = d.mirrors() || decided
	}
	if !decided {
		d.nothing(registry, "")
	}
}

// mayReadHosts reports whether certs.d may be read for hosts.toml.
func (d *docker) mayReadHosts() bool {
	major, known := majorOf(d.facts.version)
	return d.store != storeGraph && !(known && major < 28)
}

// hostsOf judges certs.d, which is read for hosts.toml by the containerd image
// store of docker ≥ 28 only.
func (d *docker) hostsOf(registry string) bool {
	dir, _ := d.hostDir([]string{dockerCerts}, registry)
	file := path.Join(dir, "hosts.toml")
	if d.store == storeContainerd && d.mayReadHosts() {
		return d.byHosts([]string{dockerCerts}, registry, hostRules{serverAlone: true, p: d.proxies})
	}
	if dir == "" || !d.n.has(file) {
		return false
	}
	why := "docker's graph-driver image store does not read it"
	switch {
	case d.store == storeContainerd:
		why = "docker before 28 does not read it"
	case d.store == storeUnknown:
		why = "only docker's containerd image store reads it, and whether that is in use could not be told"
	}
	d.add(Finding{
		Severity: SeverityOpen, File: file, registry: registry, settled: true,
		Problem: why, Consequence: around(registry),
		Fix: `use the gate's proxy or the containerd image store ("features": {"containerd-snapshotter": true}); ` + d.howto(),
	})
	return true
}

// mirrors judges registry-mirrors: after any refusal dockerd asks docker.io. It
// reports whether that is all there is to say.
func (d *docker) mirrors() bool {
	said := false
	at := d.at("registry-mirrors")
	for _, m := range d.conf.Mirrors {
		host := hostOf(m)
		u, err := url.Parse(m)
		if err == nil && d.g.isProxy(d.proxies.forURL(u.String())) {
			continue // by the gate's proxy
		}
		f := Finding{Severity: SeverityOpen, File: at.file, Line: at.line, registry: "docker.io", Fix: "take registry-mirrors away; " + d.howto()}
		switch {
		case !d.g.is(m):
			f.Problem = "registry-mirrors has " + host + ", which is not the gate and is asked first"
			f.Consequence = "a refused image is pulled from " + host
			f.Fix = d.stranger(m) + f.Fix
		case d.proxies.route(d.g, apiHost("docker.io")) == routeGate:
			continue
		default:
			f.Problem = "registry-mirrors has the gate: docker falls back to docker.io when a mirror refuses or does not answer"
			f.Consequence = around("docker.io")
			// A listener for mirrors stops the fallback of the graph driver, and only
			// that; and only while it answers, which is less than closed.
			f.settled = d.store == storeGraph
			f.unsure = true
			f.proven = "the gate's refusal stopped docker here; while the gate does not answer, docker asks docker.io: this is no boundary"
		}
		d.add(f)
		said = true
	}
	return said
}

// users looks at what users of docker have configured for themselves.
func (d *docker) users() {
	for _, h := range d.homes {
		d.cliConfig(h)
		file := path.Join(h.dir, ".config/docker/daemon.json")
		if d.n.has(file) {
			d.add(Finding{
				Severity: SeverityWarning, File: file,
				Problem:     "configures a rootless dockerd of " + h.user + ", which is not looked at here",
				Consequence: "it may pull around the gate",
				Fix:         "run doctor with --docker-host unix:///run/user/UID/docker.sock, and give it the same settings; " + d.howto(),
			})
		}
	}
}

// cliConfig looks at the settings of docker's command line that lead elsewhere.
// Credentials in it are not read.
func (d *docker) cliConfig(h home) {
	file := path.Join(h.dir, ".docker/config.json")
	b, ok := d.file(file)
	if !ok {
		return
	}
	var c struct {
		Context string `json:"currentContext"`
		Proxies map[string]struct {
			HTTP  string `json:"httpProxy"`
			HTTPS string `json:"httpsProxy"`
			None  string `json:"noProxy"`
		} `json:"proxies"`
	}
	if err := json.Unmarshal(b, &c); err != nil {
		at := jsonErrorPosition(b, err)
		d.add(Finding{
			Severity: SeverityWarning, File: file, Line: errorLine(errors.New(at)),
			Problem: "is not valid JSON: " + at, Consequence: "docker ignores it or stops, depending on its version", Fix: "correct it",
		})
		return
	}
	if c.Context != "" && c.Context != "default" {
		d.add(Finding{
			Severity: SeverityWarning, File: file, Line: lineOf(b, `"currentContext"`),
			Problem:     h.user + " uses the docker context " + c.Context + ", another daemon than this node's",
			Consequence: "that daemon may pull around the gate",
			Fix:         "run doctor where it runs, or docker context use default",
		})
	}
	for _, p := range c.Proxies {
		u, err := url.Parse(p.HTTPS)
		if p.HTTPS != "" && (err != nil || !d.g.isProxy(u)) {
			d.add(Finding{
				Severity: SeverityInfo, File: file, Line: lineOf(b, `"httpsProxy"`),
				Problem:     "hands builds and containers of " + h.user + " a proxy that is not the gate's: " + p.HTTPS,
				Consequence: "registry tools that run inside of them pull by it; dockerd itself does not",
				Fix:         "name the gate's proxy there, or block the way on the network",
			})
		}
	}
}
