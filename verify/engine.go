package verify

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/verify/discover"
)

// findTimeout bounds how long all places together may take to say which
// signatures an image has.
const findTimeout = 60 * time.Second

// maxJudged bounds how often an image is judged under trust roots that replace one
// another.
const maxJudged = 3

// Engine judges images by the policy in force. It is a [Verifier], safe for
// concurrent use, and keeps nothing between two judgements.
type Engine struct {
	policy   atomic.Pointer[Policy]
	finder   discover.Finder
	roots    Roots // nil: none are configured
	revision atomic.Pointer[revision]
	now      func() time.Time
	tempDirs []string // where sigstore signatures pass through, in order of preference
}

var _ Verifier = (*Engine)(nil)

// NewEngine returns an engine that judges by p and asks reg and web for
// signatures. It first judges signatures of its own making, good and bad ones, and
// returns an error when a judgement is wrong or cannot be made: when no directory
// for temporary files can be written, for example.
func NewEngine(p *Policy, reg discover.Registry, web discover.Web) (*Engine, error) {
	if p == nil || reg == nil || web == nil {
		return nil, errors.New("engine: a policy, a registry and a web client are needed")
	}
	e := &Engine{
		finder: discover.Finder{Registry: reg, Web: web},
		now:    time.Now,
		// Memory first: nothing has to survive, and an image from scratch has no /tmp.
		tempDirs: []string{"/dev/shm", os.TempDir()},
	}
	if err := e.selfTest(); err != nil {
		return nil, fmt.Errorf("self-test of signature verification: %w", err)
	}
	e.policy.Store(p)
	return e, nil
}

// Replace puts another policy in force for all judgements that begin from now on.
// A nil policy is ignored.
func (e *Engine) Replace(p *Policy) {
	if p != nil {
		e.policy.Store(p)
	}
}

// Policy returns the policy in force.
func (e *Engine) Policy() *Policy { return e.policy.Load() }

// Revision is the revision of the policy in force.
func (e *Engine) Revision() string {
	if p := e.policy.Load(); p != nil {
		return e.revisionOf(p)
	}
	return ""
}

// Verify judges s. It fetches signatures only when a requirement could use them,
// fetches all of them before it evaluates any, and evaluates every requirement, so
// that the verdict can say what each is missing. An error means that nobody can
// tell: a place could not be asked ([*Inconclusive]), ctx ended, or the subject
// does not hold together. The verdict beside an error denies, and says as much as
// is known.
//
// A trust root that is swapped meanwhile begins the judgement anew: a verdict is of
// the revision that it names, and of no other.
func (e *Engine) Verify(ctx context.Context, s Subject) (v Verdict, err error) {
	p := e.policy.Load()
	if p == nil {
		return Verdict{}, errors.New("no policy is in force")
	}
	for range maxJudged {
		v, err = e.verify(ctx, p, s, nil)
		if err != nil || v.Revision == e.revisionOf(p) {
			return v, err
		}
	}
	return Verdict{Revision: v.Revision}, errors.New("trust roots changed while the image was judged")
}

// verify judges s. Above are the images whose base s is said to be, nil for none.
func (e *Engine) verify(ctx context.Context, p *Policy, s Subject, above *descent) (v Verdict, err error) {
	v.Revision = e.revisionOf(p)
	defer func() {
		// Signatures come from anybody. A parser that trips over one must neither
		// take the gate down nor decide.
		if r := recover(); r != nil {
			v.Decision, err = Denied, fmt.Errorf("verification panicked: %s", clean(fmt.Sprint(r)))
		}
	}()
	j, err := newJudged(s, e.now())
	if err != nil {
		return v, err
	}
	j.above = above
	v.Basis = e.basisOf(p, v.Revision, j.subject.Transport, s.Ref)
	v.Candidates = ScopeCandidates(s.Ref)
	scope, reqs := p.scopeFor(j.subject.Transport, v.Candidates)
	v.Scope = scope
	if len(reqs) == 0 {
		return v, errors.New("scope without requirements")
	}
	var found discover.Found
	if worthFetching(reqs) {
		if found, err = e.find(ctx, p, j, reqs); err != nil {
			v.Looked = found.Looked
			return v, err
		}
		v.Looked = found.Looked
		v.Signatures = append(e.describe(found.Signatures), describeDocuments(found.Documents)...)
	}
	return e.evaluateAll(ctx, p, j, v, reqs, found)
}

// worthFetching tells whether signatures could change the outcome.
func worthFetching(reqs []*requirement) bool {
	needed := false
	for _, r := range reqs {
		if r.denies != "" {
			return false
		}
		needed = needed || r.needsSignatures()
	}
	return needed
}

// find fetches all signatures that the requirements could use.
func (e *Engine) find(ctx context.Context, p *Policy, j *judged, reqs []*requirement) (discover.Found, error) {
	base, err := p.lookasides.Base(j.ref())
	if err != nil {
		return discover.Found{}, err
	}
	q, err := p.query(j, j.canonical)
	if err != nil {
		return discover.Found{}, err
	}
	q.Lookaside = base
	q.Subject = ocispec.Descriptor{MediaType: j.subject.MediaType, Digest: j.canonical, Size: int64(len(j.subject.Manifest))}
	for _, r := range reqs {
		r.wants(&q, j)
	}
	ctx, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	return e.finder.Find(ctx, q)
}

// query asks nothing yet about manifest d, which is j or its index.
func (p *Policy) query(j *judged, d digest.Digest) (discover.Query, error) {
	repo, err := p.repositories.of(j.ref())
	return discover.Query{Ref: j.ref(), Digest: d, Repository: repo}, err
}

// evaluateAll completes v: the image is allowed when every requirement is met.
func (e *Engine) evaluateAll(ctx context.Context, p *Policy, j *judged, v Verdict, reqs []*requirement, found discover.Found) (Verdict, error) {
	hopeless := false
	for _, r := range reqs {
		hopeless = hopeless || r.denies != ""
	}
	all := true
	for _, r := range reqs {
		out, err := e.evaluateOne(ctx, p, j, r, found, hopeless)
		for _, place := range out.looked {
			if !slices.Contains(v.Looked, place) {
				v.Looked = append(v.Looked, place)
			}
		}
		if err != nil {
			return v, err
		}
		v.Requirements = append(v.Requirements, out.Result)
		all = all && out.Allowed
		if out.Allowed && !out.expires.IsZero() && (v.Expires.IsZero() || out.expires.Before(v.Expires)) {
			v.Expires = out.expires
		}
	}
	if all && !hopeless {
		v.Decision, v.Candidates = Allowed, nil
	} else {
		v.Expires = time.Time{} // a denial rests on no evidence
	}
	return v, nil
}
