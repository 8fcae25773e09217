//go:build bench

// Package bench compares the gate with its peers: all servers run on this
// machine in one run, rounds alternate, and what counts are ratios of the best
// rounds. Absolute figures say more about the machine than about the programs.
package bench

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/e2e/harness"
)

const (
	rounds   = 5
	duration = "2s"
)

// server is one competitor: where the manifest is, and whose CPU time counts.
type server struct {
	name string
	url  string
	pid  int
}

// TestWarmManifest asks for one manifest by tag again and again: the gate answers
// from memory with a cached verdict, the others as they do.
func TestWarmManifest(t *testing.T) {
	wrk := harness.Require(t, "wrk")
	image := harness.NewImage(t, "bench")
	key := harness.NewGPG(t).Key(t, harness.RSA3072)
	reg := harness.NewDockerRegistry(t)
	reg.Push(t, "bench/app", "v1", image)
	sigs := harness.NewFileLookaside(t)
	sigs.Put(t, "bench/app", image.Digest, key.Sign(t, "registry.example/bench/app:v1", image.Digest))

	signed := harness.StartGate(t, gateConfig(reg, sigs, key.SignedBy(t)))
	open := harness.StartGate(t, gateConfig(reg, sigs, harness.AcceptAnything()))
	config := gateConfig(reg, sigs, key.SignedBy(t))
	for i := range 10_000 {
		config.Policy.Transports["docker"][fmt.Sprintf("registry.example/bench/app-%d", i)] = []harness.Requirement{harness.Reject()}
	}
	large := harness.StartGate(t, config)
	const path = "/v2/bench/app/manifests/v1"
	servers := []server{
		{"pullgate, signature required", signed.URL + path, signed.Process.PID()},
		{"pullgate, the same with 10,000 scopes", large.URL + path, large.Process.PID()},
		{"pullgate, anything accepted", open.URL + path, open.Process.PID()},
		{"docker-registry 2.8 itself", reg.URL + path, reg.Process.PID()},
		nginx(t, image),
		goLimit(t, image),
	}
	for _, connections := range []int{1, 32, 256} {
		t.Log(measure(t, wrk, servers, connections))
	}
}

func gateConfig(reg *harness.Registry, sigs *harness.Lookaside, r harness.Requirement) harness.GateConfig {
	return harness.GateConfig{
		Upstreams:   []harness.Upstream{{Registry: "registry.example", Endpoint: reg.URL}},
		Policy:      harness.PolicyFor("registry.example", r),
		RegistriesD: harness.RegistriesD{"": {Lookaside: sigs.URL}},
		TagsTTL:     1 << 40,
	}
}

// goLimit is a bare handler with the same bytes, in a process of its own: what
// net/http can do here.
func goLimit(t *testing.T, image harness.Image) server {
	file := filepath.Join(t.TempDir(), "manifest")
	write(t, file, image.Manifest)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	addr := harness.FreeAddr(t)
	p := harness.StartProcess(t, []string{limitAddr + "=" + addr, limitFile + "=" + file, limitType + "=" + image.MediaType}, self)
	url := "http://" + addr + "/"
	p.WaitUntil(t, "net/http", func() bool { return answers(url) })
	return server{"net/http, the same bytes", url, p.PID()}
}

// What tells this program to be that handler.
const (
	limitAddr = "PULLGATE_BENCH_ADDR"
	limitFile = "PULLGATE_BENCH_FILE"
	limitType = "PULLGATE_BENCH_TYPE"
)

func TestMain(m *testing.M) {
	if os.Getenv(limitAddr) == "" {
		os.Exit(m.Run())
	}
	b, err := os.ReadFile(os.Getenv(limitFile))
	if err == nil {
		err = http.ListenAndServe(os.Getenv(limitAddr), sameBytes(b, os.Getenv(limitType)))
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func sameBytes(b []byte, mediaType string) http.Handler {
	d := digest.FromBytes(b).String()
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Content-Type", mediaType)
		h.Set("Content-Length", strconv.Itoa(len(b)))
		h.Set("Docker-Content-Digest", d)
		w.Write(b)
	})
}

// answers tells whether a server is there.
func answers(url string) bool {
	r, err := http.Get(url)
	if err != nil {
		return false
	}
	r.Body.Close()
	return r.StatusCode == http.StatusOK
}

// nginx serves the manifest as a file, with one worker.
func nginx(t *testing.T, image harness.Image) server {
	program := harness.Require(t, "nginx")
	dir := harness.ShortDir(t)
	addr := harness.FreeAddr(t)
	conf := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log stderr crit;
events { worker_connections 2048; }
http { access_log %[1]s/access; client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s;
uwsgi_temp_path %[1]s; scgi_temp_path %[1]s; sendfile on; keepalive_requests 100000000;
server { listen %[2]s; root %[1]s; default_type %[3]s; } }`, dir, addr, image.MediaType)
	write(t, filepath.Join(dir, "nginx.conf"), []byte(conf))
	write(t, filepath.Join(dir, "manifest"), image.Manifest)
	p := harness.StartProcess(t, nil, program, "-p", dir, "-c", filepath.Join(dir, "nginx.conf"))
	url := "http://" + addr + "/manifest"
	p.WaitUntil(t, "nginx", func() bool { return answers(url) })
	return server{"nginx, the same bytes as a file", url, p.PID()}
}

func write(t *testing.T, path string, b []byte) {
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// measure runs wrk against each server in turn, several times, and tabulates each
// one's best round: what disturbs a round only makes it worse. The spread is the
// best rate over the worst, which says how much was disturbed.
func measure(t *testing.T, wrk string, servers []server, connections int) string {
	perSecond := make([][]float64, len(servers))
	micros := make([][]float64, len(servers))
	for range rounds {
		for i, s := range servers {
			before := cpu(s.pid)
			rate, total := run(t, wrk, s.url, connections)
			perSecond[i] = append(perSecond[i], rate)
			micros[i] = append(micros[i], (cpu(s.pid)-before)/total*1e6)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\nwarm manifest by tag, %d connections, best of %d rounds of %s\n", connections, rounds, duration)
	fmt.Fprintf(&b, "| | requests/s | first = 1 | spread | CPU µs a request | first = 1 |\n|---|---|---|---|---|---|\n")
	rate, micro := slices.Max(perSecond[0]), slices.Min(micros[0])
	for i, s := range servers {
		best, least := slices.Max(perSecond[i]), slices.Min(micros[i])
		fmt.Fprintf(&b, "| %s | %.0f | %.2f | %.2f | %.1f | %.2f |\n", s.name, best, best/rate, best/slices.Min(perSecond[i]), least, least/micro)
	}
	return b.String()
}

var (
	rateLine  = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)
	totalLine = regexp.MustCompile(`(\d+) requests in`)
)

func run(t *testing.T, wrk, url string, connections int) (rate, total float64) {
	out := harness.MustRun(t, nil, wrk, "-t1", "-c"+strconv.Itoa(connections), "-d"+duration, "-H", "Accept: application/vnd.oci.image.manifest.v1+json", url)
	if strings.Contains(out.Output, "Non-2xx") {
		t.Fatalf("%s: %s", url, out.Output)
	}
	return number(t, rateLine, out.Output), number(t, totalLine, out.Output)
}

func number(t *testing.T, re *regexp.Regexp, text string) float64 {
	m := re.FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no figure in %s", text)
	}
	f, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// cpu is the processor time that a process has used so far, in seconds.
func cpu(pid int) float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	var ticks float64
	for _, f := range fields[11:13] { // utime, stime (proc(5))
		n, _ := strconv.ParseFloat(f, 64)
		ticks += n
	}
	return ticks / 100 // USER_HZ
}
