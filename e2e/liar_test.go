//go:build e2e

package e2e

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/pullgate/pullgate/e2e/harness"
)

// liar is a registry that announces one manifest and sends another: its HEAD is
// honest, its GET claims the digest that was asked for and sends other bytes.
type liar struct {
	*harness.Registry

	mu   sync.Mutex
	lies map[string]lie // by path
}

type lie struct{ said, sent harness.Image }

func newLiar(t *testing.T) *liar {
	l := &liar{lies: map[string]lie{}}
	l.Registry = harness.NewGoRegistry(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			l.mu.Lock()
			lie, ok := l.lies[strings.TrimPrefix(r.URL.Path, "/v2/")]
			l.mu.Unlock()
			if !ok || r.Method != http.MethodGet && r.Method != http.MethodHead {
				next.ServeHTTP(w, r)
				return
			}
			w.Header().Set("Content-Type", lie.said.MediaType)
			w.Header().Set("Docker-Content-Digest", lie.said.Digest.String())
			if r.Method == http.MethodHead {
				w.Header().Set("Content-Length", strconv.Itoa(len(lie.said.Manifest)))
				return
			}
			w.Header().Set("Content-Length", strconv.Itoa(len(lie.sent.Manifest)))
			_, _ = w.Write(lie.sent.Manifest)
		})
	})
	return l
}

// push holds both images, and lies about the first, under its tag and digest.
func (l *liar) push(t *testing.T, repo, tag string, said, sent harness.Image) harness.Ref {
	t.Helper()
	l.Push(t, repo, "", sent)
	l.Push(t, repo, tag, said)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, ref := range []string{tag, said.Digest.String()} {
		l.lies[repo+"/manifests/"+ref] = lie{said, sent}
	}
	return harness.Tagged(hostile, repo, tag)
}
