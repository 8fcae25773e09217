package upstream

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/distribution/reference"
	"golang.org/x/sync/singleflight"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote/auth"
)

// Bounds of what is remembered and waited for.
const (
	tokenLife    = 4 * time.Minute // under the five minutes that Docker Hub's tokens live
	maxTokens    = 4096            // repositories of one registry with a remembered token
	tokenTimeout = 30 * time.Second
	maxChallenge = 8 << 10 // bytes of a WWW-Authenticate header
)

// tokens remembers what one registry was shown for authentication, a token or
// basic credentials for each repository. Credentials are looked up by
// repository, so nothing is ever shared between repositories: that of one
// cannot be presented in the name of another.
type tokens struct {
	mu     sync.Mutex
	byRepo map[string]token
	flight singleflight.Group
}

type token struct {
	scheme  auth.Scheme
	value   string
	expires time.Time
}

func (t *tokens) get(repo string, scheme auth.Scheme) (token, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ok := t.byRepo[repo]
	if !ok || scheme != auth.SchemeUnknown && e.scheme != scheme || time.Now().After(e.expires) {
		return token{}, errdef.ErrNotFound
	}
	return e, nil
}

func (t *tokens) put(repo string, e token) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byRepo == nil {
		t.byRepo = map[string]token{}
	}
	for old := range t.byRepo {
		if len(t.byRepo) < maxTokens {
			break
		}
		delete(t.byRepo, old)
	}
	t.byRepo[repo] = e
}

// repoTokens is the auth.Cache of one repository. It ignores the scopes in the
// keys: every request needs the same, to pull from that repository.
type repoTokens struct {
	tokens *tokens
	repo   string
}

// GetScheme returns how the repository was authenticated to last.
func (r repoTokens) GetScheme(context.Context, string) (auth.Scheme, error) {
	e, err := r.tokens.get(r.repo, auth.SchemeUnknown)
	return e.scheme, err
}

// GetToken returns the remembered token of that scheme.
func (r repoTokens) GetToken(_ context.Context, _ string, scheme auth.Scheme, _ string) (string, error) {
	e, err := r.tokens.get(r.repo, scheme)
	return e.value, err
}

// Set fetches a token and remembers it. Requests that need the same one at the
// same time share the fetch, which goes on when the one that began it is
// cancelled.
func (r repoTokens) Set(ctx context.Context, _ string, scheme auth.Scheme, key string, fetch func(context.Context) (string, error)) (string, error) {
	done := r.tokens.flight.DoChan(scheme.String()+" "+r.repo+" "+key, func() (any, error) {
		ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), tokenTimeout, errSlowAuth)
		defer cancel()
		ctx, said := withTrace(ctx)
		value, err := fetch(ctx)
		if err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return "", &tokenFault{err: err, retryAfter: said.retryAfter()}
		}
		r.tokens.put(r.repo, token{scheme: scheme, value: value, expires: time.Now().Add(tokenLife)})
		return value, nil
	})
	select {
	case res := <-done:
		if res.Err != nil {
			return "", res.Err
		}
		return res.Val.(string), nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// authClient returns a client that authenticates to the registry for one
// repository. It is made for each request; what it learns is in tokens.
func authClient(c *http.Client, t *tokens, creds Credentials, repo reference.Named) *auth.Client {
	return &auth.Client{
		Client: c,
		Cache:  repoTokens{tokens: t, repo: repo.Name()},
		Credential: func(ctx context.Context, _ string) (auth.Credential, error) {
			if creds == nil {
				return auth.EmptyCredential, nil
			}
			user, pass, refresh, err := creds(ctx, repo)
			if err != nil {
				return auth.EmptyCredential, &localFault{err}
			}
			return auth.Credential{Username: user, Password: pass, RefreshToken: refresh}, nil
		},
		ClientID: "pullgate",
		// Realms are held to the guard like every other target, after the look-up
		// and by class; this list is looked up separately and knows no classes.
		BlockedRealmPrefixes: []netip.Prefix{},
	}
}

// pullContext hints that the token should be for pulling from repo.
func pullContext(ctx context.Context, repo reference.Named) context.Context {
	return auth.WithScopes(ctx, auth.ScopeRepository(reference.Path(repo), auth.ActionPull))
}

// preferChallenge leaves the one challenge that the client should answer, of
// those in separate WWW-Authenticate headers: Bearer before Basic before others.
func preferChallenge(h http.Header) {
	all := h.Values("Www-Authenticate")
	if len(all) == 0 {
		return
	}
	best, rank := "", -1
	for _, c := range all {
		if r := challengeRank(c); r > rank && len(c) <= maxChallenge {
			best, rank = c, r
		}
	}
	h.Set("Www-Authenticate", best)
}

func challengeRank(c string) int {
	scheme, _, _ := strings.Cut(strings.TrimLeft(c, " \t"), " ")
	switch {
	case strings.EqualFold(scheme, "bearer"):
		return 2
	case strings.EqualFold(scheme, "basic"):
		return 1
	}
	return 0
}

// trace remembers, for one exchange, when the server wants to be asked again.
type trace struct {
	mu    sync.Mutex
	after time.Duration
}

type traceKey struct{}

func withTrace(ctx context.Context) (context.Context, *trace) {
	t := new(trace)
	return context.WithValue(ctx, traceKey{}, t), t
}

func noteRetryAfter(ctx context.Context, resp *http.Response) {
	t, ok := ctx.Value(traceKey{}).(*trace)
	if !ok || resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusServiceUnavailable {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.after = retryAfter(resp.Header, time.Now())
}

func (t *trace) retryAfter() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.after
}
