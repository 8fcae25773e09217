package bundle

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"
)

// judge holds e against t, which has been checked.
func judge(e *evidence, t *Trust) (Verified, error) {
	v := Verified{Statement: e.statement, PredicateType: e.predicateType}
	var err error
	if len(t.Keys) > 0 {
		v.Signers, v.Times, err = byKeys(e, t)
	} else {
		v.Signers, v.Times, err = byIdentities(e, t)
	}
	if err != nil {
		return Verified{}, err
	}
	slices.SortFunc(v.Times, time.Time.Compare)
	v.Times = slices.CompactFunc(v.Times, time.Time.Equal)
	if n := len(v.Times); n > 0 && v.Times[n-1].After(t.clock().Add(maxSkew)) {
		return Verified{}, fmt.Errorf("signed at %s, which lies ahead of this machine's clock", v.Times[n-1].UTC().Format(time.RFC3339))
	}
	return v, nil
}

// byKeys finds the key that signed, then asks the logs and authorities about it.
func byKeys(e *evidence, t *Trust) ([]string, []time.Time, error) {
	if len(leafBytes(e.entity.Bundle)) > 0 {
		return nil, nil, fmt.Errorf("expected a signature by a key, found one with a certificate, of %s", certificateSigner(e.entity.Bundle))
	}
	var strangers []Key // whose signature it is not
	var reasons []error
	for _, k := range t.Keys {
		verifier, err := k.verifierFor(e)
		if err != nil {
			reasons = append(reasons, fmt.Errorf("key %s: %w", k.short(), err))
			continue
		}
		key := root.NewExpiringKey(verifier, time.Time{}, time.Time{})
		_, err = e.run(newMaterial(nil, key, e), verify.WithKey(), verify.WithNoObserverTimestamps())
		switch {
		case err == nil:
			times, err := keyTimes(e, t, key)
			return []string{"sigstore-key:" + k.Name}, times, err
		case verifier.refused:
			strangers = append(strangers, k)
		default:
			reasons = append(reasons, fmt.Errorf("key %s: %w", k.short(), err))
		}
	}
	if n := len(reasons); n > mostNamed {
		reasons = append(reasons[:mostNamed], fmt.Errorf("and %d more keys", n-mostNamed))
	}
	return nil, nil, errors.Join(append(reasons, t.strangerReason(e.entity.Bundle, strangers))...)
}

// keyTimes enforces the thresholds for a signature that a key has made and returns
// every time that is proven for it.
func keyTimes(e *evidence, t *Trust, key root.TimeConstrainedVerifier) ([]time.Time, error) {
	if t.Root == nil {
		return nil, nil
	}
	m := newMaterial(t.Root, key, e)
	logs, stamps := threshold(t.TLog, 0), threshold(t.Timestamps, 0)
	opts := []verify.VerifierOption{verify.WithNoObserverTimestamps()}
	if stamps > 0 {
		opts = []verify.VerifierOption{verify.WithSignedTimestamps(stamps)}
	}
	if logs > 0 {
		opts = append(opts, verify.WithTransparencyLog(logs))
	}
	if _, err := e.run(m, verify.WithKey(), opts...); err != nil {
		return nil, err
	}
	// Beyond the thresholds: what cannot be proven adds no time, and no denial.
	var times []time.Time
	if stamps, _, err := verify.VerifySignedTimestamp(e.entity, m); err == nil {
		for _, s := range stamps {
			times = append(times, s.Time)
		}
	}
	if entries, err := verify.VerifyTlogEntry(e.entity, m, 0, true); err == nil {
		for _, entry := range entries {
			times = append(times, entry.Time)
		}
	}
	return times, nil
}

// errKeySigned is said before anything else is asked of a signature without a
// certificate: no log and no timestamp would make it count.
var errKeySigned = errors.New("signed by a key, expected a certificate")

// byIdentities judges a signature by certificate.
func byIdentities(e *evidence, t *Trust) ([]string, []time.Time, error) {
	if e.entity.Bundle.GetVerificationMaterial().GetPublicKey() != nil {
		return nil, nil, errKeySigned
	}
	if err := checkHolder(e); err != nil {
		return nil, nil, err
	}
	m := newMaterial(t.Root, nil, e)
	ids := make([]verify.PolicyOption, len(t.Identities))
	for i, id := range t.Identities {
		ids[i] = verify.WithCertificateIdentity(id.match)
	}
	logs := threshold(t.TLog, 1)
	// One proven time always. Where no log entry is asked for, one that is there and
	// good can still prove it.
	opts := []verify.VerifierOption{verify.WithObserverTimestamps(1)}
	if n := threshold(t.SCT, 1); n > 0 {
		opts = append(opts, verify.WithSignedCertificateTimestamps(n))
	}
	if n := threshold(t.Timestamps, 0); n > 0 {
		opts = append(opts, verify.WithSignedTimestamps(n))
	}
	res, err := e.runAll(m, ids, append(slices.Clone(opts), verify.WithTransparencyLog(max(logs, 1))))
	if err != nil && logs == 0 {
		m = newMaterial(t.Root, nil, e) // what was refused is of this run
		res, err = e.runAll(m, ids, opts)
	}
	if err != nil {
		return nil, nil, t.identityReason(e, m, err)
	}
	if err := checkOtherTimes(e, m); err != nil {
		return nil, nil, err
	}
	times := make([]time.Time, len(res.VerifiedTimestamps))
	for i, s := range res.VerifiedTimestamps {
		times[i] = s.Timestamp
	}
	c := res.Signature.Certificate
	return []string{clean(fmt.Sprintf("%s (issuer %s)", c.SubjectAlternativeName, c.Issuer))}, times, nil
}

// checkOtherTimes holds the certificate against every timestamp of the trusted
// authorities. The library looks at the first of each authority alone, so a second
// one could tell that the signature was made, or was made again, after the
// certificate ended. Timestamps of strangers prove nothing and are passed over.
func checkOtherTimes(e *evidence, m *material) error {
	stamps, err := e.entity.Timestamps()
	if err != nil || len(stamps) < 2 {
		return err
	}
	content, err := e.entity.VerificationContent()
	if err != nil {
		return err
	}
	signed, err := e.entity.SignatureContent()
	if err != nil {
		return err
	}
	for _, stamp := range stamps {
		for _, tsa := range m.tsas {
			at, err := tsa.Verify(stamp, signed.Signature())
			if err == nil && !content.ValidAtTime(at.Time, m) {
				return fmt.Errorf("expected every timestamp to lie within the certificate's validity, found one of %s", at.Time.UTC().Format(time.RFC3339))
			}
		}
	}
	return nil
}

// run judges e with one policy option.
func (e *evidence) run(m *material, policy verify.PolicyOption, opts ...verify.VerifierOption) (*verify.VerificationResult, error) {
	return e.runAll(m, []verify.PolicyOption{policy}, opts)
}

// runAll is the one place where the library judges.
func (e *evidence) runAll(m *material, policy []verify.PolicyOption, opts []verify.VerifierOption) (*verify.VerificationResult, error) {
	// The predicate is the caller's to read, from the bytes that were signed.
	v, err := verify.NewVerifier(m, append(slices.Clone(opts), verify.WithoutStatementPredicate())...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLocal, err)
	}
	return v.Verify(e.entity, verify.NewPolicy(e.artifact(), policy...))
}

// verifierFor returns what verifies e with k.
func (k Key) verifierFor(e *evidence) (*anyHash, error) {
	if k.Weak != "" {
		return nil, fmt.Errorf("expected an RSA key of at least %d bits, found %s", minRSABits, k.Weak)
	}
	if len(k.verifiers) == 0 {
		return nil, errors.New("the key is empty")
	}
	// Ed25519 signs the message, not its digest. Given a digest, the library would
	// verify a signature over no message at all, which would then be good for every
	// artifact.
	if _, ok := k.pub.(ed25519.PublicKey); ok && e.digestOnly {
		return nil, errors.New("an Ed25519 key cannot verify a message signature by the manifest's digest; sign with a DSSE bundle or another kind of key")
	}
	return &anyHash{Verifier: k.verifiers[0], all: k.verifiers}, nil
}

// anyHash verifies with a key whose clients differ in the hash that they sign with.
type anyHash struct {
	signature.Verifier
	all     []signature.Verifier
	refused bool // a signature that it was asked about
}

func (a *anyHash) VerifySignature(sig, message io.Reader, opts ...signature.VerifyOption) error {
	s, err := io.ReadAll(sig)
	if err != nil {
		return err
	}
	m, err := io.ReadAll(message)
	if err != nil {
		return err
	}
	for _, v := range a.all {
		if err = v.VerifySignature(strings.NewReader(string(s)), strings.NewReader(string(m)), opts...); err == nil {
			return nil
		}
	}
	a.refused = true
	return err
}
