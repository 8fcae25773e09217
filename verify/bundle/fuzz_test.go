package bundle_test

import (
	"bytes"
	"crypto/ed25519"
	"testing"

	"github.com/pullgate/pullgate/verify/bundle"
	"github.com/pullgate/pullgate/verify/discover"
)

// FuzzVerify feeds documents to a key trust and to a keyless one. Nothing panics,
// and what is accepted holds the very statement that was signed.
func FuzzVerify(f *testing.F) {
	// The same key in every worker, so that what is mutated was good.
	k := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	w := newWorld(f)
	trusts := []*bundle.Trust{keyTrust(f, k), w.trust()}
	f.Add(marshal(f, byKey(f, k, signed())))
	f.Add(marshal(f, byKey(f, k, statement(subject, slsaType))))
	f.Add(marshal(f, w.attest(keyless{stampBy: w}, signed())))
	f.Add(marshal(f, w.attest(keyless{version: mediaV01, noProof: true, chain: true}, signed())))
	f.Add(marshal(f, w.sign(keyless{}, []byte("the manifest"))))
	f.Add([]byte(`{"mediaType":"` + mediaV03 + `"}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		for _, tr := range trusts {
			v, err := bundle.Verify(doc, subject, tr)
			if err != nil {
				continue
			}
			if v.Statement != nil && !bytes.Equal(v.Statement, signed()) && !bytes.Equal(v.Statement, statement(subject, slsaType)) {
				t.Fatalf("accepted what nobody signed: %s", doc)
			}
		}
		bundle.Describe(doc)
	})
}

// FuzzAttachments feeds payloads and annotations to a key trust and to a keyless one:
// only the payloads that were signed are accepted.
func FuzzAttachments(f *testing.F) {
	// The same key in every worker, so that what is mutated was good.
	k := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	w := newWorld(f)
	trusts := []*bundle.Trust{keyTrust(f, k), w.trust()}
	for _, s := range []*discover.Sigstore{keySig(f, k, simpleSigning(subject)), w.sig(keyless{stampBy: w}, simpleSigning(subject))} {
		f.Add(s.Payload, s.Annotations[annSignature], s.Annotations[annCert], s.Annotations[annChain], s.Annotations[annRekor], s.Annotations[annStamp])
	}
	f.Add(envelope(f, k, signed()), "", "", "", "", "")
	f.Fuzz(func(t *testing.T, payload []byte, sig, cert, chain, rekor, stamp string) {
		ann := map[string]string{annSignature: sig, annCert: cert, annChain: chain, annRekor: rekor, annStamp: stamp}
		s := &discover.Sigstore{MIMEType: discover.SimpleSigningMIMEType, Payload: payload, Annotations: ann}
		for _, tr := range trusts {
			if v, err := bundle.VerifySigstore(s, subject, tr); err == nil && !bytes.Equal(payload, simpleSigning(subject)) {
				t.Fatalf("accepted what nobody signed: %s, %v", payload, v)
			}
			if v, err := bundle.VerifyDSSE(payload, ann, subject, tr); err == nil && !bytes.Equal(v.Statement, signed()) {
				t.Fatalf("accepted what nobody signed: %s, %v", payload, v)
			}
		}
		bundle.DescribeSigstore(s)
		bundle.DescribeDSSE(payload, ann)
	})
}
