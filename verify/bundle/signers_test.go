package bundle_test

import (
	"crypto/elliptic"
	"crypto/x509"
	"testing"

	"github.com/digitorus/pkcs7"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"

	"github.com/pullgate/pullgate/verify/bundle"
)

// TestTimestampsOfManySigners: the library verifies every signature in a timestamp with
// the certificates in it, before it looks whose they are. A token has one (RFC 3161,
// 2.4.2).
func TestTimestampsOfManySigners(t *testing.T) {
	w := newWorld(t)
	tr := w.trust()
	tr.TLog = bundle.None
	key := newECDSA(t, elliptic.P521())
	_, cert := authority(t, key)
	for signers, want := range map[int]string{2: "expected one signer, found 2", 30: "expected one signer, found 30"} {
		data, err := pkcs7.NewSignedData([]byte("x"))
		must(t, err)
		data.SetDigestAlgorithm(pkcs7.OIDDigestAlgorithmSHA512)
		for range signers {
			must(t, data.AddSigner(cert, key, pkcs7.SignerInfoConfig{}))
		}
		token, err := data.Finish()
		must(t, err)
		p7, err := pkcs7.Parse(token)
		must(t, err)
		p7.Certificates = []*x509.Certificate{cert}
		must(t, p7.Verify())
		b := w.attest(keyless{noLog: true}, signed())
		d := &protobundle.TimestampVerificationData{}
		for range 16 {
			d.Rfc3161Timestamps = append(d.Rfc3161Timestamps, &protocommon.RFC3161SignedTimestamp{SignedTimestamp: response(token)})
		}
		b.VerificationMaterial.TimestampVerificationData = d
		v, err := bundle.Verify(marshal(t, b), subject, tr)
		denied(t, v, err, want) // before a signature is looked at
	}
}
