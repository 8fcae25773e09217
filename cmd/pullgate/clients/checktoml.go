package clients

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// tomlFile reads a file as TOML into v.
func (n node) tomlFile(name string, v any) (there bool, err error) {
	b, there, err := n.read(name)
	if err != nil || !there {
		return there, err
	}
	if err := toml.Unmarshal(b, v); err != nil {
		return true, fmt.Errorf("%s: is not valid TOML%s", name, tomlPosition(err))
	}
	return true, nil
}

// tomlPosition says where a file cannot be read, without its text, which may hold
// passwords.
func tomlPosition(err error) string {
	var at *toml.DecodeError
	if !errors.As(err, &at) {
		return ""
	}
	line, column := at.Position()
	return fmt.Sprintf(": line %d, column %d", line, column)
}

// noMaskingDirectory refuses entries of a certs.d that hide _default without
// leading to the gate: containerd takes the first of name_port_, name:port and
// _default that is there, whatever is in it.
func noMaskingDirectory(dir string, known []string) check {
	return func(n node) []string {
		entries, err := n.list(dir)
		if err != nil {
			return []string{err.Error()}
		}
		allowed := []string{"_default"}
		for _, name := range known {
			// name:port is hidden itself, by the directory name_port_ of the plan.
			allowed = append(allowed, name, hostDirectory(name))
		}
		var faults []string
		for _, e := range entries {
			name := path.Join(dir, e.Name())
			if slices.Contains(allowed, e.Name()) || e.Type().IsRegular() {
				continue // below a regular file nothing is found, which is an error for the client
			}
			if b, _, err := n.read(name + "/hosts.toml"); err == nil && isOurs(b) {
				faults = append(faults, name+": is from another run, for a registry that is not listed now; add --registry "+e.Name()+", or remove it")
				continue
			}
			faults = append(faults, name+": hides _default from the registry of that name, which is then asked itself; add it with --registry, or move it away")
		}
		return faults
	}
}

// noLoopbackHosts refuses hosts.toml that name a registry on loopback, which is asked
// without the proxy, or the gate, which by proxy is asked for itself and refuses.
func noLoopbackHosts(dir string) check {
	return func(n node) []string {
		entries, err := n.list(dir)
		if err != nil {
			return []string{err.Error()}
		}
		var faults []string
		for _, e := range entries {
			name := path.Join(dir, e.Name(), "hosts.toml")
			if e.Type().IsRegular() {
				continue
			}
			if fault := notBesides(name, "without --mode proxy")(n); len(fault) > 0 {
				faults = append(faults, fault...)
				continue
			}
			var f struct {
				Server string         `toml:"server"`
				Host   map[string]any `toml:"host"`
			}
			if _, err := n.tomlFile(name, &f); err != nil {
				faults = append(faults, err.Error())
				continue
			}
			for _, h := range append(slices.Sorted(maps.Keys(f.Host)), f.Server) {
				if _, rest, ok := strings.Cut(h, "://"); ok {
					h = rest
				}
				if onLoopback(h) {
					faults = append(faults, fmt.Sprintf("%s: the host %q is on loopback, which is asked without the gate; remove it", name, short(h)))
				}
			}
		}
		return faults
	}
}

// registriesFile is what counts of a containers-registries.conf(5).
type registriesFile struct {
	Registry []struct {
		Prefix   string `toml:"prefix"`
		Location string `toml:"location"`
		Blocked  bool   `toml:"blocked"`
		Mirror   []struct {
			Location string `toml:"location"`
		} `toml:"mirror"`
	} `toml:"registry"`
	Search []string `toml:"unqualified-search-registries"`
}

// registriesFiles are the files that podman and its like read registries from.
func (n node) registriesFiles() ([]string, error) {
	names := []string{registriesMain, "/usr/share/containers/registries.conf"}
	for _, dir := range []string{registriesDir, "/usr/share/containers/registries.conf.d"} {
		files, err := n.files(dir, ".conf")
		if err != nil {
			return nil, err
		}
		names = append(names, files...)
	}
	return names, nil
}

// noLongerPrefix refuses what wins over our drop-in: a longer prefix anywhere, and
// the same prefix, or another search list, in a file that is read after ours.
func noLongerPrefix(registries []string) check {
	return func(n node) []string {
		var faults []string
		names, err := n.registriesFiles()
		if err != nil {
			return []string{err.Error()}
		}
		for _, name := range names {
			if name == registriesDropIn {
				continue
			}
			var f registriesFile
			if _, err := n.tomlFile(name, &f); err != nil {
				faults = append(faults, err.Error())
				continue
			}
			after := name != registriesMain && path.Base(name) > path.Base(registriesDropIn)
			for _, r := range f.Registry {
				if fault := wins(registries, r.Prefix, r.Location, r.Blocked && len(r.Mirror) == 0, after); fault != "" {
					faults = append(faults, name+": "+fault)
				}
			}
			if after && f.Search != nil {
				faults = append(faults, name+": unqualified-search-registries is read after "+registriesDropIn+" and wins; remove it there")
			}
		}
		return faults
	}
}

// wins says why a [[registry]] wins over ours, "" when it does not.
func wins(registries []string, prefix, location string, blocked, after bool) string {
	if prefix == "" {
		prefix = location
	}
	prefix = strings.TrimRight(prefix, "/")
	if blocked {
		return "" // nothing is pulled there; mirrors of a blocked registry are asked
	}
	ours := registries
	if slices.Contains(registries, hub) {
		ours = append(slices.Clone(registries), hubNames...)
	}
	for _, r := range ours {
		rest, within := strings.CutPrefix(prefix, r)
		if domain, wild := strings.CutPrefix(r, "*"); wild {
			host, _, _ := strings.Cut(prefix, "/")
			rest, within = "longer", strings.Contains(host, domain) && prefix != r
		}
		switch {
		case prefix == r && after:
			return fmt.Sprintf("the registry with prefix %q is read after %s and wins; remove it", short(prefix), registriesDropIn)
		case within && rest != "" && (strings.ContainsAny(rest[:1], "/:@") || rest == "longer"):
			return fmt.Sprintf("the registry with prefix %q is longer than %q and wins; remove it, or block it", short(prefix), r)
		}
	}
	return ""
}

const buildkitConfig = "/etc/buildkit/buildkitd.toml"

// noBuildKitMirror refuses mirrors of buildkitd: one on loopback is asked without
// the proxy.
func noBuildKitMirror(n node) []string {
	var f struct {
		Registry map[string]struct {
			Mirrors []string `toml:"mirrors"`
		} `toml:"registry"`
	}
	if _, err := n.tomlFile(buildkitConfig, &f); err != nil {
		return []string{err.Error()}
	}
	var faults []string
	for name, r := range f.Registry {
		if len(r.Mirrors) > 0 {
			faults = append(faults, fmt.Sprintf("%s: registry.%q has mirrors; expected none: one on loopback is asked without the gate. Remove them", buildkitConfig, short(name)))
		}
	}
	return faults
}
