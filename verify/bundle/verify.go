package bundle

import (
	"errors"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/verify/discover"
)

// SignType is the predicate type of a cosign signature in a DSSE envelope (cosign
// v3 signs images so). Message signatures and .sig attachments are reported under
// it too: they can say nothing but "signed".
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

// Verify judges a sigstore bundle (v0.1 to v0.3) about subject.
func Verify(doc []byte, subject digest.Digest, t *Trust) (Verified, error) {
	return Verified{}, errors.New("not accepted")
}

// VerifySigstore judges a .sig attachment about subject.
func VerifySigstore(s *discover.Sigstore, subject digest.Digest, t *Trust) (Verified, error) {
	return Verified{}, errors.New("not accepted")
}

// VerifyDSSE judges an .att attachment about subject: a DSSE envelope and the
// annotations of its layer.
func VerifyDSSE(envelope []byte, annotations map[string]string, subject digest.Digest, t *Trust) (Verified, error) {
	return Verified{}, errors.New("not accepted")
}

// Describe says what a bundle says of itself, for people. Nothing of it is
// verified; what cannot be read is empty.
func Describe(doc []byte) (signer, digest, predicateType string) { return "", "", "" }
