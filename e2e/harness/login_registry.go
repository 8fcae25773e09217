package harness

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Users of a PrivateRegistry and their passwords.
var privateUsers = map[string]string{"alice": "secret of alice", "bob": "secret of bob"}

// PrivateRegistry is a registry at which clients have accounts: alice may read
// everything, bob what is below bobs/, and everybody what is below public/. It
// keeps blobs on another server and sends clients there. All of its servers record
// their requests.
type PrivateRegistry struct {
	*Registry           // asks for a login
	Store     *Registry // the same images without one, to push to
	Tokens    *Registry // nil when logins are Basic
	Storage   *Registry // of blobs

	mu     sync.Mutex
	issued map[string]grant // by token
}

// grant is what a token is for.
type grant struct {
	user         string
	repositories []string
}

// NewPrivateRegistry starts a registry that takes passwords itself (Basic), or
// tokens of a token server.
func NewPrivateRegistry(t testing.TB, tokens bool) *PrivateRegistry {
	t.Helper()
	store := newImageStore()
	p := &PrivateRegistry{Store: NewUpstream(t, store), issued: map[string]grant{}}
	p.Storage = NewUpstream(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("signature") != cdnSignature {
			http.Error(w, "forbidden", http.StatusForbidden)
			return
		}
		store.ServeHTTP(w, r)
	}))
	if tokens {
		p.Tokens = NewUpstream(t, http.HandlerFunc(p.giveToken))
	}
	p.Registry = NewUpstream(t, p.protect(store))
	return p
}

// mayRead tells who may read which repository; user is empty for nobody.
func mayRead(user, repository string) bool {
	return strings.HasPrefix(repository, "public/") || user == "alice" || user == "bob" && strings.HasPrefix(repository, "bobs/")
}

// protect lets through what the client may read.
func (p *PrivateRegistry) protect(store http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		repository := ""
		if m := hubPath.FindStringSubmatch(r.URL.Path); m != nil {
			repository = m[1]
		}
		user, named := p.whoAsks(r, repository)
		switch {
		case repository != "" && mayRead(user, repository):
		case repository != "" && user != "" && p.Tokens == nil:
			hubError(w, http.StatusForbidden, "DENIED", "requested access to the resource is denied")
			return
		case repository == "" && named:
		default:
			w.Header().Set("Www-Authenticate", p.challenge(repository))
			hubError(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
			return
		}
		if _, digest, ok := strings.Cut(r.URL.Path, "/blobs/"); ok && digest != "" {
			http.Redirect(w, r, p.Storage.URL+r.URL.Path+"?signature="+cdnSignature, http.StatusTemporaryRedirect)
			return
		}
		store.ServeHTTP(w, r)
	})
}

// whoAsks is the user that a request names; named says that its credentials are
// good. A token names its user only for the repositories that it holds.
func (p *PrivateRegistry) whoAsks(r *http.Request, repository string) (user string, named bool) {
	if p.Tokens == nil {
		user, password, _ := r.BasicAuth()
		if known, ok := privateUsers[user]; !ok || known != password {
			return "", false
		}
		return user, true
	}
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	p.mu.Lock()
	defer p.mu.Unlock()
	g, ok := p.issued[token]
	if repository != "" && !slices.Contains(g.repositories, repository) {
		return "", false
	}
	return g.user, ok
}

func (p *PrivateRegistry) challenge(repository string) string {
	if p.Tokens == nil {
		return `Basic realm="private registry"`
	}
	c := `Bearer realm="` + p.Tokens.URL + `/token",service="private registry"`
	if repository != "" {
		c += `,scope="repository:` + repository + `:pull"`
	}
	return c
}

// giveToken is the token server (distribution/docs/spec/auth/token.md, oauth.md).
func (p *PrivateRegistry) giveToken(w http.ResponseWriter, r *http.Request) {
	user, password, named := r.BasicAuth()
	if r.Method == http.MethodPost {
		user, password, named = r.PostFormValue("username"), r.PostFormValue("password"), true
	}
	if known, ok := privateUsers[user]; named && (!ok || known != password) {
		hubError(w, http.StatusUnauthorized, "UNAUTHORIZED", "incorrect username or password")
		return
	}
	g := grant{user: user}
	for _, scope := range strings.Fields(strings.Join(r.Form["scope"], " ") + " " + strings.Join(r.URL.Query()["scope"], " ")) {
		if part := strings.Split(scope, ":"); len(part) == 3 && mayRead(user, part[1]) {
			g.repositories = append(g.repositories, part[1])
		}
	}
	token := rand.Text()
	p.mu.Lock()
	p.issued[token] = g
	p.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"token": token, "access_token": token, "expires_in": 300}) // the client may be gone
}

// Token is one of the registry's token server for pulling from a repository, for a
// user with the right password, or for nobody.
func (p *PrivateRegistry) Token(t testing.TB, user, repository string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.Tokens.URL+"/token?scope=repository:"+repository+":pull", nil)
	if err != nil {
		t.Fatal(err)
	}
	if user != "" {
		req.SetBasicAuth(user, privateUsers[user])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct{ Token string }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Token == "" {
		t.Fatalf("token for %q: %s: %v", user, resp.Status, err)
	}
	return answer.Token
}
