package clients_test

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"regexp"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/cmd/pullgate/clients"
)

// What cannot be written down safely, or would leave a client without the gate, is
// no plan.
func TestGatesThatAreRefused(t *testing.T) {
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("secret")})
	set := func(f func(*clients.Gate)) func(*clients.Gate) { return f }
	tests := map[string]struct {
		client string
		change func(*clients.Gate)
		want   string
	}{
		"unknown client":          {"rkt", nil, "expected one of docker,"},
		"no gate":                 {clients.Containerd, at(""), "--gate is missing"},
		"path":                    {clients.Containerd, at("https://gate.example/v2"), "found a path"},
		"slash":                   {clients.Containerd, at("https://gate.example/"), "found a path"},
		"query":                   {clients.Containerd, at("https://gate.example?x=1"), "a query or fragment"},
		"bare question mark":      {clients.Containerd, at("https://gate.example?"), "a query or fragment"},
		"fragment":                {clients.Containerd, at("https://gate.example#"), "a query or fragment"},
		"password":                {clients.Containerd, at("https://me:hunter2@gate.example"), "a user name or password"},
		"scheme":                  {clients.Containerd, at("ftp://gate.example"), "another scheme"},
		"no scheme":               {clients.Containerd, at("gate.example"), "another scheme"},
		"upper case":              {clients.Containerd, at("https://Gate.example"), "no host name in lower case"},
		"upper-case scheme":       {clients.Containerd, at("HTTPS://gate.example"), "no host name in lower case"},
		"port 0":                  {clients.Containerd, at("https://gate.example:0"), "a port that is none"},
		"port 08443":              {clients.Containerd, at("https://gate.example:08443"), "a port that is none"},
		"empty port":              {clients.Containerd, at("https://gate.example:"), "a port that is none"},
		"quote":                   {clients.Containerd, at("https://gate\"\n.example"), "--gate: expected https://host:port"},
		"newline":                 {clients.Containerd, at("https://gate.example\nserver"), "--gate: expected https://host:port"},
		"encoded host":            {clients.Containerd, at("https://gate%2eexample"), "--gate: expected https://host:port"},
		"host without dots":       {clients.Podman, at("https://gate"), "cannot hold a host without a dot or port"},
		"https proxy":             {clients.Docker, set(func(g *clients.Gate) { g.Proxy = "https://gate.example:3128" }), "--proxy: expected http://host:port"},
		"proxy without port":      {clients.Docker, set(func(g *clients.Gate) { g.Proxy = "http://gate.example" }), "without a port"},
		"no proxy":                {clients.Docker, set(func(g *clients.Gate) { g.Proxy = "" }), "--proxy is missing"},
		"no interception CA":      {clients.Docker, set(func(g *clients.Gate) { g.InterceptCA = nil }), "--intercept-ca is missing"},
		"interception leaf":       {clients.Docker, set(func(g *clients.Gate) { g.InterceptCA = file(t, "testdata/leaf.crt") }), "the certificate of an authority"},
		"key beside the CA":       {clients.Containerd, set(func(g *clients.Gate) { g.CA = append(g.CA, key...) }), `found a block "PRIVATE KEY"`},
		"CA cut short":            {clients.Containerd, set(func(g *clients.Gate) { g.CA = g.CA[:200] }), "cannot be read"},
		"CA is text":              {clients.Containerd, set(func(g *clients.Gate) { g.CA = []byte("none") }), "found none"},
		"CA too large":            {clients.Containerd, set(func(g *clients.Gate) { g.CA = bytes.Repeat([]byte("x"), 1<<20+1) }), "at most 1 MiB"},
		"no registry":             {clients.Containerd, registries(), "--registry: none is listed"},
		"registry with quote":     {clients.Podman, registries("a\".example"), "expected the name of a registry"},
		"registry with newline":   {clients.K3s, registries("a.example\nb.example"), "expected the name of a registry"},
		"registry with path":      {clients.Containerd, registries("../../etc"), "expected the name of a registry"},
		"registry with dots":      {clients.Containerd, registries(".."), "expected the name of a registry"},
		"repository":              {clients.Podman, registries("quay.io/team"), "expected the name of a registry"},
		"user in registry":        {clients.Podman, registries("me:hunter2@quay.io"), "holds an @"},
		"Docker Hub's other name": {clients.Podman, registries("registry-1.docker.io"), "write docker.io"},
		"port without prefix":     {clients.Podman, set(func(g *clients.Gate) { g.Paths = nil }), "a port cannot stand in a path"},
		"prefix is a path":        {clients.Podman, set(func(g *clients.Gate) { g.Paths = map[string]string{"docker.io": "a/../b"} }), "one path element"},
		"wildcard for containerd": {clients.Containerd, registries("*.example.com"), "only podman and cri-o"},
		"wildcard for docker":     {clients.Docker, registries("*.example.com"), "only podman and cri-o"},
		"wildcard for k3s":        {clients.K3s, registries("*.example.com"), "only podman and cri-o"},
		"wildcard of all":         {clients.Podman, registries("*"), "expected the name of a registry"},
		"wildcard inside":         {clients.Podman, registries("a.*.example.com"), "expected the name of a registry"},
		"too many registries":     {clients.Podman, registries(strings.Split(strings.Repeat("quay.io,", 1001), ",")...), "at most 1000"},
		"BuildKit's mirrors":      {clients.BuildKit, mode(clients.ModeName), "no closed configuration of mode name"},
		"domains by proxy":        {clients.Podman, func(g *clients.Gate) { g.Mode, g.Registries = clients.ModeProxy, []string{"*.example.com"} }, "*.domain cannot be given with --mode proxy"},
		"podman without a proxy":  {clients.Podman, func(g *clients.Gate) { g.Mode, g.Proxy = clients.ModeProxy, "" }, "--proxy is missing"},
		"k3s by proxy":            {clients.K3s, mode(clients.ModeProxy), "no closed configuration of mode proxy"},
		"unknown mode":            {clients.Docker, mode("mirror"), `expected auto, proxy, environment or name`},
		"unknown runtime":         {clients.Kubernetes, set(func(g *clients.Gate) { g.Runtime = "rkt" }), "expected containerd or cri-o"},
		"unknown trust store":     {clients.Docker, set(func(g *clients.Gate) { g.Anchors = "bsd" }), "expected debian or rhel"},
		"mirror is no URL":        {clients.Docker, set(func(g *clients.Gate) { g.Mirror = "gate.example:5002" }), "mirror: expected"},
	}
	for name, tt := range tests {
		g := gate(t)
		if tt.change != nil {
			tt.change(&g)
		}
		p, err := clients.For(tt.client, g)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2") || len(p.Files) > 0 {
			t.Errorf("%s: expected %q, found %v", name, tt.want, err)
		}
	}
}

func TestGoodGates(t *testing.T) {
	for _, url := range []string{"https://gate.example", "https://gate.example:8443", "http://10.0.0.1:5000", "https://[2001:db8::1]:8443", "https://localhost:5000"} {
		if _, err := clients.For(clients.Containerd, clients.Gate{URL: url, Registries: []string{"docker.io", "localhost:5000", "10.0.0.2:5000"}}); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestPlanAsJSON(t *testing.T) {
	b, err := json.Marshal(plan(t, clients.Docker))
	if err != nil {
		t.Fatal(err)
	}
	var p struct {
		Client, Mode string
		Files        []struct{ Path, Mode, Kind, Content string }
		Commands     []struct{ Run, Why string }
		Bypass       []string
	}
	if err := json.Unmarshal(b, &p); err != nil {
		t.Fatal(err)
	}
	f := p.Files[0]
	if p.Client != "docker" || p.Mode != "proxy" || f.Path != "/etc/docker/daemon.json" || f.Mode != "0644" || f.Kind != "merge-json" || !strings.Contains(f.Content, `"https-proxy"`) || len(p.Commands) == 0 || len(p.Bypass) == 0 {
		t.Errorf("found %+v", p)
	}
}

var (
	anyUserinfo  = regexp.MustCompile(`(?s)HTTPS?_PROXY=.*?@|://.*?@`)
	goodUserinfo = regexp.MustCompile(`^(HTTPS?_PROXY="?http)?://([A-Za-z0-9._~-]|%[0-9A-F]{2})+:([A-Za-z0-9._~-]|%[0-9A-F]{2})+@$`)
)

// No plan has anything in it that the gate's description could have smuggled in.
func FuzzFor(f *testing.F) {
	f.Add("https://gate.example", "http://gate.example:3128", "docker.io", "corp")
	f.Add("https://[::1]:5000", "http://10.0.0.1:3128", "registry.example.com:5000", "")
	f.Add("https://gate.example", "http://a%22%0A:$(b)%@gate.example:3128", "docker.io", "")
	f.Add("https://gate.example", "http://a%20;b:c&'d@gate.example:3128", "docker.io", "")
	f.Add("https://a\"\nb", "http://x:1\"", "*.example.com", "a\"")
	f.Fuzz(func(t *testing.T, url, proxy, registry, path string) {
		g := gate(t)
		g.URL, g.Proxy, g.Registries, g.Paths = url, proxy, []string{registry}, map[string]string{registry: path}
		for _, name := range clients.Names() {
			p, err := clients.For(name, g)
			if err != nil {
				continue
			}
			bare := proxy
			if i := strings.LastIndexByte(proxy, '@'); i >= 0 { // what is before it is written anew
				bare = proxy[i:]
			}
			for _, s := range []string{url, bare, registry} {
				if strings.ContainsAny(s, "\"'\n\r\t \\$`;&|<>%") {
					t.Fatalf("%s takes %q", name, s)
				}
			}
			for _, f := range p.Files {
				for _, info := range anyUserinfo.FindAllString(string(f.Content), -1) {
					if !goodUserinfo.MatchString(info) || f.Mode != 0o600 {
						t.Fatalf("%s writes %q, mode %v", name, info, f.Mode)
					}
				}
				if strings.Contains(f.Path, "..") || strings.Count(f.Path, "/") > 7 {
					t.Fatalf("%s writes to %q", name, f.Path)
				}
			}
		}
	})
}
