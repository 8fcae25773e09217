package doctor

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is printed as the way to close a client repeats everything that doctor was
// given: without a registry or an authority it would open the node.
func TestCommandsAreComplete(t *testing.T) {
	g := func(gates []string, proxy, ca, intercept string) *gate {
		out := &gate{caFile: ca, interceptFile: intercept}
		for _, raw := range gates {
			u, err := parseURL("--gate", raw)
			if err != nil {
				t.Fatal(err)
			}
			out.urls = append(out.urls, u)
		}
		if proxy != "" {
			u, err := parseURL("--proxy", proxy)
			if err != nil {
				t.Fatal(err)
			}
			out.proxy = u
		}
		return out
	}
	all := g([]string{"https://gate.example", "https://other.example"}, "http://alice:hunter2@gate.example:3128", "ca.crt", "my files/i.crt")
	byName, byProxy := g([]string{"https://gate.example"}, "", "", ""), g(nil, "http://gate.example:3128", "", "i.crt")
	two := advice{registries: []string{"docker.io", "gate.example", "reg.example:5000"}}
	below := two
	below.root = "/mnt/a node"
	old := two
	old.oldDocker = true
	const both = "--gate https://gate.example --ca ca.crt --proxy http://user:password@gate.example:3128 --intercept-ca 'my files/i.crt' --registry docker.io --registry reg.example:5000"
	for _, test := range []struct {
		client string
		g      *gate
		advice advice
		want   string
	}{
		{"docker", all, two, "pullgate client docker " + both},
		{"docker", all, below, "pullgate client docker " + both + " --write --root '/mnt/a node'"},
		{"docker", all, old, "pullgate client docker --mode environment " + both},
		{"containerd", all, two, "pullgate client containerd " + both},
		{"podman", all, two, "pullgate client podman " + both + "=PREFIX"},
		{"k3s", all, two, "pullgate client k3s " + both},
		{"docker", byName, two, "pullgate client docker --gate https://gate.example --proxy http://GATE:3128 --intercept-ca FILE --registry docker.io --registry reg.example:5000"},
		{"k3s", byProxy, two, "pullgate client k3s --gate https://GATE --proxy http://gate.example:3128 --intercept-ca i.crt --registry docker.io --registry gate.example --registry reg.example:5000"},
		{"skopeo", byProxy, advice{registries: []string{"docker.io"}}, "pullgate client podman --mode proxy --proxy http://gate.example:3128 --intercept-ca i.crt --registry docker.io"},
		{"buildkit", byProxy, advice{registries: []string{"quay.io"}}, "pullgate client buildkit --proxy http://gate.example:3128 --intercept-ca i.crt --registry quay.io"},
	} {
		i := &inspection{client: test.client, g: test.g, advice: test.advice}
		if got := i.howto(); got != test.want {
			t.Errorf("%s:\nfound    %s\nexpected %s", test.client, got, test.want)
		}
	}
}

// Advice about passwords stays readable; passwords do not.
func TestAdviceIsNotRedacted(t *testing.T) {
	for in, want := range map[string]string{
		"in the URL of the proxy: http://user:password@host:port":  "in the URL of the proxy: http://user:password@host:port",
		"put user:password@ into the URL of the proxy":             "put user:password@ into the URL of the proxy",
		"http://user:password2@host":                               "http://***@host",
		"http://user:password@evil:hunter2@host":                   "http://***@host",
		"alice:hunter2@host and user:password@":                    "***@host and user:password@",
		"http://alice:hunter2@host, http://user:password@host:123": "http://***@host, http://user:password@host:123",
	} {
		if got := redact(in); got != want {
			t.Errorf("%s: %s, expected %s", in, got, want)
		}
	}
}

// A proxy that asks for a password: the fix says how to give one.
func TestAProxyThatAsksForAPassword(t *testing.T) {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Proxy-Authenticate", "Basic")
		w.WriteHeader(http.StatusProxyAuthRequired)
	}))
	defer proxy.Close()
	g, err := newGate(Options{Proxy: strings.Replace(proxy.URL, "://", "://alice:hunter2@", 1)})
	if err != nil {
		t.Fatal(err)
	}
	got := g.check(t.Context(), []string{"docker.io"}, "c0")
	b, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	if got.Refuses || got.Checks[0].Status != http.StatusProxyAuthRequired || !strings.Contains(got.Finding.Fix, "--proxy http://user:password@host:port") || strings.Contains(string(b), "hunter2") {
		t.Errorf("%s", b)
	}
	c := newClinic(t, files{regs: gateRule})
	c.client("podman", 125, "Error: docker.io/"+canary+": nobody showed a certificate; what would pass: a user name and password that the gate knows, in the URL of the proxy: http://user:password@host:port")
	report := c.run()
	if s := text(t, report); !strings.Contains(s, "fix: does the gate ask for passwords? By proxy: give a user name and password with --proxy http://user:password@host:port") {
		t.Error(s)
	}
}

// A listener of the gate that doctor was not told of is no gate to it, and it says
// what to do; that something answers like one closes nothing.
func TestAnotherListener(t *testing.T) {
	asked := 0
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		if r.Header.Get("Authorization") != "" {
			t.Error("was given credentials")
		}
		refusal(w, r)
	}))
	defer other.Close()
	c := newClinic(t, files{dockerd: fmt.Sprintf(`{"registry-mirrors": [%q]}`, strings.Replace(other.URL, "://", "://u:hunter2@", 1)),
		cdConf: goodCRI, cdHosts: fmt.Sprintf("server = %q\n[host.%q]\n", other.URL, other.URL)})
	r := c.run()
	for _, client := range []string{"docker", "containerd"} {
		got := r.client(client)
		if got.Result != ResultOpenByConfiguration || !strings.Contains(got.Findings[0].Fix, other.URL+" answers as a pullgate: if it is a listener of this gate, run doctor with --gate "+other.URL+" as well") {
			t.Errorf("%s: %s %+v", client, got.Result, got.Findings)
		}
	}
	if asked == 0 || asked > 2 {
		t.Errorf("asked %d times", asked)
	}
	c.o.Pull = false
	asked = 0
	if got := c.run().client("docker"); asked != 0 || !strings.Contains(got.Findings[0].Fix, "if it is a listener of this gate, run doctor with --gate "+other.URL) {
		t.Errorf("asked %d times, %+v", asked, got.Findings)
	}
}

// Addresses in a node's files make doctor ask a bounded number of them.
func TestStrangersAreBounded(t *testing.T) {
	asked := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { asked++; w.WriteHeader(http.StatusNotFound) }))
	defer s.Close()
	var mirrors []string
	for i := range 40 {
		mirrors = append(mirrors, fmt.Sprintf(`"http://127.0.0.%d%s"`, i+1, s.Listener.Addr().String()[len("127.0.0.1"):]))
	}
	c := newClinic(t, files{dockerd: `{"registry-mirrors": [` + strings.Join(mirrors, ",") + `]}`})
	c.o.Timeout = 0
	d, err := newDoctor(c.o)
	if err != nil {
		t.Fatal(err)
	}
	d.docker(t.Context())
	if len(d.strangers) > maxStrangers || asked == 0 || asked > 2*maxStrangers {
		t.Errorf("%d strangers, asked %d times", len(d.strangers), asked)
	}
}

// dockerd knows --validate since 23; an older one is not told to use it.
func TestValidateIsForNewerDocker(t *testing.T) {
	for version, says := range map[string]bool{"28.5.0": true, "23.0.1": true, "20.10.24": false} {
		c := newClinic(t, files{dockerd: "{"})
		c.daemon(version, false, 500, `{"message":"x"}`)
		s := text(t, c.run())
		if strings.Contains(s, "dockerd --validate") != says || strings.Contains(s, "--mode environment") == says {
			t.Errorf("%s: %s", version, s)
		}
	}
	if s := text(t, newClinic(t, files{dockerd: "{"}).run()); strings.Contains(s, "--validate") {
		t.Error(s)
	}
}

// A proxy whose password is in a file of variables is the gate's.
func TestAProxyWithAPasswordIsTheGate(t *testing.T) {
	const variables = "etc/systemd/system/docker.service.d/pullgate.env"
	root := plant(t, files{dockerd: "{}", drop: "[Service]\nEnvironmentFile=/" + variables + "\n",
		variables: "# x\nHTTPS_PROXY=\"http://alice:h%25unter2%40@gate.example:3128\"\nNO_PROXY=\"localhost\"\n"})
	if err := os.Chmod(filepath.Join(root, variables), 0o600); err != nil {
		t.Fatal(err)
	}
	if c := look(t, root, "docker", nil); len(c.Findings) != 0 {
		t.Errorf("%+v", c.Findings)
	}
}
