package bundle

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	library "github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/pullgate/pullgate/verify/discover"
)

// SignType is the predicate type of a cosign signature in a DSSE envelope (cosign
// v3 signs images so: an in-toto statement whose subject is the manifest's digest).
// Message signatures and .sig attachments are reported under it too: they can say
// nothing but "signed".
const SignType = "https://sigstore.dev/cosign/sign/v1"

// Verified is what was proven.
type Verified struct {
	// Signers names who signed: "sigstore-key:sha256:<hex of the key's DER form>", or
	// "subject (issuer https://…)".
	Signers []string
	// Statement is the in-toto statement of a DSSE envelope, and nil of a message
	// signature or .sig attachment.
	Statement []byte
	// PredicateType of the statement, [SignType] without a statement.
	PredicateType string
	// Times are proven by logs and timestamp authorities, sorted, the earliest first.
	Times []time.Time
	// Expires is when the evidence ends by itself; zero: never. Sigstore evidence
	// is judged at its proven time and does not end.
	Expires time.Time
}

// evidence is a document in the form that the library judges, read but not
// verified.
type evidence struct {
	entity        *library.Bundle
	artifact      func() verify.ArtifactPolicyOption // a fresh one per use: it may be a reader
	digestOnly    bool                               // a message signature of which only the message's digest is known
	intermediates []*x509.Certificate
	stamped       []byte // what timestamps may be over beside the signature
	statement     []byte
	predicateType string
}

// Verify judges a sigstore bundle (v0.1 to v0.3, message signature or DSSE; sigstore
// bundle specification) about subject. The error is the reason why it does not
// satisfy t; it wraps [ErrLocal] when it is no decision.
func Verify(doc []byte, subject digest.Digest, t *Trust) (Verified, error) {
	return guarded(t, subject, func() (*evidence, error) {
		b, err := readBundle(doc)
		if err != nil {
			return nil, err
		}
		switch {
		case b.GetDsseEnvelope() != nil:
			return dsseEvidence(b, subject)
		case b.GetMessageSignature() != nil:
			return messageEvidence(b, subject)
		}
		return nil, errors.New("sigstore bundle: expected a DSSE envelope or a message signature, found neither")
	})
}

// VerifySigstore judges a .sig attachment about subject: by a key, or keyless with
// the certificate, log entry and timestamp in its annotations.
func VerifySigstore(s *discover.Sigstore, subject digest.Digest, t *Trust) (Verified, error) {
	return guarded(t, subject, func() (*evidence, error) {
		if s == nil {
			return nil, errors.New("expected a .sig attachment, found none")
		}
		b, chain, err := sigBundle(s, len(t.Keys) > 0)
		if err != nil {
			return nil, err
		}
		if err := simpleSigningAbout(s, subject); err != nil {
			return nil, err
		}
		artifact := func() verify.ArtifactPolicyOption { return verify.WithArtifact(bytes.NewReader(s.Payload)) }
		return newEvidence(b, &evidence{artifact: artifact, intermediates: chain, predicateType: SignType})
	})
}

// VerifyDSSE judges an .att attachment about subject: a DSSE envelope and the
// annotations of its layer.
func VerifyDSSE(envelope []byte, annotations map[string]string, subject digest.Digest, t *Trust) (Verified, error) {
	return guarded(t, subject, func() (*evidence, error) {
		b, chain, err := attBundle(envelope, annotations, len(t.Keys) > 0)
		if err != nil {
			return nil, err
		}
		e, err := dsseEvidence(b, subject)
		if err != nil {
			return nil, err
		}
		e.intermediates, e.stamped = chain, envelope
		return e, nil
	})
}

// guarded reads and judges one document. A panic, of which the libraries' parsers
// of foreign bytes have had some, says nothing about the document.
func guarded(t *Trust, subject digest.Digest, read func() (*evidence, error)) (v Verified, err error) {
	defer func() {
		if p := recover(); p != nil {
			v, err = Verified{}, fmt.Errorf("%w: the library panicked: %s", ErrLocal, clean(fmt.Sprint(p)))
		}
	}()
	if err := t.Check(); err != nil {
		return Verified{}, fmt.Errorf("%w: %w", ErrLocal, err)
	}
	if err := subject.Validate(); err != nil {
		return Verified{}, fmt.Errorf("%w: digest to judge: %w", ErrLocal, err)
	}
	e, err := read()
	if err != nil {
		return Verified{}, reason(err)
	}
	if v, err = judge(e, t); err != nil {
		return Verified{}, reason(err)
	}
	return v, nil
}

// readBundle reads a bundle within the limits.
func readBundle(doc []byte) (*protobundle.Bundle, error) {
	if len(doc) > maxDocument {
		return nil, errTooMany("bytes of a bundle", maxDocument, len(doc))
	}
	if err := discover.CheckValues(doc); err != nil {
		return nil, fmt.Errorf("sigstore bundle: %w", err)
	}
	if err := checkJSON(doc); err != nil {
		return nil, fmt.Errorf("sigstore bundle: %w", err)
	}
	b := &protobundle.Bundle{}
	if err := protojson.Unmarshal(doc, b); err != nil {
		return nil, fmt.Errorf("expected a sigstore bundle: %w", err)
	}
	return b, nil
}

// newEvidence completes e with b, after the limits.
func newEvidence(b *protobundle.Bundle, e *evidence) (*evidence, error) {
	err := checkLimits(b)
	if err != nil {
		return nil, err
	}
	if err := checkNoRoots(b); err != nil {
		return nil, err
	}
	if e.entity, err = library.NewBundle(b); err != nil {
		return nil, err
	}
	return e, nil
}

// dsseEvidence reads a DSSE envelope with an in-toto statement about subject.
func dsseEvidence(b *protobundle.Bundle, subject digest.Digest) (*evidence, error) {
	env := b.GetDsseEnvelope()
	if env.GetPayloadType() != intotoType {
		return nil, fmt.Errorf("DSSE envelope: expected payload type %s, found %.100q", intotoType, env.GetPayloadType())
	}
	s, err := parseStatement(env.GetPayload())
	if err != nil {
		return nil, err
	}
	if err := s.about(subject); err != nil {
		return nil, err
	}
	artifact, err := artifactDigest(subject)
	if err != nil {
		return nil, err
	}
	return newEvidence(b, &evidence{artifact: artifact, statement: env.GetPayload(), predicateType: s.predicateType})
}

// messageEvidence reads a signature over the manifest itself.
func messageEvidence(b *protobundle.Bundle, subject digest.Digest) (*evidence, error) {
	hash := b.GetMessageSignature().GetMessageDigest()
	names := map[protocommon.HashAlgorithm]digest.Algorithm{
		protocommon.HashAlgorithm_SHA2_256: digest.SHA256,
		protocommon.HashAlgorithm_SHA2_384: digest.SHA384,
		protocommon.HashAlgorithm_SHA2_512: digest.SHA512,
	}
	if names[hash.GetAlgorithm()] != subject.Algorithm() || hex.EncodeToString(hash.GetDigest()) != subject.Encoded() {
		return nil, fmt.Errorf("message signature: expected one over %s, found one over %s %.128x", subject, hash.GetAlgorithm(), hash.GetDigest())
	}
	artifact, err := artifactDigest(subject)
	if err != nil {
		return nil, err
	}
	return newEvidence(b, &evidence{artifact: artifact, digestOnly: true, predicateType: SignType})
}

// artifactDigest asks the library for evidence about subject.
func artifactDigest(subject digest.Digest) (func() verify.ArtifactPolicyOption, error) {
	raw, err := hex.DecodeString(subject.Encoded())
	if err != nil {
		return nil, fmt.Errorf("%w: digest to judge: %w", ErrLocal, err)
	}
	return func() verify.ArtifactPolicyOption {
		return verify.WithArtifactDigest(subject.Algorithm().String(), raw)
	}, nil
}
