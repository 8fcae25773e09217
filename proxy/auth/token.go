package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/golang-jwt/jwt/v5"
)

// maxForm bounds the query and the body of a request for a token.
const maxForm = 16 << 10

// tokenAnswer is the answer of Docker's token authentication, "Token Response
// Fields", which is also that of OAuth 2 (RFC 6749, section 5.1).
type tokenAnswer struct {
	Token        string `json:"token"`
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int    `json:"expires_in"` // seconds
	IssuedAt     string `json:"issued_at"`  // RFC 3339
	Scope        string `json:"scope"`
	RefreshToken string `json:"refresh_token,omitempty"`
}

// tokenError is a refusal of the token endpoint with its OAuth 2 code (RFC 6749,
// section 5.2).
type tokenError struct {
	Refusal
	code string
}

func badRequest(code, format string, args ...any) error {
	return &tokenError{Refusal{Status: http.StatusBadRequest, Message: fmt.Sprintf(format, args...)}, code}
}

func badGrant(message string) error {
	return &tokenError{Refusal{Status: http.StatusUnauthorized, Challenge: basicChallenge, Message: message}, "invalid_grant"}
}

// grant is who gets a token, and what it was asked to hold.
type grant struct {
	id      Identity
	hash    string // htpasswd entry of a user
	refresh bool   // give a token for further tokens as well, to a user
	scopes  []tokenScope
}

// ServeToken is the token endpoint: GET (Docker's token authentication, with Basic)
// and POST (its OAuth 2 form: grant_type password or refresh_token) of /token, and
// of /token/<registry> for scopes whose names do not say the registry.
func (a *Authority) ServeToken(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	answer, err := a.answerToken(w, r)
	if err != nil {
		a.refuseToken(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, answer)
}

func (a *Authority) answerToken(w http.ResponseWriter, r *http.Request) (*tokenAnswer, error) {
	s := a.current()
	registry, ok := tokenRegistry(r.URL.Path)
	if s.key == nil || !ok {
		return nil, &tokenError{Refusal{Status: http.StatusNotFound, Message: "no tokens are issued here"}, "invalid_request"}
	}
	var g grant
	var err error
	switch r.Method {
	case http.MethodGet:
		g, err = a.grantGet(r, s)
	case http.MethodPost:
		g, err = a.grantPost(w, r, s)
	default:
		w.Header().Set("Allow", "GET, POST")
		return nil, &tokenError{Refusal{Status: http.StatusMethodNotAllowed, Message: "tokens are asked for with GET or POST"}, "invalid_request"}
	}
	if err != nil {
		return nil, err
	}
	return a.issue(r, s, registry, g)
}

// tokenRegistry returns the registry in the path of a token endpoint, "" when it
// names none.
func tokenRegistry(path string) (string, bool) {
	rest, ok := strings.CutPrefix(path, tokenPath)
	if !ok || rest == "" {
		return "", ok
	}
	registry, ok := strings.CutPrefix(rest, "/")
	return registry, ok && hostPort.MatchString(registry)
}

// grantGet finds out who asks with GET: like Identify, and with Basic only.
func (a *Authority) grantGet(r *http.Request, s *state) (grant, error) {
	params, err := parseParams(r.URL.RawQuery)
	if err != nil {
		return grant{}, err
	}
	g, err := a.asked(params)
	if err != nil {
		return grant{}, err
	}
	addr := a.address(r)
	if id, ok := a.byCertificate(r, addr); ok {
		g.id = id
		return g, nil
	}
	header := r.Header.Values("Authorization")
	if len(header) == 0 {
		if id, ok := a.byNetwork(addr); ok {
			g.id = id
			return g, nil
		}
		return grant{}, badGrant(notKnown(addr))
	}
	c, err := parseAuthorization(header)
	switch {
	case err != nil:
		return grant{}, badGrant(err.Error())
	case c.bearer != "":
		return grant{}, badGrant("a token is no way to a token: expected Basic")
	}
	g.refresh = params.Get("offline_token") == "true"
	return a.grantPassword(r, s, g, c.user, c.password)
}

// grantPost reads the form of OAuth 2. Whoever uses it says who they are in it.
func (a *Authority) grantPost(w http.ResponseWriter, r *http.Request, s *state) (grant, error) {
	form, err := parseForm(w, r)
	if err != nil {
		return grant{}, err
	}
	g, err := a.asked(form)
	if err != nil {
		return grant{}, err
	}
	switch form.Get("grant_type") {
	case "password":
		g.refresh = form.Get("access_type") == "offline"
		return a.grantPassword(r, s, g, form.Get("username"), form.Get("password"))
	case "refresh_token":
		c, err := s.key.read(form.Get("refresh_token"), useRefresh)
		if err != nil {
			return grant{}, badGrant("refresh token: " + err.Error() + "; log in again")
		}
		if !s.holds(c) {
			return grant{}, badGrant("the refresh token was issued for a password that its user no longer has; log in again")
		}
		g.id, g.hash = Identity{Kind: User, Name: c.Subject, Addr: a.address(r)}, s.users.hashes[c.Subject]
		return g, nil
	}
	return grant{}, badRequest("unsupported_grant_type", "grant_type: expected password or refresh_token")
}

func (a *Authority) grantPassword(r *http.Request, s *state, g grant, user, password string) (grant, error) {
	if s.users == nil {
		return grant{}, badGrant("this gate knows no passwords")
	}
	if err := checkCredentials(user, password); err != nil {
		return grant{}, badGrant(err.Error())
	}
	switch err := a.checkPassword(r.Context(), s.users, a.Client(r), user, password); {
	case errors.Is(err, errBusy):
		return grant{}, busy()
	case err != nil:
		return grant{}, badGrant(err.Error())
	}
	g.id, g.hash = Identity{Kind: User, Name: user, Addr: a.address(r)}, s.users.hashes[user]
	return g, nil
}

// asked reads what a token is asked for.
func (a *Authority) asked(params url.Values) (grant, error) {
	if service := params.Get("service"); service != "" && service != a.opts.Token.Service {
		return grant{}, badRequest("invalid_request", "service: expected %s, as in the challenge", a.opts.Token.Service)
	}
	scopes, err := parseScopes(params["scope"])
	if err != nil {
		return grant{}, badRequest("invalid_scope", "%s", err.Error())
	}
	return grant{scopes: scopes}, nil
}

// issue makes the token. It holds the repositories that were asked for and may be
// pulled, to pull them, and nothing else: less than was asked for is no error, the
// refusal comes with the pull and says why.
func (a *Authority) issue(r *http.Request, s *state, registry string, g grant) (*tokenAnswer, error) {
	c := claims{RegisteredClaims: jwt.RegisteredClaims{Subject: g.id.String()}, Use: useAccess, Kind: g.id.Kind}
	if g.id.Kind == User {
		c.Subject, c.Bind = g.id.Name, s.key.bind(g.id.Name, g.hash)
	}
	var granted, repos []string
	for _, sc := range g.scopes {
		repo := a.resolve(r, registry, sc)
		if repo == nil || a.May(g.id, repo) != nil || slices.Contains(repos, repo.Name()) {
			continue
		}
		repos = append(repos, repo.Name())
		granted = append(granted, "repository:"+sc.name+":pull")
		c.Access = append(c.Access, access{Type: "repository", Name: repo.Name(), Actions: []string{"pull"}})
	}
	issued := a.opts.Now()
	token, err := s.key.issue(c, issued, a.opts.Token.TTL)
	if err != nil {
		return nil, err
	}
	answer := &tokenAnswer{Token: token, AccessToken: token, TokenType: "Bearer", ExpiresIn: int(a.opts.Token.TTL / time.Second),
		IssuedAt: issued.UTC().Format(time.RFC3339), Scope: strings.Join(granted, " ")}
	if g.refresh {
		c.Use, c.Access = useRefresh, nil
		if answer.RefreshToken, err = s.key.issue(c, issued, refreshLife); err != nil {
			return nil, err
		}
	}
	return answer, nil
}

// resolve returns the repository of a scope, nil when it is about anything else than
// pulling from a repository that is served here.
func (a *Authority) resolve(r *http.Request, registry string, s tokenScope) reference.Named {
	if s.kind != "repository" || !s.pull || !challengeName.MatchString(s.name) {
		return nil
	}
	repo, err := a.opts.Resolve(r, registry, s.name)
	if err != nil || repo == nil {
		return nil
	}
	return reference.TrimNamed(repo)
}

// parseForm reads the body of a POST. Parameters in the query are refused: they
// would be the second of two, or a secret in a URL.
func parseForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case err != nil || kind != "application/x-www-form-urlencoded":
		return nil, badRequest("invalid_request", "expected a body of type application/x-www-form-urlencoded")
	case r.URL.RawQuery != "":
		return nil, badRequest("invalid_request", "expected all parameters in the body, found some in the URL")
	case len(r.Header.Values("Authorization")) > 0:
		return nil, badRequest("invalid_request", "expected credentials in the body only, found an Authorization header as well")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	if err != nil {
		return nil, badRequest("invalid_request", "expected a body of at most %d bytes", maxForm)
	}
	return parseParams(string(body))
}

// parseParams reads parameters of which none but scope may occur twice (RFC 6749,
// section 3.2).
func parseParams(encoded string) (url.Values, error) {
	if len(encoded) > maxForm {
		return nil, badRequest("invalid_request", "expected parameters of at most %d bytes", maxForm)
	}
	params, err := url.ParseQuery(encoded)
	if err != nil {
		return nil, badRequest("invalid_request", "the parameters cannot be read")
	}
	for name, values := range params {
		if name != "scope" && len(values) > 1 {
			return nil, badRequest("invalid_request", "a parameter occurs %d times: expected each but scope once", len(values))
		}
	}
	return params, nil
}

// refuseToken answers in both forms that clients read: Docker's list of errors and
// OAuth's code.
func (a *Authority) refuseToken(w http.ResponseWriter, r *http.Request, err error) {
	status, code, message := http.StatusInternalServerError, "server_error", "the token could not be made"
	var te *tokenError
	var refusal *Refusal
	switch {
	case errors.As(err, &te):
		status, code, message = te.Status, te.code, te.Message
		if te.Challenge != "" {
			w.Header().Set("WWW-Authenticate", te.Challenge)
		}
	case errors.As(err, &refusal):
		status, code, message = refusal.Status, "temporarily_unavailable", refusal.Message
	}
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	if a != nil && a.opts.Logger != nil {
		a.opts.Logger.Info("token refused", "client", a.Client(r).String(), "status", status, "reason", message)
	}
	docker := "UNAUTHORIZED"
	if status != http.StatusUnauthorized {
		docker = "DENIED"
	}
	writeJSON(w, status, map[string]any{
		"errors": []map[string]string{{"code": docker, "message": message}},
		"error":  code, "error_description": message,
	})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v) // a client that is gone needs no answer
}
