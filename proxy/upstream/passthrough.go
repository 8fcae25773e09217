package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// maxAuthorization bounds a client's Authorization header, in bytes.
const maxAuthorization = 16 << 10

type authorizationKey struct{}

// authorization is a client's header in a context, and the registry that it is
// for. It is a type of its own because a context that is printed shows strings and
// of other values the type.
type authorization struct{ registry, header string }

// WithAuthorization returns a context that lends the client's own Authorization
// header, "" for an anonymous client, to requests for content of one registry with
// ClientCredentials, by its name in references. It goes to the endpoint of that
// registry and nowhere else: a client that pulls from it shows nothing to another
// one, which may hold the image's base or its signatures. To others, and without one,
// the client is anonymous. Headers other than Basic and Bearer, longer than 16 KiB or
// not of printable ASCII are refused as Forbidden when they are to be used.
func WithAuthorization(ctx context.Context, registry, header string) context.Context {
	return context.WithValue(ctx, authorizationKey{}, authorization{registry, header})
}

// ClientCredentials reports whether the registry is configured to be asked with
// the client's own credentials.
func (c *Client) ClientCredentials(registry string) bool {
	_, err := c.passing(registry, "")
	return err == nil
}

// Ping asks the registry's base path with the credentials in ctx. That the
// registry wants a login is an error of Kind Unauthorized with its Challenge.
// Registries without ClientCredentials are not asked.
func (c *Client) Ping(ctx context.Context, registry string) error {
	r, err := c.passing(registry, pingOp)
	if err != nil {
		return err
	}
	a, err := r.do(ctx, call{kind: "ping", op: pingOp, method: http.MethodGet, path: "/v2/", login: true})
	if err != nil {
		return pingError(err)
	}
	defer a.close()
	if _, err := a.drain(); err != nil {
		return asError(a.ctx, r.name, pingOp, err)
	}
	return nil
}

const pingOp = "ping /v2/"

// pingError makes sure that a registry without a base path, which is none, does
// not read as something that does not exist.
func pingError(err error) error {
	if e := new(Error); errors.As(err, &e) && e.Kind == NotFound {
		e.Kind = Invalid
	}
	return err
}

// passing finds a registry that is asked with the client's credentials.
func (c *Client) passing(registry, op string) (*remote, error) {
	if s := c.fixed[registry]; s != nil {
		if r, ok := s.backend.(*remote); ok && r.pass != nil {
			return r, nil
		}
	}
	return nil, &Error{Kind: NotServed, Registry: registry, Op: op,
		Err: errors.New("expected a registry that is asked with the client's own credentials")}
}

// passing is what a registry has that is asked with the clients' credentials.
// Nothing in it depends on those of one client but the consents, which are kept
// by credentials.
type passing struct {
	yes    *consents
	asking *questions
	realm  realm
	plain  *http.Client // follows no redirects
}

// passClients makes the registry one that is asked with the client's credentials
// and takes away what would lend it the gate's.
func (r *remote) passClients(yes *consents) {
	if len(r.wire.certs.pairs) > 0 {
		r.opt.Logger.Warn("a client certificate is not presented: the registry is asked with the client's own credentials", "registry", r.name)
	}
	r.wire.certs.pairs = nil
	r.pass = &passing{yes: yes, asking: newQuestions(), realm: realm{asking: newQuestions()}, plain: &http.Client{Transport: r.wire,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// lent returns the Authorization header that a client lends to the call, "" for
// none.
func (r *remote) lent(ctx context.Context, c call) (string, error) {
	if r.pass == nil {
		return "", nil
	}
	header := c.auth
	if c.asClient() {
		header = "" // anonymous, unless the client lends it to this registry
		if lent, _ := ctx.Value(authorizationKey{}).(authorization); lent.registry == r.name {
			header = lent.header
		}
	}
	if err := checkAuthorization(header); err != nil {
		return "", &Error{Kind: Forbidden, Registry: r.name, Op: c.op, Err: err}
	}
	return header, nil
}

// asClient reports whether the call is made with the credentials in its context.
func (c call) asClient() bool { return c.repo != nil || c.login }

// checkAuthorization refuses what cannot be passed on. Schemes that log in a
// connection instead of a request (NTLM, Negotiate) would lend one client's
// rights to the next one on that connection.
func checkAuthorization(header string) error {
	scheme, value, _ := strings.Cut(header, " ")
	switch {
	case header == "":
		return nil
	case len(header) > maxAuthorization:
		return fmt.Errorf("expected an Authorization header of at most %d bytes, found %d", maxAuthorization, len(header))
	case !printable(header):
		return errors.New("expected an Authorization header of printable ASCII, found other bytes")
	case !strings.EqualFold(scheme, schemeBasic) && !strings.EqualFold(scheme, schemeBearer), strings.TrimSpace(value) == "":
		return errors.New("expected an Authorization header of the form Basic … or Bearer …, found another")
	}
	return nil
}

// printable reports whether s has printable ASCII only.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// atEndpoint reports whether u is at the endpoint's own scheme, host and port.
func (r *remote) atEndpoint(u *url.URL) bool {
	return u.Scheme == r.base.Scheme && hostPort(u) == hostPort(r.base)
}

// tellClient marks a refusal that is the registry's own word to the client whose
// credentials it was shown. That of a host which the registry led to is none.
func (a *answer) tellClient(e *Error) {
	if a.r.pass == nil || !a.call.asClient() || a.Request == nil || !a.r.atEndpoint(a.Request.URL) {
		return
	}
	switch a.StatusCode {
	case http.StatusUnauthorized:
		e.Kind, e.Challenge = Unauthorized, usableChallenge(a.Header, a.r.base.Scheme == "https").String()
	case http.StatusForbidden:
		e.Kind = Forbidden
	}
}

// specCode are the error codes of the OCI distribution-spec and the few that
// registries add.
var specCode = regexp.MustCompile(`^(BLOB_UNKNOWN|BLOB_UPLOAD_INVALID|BLOB_UPLOAD_UNKNOWN|DIGEST_INVALID|MANIFEST_BLOB_UNKNOWN|` +
	`MANIFEST_INVALID|MANIFEST_UNKNOWN|NAME_INVALID|NAME_UNKNOWN|SIZE_INVALID|UNAUTHORIZED|DENIED|UNSUPPORTED|TOOMANYREQUESTS|` +
	`UNAVAILABLE|UNKNOWN)$`)

// fitToTell reports whether an error code of the registry may be told. Where a
// client's secret was sent it could be an echo of that, unless it is well known.
func (a *answer) fitToTell(code string) bool {
	if a.r.pass != nil {
		return specCode.MatchString(code)
	}
	return errorCode.MatchString(code)
}
