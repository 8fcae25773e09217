//go:build bench

// Package bench compares the gate with its peers: all servers run on this
// machine in one run, rounds alternate, and what counts are ratios. Absolute
// figures say more about the machine than about the programs.
package bench

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

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
	servers := []server{
		{"pullgate, signature required", signed.URL + "/v2/bench/app/manifests/v1", signed.Process.PID()},
		{"pullgate, anything accepted", open.URL + "/v2/bench/app/manifests/v1", open.Process.PID()},
		{"docker-registry 2.8 itself", reg.URL + "/v2/bench/app/manifests/v1", reg.Process.PID()},
		nginx(t, image),
	}
	limit := goLimit(t, image)
	for _, connections := range []int{1, 32, 256} {
		t.Log(measure(t, wrk, append(servers, limit), connections))
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

// goLimit is a bare handler with the same bytes: what net/http can do here. It
// runs in this process, so its CPU time is not told apart.
func goLimit(t *testing.T, image harness.Image) server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Content-Type", image.MediaType)
		h.Set("Content-Length", strconv.Itoa(len(image.Manifest)))
		h.Set("Docker-Content-Digest", image.Digest.String())
		w.Write(image.Manifest)
	}))
	t.Cleanup(s.Close)
	return server{"net/http, the same bytes", s.URL, 0}
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
	p.WaitUntil(t, "nginx", func() bool {
		r, err := http.Get(url)
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
	return server{"nginx, the same bytes as a file", url, p.PID()}
}

func write(t *testing.T, path string, b []byte) {
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// measure runs wrk against each server in turn, several times, and tabulates the
// medians and their ratio to the first server's.
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
	fmt.Fprintf(&b, "\nwarm manifest by tag, %d connections, medians of %d rounds of %s\n", connections, rounds, duration)
	fmt.Fprintf(&b, "| | requests/s | first = 1 | CPU µs a request |\n|---|---|---|---|\n")
	base := median(perSecond[0])
	for i, s := range servers {
		micro := "–"
		if s.pid != 0 {
			micro = fmt.Sprintf("%.0f", median(micros[i]))
		}
		fmt.Fprintf(&b, "| %s | %.0f | %.2f | %s |\n", s.name, median(perSecond[i]), median(perSecond[i])/base, micro)
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

func median(v []float64) float64 {
	v = slices.Clone(v)
	slices.Sort(v)
	return v[len(v)/2]
}
