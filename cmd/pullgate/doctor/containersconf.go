package doctor

import (
	"errors"
	"maps"
	"path"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// Where podman and buildah read containers.conf, in their order (containers.conf(5)).
// A user's own files come after these.
var (
	containersConf     = []string{"/usr/share/containers/containers.conf", "/etc/containers/containers.conf"}
	containersConfDirs = []string{"/usr/share/containers/containers.conf.d", "/etc/containers/containers.conf.d"}
)

const (
	userContainersConf    = ".config/containers/containers.conf"
	userContainersConfDir = ".config/containers/containers.conf.d"
)

// engineEnvironment is what containers.conf gives podman and buildah as their own
// environment ([engine] env); skopeo and CRI-O do not read it. Home is of the user
// whose own files count as well, "" for nobody's.
func (c *containers) engineEnvironment(home string) map[string]setting {
	if c.client != "podman" && c.client != "buildah" {
		return nil
	}
	files, dirs := containersConf, containersConfDirs
	if home != "" {
		files, dirs = []string{path.Join(home, userContainersConf)}, []string{path.Join(home, userContainersConfDir)}
	}
	files = append([]string(nil), files...)
	for _, dir := range dirs {
		more, err := c.n.dropIns(dir, ".conf")
		if err != nil {
			c.unreadable(dir, err)
		}
		files = append(files, more...)
	}
	var env map[string]setting
	for _, f := range files {
		if b, ok := c.file(f); ok {
			env = c.engineFile(f, b, env)
		}
	}
	return env
}

// engineFile replaces the variables of earlier files by those of this one, when it
// has any.
func (c *containers) engineFile(file string, b []byte, earlier map[string]setting) map[string]setting {
	var f struct {
		Engine struct {
			Env []any `toml:"env"`
		} `toml:"engine"`
	}
	if err := toml.Unmarshal(b, &f); err != nil {
		c.unreadable(file, errors.New("expected TOML with a list as env of [engine]"))
		return earlier
	}
	if f.Engine.Env == nil {
		return earlier
	}
	env, at := map[string]setting{}, place{file, tomlLines(b)[tomlKey("engine", "env")]}
	for _, e := range f.Engine.Env {
		switch e := e.(type) {
		case string:
			name, value, _ := strings.Cut(e, "=")
			if _, there := env[name]; !there { // the first one is set already when the next is looked at
				env[name] = setting{value, at}
			}
		case map[string]any:
			if e["append"] == true {
				merged := maps.Clone(earlier)
				if merged == nil {
					merged = map[string]setting{}
				}
				for name, s := range env {
					if _, there := merged[name]; !there {
						merged[name] = s
					}
				}
				env = merged
			}
		}
	}
	return env
}

// withShell are the proxies of a program with these variables that somebody starts
// who has those of /etc/environment: they win, name by name.
func withShell(engine, shell map[string]setting) proxies {
	env := map[string]setting{}
	maps.Copy(env, engine)
	maps.Copy(env, shell)
	return unit{env: env}.proxies("")
}
