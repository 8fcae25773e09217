package verify

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/distribution/reference"

	"github.com/pullgate/pullgate/verify/trustroot"
)

// basis is what one list of requirements brings along that decides.
type basis struct {
	sum   [sha256.Size]byte // of the list with all keys in it
	roots []string          // trust roots that it names
	bases bool              // it asks for a base image, which other lists judge
}

// basisOf reads a list of requirements and its form with all keys inlined.
func basisOf(reqs []*requirement, inlined []json.RawMessage) basis {
	var b basis
	h := sha256.New()
	for _, raw := range inlined {
		fmt.Fprintf(h, "%d\n%s\n", len(raw), raw)
	}
	h.Sum(b.sum[:0])
	b.walk(infos("", reqs, nil, time.Time{}))
	return b
}

// walk looks at requirements within requirements too.
func (b *basis) walk(list []RequirementInfo) {
	for _, r := range list {
		if r.TrustRoot != "" && !slices.Contains(b.roots, r.TrustRoot) {
			b.roots = append(b.roots, r.TrustRoot)
		}
		b.bases = b.bases || r.Type == typeBaseLayer
		for _, alt := range r.Alternatives {
			b.walk(alt.Of)
		}
	}
}

// Basis returns the revision of the policy in force and what of it decides about the
// image that s names, as [Verdict.Basis] has it. A verdict of an earlier revision
// with the same basis still holds: what was changed since has nothing to do with it.
// Both are empty when trust roots are replaced all the while: a basis by one root must
// not be filed under the revision of another one, which may come back.
func (e *Engine) Basis(s Subject) (revision, basis string) {
	p := e.policy.Load()
	if p == nil || s.Ref == nil {
		return "", ""
	}
	transport := s.Transport
	if transport == "" {
		transport = TransportDocker
	}
	for range maxJudged {
		revision = e.revisionOf(p)
		basis = e.basisOf(p, revision, transport, s.Ref)
		if e.revisionOf(p) == revision {
			return revision, basis
		}
	}
	return "", ""
}

// basisOf names everything that decides about ref's images: the list of its scope
// with the bytes of all keys, where the evidence is looked for, whether weak
// signatures count, and the trust roots that the list names. The whole revision is
// part of it where the scopes of base images decide too.
func (e *Engine) basisOf(p *Policy, revision, transport string, ref reference.Named) string {
	scope, b := p.basisFor(transport, ref)
	h := sha256.New()
	fmt.Fprintf(h, "weak=%t transport=%q scope=%q list=%x\n", p.allowWeak, transport, scope, b.sum)
	place, err := p.lookasides.Base(ref)
	fmt.Fprintf(h, "lookaside=%q error=%t repository=%q\n", fmt.Sprint(place), err != nil, p.SignatureRepository(ref))
	for _, name := range b.roots {
		var r trustroot.Root
		if e.roots != nil {
			r, _ = e.roots.Get(name)
		}
		// By a stale one nothing may be judged: what it decided ends with it.
		fmt.Fprintf(h, "root %q=%q stale=%t\n", name, r.Generation, r.Stale)
	}
	if b.bases {
		fmt.Fprintf(h, "revision=%s\n", revision)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// basisFor is the basis of the list that [Policy.scopeFor] picks.
func (p *Policy) basisFor(transport string, ref reference.Named) (string, basis) {
	lists := p.bases[transport]
	for _, name := range ScopeCandidates(ref) {
		if b, ok := lists[name]; ok {
			return name, b
		}
	}
	if b, ok := lists[""]; ok {
		return shownScope(transport, ""), b
	}
	return DefaultScope, p.defaultBasis
}
