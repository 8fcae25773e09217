package doctor

import (
	"path"
	"path/filepath"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

const containerdConfig = "/etc/containerd/config.toml"

// Plugins that have a registry configuration, by version of the configuration
// (containerd's docs/cri/registry.md).
const (
	criV1 = "cri"
	criV2 = "io.containerd.grpc.v1.cri"
	criV3 = "io.containerd.cri.v1.images"
)

// criRegistry is the registry table of containerd's CRI plugin.
type criRegistry struct {
	ConfigPath string         `toml:"config_path"`
	Mirrors    map[string]any `toml:"mirrors"`
	Configs    map[string]any `toml:"configs"`
}

// containerdFile is what matters here of a config.toml.
type containerdFile struct {
	Version  int      `toml:"version"`
	Imports  []string `toml:"imports"`
	Disabled []string `toml:"disabled_plugins"`
	Plugins  map[string]struct {
		Registry criRegistry `toml:"registry"`
	} `toml:"plugins"`
}

// containerd looks at containerd's configuration, as its CRI plugin has it.
type containerd struct {
	inspection
	version string
	roots   []string // config_path, split
	proxies proxies
	set     setting // config_path
	mirrors place
	// disabled: the CRI plugin is, and so there is no configuration of registries.
	disabled bool
}

func (c *containerd) inspect() {
	u := c.unit("containerd")
	c.proxies = u.proxies("")
	conf := containerdConfig
	for _, flag := range []string{"--config", "-c"} {
		if fs := u.flags(flag); len(fs) > 0 {
			conf = fs[len(fs)-1]
		}
	}
	c.read(conf, 0)
	c.roots = filepath.SplitList(c.set.value)
	for _, r := range c.registries {
		if !c.disabled {
			c.registry(r, conf)
		}
	}
}

// maxImports bounds how deep imports of a configuration are followed.
const maxImports = 8

// read takes one file of configuration and those that it imports, which replace
// what it says.
func (c *containerd) read(file string, depth int) {
	b, ok := c.file(file)
	if !ok {
		return
	}
	var f containerdFile
	if err := toml.Unmarshal(b, &f); err != nil {
		err = tomlError(err)
		c.add(Finding{
			Severity: SeverityWarning, File: file, Line: errorLine(err), unsure: true,
			Problem:     "does not parse: " + err.Error(),
			Consequence: "containerd does not start with it; one that runs has another configuration than this",
			Fix:         "correct it (containerd --config " + file + " config dump); " + c.howto(),
		})
		return
	}
	c.take(file, b, f)
	for _, pattern := range f.Imports {
		if depth >= maxImports {
			c.add(Finding{
				Severity: SeverityWarning, File: file, unsure: true,
				Problem: "imports files deeper than doctor follows", Consequence: "what they say is not known", Fix: "put the settings into one file",
			})
			return
		}
		for _, p := range c.glob(file, pattern) {
			c.read(p, depth+1)
		}
	}
}

// glob expands an import, whose last element may be a pattern.
func (c *containerd) glob(file, pattern string) []string {
	if !path.IsAbs(pattern) {
		pattern = path.Join(path.Dir(file), pattern)
	}
	dir, base := path.Split(pattern)
	if !strings.ContainsAny(base, "*?[") {
		return []string{pattern}
	}
	names, err := c.n.list(dir)
	if err != nil {
		c.unreadable(dir, err)
	}
	var out []string
	for _, n := range names {
		if ok, err := path.Match(base, n); err == nil && ok {
			out = append(out, path.Join(dir, n))
		}
	}
	return out
}

// take notes what a file says of registries, under the name of the plugin that its
// version has.
func (c *containerd) take(file string, b []byte, f containerdFile) {
	lines := tomlLines(b)
	right := map[int]string{0: criV1, 1: criV1, 2: criV2, 3: criV3}[f.Version]
	for name, p := range f.Plugins {
		if name != criV1 && name != criV2 && name != criV3 || p.Registry.ConfigPath == "" && len(p.Registry.Mirrors) == 0 {
			continue
		}
		line := lines[tomlKey("plugins", name, "registry", "config_path")]
		if name != right {
			c.add(Finding{
				Severity: SeverityWarning, File: file, Line: max(line, lines[tomlKey("plugins", name, "registry")]),
				Problem:     `plugins."` + name + `".registry is not read in a file with version = ` + string(rune('0'+f.Version%10)),
				Consequence: "containerd ignores it",
				Fix:         `write plugins."` + right + `".registry, or the version that has it; ` + c.howto(),
			})
			continue
		}
		if p.Registry.ConfigPath != "" {
			c.set = setting{p.Registry.ConfigPath, place{file, line}}
		}
		if len(p.Registry.Mirrors) > 0 {
			c.mirrors = place{file, lineOf(b, "mirrors")}
		}
	}
	for _, d := range f.Disabled {
		if d == criV1 || d == criV2 || d == criV3 {
			c.disabled = true
			c.add(Finding{
				Severity: SeverityInfo, File: file, Line: lines[tomlKey("disabled_plugins")],
				Problem:     "containerd's CRI is disabled",
				Consequence: "config_path is for nobody; docker, ctr and nerdctl bring settings of their own",
				Fix:         "nothing, when no kubelet uses this containerd",
			})
		}
	}
}

// defaultRoots are read by newer versions when config_path is not set.
var defaultRoots = []string{"/etc/containerd/certs.d", "/etc/docker/certs.d"}

func (c *containerd) registry(registry, conf string) {
	if c.named(registry) {
		return
	}
	major, known := majorOf(c.version)
	rules := hostRules{serverAlone: known && major >= 2, p: c.proxies}
	if c.byProxy(c.proxies, registry) {
		c.proxiedTrust(registry)
		if rules.proxied = c.proxied(c.proxies, registry); rules.proxied {
			c.besideProxy(registry, rules)
		}
		return
	}
	if c.mirrors.file != "" {
		c.deprecated(registry)
	}
	switch {
	case len(c.roots) > 0 && c.byHosts(c.roots, registry, rules):
	case len(c.roots) > 0:
		c.nothing(registry, "")
	default:
		c.noConfigPath(registry, conf)
		c.byHosts(defaultRoots, registry, rules)
	}
}

// besideProxy judges what may lead to other hosts than the registry, which itself is
// asked through the gate's proxy.
func (c *containerd) besideProxy(registry string, rules hostRules) {
	roots := c.roots
	if len(roots) == 0 {
		roots = defaultRoots
	}
	c.byHosts(roots, registry, rules)
	if c.mirrors.file != "" {
		c.add(Finding{
			Severity: SeverityWarning, File: c.mirrors.file, Line: c.mirrors.line, registry: registry, unsure: true,
			Problem:     "has the deprecated registry.mirrors besides the gate's proxy, and they are not looked at",
			Consequence: "a mirror that NO_PROXY takes out of what goes through the proxy is asked without the gate",
			Fix:         "take registry.mirrors away; " + c.howto(),
		})
	}
}

func (c *containerd) noConfigPath(registry, conf string) {
	c.add(Finding{
		Severity: SeverityOpen, File: conf, registry: registry, settled: true,
		Problem:     "config_path is not set, so containerd before 2.2 reads no hosts.toml",
		Consequence: around(registry),
		Fix:         `config_path = "/etc/containerd/certs.d" below plugins."` + criV2 + `".registry (version 2) or plugins."` + criV3 + `".registry (version 3); ` + c.howto(),
	})
}

// deprecated judges registry.mirrors, after which the registry itself is asked.
func (c *containerd) deprecated(registry string) {
	f := Finding{
		Severity: SeverityOpen, File: c.mirrors.file, Line: c.mirrors.line, registry: registry,
		Problem:     "has the deprecated registry.mirrors: containerd asks the registry itself after them",
		Consequence: around(registry),
		Fix:         "take registry.mirrors away and use config_path; " + c.howto(),
	}
	if c.set.value != "" {
		f.Severity, f.unsure = SeverityWarning, true
		f.Problem = "has registry.mirrors besides config_path"
		f.Consequence = "containerd refuses both together: its CRI plugin does not load, and one that runs has another configuration"
	}
	c.add(f)
}
