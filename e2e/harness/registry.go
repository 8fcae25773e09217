package harness

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
)

// Registry is an upstream.
type Registry struct {
	URL  string // http://127.0.0.1:port
	Addr string // 127.0.0.1:port
	// Process is nil for registries of this process.
	Process *Process

	log *requestLog // nil for registries in other processes
}

// NewDockerRegistry starts Debian's docker-registry (distribution 2.8) over an
// empty directory. It keeps schema 1 manifests, and allows deletion.
func NewDockerRegistry(t testing.TB) *Registry {
	t.Helper()
	program := Require(t, "docker-registry")
	dir, addr := t.TempDir(), FreeAddr(t)
	config := filepath.Join(dir, "config.yml")
	writeFile(t, config, fmt.Appendf(nil, `version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: %q}
  delete: {enabled: true}
http: {addr: %q}
compatibility: {schema1: {enabled: true}}
`, filepath.Join(dir, "data"), addr))
	p := StartProcess(t, nil, program, "serve", config)
	r := &Registry{URL: "http://" + addr, Addr: addr, Process: p}
	p.WaitUntil(t, "answer to /v2/", func() bool { return statusOf(r.URL+"/v2/") == http.StatusOK })
	return r
}

// Middleware wraps a registry's handler, to make it lie, fail or be slow.
type Middleware func(next http.Handler) http.Handler

// NewGoRegistry starts go-containerregistry's registry (with the referrers API)
// in this process. Its requests are recorded before the middlewares see them;
// the first middleware is the outermost.
func NewGoRegistry(t testing.TB, middlewares ...Middleware) *Registry {
	t.Helper()
	h := registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true))
	for i := len(middlewares) - 1; i >= 0; i-- {
		h = middlewares[i](h)
	}
	return NewUpstream(t, h)
}

// NewUpstream serves any handler as an upstream, and records its requests.
func NewUpstream(t testing.TB, h http.Handler) *Registry {
	t.Helper()
	requests := &requestLog{next: h}
	srv := httptest.NewServer(requests)
	t.Cleanup(func() {
		srv.CloseClientConnections() // a client that hangs on must not hold up the test's end
		srv.Close()
	})
	return &Registry{URL: srv.URL, Addr: strings.TrimPrefix(srv.URL, "http://"), log: requests}
}

// Request is one that reached an upstream or a signature server.
type Request struct {
	Method string
	Path   string
	Query  url.Values
	Header http.Header
}

// requestLog records requests on their way to next.
type requestLog struct {
	next http.Handler
	mu   sync.Mutex
	all  []Request
}

func (l *requestLog) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	l.all = append(l.all, Request{r.Method, r.URL.Path, r.URL.Query(), r.Header.Clone()})
	l.mu.Unlock()
	l.next.ServeHTTP(w, r)
}

// Requests returns what was asked of a registry of this process so far.
func (r *Registry) Requests() []Request { return r.log.requests() }

// ForgetRequests empties the record.
func (r *Registry) ForgetRequests() { r.log.forget() }

func (l *requestLog) requests() []Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Request(nil), l.all...)
}

func (l *requestLog) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = nil
}

// Push uploads an image with its children and blobs, the way a push does it, and
// gives it a tag; an empty tag leaves it reachable by digest only.
func (r *Registry) Push(t testing.TB, repo, tag string, img Image) {
	t.Helper()
	for _, child := range img.Children {
		r.Push(t, repo, "", child)
	}
	for d, b := range img.Blobs {
		r.PushBlob(t, repo, d.String(), b)
	}
	ref := tag
	if ref == "" {
		ref = img.Digest.String()
	}
	r.PushManifest(t, repo, ref, img.MediaType, img.Manifest)
}

// PushBlob uploads one blob in two requests (POST, PUT).
func (r *Registry) PushBlob(t testing.TB, repo, digest string, b []byte) {
	t.Helper()
	start := r.send(t, http.MethodPost, r.URL+"/v2/"+repo+"/blobs/uploads/", "", nil, http.StatusAccepted)
	at, err := start.Location()
	if err != nil {
		t.Fatal(err)
	}
	q := at.Query()
	q.Set("digest", digest)
	at.RawQuery = q.Encode()
	r.send(t, http.MethodPut, at.String(), "application/octet-stream", b, http.StatusCreated)
}

// PushManifest uploads a manifest under a tag or digest.
func (r *Registry) PushManifest(t testing.TB, repo, ref, mediaType string, b []byte) {
	t.Helper()
	r.send(t, http.MethodPut, r.URL+"/v2/"+repo+"/manifests/"+ref, mediaType, b, http.StatusCreated)
}

// send makes one request and ends the test when the status is another.
func (r *Registry) send(t testing.TB, method, url, mediaType string, body []byte, want int) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if mediaType != "" {
		req.Header.Set("Content-Type", mediaType)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != want {
		t.Fatalf("%s %s: status %d, expected %d: %s %v", method, url, resp.StatusCode, want, text, err)
	}
	return resp
}

// statusOf is the status of a GET, 0 when there is no answer.
func statusOf(url string) int {
	resp, err := http.Get(url)
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}
