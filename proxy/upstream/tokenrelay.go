package upstream

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"
)

// Bounds of a client's request for a token and its answer.
const (
	realmLife      = 10 * time.Minute // how long a registry's word about its realm counts
	maxTokenQuery  = 8 << 10          // bytes
	maxTokenForm   = 64 << 10         // bytes
	maxTokenAnswer = 1 << 20          // bytes
	maxTokenType   = 256              // bytes of a Content-Type
)

// formType is the only kind of body that is passed on (OAuth 2.0, RFC 6749,
// appendix B).
const formType = "application/x-www-form-urlencoded"

// TokenAnswer is what a registry's token server answered: any status but a
// redirect, and of its headers the Content-Type, "" when it is unusable. Body has
// at most 1 MiB and may be a secret of the client's.
type TokenAnswer struct {
	Status      int
	ContentType string
	Body        []byte
}

// RelaysToken reports whether requests for path are passed on by [Client.Token]:
// whether it is where the registry, which has ClientCredentials, sends clients
// for tokens, on its own scheme, host and port. The registry is asked for that
// without credentials, at most every ten minutes. Paths of content never are.
func (c *Client) RelaysToken(ctx context.Context, registry, path string) bool {
	r, err := c.passing(registry, "token")
	if err != nil || !tokenPath(path) {
		return false
	}
	u, err := r.tokenRealm(ctx)
	return err == nil && u != nil && u.Path == path
}

// Token passes a client's GET or POST for a token on to the registry's own token
// server, where RelaysToken says so of the request's path: the query, the one
// Authorization header of r and a form of at most 64 KiB. Nothing is remembered
// and no redirect is followed. Whatever else the server answers is no error.
func (c *Client) Token(ctx context.Context, registry string, r *http.Request) (*TokenAnswer, error) {
	const op = "token"
	reg, err := c.passing(registry, op)
	if err != nil {
		return nil, err
	}
	notRelayed := &Error{Kind: NotServed, Registry: registry, Op: op,
		Err: errors.New("expected a request for a token at the path that the registry sends clients to")}
	if r.URL.RawPath != "" || !tokenPath(r.URL.Path) {
		return nil, notRelayed
	}
	realm, err := reg.tokenRealm(ctx)
	if err != nil {
		return nil, err
	}
	if realm == nil || r.URL.Path != realm.Path {
		return nil, notRelayed
	}
	ask, err := relayedCall(r, realm)
	if err != nil {
		return nil, &Error{Kind: Forbidden, Registry: registry, Op: op, Err: err}
	}
	return reg.relay(ctx, ask)
}

// relayedCall takes over of a client's request what is passed on.
func relayedCall(r *http.Request, realm *url.URL) (call, error) {
	c := call{kind: "token", op: "token", method: r.Method, accept: "application/json", last: true,
		url: &url.URL{Scheme: realm.Scheme, Host: realm.Host, Path: realm.Path}}
	if len(r.URL.RawQuery) > maxTokenQuery {
		return call{}, errors.New("expected a query of at most 8 KiB, found a longer one")
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return call{}, errors.New("expected a well-formed query, found a malformed one")
	}
	c.url.RawQuery = query.Encode()
	switch headers := r.Header.Values("Authorization"); len(headers) {
	case 0:
	case 1:
		c.auth = headers[0]
	default:
		return call{}, errors.New("expected one Authorization header, found several")
	}
	switch r.Method {
	case http.MethodGet:
		return c, nil
	case http.MethodPost:
		c.form, err = readForm(r)
		return c, err
	}
	return call{}, errors.New("expected GET or POST, found another method")
}

// readForm reads the form of a POST.
func readForm(r *http.Request) ([]byte, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != formType {
		return nil, errors.New("expected a body of type " + formType + ", found another type")
	}
	form, err := io.ReadAll(io.LimitReader(r.Body, maxTokenForm+1))
	if err != nil {
		return nil, errors.New("expected a whole form, found one that broke off")
	}
	if len(form) > maxTokenForm {
		return nil, errors.New("expected a form of at most 64 KiB, found a longer one")
	}
	return form, nil
}

// relay sends the call and reads the answer.
func (r *remote) relay(ctx context.Context, c call) (*TokenAnswer, error) {
	a, err := r.ask(ctx, c)
	if err != nil {
		return nil, err
	}
	if a.StatusCode < 200 || a.StatusCode > 299 && a.StatusCode < 400 {
		a.close()
		return nil, &Error{Kind: Refused, Registry: r.name, Op: c.op, Status: a.StatusCode,
			Err: errors.New("expected a token or a refusal, found a redirect, which is not followed")}
	}
	out := &TokenAnswer{Status: a.StatusCode, ContentType: a.Header.Get("Content-Type")}
	if len(out.ContentType) > maxTokenType || !printable(out.ContentType) {
		out.ContentType = ""
	}
	if enc := a.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		a.close()
		return nil, a.invalid("expected no content encoding, found one that was not asked for")
	}
	out.Body, err = a.bytes(maxTokenAnswer)
	if err != nil {
		return nil, err
	}
	return out, nil
}

// realm remembers where a registry sends clients for tokens.
type realm struct {
	mu     sync.Mutex
	known  bool
	asked  time.Time
	url    *url.URL // nil: not to a place that is relayed to
	asking *questions
}

// tokenRealm returns where the registry's token server is, nil when that is not
// at the registry's own endpoint. The registry is asked without anybody's
// credentials, so that the answer may count for all clients.
func (r *remote) tokenRealm(ctx context.Context) (*url.URL, error) {
	m := &r.pass.realm
	if u, ok := m.get(r.opt.seams.now()); ok {
		return u, nil
	}
	err := m.asking.once(ctx, "", func(ctx context.Context) error {
		u, err := r.askRealm(ctx)
		if err == nil {
			m.put(u, r.opt.seams.now())
		}
		return err
	}, r.opt.HeaderTimeout+r.opt.BodyTimeout, func(ctx context.Context) error {
		return asError(ctx, r.name, pingOp, context.Cause(ctx))
	})
	if err != nil {
		return nil, err
	}
	u, _ := m.get(r.opt.seams.now())
	return u, nil
}

func (m *realm) get(now time.Time) (*url.URL, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.url, m.known && now.Sub(m.asked) < realmLife
}

func (m *realm) put(u *url.URL, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known, m.asked, m.url = true, now, u
}

// askRealm reads the realm from the registry's own challenge.
func (r *remote) askRealm(ctx context.Context) (*url.URL, error) {
	a, err := r.ask(ctx, call{kind: "ping", op: pingOp, method: http.MethodGet, path: "/v2/"})
	if err != nil {
		return nil, err
	}
	defer a.close()
	if a.StatusCode != http.StatusOK && a.StatusCode != http.StatusUnauthorized {
		return nil, pingError(a.statusError())
	}
	if _, err := a.drain(); err != nil {
		return nil, asError(a.ctx, r.name, pingOp, err)
	}
	if a.StatusCode == http.StatusOK || a.Request == nil || !r.atEndpoint(a.Request.URL) {
		return nil, nil
	}
	c := usableChallenge(a.Header, r.base.Scheme == "https")
	if c.scheme != schemeBearer {
		return nil, nil
	}
	u := c.realmURL(r.base.Scheme == "https")
	if u == nil || !r.atEndpoint(u) || u.RawPath != "" || !tokenPath(u.Path) {
		return nil, nil
	}
	return u, nil
}

// contentElements are what paths of a registry's content have and those of token
// servers have not. Whoever runs a registry must not turn the relay of tokens
// into a way to its manifests, which would go around the policy.
var contentElements = []string{"manifests", "blobs", "tags", "referrers", "signatures", "_catalog", "_manifest"}

// tokenPath reports whether a path may be that of a token server.
func tokenPath(p string) bool {
	if !strings.HasPrefix(p, "/") || p == "/" || strings.TrimSuffix(p, "/") != path.Clean(p) || !printable(p) {
		return false
	}
	if strings.Trim(strings.ToLower(p), "/") == "v2" {
		return false
	}
	for _, elem := range strings.Split(p, "/") {
		for _, content := range contentElements {
			if strings.EqualFold(elem, content) {
				return false
			}
		}
	}
	return !strings.ContainsAny(p, `\%;`)
}
