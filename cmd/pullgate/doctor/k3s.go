package doctor

import (
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"go.yaml.in/yaml/v3"
)

const k3sDir = "/etc/rancher/k3s"

// k3sRegistries is what matters here of a registries.yaml. Passwords in it are not
// decoded.
type k3sRegistries struct {
	Mirrors map[string]struct {
		Endpoint []string `yaml:"endpoint"`
	} `yaml:"mirrors"`
	Configs map[string]k3sSettings `yaml:"configs"`
}

// k3sSettings is what is set for a host; Auth says no more than whether it is there.
type k3sSettings struct {
	Auth *struct{} `yaml:"auth"`
	TLS  *struct {
		CA       string `yaml:"ca_file"`
		Insecure bool   `yaml:"insecure_skip_verify"`
	} `yaml:"tls"`
}

// k3s looks at k3s's configuration, from which it makes containerd's.
type k3s struct {
	inspection
	conf      k3sRegistries
	raw       []byte
	source    string
	noDefault bool // disable-default-registry-endpoint
	proxies   proxies
}

func (k *k3s) inspect() {
	u := k.unit("k3s", "k3s-agent")
	k.proxies = u.proxies("").overlay(u.proxies("CONTAINERD_"))
	k.source = path.Join(k3sDir, "registries.yaml")
	if fs := u.flags("--private-registry"); len(fs) > 0 {
		k.source = fs[len(fs)-1]
	}
	k.config()
	for _, w := range u.arguments() { // after the files, which it overrules
		if value, ok := strings.CutPrefix(w, "--disable-default-registry-endpoint"); ok {
			k.noDefault = value == "" || value == "=true"
		}
	}
	if raw, ok := k.file(k.source); ok {
		k.raw = raw
		if err := decodeYAML(raw, &k.conf); err != nil {
			k.broken(k.source, err)
		}
	}
	for _, r := range k.registries {
		k.registry(r)
	}
}

// decodeYAML reads one document; an empty one says nothing. The error has no text
// of the file, which may hold passwords.
func decodeYAML(b []byte, v any) error {
	dec := yaml.NewDecoder(strings.NewReader(string(b)))
	err := dec.Decode(v)
	var typed *yaml.TypeError
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case errors.As(err, &typed) && len(typed.Errors) > 0:
		where, _, _ := strings.Cut(typed.Errors[0], ":")
		return fmt.Errorf("%s: a value of another type than expected", where)
	case err != nil:
		return errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	return nil
}

func (k *k3s) broken(file string, err error) {
	k.add(Finding{
		Severity: SeverityWarning, File: file, Line: errorLine(err), unsure: true,
		Problem:     "does not parse: " + err.Error(),
		Consequence: "what k3s makes of it is not known",
		Fix:         "correct it and restart k3s; " + k.howto(),
	})
}

// config reads config.yaml and its drop-ins for the one flag that counts; later
// files win.
func (k *k3s) config() {
	files := []string{path.Join(k3sDir, "config.yaml")}
	for _, suffix := range []string{".yaml", ".yml"} {
		more, err := k.n.dropIns(path.Join(k3sDir, "config.yaml.d"), suffix)
		if err != nil {
			k.unreadable(path.Join(k3sDir, "config.yaml.d"), err)
		}
		files = append(files, more...)
	}
	sortStrings(files[1:])
	for _, f := range files {
		b, ok := k.file(f)
		if !ok {
			continue
		}
		var c struct {
			NoDefault *bool `yaml:"disable-default-registry-endpoint"`
		}
		if err := decodeYAML(b, &c); err != nil {
			k.broken(f, err)
		} else if c.NoDefault != nil {
			k.noDefault = *c.NoDefault
		}
	}
}

func (k *k3s) registry(registry string) {
	if k.named(registry) {
		return
	}
	proxied := k.proxied(k.proxies, registry)
	if k.byProxy(k.proxies, registry) {
		k.proxiedTrust(registry)
		if !proxied {
			return
		}
	}
	name := registry
	m, ok := k.conf.Mirrors[name]
	if !proxied {
		k.ownSettings(registry, ok)
	}
	if !ok {
		name = "*"
		m, ok = k.conf.Mirrors[name]
	}
	switch {
	case !ok && !proxied:
		k.nothing(registry, "")
		return
	case !ok:
		return
	}
	line := max(lineOf(k.raw, name+":"), lineOf(k.raw, `"`+name+`"`), lineOf(k.raw, "'"+name+"'"))
	gates := 0
	for _, e := range m.Endpoint {
		if k.g.is(e) {
			gates++
			k.endpointTLS(e)
			continue
		}
		if k.held(k.proxies, e) {
			continue
		}
		k.add(Finding{
			Severity: SeverityOpen, File: k.source, Line: line, registry: registry,
			Problem:     "mirrors of " + name + " have " + hostOf(e) + ", which is not the gate",
			Consequence: "a refused image is pulled from " + hostOf(e),
			Fix:         k.howto(),
		})
	}
	if gates == 0 && !proxied {
		k.nothing(registry, k.source)
	}
	if !k.noDefault && !proxied {
		k.add(Finding{
			Severity: SeverityOpen, File: k.source, Line: line, registry: registry,
			Problem:     "k3s asks " + registry + " itself after the endpoints: disable-default-registry-endpoint is not set",
			Consequence: around(registry),
			Fix:         "disable-default-registry-endpoint: true in " + k3sDir + "/config.yaml, and restart k3s; " + k.howto(),
		})
	}
}

// ownSettings looks for settings of a registry itself. With them k3s writes a
// hosts.toml that has the registry as its server, whatever else is set: after the
// mirrors of that name, and without one in place of those of "*".
func (k *k3s) ownSettings(registry string, mirrored bool) {
	c, ok := k.conf.Configs[registry]
	if !ok || !mirrored && c.Auth == nil && c.TLS == nil {
		return
	}
	k.add(Finding{
		Severity: SeverityOpen, File: k.source, Line: lineOf(k.raw, "configs:"), registry: registry,
		Problem:     "configs has an entry for " + registry + " itself: k3s asks it then, also with disable-default-registry-endpoint",
		Consequence: around(registry),
		Fix:         "remove the entry and restart k3s: the gate has the registry's credentials, and its authority",
	})
}

// endpointTLS looks at how the gate's certificate is checked.
func (k *k3s) endpointTLS(endpoint string) {
	host := hostOf(endpoint)
	ca, insecure := "", false
	if tls := k.conf.Configs[host].TLS; tls != nil {
		ca, insecure = tls.CA, tls.Insecure
	}
	if insecure {
		k.add(Finding{
			Severity: SeverityWarning, File: k.source, Line: lineOf(k.raw, "insecure_skip_verify"),
			Problem: "the gate's certificate is not checked", Consequence: "whoever is on the path answers in the gate's place",
			Fix: "take insecure_skip_verify away and name the gate's authority with ca_file",
		})
	}
	if k.g.ca == nil || strings.HasPrefix(endpoint, "http://") || k.n.systemTrusts(k.g.ca) {
		return
	}
	if b, err := k.n.read(ca, maxFile); ca == "" || err != nil || !holds(b, k.g.ca) {
		k.untrusted("the gate's authority (--ca)", host, `name it in registries.yaml: configs."`+host+`".tls.ca_file`)
	}
}
