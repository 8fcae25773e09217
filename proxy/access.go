package proxy

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"time"

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
	Own(r *http.Request) (bool, error)
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

// Bounds of a request for a token.
const (
	tokenReadTime = 10 * time.Second // until its body has come
	maxRefusal    = 4 << 10          // of what is read of a refusal for the record
)

// serveToken lets the gate's own token endpoint answer. Credentials that were tried
// there and refused are recorded as they are elsewhere.
func (h *Handler) serveToken(w http.ResponseWriter, r *http.Request) {
	x := h.newExchange(w, r)
	x.route = "token"
	defer h.finish(x)
	x.deadline()
	x.bodyWithin(tokenReadTime)
	answer := &watchedAnswer{ResponseWriter: w, status: http.StatusOK}
	h.opts.Access.ServeToken(answer, r)
	x.status = answer.status
	if tried := r.Method == http.MethodPost || x.tries(); x.status < http.StatusBadRequest || !tried {
		return
	}
	x.decided = true
	x.record.Kind, x.record.Decision, x.record.Reasons = x.route, decisionDenied, answer.reasons()
	x.record.Revision = h.opts.Verifier.Revision()
}

// bodyWithin ends a request whose body does not come in time: nothing else bounds
// how long one is waited for.
func (x *exchange) bodyWithin(most time.Duration) {
	if x.r.ContentLength != 0 {
		_ = http.NewResponseController(x.w).SetReadDeadline(time.Now().Add(most)) // not every transport has deadlines
	}
}

// watchedAnswer notes what a handler answered, and the beginning of a refusal.
type watchedAnswer struct {
	http.ResponseWriter
	status  int
	refusal []byte
}

// WriteHeader notes the status.
func (a *watchedAnswer) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

// Write notes what is said about a refusal.
func (a *watchedAnswer) Write(b []byte) (int, error) {
	if a.status >= http.StatusBadRequest {
		a.refusal = append(a.refusal, b[:min(len(b), maxRefusal-len(a.refusal))]...)
	}
	return a.ResponseWriter.Write(b)
}

// reasons are the messages of a refusal in the form of registries.
func (a *watchedAnswer) reasons() []string {
	var body struct{ Errors []refusal }
	if err := json.Unmarshal(a.refusal, &body); err != nil {
		return nil // the status stands in the record
	}
	var out []string
	for _, e := range body.Errors {
		out = append(out, e.Message)
	}
	return out
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
	if err := h.lend(x, reference.Domain(ref)); err != nil {
		return err
	}
	if reference.IsNameOnly(ref) {
		return nil // a list of tags is fetched with these credentials each time
	}
	return fromRegistry(h.opts.Upstream.Authorize(x.r.Context(), ref, blob), x.tries())
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
		return fromAuth(err, x.tries())
	}
	x.identity = id
	return nil
}

// tries tells whether the client shows credentials with its request.
func (x *exchange) tries() bool { return x.r.Header.Get("Authorization") != "" }

// lend lets the upstream see the client's own credentials, and keeps apart what is
// fetched with them from what others wait for. Secrets that are for the gate are not
// passed on: their client is anonymous to the registry.
func (h *Handler) lend(x *exchange, registry string) error {
	header := ""
	if !x.entry.Mirror { // docker's would be those for Docker Hub, sent to a mirror
		header = x.r.Header.Get("Authorization")
	}
	switch own, err := h.opts.Access.Own(x.r); {
	case err != nil:
		return fromAuth(err, true)
	case own:
		header = ""
	}
	x.record.Login = auth.Shown(header)
	ctx := upstream.WithAuthorization(x.r.Context(), registry, header)
	x.r = x.r.WithContext(context.WithValue(ctx, ownerKey{}, sha256.Sum256([]byte(header))))
	return nil
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
		if err := h.lend(x, registry); err != nil {
			return err
		}
		if err := h.opts.Upstream.Ping(x.r.Context(), registry); err != nil {
			return fromRegistry(err, x.tries())
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
	x.bodyWithin(tokenReadTime)
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

// fromRegistry turns a registry's refusal of the client's own credentials into an
// answer, which is recorded like one of the gate's own.
func fromRegistry(err error, tried bool) error {
	var e *upstream.Error
	if !errors.As(err, &e) || e.Kind != upstream.Unauthorized && e.Kind != upstream.Forbidden {
		return err
	}
	out := fromUpstream(e, err)
	says := " asks for a login: "
	if tried {
		says = " refuses the client's credentials: "
	}
	out.message = e.Registry + says + err.Error()
	if tried || out.status != http.StatusUnauthorized {
		out.decision, out.reasons = decisionDenied, []string{out.message}
	}
	return out
}
