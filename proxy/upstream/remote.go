package upstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/distribution/reference"
)

// remote is a registry reached over HTTP.
type remote struct {
	name  string   // in references and errors
	label string   // for Observe
	base  *url.URL // endpoint
	opt   *Options
	wire  *wire
	http  *http.Client
	known tokens
	ext   extensionSupport
	pass  *passing // nil: the gate's own credentials
}

func newRemote(o *Options, name, label, endpoint string, other bool) (*remote, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, errors.New("endpoint: expected https://host[:port][/prefix]")
	}
	switch {
	case u.User != nil:
		return nil, errors.New("endpoint: expected no user name or password in the URL; credentials belong into the auth file")
	case u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "":
		return nil, errors.New("endpoint: expected https://host[:port][/prefix] without query or fragment")
	}
	w, err := newWire(o, u, other, name)
	if err != nil {
		return nil, err
	}
	return &remote{name: name, label: label, base: u, opt: o, wire: w, http: w.client()}, nil
}

func (r *remote) close() { r.wire.close() }

// call is one request to the registry.
type call struct {
	kind   string // what Observe is told
	op     string // what errors say
	method string
	path   string // below the endpoint
	query  url.Values
	url    *url.URL // in place of path and query
	accept string
	repo   reference.Named // whose credentials; nil for none at all
	// What only requests on behalf of a client have.
	login bool   // with the client's header though it is for no repository
	form  []byte // body of a POST
	auth  string // Authorization header in place of the context's; with url alone
	last  bool   // a redirect is an answer
}

// answer is a response with status 200 whose body has not been read.
type answer struct {
	*http.Response
	r      *remote
	call   call
	ctx    context.Context
	cancel context.CancelCauseFunc
}

// do sends a call. Answers other than 200 are errors. The answer must be closed.
func (r *remote) do(ctx context.Context, c call) (*answer, error) {
	a, err := r.ask(ctx, c)
	if err != nil {
		return nil, err
	}
	if a.StatusCode != http.StatusOK {
		defer a.close()
		return nil, a.statusError()
	}
	switch enc := strings.ToLower(a.Header.Get("Content-Encoding")); enc {
	case "", "identity":
	default:
		a.close()
		return nil, a.invalid("expected no content encoding, found one that was not asked for")
	}
	return a, nil
}

// ask sends a call and returns whatever the registry answers.
func (r *remote) ask(ctx context.Context, c call) (*answer, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := r.request(ctx, c)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	start := time.Now()
	resp, err := r.send(ctx, c, req)
	took := time.Since(start)
	if err != nil {
		e := asError(ctx, r.name, c.op, err)
		cancel(nil)
		r.opt.Observe(r.label, c.kind, e.Status, took)
		level := slog.LevelDebug
		if refused := new(refusal); errors.As(e, &refused) {
			level = slog.LevelWarn
		}
		r.opt.Logger.Log(ctx, level, "upstream request failed", "registry", r.name, "op", c.op, "took", took, "error", e)
		return nil, e
	}
	r.opt.Observe(r.label, c.kind, resp.StatusCode, took)
	r.opt.Logger.DebugContext(ctx, "upstream request", "registry", r.name, "op", c.op, "status", resp.StatusCode, "took", took)
	return &answer{Response: resp, r: r, call: c, ctx: ctx, cancel: cancel}, nil
}

// send sends a call's request with the credentials that are its own.
func (r *remote) send(ctx context.Context, c call, req *http.Request) (*http.Response, error) {
	switch {
	case r.pass != nil && c.last:
		return r.pass.plain.Do(req)
	case c.repo == nil || r.pass != nil:
		return r.http.Do(req)
	}
	req = req.WithContext(pullContext(ctx, c.repo))
	return authClient(r.http, &r.known, r.opt.Credentials, c.repo).Do(req)
}

// request writes a call as a request. Of the credentials it has those that the
// client lends, or that the URL holds.
func (r *remote) request(ctx context.Context, c call) (*http.Request, error) {
	header, err := r.lent(ctx, c)
	if err != nil {
		return nil, err
	}
	u := r.base.JoinPath(c.path)
	u.RawQuery = c.query.Encode()
	var user *url.Userinfo
	if c.url != nil {
		plain := *c.url
		u, user, plain.User = &plain, c.url.User, nil
	}
	var body io.Reader
	if c.form != nil {
		body = bytes.NewReader(c.form)
	}
	req, err := http.NewRequestWithContext(ctx, c.method, u.String(), body)
	if err != nil {
		return nil, unexpected(r.name, c.op, "expected a request that can be written as a URL")
	}
	if c.accept != "" {
		req.Header.Set("Accept", c.accept)
	}
	if c.form != nil {
		req.Header.Set("Content-Type", formType)
	}
	if header != "" {
		req.Header.Set("Authorization", header)
	}
	if user != nil {
		password, _ := user.Password()
		req.SetBasicAuth(user.Username(), password)
	}
	return req, nil
}

// close releases the connection.
func (a *answer) close() {
	a.Body.Close()
	a.cancel(nil)
}

// bytes reads the whole body and closes it: at most limit bytes, within the
// body timeout.
func (a *answer) bytes(limit int64) ([]byte, error) {
	defer a.close()
	if a.ContentLength > limit {
		return nil, a.invalid("expected at most %d bytes, found %d", limit, a.ContentLength)
	}
	timer := time.AfterFunc(a.r.opt.BodyTimeout, func() { a.cancel(errSlowBody) })
	defer timer.Stop()
	b, err := io.ReadAll(io.LimitReader(a.Body, limit+1))
	if err != nil {
		return nil, asError(a.ctx, a.r.name, a.call.op, err)
	}
	if int64(len(b)) > limit {
		return nil, a.invalid("expected at most %d bytes, found more", limit)
	}
	return b, nil
}

// json reads the body as one JSON value.
func (a *answer) json(limit int64, v any) error {
	b, err := a.bytes(limit)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return a.invalid("expected JSON: %w", errJSON(err))
	}
	return nil
}

// errJSON says what is wrong with JSON without quoting it at length.
func errJSON(err error) error {
	var (
		syntax *json.SyntaxError
		kind   *json.UnmarshalTypeError
	)
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("syntax error at byte %d", syntax.Offset)
	case errors.As(err, &kind):
		return fmt.Errorf("unexpected %s at byte %d", kind.Value, kind.Offset)
	}
	return errors.New("a value is malformed")
}

// stream hands the body out as a blob that ends when it stalls.
func (a *answer) stream() *Blob {
	return &Blob{Size: a.ContentLength, Body: newIdleBody(a)}
}

func (a *answer) invalid(format string, args ...any) *Error {
	return unexpected(a.r.name, a.call.op, format, args...)
}

// errorCode is what registries write into errors, kept to what is fit to log.
var errorCode = regexp.MustCompile(`^[A-Z][A-Z0-9_]{1,40}$`)

// statusError describes an answer that is not 200. It reads the body, which
// names the reason and must be read for the connection to be used again.
func (a *answer) statusError() *Error {
	e := &Error{Kind: kindOf(a.StatusCode), Registry: a.r.name, Op: a.call.op, Status: a.StatusCode}
	if a.StatusCode == http.StatusTooManyRequests || a.StatusCode == http.StatusServiceUnavailable {
		e.RetryAfter = retryAfter(a.Header, time.Now())
	}
	a.tellClient(e)
	b, err := a.drain()
	var body struct {
		Errors []struct {
			Code string `json:"code"`
		} `json:"errors"`
	}
	if err == nil && json.Unmarshal(b, &body) == nil && len(body.Errors) > 0 && a.fitToTell(body.Errors[0].Code) {
		e.Err = fmt.Errorf("registry says %s", body.Errors[0].Code)
	}
	return e
}

// drain reads a short body within the body timeout.
func (a *answer) drain() ([]byte, error) {
	timer := time.AfterFunc(a.r.opt.BodyTimeout, func() { a.cancel(errSlowBody) })
	defer timer.Stop()
	return io.ReadAll(io.LimitReader(a.Body, 8<<10))
}
