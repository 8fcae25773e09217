package cache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/distribution/reference"
	"golang.org/x/sync/singleflight"

	"github.com/pullgate/pullgate/verify"
)

// VerdictOptions bound what [Verdicts] keeps and for how long.
type VerdictOptions struct {
	Size       int           // verdicts kept, at least 1
	AllowedTTL time.Duration // ceiling for allowed verdicts; their own Expires may be earlier
	DeniedTTL  time.Duration // for denied ones, shortened by up to a fifth so that they do not all end at once
	Timeout    time.Duration // for one verification, whoever waits for it; 0 means one minute
	Now        func() time.Time
	// Observe is told of every answer: hit, and for a miss how long the judgement
	// took and how it ended. It may be nil.
	Observe func(hit bool, took time.Duration, v verify.Verdict, err error)
}

// maxAsked bounds how often one question is asked of policies that replace one
// another.
const maxAsked = 3

// Verdicts is a [verify.Verifier] that remembers the verdicts of another one and
// asks it once for a key, however many callers wait. A caller that goes away
// does not end the verification for the others.
type Verdicts struct {
	next   verify.Verifier
	opts   VerdictOptions
	cache  *expiring[verdictKey, verify.Verdict]
	flight singleflight.Group
}

// verdictKey holds everything a verdict depends on besides the policy, which the
// verdict names itself, and the manifest's bytes, which the digest stands for.
type verdictKey struct {
	transport  string
	repository string
	reference  string // ":tag" or "@digest" as asked
	digest     string
}

func (k verdictKey) String() string {
	return strings.Join([]string{k.transport, k.repository, k.reference, k.digest}, "\x00")
}

// NewVerdicts wraps next. A size below 1 is an error.
func NewVerdicts(next verify.Verifier, opts VerdictOptions) (*Verdicts, error) {
	if opts.Timeout <= 0 {
		opts.Timeout = time.Minute
	}
	if opts.Observe == nil {
		opts.Observe = func(bool, time.Duration, verify.Verdict, error) {}
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	c, err := newExpiring[verdictKey, verify.Verdict](opts.Size, opts.Now)
	if err != nil {
		return nil, fmt.Errorf("verdict cache of size %d: %w", opts.Size, err)
	}
	return &Verdicts{next: next, opts: opts, cache: c}, nil
}

// Revision is that of the verifier behind.
func (c *Verdicts) Revision() string { return c.next.Revision() }

// Basis is that of the verifier behind.
func (c *Verdicts) Basis(s verify.Subject) (revision, basis string) { return c.next.Basis(s) }

// Verify answers from memory or asks the verifier behind. Errors are passed on
// and never remembered. A verdict that no longer holds under the policy in force when
// it is there is asked for again: a verification may take its time.
func (c *Verdicts) Verify(ctx context.Context, s verify.Subject) (verify.Verdict, error) {
	key, err := keyOf(s)
	if err != nil {
		return verify.Verdict{}, err
	}
	for range maxAsked {
		v, err := c.verdict(ctx, key, s)
		if err != nil {
			return v, err
		}
		if v, holds := c.holds(v, s); holds {
			return v, nil
		}
	}
	return verify.Verdict{}, errors.New("the policy changed while the image was judged")
}

// holds reports whether a verdict holds under the policy in force: that policy made
// it, or nothing that it rests on was changed since. Then it is one of that policy.
func (c *Verdicts) holds(v verify.Verdict, s verify.Subject) (verify.Verdict, bool) {
	if v.Revision == c.next.Revision() {
		return v, true
	}
	revision, basis := c.next.Basis(s)
	if revision == "" || basis == "" || basis != v.Basis {
		return verify.Verdict{}, false
	}
	v.Revision = revision
	return v, true
}

// remember looks for a verdict that still holds. One that does after the policy was
// replaced is kept as one of the new policy, for as long as before.
func (c *Verdicts) remember(key verdictKey, s verify.Subject) (verify.Verdict, bool) {
	kept, until, fresh := c.cache.get(key)
	if !fresh {
		return verify.Verdict{}, false
	}
	v, holds := c.holds(kept, s)
	if holds && v.Revision != kept.Revision {
		c.cache.put(key, v, until)
	}
	return v, holds
}

// verdict returns a verdict that was right when it was made.
func (c *Verdicts) verdict(ctx context.Context, key verdictKey, s verify.Subject) (verify.Verdict, error) {
	if v, ok := c.remember(key, s); ok {
		v.Cached = true
		c.opts.Observe(true, 0, v, nil)
		return v, nil
	}
	// The verification outlives the caller that happened to come first: its
	// context ends neither with that caller nor later than the timeout.
	// What it could not read with one client's credentials is no answer for others.
	answer := c.flight.DoChan(s.Asker+"\x00"+c.next.Revision()+"\x00"+key.String(), func() (v any, err error) {
		// Nobody could recover from a panic in this goroutine.
		defer func() {
			if r := recover(); r != nil {
				v, err = nil, fmt.Errorf("verification panicked: %v", r)
			}
		}()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.opts.Timeout)
		defer cancel()
		return c.ask(ctx, key, s)
	})
	select {
	case r := <-answer:
		if r.Err != nil {
			return verify.Verdict{}, r.Err
		}
		return r.Val.(verify.Verdict), nil
	case <-ctx.Done():
		return verify.Verdict{}, fmt.Errorf("waiting for the verdict: %w", ctx.Err())
	}
}

func (c *Verdicts) ask(ctx context.Context, key verdictKey, s verify.Subject) (verify.Verdict, error) {
	if v, ok := c.remember(key, s); ok {
		return v, nil // made while this caller was on its way here
	}
	start := c.opts.Now()
	v, err := c.next.Verify(ctx, s)
	c.opts.Observe(false, c.opts.Now().Sub(start), v, err)
	if err != nil {
		return verify.Verdict{}, err
	}
	if v.Revision == "" {
		return verify.Verdict{}, errors.New("a verdict without a policy revision cannot be trusted")
	}
	if until, keep := c.until(v); keep {
		c.cache.put(key, remembered(v), until)
	}
	return v, nil
}

// remembered is what is kept of a verdict: how it came about, without the
// inventory of all signatures, which anybody can make long.
func remembered(v verify.Verdict) verify.Verdict {
	v.Signatures = nil
	return v
}

// until says how long a verdict may be kept.
func (c *Verdicts) until(v verify.Verdict) (time.Time, bool) {
	now := c.opts.Now()
	ttl := c.opts.AllowedTTL
	if v.Decision != verify.Allowed {
		ttl = c.opts.DeniedTTL
		if fifth := int64(ttl / 5); fifth > 0 {
			ttl -= time.Duration(rand.Int64N(fifth))
		}
	}
	until := now.Add(ttl)
	if !v.Expires.IsZero() && v.Expires.Before(until) {
		until = v.Expires
	}
	return until, until.After(now)
}

func keyOf(s verify.Subject) (verdictKey, error) {
	k := verdictKey{
		transport:  s.Transport,
		repository: s.Ref.Name(),
		digest:     s.Digest.String(),
	}
	switch ref := s.Ref.(type) {
	case reference.Canonical:
		k.reference = "@" + ref.Digest().String()
		if t, ok := s.Ref.(reference.Tagged); ok {
			k.reference = ":" + t.Tag() + k.reference
		}
	case reference.Tagged:
		k.reference = ":" + ref.Tag()
	default:
		return k, fmt.Errorf("reference %s: expected a tag or a digest", s.Ref)
	}
	return k, nil
}
