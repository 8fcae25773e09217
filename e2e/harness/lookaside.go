package harness

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// Lookaside is a place for signatures, as registries.d names it: a directory or
// a web server over one.
type Lookaside struct {
	URL string // file:///… or http://127.0.0.1:port

	dir string
	log *requestLog // web only

	mu    sync.Mutex
	fault http.Handler // nil: serve the files
}

// NewFileLookaside is an empty directory of signatures.
func NewFileLookaside(t testing.TB) *Lookaside {
	t.Helper()
	dir := t.TempDir()
	return &Lookaside{URL: "file://" + dir, dir: dir}
}

// NewWebLookaside is an empty signature server.
func NewWebLookaside(t testing.TB) *Lookaside {
	t.Helper()
	l := &Lookaside{dir: t.TempDir()}
	l.log = &requestLog{next: http.HandlerFunc(l.serve)}
	srv := httptest.NewServer(l.log)
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	l.URL = srv.URL
	return l
}

func (l *Lookaside) serve(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	fault := l.fault
	l.mu.Unlock()
	if fault != nil {
		fault.ServeHTTP(w, r)
		return
	}
	http.FileServer(http.Dir(l.dir)).ServeHTTP(w, r)
}

// Put adds signatures of a manifest, after those that are there already. Repo is
// the repository's path without the registry.
func (l *Lookaside) Put(t testing.TB, repo string, d digest.Digest, signatures ...[]byte) {
	t.Helper()
	for _, s := range signatures {
		for n := 1; ; n++ {
			path := filepath.Join(l.dir, l.path(repo, d), fmt.Sprintf("signature-%d", n))
			if _, err := os.Stat(path); err == nil {
				continue
			}
			writeFile(t, path, s)
			break
		}
	}
}

// Clear removes the signatures of a manifest.
func (l *Lookaside) Clear(t testing.TB, repo string, d digest.Digest) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(l.dir, l.path(repo, d))); err != nil {
		t.Fatal(err)
	}
}

func (l *Lookaside) path(repo string, d digest.Digest) string {
	return fmt.Sprintf("%s@%s=%s", repo, d.Algorithm(), d.Encoded())
}

// Requests returns what was asked of a web lookaside so far.
func (l *Lookaside) Requests() []Request { return l.log.requests() }

// Fail makes a web lookaside answer every request with fault, until Heal.
func (l *Lookaside) Fail(fault http.Handler) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault = fault
}

// Heal ends Fail.
func (l *Lookaside) Heal() { l.Fail(nil) }

// FaultStatus answers with a status and a short text.
func FaultStatus(status int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "out of order", status) })
}

// FaultHTML answers 200 with a page for people, as captive portals and
// misconfigured servers do.
func FaultHTML() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<!doctype html><title>Welcome</title><p>Please sign in."))
	})
}

// FaultHang accepts the request and does not answer until the client gives up.
func FaultHang() http.Handler {
	return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
}

// FaultEndless answers 200 and sends bytes until the client gives up; pause lies
// between chunks of 1 KiB (0: as fast as it goes).
func FaultEndless(pause time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for chunk := make([]byte, 1024); r.Context().Err() == nil; time.Sleep(pause) {
			if _, err := w.Write(chunk); err != nil {
				return
			}
			if pause > 0 {
				w.(http.Flusher).Flush()
			}
		}
	})
}

// FaultSame answers every request, signature-1 to signature-infinity, with b.
func FaultSame(b []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(b) })
}
