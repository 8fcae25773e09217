package verify

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/distribution/reference"
)

// RequirementInfo says for people and programs what one requirement is, as it was
// read. It holds names and fingerprints of keys, never the keys.
type RequirementInfo struct {
	// At is where it stands in policy.json: transports.docker."registry.example"[0].
	At string `json:"at"`
	// Type is its "type" in policy.json.
	Type string `json:"type"`
	// Extension is true for types that only this program knows.
	Extension bool `json:"extension,omitempty"`
	// Required says what it asks for.
	Required string `json:"required"`
	// Keys are the keys that it trusts: gpg:FINGERPRINT (user), sigstore-key:sha256:….
	Keys []string `json:"keys,omitempty"`
	// Identities are the certificate identities that it trusts. One by a regular
	// expression says so.
	Identities []string `json:"identities,omitempty"`
	// Authorities are the certificates that those of the signers, and of timestamp
	// authorities, have to be issued under: STORE sha256:FINGERPRINT, SUBJECT.
	Authorities []string `json:"authorities,omitempty"`
	// TrustRoot is the name of the trust root that it needs.
	TrustRoot string `json:"trustRoot,omitempty"`
	// WouldPass says what evidence would meet it. It is set where an image is asked
	// about, and empty when nothing could, also because the dates of an alternative
	// that it is part of allow nothing.
	WouldPass string `json:"wouldPass,omitempty"`
	// Denies says why no image can pass; empty for requirements that can be met.
	Denies string `json:"denies,omitempty"`
	// Alternatives are those of anyOf, one of which has to be met.
	Alternatives []AlternativeInfo `json:"alternatives,omitempty"`
}

// AlternativeInfo is one alternative of anyOf, met when all its requirements are.
type AlternativeInfo struct {
	Of           []RequirementInfo `json:"of"`
	Until        time.Time         `json:"until,omitzero"`
	SignedBefore time.Time         `json:"signedBefore,omitzero"`
}

// ScopeInfo is one list of requirements of policy.json.
type ScopeInfo struct {
	Transport    string            `json:"transport,omitempty"` // empty for the default list
	Scope        string            `json:"scope"`               // as in [Verdict.Scope]
	Requirements []RequirementInfo `json:"requirements"`
}

// Explanation says which scope decides about an image, and why.
type Explanation struct {
	Reference    string            `json:"reference"`
	Transport    string            `json:"transport"`
	Candidates   []Candidate       `json:"candidates"` // most specific first, all of them
	Scope        string            `json:"scope"`      // the one that decides
	Requirements []RequirementInfo `json:"requirements"`
	// SignatureRepository is where bundles, attachments and referrers are looked for,
	// when that is not the image's own repository.
	SignatureRepository string `json:"signatureRepository,omitempty"`
}

// Candidate is a scope that could decide about an image. The first one that the
// policy has decides, alone.
type Candidate struct {
	Scope   string `json:"scope"`
	Present bool   `json:"present"` // the policy has it
	Decides bool   `json:"decides"`
}

// Show returns every list of requirements, sorted by transport and scope, the default
// list last. Those of transports by which the gate judges no image are among them.
func (p *Policy) Show() []ScopeInfo {
	var out []ScopeInfo
	for _, transport := range slices.Sorted(maps.Keys(p.scopes)) {
		for _, scope := range p.Scopes(transport) {
			out = append(out, ScopeInfo{transport, shownScope(transport, scope),
				infos(scopeKey(transport, scope), p.scopes[transport][scope], nil, time.Time{})})
		}
	}
	return append(out, ScopeInfo{Scope: DefaultScope, Requirements: infos(DefaultScope, p.byDefault, nil, time.Time{})})
}

// Explain says which scope of a transport decides about ref, by the rule that judges
// it: a tag or a digest matters only where a scope names one.
func (p *Policy) Explain(transport string, ref reference.Named) Explanation {
	x := Explanation{Reference: ref.String(), Transport: transport, SignatureRepository: p.SignatureRepository(ref)}
	candidates := ScopeCandidates(ref)
	scope, reqs := p.scopeFor(transport, candidates)
	x.Scope = scope
	at := DefaultScope
	add := func(name, shown string) {
		_, there := p.scopes[transport][name]
		x.Candidates = append(x.Candidates, Candidate{Scope: shown, Present: there, Decides: shown == scope})
		if shown == scope {
			at = scopeKey(transport, name)
		}
	}
	for _, name := range candidates {
		add(name, name)
	}
	add("", shownScope(transport, ""))
	x.Candidates = append(x.Candidates, Candidate{Scope: DefaultScope, Present: true, Decides: scope == DefaultScope})
	x.Requirements = infos(at, reqs, ref, time.Now())
	return x
}

// Extensions lists every requirement that only this program knows, those within
// other requirements too. A policy.json without any is one for podman, skopeo and
// CRI-O too; with one they refuse the file.
func (p *Policy) Extensions() []RequirementInfo {
	var out []RequirementInfo
	var walk func([]RequirementInfo)
	walk = func(list []RequirementInfo) {
		for _, r := range list {
			if r.Extension {
				out = append(out, r)
			}
			for _, alt := range r.Alternatives {
				walk(alt.Of)
			}
		}
	}
	for _, s := range p.Show() {
		walk(s.Requirements)
	}
	return out
}

// shownScope is how verdicts name a scope.
func shownScope(transport, scope string) string {
	if scope == "" {
		return transport + " (transport default)"
	}
	return scope
}

// scopeKey is where a scope stands in policy.json, as faults name it.
func scopeKey(transport, scope string) string {
	return fmt.Sprintf("transports.%s.%q", transport, scope)
}

// infos describes requirements; ref is nil when no image is asked about, and now does
// not matter then.
func infos(at string, reqs []*requirement, ref reference.Named, now time.Time) []RequirementInfo {
	out := make([]RequirementInfo, len(reqs))
	for i, r := range reqs {
		out[i] = r.info(fmt.Sprintf("%s[%d]", at, i), ref, now)
	}
	return out
}

func (r *requirement) info(at string, ref reference.Named, now time.Time) RequirementInfo {
	x := RequirementInfo{At: at, Type: r.kind, Extension: extensionTypes[r.kind], Required: r.required(), Denies: r.denies}
	if ref != nil {
		x.WouldPass = r.wouldPass(ref, now)
	}
	switch {
	case r.gpg != nil:
		users := r.gpg.names(true)
		for i, print := range r.gpg.fingerprints() {
			x.Keys = append(x.Keys, fmt.Sprintf("gpg:%s, %s", print, users[i]))
		}
	case r.trust != nil:
		for _, k := range r.trust.keys {
			x.Keys = append(x.Keys, "sigstore-key:"+k.name)
		}
		if len(r.trust.keys) == 0 {
			x.Identities = []string{r.trust.who()}
		}
		x.issued(anchors("caRoots", r.trust.roots))
	}
	switch ext := r.ext.(type) {
	case *bundleSigned:
		x.trusts(ext.trust)
	case *attested:
		x.trusts(ext.trust)
	case *notationSigned:
		for _, id := range ext.identities {
			x.Identities = append(x.Identities, clean(id))
		}
		x.issued(ext.anchors)
	case *anyOf:
		for i, alt := range ext.of {
			x.Alternatives = append(x.Alternatives, alt.info(alternativeKey(at, i, alt.dated()), ref, now))
		}
	}
	return x
}

func (a alternative) info(at string, ref reference.Named, now time.Time) AlternativeInfo {
	if a.hopeless(now) {
		ref = nil // nothing would pass
	}
	of := infos(at, a.all, ref, now)
	for i := range of {
		if of[i].WouldPass != "" {
			of[i].WouldPass += a.signed()
		}
	}
	return AlternativeInfo{of, a.until, a.before}
}

// alternativeKey is where the requirements of an alternative of anyOf stand. Only an
// object of type allOf has dates.
func alternativeKey(at string, i int, dated bool) string {
	key := fmt.Sprintf("%s.of[%d]", at, i)
	if dated {
		key += ".of"
	}
	return key
}

func (a alternative) dated() bool { return !a.until.IsZero() || !a.before.IsZero() }

// issued adds authorities.
func (x *RequirementInfo) issued(list []anchor) {
	for _, a := range list {
		x.Authorities = append(x.Authorities, a.String())
	}
}

// trusts adds whom a requirement trusts to sign bundles.
func (x *RequirementInfo) trusts(t *bundleTrust) {
	x.TrustRoot = t.root
	for _, k := range t.Keys {
		x.Keys = append(x.Keys, "sigstore-key:"+k.Name)
	}
	for _, id := range t.named {
		x.Identities = append(x.Identities, id.String())
	}
}
