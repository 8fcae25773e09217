package doctor

import (
	"path"

	"github.com/pelletier/go-toml/v2"
)

const buildkitConfig = "/etc/buildkit/buildkitd.toml"

// buildkitFile is what matters here of a buildkitd.toml.
type buildkitFile struct {
	Registry map[string]struct {
		Mirrors   []string `toml:"mirrors"`
		PlainHTTP *bool    `toml:"http"`
		Insecure  *bool    `toml:"insecure"`
		CA        []string `toml:"ca"`
	} `toml:"registry"`
}

// buildkit looks at buildkitd's configuration. Its mirrors always fall back: only a
// proxy or the network holds it.
type buildkit struct {
	inspection
	proxies proxies
}

func (k *buildkit) inspect() {
	u := k.unit("buildkit", "buildkitd")
	k.proxies = u.proxies("")
	conf := buildkitConfig
	if fs := u.flags("--config"); len(fs) > 0 {
		conf = fs[len(fs)-1]
	}
	k.config(conf, k.proxies)
	for _, h := range k.homes {
		if p := path.Join(h.dir, ".config/buildkit/buildkitd.toml"); k.n.has(p) {
			k.config(p, proxies{})
		}
	}
}

func (k *buildkit) config(file string, p proxies) {
	b, _ := k.file(file)
	var f buildkitFile
	if err := toml.Unmarshal(b, &f); err != nil {
		err = tomlError(err)
		k.add(Finding{
			Severity: SeverityWarning, File: file, Line: errorLine(err), unsure: true,
			Problem:     "does not parse: " + err.Error(),
			Consequence: "buildkitd does not start with it; one that runs has another configuration than this",
			Fix:         "correct it; " + k.howto(),
		})
	}
	lines := tomlLines(b)
	for _, r := range k.registries {
		if k.named(r) {
			continue
		}
		proxied := k.proxied(p, r)
		if k.byProxy(p, r) {
			k.proxiedTrust(r)
			if !proxied {
				continue
			}
		}
		line := lines[tomlKey("registry", r)]
		mirrors := f.Registry[r].Mirrors
		if len(mirrors) == 0 && !proxied {
			k.nothing(r, "")
		}
		for _, m := range mirrors {
			// Whether TLS is spoken with a mirror, its own table says.
			if proxied && k.held(p, "https://"+m) && k.held(p, "http://"+m) {
				continue
			}
			k.mirror(file, line, r, m)
		}
	}
}

func (k *buildkit) mirror(file string, line int, registry, mirror string) {
	f := Finding{
		Severity: SeverityOpen, File: file, Line: line, registry: registry,
		Problem:     "mirrors of " + registry + " have the gate: BuildKit falls back to " + registry + " on every refusal",
		Consequence: around(registry),
		Fix:         "HTTPS_PROXY for buildkitd and for the command that asks it, instead of mirrors; " + k.howto(),
	}
	if !k.g.is(mirror) {
		f.Problem = "mirrors of " + registry + " have " + hostOf("https://"+mirror) + ", which is not the gate"
		f.Consequence = "a refused image is pulled from there"
	}
	k.add(f)
}
