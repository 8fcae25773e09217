package doctor

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// refusal is a gate's answer for the canary; everything else is an empty document.
func refusal(w http.ResponseWriter, r *http.Request) {
	if !strings.Contains(r.URL.Path, canary) {
		fmt.Fprint(w, "{}")
		return
	}
	w.WriteHeader(http.StatusForbidden)
	fmt.Fprintf(w, `{"errors":[{"code":"DENIED","message":"pullgate canary %s: this image is always refused"}]}`, filepath.Base(r.URL.Path))
}

// clinic is a node with fake clients and a gate.
type clinic struct {
	t      *testing.T
	root   string
	dir    string // of what the clients say, and calls
	o      Options
	mu     sync.Mutex
	docker []string // requests to docker's daemon
	mirror string   // that docker's daemon says it has, as JSON
}

func newClinic(t *testing.T, files map[string]string) *clinic {
	gate := httptest.NewServer(http.HandlerFunc(refusal))
	t.Cleanup(gate.Close)
	for name, content := range files {
		files[name] = strings.ReplaceAll(content, "GATE", gate.Listener.Addr().String())
	}
	c := &clinic{t: t, root: plant(t, files), dir: t.TempDir()}
	c.o = Options{Gates: []string{gate.URL}, Root: c.root, Pull: true, Timeout: 10 * time.Second, here: true}
	t.Setenv("PG_DIR", c.dir)
	t.Setenv("PATH", filepath.Join(c.dir, "bin"))
	t.Setenv("TMPDIR", shortDir(t))
	for _, name := range []string{"DOCKER_HOST", "HTTPS_PROXY", "https_proxy", "CONTAINERS_REGISTRIES_CONF"} {
		t.Setenv(name, "")
	}
	return c
}

func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "d") // a socket's path is of 107 bytes at most
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// client puts a fake program on PATH that says something and ends.
func (c *clinic) client(name string, exit int, says string) {
	c.t.Helper()
	fake, err := filepath.Abs("testdata/bin/fake")
	if err != nil {
		c.t.Fatal(err)
	}
	bin := filepath.Join(c.dir, "bin")
	_ = os.MkdirAll(bin, 0o755)
	_ = os.Symlink(fake, filepath.Join(bin, name))
	c.note(name+".says", says)
	c.note(name+".exit", fmt.Sprint(exit))
}

func (c *clinic) note(name, content string) {
	c.t.Helper()
	if err := os.WriteFile(filepath.Join(c.dir, name), []byte(content), 0o644); err != nil {
		c.t.Fatal(err)
	}
}

func (c *clinic) calls() string {
	b, _ := os.ReadFile(filepath.Join(c.dir, "calls"))
	return string(b)
}

// daemon is a docker daemon that answers pulls with one text.
func (c *clinic) daemon(version string, containerd bool, status int, answer string) {
	c.t.Helper()
	socket := filepath.Join(shortDir(c.t), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		c.t.Fatal(err)
	}
	driver := ""
	if containerd {
		driver = `["driver-type", "io.containerd.snapshotter.v1"]`
	}
	srv := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		c.docker = append(c.docker, r.Method+" "+r.URL.RequestURI())
		c.mu.Unlock()
		switch {
		case r.URL.Path == "/info":
			fmt.Fprintf(w, `{"ServerVersion": %q, "DriverStatus": [%s], "RegistryConfig": {"Mirrors": [%s]}}`, version, driver, c.mirror)
		case r.Method == http.MethodPost:
			w.WriteHeader(status)
			fmt.Fprintln(w, answer)
		}
	})}}
	srv.Start()
	c.t.Cleanup(srv.Close)
	c.o.DockerHost = "unix://" + socket
}

// listen makes a socket of the node.
func (c *clinic) listen(p string) {
	c.t.Helper()
	p = filepath.Join(c.root, p)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		c.t.Fatal(err)
	}
	l, err := net.Listen("unix", p)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { l.Close() })
}

func (c *clinic) run() *Report {
	c.t.Helper()
	r, err := Run(c.t.Context(), c.o)
	if err != nil {
		c.t.Fatal(err)
	}
	return r
}

func (r *Report) client(name string) Client {
	for _, c := range r.Clients {
		if c.Client == name {
			return c
		}
	}
	return Client{}
}

const (
	refusedText = "Error: reading manifest in GATE/docker.io/pullgate.invalid/canary/unsigned: denied: pullgate canary c0: this image is always refused"
	gateRule    = "[[registry]]\nprefix = \"docker.io\"\nlocation = \"GATE/docker.io\"\ninsecure = true\n"
	gateHosts   = "server = \"http://GATE\"\n[host.\"http://GATE\"]\n"
)

// A node on which everything leads to the gate, and every client shows it.
func TestAClosedNodeIsProven(t *testing.T) {
	c := newClinic(t, files{
		regs: gateRule, cdConf: goodCRI, cdHosts: gateHosts, dockerd: snapshot, dkHosts: gateHosts,
		k3sRegs: "mirrors:\n  '*':\n    endpoint: [http://GATE]\n", k3sConf: "disable-default-registry-endpoint: true\n",
	})
	for _, name := range []string{"podman", "buildah", "skopeo", "crictl", "k3s"} {
		c.client(name, 1, refusedText)
	}
	c.client("docker", 1, refusedText)
	c.note("buildx.version", "0")
	c.daemon("28.5.0", true, 200, `{"status":"Pulling"}`+"\n"+`{"errorDetail":{"message":"403 pullgate canary c0"},"error":"403 pullgate canary c0"}`)
	c.listen("run/k3s/containerd/containerd.sock")
	c.listen("run/containerd/containerd.sock")
	before := tree(t, c.root)
	r := c.run()
	if r.Summary.Exit != ExitClosed || r.Summary.ClosedProven != 7 {
		t.Errorf("%+v\n%s", r.Summary, text(t, r))
	}
	for _, client := range r.Clients {
		for _, p := range client.Proofs {
			if !strings.HasPrefix(p.Reference, "docker.io/"+canary+":c") || p.Exit == 0 || p.Command == "" {
				t.Errorf("%s: %+v", client.Client, p)
			}
		}
	}
	if after := tree(t, c.root); after != before {
		t.Error("the node was changed")
	}
	if left, _ := os.ReadDir(os.Getenv("TMPDIR")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// tree describes all files below a directory.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var out strings.Builder
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintln(&out, p, info.Size(), info.Mode(), info.ModTime())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func text(t *testing.T, r *Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.Text(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// The canary arrives: the loudest thing there is, and it is taken away again.
func TestACanaryThatArrives(t *testing.T) {
	t.Run("podman", func(t *testing.T) {
		c := newClinic(t, files{regs: gateRule})
		c.client("podman", 0, "sha256:abc")
		c.expect("podman", ResultOpen, ExitOpen)
	})
	t.Run("crictl", func(t *testing.T) {
		c := newClinic(t, files{cdConf: goodCRI, cdHosts: gateHosts})
		c.client("crictl", 0, "Image is up to date")
		c.o.ContainerdAddress = "/run/x.sock"
		c.expect("containerd", ResultOpen, ExitOpen)
		if !strings.Contains(c.calls(), "rmi docker.io/"+canary) {
			t.Error("not removed:", c.calls())
		}
	})
	t.Run("ctr", func(t *testing.T) {
		c := newClinic(t, files{cdConf: goodCRI, cdHosts: gateHosts})
		c.client("ctr", 0, "done")
		c.o.ContainerdAddress = "/run/x.sock"
		c.expect("containerd", ResultOpen, ExitOpen)
		for _, part := range []string{
			"--namespace pullgate-doctor images pull --hosts-dir " + c.root + "/etc/containerd/certs.d docker.io/" + canary,
			"images rm --sync docker.io/" + canary, "namespaces rm pullgate-doctor",
		} {
			if !strings.Contains(c.calls(), part) {
				t.Errorf("expected %q in %s", part, c.calls())
			}
		}
	})
	t.Run("docker", func(t *testing.T) {
		c := newClinic(t, files{dockerd: snapshot, dkHosts: gateHosts})
		c.daemon("28.5.0", true, 200, `{"status":"Status: Downloaded newer image"}`)
		c.expect("docker", ResultOpen, ExitOpen)
		if !slices.ContainsFunc(c.docker, func(s string) bool { return strings.HasPrefix(s, "DELETE /images/docker.io/"+canary) }) {
			t.Error("not removed:", c.docker)
		}
	})
}

func (c *clinic) expect(client, result string, exit int) Client {
	c.t.Helper()
	r := c.run()
	got := r.client(client)
	if got.Result != result || r.Summary.Exit != exit {
		c.t.Errorf("%s, exit %d: expected %s, %d\n%s", got.Result, r.Summary.Exit, result, exit, text(c.t, r))
	}
	return got
}

// What is pulled and what is configured have to agree.
func TestProofs(t *testing.T) {
	t.Run("podman asks Hub after the gate", func(t *testing.T) {
		c := newClinic(t, files{regs: gateRule})
		c.client("podman", 125, "Error: initializing source docker://x: (Mirrors also failed: [GATE/x: denied: pullgate canary c0]): docker.io/"+canary+": requested access to the resource is denied")
		c.expect("podman", ResultOpen, ExitOpen)
	})
	t.Run("docker's graph driver behind a listener for mirrors", func(t *testing.T) {
		c := newClinic(t, files{dockerd: `{"registry-mirrors": ["http://GATE"]}`})
		c.daemon("20.10.24", false, 500, `{"message":"received unexpected HTTP status: 500 no such process"}`)
		if got := c.expect("docker", ResultNotProven, ExitNotProven); !strings.Contains(got.Findings[0].Consequence, "this is no boundary") {
			t.Errorf("%+v", got.Findings)
		}
	})
	t.Run("docker's containerd store behind one prints the first error only", func(t *testing.T) {
		c := newClinic(t, files{dockerd: `{"registry-mirrors": ["http://GATE"]}`})
		c.daemon("28.5.0", true, 500, `{"message":"unexpected status: 403 pullgate canary c0"}`)
		c.expect("docker", ResultOpenByConfiguration, ExitOpen)
	})
	t.Run("docker has not been restarted since the mirror was taken away", func(t *testing.T) {
		c := newClinic(t, files{dockerd: snapshot, dkHosts: gateHosts})
		c.mirror = `"http://gate.example/"`
		c.daemon("28.5.0", true, 500, `{"message":"unexpected status: 403 pullgate canary c0"}`)
		c.expect("docker", ResultNotProven, ExitNotProven)
	})
	t.Run("builds behind one fall back, too", func(t *testing.T) {
		c := newClinic(t, files{dockerd: `{"registry-mirrors": ["http://GATE"]}`})
		c.daemon("20.10.24", false, 500, `{"message":"500 no such process"}`)
		c.client("docker", 1, refusedText)
		c.note("buildx.version", "0")
		c.expect("buildx", ResultOpenByConfiguration, ExitOpen)
	})
	t.Run("a builder with a BuildKit of its own", func(t *testing.T) {
		for driver, want := range map[string]string{"docker-container": ResultNotProven, "docker": ResultClosedProven} {
			c := newClinic(t, files{
				dockerd:                              `{"proxies": {"https-proxy": "http://127.0.0.1:1"}}`,
				"root/.docker/buildx/instances/mine": `{"Name": "mine", "Driver": "` + driver + `"}`,
			})
			c.o.Proxy = "http://127.0.0.1:1"
			c.daemon("28.5.0", false, 500, `{"message":"pullgate canary c0"}`)
			c.client("docker", 1, refusedText)
			c.note("buildx.version", "0")
			if got := c.run().client("buildx"); got.Result != want {
				t.Errorf("%s: %+v", driver, got)
			}
		}
	})
	t.Run("a builder whose name is a line and a command", func(t *testing.T) {
		const name = "x; reboot\ndocker: closed and proven\x1b[2A\u202e"
		c := newClinic(t, files{
			dockerd:                                 `{"proxies": {"https-proxy": "http://127.0.0.1:1"}}`,
			"root/.docker/buildx/instances/" + name: `{}`,
		})
		c.o.Proxy = "http://127.0.0.1:1"
		c.daemon("28.5.0", false, 500, `{"message":"pullgate canary c0"}`)
		c.client("docker", 1, refusedText)
		c.note("buildx.version", "0")
		var text bytes.Buffer
		if err := c.run().Text(&text); err != nil {
			t.Fatal(err)
		}
		if s := text.String(); strings.Contains(s, "\ndocker: closed") || strings.ContainsAny(s, "\x1b\u202e") || strings.Contains(s, "rm x;") || !strings.Contains(s, "rm 'x;") {
			t.Errorf("%q", s)
		}
	})
	t.Run("containerd with the registry behind the gate prints the first error only", func(t *testing.T) {
		c := newClinic(t, files{cdConf: goodCRI, cdHosts: "server = \"https://registry-1.docker.io\"\n[host.\"http://GATE\"]\n"})
		c.client("crictl", 1, "403 pullgate canary c0")
		c.o.ContainerdAddress = "/run/x.sock"
		c.expect("containerd", ResultOpenByConfiguration, ExitOpen)
	})
	t.Run("podman asks a mirror beside the proxy first, which does not have the canary", func(t *testing.T) {
		c := newClinic(t, files{
			regs:              "[[registry]]\nprefix = 'docker.io'\nlocation = 'docker.io'\n[[registry.mirror]]\nlocation = 'mirror.internal'\n",
			"etc/environment": "https_proxy=http://127.0.0.1:1\nno_proxy=.internal\n",
		})
		c.o.Proxy = "http://127.0.0.1:1"
		c.client("podman", 125, "Error: initializing source docker://x: (Mirrors also failed: [mirror.internal/x: manifest unknown]): docker.io/"+canary+": denied: pullgate canary c0")
		c.expect("podman", ResultOpenByConfiguration, ExitOpen)
	})
	t.Run("CRI-O asks Hub after the gate", func(t *testing.T) {
		c := newClinic(t, files{"etc/crio/": "", regs: gateRule})
		c.listen("run/crio/crio.sock")
		c.client("crictl", 1, "pulling image: (Mirrors also failed: [GATE/x: denied: pullgate canary c0]): docker.io/"+canary+": requested access to the resource is denied")
		c.expect("cri-o", ResultOpen, ExitOpen)
	})
	t.Run("CRI-O is blocked behind the gate", func(t *testing.T) {
		c := newClinic(t, files{"etc/crio/": "", regs: gateRule})
		c.listen("run/crio/crio.sock")
		c.client("crictl", 1, "pulling image: (Mirrors also failed: [GATE/x: denied: pullgate canary c0]): docker.io/"+canary+": registry docker.io is blocked in /etc/x")
		c.expect("cri-o", ResultClosedProven, ExitClosed)
	})
	t.Run("buildctl through the gate's proxy", func(t *testing.T) {
		c := newClinic(t, files{bkConf: "", "etc/systemd/system/buildkit.service": "[Service]\nEnvironment=HTTPS_PROXY=http://127.0.0.1:1\n"})
		c.o.Proxy = "http://127.0.0.1:1"
		c.client("buildctl", 1, refusedText)
		c.expect("buildkit", ResultClosedProven, ExitNotProven) // the proxy itself does not answer
	})
	t.Run("ctr is given containerd's proxies, and not this shell's", func(t *testing.T) {
		c := newClinic(t, files{cdConf: goodCRI, cdHosts: gateHosts})
		c.client("ctr", 1, "pullgate canary c0")
		t.Setenv("https_proxy", "http://127.0.0.1:9")
		c.o.ContainerdAddress = "/run/x.sock"
		c.expect("containerd", ResultClosedProven, ExitClosed)
		if !strings.Contains(c.calls(), "ctr https_proxy= HTTPS_PROXY= --address") {
			t.Error(c.calls())
		}
	})
	t.Run("name resolution leads docker to the gate", func(t *testing.T) {
		c := newClinic(t, files{dockerd: "{}"})
		c.daemon("20.10.24", false, 404, `{"message":"manifest unverified: pullgate canary c0"}`)
		if got := c.expect("docker", ResultClosedProven, ExitClosed); len(got.Findings) != 1 || got.Findings[0].Severity != SeverityWarning {
			t.Errorf("%+v", got.Findings)
		}
	})
	t.Run("a client that hangs", func(t *testing.T) {
		c := newClinic(t, files{regs: gateRule})
		c.client("podman", 0, "")
		c.note("podman.sleep", "")
		c.o.Timeout = 300 * time.Millisecond
		if got := c.expect("podman", ResultNotProven, ExitNotProven); got.Proofs[0].Verdict != VerdictNotRun {
			t.Errorf("%+v", got.Proofs)
		}
	})
	t.Run("another system's podman proves nothing about a root", func(t *testing.T) {
		c := newClinic(t, files{regs: gateRule})
		c.client("podman", 125, refusedText)
		c.o.here = false
		if got := c.expect("podman", ResultNotProven, ExitNotProven); c.calls() != "" || got.Proofs[0].Verdict != VerdictNotRun {
			t.Errorf("%s %+v", c.calls(), got.Proofs)
		}
	})
	t.Run("this shell's configuration proves nothing about the node", func(t *testing.T) {
		c := newClinic(t, files{regs: gateRule})
		c.client("podman", 125, refusedText)
		t.Setenv("CONTAINERS_REGISTRIES_CONF", "/tmp/x")
		c.expect("podman", ResultNotProven, ExitNotProven)
	})
	t.Run("nor does its proxy", func(t *testing.T) {
		c := newClinic(t, files{regs: ""})
		c.client("podman", 125, refusedText)
		t.Setenv("HTTPS_PROXY", "http://127.0.0.1:9")
		c.expect("podman", ResultOpenByConfiguration, ExitOpen)
	})
	t.Run("nothing is pulled when that is wanted", func(t *testing.T) {
		c := newClinic(t, files{regs: gateRule, dockerd: "{}"})
		c.client("podman", 125, refusedText)
		c.daemon("28.5.0", true, 200, "{}")
		c.o.Pull = false
		if c.run(); c.calls() != "" || !slices.Equal(c.docker, []string{"GET /info"}) {
			t.Error(c.calls(), c.docker)
		}
	})
	t.Run("a gate that is none", func(t *testing.T) {
		c := newClinic(t, files{regs: "[[registry]]\nprefix = 'docker.io'\nlocation = '127.0.0.1:1'\n"})
		c.client("podman", 125, refusedText)
		c.o.Gates = []string{"http://127.0.0.1:1"}
		c.expect("podman", ResultClosedProven, ExitNotProven)
	})
}

// What answers for the gate, and whether it is one.
func TestTheGateIsAskedItself(t *testing.T) {
	for _, test := range []struct {
		name    string
		answer  http.HandlerFunc
		refuses bool
		problem string
	}{
		{"a gate", refusal, true, ""},
		{"a listener of one registry", func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/v2/docker.io/") {
				http.NotFound(w, r)
				return
			}
			refusal(w, r)
		}, true, ""},
		{"a registry", http.NotFound, false, "not a gate"},
		{"one that hands it out", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "pullgate canary") }, false, "not a gate"},
		{"one that sends elsewhere", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/pullgate canary", http.StatusFound)
		}, false, "not a gate"},
		{"one that wants a password", func(w http.ResponseWriter, r *http.Request) {
			if _, password, _ := r.BasicAuth(); password == "hunter2" {
				refusal(w, r)
				return
			}
			w.WriteHeader(http.StatusUnauthorized)
		}, false, "wants credentials"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := httptest.NewServer(test.answer)
			defer s.Close()
			g, err := newGate(Options{Gates: []string{s.URL}})
			if err != nil {
				t.Fatal(err)
			}
			got := g.check(t.Context(), []string{"docker.io"}, "c0")
			if got.Refuses != test.refuses || (got.Finding == nil) != test.refuses || !test.refuses && !strings.Contains(got.Finding.Problem, test.problem) {
				t.Errorf("%+v %+v", got, got.Finding)
			}
			if test.problem != "wants credentials" {
				return
			}
			g, _ = newGate(Options{Gates: []string{strings.Replace(s.URL, "://", "://alice:hunter2@", 1)}})
			got = g.check(t.Context(), []string{"docker.io"}, "c0")
			if b, _ := json.Marshal(got); !got.Refuses || strings.Contains(string(b), "hunter2") {
				t.Errorf("with a password: %s", b)
			}
		})
	}
}

// With --proxy the gate is asked as an intercepted client asks it: CONNECT to the
// registry's own name, and a certificate of the interception authority.
func TestTheProxyIsAskedItself(t *testing.T) {
	registry := httptest.NewUnstartedServer(http.HandlerFunc(refusal))
	registry.Config.ErrorLog = log.New(io.Discard, "", 0) // one client does not trust it
	registry.StartTLS()                                   // with a certificate for example.com
	defer registry.Close()
	var asked []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.Host)
		up, err := net.Dial("tcp", registry.Listener.Addr().String())
		if err != nil {
			t.Error(err)
			return
		}
		defer up.Close()
		down, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer down.Close()
		fmt.Fprint(down, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(up, down) }()
		_, _ = io.Copy(down, up)
	}))
	defer proxy.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: registry.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, refuses := range map[string]bool{ca: true, "": false} {
		g, err := newGate(Options{Proxy: proxy.URL, InterceptCA: file})
		if err != nil {
			t.Fatal(err)
		}
		got := g.check(t.Context(), []string{"example.com"}, "c0")
		if got.Refuses != refuses || len(got.Checks) != 1 || got.Checks[0].Via != proxy.URL || asked[0] != "CONNECT example.com:443" {
			t.Errorf("%v: %+v %v", refuses, got, asked)
		}
	}
}

func TestOptions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "none.pem")
	if err := os.WriteFile(file, []byte("none"), 0o600); err != nil {
		t.Fatal(err)
	}
	gate := []string{"https://gate.example"}
	for _, o := range []Options{
		{},
		{Gates: []string{"gate.example"}},
		{Gates: []string{"https://u:hunter2@gate.example/path"}},
		{Gates: []string{"ftp://gate.example"}},
		{Gates: []string{"https://u:hunter2@[::1"}},
		{Proxy: "gate.example:3128"},
		{Gates: gate, CA: file},
		{Gates: gate, InterceptCA: file + "x"},
		{Gates: gate, Registries: []string{"docker.io/library"}},
		{Gates: gate, Registries: []string{"--root"}},
		{Gates: gate, Registries: []string{""}},
		{Gates: gate, Registries: strings.Fields(strings.Repeat("r%d.example ", 40))},
		{Gates: gate, Root: file},
		{Gates: gate, Users: []string{"nobody-here"}},
		{Gates: gate, Timeout: time.Hour},
	} {
		for i, r := range o.Registries {
			o.Registries[i] = strings.Replace(r, "%d", fmt.Sprint(i), 1)
		}
		if o.Root == "" {
			o.Root = t.TempDir()
		}
		if _, err := Run(t.Context(), o); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

// The JSON is a contract: these names, and arrays that are never null.
func TestJSON(t *testing.T) {
	c := newClinic(t, files{regs: "unqualified-search-registries = ['quay.io']\n" + gateRule})
	c.client("podman", 125, refusedText)
	var b bytes.Buffer
	if err := c.run().JSON(&b); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "null") {
		t.Error(b.String())
	}
	var doc map[string]any
	if err := json.Unmarshal(b.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	first := doc["clients"].([]any)[0].(map[string]any)
	for name, test := range map[string]struct {
		value any
		keys  string
	}{
		"report":  {doc, "clients gate summary"},
		"gate":    {doc["gate"], "checks refuses urls"},
		"check":   {doc["gate"].(map[string]any)["checks"].([]any)[0], "detail status url verdict"},
		"client":  {first, "client findings proofs result version"},
		"finding": {first["findings"].([]any)[0], "client consequence file fix line problem severity"},
		"proof":   {first["proofs"].([]any)[0], "command exit output reason reference registry verdict"},
		"summary": {doc["summary"], "closedProven exit message notFound notProven open openByConfiguration"},
	} {
		var keys []string
		for k := range test.value.(map[string]any) {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		if got := strings.Join(keys, " "); got != test.keys {
			t.Errorf("%s: %s, expected %s", name, got, test.keys)
		}
	}
}

// Passwords of proxies, mirrors and logins are in no report, wherever they were.
func TestNothingSecretIsTold(t *testing.T) {
	const secret = "hunter2"
	c := newClinic(t, files{
		dockerd:                    `{"registry-mirrors": ["https://u:hunter2@mirror.example"], "proxies": {"https-proxy": "http://u:hunter2@other.example:3128"}}`,
		drop:                       "[Service]\nEnvironment=HTTP_PROXY=u:hunter2@other.example:3128\n",
		cdConf:                     goodCRI,
		cdHosts:                    "server = \"https://u:hunter2@x.example\"\n[host.\"https://u:hunter2@y.example\"]\n[host.\"https://u:hunter2@y.example\".header]\nauthorization = \"Basic hunter2\"\n",
		regs:                       "[[registry]]\nprefix = 'docker.io'\nlocation = 'u:hunter2@docker.io'\n",
		k3sRegs:                    "mirrors:\n  docker.io:\n    endpoint: ['https://u:hunter2@x.example']\nconfigs:\n  x:\n    auth: {password: hunter2}\n    tls: hunter2\n",
		bkConf:                     "[registry.\"docker.io\"]\nmirrors = [\"u:hunter2@mirror.example\"]\n",
		"root/.docker/config.json": `{"auths": {"x": {"auth": "hunter2"}}, "proxies": {"default": {"httpsProxy": "http://u:hunter2@x.example"}}}`,
		"etc/environment":          "HTTPS_PROXY=http://u:hunter2@other.example:3128\n",
	})
	for _, name := range []string{"podman", "skopeo", "buildctl", "crictl"} {
		c.client(name, 1, "Error: proxyconnect tcp: dial http://u:hunter2@other.example:3128/x u:hunter2@y Authorization: Bearer hunter2hunter2\x1b[2J")
	}
	c.daemon("28.0.0", false, 500, `{"message":"Get http://u:hunter2@other.example"}`)
	c.o.ContainerdAddress = "/run/x.sock"
	c.o.Proxy = "http://u:hunter2@127.0.0.1:1"
	r := c.run()
	var b bytes.Buffer
	if err := r.JSON(&b); err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{b.String(), text(t, r)} {
		if i := strings.Index(s, secret); i >= 0 || strings.Contains(s, "\x1b") {
			t.Errorf("…%s…", s[max(0, i-200):min(len(s), max(i, 0)+100)])
		}
	}
	if r.Summary.Open+r.Summary.OpenByConfiguration < 5 {
		t.Errorf("%+v", r.Summary)
	}
}
