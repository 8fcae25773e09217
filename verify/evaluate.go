package verify

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/verify/discover"
)

// maxReasons bounds the reasons listed for one requirement.
const maxReasons = 16

// outcome is a requirement's result and when what it rests on ends.
type outcome struct {
	Result
	expires time.Time
	looked  []string // places asked beside those of the image itself: of its base
	doubt   error    // about one document; another one may be good all the same
}

// evaluateOne judges an image by one requirement. One accepted signature is
// enough; otherwise each one's own reason is listed.
func (e *Engine) evaluateOne(ctx context.Context, p *Policy, j *judged, r *requirement, found discover.Found, hopeless bool) (outcome, error) {
	o := outcome{Result: Result{Type: r.kind, Required: r.required()}}
	switch {
	case r.denies != "":
		o.Found = []string{r.denies}
		return o, nil
	case hopeless && r.needsSignatures():
		o.Found = []string{"not evaluated: another requirement of this scope denies every image"}
		o.WouldPass = r.wouldPass(j.ref(), j.at)
		return o, nil
	case r.ext != nil:
		return (&judging{engine: e, policy: p, image: j, found: found}).judgeExtension(ctx, r)
	case !r.needsSignatures():
		allowed, err := evaluate(ctx, r.native, j)
		if ctx.Err() != nil {
			return o, ctx.Err()
		}
		o.Allowed = allowed
		if !allowed {
			o.Found = []string{clean(fmt.Sprint(err))}
		}
		return o, nil
	}
	if err := e.trySignatures(ctx, p, j, r, found, &o); err != nil {
		return outcome{}, err
	}
	if o.Allowed {
		o.Found = nil
		return o, nil
	}
	if len(o.Found) == 0 {
		o.Found = []string{noneFound(r, j, found)}
	}
	o.Found = limited(o.Found)
	o.WouldPass = r.wouldPass(j.ref(), j.at)
	return o, nil
}

// trySignatures judges the signatures of the requirement's kind, one at a time,
// until one is accepted.
func (e *Engine) trySignatures(ctx context.Context, p *Policy, j *judged, r *requirement, found discover.Found, o *outcome) error {
	for _, s := range found.Signatures {
		if s.Origin == discover.OriginReferrers {
			continue // no other reader of these requirements looks there
		}
		var problem string
		var signers []string
		switch {
		case r.gpg != nil && s.Simple != nil:
			f, err := p.judgeSimple(ctx, r, j, s.Simple, e.now)
			if err != nil {
				return err
			}
			problem, signers, o.expires = f.problem, f.signers, f.expires
		case r.trust != nil && s.Sigstore != nil:
			f, err := e.judgeSigstore(ctx, p, r, j, s.Sigstore)
			if err != nil {
				return err
			}
			problem, signers, o.expires = f.problem, f.signers, f.expires
		default:
			continue // the other kind of signature: never of use to this requirement
		}
		if problem == "" {
			o.Allowed, o.Signers, o.Evidence = true, signers, []string{evidenceOf(s)}
			return nil
		}
		o.Found = append(o.Found, problem)
	}
	return nil
}

// evidenceOf is the digest of a signature as it is stored: of the OpenPGP message, or
// of the payload, which is a blob of the registry.
func evidenceOf(s discover.Signature) string {
	if s.Simple != nil {
		return digest.FromBytes(s.Simple).String()
	}
	return digest.FromBytes(s.Sigstore.Payload).String()
}

// noneFound says that there is no signature of the kind that r looks at.
func noneFound(r *requirement, j *judged, found discover.Found) string {
	var q discover.Query
	r.wants(&q, j)
	places := strings.Join(found.LookedFor(q), " and ")
	if len(found.Signatures) == 0 {
		return "no signatures found at " + places
	}
	wanted, other := "simple signing", "sigstore"
	if r.trust != nil {
		wanted, other = other, wanted
	}
	return fmt.Sprintf("no %s signatures found at %s (only %d %s)", wanted, places, len(found.Signatures), other)
}

// limited drops repetition and what is too much of a list of reasons.
func limited(reasons []string) []string {
	var out []string
	seen := map[string]bool{}
	for _, r := range reasons {
		if seen[r] {
			continue
		}
		seen[r] = true
		if len(out) == maxReasons {
			return append(out, fmt.Sprintf("and %d more signatures", len(reasons)-maxReasons))
		}
		out = append(out, r)
	}
	return out
}

// describe lists what signatures say about themselves.
func (e *Engine) describe(sigs []discover.Signature) []Signature {
	out := make([]Signature, len(sigs))
	for i, s := range sigs {
		if s.Simple != nil {
			out[i] = e.describeSimple(s)
		} else {
			out[i] = describeSigstore(s)
		}
	}
	return out
}

func (e *Engine) describeSimple(s discover.Signature) Signature {
	d := Signature{Kind: "simple signing", Source: s.Source}
	f := inspectSimple(s.Simple, nil, true, e.now)
	d.Signer, d.Identity, d.Digest = f.signer, clean(f.identity), clean(f.digest)
	if strings.HasPrefix(f.problem, "malformed") {
		d.Problem = f.problem
	} else if f.identity == "" && f.digest == "" {
		d.Problem = "malformed signature: its content is not a simple signing payload"
	}
	return d
}

func describeSigstore(s discover.Signature) Signature {
	d := Signature{Kind: "sigstore", Source: s.Source}
	c, ok := parseClaims(s.Sigstore.Payload)
	d.Identity, d.Digest = clean(c.identity), clean(c.digest)
	leaf, _, problem := certificates(s.Sigstore)
	if leaf != nil {
		d.Signer = certName(leaf)
	}
	switch {
	case s.Sigstore.MIMEType != discover.SimpleSigningMIMEType:
		d.Problem = "not a cosign signature: media type " + clean(s.Sigstore.MIMEType)
	case !ok:
		d.Problem = "malformed signature: its payload is not a simple signing payload"
	default:
		d.Problem = problem
	}
	return d
}
