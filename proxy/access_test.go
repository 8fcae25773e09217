package proxy_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/pullgate/pullgate/proxy"
	"github.com/pullgate/pullgate/proxy/auth"
	"github.com/pullgate/pullgate/verify"
)

func basic(user, password string) option {
	return header("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
}

// withUsers lets alice pull everything and bob the registry's other/ only.
func withUsers(t *testing.T) func(*world, *settings) {
	t.Helper()
	var lines string
	for user, password := range map[string]string{"alice": "alice-secret", "bob": "bob-secret"} {
		hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		lines += user + ":" + string(hash) + "\n"
	}
	file := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(file, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(_ *world, s *settings) {
		s.access.HtpasswdFile = file
		s.access.Rules = []auth.Rule{{Users: []string{"alice"}, Scopes: []string{"*"}}, {Users: []string{"bob"}, Scopes: []string{registryName + "/other"}}}
	}
}

func TestWhoIsNotKnownGetsNothing(t *testing.T) {
	w := newWorld(t, withUsers(t))
	good := w.signed(imageOf("good"), "v1")
	w.registry.put("/v2/"+repo+"/tags/list", []byte(`{"name":"team/app","tags":["v1"]}`))
	w.wantStatus("/v2/", 401)
	w.do("GET", "/v2/"+app+"/manifests/v1", basic("alice", "alice-secret")) // now everything is in memory
	for _, path := range []string{"/manifests/v1", "/manifests/" + good.digest.String(), "/blobs/" + digestOf(good.blobs[0]).String(), "/tags/list", "/referrers/" + good.digest.String()} {
		for _, method := range []string{"GET", "HEAD"} {
			path := "/v2/" + app + path
			for name, tt := range map[string]struct {
				option option
				status int
			}{
				"nobody":         {header("X", "y"), 401},
				"wrong password": {basic("alice", "bob-secret"), 401},
				"unknown user":   {basic("carol", "alice-secret"), 401},
				"not for bob":    {basic("bob", "bob-secret"), 403},
				"alice":          {basic("alice", "alice-secret"), 200},
			} {
				got := w.do(method, path, tt.option)
				if got.StatusCode != tt.status {
					t.Errorf("%s: %s %s: expected %d, got %s", name, method, path, tt.status, got)
				}
				if asks := got.Header.Get("WWW-Authenticate") != ""; asks != (tt.status == 401) {
					t.Errorf("%s: %s %s: challenge %t with %d", name, method, path, asks, got.StatusCode)
				}
			}
		}
	}
}

func TestRecordsNameWhoAskedAndWhatWasTried(t *testing.T) {
	w := newWorld(t, withUsers(t))
	w.signed(imageOf("good"), "v1")
	path := "/v2/" + app + "/manifests/v1"
	if rec := w.recordOf(w.get(path, basic("alice", "alice-secret"))); rec.Identity != "user:alice" || rec.Decision != "allowed" {
		t.Errorf("%+v", rec)
	}
	if rec := w.recordOf(w.get(path, basic("bob", "bob-secret"))); rec.Identity != "user:bob" || rec.Decision != "denied" || rec.Status != 403 {
		t.Errorf("%+v", rec)
	}
	if rec := w.recordOf(w.get(path, basic("bob", "guess"))); rec.Decision != "denied" || rec.Status != 401 {
		t.Errorf("%+v", rec)
	}
	before := len(w.records.snapshot())
	w.get(path) // every client asks without credentials first
	if after := w.records.snapshot(); len(after) != before {
		t.Errorf("a challenge was recorded as a decision: %+v", after[before:])
	}
}

func TestAMirrorNeverAsksForPasswords(t *testing.T) {
	w := newWorld(t, withUsers(t), func(_ *world, s *settings) { s.entry = proxy.Entry{Registry: registryName, Mirror: true} })
	w.signed(imageOf("good"), "v1")
	for _, path := range []string{"/v2/", "/v2/team/app/manifests/v1"} {
		got := w.get(path)
		if got.StatusCode != 403 || got.Header.Get("WWW-Authenticate") != "" {
			t.Errorf("expected 403 without a challenge, got %s", got)
		}
	}
}

func TestAnInterceptedConnectionKnowsItsClient(t *testing.T) {
	bob := auth.Identity{Kind: auth.User, Name: "bob", Addr: netip.MustParseAddr("127.0.0.1")}
	w := newWorld(t, withUsers(t), func(_ *world, s *settings) {
		s.entry = proxy.Entry{Registry: registryName, Only: true, Identity: &bob}
	})
	w.signed(imageOf("good"), "v1")
	// The header is for the registry, and must not make somebody else of bob.
	if got := w.get("/v2/team/app/manifests/v1", basic("alice", "alice-secret")); got.StatusCode != 403 {
		t.Errorf("expected 403, got %s", got)
	}
}

func TestATokenIsForOneRepositoryOfOneRegistry(t *testing.T) {
	w, _, _ := twoRegistries(t, withUsers(t), func(_ *world, s *settings) {
		s.access.Token = auth.TokenOptions{Enabled: true, KeyFile: filepath.Join(t.TempDir(), "token.key")}
	})
	path := "/v2/team/app/manifests/v1"
	token := func(hostName string) option {
		t.Helper()
		challenge := w.get(path, host(hostName)).Header.Get("WWW-Authenticate")
		realm, rest, ok := strings.Cut(strings.TrimPrefix(challenge, `Bearer realm="`), `"`)
		u, err := url.Parse(realm)
		if !ok || err != nil || !strings.Contains(rest, `scope="repository:team/app:pull"`) {
			t.Fatalf("challenge %q", challenge)
		}
		got := w.get(u.RequestURI()+"?service=pullgate&scope=repository:team/app:pull", host(u.Host), basic("alice", "alice-secret"))
		var answer struct{ Token string }
		if err := json.Unmarshal(got.body, &answer); err != nil || answer.Token == "" {
			t.Fatalf("%v: %s", err, got)
		}
		return header("Authorization", "Bearer "+answer.Token)
	}
	corp := token("corp.gate.example")
	if got := w.get(path, host("corp.gate.example"), corp); got.StatusCode != 200 {
		t.Errorf("the token's own repository: %s", got)
	}
	if got := w.get("/v2/corp/team/app/manifests/v1", corp); got.StatusCode != 200 {
		t.Errorf("its own repository by another name: %s", got)
	}
	for name, got := range map[string]answer{
		"the same path of another registry, by Host": w.get(path, host("registry-1.docker.io"), corp),
		"by default":         w.get(path, corp),
		"by ns":              w.get(path+"?ns=docker.io", host("corp.gate.example"), corp),
		"another repository": w.get("/v2/team/other/manifests/v1", host("corp.gate.example"), corp),
		"a part of the name": w.get("/v2/team/app/more/manifests/v1", host("corp.gate.example"), corp),
	} {
		if got.StatusCode != 401 || !strings.Contains(got.Header.Get("WWW-Authenticate"), "insufficient_scope") {
			t.Errorf("%s: expected 401 with insufficient_scope, got %s", name, got)
		}
	}
	// Docker Hub's token server is not this one.
	w2, _, _ := twoRegistries(t, withUsers(t), func(_ *world, s *settings) {
		s.entry = proxy.Entry{Registry: registryName, Only: true, Identity: &auth.Identity{}}
	})
	if got := w2.get("/token", basic("alice", "alice-secret")); got.StatusCode != 404 {
		t.Errorf("a token on an intercepted connection: %s", got)
	}
}

// guarded is a registry that shows a repository to one user only.
type guarded struct {
	mu   sync.Mutex
	user string // "" shows it to everybody
	saw  map[string]int
}

func (g *guarded) protect(h *hostile) {
	for path, b := range h.things {
		h.answer(path, func(rw http.ResponseWriter, r *http.Request) {
			g.mu.Lock()
			defer g.mu.Unlock()
			user, _, _ := r.BasicAuth()
			g.saw[user]++
			if g.user != "" && user != g.user {
				rw.Header().Set("WWW-Authenticate", `Basic realm="upstream"`)
				rw.WriteHeader(http.StatusUnauthorized)
				return
			}
			rw.Header().Set("Content-Type", "application/octet-stream")
			rw.Header().Set("Content-Length", fmt.Sprint(len(b)))
			_, _ = rw.Write(b)
		})
	}
	h.answer("/v2/", func(rw http.ResponseWriter, r *http.Request) {
		if _, _, ok := r.BasicAuth(); !ok {
			rw.Header().Set("WWW-Authenticate", `Basic realm="upstream"`)
			rw.WriteHeader(http.StatusUnauthorized)
		}
	})
}

func TestNobodyGetsWhatAnothersCredentialsFetched(t *testing.T) {
	w := newWorld(t, func(_ *world, s *settings) { s.clientCredentials = registryName })
	good := w.signed(imageOf("good"), "v1")
	g := &guarded{user: "alice", saw: map[string]int{}}
	g.protect(w.registry)
	paths := []string{"/manifests/v1", "/manifests/" + good.digest.String(), "/blobs/" + digestOf(good.blobs[0]).String(), "/referrers/" + good.digest.String()}
	if got := w.get("/v2/?ns=" + registryName); got.StatusCode != 200 {
		t.Errorf("the default registry's ping: %s", got)
	}
	for range 2 { // the second time everything is in memory
		for _, path := range paths {
			for name, tt := range map[string]struct {
				option option
				status int
			}{
				"alice":  {basic("alice", "x"), 200},
				"bob":    {basic("bob", "x"), 401},
				"nobody": {header("X", "y"), 401},
			} {
				got := w.get("/v2/"+app+path, tt.option)
				if got.StatusCode != tt.status {
					t.Errorf("%s: expected %d, got %s", name, tt.status, got)
				}
				if tt.status == 401 && got.Header.Get("WWW-Authenticate") != `Basic realm="upstream"` {
					t.Errorf("%s: the registry's challenge is missing: %s", name, got)
				}
				if name != "bob" {
					continue
				}
				if rec := w.recordOf(got); rec.Decision != "denied" || rec.Status != 401 || len(rec.Reasons) == 0 {
					t.Errorf("what the registry refused is not recorded: %+v", rec)
				}
			}
		}
	}
	g.mu.Lock()
	g.user = ""
	g.mu.Unlock()
	// A 401 that asks for nothing is no reason to ask a person for a password.
	w.registry.answer("/v2/team/odd/manifests/v1", func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(401) })
	if got := w.get("/v2/registry.example.com/team/odd/manifests/v1"); got.StatusCode != 403 {
		t.Errorf("expected 403, got %s", got)
	}
	if got := w.get("/v2/" + app + paths[0]); got.StatusCode != 200 {
		t.Errorf("what is anonymous upstream: %s", got)
	}
}

// Who it was that a registry let in by its own accounts is known to the record as
// far as the client said it; no secret is in it.
func TestRecordsTellTheClientsOwnLogin(t *testing.T) {
	w := newWorld(t, withUsers(t), func(_ *world, s *settings) {
		s.clientCredentials = registryName
		s.access.TrustedNetworks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		s.access.Rules = nil
	})
	w.signed(imageOf("good"), "v1")
	(&guarded{saw: map[string]int{}}).protect(w.registry) // from nobody
	for _, tt := range []struct {
		name   string
		option option
		login  string
	}{
		{"nothing", header("X", "y"), ""},
		{"a password", basic("corp", "secret"), "basic:corp"},
		{"a name that may be a secret", basic("secret", ""), "basic"},
		{"a token in place of both", basic("dop_v1_secret", "dop_v1_secret"), "basic"},
		{"a token in place of the name", basic("ghp_secret", "x-oauth-basic"), "basic"},
		{"a name that is none", basic("a\nb", "secret"), "basic"},
		{"a token that says whose it is", header("Authorization", "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJjb3JwIn0."), "bearer:corp"},
		{"a token that poses as a hash", header("Authorization", "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJzaGEyNTY6YWIifQ."), "bearer:sha256:db92d6ab9900504d"},
		{"another token", header("Authorization", "Bearer secret"), "bearer:sha256:2bb80d537b1da3e3"},
		{"a password of the gate's", basic("alice", "alice-secret"), ""},
	} {
		if rec := w.recordOf(w.get(manifestPath(app, "v1"), tt.option)); rec.Login != tt.login || rec.Identity == "" || rec.Decision != "allowed" {
			t.Errorf("%s: %+v", tt.name, rec)
		}
	}
}

func TestTheGatesOwnSecretsGoToNoRegistry(t *testing.T) {
	w := newWorld(t, withUsers(t), func(_ *world, s *settings) {
		s.clientCredentials = registryName
		s.access.TrustedNetworks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		s.access.Rules = nil
	})
	var saw []string
	img := w.signed(imageOf("good"), "v1")
	for path, b := range w.registry.things {
		w.registry.answer(path, func(rw http.ResponseWriter, r *http.Request) {
			saw = append(saw, r.Header.Get("Authorization"))
			rw.Header().Set("Content-Type", "application/octet-stream")
			_, _ = rw.Write(b)
		})
	}
	if got := w.get(manifestPath(app, "v1"), basic("alice", "alice-secret")); got.StatusCode != 200 || string(got.body) != string(img.manifest) {
		t.Fatal(got)
	}
	for _, s := range saw {
		if s != "" {
			t.Errorf("the registry saw %q", s)
		}
	}
	saw = nil
	w.get(manifestPath(app, "v1"), basic("alice", "of-the-registry"))
	if len(saw) == 0 || saw[0] == "" {
		t.Errorf("the registry's own password did not arrive: %q", saw)
	}
}

func TestClientsCredentialsGoToTheirRegistryOnly(t *testing.T) {
	w := newWorld(t, func(_ *world, s *settings) { s.clientCredentials = registryName })
	w.hub.push("library/nginx", imageOf("hub"), "v1")
	saw := ""
	w.hub.answer("/v2/library/nginx/manifests/v1", func(rw http.ResponseWriter, r *http.Request) { saw = r.Header.Get("Authorization") })
	w.get("/v2/docker.io/library/nginx/manifests/v1", basic("alice", "secret"))
	if saw != "" {
		t.Errorf("another registry got %q", saw)
	}
	w.signed(imageOf("good"), "v1")
	(&guarded{user: "alice", saw: map[string]int{}}).protect(w.registry)
	if got := w.get("/v2/"+app+"/manifests/v1", basic("alice", "secret")); got.StatusCode != 200 {
		t.Error(got)
	}
}

func TestWhatIsTriedAtTheTokenEndpointIsRecorded(t *testing.T) {
	w := newWorld(t, withUsers(t), func(_ *world, s *settings) {
		s.access.Token = auth.TokenOptions{Enabled: true, KeyFile: filepath.Join(t.TempDir(), "token.key")}
	})
	got := w.get("/token?service=pullgate", basic("alice", "guess"))
	if rec := w.recordOf(got); got.StatusCode != 401 || rec.Decision != "denied" || rec.Kind != "token" || rec.Status != 401 ||
		len(rec.Reasons) != 1 || !strings.Contains(rec.Reasons[0], "wrong") || strings.Contains(fmt.Sprint(rec), "guess") {
		t.Errorf("a wrong password: %s: %+v", got, rec)
	}
	form := strings.NewReader("grant_type=password&username=alice&password=guess&service=pullgate")
	got = w.do("POST", "/token", header("Content-Type", "application/x-www-form-urlencoded"), func(r *http.Request) {
		r.Body, r.ContentLength = io.NopCloser(form), form.Size()
	})
	if rec := w.recordOf(got); got.StatusCode != 401 || rec.Decision != "denied" || rec.Kind != "token" || rec.Method != "POST" {
		t.Errorf("a wrong password in a form: %s: %+v", got, rec)
	}
	before := len(w.records.snapshot())
	w.get("/token?service=pullgate")                                 // asked to log in
	w.get("/token?service=pullgate", basic("alice", "alice-secret")) // the pull will say what for
	if after := w.records.snapshot(); len(after) != before {
		t.Errorf("nothing was refused, and recorded was: %+v", after[before:])
	}
}

// docker sends its password for Docker Hub to a mirror that asks for one: on that
// route none is asked for, also not in the registry's name, and none is passed on.
func TestAMirrorNeitherPassesOnNorAsksForTheRegistrysPassword(t *testing.T) {
	w := newWorld(t, func(_ *world, s *settings) {
		s.clientCredentials = registryName
		s.entry = proxy.Entry{Registry: registryName, Mirror: true}
	})
	w.signed(imageOf("good"), "v1")
	g := &guarded{user: "alice", saw: map[string]int{}}
	g.protect(w.registry)
	got := w.get("/v2/team/app/manifests/v1", basic("alice", "x"))
	if got.StatusCode != 403 || got.Header.Get("WWW-Authenticate") != "" {
		t.Errorf("expected 403 without a challenge, got %s", got)
	}
	if g.saw["alice"] != 0 {
		t.Errorf("the registry saw the password %d times", g.saw["alice"])
	}
}

// Fetches are shared among equal credentials only: each client's own are shown, and
// what becomes of one says nothing about another's.
func TestFetchesWithDifferentCredentialsAreNotShared(t *testing.T) {
	w := newWorld(t, func(_ *world, s *settings) { s.clientCredentials = registryName })
	img := w.signed(imageOf("good"), "v1")
	both := make(chan struct{})
	var mu sync.Mutex
	saw := map[string]int{}
	w.registry.answer("/v2/"+repo+"/manifests/v1", func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", ociManifest)
		if r.Method == http.MethodHead {
			return
		}
		user, _, _ := r.BasicAuth()
		mu.Lock()
		if saw[user]++; len(saw) == 2 && saw[user] == 1 {
			close(both)
		}
		mu.Unlock()
		select {
		case <-both:
		case <-time.After(time.Second): // the other one waits for this fetch
		}
		_, _ = rw.Write(img.manifest)
	})
	var all sync.WaitGroup
	for _, user := range []string{"alice", "bob"} {
		all.Go(func() {
			if got := w.get(manifestPath(app, "v1"), basic(user, "x")); got.StatusCode != 200 {
				t.Errorf("%s: %s", user, got)
			}
		})
	}
	all.Wait()
	mu.Lock()
	defer mu.Unlock()
	if saw["alice"] != 1 || saw["bob"] != 1 {
		t.Errorf("fetched as %v", saw)
	}
}

// What one client's credentials cannot read decides nothing for another who waits at
// the same time: evidence is asked for with each client's own.
func TestVerificationsWithDifferentCredentialsAreNotShared(t *testing.T) {
	bob := make(chan struct{})
	var asked atomic.Int64
	j := &judge{revision: "1", answer: func(verify.Subject) (verify.Verdict, error) {
		if asked.Add(1) > 1 {
			return verify.Verdict{Decision: verify.Allowed}, nil
		}
		select {
		case <-bob:
		case <-time.After(5 * time.Second): // he waits for this verification
		}
		return verify.Verdict{}, errors.New("alice may not read the evidence")
	}}
	w := newWorld(t, func(_ *world, s *settings) { s.clientCredentials, s.fake = registryName, j })
	img := w.signed(imageOf("good"), "v1")
	w.registry.answer("/v2/"+repo+"/manifests/v1", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", ociManifest)
		_, _ = rw.Write(img.manifest)
	})
	alice := make(chan answer)
	go func() { alice <- w.get(manifestPath(app, "v1"), basic("alice", "x")) }()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if asked.Load() > 0 {
			break
		}
	}
	if got := w.get(manifestPath(app, "v1"), basic("bob", "x")); got.StatusCode != 200 {
		t.Errorf("bob: %s", got)
	}
	close(bob)
	if got := <-alice; got.StatusCode != 503 {
		t.Errorf("alice: %s", got)
	}
}
