package upstream

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/distribution/reference"
	"golang.org/x/sync/singleflight"
)

// Bounds of what is remembered of registries' consents.
const (
	consentLife = time.Minute
	maxConsents = 65536
)

// Authorize asks the registry whether ref may be read with the credentials in
// ctx: a manifest by its tag or digest or, if blob is set, a blob by its digest.
// It is nil only when the registry answered such a request with status 200 and
// what it describes can be the thing asked for. That is remembered for a minute
// for these very credentials (those of an anonymous client among them) and this
// repository; nothing else is. A refusal is of Kind Unauthorized or Forbidden.
//
// Registries without ClientCredentials are never asked: that is an error.
func (c *Client) Authorize(ctx context.Context, ref reference.Named, blob bool) error {
	kind := "manifests"
	if blob {
		kind = "blobs"
	}
	op := opName("authorize "+strings.TrimSuffix(kind, "s"), ref)
	s, err := c.at(ref, op)
	if err != nil {
		return err
	}
	r, err := c.passing(s.name, op)
	if err != nil {
		return err
	}
	if _, byDigest := ref.(reference.Digested); selector(ref) == "" || blob && !byDigest {
		return unexpected(r.name, op, "expected a manifest's tag or digest or a blob's digest")
	}
	header, err := r.lent(ctx, call{op: op, repo: ref})
	if err != nil {
		return err
	}
	who := r.pass.yes.key(header, r.name, ref.Name())
	if r.pass.yes.has(who) {
		return nil
	}
	return r.pass.asking.once(ctx, string(who[:])+op, func(ctx context.Context) error {
		err := r.mayRead(ctx, ref, op, kind)
		if err == nil {
			r.pass.yes.put(who)
		}
		return err
	}, r.opt.HeaderTimeout+r.opt.BodyTimeout, func(ctx context.Context) error {
		return asError(ctx, r.name, op, context.Cause(ctx))
	})
}

// mayRead asks by HEAD and, when the registry does not answer that properly, by
// GET, of which only the headers are read.
func (r *remote) mayRead(ctx context.Context, ref reference.Named, op, kind string) error {
	c := call{kind: "authorize", op: op, method: http.MethodHead, path: repoPath(ref, kind, selector(ref)),
		accept: "*/*", repo: reference.TrimNamed(ref)}
	if kind == "manifests" {
		c.accept = acceptManifests
	}
	err := r.readable(ctx, c, ref)
	if e := new(Error); errors.As(err, &e) && badHead(e) {
		c.method = http.MethodGet
		err = r.readable(ctx, c, ref)
	}
	return err
}

// badHead reports whether an answer may be about HEAD and not about the thing:
// presigned URLs of storage, to which registries redirect, are mostly for GET.
func badHead(e *Error) bool {
	switch e.Status {
	case http.StatusMethodNotAllowed, http.StatusBadRequest:
		return true
	case http.StatusUnauthorized, http.StatusForbidden:
		return e.Kind == Refused // by a host that the registry led to
	}
	return e.Status >= 500
}

// readable sends one such request. A status of 200 alone is not enough: a page
// that asks people to log in has it too, at this host or where a redirect leads.
func (r *remote) readable(ctx context.Context, c call, ref reference.Named) error {
	a, err := r.do(ctx, c)
	if err != nil {
		return err
	}
	defer a.close()
	kind, _, _ := mime.ParseMediaType(a.Header.Get("Content-Type"))
	isPage := kind == "text/html" || kind == "application/xhtml+xml"
	if isPage || c.accept == acceptManifests && !strings.HasPrefix(kind, "application/") {
		return a.invalid("expected a registry's content, found type %.100q", kind)
	}
	want, byDigest := ref.(reference.Digested)
	if got := a.Header.Get("Docker-Content-Digest"); byDigest && got != "" && got != want.Digest().String() {
		return a.invalid("expected %s, found an answer about %.100q", want.Digest(), got)
	}
	return nil
}

// consents remembers for a while which credentials a registry has let read which
// repository. It holds no credentials, only what they hash to under a key that
// this process alone has.
type consents struct {
	secret [32]byte
	now    func() time.Time

	mu    sync.Mutex
	until map[consentKey]time.Time
	line  []consent // in the order in which they end
}

type consentKey [sha256.Size]byte

type consent struct {
	key   consentKey
	until time.Time
}

func newConsents(now func() time.Time) *consents {
	c := &consents{now: now, until: map[consentKey]time.Time{}}
	rand.Read(c.secret[:]) // never fails
	return c
}

// key is what credentials, registry and repository hash to, told apart by their
// lengths.
func (c *consents) key(parts ...string) (key consentKey) {
	h := hmac.New(sha256.New, c.secret[:])
	for _, p := range parts {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(p))))
		h.Write([]byte(p))
	}
	h.Sum(key[:0])
	return key
}

func (c *consents) has(k consentKey) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	until, ok := c.until[k]
	return ok && c.now().Before(until)
}

// put remembers a yes and forgets those that have ended or are too many.
func (c *consents) put(k consentKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	until := now.Add(consentLife)
	c.until[k] = until
	c.line = append(c.line, consent{k, until})
	for len(c.line) > maxConsents || !now.Before(c.line[0].until) {
		if first := c.line[0]; c.until[first.key].Equal(first.until) {
			delete(c.until, first.key)
		}
		c.line = c.line[1:]
	}
}

// maxQuestions bounds how many questions one registry is asked at a time.
const maxQuestions = 64

// questions lets those who ask the same at the same time share the answer. The
// key must hold everything that the answer depends on, credentials first of all.
type questions struct {
	flight singleflight.Group
	slots  chan struct{} // one for each question that may be open

	mu   sync.Mutex
	open map[string]*question
}

// question is how many wait for an answer, and how to give it up when none does.
type question struct {
	ctx    context.Context
	cancel context.CancelFunc
	askers int
}

func newQuestions() *questions {
	return &questions{slots: make(chan struct{}, maxQuestions), open: map[string]*question{}}
}

func (q *questions) join(ctx context.Context, key string, limit time.Duration) *question {
	q.mu.Lock()
	defer q.mu.Unlock()
	one := q.open[key]
	if one == nil {
		one = &question{}
		one.ctx, one.cancel = context.WithTimeoutCause(context.WithoutCancel(ctx), limit, errSlowAnswer)
		q.open[key] = one
	}
	one.askers++
	return one
}

func (q *questions) leave(key string, one *question) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if one.askers--; one.askers == 0 {
		one.cancel()
		delete(q.open, key)
		q.flight.Forget(key) // whoever asks now begins anew
	}
}

// once asks, within limit, on behalf of all who have the key, and gives up when the
// last of them has left. Who leaves before there is an answer gets what gone makes
// of the end of its context.
func (q *questions) once(ctx context.Context, key string, ask func(context.Context) error, limit time.Duration, gone func(context.Context) error) error {
	one := q.join(ctx, key, limit)
	defer q.leave(key, one)
	done := q.flight.DoChan(key, func() (any, error) {
		select {
		case q.slots <- struct{}{}:
			defer func() { <-q.slots }()
		case <-one.ctx.Done():
			return nil, gone(one.ctx)
		}
		return nil, ask(one.ctx)
	})
	select {
	case res := <-done:
		if e := new(Error); errors.As(res.Err, &e) {
			own := *e // callers may change theirs
			return &own
		}
		return res.Err
	case <-ctx.Done():
		return gone(ctx)
	}
}
