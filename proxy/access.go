package proxy

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"net/netip"
	"strings"

	"github.com/distribution/reference"

	"github.com/pullgate/pullgate/proxy/auth"
	"github.com/pullgate/pullgate/proxy/upstream"
)

// Access says who asks and what they may pull; [auth.Authority] does.
type Access interface {
	Enabled() bool
	Client(r *http.Request) netip.Addr
	Identify(r *http.Request, p auth.Place) (auth.Identity, error)
	May(id auth.Identity, repo reference.Named) error
	ServeToken(w http.ResponseWriter, r *http.Request)
}

// tokenPath is where the gate's own tokens are issued: below it, a registry's name.
const tokenPath = "/token"

// asksForToken tells whether a request is for the gate's own token endpoint. On an
// intercepted connection that path is the registry's.
func (h *Handler) asksForToken(r *http.Request) bool {
	return (r.URL.Path == tokenPath || strings.HasPrefix(r.URL.Path, tokenPath+"/")) &&
		h.opts.Access.Enabled() && !entryOf(r.Context()).Only
}

// enter decides whether whoever sent the request may have anything of ref's
// repository, before anything is fetched or told about it. For a registry that is
// asked with the client's own credentials the registry itself says so, for these
// credentials: what was fetched with those of another client is of no help.
func (h *Handler) enter(x *exchange, ref reference.Named, blob bool) error {
	if err := h.identify(x, reference.Domain(ref)); err != nil {
		return err
	}
	if err := h.opts.Access.May(x.identity, reference.TrimNamed(ref)); err != nil {
		return fromAuth(err, true)
	}
	if !h.opts.Upstream.ClientCredentials(reference.Domain(ref)) {
		return nil
	}
	x.lend()
	if reference.IsNameOnly(ref) {
		return nil // a list of tags is fetched with these credentials each time
	}
	return h.opts.Upstream.Authorize(x.r.Context(), ref, blob)
}

// identify finds out who sent the request.
func (h *Handler) identify(x *exchange, registry string) error {
	if id := x.entry.Identity; id != nil {
		x.identity = *id
		return nil
	}
	place := auth.Place{Name: x.vars["name"], NoChallenge: x.entry.Mirror,
		IgnoreAuthorization: h.opts.Upstream.ClientCredentials(registry)}
	if x.place != "" {
		place.Registry = registry // the name alone would not say it
	}
	id, err := h.opts.Access.Identify(x.r, place)
	if err != nil {
		return fromAuth(err, x.r.Header.Get("Authorization") != "")
	}
	x.identity = id
	return nil
}

// lend lets the upstream see the client's own credentials, and keeps apart what is
// fetched with them from what others wait for.
func (x *exchange) lend() {
	header := ""
	if !x.entry.Mirror { // docker's would be those for Docker Hub, sent to a mirror
		header = x.r.Header.Get("Authorization")
	}
	ctx := upstream.WithAuthorization(x.r.Context(), header)
	x.r = x.r.WithContext(context.WithValue(ctx, ownerKey{}, sha256.Sum256([]byte(header))))
}

// ownerKey holds the hash of the credentials that a fetch is made with.
type ownerKey struct{}

// owner tells fetches with different credentials apart; "" for the gate's own.
func owner(ctx context.Context) string {
	sum, ok := ctx.Value(ownerKey{}).([sha256.Size]byte)
	if !ok {
		return ""
	}
	return string(sum[:])
}

// getPing answers GET /v2/, which tells clients that this is a registry and
// whether to log in.
func (h *Handler) getPing(x *exchange) error {
	place, err := h.opts.Names.place(x.r, x.entry)
	if err != nil {
		return err
	}
	x.place = place
	registry := place
	if registry == "" {
		registry = h.opts.Names.Default
	}
	if registry, err = h.opts.Names.Canonical(registry); err != nil {
		return err
	}
	if err := h.identify(x, registry); err != nil {
		return err
	}
	if !x.entry.Mirror && h.opts.Upstream.ClientCredentials(registry) {
		x.lend()
		if err := h.opts.Upstream.Ping(x.r.Context(), registry); err != nil {
			return err
		}
	}
	return x.writeJSON(http.StatusOK, []byte("{}"))
}

// relayToken passes a request for a token on to the registry's own token server,
// where that is the host whose connection was intercepted and its clients log in
// with their own credentials. It returns false when the request is no such one.
func (h *Handler) relayToken(x *exchange) (bool, error) {
	registry := x.entry.Registry
	if !x.entry.Only || !h.opts.Upstream.ClientCredentials(registry) ||
		!h.opts.Upstream.RelaysToken(x.r.Context(), registry, x.r.URL.Path) {
		return false, nil
	}
	x.route = "token"
	answer, err := h.opts.Upstream.Token(x.r.Context(), registry, x.r)
	if err != nil {
		return true, err
	}
	x.w.Header().Set("Cache-Control", "no-store")
	return true, x.writeBytes(answer.Status, answer.ContentType, answer.Body)
}

// fromAuth turns a refusal of the gate's own access control into an answer. What
// was tried and refused is recorded; that a client was asked to log in is not.
func fromAuth(err error, tried bool) error {
	var e *auth.Refusal
	if !errors.As(err, &e) {
		return err
	}
	out := &apiError{status: e.Status, code: codeDenied, message: e.Message, challenge: e.Challenge, cause: e}
	switch {
	case e.Status == http.StatusUnauthorized:
		out.code = codeUnauthorized
	case e.Status >= http.StatusInternalServerError:
		out.code, out.retryAfter = codeUnavailable, retryAfter
	}
	if e.Status != http.StatusUnauthorized || tried {
		out.decision, out.reasons = decisionDenied, []string{e.Message}
	}
	return out
}
