package proxy_test

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// hostile is a registry that holds whatever a test puts there, consistent or
// not, answers single requests as the test likes, and remembers every request.
type hostile struct {
	*httptest.Server
	mu      sync.Mutex
	things  map[string][]byte // by path
	answers map[string]http.HandlerFunc
	seen    []string
}

func newHostile(t testing.TB) *hostile {
	h := &hostile{things: map[string][]byte{}, answers: map[string]http.HandlerFunc{}}
	h.Server = httptest.NewUnstartedServer(h)
	h.Config.ErrorLog = log.New(io.Discard, "", 0)
	h.Start()
	t.Cleanup(func() {
		h.CloseClientConnections()
		h.Close()
	})
	return h
}

func (h *hostile) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := r.Method + " " + r.URL.Path
	h.mu.Lock()
	h.seen = append(h.seen, key)
	answer := h.answers[key]
	if answer == nil {
		answer = h.answers[r.URL.Path]
	}
	b, ok := h.things[r.URL.Path]
	h.mu.Unlock()
	switch {
	case answer != nil:
		answer(w, r)
	case ok:
		serveThing(w, r, b)
	case r.URL.Path == "/v2/":
		w.WriteHeader(http.StatusOK)
	default:
		http.NotFound(w, r)
	}
}

func serveThing(w http.ResponseWriter, r *http.Request, b []byte) {
	if strings.Contains(r.URL.Path, "/manifests/") {
		// Nothing may hang on what the upstream says about its content.
		w.Header().Set("Content-Type", "text/plain; charset=evil")
		w.Header().Set("Docker-Content-Digest", digestOf(b).String())
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(b)))
	_, _ = w.Write(b)
}

// put stores a thing under a path.
func (h *hostile) put(path string, b []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.things[path] = b
}

// drop removes what is stored under a path.
func (h *hostile) drop(path string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.things, path)
}

// answer replaces the answers to "METHOD /path" or "/path"; nil restores them.
func (h *hostile) answer(key string, f http.HandlerFunc) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answers[key] = f
}

// count tells how many requests began with prefix ("GET /v2/app/manifests/").
func (h *hostile) count(prefix string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, s := range h.seen {
		if strings.HasPrefix(s, prefix) {
			n++
		}
	}
	return n
}

// requests lists the requests so far.
func (h *hostile) requests() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.seen)
}

// push stores an image with its blobs and children, under its digest and tags.
func (h *hostile) push(repo string, img image, tags ...string) {
	for _, child := range img.children {
		h.push(repo, child)
	}
	for _, b := range img.blobs {
		h.put("/v2/"+repo+"/blobs/"+digest.FromBytes(b).String(), b)
	}
	h.put("/v2/"+repo+"/manifests/"+img.digest.String(), img.manifest)
	for _, tag := range tags {
		h.put("/v2/"+repo+"/manifests/"+tag, img.manifest)
	}
}

// Answers of servers that do not do what they should.

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func bytesOf(b []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { serveThing(w, r, b) }
}

// saying sends b with a digest of the upstream's choice in its header.
func saying(d digest.Digest, b []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Docker-Content-Digest", d.String())
		w.Header().Set("Content-Length", fmt.Sprint(len(b)))
		_, _ = w.Write(b)
	}
}

// chunked sends b without saying how long it is.
func chunked(b []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		_, _ = w.Write(b)
	}
}

// cut announces length bytes, sends b and ends the connection.
func cut(b []byte, length int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(length))
		_, _ = w.Write(b)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// endless never stops sending.
func endless(w http.ResponseWriter, r *http.Request) {
	chunk := bytes.Repeat([]byte(" "), 64<<10)
	for r.Context().Err() == nil {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}

// silent takes the request and never answers.
func silent(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// slowly sends b one byte at a time.
func slowly(b []byte, pause time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(b)))
		for i := range b {
			if _, err := w.Write(b[i : i+1]); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
			select {
			case <-time.After(pause):
			case <-r.Context().Done():
				return
			}
		}
	}
}

// held answers like next, but not before open is closed; came is told of each
// request.
func held(open <-chan struct{}, came chan<- struct{}, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case came <- struct{}{}:
		default:
		}
		select {
		case <-open:
			next(w, r)
		case <-r.Context().Done():
		}
	}
}
