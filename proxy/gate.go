package proxy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync/atomic"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/pullgate/pullgate/verify"
)

// Bounds of one judgement.
const (
	maxIndexDepth    = 4    // index in index in index …
	maxJudgedEntries = 1000 // manifests judged for one index, whatever their depth
	maxAncestors     = 64   // indexes asked whether they list a child
	maxRoots         = 16   // references asked for one manifest
	maxHolders       = 16   // manifests asked whether a blob is theirs
	judgeParallel    = 4    // children of one index judged at a time
)

// Outcome is what the gate decided about one manifest.
type Outcome struct {
	Verdict verify.Verdict
	Digest  digest.Digest
	// Via says by which rule an allowed manifest came in, when not by being
	// allowed itself: "root :v1", "evidence for sha256:…".
	Via string
	// ReportOnly is set when the verdict denies and the scope is not enforced.
	ReportOnly bool
}

// Forward reports whether the content may be sent.
func (o Outcome) Forward() bool { return o.Verdict.Decision == verify.Allowed || o.ReportOnly }

// Word is the decision as the audit log and metrics write it.
func (o Outcome) Word() string {
	switch {
	case o.Verdict.Decision == verify.Allowed:
		return decisionAllowed
	case o.ReportOnly:
		return decisionReportOnly
	}
	return decisionDenied
}

// gate holds the rules of admission. It keeps no decisions: it asks the verifier
// each time, which may remember verdicts, so that a new policy reaches every
// child and blob at once.
type gate struct {
	fetcher
	verifier   verify.Verifier
	reportOnly map[string]bool
}

func newGate(opts Options) *gate {
	g := &gate{
		fetcher: fetcher{upstream: opts.Upstream, content: opts.Manifests, blobs: opts.Blobs, tags: opts.Tags, graph: opts.Graph,
			slots: newSlots(opts.Names.isListed), waiting: map[string]*waiting{}},
		verifier: opts.Verifier, reportOnly: map[string]bool{},
	}
	for _, s := range opts.ReportOnly {
		g.reportOnly[s] = true
	}
	return g
}

// admit decides whether m may be sent to somebody who asked for ref: rules 2, 3
// and 6. An error is inconclusive.
func (g *gate) admit(ctx context.Context, ref reference.Named, m *Manifest) (Outcome, error) {
	out, err := g.admitAny(ctx, ref, m)
	if err == nil && out.Forward() {
		// The facts that R was asked for as T, that T was D, and what D lists, say
		// nothing about later verdicts: those are asked for each time. They may have
		// been forgotten since the last pull, so every pull records them.
		g.graph.Root(m.repo.Name(), rootName(ref), m.digest)
		g.note(m)
	}
	return out, err
}

func (g *gate) admitAny(ctx context.Context, ref reference.Named, m *Manifest) (Outcome, error) {
	if evidenceShaped(m) {
		out, err := g.admitEvidence(ctx, m)
		if err != nil || out.Forward() {
			return out, err
		}
	}
	out, err := g.admitImage(ctx, ref, m)
	if err == nil && !out.Forward() {
		if listed, err := g.admitListed(ctx, m); err != nil || listed.Forward() {
			return listed, err
		}
	}
	return out, err
}

func (g *gate) admitImage(ctx context.Context, ref reference.Named, m *Manifest) (Outcome, error) {
	if c, ok := ref.(reference.Canonical); ok {
		return g.admitDigest(ctx, c, m)
	}
	return g.judge(ctx, ref, m)
}

// admitDigest is rule 3: m is allowed itself, or some root of its repository that
// is allowed now is m or lists it.
func (g *gate) admitDigest(ctx context.Context, ref reference.Canonical, m *Manifest) (Outcome, error) {
	out, firstErr := g.admitByRoots(ctx, m)
	if firstErr == nil && out.Forward() {
		return out, nil
	}
	itself, err := g.judge(ctx, ref, m)
	if err == nil && itself.Forward() {
		return itself, nil
	}
	// Denied only when every way in was tried and none was in doubt.
	if err := errors.Join(firstErr, err); err != nil {
		return Outcome{Digest: m.digest}, err
	}
	return itself, nil
}

// admitByRoots looks for a root that is allowed now and is m or lists it, through
// indexes of indexes. Without one the outcome denies.
func (g *gate) admitByRoots(ctx context.Context, m *Manifest) (Outcome, error) {
	repo := m.repo.Name()
	var doubt error
	seen := map[digest.Digest]bool{m.digest: true}
	level := []digest.Digest{m.digest}
	for depth := 0; depth <= maxIndexDepth && len(level) > 0; depth++ {
		var parents []digest.Digest
		for _, d := range level {
			out, err := g.allowedRoot(ctx, m, d)
			if err != nil {
				doubt = err
			} else if out.Forward() {
				return out, nil
			}
			for _, p := range g.graph.Parents(repo, d) {
				if !seen[p] && len(seen) < maxAncestors {
					seen[p] = true
					parents = append(parents, p)
				}
			}
		}
		level = parents
	}
	return Outcome{Digest: m.digest}, doubt
}

// allowedRoot judges manifest d, which is m or an index above it, under each
// reference that it was asked for as.
func (g *gate) allowedRoot(ctx context.Context, m *Manifest, d digest.Digest) (Outcome, error) {
	roots := g.graph.Roots(m.repo.Name(), d)
	var doubt error
	for _, name := range roots[:min(len(roots), maxRoots)] {
		if d == m.digest && name == "@"+d.String() {
			continue // that is m itself, which the caller judges
		}
		ref, err := fromRootName(m.repo, name)
		if err != nil {
			return Outcome{}, err
		}
		above := m
		if d != m.digest {
			if above, err = g.byDigest(ctx, m.repo, d); errors.Is(err, fs.ErrNotExist) {
				return Outcome{}, nil // what is gone vouches for nothing
			}
			if err != nil {
				return Outcome{}, err
			}
		}
		out, err := g.judge(ctx, ref, above)
		if err != nil {
			doubt = err
			continue
		}
		if out.Forward() {
			out.Digest, out.Via = m.digest, "root "+name
			return out, nil
		}
	}
	return Outcome{}, doubt
}

// judge is rules 2 and 4: m is allowed under ref itself, or it is an index and
// every image manifest in it is.
func (g *gate) judge(ctx context.Context, ref reference.Named, m *Manifest) (Outcome, error) {
	var left atomic.Int64
	left.Store(maxJudgedEntries)
	v, err := g.judgeTree(ctx, ref, m, nil, 0, &left)
	if err != nil {
		return Outcome{Digest: m.digest}, err
	}
	out := Outcome{Verdict: v, Digest: m.digest}
	out.ReportOnly = v.Decision != verify.Allowed && g.isReportOnly(ref, v.Scope)
	return out, nil
}

// judgeTree judges m, reached through index (nil for none), and, when m is an index
// that is not allowed itself, what it lists.
func (g *gate) judgeTree(ctx context.Context, ref reference.Named, m, index *Manifest, depth int, left *atomic.Int64) (verify.Verdict, error) {
	v, err := g.verifier.Verify(ctx, g.subject(ctx, ref, m, index))
	if err != nil || v.Decision == verify.Allowed || !m.doc.index {
		return v, err
	}
	switch {
	case len(m.doc.children) == 0:
		return withFinding(v, "the index lists no manifests that could be allowed instead"), nil
	case depth+1 >= maxIndexDepth:
		return withFinding(v, fmt.Sprintf("indexes are nested deeper than %d", maxIndexDepth)), nil
	case left.Add(-int64(len(m.doc.children))) < 0:
		return withFinding(v, fmt.Sprintf("the index lists more than %d manifests with those of the indexes in it", maxJudgedEntries)), nil
	}
	return g.judgeChildren(ctx, ref, m, v, depth, left)
}

// judgeChildren judges every manifest of an index that is not allowed itself,
// under the reference that the index was asked for: an old child signed as :v1
// must not be let in by an unsigned :latest. It stops at the first that is not
// allowed.
func (g *gate) judgeChildren(ctx context.Context, ref reference.Named, m *Manifest, index verify.Verdict, depth int, left *atomic.Int64) (verify.Verdict, error) {
	judged := make([]judgedChild, len(m.doc.children))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(judgeParallel)
	for i, c := range m.doc.children {
		group.Go(func() (err error) {
			defer recovered(&err)
			child, err := g.byDigest(gctx, m.repo, c.Digest)
			if err != nil {
				return fmt.Errorf("%s, which index %s lists: %w", c.Digest, m.digest, err)
			}
			if evidenceShaped(child) {
				judged[i].claim = child // looked at when the images are allowed
				return nil
			}
			judged[i].verdict, err = g.judgeTree(gctx, ref, child, m, depth+1, left)
			if err == nil && judged[i].verdict.Decision != verify.Allowed {
				err = &childDenied{describeChild(m, i), judged[i].verdict}
			}
			return err
		})
	}
	err := group.Wait()
	if err == nil {
		err = g.judgeClaims(ctx, ref, m, judged, depth, left)
	}
	var denied *childDenied
	switch {
	case err == nil:
		return allowedByChildren(index, judged)
	case errors.As(err, &denied):
		return withFinding(index, "nor is every image in the index: "+denied.child+": "+reasonOf(denied.verdict)), nil
	case errors.Is(err, fs.ErrNotExist):
		return withFinding(index, "an image in the index is not in the registry, so it cannot be judged: "+err.Error()), nil
	}
	return verify.Verdict{}, err
}

// recovered turns a panic into an error: nobody else would catch it in a goroutine.
func recovered(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("judging a manifest panicked: %v", r)
	}
}

// judgedChild is the verdict on one manifest of an index. Its zero value denies.
type judgedChild struct {
	verdict  verify.Verdict
	claim    *Manifest // says that it is evidence
	evidence bool      // no image: it is about another manifest of the index
}

// judgeClaims judges what says to be evidence in an index all of whose other
// manifests are allowed. Such evidence (BuildKit's attestations) is no image: it is
// let through when its content is checked to be evidence about another manifest of
// that index. The work is bounded by what is declared, before it is
// fetched; what is beyond the bound counts as images, which need signatures.
func (g *gate) judgeClaims(ctx context.Context, ref reference.Named, index *Manifest, judged []judgedChild, depth int, left *atomic.Int64) error {
	budget := int64(maxIndexEvidence)
	for i := range judged {
		j := &judged[i]
		if j.claim == nil {
			continue
		}
		if budget -= evidenceSize(j.claim); budget >= 0 {
			subject, err := g.evidenceSubject(ctx, j.claim)
			if err != nil {
				return err
			}
			if subject != "" && slices.Contains(index.children, subject) {
				j.verdict, j.evidence = verify.Verdict{Decision: verify.Allowed}, true
				continue
			}
		}
		var err error
		if j.verdict, err = g.judgeTree(ctx, ref, j.claim, index, depth+1, left); err != nil {
			return err
		}
		if j.verdict.Decision != verify.Allowed {
			return &childDenied{describeChild(index, i), j.verdict}
		}
	}
	return nil
}

// childDenied ends the judgement of an index early.
type childDenied struct {
	child   string
	verdict verify.Verdict
}

func (e *childDenied) Error() string { return e.child + " is denied" }

func describeChild(m *Manifest, i int) string {
	c := m.doc.children[i]
	if p := c.Platform; p != nil && p.OS != "" && p.OS != "unknown" {
		return fmt.Sprintf("%s (%s/%s)", c.Digest, shorten(p.OS), shorten(p.Architecture))
	}
	return c.Digest.String()
}

// allowedByChildren is the verdict on an index all of whose images are allowed:
// it rests on all of theirs, and they on one policy.
func allowedByChildren(index verify.Verdict, children []judgedChild) (verify.Verdict, error) {
	out := verify.Verdict{Decision: verify.Allowed, Scope: index.Scope, Revision: index.Revision, Cached: index.Cached, Looked: index.Looked}
	images := 0
	for _, c := range children {
		if c.evidence {
			continue
		}
		images++
		v := c.verdict
		if v.Revision != index.Revision {
			return verify.Verdict{}, errors.New("the policy changed while the index was judged")
		}
		out.Requirements = append(out.Requirements, v.Requirements...)
		out.Signatures = append(out.Signatures, v.Signatures...)
		out.Cached = out.Cached && v.Cached
		if !v.Expires.IsZero() && (out.Expires.IsZero() || v.Expires.Before(out.Expires)) {
			out.Expires = v.Expires
		}
	}
	if images == 0 {
		return withFinding(index, "the index lists no images"), nil
	}
	return out, nil
}

// withFinding returns a copy of a denying verdict with one more thing found.
func withFinding(v verify.Verdict, finding string) verify.Verdict {
	v.Decision = verify.Denied
	v.Requirements = slices.Clone(v.Requirements)
	for i := range v.Requirements {
		if r := &v.Requirements[i]; !r.Allowed {
			r.Found = append(slices.Clone(r.Found), finding)
		}
	}
	return v
}

func (g *gate) byDigest(ctx context.Context, repo reference.Named, d digest.Digest) (*Manifest, error) {
	ref, err := reference.WithDigest(reference.TrimNamed(repo), d)
	if err != nil {
		return nil, err
	}
	return g.manifest(ctx, ref)
}

// isReportOnly reports whether what scope denies is forwarded all the same: a
// report-only scope applies to ref, and no more specific scope judged it.
func (g *gate) isReportOnly(ref reference.Named, scope string) bool {
	if len(g.reportOnly) == 0 {
		return false
	}
	for _, s := range verify.ScopeCandidates(ref) {
		if g.reportOnly[s] {
			return true
		}
		if s == scope {
			return false // the scope that judged is more specific than those left
		}
	}
	return g.reportOnly[scope] // one of the defaults, which name no place
}
