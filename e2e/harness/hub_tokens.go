package harness

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// hubTokens is Docker Hub's token server (distribution/docs/spec/auth/token.md)
// and the check of its tokens.
type hubTokens struct {
	users map[string]string // passwords

	mu     sync.Mutex
	issued map[string][]string // token → repositories that may be read
}

func newHubTokens(users map[string]string) *hubTokens {
	return &hubTokens{users: users, issued: map[string][]string{}}
}

// ServeHTTP answers GET and POST of /token. Like Docker Hub it gives everybody a
// token, and puts into it what they may read; only wrong passwords are refused.
func (s *hubTokens) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/token" {
		http.NotFound(w, r)
		return
	}
	user, password, named := r.BasicAuth()
	if r.Method == http.MethodPost {
		user, password, named = r.PostFormValue("username"), r.PostFormValue("password"), true
	}
	if known, ok := s.users[user]; named && (!ok || known != password) {
		hubError(w, http.StatusUnauthorized, "UNAUTHORIZED", "incorrect username or password")
		return
	}
	if service := r.FormValue("service"); service != "registry.docker.io" {
		hubError(w, http.StatusBadRequest, "UNKNOWN", "no such service: "+service)
		return
	}
	var repositories []string
	for _, scope := range strings.Fields(strings.Join(r.Form["scope"], " ")) {
		part := strings.Split(scope, ":")
		if len(part) == 3 && part[0] == "repository" && strings.Contains(part[2], "pull") && (named || !private(part[1])) {
			repositories = append(repositories, part[1])
		}
	}
	token := rand.Text()
	s.mu.Lock()
	s.issued[token] = repositories
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"token": token, "access_token": token, "expires_in": 300}) // the client may be gone
}

func private(repository string) bool { return strings.HasPrefix(repository, "private/") }

var hubPath = regexp.MustCompile(`^/v2/(.+)/(manifests|blobs|tags|referrers)/`)

// protect lets through what a token is for, and answers all else with the
// challenge.
func (s *hubTokens) protect(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		s.mu.Lock()
		repositories, issued := s.issued[token]
		s.mu.Unlock()
		challenge := `Bearer realm="https://` + HubTokens + `/token",service="registry.docker.io"`
		m := hubPath.FindStringSubmatch(r.URL.Path)
		allowed := issued && (m == nil || slices.Contains(repositories, m[1]))
		if m != nil {
			challenge += `,scope="repository:` + m[1] + `:pull"`
		}
		if !allowed {
			if bearer {
				challenge += `,error="insufficient_scope"`
			}
			w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
			w.Header().Set("Www-Authenticate", challenge)
			hubError(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// redirectBlobs sends clients to the CDN for blobs that exist, as Docker Hub
// does, with a parameter that the CDN asks for.
func redirectBlobs(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, d, ok := strings.Cut(r.URL.Path, "/blobs/sha256:")
		if !ok {
			next.ServeHTTP(w, r)
			return
		}
		location := fmt.Sprintf("https://%s/registry-v2/docker/registry/v2/blobs/sha256/%.2s/%s/data?repository=%s&verify=%s",
			HubCDN, d, d, hubPath.FindStringSubmatch(r.URL.Path)[1], cdnSignature)
		http.Redirect(w, r, location, http.StatusTemporaryRedirect)
	})
}

const cdnSignature = "1700000000-signature"

var cdnPath = regexp.MustCompile(`^/registry-v2/docker/registry/v2/blobs/sha256/../([0-9a-f]{64})/data$`)

// cdn serves blobs, and nothing that looks like a registry.
func cdn(store http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m := cdnPath.FindStringSubmatch(r.URL.Path)
		if m == nil || r.URL.Query().Get("verify") != cdnSignature {
			http.Error(w, "forbidden", http.StatusForbidden)
			return
		}
		blob := r.Clone(r.Context())
		blob.URL.Path = "/v2/" + r.URL.Query().Get("repository") + "/blobs/sha256:" + m[1]
		store.ServeHTTP(w, blob)
	})
}

func hubError(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"errors":[{"code":%q,"message":%q,"detail":null}]}`, code, message) // the client may be gone
}
