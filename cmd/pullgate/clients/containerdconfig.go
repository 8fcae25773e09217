package clients

import (
	"bytes"
	"fmt"
	"path"
	"strings"
)

// maxImports bounds the files that config.toml names.
const maxImports = 64

// criConfig is what counts of containerd's config.toml.
type criConfig struct {
	Version int                       `toml:"version"`
	Imports []string                  `toml:"imports"`
	Plugins map[string]map[string]any `toml:"plugins"`
}

// registry returns the section of the plugin that pulls, by the file's version.
func (c criConfig) registry() (section map[string]any, hasPlugin bool) {
	name := criPlugin
	if c.Version >= 3 {
		name = imagesPlugin
	}
	plugin, ok := c.Plugins[name]
	section, _ = plugin["registry"].(map[string]any)
	return section, ok
}

// containerdConfig decides what becomes of config.toml: a file to write, or nothing
// to do (keep), or a step that is left. A file that is there is never rewritten: it
// holds runtimes, snapshotters and cgroup drivers that no tool should guess about.
func (n node) containerdConfig(f File) (write File, keep bool, left *Step, err error) {
	f.Kind = Whole
	own, there, err := n.read(f.Path)
	if err != nil || !there || bytes.Equal(own, f.Content) {
		return f, false, nil, err
	}
	files, err := n.containerdFiles(f.Path)
	if err != nil {
		return f, false, nil, err
	}
	main := files[0].config
	if main.Version < 2 || main.Version > 4 {
		return f, false, leftStep(f.Path, 2, fmt.Sprintf("it has version %d of the layout; containerd config migrate prints a newer one", main.Version)), nil
	}
	configPath, plugin, fault := effective(files)
	switch {
	case fault != "":
		return f, false, leftStep(f.Path, main.Version, fault), nil
	case configPath == containerdCerts || strings.HasPrefix(configPath, containerdCerts+":"):
		return f, true, nil, nil
	case configPath != "":
		return f, false, leftStep(f.Path, main.Version, "config_path names another directory"), nil
	case !plugin && importsDropIn(main):
		marker, _, _ := bytes.Cut(f.Content, []byte("\n"))
		return whole(containerdDropIn, configTOML(string(marker), main.Version)), false, nil, nil
	}
	return f, false, leftStep(f.Path, main.Version, "config_path is not set"), nil
}

// leftStep tells the operator which lines config.toml needs.
func leftStep(name string, version int, why string) *Step {
	plugin := criPlugin
	if version >= 3 {
		plugin = imagesPlugin
	}
	return &Step{Why: fmt.Sprintf("%s: %s. Until it says what follows, and containerd is started again, hosts.toml is not read and nothing is enforced:\n[plugins.%q.registry]\n  config_path = %q", name, why, plugin, containerdCerts)}
}

type configFile struct {
	name   string
	config criConfig
}

// containerdFiles reads config.toml and what it imports, in containerd's order.
func (n node) containerdFiles(name string) ([]configFile, error) {
	var out []configFile
	seen := map[string]bool{}
	for pending := []string{name}; len(pending) > 0; {
		name, pending = pending[0], pending[1:]
		if seen[name] {
			continue
		}
		seen[name] = true
		if len(out) == maxImports {
			return nil, fmt.Errorf("%s: expected at most %d files with its imports", out[0].name, maxImports)
		}
		f := configFile{name: name}
		there, err := n.tomlFile(name, &f.config)
		if err != nil {
			return nil, err
		}
		if !there {
			return nil, fmt.Errorf("%s: is imported by %s, but is not there; containerd does not start", name, out[0].name)
		}
		out = append(out, f)
		for _, pattern := range f.config.Imports {
			names, err := n.glob(path.Dir(name), pattern)
			if err != nil {
				return nil, fmt.Errorf("%s: imports: %w", name, err)
			}
			pending = append(pending, names...)
		}
	}
	return out, nil
}

// glob resolves one import; only the last element may be a pattern.
func (n node) glob(from, pattern string) ([]string, error) {
	if !path.IsAbs(pattern) {
		pattern = path.Join(from, pattern)
	}
	pattern = path.Clean(pattern)
	dir, last := path.Split(pattern)
	if strings.ContainsAny(dir, `*?[\`) {
		return nil, fmt.Errorf("expected * in the last element only, found %q", short(pattern))
	}
	if !strings.ContainsAny(last, `*?[\`) {
		return []string{pattern}, nil
	}
	names, err := n.files(dir, "")
	if err != nil {
		return nil, err
	}
	var out []string
	for _, name := range names {
		ok, err := path.Match(last, path.Base(name))
		if err != nil {
			return nil, fmt.Errorf("expected a pattern, found %q", short(pattern))
		}
		if ok {
			out = append(out, name)
		}
	}
	return out, nil
}

// effective is the config_path that containerd uses. containerd before 2.1 takes a
// plugin's whole section from the last file that has it, newer ones merge sections:
// the last section counts, as that is right for both.
func effective(files []configFile) (configPath string, hasPlugin bool, fault string) {
	for _, f := range files {
		section, ok := f.config.registry()
		if !ok {
			continue
		}
		hasPlugin = true
		configPath, _ = section["config_path"].(string)
		for _, key := range []string{"mirrors", "configs"} {
			if m, ok := section[key].(map[string]any); ok && len(m) > 0 {
				return "", true, fmt.Sprintf("registry.%s is set in %s and excludes config_path; remove it", key, f.name)
			}
		}
	}
	return configPath, hasPlugin, ""
}

// importsDropIn reports whether config.toml imports our drop-in.
func importsDropIn(c criConfig) bool {
	for _, pattern := range c.Imports {
		if ok, err := path.Match(path.Clean(pattern), containerdDropIn); err == nil && ok {
			return true
		}
	}
	return false
}
