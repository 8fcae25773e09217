package harness

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
)

// Lookaside is a place for signatures, as registries.d names it: a directory or
// a web server over one.
type Lookaside struct {
	URL string // file:///… or http://127.0.0.1:port

	dir   string
	log   *requestLog // web only
	fault Switch      // web only
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
	l.log = &requestLog{next: l.fault.Middleware(http.FileServer(http.Dir(l.dir)))}
	srv := httptest.NewServer(l.log)
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	l.URL = srv.URL
	return l
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
func (l *Lookaside) Fail(fault http.Handler) { l.fault.Set(fault) }

// Heal ends Fail.
func (l *Lookaside) Heal() { l.fault.Set(nil) }
