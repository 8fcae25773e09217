package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/verify/attest"
	"github.com/pullgate/pullgate/verify/bundle"
	"github.com/pullgate/pullgate/verify/discover"
)

// Bounds of the identities of one requirement.
const maxIdentities = 64

// sigstoreKeys of a requirement and what they are called in policy.json.
var trustKeys = append(pathAndData("key"), "trustRoot", "identities", "thresholds")

// bundleTrust is whom a requirement trusts to sign sigstore bundles: keys, or
// certificate identities under a trust root that the configuration names.
type bundleTrust struct {
	bundle.Trust
	root  string // "" with keys alone
	who   string // for people
	named []identityText
}

// bundleSigned is met by a sigstore bundle that signs the image, or by a .sig
// attachment that satisfies the same trust.
type bundleSigned struct{ trust *bundleTrust }

func (l *loader) bundleSigned(at string, raw json.RawMessage) (extension, object, error) {
	o, err := strictObject(raw, append([]string{"type"}, trustKeys...)...)
	if err != nil {
		return nil, nil, err
	}
	t, err := l.bundleTrust(at, o)
	return &bundleSigned{t}, o, err
}

// bundleTrust reads whom to trust, and inlines the keys: keys, with a trust root only
// for the logs and timestamps that prove when they signed, or identities under one.
func (l *loader) bundleTrust(at string, o object) (*bundleTrust, error) {
	if err := oneOf(o, append(pathAndData("key"), "identities")...); err != nil {
		return nil, err
	}
	t := &bundleTrust{}
	var err error
	if t.root, err = o.strictText("trustRoot"); err != nil {
		return nil, err
	}
	if _, there := o["trustRoot"]; there && t.root == "" {
		return nil, errors.New("trustRoot: expected the name of one of trust_roots in the configuration, found an empty one")
	}
	if t.root != "" && !l.roots[t.root] {
		l.fault(at+".trustRoot", fmt.Sprintf("trust root %q is not configured", clean(t.root)), l.rootFix())
	}
	if err := t.thresholds(o); err != nil {
		return nil, err
	}
	if o["identities"] == nil {
		return t, l.bundleKeys(at, o, t)
	}
	if t.root == "" {
		return nil, errors.New("identities are of certificates: name the trustRoot that they are under")
	}
	return t, t.identities(o)
}

// bundleKeys reads and inlines the keys of keyPath, keyPaths, keyData or keyDatas.
func (l *loader) bundleKeys(at string, o object, t *bundleTrust) error {
	srcs, present, _ := l.sources(at, o, "key")
	if !present {
		return errors.New("expected keyPath, keyPaths, keyData, keyDatas, or identities with a trustRoot, found none of them")
	}
	var datas [][]byte
	var names []string
	usable := false
	for _, s := range srcs {
		k, err := bundle.ParseKey(s.data)
		if err != nil {
			l.fault(s.key, fmt.Sprintf("%s %v", s.name, err), "write the public key as PEM, for example cosign.pub")
			continue
		}
		if k.Weak != "" {
			l.warn(s.key, fmt.Sprintf("%s: key %s is %s, under %d bits", s.name, shortKey(k.Name), k.Weak, minRSABits), "its signatures are refused, whatever is configured; sign with a stronger key")
		}
		usable = usable || k.Weak == ""
		t.Keys = append(t.Keys, k)
		datas, names = append(datas, s.data), append(names, shortKey(k.Name))
	}
	if len(t.Keys) > 0 && !usable {
		l.warn(at, fmt.Sprintf("all its keys are RSA keys under %d bits: it denies every image", minRSABits), "sign with a stronger key")
	}
	t.who = "one of the keys " + someOf(names, ", ") + t.vouched(0, 0)
	return o.set("keyDatas", datas)
}

// thresholds reads how much evidence is asked for. With identities a log entry and a
// certificate timestamp are, unless the policy says otherwise.
func (t *bundleTrust) thresholds(o object) error {
	raw, there := o["thresholds"]
	if !there {
		return nil
	}
	inner, err := strictObject(raw, "tlog", "sct", "timestamps")
	if err != nil {
		return fmt.Errorf("thresholds: %w", err)
	}
	for key, to := range map[string]*int{"tlog": &t.TLog, "sct": &t.SCT, "timestamps": &t.Timestamps} {
		n, there, err := inner.strictCount(key)
		switch {
		case err != nil:
			return fmt.Errorf("thresholds: %w", err)
		case there && n == 0:
			*to = bundle.None
		case there:
			*to = n
		}
	}
	switch {
	case o["identities"] == nil && t.SCT > 0:
		return errors.New("thresholds: sct is about certificates; leave it out with keys")
	case o["identities"] == nil && t.root == "" && (t.TLog > 0 || t.Timestamps > 0):
		return errors.New("thresholds: tlog and timestamps need a trustRoot, which has the logs and timestamp authorities")
	}
	return nil
}

// identities reads the certificate identities, any of which may have signed.
func (t *bundleTrust) identities(o object) error {
	var list []json.RawMessage
	if err := json.Unmarshal(o["identities"], &list); err != nil || len(list) == 0 || len(list) > maxIdentities {
		return fmt.Errorf("identities: expected a list of 1 to %d, each with issuer or issuerRegExp and subject or subjectRegExp", maxIdentities)
	}
	var names []string
	for i, raw := range list {
		id, text, err := identity(raw)
		if err != nil {
			return fmt.Errorf("identities[%d]: %w", i, err)
		}
		t.Identities, t.named, names = append(t.Identities, id), append(t.named, text), append(names, text.String())
	}
	t.who = fmt.Sprintf("%s under trust root %s%s", someOf(names, " or "), clean(t.root), t.vouched(1, 1))
	return nil
}

// vouched says how many logs and authorities have to vouch for a signature; tlog and sct
// are the numbers when nothing is said.
func (t *bundleTrust) vouched(tlog, sct int) string {
	var out []string
	add := func(said, byDefault int, what string) {
		if said != 0 {
			byDefault = max(said, 0) // [bundle.None] is negative
		}
		if byDefault > 0 {
			out = append(out, fmt.Sprintf("%d %s", byDefault, what))
		}
	}
	add(t.TLog, tlog, "transparency log")
	add(t.SCT, sct, "certificate log")
	add(t.Timestamps, 0, "timestamp authority")
	if len(out) == 0 {
		return ""
	}
	return ", vouched for by " + strings.Join(out, ", ")
}

// identity reads one identity: issuer and subject, and fields of the certificate
// that Fulcio fills in, by their names.
func identity(raw json.RawMessage) (bundle.Identity, identityText, error) {
	if err := noDuplicates(raw); err != nil {
		return bundle.Identity{}, identityText{}, err
	}
	var fields map[string]*string
	if err := json.Unmarshal(raw, &fields); err != nil || fields == nil {
		return bundle.Identity{}, identityText{}, errors.New("expected an object with strings")
	}
	take := map[string]string{}
	for k, v := range fields {
		if v == nil || *v == "" {
			return bundle.Identity{}, identityText{}, fmt.Errorf("%s: expected a text that is not empty", clean(k))
		}
		take[k] = *v
	}
	t := identityText{issuer: take["issuer"], issuerRegExp: take["issuerRegExp"], subject: take["subject"], subjectRegExp: take["subjectRegExp"]}
	for _, k := range []string{"issuer", "issuerRegExp", "subject", "subjectRegExp"} {
		delete(take, k)
	}
	if (t.issuer == "") == (t.issuerRegExp == "") || (t.subject == "") == (t.subjectRegExp == "") {
		return bundle.Identity{}, identityText{}, errors.New("expected one of issuer and issuerRegExp, and one of subject and subjectRegExp")
	}
	for _, k := range slices.Sorted(maps.Keys(take)) {
		t.fields += fmt.Sprintf(", %s %s", k, take[k])
	}
	id, err := bundle.ParseIdentity(t.issuer, t.issuerRegExp, t.subject, t.subjectRegExp, take)
	return id, t, err
}

// rootFix says which trust roots may be named.
func (l *loader) rootFix() string {
	const again = "; the gate reads its configuration at start only, so restart it when the trust root was added there since"
	if len(l.roots) == 0 {
		return "add it to trust_roots in the configuration, which has none" + again
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(l.roots)) {
		names = append(names, clean(name))
	}
	return "name one of trust_roots in the configuration (" + someOf(names, ", ") + "), or add it there" + again
}

func (x *bundleSigned) wants(q *discover.Query, _ *judged) { q.Referrers, q.Attachments = true, true }

func (x *bundleSigned) required() string { return "a sigstore signature by " + x.trust.who }

func (x *bundleSigned) wouldPass(ref reference.Named, _ time.Time) string {
	return fmt.Sprintf("a sigstore bundle that signs %s, by %s", clean(ref.String()), x.trust.who)
}

func (x *bundleSigned) judge(ctx context.Context, in *judging) (outcome, error) {
	t, expires, err := in.trust(x.trust)
	if err != nil {
		return outcome{}, err
	}
	var o outcome
	for _, d := range in.found.Documents {
		if d.Kind != discover.KindBundle {
			continue
		}
		if ctx.Err() != nil {
			return outcome{}, ctx.Err() // nobody waits, and strangers say how many there are
		}
		v, err := bundle.Verify(d.Bytes, in.image.canonical, t)
		if err == nil && v.PredicateType != bundle.SignType {
			// It says something about the image, not that it is somebody's.
			err = fmt.Errorf("a good attestation of type %s, which is no signature", clean(v.PredicateType))
		}
		if in.take(&o, v, err, d.Digest.String()) {
			o.expires = earliest(o.expires, expires)
			return o, nil
		}
	}
	for _, s := range in.found.Signatures {
		if s.Sigstore == nil {
			continue
		}
		if ctx.Err() != nil {
			return outcome{}, ctx.Err()
		}
		v, err := bundle.VerifySigstore(s.Sigstore, in.image.canonical, t)
		if in.take(&o, v, err, digest.FromBytes(s.Sigstore.Payload).String()) {
			o.expires = earliest(o.expires, expires)
			return o, nil
		}
	}
	return in.without(x, o, "sigstore bundles or signatures")
}

// take notes in o what became of one document. It returns true when it is enough. That
// this machine failed at one is a doubt: who may push must not be able to stop the good
// ones with a document that the library trips over.
func (in *judging) take(o *outcome, v bundle.Verified, err error, evidence string) bool {
	if err == nil {
		err = in.timely(v.Times)
	}
	switch {
	case errors.Is(err, bundle.ErrLocal), errors.Is(err, attest.ErrLocal):
		o.doubt = err
		return false
	case err != nil:
		o.Found = append(o.Found, cleaned(err.Error(), maxReason))
		return false
	}
	o.Allowed, o.Signers, o.expires = true, v.Signers, v.Expires
	if evidence != "" {
		o.Evidence = []string{evidence}
	}
	return true
}

// without ends a judgement in which no document was enough: nobody can tell when there
// is a doubt about one.
func (in *judging) without(x extension, o outcome, what string) (outcome, error) {
	if o.doubt != nil {
		return outcome{}, o.doubt
	}
	if len(o.Found) == 0 {
		o.Found = []string{in.none(x, what)}
	}
	return o, nil
}

// trust completes what a requirement trusts with the trust root in force.
func (in *judging) trust(t *bundleTrust) (*bundle.Trust, time.Time, error) {
	out := t.Trust
	out.RootName = t.root
	out.Now = in.engine.now
	if t.root == "" {
		return &out, time.Time{}, nil
	}
	root, err := in.engine.root(t.root)
	if err != nil {
		return nil, time.Time{}, err
	}
	if len(t.Identities) > 0 && len(root.Material.FulcioCertificateAuthorities()) == 0 {
		return nil, time.Time{}, fmt.Errorf("trust root %s has no certificate authority, which identities are of", clean(t.root))
	}
	out.Root = root.Material
	return &out, root.Expires, nil
}

// none says that nothing of a kind was found, and where it was looked for: the places
// of other requirements say nothing about this one. What was found is of other kinds.
func (in *judging) none(x extension, what string) string {
	var q discover.Query
	x.wants(&q, in.image)
	text := "no " + what + " found at " + strings.Join(in.found.LookedFor(q), " and ")
	if found := kindsOf(in.found); found != "" {
		text += " (only " + found + ")"
	}
	return text
}

// kindsOf says what was found: a notation signature and 2 sigstore bundles.
func kindsOf(found discover.Found) string {
	n := map[string]int{}
	for _, d := range found.Documents {
		n[string(d.Kind)]++
	}
	for _, s := range found.Signatures {
		if s.Simple != nil {
			n[KindSimple]++
		} else {
			n[KindSigstore]++
		}
	}
	var out []string
	for _, kind := range []struct{ name, one, more string }{
		{string(discover.KindBundle), "a sigstore bundle", "sigstore bundles"},
		{KindSigstore, "a sigstore signature", "sigstore signatures"},
		{KindSimple, "a simple signing signature", "simple signing signatures"},
		{string(discover.KindNotation), "a notation signature", "notation signatures"},
		{string(discover.KindDSSE), "an attestation", "attestations"},
		{string(discover.KindStatement), "an unsigned statement", "unsigned statements"},
	} {
		switch n[kind.name] {
		case 0:
		case 1:
			out = append(out, kind.one)
		default:
			out = append(out, fmt.Sprintf("%d %s", n[kind.name], kind.more))
		}
	}
	return strings.Join(out, " and ")
}
