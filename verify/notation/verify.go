package notation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/notaryproject/notation-core-go/revocation"
	"github.com/notaryproject/notation-core-go/revocation/result"
	"github.com/notaryproject/notation-core-go/signature"
	_ "github.com/notaryproject/notation-core-go/signature/cose" // registers its envelope
	_ "github.com/notaryproject/notation-core-go/signature/jws"  // registers its envelope
	"github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/verifier"
	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	"github.com/notaryproject/notation-go/verifier/truststore"
	"github.com/notaryproject/tspclient-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxClockSkew is how far a proven time of signing may lie ahead of our clock.
const maxClockSkew = 5 * time.Minute

// Verify tells whether an envelope is a good signature of subject by somebody
// whom t trusts. The subject is the image's manifest as it is judged: digest,
// size and media type have to be those that were signed. The repository only
// serves messages.
//
// An error is the reason why the signature does not satisfy the trust, except
// for one that matches [ErrLocal].
func Verify(ctx context.Context, envelope []byte, mediaType string, subject ocispec.Descriptor, repository string, t *Trust) (v Verified, err error) {
	defer func() {
		if r := recover(); r != nil {
			v, err = Verified{}, fmt.Errorf("expected a notation signature, found something that its reader broke at: %s", clean(fmt.Sprint(r)))
		}
	}()
	if err := ctx.Err(); err != nil {
		return Verified{}, fmt.Errorf("%w: %w", ErrLocal, err)
	}
	if t == nil || t.policy == nil {
		return Verified{}, errors.New("expected a trust to verify a notation signature with, found none")
	}
	if err := checkSubject(subject); err != nil {
		return Verified{}, err
	}
	u, err := decode(envelope, mediaType)
	if err != nil {
		return Verified{}, err
	}
	if err := u.checkChain(); err != nil {
		return Verified{}, err
	}
	if len(t.stores[truststore.TypeTSA]) > 0 {
		if err := u.checkTimestamp(); err != nil {
			return Verified{}, err
		}
	}
	o, err := t.ask(ctx, envelope, mediaType, subject, repository)
	if err != nil {
		return Verified{}, err
	}
	return t.conclude(o)
}

// checkSubject refuses a subject that an empty payload could match.
func checkSubject(d ocispec.Descriptor) error {
	if err := d.Digest.Validate(); err != nil || d.MediaType == "" || d.Size <= 0 {
		return fmt.Errorf("expected the digest, size and media type of the image, found %.200q, %d, %.100q", d.Digest, d.Size, d.MediaType)
	}
	return nil
}

// outcome is what the library verified.
type outcome struct {
	info  *signature.SignerInfo
	until time.Time // of the CRLs that answered
}

// ask lets the library verify an envelope.
func (t *Trust) ask(ctx context.Context, envelope []byte, mediaType string, subject ocispec.Descriptor, repository string) (outcome, error) {
	// The library asks the network for each validator that it is not given.
	signer, tsa := &validator{trust: t}, &validator{trust: t}
	v, err := verifier.NewWithOptions(t.policy, t.stores, nil, verifier.VerifierOptions{
		RevocationCodeSigningValidator:  signer,
		RevocationTimestampingValidator: tsa,
	})
	if err != nil {
		return outcome{}, errors.New(clean(err.Error()))
	}
	// The reference chooses between policy statements, and there is one. The
	// library refuses names of registries that are good ones (IPv6 addresses).
	res, err := v.Verify(ctx, subject, envelope, notation.VerifierVerifyOptions{
		ArtifactReference:  "registry.invalid/image@" + subject.Digest.String(),
		SignatureMediaType: mediaType,
	})
	if err := ctx.Err(); err != nil {
		return outcome{}, fmt.Errorf("%w: %w", ErrLocal, err)
	}
	if err != nil {
		return outcome{}, t.explain(res, err, subject, repository)
	}
	if res == nil || res.EnvelopeContent == nil || !signer.asked {
		return outcome{}, errors.New("expected a verified envelope, found none")
	}
	info := &res.EnvelopeContent.SignerInfo
	if err := checkAttributes(info); err != nil {
		return outcome{}, err
	}
	return outcome{info: info, until: earlier(signer.until, tsa.until)}, nil
}

// validator answers the library's questions about revocation from the CRLs of a
// trust, for one verification.
type validator struct {
	trust *Trust
	asked bool
	until time.Time
}

// ValidateContext implements [revocation.Validator]. Any doubt is an error.
func (v *validator) ValidateContext(_ context.Context, o revocation.ValidateContextOptions) ([]*result.CertRevocationResult, error) {
	for _, c := range o.CertChain {
		// A timestamp authority's chain is known only now, and the signer's is
		// looked at again as the library reads it.
		if err := checkCert(c); err != nil {
			return nil, err
		}
	}
	answer := result.ResultNonRevokable
	if v.trust.enforce {
		var err error
		if v.until, err = checkRevoked(o.CertChain, v.trust.crls, v.trust.now()); err != nil {
			return nil, err
		}
		answer = result.ResultOK
	}
	v.asked = true
	out := make([]*result.CertRevocationResult, len(o.CertChain))
	for i := range out {
		out[i] = &result.CertRevocationResult{Result: answer, RevocationMethod: result.RevocationMethodCRL}
	}
	return out, nil
}

// checkAttributes refuses signed attributes that are critical and that nobody
// here processes. The library leaves that to the plugin that it does not run.
func checkAttributes(info *signature.SignerInfo) error {
	if err := checkPlugin(info); err != nil {
		return err
	}
	for _, a := range info.SignedAttributes.ExtendedAttributes {
		if a.Critical {
			return fmt.Errorf("expected no critical attribute that is not known, found %.100q", clean(fmt.Sprint(a.Key)))
		}
	}
	return nil
}

// checkPlugin refuses signatures that only a plugin can verify
// (plugin-extensibility.md).
func checkPlugin(info *signature.SignerInfo) error {
	for _, a := range info.SignedAttributes.ExtendedAttributes {
		if slices.Contains(verifier.VerificationPluginHeaders, fmt.Sprint(a.Key)) {
			return fmt.Errorf("expected a signature that needs no plugin, found one that demands %.100q (%s); plugins are never run", clean(fmt.Sprint(a.Value)), a.Key)
		}
	}
	return nil
}

// explain says why the library refused, in terms of what is trusted.
func (t *Trust) explain(res *notation.VerificationOutcome, cause error, subject ocispec.Descriptor, repository string) error {
	reason := errors.New(clean(cause.Error()))
	if res == nil || res.EnvelopeContent == nil {
		return reason
	}
	info := &res.EnvelopeContent.SignerInfo
	if err := checkPlugin(info); err != nil {
		return err
	}
	if n := len(res.VerificationResults); n > 0 {
		switch last := res.VerificationResults[n-1]; {
		case last.Error == nil:
			if d, err := target(res.EnvelopeContent.Payload.Content); err == nil {
				return fmt.Errorf("expected a signature of %s@%s (%s, %d bytes), found one of %s",
					clean(repository), subject.Digest, clean(subject.MediaType), subject.Size,
					clean(fmt.Sprintf("%s (%s, %d bytes)", d.Digest, d.MediaType, d.Size)))
			}
		case last.Type == trustpolicy.TypeAuthenticity:
			return t.explainSigner(info)
		}
	}
	return reason
}

// explainSigner says why a signer is not trusted.
func (t *Trust) explainSigner(info *signature.SignerInfo) error {
	kind, scheme := truststore.TypeCA, info.SignedAttributes.SigningScheme
	if scheme == signature.SigningSchemeX509SigningAuthority {
		kind = truststore.TypeSigningAuthority
	}
	if len(t.stores[kind]) == 0 {
		return fmt.Errorf("expected a certificate in the trust store %s, which signatures of the scheme %s are judged by, found none", kind, clean(string(scheme)))
	}
	leaf := info.CertificateChain[0]
	if _, err := signature.VerifyAuthenticity(info, t.stores[kind]); err != nil {
		root := info.CertificateChain[len(info.CertificateChain)-1]
		return fmt.Errorf("expected a chain with a certificate of the trust store %s, found %s under %s", kind, subjectOf(leaf), subjectOf(root))
	}
	return fmt.Errorf("expected a signer %s, found %q", clean(strings.Join(t.identities, " or ")), clean(signerName(leaf)))
}

// conclude adds what the library does not say: the times that are proven, and
// until when the answer holds. It holds both against the trust's own clock.
func (t *Trust) conclude(o outcome) (Verified, error) {
	now, info := t.now(), o.info
	v := Verified{Signers: []string{clean(signerName(info.CertificateChain[0]))}}
	proven, err := t.provenTime(info)
	if err != nil {
		return Verified{}, err
	}
	if !proven.IsZero() {
		if proven.After(now.Add(maxClockSkew)) {
			return Verified{}, fmt.Errorf("expected a time of signing that has passed, found %s", proven.UTC().Format(time.RFC3339))
		}
		v.Times = []time.Time{proven}
	}
	v.Expires = earlier(info.SignedAttributes.Expiry, o.until)
	if proven.IsZero() {
		for _, c := range info.CertificateChain {
			if now.Before(c.NotBefore) {
				return Verified{}, fmt.Errorf("expected certificates that are valid now, found %s, valid from %s", subjectOf(c), c.NotBefore.UTC().Format(time.RFC3339))
			}
			v.Expires = earlier(v.Expires, c.NotAfter)
		}
	}
	if !v.Expires.IsZero() && !now.Before(v.Expires) {
		return Verified{}, fmt.Errorf("expected a signature and certificates that are valid now, found that they ended at %s", v.Expires.UTC().Format(time.RFC3339))
	}
	return v, nil
}

// provenTime is the time of signing that the timestamp authority, or the signing
// authority itself, vouches for: zero when nobody does. The library has verified
// the signatures of both; it does not hand out the time.
func (t *Trust) provenTime(info *signature.SignerInfo) (time.Time, error) {
	if info.SignedAttributes.SigningScheme == signature.SigningSchemeX509SigningAuthority {
		return info.AuthenticSigningTime()
	}
	if len(t.stores[truststore.TypeTSA]) == 0 {
		return time.Time{}, nil
	}
	token, err := tspclient.ParseSignedToken(info.UnsignedAttributes.TimestampSignature)
	if err != nil {
		return time.Time{}, errors.New(clean(err.Error()))
	}
	tst, err := token.Info()
	if err != nil {
		return time.Time{}, errors.New(clean(err.Error()))
	}
	stamp, err := tst.Validate(info.Signature)
	if err != nil {
		return time.Time{}, errors.New(clean(err.Error()))
	}
	return stamp.Value, nil
}
