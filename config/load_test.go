package config

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// site is a directory with everything that a good configuration names.
type site struct {
	t   *testing.T
	dir string
}

func newSite(t *testing.T) site {
	t.Helper()
	s := site{t, t.TempDir()}
	s.write("policy.json", "{}")
	s.write("auth.json", "{}")
	s.write("registries.d/default.yaml", "")
	s.write("layout/index.json", "{}")
	return s
}

// write makes a file, and the directory it is in, and returns its path.
func (s site) write(name, content string) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// load loads a file with this content.
func (s site) load(content string, opts LoadOptions) (*Config, error) {
	s.t.Helper()
	opts.File = s.write("pullgate.yaml", content)
	return Load(opts)
}

// good is load for contents that have no fault.
func (s site) good(content string, opts LoadOptions) *Config {
	s.t.Helper()
	c, err := s.load(content, opts)
	if err != nil {
		s.t.Fatalf("expected no fault, got:\n%v", err)
	}
	return c
}

// minimal is what every test file starts with.
const minimal = "policy: policy.json\nupstreams: [{registry: docker.io}]\n"

func TestDefaults(t *testing.T) {
	s := newSite(t)
	got := s.good(minimal, LoadOptions{})
	got.origins = nil
	want := &Config{
		Listen:          "127.0.0.1:5000",
		Admin:           Admin{Listen: "127.0.0.1:5001"},
		StateDir:        "/var/lib/pullgate",
		Auth:            Auth{Token: Token{Service: "pullgate", TTL: 5 * time.Minute}},
		Policy:          filepath.Join(s.dir, "policy.json"),
		DefaultRegistry: "docker.io",
		Upstreams:       []Upstream{{Registry: "docker.io", Endpoint: "https://registry-1.docker.io", Transport: "docker", Credentials: "gate"}},
		OtherRegistries: OthersDeny,
		CertsD:          []string{"/etc/containers/certs.d", "/etc/docker/certs.d"},
		Verdicts:        Verdicts{Size: 100_000, AllowedTTL: time.Hour, DeniedTTL: 30 * time.Second},
		Tags:            Tags{TTL: 30 * time.Second},
		Audit:           Audit{File: AuditStdout},
		Log:             Log{Level: "info", Format: LogText},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestEveryKeyOfTheFileArrives(t *testing.T) {
	s := newSite(t)
	cert, key := s.pair("gate")
	s.write("ca.pem", read(t, cert))
	s.write("certs.d/x", "")
	s.write("users", "")
	s.write("root.json", "{}")
	s.write("first.json", "{}")
	s.write("token.pem", string(pemKey(t)))
	got := s.good(`
listen: ":5443"
tls: {cert: gate.crt, key: gate.key, client_ca: ca.pem}
admin: {listen: "[::1]:5001"}
hosts: [{host: ghcr.gate.example, registry: ghcr.io}, {host: "*.gate.example:5443"}]
listeners: [{listen: "[::1]:5002", registry: docker.io, mirror: true}, {listen: ":5003", registry: quay.io, plain_http: true}]
intercept:
  listen: 127.0.0.1:3128
  ca: {cert: intercept.crt, key: intercept.key}
  tunnel: [auth.docker.io, "*.cdn.example", 10.1.2.3:8443, 10.2.0.0/24]
state_dir: state
auth:
  htpasswd: users
  token: {enabled: true, key: token.pem, realm: "https://gate.example/token/", service: gate, ttl: 10m}
  trusted_networks: [10.0.0.0/8]
  trusted_proxies: ["2001:db8::1"]
  rules:
    - {users: [alice, "*"], certificates: ["*.nodes.example"], networks: [10.1.0.0/16], scopes: [docker.io/library, "*.example"]}
    - users: [bob]
      scopes:
        - "*"
policy: policy.json
registries_d: ./registries.d
default_registry: registry.example.com:5000
upstreams:
  - registry: registry.example.com:5000
    prefix: corp
    endpoint: http://127.0.0.1:5010/
  - {registry: quay.io, endpoint: "oci:layout", transport: atomic}
  - {registry: ghcr.io, endpoint: https://mirror.example/ghcr, credentials: client}
other_registries: allow
auth_file: auth.json
certs_d: [certs.d]
report_only: [default, quay.io/team]
verdicts: {size: 10, allowed_ttl: 1h30m, denied_ttl: 0s}
tags: {ttl: 5m}
audit: {file: audit.jsonl, blobs: true}
trust_roots:
  - {name: public-good, trusted_root: root.json, max_age: 720h}
  - name: private
    max_age: 24h
    tuf: {mirror: "https://tuf.example/x/", root: first.json, target: a/root.json}
  - {name: short, tuf: {mirror: "http://10.0.0.7:8080", root: first.json}}
signature_repositories: [{scope: "*.example.com", repository: quay.io/team/signatures}, {scope: default, repository: ghcr.io/all}]
offline: true
insecure_weak_signatures: true
log: {level: debug, format: json}
`, LoadOptions{})
	got.origins, got.Warnings = nil, nil
	in := func(name string) string { return filepath.Join(s.dir, name) }
	want := &Config{
		Listen: ":5443",
		TLS:    TLS{Cert: cert, Key: key, ClientCA: in("ca.pem")},
		Admin:  Admin{Listen: "[::1]:5001"},
		Hosts:  []Host{{"ghcr.gate.example", "ghcr.io"}, {"*.gate.example:5443", ""}},
		Listeners: []Listener{
			{Listen: "[::1]:5002", Registry: "docker.io", Mirror: true},
			{Listen: ":5003", Registry: "quay.io", PlainHTTP: true},
		},
		Intercept: Intercept{
			Listen: "127.0.0.1:3128",
			CA:     CA{in("intercept.crt"), in("intercept.key")},
			Tunnel: []string{"auth.docker.io", "*.cdn.example", "10.1.2.3:8443", "10.2.0.0/24"},
		},
		StateDir: in("state"),
		Auth: Auth{
			Htpasswd:        in("users"),
			Token:           Token{Enabled: true, Key: in("token.pem"), Realm: "https://gate.example/token", Service: "gate", TTL: 10 * time.Minute},
			TrustedNetworks: []string{"10.0.0.0/8"},
			TrustedProxies:  []string{"2001:db8::1"},
			Rules: []Rule{
				{[]string{"alice", "*"}, []string{"*.nodes.example"}, []string{"10.1.0.0/16"}, []string{"docker.io/library", "*.example"}},
				{Users: []string{"bob"}, Scopes: []string{"*"}},
			},
		},
		Policy:          in("policy.json"),
		RegistriesD:     in("registries.d"),
		DefaultRegistry: "registry.example.com:5000",
		Upstreams: []Upstream{
			{Registry: "registry.example.com:5000", Prefix: "corp", Endpoint: "http://127.0.0.1:5010", Transport: "docker", Credentials: "gate"},
			{Registry: "quay.io", Endpoint: "oci:" + in("layout"), Transport: "atomic", Credentials: "gate"},
			{Registry: "ghcr.io", Endpoint: "https://mirror.example/ghcr", Transport: "docker", Credentials: "client"},
		},
		OtherRegistries: OthersAllow,
		AuthFile:        in("auth.json"),
		CertsD:          []string{in("certs.d")},
		ReportOnly:      []string{"default", "quay.io/team"},
		Verdicts:        Verdicts{Size: 10, AllowedTTL: 90 * time.Minute},
		Tags:            Tags{TTL: 5 * time.Minute},
		Audit:           Audit{File: in("audit.jsonl"), Blobs: true},
		TrustRoots: []TrustRoot{
			{Name: "public-good", TrustedRoot: in("root.json"), MaxAge: 720 * time.Hour},
			{Name: "private", MaxAge: 24 * time.Hour, TUF: TrustRootTUF{"https://tuf.example/x", in("first.json"), "a/root.json"}},
			{Name: "short", TUF: TrustRootTUF{"http://10.0.0.7:8080", in("first.json"), "trusted_root.json"}},
		},
		SignatureRepositories:  []SignatureRepository{{"*.example.com", "quay.io/team/signatures"}, {"default", "ghcr.io/all"}},
		Offline:                true,
		InsecureWeakSignatures: true,
		Log:                    Log{Level: "debug", Format: LogJSON},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if !got.TLS.Enabled() {
		t.Error("TLS is not enabled")
	}
}

// The settings table and the Config must name the same keys: a key in only one of
// them would be refused or silently dropped.
func TestTableAndStructAgree(t *testing.T) {
	var fields func(typ reflect.Type, prefix string) []string
	fields = func(typ reflect.Type, prefix string) (names []string) {
		for f := range typ.Fields() {
			tag := f.Tag.Get("mapstructure")
			switch {
			case tag == "-" || !f.IsExported():
			case f.Type.Kind() == reflect.Struct:
				names = append(names, fields(f.Type, prefix+tag+".")...)
			default:
				names = append(names, prefix+tag)
			}
		}
		return names
	}
	table := func(keys []key) (names []string) {
		for _, k := range keys {
			names = append(names, k.name)
		}
		return names
	}
	if got, want := table(keys()), fields(reflect.TypeFor[Config](), ""); !reflect.DeepEqual(got, want) {
		t.Errorf("keys %v\nfields %v", got, want)
	}
	for item, typ := range map[string]reflect.Type{
		"upstreams": reflect.TypeFor[Upstream](), "hosts": reflect.TypeFor[Host](),
		"listeners": reflect.TypeFor[Listener](), "auth.rules": reflect.TypeFor[Rule](),
		"trust_roots": reflect.TypeFor[TrustRoot](), "signature_repositories": reflect.TypeFor[SignatureRepository](),
	} {
		i := slices.IndexFunc(keys(), func(k key) bool { return k.name == item })
		if got, want := table(keys()[i].item), fields(typ, ""); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: keys %v\nfields %v", item, got, want)
		}
	}
}

func TestFlagsWinOverEnvironmentOverFileOverDefaults(t *testing.T) {
	s := newSite(t)
	file := minimal + "verdicts: {size: 1, allowed_ttl: 1m}\ntags: {ttl: 1m}\n"
	env := []string{"PULLGATE_VERDICTS_SIZE=2", "PULLGATE_VERDICTS_ALLOWED_TTL=2m", "HOME=/"}
	c := s.good(file, LoadOptions{Environ: env, Flags: map[string]string{"verdicts.size": "3"}})
	if c.Verdicts.Size != 3 || c.Verdicts.AllowedTTL != 2*time.Minute || c.Tags.TTL != time.Minute || c.Verdicts.DeniedTTL != 30*time.Second {
		t.Errorf("got %+v %+v", c.Verdicts, c.Tags)
	}
}

func TestListsOfAHigherLayerReplaceTheLowerOne(t *testing.T) {
	s := newSite(t)
	file := minimal + "report_only: [quay.io, ghcr.io]\n"
	c := s.good(file, LoadOptions{Environ: []string{
		"PULLGATE_REPORT_ONLY= default , docker.io/library ",
		"PULLGATE_UPSTREAMS=docker.io,quay.io=https://quay.example:8443",
	}})
	if want := []string{"default", "docker.io/library"}; !reflect.DeepEqual(c.ReportOnly, want) {
		t.Errorf("report_only %q, expected %q", c.ReportOnly, want)
	}
	want := []Upstream{
		{Registry: "docker.io", Endpoint: "https://registry-1.docker.io", Transport: "docker", Credentials: "gate"},
		{Registry: "quay.io", Endpoint: "https://quay.example:8443", Transport: "docker", Credentials: "gate"},
	}
	if !reflect.DeepEqual(c.Upstreams, want) {
		t.Errorf("upstreams %+v", c.Upstreams)
	}
	c = s.good(file, LoadOptions{Environ: []string{"PULLGATE_REPORT_ONLY="}})
	if len(c.ReportOnly) != 0 {
		t.Errorf("an empty variable left report_only %q in force", c.ReportOnly)
	}
}

func TestRelativePathsCountFromWhereTheyAreWritten(t *testing.T) {
	s := newSite(t)
	work := newSite(t)
	t.Chdir(work.dir)
	c := s.good(minimal+"registries_d: registries.d\nauth_file: auth.json\n", LoadOptions{
		Environ: []string{"PULLGATE_REGISTRIES_D=registries.d"},
		Flags:   map[string]string{"policy": "policy.json", "audit.file": "a/../audit.jsonl"},
	})
	cwd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for what, pair := range map[string][2]string{
		"file":        {c.AuthFile, filepath.Join(s.dir, "auth.json")},
		"environment": {c.RegistriesD, filepath.Join(cwd, "registries.d")},
		"flag":        {c.Policy, filepath.Join(cwd, "policy.json")},
		"audit file":  {c.Audit.File, filepath.Join(cwd, "audit.jsonl")},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: %s, expected %s", what, pair[0], pair[1])
		}
	}
}

func TestTheEnvironmentAloneIsEnough(t *testing.T) {
	s := newSite(t)
	c, err := Load(LoadOptions{Environ: []string{"PULLGATE_POLICY=" + s.dir + "/policy.json", "PULLGATE_OTHER_REGISTRIES=allow"}})
	if err != nil {
		t.Fatal(err)
	}
	if u, ok := c.Upstream("quay.io"); !ok || u.Endpoint != "https://quay.io" {
		t.Errorf("quay.io: %+v %v", u, ok)
	}
	if u, ok := c.Upstream("docker.io"); !ok || u.Endpoint != "https://registry-1.docker.io" {
		t.Errorf("docker.io: %+v %v", u, ok)
	}
}

func TestTheFileCanBeNamedByAVariable(t *testing.T) {
	s := newSite(t)
	path := s.write("other.yaml", minimal+"listen: 127.0.0.1:6000\n")
	c, err := Load(LoadOptions{Environ: []string{"PULLGATE_CONFIG=" + path}})
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen != "127.0.0.1:6000" || len(c.Warnings) != 0 {
		t.Errorf("listen %s, warnings %q", c.Listen, c.Warnings)
	}
}

func TestVariablesOfOthersAreWarnedOf(t *testing.T) {
	s := newSite(t)
	c := s.good(minimal, LoadOptions{Environ: []string{
		"PULLGATE_SERVICE_HOST=10.0.0.1", "PULLGATE_PORT_5000_TCP=tcp://10.0.0.1:5000", "PULLGATE_PORT=x", "PULLGATE_LISTENN=:1",
	}})
	want := []string{
		"environment: PULLGATE_LISTENN sets nothing; did you mean PULLGATE_LISTEN?",
		"environment: PULLGATE_PORT sets nothing",
		"environment: PULLGATE_PORT_5000_TCP sets nothing",
		"environment: PULLGATE_SERVICE_HOST sets nothing",
	}
	if !reflect.DeepEqual(c.Warnings, want) {
		t.Errorf("got %q", c.Warnings)
	}
}

func TestFilesOfAllKindsOfEditors(t *testing.T) {
	for name, content := range map[string]string{
		"windows line ends": strings.ReplaceAll(minimal, "\n", "\r\n"),
		"byte order mark":   "\ufeff" + minimal,
		"JSON":              `{"policy": "policy.json", "upstreams": [{"registry": "docker.io"}]}`,
		"start of document": "---\n" + minimal,
		"empty sections":    minimal + "tls:\nreport_only:\nverdicts: {size: }\n",
		"no end of line":    strings.TrimSpace(minimal),
	} {
		t.Run(name, func(t *testing.T) {
			c := newSite(t).good(content, LoadOptions{})
			if c.Verdicts.Size != 100_000 || len(c.Upstreams) != 1 {
				t.Errorf("got %+v", c)
			}
		})
	}
}

func TestWhichRegistriesAreReached(t *testing.T) {
	c := &Config{Upstreams: []Upstream{{Registry: "a.example", Endpoint: "http://x"}}, DefaultRegistry: "docker.io"}
	if u, ok := c.Upstream("a.example"); !ok || u.Endpoint != "http://x" {
		t.Errorf("listed registry: %+v %v", u, ok)
	}
	for _, others := range []string{"", OthersDeny, "Allow", "yes"} {
		c.OtherRegistries = others
		if _, ok := c.Upstream("b.example"); ok {
			t.Errorf("other_registries %q reaches a registry that is not listed", others)
		}
	}
	c.OtherRegistries = OthersAllow
	if _, ok := c.Upstream(""); ok {
		t.Error("a registry without a name is reached")
	}
	if got := c.Registries(); !reflect.DeepEqual(got, []string{"a.example", "docker.io"}) {
		t.Errorf("registries %q", got)
	}
}
