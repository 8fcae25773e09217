package bundle_test

import (
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"

	"github.com/pullgate/pullgate/verify/bundle"
	"github.com/pullgate/pullgate/verify/discover"
)

// TestAttachmentLimits: annotations and payloads are bounded before they are decoded.
func TestAttachmentLimits(t *testing.T) {
	w := newWorld(t)
	good := w.sig(keyless{stampBy: w}, simpleSigning(subject))
	huge := strings.Repeat("A", 1<<20)
	large := &discover.Sigstore{MIMEType: good.MIMEType, Annotations: good.Annotations,
		Payload: append(simpleSigning(subject), []byte(strings.Repeat(" ", 4<<20))...)}
	for name, c := range map[string]struct {
		sig  *discover.Sigstore
		want string
	}{
		"payload":     {large, "at most 4194304 bytes of a payload"},
		"signature":   {with(good, annSignature, huge), "at most 32768 characters"},
		"log entry":   {with(good, annRekor, huge), "at most 65536 bytes"},
		"timestamp":   {with(good, annStamp, huge), "at most 65536 bytes"},
		"certificate": {with(good, annCert, huge), "bytes of certificates"},
		"chain":       {with(good, annChain, huge), "bytes of certificates"},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := bundle.VerifySigstore(c.sig, subject, w.trust())
			denied(t, v, err, c.want)
		})
	}
	k := newECDSA(t, elliptic.P256())
	padded := append(envelope(t, k, signed()), []byte(strings.Repeat(" ", 4<<20))...)
	v, err := bundle.VerifyDSSE(padded, nil, subject, keyTrust(t, k))
	denied(t, v, err, "at most 4194304 bytes of an envelope")
}

// TestNumberOfSignatures: of several signatures each reader could look at another one.
func TestNumberOfSignatures(t *testing.T) {
	k := newECDSA(t, elliptic.P256())
	for n, want := range map[int]string{0: "exactly one signature in the DSSE envelope, found 0", 2: "exactly one signature in the DSSE envelope, found 2"} {
		b := byKey(t, k, signed())
		e := b.GetDsseEnvelope()
		e.Signatures = append([]*protodsse.Signature{}, append(e.Signatures, e.Signatures...)[:n]...)
		v, err := bundle.Verify(marshal(t, b), subject, keyTrust(t, k))
		denied(t, v, err, want)
		if errors.Is(err, bundle.ErrLocal) {
			t.Errorf("no decision: %v", err)
		}
	}
}

func TestHugeTrustedKey(t *testing.T) {
	if _, err := bundle.ParseKey(publicPEM(t, hugeRSA(t, 1025))); err == nil || !strings.Contains(err.Error(), "at most 8192 bits") {
		t.Errorf("found %v", err)
	}
}

// TestTheClockIsTheTrusts: a time that lies ahead of the clock that is handed in proves
// nothing.
func TestTheClockIsTheTrusts(t *testing.T) {
	w := newWorld(t)
	tr := w.trust()
	tr.Now = func() time.Time { return time.Now().Add(-time.Hour) }
	v, err := bundle.Verify(marshal(t, w.attest(keyless{}, signed())), subject, tr)
	denied(t, v, err, "ahead of this machine's clock")
	tr.Now = func() time.Time { return time.Now().Add(-4 * time.Minute) }
	if _, err := bundle.Verify(marshal(t, w.attest(keyless{}, signed())), subject, tr); err != nil {
		t.Errorf("clocks differ by a little: %v", err)
	}
}

// TestHugeKeyInAnyForm: a key in a log entry can stand there by itself or in a
// certificate.
func TestHugeKeyInAnyForm(t *testing.T) {
	w := newWorld(t)
	pub := hugeRSA(t, 1025)
	signer := newECDSA(t, elliptic.P256())
	tpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now()}
	for name, text := range map[string][]byte{
		"PKIX":                       publicPEM(t, pub),
		"PKCS1":                      pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(pub)}),
		"certificate":                certPEM(selfIssue(t, tpl, tpl, pub, signer)),
		"after one that is harmless": append(publicPEM(t, signer.Public()), publicPEM(t, pub)...),
	} {
		t.Run(name, func(t *testing.T) {
			b := w.attest(keyless{}, signed())
			b.VerificationMaterial.TlogEntries = append(b.VerificationMaterial.TlogEntries,
				&protorekor.TransparencyLogEntry{CanonicalizedBody: fmt.Appendf(nil, `{"a":%q}`, b64(text))})
			v, err := bundle.Verify(marshal(t, b), subject, w.trust())
			denied(t, v, err, "RSA keys of at most 8192 bits")
		})
	}
}

// TestAmbiguousLogEntries: what is looked for in a body must be what the library reads.
func TestAmbiguousLogEntries(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct{ body, want string }{
		"member twice":       {`{"spec":{"proposedContent":{}},"spec":{}}`, "is there twice"},
		"in other case":      {`{"spec":{"PROPOSEDCONTENT":{}}}`, "one that is proposed"},
		"with a long s":      {`{"spec":{"propoſedContent":{}}}`, "one that is proposed"},
		"many signatures":    {`{"spec":{"signatures":[{},{}]}}`, "at most 1 signatures"},
		"deep":               {strings.Repeat("[", 200) + strings.Repeat("]", 200), "nested at most"},
		"more than one body": {`{}{}`, "more after it"},
	} {
		t.Run(name, func(t *testing.T) {
			b := w.attest(keyless{}, signed())
			b.VerificationMaterial.TlogEntries = append(b.VerificationMaterial.TlogEntries, &protorekor.TransparencyLogEntry{CanonicalizedBody: []byte(c.body)})
			v, err := bundle.Verify(marshal(t, b), subject, w.trust())
			denied(t, v, err, c.want)
		})
	}
}

// TestAKeyIsNoIdentity: where identities are asked for, a bundle without a certificate is
// refused, and is no doubt.
func TestAKeyIsNoIdentity(t *testing.T) {
	w := newWorld(t)
	tr := w.trust()
	tr.TLog, tr.SCT = bundle.None, bundle.None
	b := byKey(t, newECDSA(t, elliptic.P256()), signed())
	b.VerificationMaterial.TimestampVerificationData = stamps(t, w, b.GetDsseEnvelope().Signatures[0].Sig)
	v, err := bundle.Verify(marshal(t, b), subject, tr)
	denied(t, v, err, "signed by a key")
	if errors.Is(err, bundle.ErrLocal) {
		t.Errorf("no decision: %v", err)
	}
}
