package bundle

import (
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"strings"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"

	"github.com/pullgate/pullgate/verify/discover"
)

// Describe says what a bundle says of itself, for people: who signed, what digest,
// as what. Nothing of it is verified; what cannot be read is empty.
func Describe(doc []byte) (signer, digest, predicateType string) {
	b, err := readBundle(doc)
	if err != nil {
		return "", "", ""
	}
	return describe(b)
}

// DescribeSigstore is [Describe] for a .sig attachment.
func DescribeSigstore(s *discover.Sigstore) (signer, digest, predicateType string) {
	if s == nil || len(s.Payload) > maxDocument {
		return "", "", ""
	}
	b, _, err := sigBundle(s, s.Annotations[certificateAnnotation] == "")
	if err != nil {
		return "", "", ""
	}
	signer, _, predicateType = describe(b)
	digest, _ = parseSimpleSigning(s.Payload)
	return signer, clean(digest), predicateType
}

// DescribeDSSE is [Describe] for an .att attachment.
func DescribeDSSE(envelope []byte, annotations map[string]string) (signer, digest, predicateType string) {
	b, _, err := attBundle(envelope, annotations, annotations[certificateAnnotation] == "")
	if err != nil {
		return "", "", ""
	}
	return describe(b)
}

func describe(b *protobundle.Bundle) (signer, digest, predicateType string) {
	signer = certificateSigner(b)
	if b.GetVerificationMaterial().GetPublicKey() != nil {
		signer = strings.TrimSpace("a key " + hint(b))
	}
	if env := b.GetDsseEnvelope(); env != nil {
		if s, err := parseStatement(env.GetPayload()); err == nil {
			return signer, clean(s.digests[0]), clean(s.predicateType)
		}
		return signer, "", ""
	}
	if m := b.GetMessageSignature(); m != nil {
		algorithm := strings.ToLower(strings.Replace(m.GetMessageDigest().GetAlgorithm().String(), "SHA2_", "SHA", 1))
		return signer, algorithm + ":" + hex.EncodeToString(m.GetMessageDigest().GetDigest()), SignType
	}
	return signer, "", ""
}

// certificateSigner names the signer as the certificate in b says, "" without one.
func certificateSigner(b *protobundle.Bundle) string {
	s, ok := summary(b)
	if !ok {
		return ""
	}
	return clean(fmt.Sprintf("%s (issuer %s)", s.SubjectAlternativeName, s.Issuer))
}

// leafBytes is the signer's certificate in b, nil without one.
func leafBytes(b *protobundle.Bundle) []byte {
	vm := b.GetVerificationMaterial()
	if chain := vm.GetX509CertificateChain().GetCertificates(); len(chain) > 0 {
		return chain[0].GetRawBytes()
	}
	return vm.GetCertificate().GetRawBytes()
}

// summary is what the certificate in b says of its holder, false without one that can
// be read.
func summary(b *protobundle.Bundle) (certificate.Summary, bool) {
	raw := leafBytes(b)
	if len(raw) == 0 || len(raw) > maxCertificateBytes {
		return certificate.Summary{}, false
	}
	c, err := x509.ParseCertificate(raw)
	if err != nil {
		return certificate.Summary{}, false
	}
	s, err := certificate.SummarizeCertificate(c)
	return s, err == nil
}
