package verify

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/distribution/reference"
)

// Based is a [Verifier] that can say what of the policy decides about one subject.
type Based interface {
	Verifier
	// Basis names what decides about s under the policy in force, and that policy. A
	// verdict of another policy holds as long as its [Verdict.Basis] is the same: what
	// was changed does not concern it. It may be called for every question that no
	// verdict of the policy in force answers. An empty basis is equal to none.
	Basis(s Subject) (revision, basis string)
}

var _ Based = (*Engine)(nil)

// Basis implements [Based].
func (e *Engine) Basis(s Subject) (revision, basis string) {
	p := e.policy.Load()
	if p == nil || s.Ref == nil {
		return "", ""
	}
	return e.revisionOf(p), e.basisOf(p, s.Transport, s.Ref)
}

// basisOf names what decides about images that are asked for as ref: the scope with
// its requirements and all key bytes, the places where their evidence is looked for, and
// the bytes of the trust roots that they name. With a base image every scope can
// decide, so it is the whole policy.
func (e *Engine) basisOf(p *Policy, transport string, ref reference.Named) string {
	if transport == "" {
		transport = TransportDocker
	}
	scope, reqs := p.scopeFor(transport, ref)
	lookaside, err := p.lookasides.Base(ref)
	if err != nil || hasBase(reqs) {
		return e.revisionOf(p)
	}
	h := sha256.New()
	fmt.Fprintf(h, "weak=%t transport=%q scope=%q lookaside=%q\n", p.allowWeak, transport, scope, lookaside)
	if repo := p.repositories.of(ref); repo != nil {
		fmt.Fprintf(h, "repository=%q\n", repo.Name())
	}
	for _, r := range reqs {
		fmt.Fprintf(h, "requirement=%x\n", r.bytes)
	}
	for _, name := range rootsOf(reqs, nil) {
		generation := ""
		if e.roots != nil {
			root, _ := e.roots.Get(name)
			generation = root.Generation
		}
		fmt.Fprintf(h, "root=%q %q\n", name, generation)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// hasBase tells whether one of the requirements, or one within them, is about a base.
func hasBase(reqs []*requirement) bool {
	found := false
	eachBase("", reqs, func(string, *baseLayer) { found = true })
	return found
}

// rootsOf adds the trust roots that requirements name to names.
func rootsOf(reqs []*requirement, names []string) []string {
	add := func(t *bundleTrust) {
		if t.root != "" && !slices.Contains(names, t.root) {
			names = append(names, t.root)
		}
	}
	for _, r := range reqs {
		switch x := r.ext.(type) {
		case *bundleSigned:
			add(x.trust)
		case *attested:
			add(x.trust)
		case *anyOf:
			for _, alt := range x.of {
				names = rootsOf(alt.all, names)
			}
		}
	}
	return names
}
