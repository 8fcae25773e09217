package bundle_test

import (
	"crypto"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"maps"
	"testing"
	"time"

	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/root"

	"github.com/pullgate/pullgate/verify/bundle"
)

// A certificate chain with a weak RSA key is refused whatever vouches for it.
func TestKeylessWeakRSA(t *testing.T) {
	small, large := newRSA(t, 1024), newRSA(t, 2048)
	w := newWorld(t)
	v, err := bundle.Verify(marshal(t, w.attest(keyless{key: small}, signed())), subject, w.trust())
	denied(t, v, err, "expected an RSA key of 2048")

	rc, ic := authority(t, small)
	weak := newWorldOf(t, rc, ic, small)
	v, err = bundle.Verify(marshal(t, weak.attest(keyless{}, signed())), subject, weak.trust())
	denied(t, v, err, "expected an RSA key of 2048")

	rc, ic = authority(t, large)
	good := newWorldOf(t, rc, ic, large)
	_, err = bundle.Verify(marshal(t, good.attest(keyless{key: large}, signed())), subject, good.trust())
	must(t, err)
}

// A log with a weak key vouches for nothing.
func TestWeakLog(t *testing.T) {
	for bits, accepted := range map[int]bool{1024: false, 2048: true} {
		w := newWorld(t)
		b := w.attest(keyless{noPromise: true, stampBy: w}, signed())
		tr := w.trust()
		tr.Root = w.withLog(newRSA(t, bits), b.VerificationMaterial.TlogEntries[0])
		v, err := bundle.Verify(marshal(t, b), subject, tr)
		if accepted {
			must(t, err)
		} else {
			denied(t, v, err, "not enough verified log entries")
		}
	}
}

// withLog is the root with one more log, which signs the checkpoint of e's proof
// (C2SP, signed-note).
func (w *world) withLog(key *rsa.PrivateKey, e *protorekor.TransparencyLogEntry) *root.TrustedRoot {
	w.t.Helper()
	id := keyID(w.t, key.Public())
	e.LogId.KeyId = id[:]
	note := fmt.Sprintf("rsa.example - 1\n1\n%s\n", b64(e.InclusionProof.RootHash))
	sig := append(id[:4:4], signDigest(w.t, key, []byte(note))...)
	e.InclusionProof.Checkpoint.Envelope = fmt.Sprintf("%s\n\u2014 rsa.example %s\n", note, b64(sig))
	logs := maps.Clone(w.root.RekorLogs())
	logs[hex.EncodeToString(id[:])] = &root.TransparencyLog{BaseURL: "https://rsa.example", ID: id[:], ValidityPeriodStart: time.Now().Add(-time.Hour),
		HashFunc: crypto.SHA256, SignatureHashFunc: crypto.SHA256, PublicKey: key.Public()}
	return w.rootOf(w.root.TimestampingAuthorities(), logs)
}

func (w *world) rootOf(tsas []root.TimestampingAuthority, logs map[string]*root.TransparencyLog) *root.TrustedRoot {
	w.t.Helper()
	r, err := root.NewTrustedRoot(root.TrustedRootMediaType01, w.root.FulcioCertificateAuthorities(), w.root.CTLogs(), tsas, logs)
	must(w.t, err)
	return r
}

// A timestamp authority with a weak key proves no time.
func TestWeakTimestampAuthority(t *testing.T) {
	w := newWorld(t)
	doc := marshal(t, w.attest(keyless{noLog: true, stampBy: w}, signed()))
	a, ok := w.root.TimestampingAuthorities()[0].(*root.SigstoreTimestampingAuthority)
	if !ok {
		t.Fatal("expected the library's authority")
	}
	for bits, accepted := range map[int]bool{1024: false, 2048: true} {
		c := *a
		c.Intermediates = append([]*x509.Certificate{withoutKeyUsage(w.rsaCert(bits))}, a.Intermediates...)
		tr := w.trust()
		tr.Root, tr.TLog, tr.Timestamps = w.rootOf([]root.TimestampingAuthority{&c}, w.root.RekorLogs()), bundle.None, 1
		v, err := bundle.Verify(doc, subject, tr)
		if accepted {
			must(t, err)
		} else {
			denied(t, v, err, "expected an RSA key")
		}
	}
}

// withoutKeyUsage lets a certificate stand among those of a timestamp authority.
func withoutKeyUsage(c *x509.Certificate) *x509.Certificate {
	c.ExtKeyUsage = nil
	return c
}

func BenchmarkVerify(b *testing.B) {
	w := newWorld(b)
	k := newECDSA(b, elliptic.P256())
	for name, c := range map[string]struct {
		doc   []byte
		trust *bundle.Trust
	}{
		"key":     {marshal(b, byKey(b, k, signed())), keyTrust(b, k)},
		"keyless": {marshal(b, w.attest(keyless{stampBy: w}, signed())), w.trust()},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := bundle.Verify(c.doc, subject, c.trust); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
