package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"log/slog"
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

	"github.com/opencontainers/go-digest"
	"go.uber.org/goleak"

	"github.com/pullgate/pullgate/cache"
	"github.com/pullgate/pullgate/proxy"
	"github.com/pullgate/pullgate/proxy/audit"
	"github.com/pullgate/pullgate/proxy/auth"
	"github.com/pullgate/pullgate/proxy/upstream"
	"github.com/pullgate/pullgate/verify"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The registry that most tests pull from: its name, and the repository.
const (
	registryName = "registry.example.com"
	repo         = "team/app"
	app          = registryName + "/" + repo // as clients ask for it and policy names it
)

// settings is what a test may change about its gate before it is built.
type settings struct {
	policy     object           // scopes of the docker transport
	byDefault  object           // requirement of the default list; reject
	names      proxy.Names      // with Host filled in
	upstream   upstream.Options // timeouts, Others
	verdicts   cache.VerdictOptions
	tagsTTL    time.Duration
	graphSize  int
	manifests  int64 // bytes of manifests kept
	reportOnly []string
	auditBlobs bool
	fake       verify.Verifier // in place of the engine
	over       func(proxy.Upstream) proxy.Upstream
	memory     func(proxy.Content[*proxy.Manifest]) proxy.Content[*proxy.Manifest]
	wrap       func(http.Handler) http.Handler
	http2      bool
	access     auth.Options
	entry      proxy.Entry // of every request
	via        string
	// clientCredentials is the registry that is asked with the clients' own.
	clientCredentials string
}

// world is a gate with everything around it: two registries, a place for
// signatures, a policy, an audit log.
type world struct {
	t        testing.TB
	registry *hostile // registry.example.com, also asked for as corp/
	hub      *hostile // docker.io
	sigs     *hostile // signature server
	key      *signer  // trusted for registry.example.com
	stranger *signer  // trusted by nobody
	dir      string
	engine   *verify.Engine
	upstream *upstream.Client
	handler  *proxy.Handler
	access   *auth.Authority
	gate     *httptest.Server
	records  *records
	counted  *counted
}

// newWorld builds a gate. By default it trusts one key for everything of
// registry.example.com and docker.io, and rejects the rest.
func newWorld(t testing.TB, change ...func(*world, *settings)) *world {
	t.Helper()
	w := &world{t: t, registry: newHostile(t), hub: newHostile(t), sigs: newHostile(t), dir: t.TempDir(),
		key: newSigner(t, "publisher"), stranger: newSigner(t, "stranger"), records: &records{done: map[string]bool{}}, counted: &counted{}}
	s := &settings{tagsTTL: time.Minute, byDefault: reject, graphSize: 100_000, manifests: 64 << 20,
		verdicts: cache.VerdictOptions{Size: 10_000, AllowedTTL: time.Hour, DeniedTTL: time.Minute},
		policy:   object{registryName: list{signedBy(w.key)}, "docker.io": list{signedBy(w.key)}},
		names: proxy.Names{Default: "docker.io", Registries: []proxy.RegistryName{
			{Name: "docker.io", Host: w.hub.Listener.Addr().String()},
			{Name: registryName, Prefix: "corp", Host: w.registry.Listener.Addr().String()},
		}},
		upstream: upstream.Options{HeaderTimeout: 2 * time.Second, BodyTimeout: 2 * time.Second, IdleTimeout: 2 * time.Second},
	}
	for _, c := range change {
		c(w, s)
	}
	w.build(s)
	return w
}

func (w *world) build(s *settings) {
	w.t.Helper()
	w.write("registries.d/default.yaml", "default-docker:\n  lookaside: "+w.sigs.URL+"\n")
	options := s.upstream
	options.Registries = []upstream.Registry{{Name: "docker.io", Endpoint: w.hub.URL}, {Name: registryName, Endpoint: w.registry.URL}}
	options.Others = s.names.Others
	for i := range options.Registries {
		options.Registries[i].ClientCredentials = options.Registries[i].Name == s.clientCredentials
	}
	var err error
	w.upstream, err = upstream.New(options)
	w.must(err)
	w.t.Cleanup(w.upstream.Close)
	web := upstream.NewWeb(options)
	w.t.Cleanup(web.Close)
	w.engine, err = verify.NewEngine(w.load(s.policy, s.byDefault), w.upstream, web)
	w.must(err)
	judge := s.fake
	if judge == nil {
		judge = w.engine
	}
	verdicts, err := cache.NewVerdicts(proxy.Limited(judge, s.names), s.verdicts)
	w.must(err)
	graph, err := cache.NewGraph(s.graphSize)
	w.must(err)
	tags, err := cache.NewTags(1000, s.tagsTTL, nil)
	w.must(err)
	manifests, err := cache.NewContent(s.manifests, (*proxy.Manifest).Size)
	w.must(err)
	blobs, err := cache.NewContent(64<<20, func(b []byte) int64 { return int64(len(b)) })
	w.must(err)
	var up proxy.Upstream = w.upstream
	if s.over != nil {
		up = s.over(up)
	}
	var kept proxy.Content[*proxy.Manifest] = manifests
	if s.memory != nil {
		kept = s.memory(kept)
	}
	s.access.Resolve = s.names.Repository
	w.access, err = auth.New(s.access)
	w.must(err)
	w.handler, err = proxy.New(proxy.Options{Names: s.names, Upstream: up, Access: w.access, Via: s.via, Verifier: verdicts, Graph: graph, Tags: tags,
		Manifests: kept, Blobs: blobs, Audit: w.records, Metrics: w.counted, Logger: slog.New(slog.DiscardHandler),
		ReportOnly: s.reportOnly, AuditBlobs: s.auditBlobs})
	w.must(err)
	var h http.Handler = w.handler
	if s.entry != (proxy.Entry{}) {
		h = at(h, s.entry)
	}
	if s.wrap != nil {
		h = s.wrap(h)
	}
	w.gate = httptest.NewUnstartedServer(w.records.watch(h))
	w.gate.Config.ErrorLog = log.New(io.Discard, "", 0)
	if s.http2 {
		w.gate.EnableHTTP2 = true
		w.gate.StartTLS()
	} else {
		w.gate.Start()
	}
	w.t.Cleanup(func() {
		w.gate.Client().CloseIdleConnections()
		w.gate.CloseClientConnections()
		w.gate.Close()
	})
}

// at is how a listener tells the handler what it stands for.
func at(h http.Handler, place proxy.Entry) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r.WithContext(proxy.WithEntry(r.Context(), place)))
	})
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) write(name, content string) string {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	w.must(os.MkdirAll(filepath.Dir(path), 0o755))
	w.must(os.WriteFile(path, []byte(content), 0o644))
	return path
}

// load parses a policy with these scopes of the docker transport.
func (w *world) load(scopes, byDefault object) *verify.Policy {
	w.t.Helper()
	file := w.write("policy.json", string(mustJSON(object{"default": list{byDefault}, "transports": object{"docker": scopes}})))
	p, err := verify.LoadPolicy(verify.Options{PolicyFile: file, RegistriesDir: filepath.Join(w.dir, "registries.d")})
	w.must(err)
	return p
}

// sign stores a signature of img under ref, after those that are there.
func (w *world) sign(key *signer, ref string, img image) {
	w.t.Helper()
	w.storeSignature(ref, img.digest, key.sign(ref, img.digest))
}

func (w *world) storeSignature(ref string, d digest.Digest, sig []byte) {
	for n := 1; ; n++ {
		path := signaturePath(ref, d, n)
		w.sigs.mu.Lock()
		_, taken := w.sigs.things[path]
		w.sigs.mu.Unlock()
		if !taken {
			w.sigs.put(path, sig)
			return
		}
	}
}

// signaturePath is where signature n of a manifest is on the signature server.
func signaturePath(ref string, d digest.Digest, n int) string {
	_, path, _ := strings.Cut(ref, "/")
	path, _, _ = strings.Cut(path, "@")
	path, _, _ = strings.Cut(path, ":")
	return fmt.Sprintf("/%s@%s=%s/signature-%d", path, d.Algorithm(), d.Encoded(), n)
}

// signed pushes an image with tags and signs it under each.
func (w *world) signed(img image, tags ...string) image {
	w.t.Helper()
	w.registry.push(repo, img, tags...)
	for _, tag := range tags {
		w.sign(w.key, app+":"+tag, img)
	}
	return img
}

// unsigned pushes an image with tags.
func (w *world) unsigned(img image, tags ...string) image {
	w.registry.push(repo, img, tags...)
	return img
}

// judge is a verifier of a test's own.
type judge struct {
	mu       sync.Mutex
	revision string
	asked    []verify.Subject
	answer   func(verify.Subject) (verify.Verdict, error)
}

func (j *judge) Verify(_ context.Context, s verify.Subject) (verify.Verdict, error) {
	j.mu.Lock()
	j.asked = append(j.asked, s)
	j.mu.Unlock()
	v, err := j.answer(s)
	if v.Revision == "" {
		v.Revision = j.Revision()
	}
	return v, err
}

func (j *judge) Revision() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.revision
}

func (j *judge) Basis(verify.Subject) (string, string) { return j.Revision(), "" }

func (j *judge) set(revision string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.revision = revision
}

// allowing is the verdict of a policy that is content.
func allowing() verify.Verdict {
	return verify.Verdict{Decision: verify.Allowed, Scope: "test", Requirements: []verify.Result{{Type: "test", Allowed: true}}}
}

// denying is the verdict of a policy that is not.
func denying(found string) verify.Verdict {
	return verify.Verdict{Scope: "test", Requirements: []verify.Result{{Type: "test", Required: "a signature", Found: []string{found}, WouldPass: "a better one"}}}
}

// answer is what a client got.
type answer struct {
	*http.Response
	path string
	body []byte
	err  error // reading the body
	wire []refused
}

// refused is one error of the registry API.
type refused struct {
	Code, Message string
	Detail        struct {
		Reference, Digest, Scope, RequestID string
		Requirements                        []verify.Result
	}
}

// phrase is the reason phrase of the status line.
func (a answer) phrase() string { return strings.TrimSpace(a.Status[min(len(a.Status), 3):]) }

func (a answer) id() string { return a.Header.Get("X-Request-Id") }

func (a answer) String() string {
	return fmt.Sprintf("%s: %s %s %q (%v)", a.path, a.Status, a.Header, clipped(a.body), a.err)
}

func clipped(b []byte) []byte { return b[:min(len(b), 600)] }

type option func(*http.Request)

func header(key, value string) option {
	return func(r *http.Request) { r.Header.Set(key, value) }
}

// do sends one request on a connection of its own.
func (w *world) do(method, path string, options ...option) answer {
	w.t.Helper()
	r, err := http.NewRequest(method, w.gate.URL+path, nil)
	w.must(err)
	for _, o := range options {
		o(r)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}}
	if w.gate.TLS != nil {
		client = w.gate.Client()
	}
	resp, err := client.Do(r)
	if err != nil {
		return answer{Response: &http.Response{Status: "000 no answer", Header: http.Header{}}, path: path, err: err}
	}
	a := answer{Response: resp, path: path}
	a.body, a.err = io.ReadAll(resp.Body)
	resp.Body.Close()
	var wire struct{ Errors []refused }
	if json.Unmarshal(a.body, &wire) == nil {
		a.wire = wire.Errors
	}
	return a
}

func (w *world) get(path string, options ...option) answer {
	w.t.Helper()
	return w.do(http.MethodGet, path, options...)
}

func (w *world) head(path string, options ...option) answer {
	w.t.Helper()
	return w.do(http.MethodHead, path, options...)
}

// raw sends a request line that net/http's client would not write.
func (w *world) raw(requestLine string) answer {
	w.t.Helper()
	conn, err := net.Dial("tcp", w.gate.Listener.Addr().String())
	w.must(err)
	defer conn.Close()
	w.must(conn.SetDeadline(time.Now().Add(10 * time.Second)))
	_, err = fmt.Fprintf(conn, "%s\r\nHost: gate\r\nConnection: close\r\n\r\n", requestLine)
	w.must(err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	w.must(err)
	a := answer{Response: resp, path: requestLine}
	a.body, a.err = io.ReadAll(resp.Body)
	resp.Body.Close()
	return a
}

// wantManifest pulls a manifest by GET and HEAD and expects the very bytes.
func (w *world) wantManifest(path string, img image) {
	w.t.Helper()
	got := w.get(path)
	if got.StatusCode != 200 || !bytes.Equal(got.body, img.manifest) || got.Header.Get("Docker-Content-Digest") != img.digest.String() {
		w.t.Errorf("expected manifest %s, got %s", img.digest, got)
		return
	}
	head := w.head(path)
	if head.StatusCode != 200 || len(head.body) != 0 || head.Header.Get("Docker-Content-Digest") != img.digest.String() ||
		head.ContentLength != int64(len(img.manifest)) || head.Header.Get("Content-Type") != got.Header.Get("Content-Type") {
		w.t.Errorf("expected HEAD to say what GET says, got %s", head)
	}
	if r := w.recordOf(got); r.Decision != audit.Allowed || r.Digest != img.digest.String() || r.Status != 200 {
		w.t.Errorf("%s: audit record %+v", path, r)
	}
}

// wantBlob pulls a blob and expects its bytes.
func (w *world) wantBlob(path string, b []byte) {
	w.t.Helper()
	if got := w.get(path); got.StatusCode != 200 || got.err != nil || !bytes.Equal(got.body, b) {
		w.t.Errorf("expected %d bytes of a blob, got %s", len(b), got)
	}
}

// wantDenied asks by GET and HEAD and expects a refusal by policy: 403, with the
// reason, and an audit record that says so.
func (w *world) wantDenied(path string) answer {
	w.t.Helper()
	got := w.get(path)
	if got.StatusCode != 403 || len(got.wire) != 1 || got.wire[0].Code != "DENIED" || got.Header.Get("Docker-Content-Digest") != "" {
		w.t.Errorf("expected a denial, got %s", got)
		return got
	}
	if r := w.recordOf(got); r.Decision != audit.Denied || r.Status != 403 || len(r.Reasons) == 0 {
		w.t.Errorf("%s: audit record %+v", path, r)
	}
	if head := w.head(path); head.StatusCode != 403 || len(head.body) != 0 {
		w.t.Errorf("expected HEAD to be denied too, got %s", head)
	}
	return got
}

// wantStatus asks by GET and HEAD and expects a status for both.
func (w *world) wantStatus(path string, status int) answer {
	w.t.Helper()
	got := w.get(path)
	if got.StatusCode != status {
		w.t.Errorf("expected status %d, got %s", status, got)
	}
	if head := w.head(path); head.StatusCode != status {
		w.t.Errorf("expected status %d for HEAD, got %s", status, head)
	}
	return got
}

// wantUnavailable expects that nothing was decided: 503 with Retry-After.
func (w *world) wantUnavailable(path string) answer {
	w.t.Helper()
	got := w.wantStatus(path, 503)
	if got.Header.Get("Retry-After") == "" || len(got.wire) != 1 || got.wire[0].Code != "UNAVAILABLE" {
		w.t.Errorf("expected Retry-After and UNAVAILABLE, got %s", got)
	}
	if r := w.recordOf(got); r.Decision != audit.Inconclusive || r.Status != 503 || len(r.Reasons) == 0 {
		w.t.Errorf("%s: audit record %+v", path, r)
	}
	return got
}

// records is an audit log in memory that also knows which requests have ended.
type records struct {
	mu   sync.Mutex
	all  []audit.Record
	done map[string]bool
	err  error // what Write fails with
}

func (r *records) Write(rec audit.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, rec)
	return r.err
}

func (r *records) Close() error { return nil }

// watch notes when the gate is done with a request, its record included.
func (r *records) watch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		head := w.Header()
		defer func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.done[head.Get("X-Request-Id")] = true
		}()
		next.ServeHTTP(w, req)
	})
}

// recordOf returns the audit record of a request, its zero value when there is
// none. It waits for the gate to be done with the request.
func (w *world) recordOf(a answer) audit.Record {
	w.t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		w.records.mu.Lock()
		done := w.records.done[a.id()]
		i := slices.IndexFunc(w.records.all, func(r audit.Record) bool { return r.RequestID == a.id() })
		var rec audit.Record
		if i >= 0 {
			rec = w.records.all[i]
		}
		w.records.mu.Unlock()
		if done {
			return rec
		}
	}
	w.t.Fatalf("the gate is not done with request %q", a.id())
	return audit.Record{}
}

// snapshot returns all audit records so far.
func (r *records) snapshot() []audit.Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all)
}

// counted is the metrics.
type counted struct {
	mu        sync.Mutex
	requests  []string
	decisions []string
	blobBytes int64
	audits    int
}

func (c *counted) Request(route, method string, status int, _ time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests = append(c.requests, fmt.Sprintf("%s %s %d", route, method, status))
}

func (c *counted) list() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.requests)
}

func (c *counted) Decision(decision, registry, kind string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.decisions = append(c.decisions, fmt.Sprintf("%s %s %s", decision, registry, kind))
}

func (c *counted) BlobBytes(_ string, n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.blobBytes += n
}

func (c *counted) AuditError() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.audits++
}
