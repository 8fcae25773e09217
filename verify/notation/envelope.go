package notation

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/notaryproject/tspclient-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/veraison/go-cose"
)

// Media types of envelopes (signature-specification.md, "signature envelope").
const (
	MediaTypeJWS  = "application/jose+json"
	MediaTypeCOSE = "application/cose"
)

// What an envelope may cost. Its certificates and those of its timestamp are not
// signed and are verified with before anything is known to be trusted: without
// these bounds one envelope could hold thousands of them, or keys that take
// minutes. Real envelopes are below 20 KiB, chains below 5 certificates.
const (
	// MaxEnvelopeBytes bounds an envelope.
	MaxEnvelopeBytes  = 1 << 20
	maxTimestampBytes = 256 << 10
	maxChain          = 10
	maxTimestampCerts = 20 // authorities send cross-signed roots along
	maxTimestampSigns = 4
	minRSABits        = 2048
	maxRSABits        = 8192
	minCurveBits      = 256
)

// Header names of the envelopes (signature-envelope-jws.md, -cose.md).
const (
	timestampHeader = "io.cncf.notary.timestampSignature"
	schemeHeader    = "io.cncf.notary.signingScheme"
	pluginHeader    = "io.cncf.notary.verificationPlugin"
)

// schemeAuthority is the signing scheme whose signers are looked for in the store
// signingAuthority.
const schemeAuthority = "notary.x509.signingAuthority"

// untrusted is what an envelope says. Nothing of it is verified.
type untrusted struct {
	payload   []byte
	certs     [][]byte // DER, leaf first
	timestamp []byte   // RFC 3161 token, nil without one
	scheme    string   // of signing; empty when it cannot be read
	plugin    string   // that is to verify it; empty without one
}

// decode reads the parts of an envelope that are looked at before it is verified,
// by the same decoders as the library, so that both read the same.
func decode(envelope []byte, mediaType string) (untrusted, error) {
	if len(envelope) > MaxEnvelopeBytes {
		return untrusted{}, fmt.Errorf("expected an envelope of at most %d bytes, found %d", MaxEnvelopeBytes, len(envelope))
	}
	switch mediaType {
	case MediaTypeJWS:
		return decodeJWS(envelope)
	case MediaTypeCOSE:
		return decodeCOSE(envelope)
	}
	return untrusted{}, fmt.Errorf("expected an envelope of media type %s or %s, found %.100q", MediaTypeJWS, MediaTypeCOSE, mediaType)
}

// decodeJWS reads the flattened JSON serialization (RFC 7515, section 7.2.2).
func decodeJWS(envelope []byte) (untrusted, error) {
	var e struct {
		Payload   string `json:"payload"`
		Protected string `json:"protected"`
		Header    struct {
			Timestamp []byte   `json:"io.cncf.notary.timestampSignature"`
			CertChain [][]byte `json:"x5c"`
		} `json:"header"`
	}
	if err := json.Unmarshal(envelope, &e); err != nil {
		return untrusted{}, fmt.Errorf("expected a JWS envelope in JSON: %s", clean(err.Error()))
	}
	payload, err := base64.RawURLEncoding.DecodeString(e.Payload)
	if err != nil {
		return untrusted{}, fmt.Errorf("expected a payload in base64url: %w", err)
	}
	u := untrusted{payload: payload, certs: e.Header.CertChain, timestamp: e.Header.Timestamp}
	var protected map[string]any
	if b, err := base64.RawURLEncoding.DecodeString(e.Protected); err == nil && json.Unmarshal(b, &protected) == nil {
		u.scheme, _ = protected[schemeHeader].(string)
		u.plugin, _ = protected[pluginHeader].(string)
	}
	return u, nil
}

// decodeCOSE reads a COSE_Sign1_Tagged message (RFC 9052, section 4.2).
func decodeCOSE(envelope []byte) (untrusted, error) {
	var m cose.Sign1Message
	if err := m.UnmarshalCBOR(envelope); err != nil {
		return untrusted{}, fmt.Errorf("expected a COSE_Sign1 envelope: %s", clean(err.Error()))
	}
	u := untrusted{payload: m.Payload}
	chain, _ := m.Headers.Unprotected[cose.HeaderLabelX5Chain].([]any)
	for _, c := range chain {
		der, ok := c.([]byte)
		if !ok {
			return untrusted{}, fmt.Errorf("expected certificates as byte strings, found %T", c)
		}
		u.certs = append(u.certs, der)
	}
	u.timestamp, _ = m.Headers.Unprotected[timestampHeader].([]byte)
	u.scheme, _ = m.Headers.Protected[schemeHeader].(string)
	u.plugin, _ = m.Headers.Protected[pluginHeader].(string)
	return u, nil
}

// checkChain refuses certificates that are too many, weak, or too dear to verify
// with.
func (u untrusted) checkChain() error {
	if len(u.certs) == 0 || len(u.certs) > maxChain {
		return fmt.Errorf("expected 1 to %d certificates, found %d", maxChain, len(u.certs))
	}
	for i, der := range u.certs {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Errorf("certificate %d: %s", i+1, clean(err.Error()))
		}
		if err := checkCert(c); err != nil {
			return err
		}
	}
	return nil
}

// checkTimestamp bounds the timestamp token. Whether it is any good is for the
// library to say: a token that does not parse is its refusal.
func (u untrusted) checkTimestamp() error {
	if len(u.timestamp) == 0 {
		return nil
	}
	if len(u.timestamp) > maxTimestampBytes {
		return fmt.Errorf("expected a timestamp of at most %d bytes, found %d", maxTimestampBytes, len(u.timestamp))
	}
	token, err := tspclient.ParseSignedToken(u.timestamp)
	if err != nil {
		return fmt.Errorf("expected an RFC 3161 timestamp: %s", clean(err.Error()))
	}
	if n := len(token.Certificates); n > maxTimestampCerts {
		return fmt.Errorf("expected at most %d certificates in the timestamp, found %d", maxTimestampCerts, n)
	}
	if n := len(token.SignerInfos); n > maxTimestampSigns {
		return fmt.Errorf("expected at most %d signatures in the timestamp, found %d", maxTimestampSigns, n)
	}
	for _, c := range token.Certificates {
		if err := checkKeyCost(c); err != nil {
			return fmt.Errorf("timestamp: %w", err)
		}
	}
	return nil
}

// checkCert refuses a certificate of a chain for what the library lets pass.
func checkCert(c *x509.Certificate) error {
	// RFC 5280, section 4.2: what is critical and not understood is refused.
	if len(c.UnhandledCriticalExtensions) > 0 {
		return fmt.Errorf("%s: expected no critical extension that is not known, found %s", subjectOf(c), c.UnhandledCriticalExtensions[0])
	}
	return checkKey(c)
}

// checkKey refuses keys that are weak or too large.
func checkKey(c *x509.Certificate) error {
	switch k := c.PublicKey.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < minRSABits {
			return fmt.Errorf("%s: expected an RSA key of at least %d bits, found %d", subjectOf(c), minRSABits, k.N.BitLen())
		}
	case *ecdsa.PublicKey:
		if bits := k.Curve.Params().BitSize; bits < minCurveBits {
			return fmt.Errorf("%s: expected an elliptic curve of at least %d bits, found %d", subjectOf(c), minCurveBits, bits)
		}
	}
	return checkKeyCost(c)
}

// checkKeyCost refuses keys that take too long to verify with.
func checkKeyCost(c *x509.Certificate) error {
	if k, ok := c.PublicKey.(*rsa.PublicKey); ok && k.N.BitLen() > maxRSABits {
		return fmt.Errorf("%s: expected an RSA key of at most %d bits, found %d", subjectOf(c), maxRSABits, k.N.BitLen())
	}
	return nil
}

// target reads what a payload is about (signature-specification.md, "payload").
func target(payload []byte) (ocispec.Descriptor, error) {
	var p struct {
		TargetArtifact ocispec.Descriptor `json:"targetArtifact"`
	}
	if err := json.Unmarshal(payload, &p); err != nil {
		return ocispec.Descriptor{}, errors.New("expected a notation payload in JSON")
	}
	return p.TargetArtifact, nil
}

// Description is what an envelope says of itself: nothing is verified. All of it is
// printable and bounded, and empty when it cannot be read.
type Description struct {
	Signer string // subject of the leaf, as trusted identities are written
	Digest string // what it is about
	// Authority is the subject of the one who issued the last certificate of the chain.
	Authority string
	// SigningAuthority tells that the scheme is notary.x509.signingAuthority, whose
	// signers have a trust store of their own.
	SigningAuthority bool
	Timestamped      bool   // it has an RFC 3161 timestamp
	Plugin           string // that has to verify it; no plugin is ever run
}

// Describe says what an envelope says of itself.
func Describe(envelope []byte, mediaType string) (d Description) {
	defer func() { _ = recover() }() // nothing that an envelope says may stop what asked
	u, err := decode(envelope, mediaType)
	if err != nil {
		return d
	}
	if t, err := target(u.payload); err == nil {
		d.Digest = clean(t.Digest.String())
	}
	d.SigningAuthority, d.Timestamped, d.Plugin = u.scheme == schemeAuthority, len(u.timestamp) > 0, clean(u.plugin)
	if len(u.certs) == 0 || len(u.certs) > maxChain {
		return d
	}
	if c, err := x509.ParseCertificate(u.certs[0]); err == nil {
		d.Signer = clean(signerName(c))
	}
	if c, err := x509.ParseCertificate(u.certs[len(u.certs)-1]); err == nil {
		d.Authority = clean(c.Issuer.String())
	}
	return d
}

// signerName is a certificate's subject as trusted identities are written.
func signerName(c *x509.Certificate) string {
	return subjectIdentity + " " + c.Subject.String()
}
