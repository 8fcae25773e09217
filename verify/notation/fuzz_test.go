package notation

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Nothing that is put in may break the reader, and nothing but an envelope by
// whom is trusted may pass: no key of the seeds' signers is in the trust.
func FuzzVerify(f *testing.F) {
	by, tsa := newChain(f), newTSA(f, ecKey(f))
	for i, mt := range mediaTypes {
		f.Add(envelope{by: by, mediaType: mt}.sign(f), i == 0)
		f.Add(envelope{by: by, mediaType: mt, stamp: &stamper{tsa, time.Now().Add(-time.Minute)}}.sign(f), i == 0)
	}
	files, err := filepath.Glob(filepath.Join("testdata", "notation-go", "*_sig_env.json"))
	must(f, err)
	for _, file := range files {
		b, err := os.ReadFile(file)
		must(f, err)
		f.Add(b, true)
	}
	stranger := newChain(f)
	trust := newTrust(f, Options{CA: []*x509.Certificate{stranger.root().cert}, TSA: []*x509.Certificate{tsa.root().cert}, Identities: []string{"*"}})
	f.Fuzz(func(t *testing.T, b []byte, jws bool) {
		mt := MediaTypeCOSE
		if jws {
			mt = MediaTypeJWS
		}
		v, err := verify(b, mt, trust)
		if err == nil {
			t.Fatalf("expected a refusal, got %+v", v)
		}
		if err.Error() != clean(err.Error()) && len(err.Error()) < maxText {
			t.Fatalf("expected a printable reason, got %q", err)
		}
		d := Describe(b, mt)
		signer, digest := d.Signer, d.Digest+d.Authority+d.Plugin
		if signer != clean(signer) || digest != clean(digest) {
			t.Fatalf("expected printable text, got %q, %q", signer, digest)
		}
	})
}

// A list that is read can be asked.
func FuzzParseCRLs(f *testing.F) {
	root := newCA(f, nil, "root", ecKey(f))
	by := newLeaf(f, root, "build", ecKey(f))
	for _, list := range []*x509.RevocationList{
		crlOf(f, root, root.key, nil, by.cert),
		crlOf(f, root, root.key, withExtension(oidIssuingDistributionPoint, point(f, "http://crl.example.com/1.crl", 1))),
	} {
		f.Add(list.Raw)
		f.Add(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: list.Raw}))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		lists, err := ParseCRLs(b)
		if err != nil {
			return
		}
		if len(lists) == 0 {
			t.Fatal("expected lists or an error")
		}
		if index, err := indexCRLs(lists); err == nil {
			_, _ = checkRevoked(by.chain(), index, time.Now())
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	by := newChain(b)
	trust := trustCA(b, by)
	for _, mt := range mediaTypes {
		sig := envelope{by: by, mediaType: mt}.sign(b)
		b.Run(mt, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := verify(sig, mt, trust); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
