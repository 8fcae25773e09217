package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// clock is moved by tests.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(0, c.at.Load()) }
func (c *clock) forward(d time.Duration) { c.at.Add(int64(d)) }

// readers is a registry that lets each header read the repositories named.
func readers(t *testing.T, may map[string][]string) *server {
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		header := r.Header.Get("Authorization")
		for _, repo := range may[header] {
			if strings.HasPrefix(r.URL.Path, "/v2/"+repo+"/") {
				w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
				return
			}
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="reg"`)
		w.WriteHeader(map[bool]int{true: http.StatusUnauthorized, false: http.StatusForbidden}[header == ""])
	})
}

// A yes counts for a minute, for the credentials and the repository that it was
// given for. A no counts for nothing.
func TestAuthorizeRemembersByCredentialsAndRepository(t *testing.T) {
	reg := readers(t, map[string][]string{"Bearer ann": {"a"}, "Bearer bob": {"b"}, "": {"public"}})
	clk := &clock{}
	o := clientOptions(t, reg.URL)
	o.Registries = append(o.Registries, Registry{Name: "twin.example", Endpoint: reg.URL, ClientCredentials: true})
	o.seams.now = clk.now
	c := open(t, o)
	steps := []struct {
		name, header, ref string
		blob              bool
		want              Kind // -1: yes
		requests          int
	}{
		{"first", "Bearer ann", "r.example/a:v1", false, -1, 1},
		{"remembered", "Bearer ann", "r.example/a:v2", false, -1, 0},
		{"for blobs too", "Bearer ann", "r.example/a", true, -1, 0},
		{"not for others", "Bearer bob", "r.example/a:v1", false, Forbidden, 1},
		{"not for nobody", "", "r.example/a:v1", false, Unauthorized, 1},
		{"not written otherwise", "Bearer  ann", "r.example/a:v1", false, Forbidden, 1},
		{"a no is asked again", "Bearer bob", "r.example/a:v1", false, Forbidden, 1},
		{"not for other repositories", "Bearer ann", "r.example/b:v1", false, Forbidden, 1},
		{"not below", "Bearer ann", "r.example/a/b:v1", false, -1, 1},
		{"not for other registries", "Bearer ann", "twin.example/a:v1", false, -1, 1},
		{"anonymous", "", "r.example/public:v1", false, -1, 1},
		{"anonymous remembered", "", "r.example/public", true, -1, 0},
		{"anonymous is not somebody", "Bearer bob", "r.example/public:v1", false, Forbidden, 1},
	}
	blob := []byte("x")
	for _, s := range steps {
		before := len(reg.requests())
		err := error(nil)
		ctx := WithAuthorization(t.Context(), reference.Domain(named(t, s.ref)), s.header)
		if s.blob {
			err = c.Authorize(ctx, of(t, s.ref, blob), true)
		} else {
			err = c.Authorize(ctx, named(t, s.ref), false)
		}
		switch {
		case s.want < 0 && err != nil:
			t.Errorf("%s: %v", s.name, err)
		case s.want >= 0:
			wantKind(t, err, s.want)
		}
		if n := len(reg.requests()) - before; n != s.requests {
			t.Errorf("%s: %d requests, want %d", s.name, n, s.requests)
		}
	}
	for _, d := range []time.Duration{consentLife - 1, 1} {
		clk.forward(d)
		before := len(reg.requests())
		if err := c.Authorize(as(t, "Bearer ann"), named(t, "r.example/a:v1"), false); err != nil {
			t.Error(err)
		}
		if asked := len(reg.requests()) > before; asked != (d == 1) {
			t.Errorf("asked again: %v", asked)
		}
	}
}

func TestAuthorizeAnswers(t *testing.T) {
	manifest := of(t, "r.example/x", []byte("m"))
	answer := func(head, get int, headers ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
			w.Header().Set("WWW-Authenticate", `Basic realm="reg"`)
			for i := 0; i < len(headers); i += 2 {
				w.Header().Set(headers[i], headers[i+1])
			}
			if r.Method == http.MethodHead {
				w.WriteHeader(head)
				return
			}
			w.WriteHeader(get)
		}
	}
	cdn403 := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		if r.Method == http.MethodHead {
			w.WriteHeader(http.StatusForbidden)
		}
	})
	login := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, "please log in")
	})
	tests := map[string]struct {
		h        http.HandlerFunc
		want     Kind // -1: yes
		requests int
	}{
		"yes":               {answer(200, 500), -1, 1},
		"yes, this digest":  {answer(200, 500, "Docker-Content-Digest", manifest.Digest().String()), -1, 1},
		"another digest":    {answer(200, 200, "Docker-Content-Digest", "sha256:0"), Invalid, 1},
		"unauthorized":      {answer(401, 200), Unauthorized, 1},
		"forbidden":         {answer(403, 200), Forbidden, 1},
		"missing":           {answer(404, 200), NotFound, 1},
		"busy":              {answer(429, 200), TooManyRequests, 1},
		"no content":        {answer(204, 200), Invalid, 1},
		"no HEAD":           {answer(405, 200), -1, 2},
		"HEAD fails":        {answer(500, 200), -1, 2},
		"HEAD not there":    {answer(501, 200), -1, 2},
		"neither":           {answer(503, 503), Unavailable, 2},
		"no HEAD, no":       {answer(405, 403), Forbidden, 2},
		"encoded":           {answer(200, 200, "Content-Encoding", "gzip"), Invalid, 1},
		"a page":            {answer(200, 200, "Content-Type", "text/html"), Invalid, 1},
		"another page":      {answer(200, 200, "Content-Type", "application/xhtml+xml"), Invalid, 1},
		"a redirect to one": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, login.URL, http.StatusFound) }, Invalid, 1},
		"a URL for GET only": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, cdn403.URL, http.StatusTemporaryRedirect)
		}, -1, 2},
		"a redirect within": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/", http.StatusFound)
		}, Refused, 1},
	}
	for name, tt := range tests {
		for _, blob := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " blob ", blob), func(t *testing.T) {
				reg := serve(t, tt.h)
				c := open(t, clientOptions(t, reg.URL))
				err := c.Authorize(as(t, "Bearer ann"), manifest, blob)
				if n := len(reg.requests()); n != tt.requests {
					t.Errorf("%d requests, want %d", n, tt.requests)
				}
				if tt.want < 0 {
					if err != nil {
						t.Error(err)
					}
					return
				}
				wantKind(t, err, tt.want)
				if err := c.Authorize(as(t, "Bearer ann"), manifest, blob); err == nil {
					t.Error("a no turned into a yes")
				}
			})
		}
	}
}

// Of a manifest the type tells a registry's answer from anything else; blobs may
// have any but a page's.
func TestAuthorizeLooksAtTypes(t *testing.T) {
	var kind string
	reg := serve(t, func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Content-Type", kind) })
	c := open(t, clientOptions(t, reg.URL))
	for i, k := range []string{"text/plain", "image/png", "x"} {
		kind = k
		ref := of(t, fmt.Sprint("r.example/x", i), nil)
		wantKind(t, c.Authorize(t.Context(), ref, false), Invalid)
		if err := c.Authorize(t.Context(), ref, true); err != nil {
			t.Errorf("blob of type %s: %v", k, err)
		}
	}
}

func TestAuthorizeWantsSomethingToAskFor(t *testing.T) {
	reg := serve(t, func(w http.ResponseWriter, r *http.Request) {})
	c := open(t, clientOptions(t, reg.URL))
	wantKind(t, c.Authorize(t.Context(), named(t, "r.example/x"), false), Invalid)
	wantKind(t, c.Authorize(t.Context(), named(t, "r.example/x"), true), Invalid)
	wantKind(t, c.Authorize(t.Context(), named(t, "r.example/x:v1"), true), Invalid)
	reg.wantRequests(t)
}

// Clients that ask the same at the same time share a request when their
// credentials are the same, and only then.
func TestAuthorizeIsSharedByEqualCredentialsOnly(t *testing.T) {
	release := make(chan bool)
	reg := serve(t, func(w http.ResponseWriter, r *http.Request) {
		<-release
		w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
		if r.Header.Get("Authorization") != "Bearer ann" {
			w.WriteHeader(http.StatusForbidden)
		}
	})
	c := open(t, clientOptions(t, reg.URL))
	ref := named(t, "r.example/x:v1")
	first, leave := context.WithCancel(as(t, "Bearer ann"))
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := c.Authorize(first, ref, false); !errors.Is(err, context.Canceled) {
			t.Errorf("who left got %v", err)
		}
	})
	waitForRequests(t, reg, 1)
	var mu sync.Mutex
	refusals := map[*Error]bool{}
	for range 20 {
		wg.Go(func() {
			if err := c.Authorize(as(t, "Bearer ann"), ref, false); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			var e *Error
			if err := c.Authorize(as(t, "Bearer bob"), ref, false); !errors.As(err, &e) || e.Kind != Forbidden {
				t.Errorf("who may not read got %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			refusals[e] = true
		})
	}
	waitForRequests(t, reg, 2)
	time.Sleep(20 * time.Millisecond) // so that all wait
	leave()
	time.Sleep(5 * time.Millisecond)
	close(release)
	wg.Wait()
	if n := len(reg.requests()); n != 2 {
		t.Errorf("%d requests, want one for each of the two", n)
	}
	if len(refusals) != 20 {
		t.Errorf("%d errors for 20 callers, who may change theirs", len(refusals))
	}
	wantKind(t, c.Authorize(as(t, "Bearer bob"), ref, false), Forbidden)
}

// waitForRequests waits until a server was asked n times.
func waitForRequests(t *testing.T, s *server, n int) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); len(s.requests()) < n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("%d requests, want %d", len(s.requests()), n)
			return
		}
	}
}

// Two clients fetch at the same time, over the same connections, what one of
// them may not read.
func TestTwoClientsFetchWithTheirOwnCredentials(t *testing.T) {
	reg := readers(t, map[string][]string{"Bearer ann": {"secret"}})
	c := open(t, clientOptions(t, reg.URL))
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			header := []string{"Bearer ann", "Bearer bob", ""}[i%3]
			ctx := as(t, header)
			_, err := c.Manifest(ctx, named(t, "r.example/secret:v1"))
			if (err == nil) != (header == "Bearer ann") {
				t.Errorf("manifest for %q: %v", header, err)
			}
			err = c.Authorize(ctx, named(t, "r.example/secret:v1"), false)
			if (err == nil) != (header == "Bearer ann") {
				t.Errorf("yes for %q: %v", header, err)
			}
		})
	}
	wg.Wait()
}

// What is remembered is bounded, the oldest goes first, and all of it ends.
func TestConsentsAreBounded(t *testing.T) {
	clk := &clock{}
	s := newConsents(clk.now)
	for i := range maxConsents + 100 {
		s.put(s.key("header", "r.example", fmt.Sprint(i)))
	}
	if len(s.until) != maxConsents || len(s.line) != maxConsents {
		t.Errorf("%d and %d kept, want %d", len(s.until), len(s.line), maxConsents)
	}
	for i, want := range map[int]bool{0: false, 99: false, 100: true, maxConsents + 99: true} {
		if s.has(s.key("header", "r.example", fmt.Sprint(i))) != want {
			t.Errorf("entry %d: remembered is not %v", i, want)
		}
	}
	clk.forward(consentLife)
	k := s.key("header", "r.example", "new")
	s.put(k)
	if len(s.until) != 1 || len(s.line) != 1 || !s.has(k) {
		t.Errorf("%d and %d kept after their time, want 1", len(s.until), len(s.line))
	}
	// A yes that is given anew before its time counts from then.
	clk.forward(consentLife / 2)
	s.put(k)
	clk.forward(consentLife / 2)
	s.put(s.key("another"))
	if !s.has(k) {
		t.Error("a renewed yes went with its predecessor")
	}
}

func TestConsentKeys(t *testing.T) {
	s, other := newConsents(time.Now), newConsents(time.Now)
	if s.key("ab", "c") == s.key("a", "bc") || s.key("", "a") == s.key("a", "") || s.key("a") == s.key("a", "") {
		t.Error("different parts have the same key")
	}
	if first, again := s.key("a"), s.key("a"); first != again || first == other.key("a") {
		t.Error("expected keys that hold within one process alone")
	}
}

// A registry that does not answer is no yes, and is not waited for endlessly.
func TestAuthorizeEnds(t *testing.T) {
	reg := serve(t, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	o := clientOptions(t, reg.URL)
	o.HeaderTimeout, o.BodyTimeout = 30*time.Millisecond, 30*time.Millisecond
	start := time.Now()
	wantKind(t, open(t, o).Authorize(t.Context(), named(t, "r.example/x:v1"), false), Unavailable)
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("took %v", took)
	}
}

// A question ends with the last client that waits for the answer, and a registry is
// not asked everything at once.
func TestQuestionsEndWithWhoeverAsked(t *testing.T) {
	var now, most, ended atomic.Int64
	arrived := make(chan struct{}, 200)
	release := make(chan struct{})
	reg := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n := now.Add(1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		arrived <- struct{}{}
		select {
		case <-r.Context().Done():
			ended.Add(1)
		case <-release:
		}
		now.Add(-1)
	})
	t.Cleanup(func() { close(release) })
	o := clientOptions(t, reg.URL)
	o.HeaderTimeout = 30 * time.Second
	c := open(t, o)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for i := range 150 {
		all.Go(func() {
			_ = c.Authorize(WithAuthorization(ctx, "r.example", fmt.Sprintf("Bearer %d", i)), named(t, "r.example/a:v1"), false)
		})
	}
	for range maxQuestions {
		<-arrived
	}
	cancel()
	all.Wait()
	for start := time.Now(); (ended.Load() < maxQuestions || now.Load() > 0) && time.Since(start) < 10*time.Second; time.Sleep(time.Millisecond) {
	}
	if most.Load() != maxQuestions || ended.Load() < maxQuestions || now.Load() != 0 {
		t.Errorf("%d open at a time, %d ended with their clients, %d still open", most.Load(), ended.Load(), now.Load())
	}
	q := c.fixed["r.example"].backend.(*remote).pass.asking
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.open) != 0 {
		t.Errorf("%d questions are remembered", len(q.open))
	}
}
