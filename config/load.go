package config

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/viper"
)

// LoadOptions says where settings come from.
type LoadOptions struct {
	// File is the path of the YAML file. When it is empty, the variable
	// PULLGATE_CONFIG names it; when that is not set either, there is no file.
	File string
	// Environ is the environment as "name=value", usually os.Environ(). The
	// variable of a key is PULLGATE_ and the key in capitals with _ for dots:
	// PULLGATE_VERDICTS_ALLOWED_TTL. A variable that is set counts even when empty.
	Environ []string
	// Flags maps keys to the values of the flags that were given. Lists are comma
	// separated, here and in the environment; an item of upstreams is
	// registry=endpoint.
	Flags map[string]string
}

// origin is where the value of a key comes from.
type origin struct {
	file string // path of the file, or one of the two words below
	line int
	name string // how the key is written there; empty when it is the key itself
}

const (
	fromEnvironment = "environment"
	fromFlags       = "flags"
)

// origins maps a key, or an item of a list (upstreams[0]), to its origin. The
// empty key stands for all values that nobody set.
type origins map[string]origin

// has reports whether somebody set the key.
func (o origins) has(key string) bool { _, ok := o[key]; return ok }

// fault places a fault at the origin of a key: its own, or else that of what it
// is part of.
func (o origins) fault(key, problem, fix string) Fault {
	for k := key; ; {
		if at, ok := o[k]; ok || k == "" {
			if at.name != "" {
				key = at.name + key[len(k):]
			}
			return Fault{File: at.file, Line: at.line, Key: key, Problem: problem, Fix: fix}
		}
		k = k[:max(strings.LastIndexAny(k, ".["), 0)]
	}
}

// Fault is a fault of a setting that is found where the setting is used, placed like
// those of [Load]: at the file and line that set the key, or what it is part of.
func (c *Config) Fault(key, problem, fix string) Fault { return c.origins.fault(key, problem, fix) }

// Load reads, merges and checks all settings. The error is a [Faults] with every
// fault that was found; the Config is nil then.
//
// Relative paths in the file count from the directory of the file, those in the
// environment and in flags from the working directory.
func Load(opts LoadOptions) (*Config, error) {
	c, err := Inspect(opts)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Inspect is Load for those who look for faults: the Config beside an error holds
// what could be read, so that the files it names can be looked at too. It is nil
// when the file could not be read. Nothing may run with it.
func Inspect(opts LoadOptions) (*Config, error) {
	env := environment(opts.Environ)
	file := opts.File
	if file == "" {
		file = env[fileVariable]
	}
	l := &loader{v: viper.New(), origins: origins{"": {file: file}}}
	l.defaults()
	if file != "" {
		l.file(file)
	}
	warnings := l.environment(env)
	l.flags(opts.Flags)

	c := &Config{origins: l.origins, Warnings: warnings}
	if err := l.v.UnmarshalExact(c); err != nil {
		l.faults = append(l.faults, Fault{File: file, Problem: fmt.Sprintf("cannot be used: %v", err)})
		return nil, l.faults
	}
	c.fill()
	for _, f := range c.Validate() {
		unknown := l.broken && (f.File == file || f.File == "") // it may stand in what could not be read
		if !unknown && !l.faults.Has(f.Key) {
			l.faults = append(l.faults, f)
		}
	}
	switch {
	case l.broken:
		return nil, l.faults
	case len(l.faults) > 0:
		return c, l.faults
	}
	c.Warnings = append(c.Warnings, c.exposures()...)
	return c, nil
}

// loader gathers the layers. Every value put into v has its final type and has
// passed the checks that need no other value.
type loader struct {
	v       *viper.Viper
	origins origins
	faults  Faults
	broken  bool // the file could not be read, so what is in it is not known
}

func (l *loader) defaults() {
	for _, k := range keys() {
		if k.def != nil {
			l.v.SetDefault(k.name, k.def)
		}
	}
}

// set records the value of one key in the layer on top. Whatever a lower layer
// said of it or of its items no longer counts.
func (l *loader) set(name string, value any, at origin) {
	for k := range l.origins {
		if strings.HasPrefix(k, name+"[") {
			delete(l.origins, k)
		}
	}
	l.origins[name] = at
	l.v.Set(name, value)
}

// fill puts defaults into the items of lists, which viper does not, and URLs into
// their normal form.
func (c *Config) fill() {
	c.Auth.Token.Realm = strings.TrimSuffix(c.Auth.Token.Realm, "/")
	for i := range c.TrustRoots {
		c.TrustRoots[i].TUF.fill()
	}
	for i := range c.Upstreams {
		u := &c.Upstreams[i]
		if u.Endpoint == "" && u.Registry != "" {
			u.Endpoint = DefaultEndpoint(u.Registry)
		}
		if strings.HasPrefix(u.Endpoint, "http") {
			u.Endpoint = strings.TrimSuffix(u.Endpoint, "/")
		}
		if u.Transport == "" {
			u.Transport = TransportDocker
		}
		if u.Credentials == "" {
			u.Credentials = CredentialsGate
		}
	}
}

// absolute makes a path count from dir. Texts that are no paths stay as they are:
// the word for standard output, and endpoints that are URLs.
func absolute(dir, name, value string) string {
	scheme := ""
	if strings.HasSuffix(name, "endpoint") || name == "upstreams" {
		var rest string
		var local bool
		if scheme, rest, local = cutLocal(value); !local {
			return value
		}
		value = rest
	}
	if value == "" || name == "audit.file" && value == AuditStdout {
		return scheme + value
	}
	if !filepath.IsAbs(value) {
		value = filepath.Join(dir, value)
	}
	return scheme + filepath.Clean(value)
}

// cutLocal splits an endpoint on the local disk into its scheme ("oci:", "dir:")
// and its path.
func cutLocal(endpoint string) (scheme, path string, local bool) {
	for _, scheme := range []string{"oci:", "dir:"} {
		if path, ok := strings.CutPrefix(endpoint, scheme); ok {
			return scheme, path, true
		}
	}
	return "", "", false
}
