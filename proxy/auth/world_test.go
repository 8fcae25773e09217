package auth

import (
	"bytes"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/distribution/reference"
	"golang.org/x/crypto/bcrypt"
)

// world is a gate's access control in front of a registry that serves every
// manifest to whoever may have it.
type world struct {
	t    *testing.T
	a    *Authority
	srv  *httptest.Server
	dir  string
	logs *lockedBuffer

	mu    sync.Mutex
	clock time.Time
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.clock
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock = w.clock.Add(d)
}

// hashed returns a line of an htpasswd file.
func hashed(t testing.TB, user, password string) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), minCost)
	if err != nil {
		t.Fatal(err)
	}
	return user + ":" + string(h) + "\n"
}

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range texts {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// newWorld starts a world with the users alice (wonderland) and bob (builder),
// changed by edit.
func newWorld(t *testing.T, edit func(*Options)) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), logs: &lockedBuffer{}, clock: time.Now()}
	w.write("htpasswd", hashed(t, "alice", "wonderland")+hashed(t, "bob", "builder"))
	o := Options{HtpasswdFile: filepath.Join(w.dir, "htpasswd"), Resolve: resolve, Now: w.now, Logger: slog.New(slog.NewTextHandler(w.logs, nil))}
	if edit != nil {
		edit(&o)
	}
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	w.a = a
	w.srv = httptest.NewServer(w)
	t.Cleanup(w.srv.Close)
	return w
}

func named(t testing.TB, name string) reference.Named {
	t.Helper()
	n, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// refusalOf returns the refusal in an error, an empty one when there is none.
func refusalOf(err error) *Refusal {
	e := new(Refusal)
	errors.As(err, &e)
	return e
}

func withTokens(o *Options) {
	o.Token = TokenOptions{Enabled: true, KeyFile: filepath.Join(filepath.Dir(o.HtpasswdFile), "token.key")}
}

func (w *world) write(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// resolve is how this registry reads names: the first element names a registry when
// nothing else does.
func resolve(_ *http.Request, registry, name string) (reference.Named, error) {
	if registry != "" {
		name = registry + "/" + name
	}
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil || !reference.IsNameOnly(named) {
		return nil, errors.New("not a name")
	}
	return named, nil
}

var manifestPath = regexp.MustCompile(`^/v2/(.+)/manifests/[^/]+$`)

// ServeHTTP is the registry. The header Registry stands for a place with a registry
// of its own.
func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/token" || strings.HasPrefix(r.URL.Path, "/token/") {
		w.a.ServeToken(rw, r)
		return
	}
	p := Place{Registry: r.Header.Get("Registry"), NoChallenge: r.Header.Get("Mirror") != "", IgnoreAuthorization: r.Header.Get("Pass-Through") != ""}
	m := manifestPath.FindStringSubmatch(r.URL.Path)
	if m != nil {
		p.Name = m[1]
	}
	id, err := w.a.Identify(r, p)
	if err == nil && m != nil {
		repo, rerr := resolve(r, p.Registry, p.Name)
		if rerr != nil {
			http.Error(rw, rerr.Error(), http.StatusBadRequest)
			return
		}
		err = w.a.May(id, repo)
	}
	if err != nil {
		refusal := new(Refusal)
		if !errors.As(err, &refusal) {
			w.t.Errorf("%s: not a refusal: %v", r.URL, err)
			refusal.Status = http.StatusInternalServerError
		}
		if refusal.Challenge != "" {
			rw.Header().Set("WWW-Authenticate", refusal.Challenge)
		}
		http.Error(rw, refusal.Message, refusal.Status)
		return
	}
	io.WriteString(rw, id.String())
}

// answer is what a client saw.
type answer struct {
	status    int
	challenge string
	body      string
}

func (w *world) do(req *http.Request) answer {
	w.t.Helper()
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header.Get("WWW-Authenticate"), string(b)}
}

type option func(*http.Request)

func basic(user, password string) option {
	return func(r *http.Request) { r.SetBasicAuth(user, password) }
}
func bearer(token string) option { return header("Authorization", "Bearer "+token) }
func header(name string, values ...string) option {
	return func(r *http.Request) {
		for _, v := range values {
			r.Header.Add(name, v)
		}
	}
}

// get asks for a path of the registry.
func (w *world) get(path string, opts ...option) answer {
	w.t.Helper()
	req, err := http.NewRequest(http.MethodGet, w.srv.URL+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, o := range opts {
		o(req)
	}
	return w.do(req)
}

func (w *world) post(path string, form url.Values, opts ...option) answer {
	w.t.Helper()
	req, err := http.NewRequest(http.MethodPost, w.srv.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for _, o := range opts {
		o(req)
	}
	return w.do(req)
}

// token reads the answer of the token endpoint.
func (w *world) token(a answer) tokenAnswer {
	w.t.Helper()
	var out tokenAnswer
	if err := json.Unmarshal([]byte(a.body), &out); err != nil || a.status != http.StatusOK || out.Token == "" || out.Token != out.AccessToken {
		w.t.Fatalf("no token: %d %s (%v)", a.status, a.body, err)
	}
	return out
}

// tokenFor returns a token of alice for scopes.
func (w *world) tokenFor(scopes ...string) string {
	w.t.Helper()
	return w.token(w.get("/token?"+url.Values{"scope": scopes}.Encode(), basic("alice", "wonderland"))).Token
}

// challenged returns a parameter of a Bearer challenge.
func challenged(t *testing.T, a answer, name string) string {
	t.Helper()
	rest, ok := strings.CutPrefix(a.challenge, "Bearer ")
	if a.status != http.StatusUnauthorized || !ok {
		t.Fatalf("no Bearer challenge: %d %q", a.status, a.challenge)
	}
	for _, p := range strings.Split(rest, ",") {
		if key, v, _ := strings.Cut(p, "="); key == name {
			return strings.Trim(v, `"`)
		}
	}
	return ""
}

// key returns the key that the world signs with.
func (w *world) key() *ecdsa.PrivateKey { return w.a.current().key.key }

func (w *world) want(a answer, status int, says string) {
	w.t.Helper()
	if a.status != status || !strings.Contains(a.body+" "+a.challenge, says) {
		w.t.Errorf("got %d %s (challenge %s), expected %d that says %q", a.status, a.body, a.challenge, status, says)
	}
}

const (
	nginx = "/v2/docker.io/library/nginx/manifests/1"
	team  = "/v2/docker.io/team/app/manifests/1"
	quay  = "/v2/quay.io/team/app/manifests/1"
)
