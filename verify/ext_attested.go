package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/distribution/reference"

	"github.com/pullgate/pullgate/verify/attest"
	"github.com/pullgate/pullgate/verify/bundle"
	"github.com/pullgate/pullgate/verify/discover"
)

// attested is met by an attestation about the image, signed by somebody trusted,
// whose statement satisfies a condition.
type attested struct {
	predicateType string
	trust         *bundleTrust
	condition     *attest.Condition
	text          string        // of the condition
	maxAge        time.Duration // 0: any
}

const maxMaxAge = 10 * 365 * 24 * time.Hour

// nowHolds is how long a condition that may depend on the time of day is believed.
const nowHolds = time.Minute

func (l *loader) attested(at string, raw json.RawMessage) (extension, object, error) {
	o, err := strictObject(raw, "type", "predicateType", "signedBy", "condition", "maxAge")
	if err != nil {
		return nil, nil, err
	}
	x := &attested{}
	if x.predicateType, err = o.strictText("predicateType"); err != nil {
		return nil, nil, err
	}
	if x.predicateType == "" {
		return nil, nil, errors.New("predicateType: expected the type of the attestation, like https://slsa.dev/provenance/v1")
	}
	if o["signedBy"] == nil {
		return nil, nil, errors.New("signedBy: expected whom to trust, like {\"keyPath\": \"cosign.pub\"}")
	}
	by, err := strictObject(o["signedBy"], trustKeys...)
	if err != nil {
		return nil, nil, fmt.Errorf("signedBy: %w", err)
	}
	if x.trust, err = l.bundleTrust(at+".signedBy", by); err != nil {
		return nil, nil, fmt.Errorf("signedBy: %w", err)
	}
	if err := o.set("signedBy", by); err != nil {
		return nil, nil, err
	}
	if x.text, err = o.strictText("condition"); err != nil {
		return nil, nil, err
	}
	if x.condition, err = attest.Compile(x.text); err != nil {
		return nil, nil, fmt.Errorf("condition: %w", err)
	}
	if x.text == "" {
		l.warn(at, "has no condition: any attestation of that type will do, whatever it says", "add a condition on predicate")
	}
	if x.maxAge, err = o.age("maxAge"); err == nil && x.maxAge > 0 && x.trust.root == "" {
		l.warn(at+".maxAge", "denies every image: without a trustRoot in signedBy nothing proves when an attestation was made",
			"name the trust root whose log or timestamp authority proves it")
	} else if err == nil && x.maxAge > 0 && len(x.trust.Keys) > 0 && !x.condition.ReadsNow() {
		l.warn(at+".maxAge", "a log or a timestamp proves that an attestation was there, not that it is new: signed with a key, an old one can be stamped again by whoever may push",
			"add a condition that compares a time in the statement with now, or ask for identities, whose certificates live for minutes")
	}
	return x, o, err
}

// age reads a member that must be a duration when it is there.
func (o object) age(key string) (time.Duration, error) {
	s, err := o.strictText(key)
	if err != nil || o[key] == nil {
		return 0, err
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 || d > maxMaxAge {
		return 0, fmt.Errorf("%s: expected a duration like 168h, up to ten years", key)
	}
	return d, nil
}

func (x *attested) wants(q *discover.Query, _ *judged) { q.Referrers, q.Attestations = true, true }

func (x *attested) required() string {
	text := fmt.Sprintf("an attestation of type %s signed by %s", clean(x.predicateType), x.trust.who)
	if x.text != "" {
		text += ", for which " + clean(x.text)
	}
	if x.maxAge > 0 {
		text += ", not older than " + x.maxAge.String()
	}
	return text
}

func (x *attested) wouldPass(reference.Named, time.Time) string { return x.required() }

func (x *attested) judge(ctx context.Context, in *judging) (outcome, error) {
	t, expires, err := in.trust(x.trust)
	if err != nil {
		return outcome{}, err
	}
	var o outcome
	for _, d := range in.found.Documents {
		var v bundle.Verified
		var err error
		switch d.Kind {
		case discover.KindBundle:
			v, err = bundle.Verify(d.Bytes, in.image.canonical, t)
		case discover.KindDSSE:
			v, err = bundle.VerifyDSSE(d.Bytes, d.Annotations, in.image.canonical, t)
		default:
			continue
		}
		var ends time.Time
		if err == nil {
			ends, err = x.holds(ctx, in, v)
		}
		if ctx.Err() != nil {
			return outcome{}, ctx.Err()
		}
		if in.take(&o, v, err, d.Digest.String()) {
			o.expires = earliest(earliest(o.expires, ends), expires)
			return o, nil
		}
	}
	return in.without(x, o, "attestations")
}

// holds tells whether a statement that is signed is what is asked for, and when it
// is too old.
func (x *attested) holds(ctx context.Context, in *judging, v bundle.Verified) (ends time.Time, err error) {
	if v.Statement == nil {
		return ends, errors.New("a signature, which attests nothing")
	}
	s, err := attest.ParseStatement(v.Statement)
	switch {
	case err != nil:
		return ends, fmt.Errorf("the statement cannot be read: %w", err)
	case s.PredicateType != x.predicateType:
		return ends, fmt.Errorf("an attestation of type %s, expected %s", clean(s.PredicateType), clean(x.predicateType))
	case !s.About(in.image.canonical):
		return ends, errors.New("the attestation is about another image")
	}
	if x.maxAge > 0 {
		if len(v.Times) == 0 {
			return ends, errors.New("nothing proves when the attestation was made, and maxAge asks for it; a timestamp or a log entry would")
		}
		ends = v.Times[0].Add(x.maxAge)
		if !in.image.at.Before(ends) {
			return ends, fmt.Errorf("the attestation is of %s, older than %s", v.Times[0].UTC().Format(time.RFC3339), x.maxAge)
		}
	}
	ok, err := x.condition.Holds(ctx, attest.Input{Statement: v.Statement, Reference: in.image.ref().String(), Digest: in.image.canonical, Now: in.image.at})
	if err != nil {
		return ends, fmt.Errorf("the condition cannot be evaluated: %w", err)
	}
	if !ok {
		return ends, errors.New("the condition does not hold: " + x.text)
	}
	if x.condition.ReadsNow() {
		ends = earliest(ends, in.image.at.Add(nowHolds))
	}
	return ends, nil
}
