package clients_test

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/distribution/reference"
	"github.com/pelletier/go-toml/v2"
	"go.podman.io/image/v5/pkg/sysregistriesv2"
	"go.podman.io/image/v5/types"
	"go.yaml.in/yaml/v3"

	"github.com/pullgate/pullgate/cmd/pullgate/clients"
)

var update = flag.Bool("update", false, "write the golden files")

func file(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// gate is one with everything: two registries, the second with a port.
func gate(t testing.TB) clients.Gate {
	return clients.Gate{
		URL:         "https://gate.example",
		Proxy:       "http://gate.example:3128",
		CA:          file(t, "testdata/ca.crt"),
		InterceptCA: file(t, "testdata/intercept.crt"),
		Registries:  []string{"docker.io", "registry.example.com:5000"},
		Paths:       map[string]string{"registry.example.com:5000": "corp"},
	}
}

func plan(t testing.TB, client string, change ...func(*clients.Gate)) clients.Plan {
	t.Helper()
	g := gate(t)
	for _, c := range change {
		c(&g)
	}
	p, err := clients.For(client, g)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mode(m clients.Mode) func(*clients.Gate)    { return func(g *clients.Gate) { g.Mode = m } }
func registries(r ...string) func(*clients.Gate) { return func(g *clients.Gate) { g.Registries = r } }
func at(url string) func(*clients.Gate)          { return func(g *clients.Gate) { g.URL = url } }
func withoutCA(g *clients.Gate)                  { g.CA = nil }
func crio(g *clients.Gate)                       { g.Runtime = clients.CRIO }
func rhel(g *clients.Gate)                       { g.Anchors = clients.AnchorsRHEL }
func locked(g *clients.Gate)                     { g.Passwords, g.Certificates = true, true }
func secret(g *clients.Gate)                     { g.Proxy = "http://alice:hunter2%25@gate.example:3128" }
func mirrored(g *clients.Gate)                   { g.Mirror = "http://127.0.0.1:5002" }

// secretProxy is the proxy of secret as it is written.
const secretProxy = "http://alice:hunter2%25@gate.example:3128"

// variants are the plans that have a golden file.
func variants(t testing.TB) map[string]clients.Plan {
	all := map[string]clients.Plan{
		"docker-environment":  plan(t, clients.Docker, mode(clients.ModeEnvironment), mirrored),
		"docker-rhel":         plan(t, clients.Docker, rhel),
		"docker-name":         plan(t, clients.Docker, mode(clients.ModeName)),
		"containerd-proxy":    plan(t, clients.Containerd, mode(clients.ModeProxy)),
		"containerd-no-ca":    plan(t, clients.Containerd, withoutCA),
		"containerd-port":     plan(t, clients.Containerd, at("https://gate.example:8443")),
		"podman-http":         plan(t, clients.Podman, at("http://gate.example:5000"), withoutCA, registries("docker.io", "*.example.net")),
		"podman-proxy":        plan(t, clients.Podman, mode(clients.ModeProxy)),
		"cri-o-proxy":         plan(t, clients.CRIO, mode(clients.ModeProxy)),
		"kubernetes-cri-o":    plan(t, clients.Kubernetes, crio),
		"kubernetes-password": plan(t, clients.Kubernetes, locked),
		"docker-password":     plan(t, clients.Docker, secret),
		"buildkit-password":   plan(t, clients.BuildKit, secret),
		"podman-password":     plan(t, clients.Podman, mode(clients.ModeProxy), secret),
	}
	for _, name := range clients.Names() {
		all[name] = plan(t, name)
	}
	return all
}

func TestGolden(t *testing.T) {
	for name, p := range variants(t) {
		var b strings.Builder
		if err := p.Print(&b); err != nil {
			t.Fatal(err)
		}
		golden := filepath.Join("testdata/golden", name+".txt")
		if *update {
			if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if want := string(file(t, golden)); b.String() != want {
			t.Errorf("%s differs; go test -update writes it anew\nfound:\n%s", golden, b.String())
		}
	}
}

// Every file of every plan is read by the parser of its client, and names the gate
// wherever it could name a registry.
func TestFilesAreReadByTheirClients(t *testing.T) {
	for name, p := range variants(t) {
		for _, f := range p.Files {
			t.Run(name+f.Path, func(t *testing.T) {
				if f.Mode != 0o644 && !strings.Contains(string(f.Content), "hunter2") || !filepath.IsAbs(f.Path) {
					t.Errorf("mode %v", f.Mode)
				}
				if f.Kind != clients.MergeJSON && !strings.HasPrefix(string(f.Content), "# written by pullgate client ") {
					t.Error("has no marker")
				}
				readAsItsClient(t, f)
			})
		}
	}
}

func readAsItsClient(t *testing.T, f clients.File) {
	switch {
	case strings.HasSuffix(f.Path, "/hosts.toml"):
		readHosts(t, f.Content)
	case strings.HasSuffix(f.Path, "/config.toml"):
		var c struct {
			Version int
			Plugins map[string]struct {
				Registry struct {
					ConfigPath string `toml:"config_path"`
				}
			}
		}
		strictTOML(t, f.Content, &c)
		if c.Version != 2 || c.Plugins["io.containerd.grpc.v1.cri"].Registry.ConfigPath != "/etc/containerd/certs.d" {
			t.Errorf("found %+v", c)
		}
	case strings.HasPrefix(f.Path, "/etc/containers/containers.conf.d/"):
		readEngine(t, f.Content)
	case strings.HasSuffix(f.Path, "zzz-pullgate.conf"):
		// read by the library in TestRegistriesLeadToTheGate
	case strings.HasSuffix(f.Path, "service.d/pullgate.conf"):
		if !strings.Contains(string(f.Content), "EnvironmentFile=/etc/systemd/system/") {
			readUnit(t, f.Content)
		}
	case strings.HasSuffix(f.Path, "service.d/pullgate.env"):
		if !strings.Contains(string(f.Content), "\nHTTPS_PROXY=\""+secretProxy+"\"\n") {
			t.Errorf("found %s", f.Content)
		}
	case strings.HasSuffix(f.Path, ".json"):
		readDaemon(t, f.Content)
	case strings.HasSuffix(f.Path, ".crt"):
		if block, rest := pem.Decode(f.Content); block == nil || block.Type != "CERTIFICATE" || len(rest) > 0 {
			t.Error("is not one certificate")
		}
	case strings.HasSuffix(f.Path, "config.yaml.d/pullgate.yaml"):
		var c map[string]any
		if err := yaml.Unmarshal(f.Content, &c); err != nil || len(c) != 1 || c["disable-default-registry-endpoint"] != true {
			t.Errorf("found %v, %v", c, err)
		}
	case strings.HasSuffix(f.Path, "registries.yaml"):
		readK3s(t, f.Content)
	case strings.HasSuffix(f.Path, "talos.yaml"):
		readTalos(t, f.Content)
	default:
		t.Errorf("nobody reads it")
	}
}

func strictTOML(t *testing.T, b []byte, v any) {
	t.Helper()
	if err := toml.NewDecoder(strings.NewReader(string(b))).DisallowUnknownFields().Decode(v); err != nil {
		t.Fatalf("%v in\n%s", err, b)
	}
}

func strictYAML(t *testing.T, b []byte, v any) {
	t.Helper()
	d := yaml.NewDecoder(strings.NewReader(string(b)))
	d.KnownFields(true)
	if err := d.Decode(v); err != nil {
		t.Fatalf("%v in\n%s", err, b)
	}
}

func readHosts(t *testing.T, b []byte) {
	type host struct {
		Capabilities []string
		CA           string `toml:"ca"`
	}
	var c struct {
		Server string
		CA     string `toml:"ca"`
		Host   map[string]host
	}
	strictTOML(t, b, &c)
	h, ok := c.Host[c.Server]
	if !strings.HasPrefix(c.Server, "https://gate.example") || len(c.Host) != 1 || !ok || h.CA != c.CA || !slices.Equal(h.Capabilities, []string{"pull", "resolve"}) {
		t.Errorf("found %+v", c)
	}
}

func readUnit(t *testing.T, b []byte) {
	var settings []string
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "#") {
			settings = append(settings, line)
		}
	}
	want := []string{"[Service]", `Environment="HTTPS_PROXY=http://gate.example:3128"`, `Environment="HTTP_PROXY=http://gate.example:3128"`, `Environment="NO_PROXY=localhost,127.0.0.0/8,::1"`}
	if !slices.Equal(settings, want) {
		t.Errorf("found %q", settings)
	}
}

func readEngine(t *testing.T, b []byte) {
	var c struct {
		Engine     struct{ Env []string }
		Containers struct {
			HTTPProxy *bool `toml:"http_proxy"`
		}
	}
	strictTOML(t, b, &c)
	proxy := "http://gate.example:3128"
	if strings.Contains(string(b), "hunter2") {
		proxy = secretProxy
	}
	want := []string{"HTTPS_PROXY=" + proxy, "HTTP_PROXY=" + proxy, "NO_PROXY=localhost,127.0.0.0/8,::1"}
	if !slices.Equal(c.Engine.Env, want) || c.Containers.HTTPProxy == nil || *c.Containers.HTTPProxy {
		t.Errorf("found %+v", c)
	}
}

func readDaemon(t *testing.T, b []byte) {
	var c map[string]map[string]string
	if err := json.Unmarshal(b, &c); err != nil {
		t.Fatal(err)
	}
	p := c["proxies"]
	if len(c) != 1 || len(p) != 3 || (p["https-proxy"] != "http://gate.example:3128" && p["https-proxy"] != secretProxy) || p["http-proxy"] != p["https-proxy"] || p["no-proxy"] != "localhost,127.0.0.0/8,::1" {
		t.Errorf("found %v", c)
	}
}

// readK3s reads registries.yaml as k3s' documentation has it ("Private Registry
// Configuration").
func readK3s(t *testing.T, b []byte) {
	var c struct {
		Mirrors map[string]struct{ Endpoint []string }
		Configs map[string]struct {
			TLS struct {
				CA string `yaml:"ca_file"`
			} `yaml:"tls"`
		}
	}
	strictYAML(t, b, &c)
	if len(c.Mirrors) != 3 || len(c.Configs) != 1 || c.Configs["gate.example"].TLS.CA != "/etc/rancher/k3s/pullgate-ca.crt" {
		t.Errorf("found %+v", c)
	}
	for _, r := range []string{"docker.io", "registry.example.com:5000", "*"} {
		if !slices.Equal(c.Mirrors[r].Endpoint, []string{"https://gate.example"}) {
			t.Errorf("%s: found %v", r, c.Mirrors[r])
		}
	}
}

// readTalos reads a patch as Talos' documentation has it (v1alpha1, RegistriesConfig
// and its parts; ca is base64 there).
func readTalos(t *testing.T, b []byte) {
	var c struct {
		Machine struct {
			Registries struct {
				Mirrors map[string]struct {
					Endpoints    []string
					OverridePath bool `yaml:"overridePath"`
					SkipFallback bool `yaml:"skipFallback"`
				}
				Config map[string]struct {
					TLS struct {
						CA string `yaml:"ca"`
					} `yaml:"tls"`
				}
			}
		}
	}
	strictYAML(t, b, &c)
	m := c.Machine.Registries.Mirrors
	for _, r := range []string{"docker.io", "registry.example.com:5000", "*"} {
		if !m[r].SkipFallback || m[r].OverridePath || !slices.Equal(m[r].Endpoints, []string{"https://gate.example"}) {
			t.Errorf("%s: found %+v", r, m[r])
		}
	}
	ca, err := base64.StdEncoding.DecodeString(c.Machine.Registries.Config["gate.example"].TLS.CA)
	if block, rest := pem.Decode(ca); len(m) != 3 || err != nil || block == nil || len(rest) > 0 {
		t.Errorf("found %+v, %v", c, err)
	}
}

// What containers/image itself makes of the file: one place to pull from, the gate.
func TestRegistriesLeadToTheGate(t *testing.T) {
	tests := []struct{ image, want string }{
		{"docker.io/library/nginx:1", "gate.example/docker.io/library/nginx:1"},
		{"registry-1.docker.io/library/nginx:1", "gate.example/docker.io/library/nginx:1"},
		{"registry.hub.docker.com/library/nginx:1", "gate.example/docker.io/library/nginx:1"},
		{"registry.example.com:5000/team/app:1", "gate.example/corp/team/app:1"},
	}
	dir := t.TempDir()
	write := func(p clients.Plan) *types.SystemContext {
		i := slices.IndexFunc(p.Files, func(f clients.File) bool { return strings.HasSuffix(f.Path, "zzz-pullgate.conf") })
		name := filepath.Join(dir, "zzz-pullgate.conf")
		if err := os.WriteFile(name, p.Files[i].Content, 0o644); err != nil {
			t.Fatal(err)
		}
		sysregistriesv2.InvalidateCache()
		return &types.SystemContext{SystemRegistriesConfPath: name, SystemRegistriesConfDirPath: filepath.Join(dir, "none")}
	}
	sys := write(plan(t, clients.Podman))
	for _, tt := range tests {
		r, err := sysregistriesv2.FindRegistry(sys, tt.image)
		if err != nil || r == nil || r.Blocked || r.Insecure || len(r.Mirrors) > 0 {
			t.Fatalf("%s: %+v, %v", tt.image, r, err)
		}
		ref, err := reference.ParseNormalizedNamed(tt.image)
		if err != nil {
			t.Fatal(err)
		}
		sources, err := r.PullSourcesFromReference(ref)
		if err != nil || len(sources) != 1 || sources[0].Reference.String() != tt.want {
			t.Errorf("%s: %v, %v", tt.image, sources, err)
		}
	}
	if search, err := sysregistriesv2.UnqualifiedSearchRegistries(sys); err != nil || !slices.Equal(search, []string{"docker.io"}) {
		t.Errorf("short names: %v, %v", search, err)
	}
	sys = write(plan(t, clients.Podman, at("http://gate.example:5000"), withoutCA, registries("docker.io", "*.example.net")))
	if r, err := sysregistriesv2.FindRegistry(sys, "any.example.net/app:1"); err != nil || r == nil || !r.Blocked {
		t.Errorf("*.example.net: %+v, %v", r, err)
	}
	if r, err := sysregistriesv2.FindRegistry(sys, "docker.io/library/nginx:1"); err != nil || !r.Insecure {
		t.Errorf("http: %+v, %v", r, err)
	}
}
