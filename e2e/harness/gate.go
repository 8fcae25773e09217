package harness

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// buildFlags make the static product as the Makefile does.
var buildFlags = []string{"build", "-tags", "containers_image_openpgp"}

var builds sync.Map // package path → func() (string, error)

// Binary returns the path of a command of this module ("pullgate",
// "pullgate-demo"): the value of its environment variable (PULLGATE_BIN,
// PULLGATE_DEMO_BIN) when that is set, or else a fresh build, once a test
// program.
func Binary(t testing.TB, command string) string {
	t.Helper()
	env := strings.ToUpper(strings.ReplaceAll(command, "-", "_")) + "_BIN"
	if path := os.Getenv(env); path != "" {
		abs, err := filepath.Abs(path)
		if err != nil {
			t.Fatal(err)
		}
		return abs
	}
	once, _ := builds.LoadOrStore(command, sync.OnceValues(func() (string, error) { return build(command) }))
	path, err := once.(func() (string, error))()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// build keeps its result in the user's cache, one for each package under test.
// Programs that run elsewhere keep the file that they were started from.
func build(command string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	here, err := os.Getwd()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "pullgate-e2e", digest.FromString(here).Encoded()[:12])
	path := filepath.Join(dir, command)
	fresh := fmt.Sprintf("%s.%d", path, os.Getpid())
	args := append(slices.Clone(buildFlags), "-o", fresh, "github.com/pullgate/pullgate/cmd/"+command)
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return path, os.Rename(fresh, path)
}

// Upstream is an entry of the configuration's list.
type Upstream struct {
	Registry  string // logical name
	Endpoint  string // URL, or oci:/path or dir:/path
	Prefix    string // optional
	Transport string // optional: "atomic"
	// Credentials is "client" for those of the clients; the gate's when empty.
	Credentials string
}

// GateConfig is what a test says about a gate. Everything else has the values
// that suit tests: free loopback ports, tags and denials remembered for no time,
// so that a test's changes take effect at once.
type GateConfig struct {
	Upstreams       []Upstream
	DefaultRegistry string // the first upstream when empty
	OtherRegistries string // "deny" when empty
	Policy          Policy // Reject for everything when zero
	RegistriesD     RegistriesD
	ReportOnly      []string
	AuthFile        string
	TLS             *PKI          // HTTPS, for clients with a certificate; plain HTTP when nil
	TagsTTL         time.Duration // 0: ask for a tag each time
	DeniedTTL       time.Duration // 0: judge a denied image each time
	// Extra lines of YAML, with keys that are not above.
	Extra string
	// Env is added to the gate's environment.
	Env []string
}

// Gate is a running pullgate serve.
type Gate struct {
	Addr     string // host:port of the registry API
	URL      string // http://host:port
	AdminURL string
	Dir      string // holds everything below
	Config   string // pullgate.yaml
	Policy   string // policy.json
	Process  *Process

	binary  string
	auditAt string
}

// WriteConfig writes the configuration, its policy and registries.d into a
// directory without starting anything, for tests of commands. The gate's
// Process is nil.
func WriteConfig(t testing.TB, c GateConfig) *Gate {
	t.Helper()
	dir := t.TempDir()
	g := &Gate{
		Addr: FreeAddr(t), Dir: dir, Config: filepath.Join(dir, "pullgate.yaml"), Policy: filepath.Join(dir, "policy.json"),
		binary: Binary(t, "pullgate"), auditAt: filepath.Join(dir, "audit.jsonl"),
	}
	g.URL = "http://" + g.Addr
	admin := FreeAddr(t)
	g.AdminURL = "http://" + admin
	if c.Policy.Default == nil {
		c.Policy.Default = []Requirement{Reject()}
	}
	if c.DefaultRegistry == "" && len(c.Upstreams) > 0 {
		c.DefaultRegistry = c.Upstreams[0].Registry
	}
	if c.OtherRegistries == "" {
		c.OtherRegistries = "deny"
	}
	writeFile(t, g.Policy, c.Policy.JSON(t))
	c.RegistriesD.Write(t, filepath.Join(dir, "registries.d"))
	writeFile(t, g.Config, c.yaml(g.Addr, admin))
	return g
}

// yaml writes the configuration. Strings are quoted as JSON, which YAML reads.
func (c GateConfig) yaml(listen, admin string) []byte {
	var b bytes.Buffer
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("listen: %q", listen)
	p("admin: {listen: %q}", admin)
	p("policy: policy.json\nregistries_d: registries.d")
	p("default_registry: %q", c.DefaultRegistry)
	p("other_registries: %q", c.OtherRegistries)
	p("upstreams:")
	for _, u := range c.Upstreams {
		p("  - registry: %q", u.Registry)
		p("    endpoint: %q", u.Endpoint)
		if u.Prefix != "" {
			p("    prefix: %q", u.Prefix)
		}
		if u.Transport != "" {
			p("    transport: %q", u.Transport)
		}
		if u.Credentials != "" {
			p("    credentials: %q", u.Credentials)
		}
	}
	if c.AuthFile != "" {
		p("auth_file: %q", c.AuthFile)
	}
	if c.TLS != nil {
		p("tls: {cert: %q, key: %q, client_ca: %q}", c.TLS.Cert, c.TLS.Key, c.TLS.CA)
	}
	if len(c.ReportOnly) > 0 {
		scopes, _ := json.Marshal(c.ReportOnly) // strings always marshal
		p("report_only: %s", scopes)
	}
	p("verdicts: {denied_ttl: %s}", c.DeniedTTL)
	p("tags: {ttl: %s}", c.TagsTTL)
	p("audit: {file: audit.jsonl}")
	p("%s", c.Extra)
	return b.Bytes()
}

// StartGate runs pullgate serve until the test's cleanup, and returns when it is
// ready.
func StartGate(t testing.TB, c GateConfig) *Gate {
	t.Helper()
	g := WriteConfig(t, c)
	g.Process = StartProcess(t, c.Env, g.binary, "serve", "--config", g.Config)
	g.Process.WaitUntil(t, "readiness", func() bool { return statusOf(g.AdminURL+"/readyz") == http.StatusOK })
	g.Process.WaitUntil(t, "answer on "+g.Addr, func() bool {
		conn, err := net.Dial("tcp", g.Addr)
		if err != nil {
			return false
		}
		conn.Close()
		return true
	})
	return g
}

// Command runs another command of the product with this gate's configuration,
// for example Command(t, "check", "registry.example/app:v1").
func (g *Gate) Command(t testing.TB, args ...string) Result {
	t.Helper()
	return Run(t, nil, g.binary, append(args, "--config", g.Config)...)
}

// Readiness is the answer of /readyz.
type Readiness struct {
	Status      int    `json:"-"` // HTTP
	Ready       bool   `json:"ready"`
	Revision    string `json:"revision"`
	PolicyError string `json:"policy_error"`
}

// Ready asks /readyz.
func (g *Gate) Ready(t testing.TB) Readiness {
	t.Helper()
	status, body := g.admin(t, "/readyz")
	r := Readiness{Status: status}
	if err := json.Unmarshal(body, &r); err != nil {
		t.Fatalf("/readyz: %v: %s", err, body)
	}
	return r
}

// Metric returns the sum of the samples of a metric whose labels contain all of
// the given parts (`result="ok"`); 0 when there is none.
func (g *Gate) Metric(t testing.TB, name string, labels ...string) float64 {
	t.Helper()
	_, body := g.admin(t, "/metrics")
	sum := 0.0
	line := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + `(\{.*\})? (\S+)$`)
next:
	for _, m := range line.FindAllStringSubmatch(string(body), -1) {
		for _, l := range labels {
			if !strings.Contains(m[1], l) {
				continue next
			}
		}
		v, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			t.Fatalf("/metrics: %s", m[0])
		}
		sum += v
	}
	return sum
}

func (g *Gate) admin(t testing.TB, path string) (int, []byte) {
	t.Helper()
	resp, err := http.Get(g.AdminURL + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, b
}

// Reload sends SIGHUP, after which the gate loads policy, keys and registries.d
// anew and opens the audit log again, and waits until done: until what the test
// changed shows.
func (g *Gate) Reload(t testing.TB, done func(Readiness) bool) Readiness {
	t.Helper()
	g.Process.Signal(t, syscall.SIGHUP)
	return g.Await(t, done)
}

// Await waits until the answer of /readyz is as expected, and returns it.
func (g *Gate) Await(t testing.TB, done func(Readiness) bool) Readiness {
	t.Helper()
	var now Readiness
	g.Process.WaitUntil(t, "readiness as expected", func() bool {
		now = g.Ready(t)
		return done(now)
	})
	return now
}

// WritePolicy replaces policy.json as an editor does (write, rename) and leaves
// it to the gate to notice.
func (g *Gate) WritePolicy(t testing.TB, content []byte) {
	t.Helper()
	writeFile(t, g.Policy+".new", content)
	if err := os.Rename(g.Policy+".new", g.Policy); err != nil {
		t.Fatal(err)
	}
}

// SetPolicy replaces policy.json by another one, sends SIGHUP and waits until the
// new content is in force, or is refused (Readiness.PolicyError).
func (g *Gate) SetPolicy(t testing.TB, p Policy) Readiness {
	t.Helper()
	return g.SetPolicyBytes(t, p.JSON(t))
}

// SetPolicyBytes is SetPolicy with any content.
func (g *Gate) SetPolicyBytes(t testing.TB, content []byte) Readiness {
	t.Helper()
	before := g.Ready(t)
	g.WritePolicy(t, content)
	return g.Reload(t, func(now Readiness) bool {
		return now.Revision != before.Revision || now.PolicyError != before.PolicyError
	})
}

// Stop ends the gate with SIGTERM and expects exit status 0.
func (g *Gate) Stop(t testing.TB) {
	t.Helper()
	if err := g.Process.Stop(); err != nil {
		t.Fatal(err)
	}
	if code := g.Process.Exit(t); code != 0 {
		t.Fatalf("pullgate serve: exit status %d after SIGTERM, expected 0", code)
	}
}

// Log is what the gate has written to standard output and standard error.
func (g *Gate) Log() string { return g.Process.Output.String() }
