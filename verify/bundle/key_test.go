package bundle_test

import (
	"crypto"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"

	"github.com/pullgate/pullgate/verify/bundle"
)

func newEd25519(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, k, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	return k
}

func newRSA(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, bits)
	must(t, err)
	return k
}

func TestParseKey(t *testing.T) {
	for name, c := range map[string]struct {
		key  crypto.Signer
		weak string
	}{
		"P-256":    {key: newECDSA(t, elliptic.P256())},
		"P-384":    {key: newECDSA(t, elliptic.P384())},
		"P-521":    {key: newECDSA(t, elliptic.P521())},
		"Ed25519":  {key: newEd25519(t)},
		"RSA":      {key: newRSA(t, 2048)},
		"weak RSA": {key: newRSA(t, 1024), weak: "RSA-1024"},
	} {
		t.Run(name, func(t *testing.T) {
			k, err := bundle.ParseKey(publicPEM(t, c.key.Public()))
			must(t, err)
			if want := fmt.Sprintf("sha256:%x", keyID(t, c.key.Public())); k.Name != want || k.Weak != c.weak {
				t.Errorf("found %q, %q", k.Name, k.Weak)
			}
		})
	}
}

func TestParseKeyRefused(t *testing.T) {
	good := publicPEM(t, newECDSA(t, elliptic.P256()).Public())
	private, err := x509.MarshalPKCS8PrivateKey(newECDSA(t, elliptic.P256()))
	must(t, err)
	for name, c := range map[string]struct {
		pem  []byte
		want string
	}{
		"empty":       {nil, "no PEM block"},
		"no PEM":      {[]byte("ssh-ed25519 AAAA"), "no PEM block"},
		"two keys":    {append(good, good...), "more than one block"},
		"private key": {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), "expected a PEM public key"},
		"garbage":     {pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")}), "expected a PEM public key"},
		"P-224":       {publicPEM(t, newECDSA(t, elliptic.P224()).Public()), "expected a curve"},
	} {
		t.Run(name, func(t *testing.T) {
			if k, err := bundle.ParseKey(c.pem); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("expected %q, found %v, %v", c.want, k, err)
			}
		})
	}
}

func TestKeyGood(t *testing.T) {
	p256, p384 := newECDSA(t, elliptic.P256()), newECDSA(t, elliptic.P384())
	message := func(k crypto.Signer, sig []byte) *protobundle.Bundle {
		return &protobundle.Bundle{MediaType: mediaV03, VerificationMaterial: keyMaterial(), Content: messageContent([]byte("the manifest"), sig)}
	}
	for name, c := range map[string]struct {
		key    crypto.Signer
		bundle func(k crypto.Signer) *protobundle.Bundle
	}{
		"P-256":              {p256, func(k crypto.Signer) *protobundle.Bundle { return byKey(t, k, signed()) }},
		"Ed25519":            {newEd25519(t), func(k crypto.Signer) *protobundle.Bundle { return byKey(t, k, signed()) }},
		"RSA":                {newRSA(t, 2048), func(k crypto.Signer) *protobundle.Bundle { return byKey(t, k, signed()) }},
		"P-384 with SHA-256": {p384, func(k crypto.Signer) *protobundle.Bundle { return byKey(t, k, signed()) }},
		"P-384 with SHA-384": {p384, func(k crypto.Signer) *protobundle.Bundle {
			b := byKey(t, k, signed())
			b.Content = dsseContent(signed(), signWith(t, k, dsse.PAE(intoto, signed()), crypto.SHA384))
			return b
		}},
		"message signature": {p256, func(k crypto.Signer) *protobundle.Bundle {
			return message(k, signDigest(t, k, []byte("the manifest")))
		}},
		"message signature, P-384": {p384, func(k crypto.Signer) *protobundle.Bundle {
			return message(k, signDigest(t, k, []byte("the manifest")))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			// Any of the keys may have signed, whichever comes first.
			tr := keyTrust(t, newECDSA(t, elliptic.P256()), newRSA(t, 1024), c.key)
			v, err := bundle.Verify(marshal(t, c.bundle(c.key)), subject, tr)
			must(t, err)
			if v.Signers[0] != "sigstore-key:"+tr.Keys[2].Name || v.PredicateType != bundle.SignType || len(v.Times) != 0 {
				t.Errorf("found %+v", v)
			}
		})
	}
}

func TestKeyDenied(t *testing.T) {
	w := newWorld(t)
	k, weak, ed := newECDSA(t, elliptic.P256()), newRSA(t, 1024), newEd25519(t)
	other := newECDSA(t, elliptic.P256())
	twice := byKey(t, k, signed())
	twice.GetDsseEnvelope().Signatures = append(twice.GetDsseEnvelope().Signatures, byKey(t, other, signed()).GetDsseEnvelope().Signatures[0])
	retyped := byKey(t, k, signed())
	retyped.GetDsseEnvelope().PayloadType = "text/plain"
	for name, c := range map[string]struct {
		bundle *protobundle.Bundle
		trust  *bundle.Trust
		want   string
	}{
		"another key":     {byKey(t, other, signed()), keyTrust(t, k), "signed by another key than sha256:"},
		"another digest":  {byKey(t, k, statement(digest.FromString("x"), bundle.SignType)), keyTrust(t, k), "expected a subject"},
		"weak RSA":        {byKey(t, weak, signed()), keyTrust(t, weak), "found RSA-1024"},
		"the empty key":   {byKey(t, k, signed()), &bundle.Trust{Keys: []bundle.Key{{}}}, "key is empty"},
		"a certificate":   {w.attest(keyless{key: k}, signed()), keyTrust(t, k), "expected a signature by a key, found one with a certificate, of " + workflow},
		"two signatures":  {twice, keyTrust(t, k), "exactly one signature"},
		"no signature":    {&protobundle.Bundle{MediaType: mediaV03, VerificationMaterial: keyMaterial(), Content: dsseContent(signed(), nil)}, keyTrust(t, k), "found none"},
		"payload type":    {retyped, keyTrust(t, k), "expected payload type"},
		"payload changed": {&protobundle.Bundle{MediaType: mediaV03, VerificationMaterial: keyMaterial(), Content: dsseContent(signed(), signDigest(t, k, []byte("x")))}, keyTrust(t, k), "or altered"},
		// The signature over nothing would be one over everything.
		"Ed25519 over nothing": {&protobundle.Bundle{MediaType: mediaV03, VerificationMaterial: keyMaterial(),
			Content: messageContent([]byte("the manifest"), signDigest(t, ed, nil))}, keyTrust(t, ed), "an Ed25519 key cannot verify"},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := bundle.Verify(marshal(t, c.bundle), subject, c.trust)
			denied(t, v, err, c.want)
		})
	}
}

// A key may be asked to have its signatures logged or stamped, and what is proven is
// reported even where nothing is asked for.
func TestKeyWithLogsAndAuthorities(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	k := newECDSA(t, elliptic.P256())
	plain := func() *protobundle.Bundle { return byKey(t, k, signed()) }
	logged := func(w *world, by crypto.Signer) *protobundle.Bundle {
		b := plain()
		b.VerificationMaterial.TlogEntries = []*protorekor.TransparencyLogEntry{w.keyEntry(by, b)}
		return b
	}
	stamped := func(by *world) *protobundle.Bundle {
		b := plain()
		b.VerificationMaterial.TimestampVerificationData = stamps(t, by, b.GetDsseEnvelope().Signatures[0].Sig)
		return b
	}
	for name, c := range map[string]struct {
		bundle     *protobundle.Bundle
		tlog, time int
		want       string // "" accepted
		times      int
	}{
		"nothing asked for, nothing there": {bundle: plain()},
		"nothing asked for, logged":        {bundle: logged(w, k), times: 1},
		"nothing asked for, stamped":       {bundle: stamped(w), times: 1},
		"another's log proves no time":     {bundle: logged(other, k)},
		"another's stamp proves no time":   {bundle: stamped(other)},
		"logged":                           {bundle: logged(w, k), tlog: 1, times: 1},
		"stamped":                          {bundle: stamped(w), time: 1, times: 1},
		"not logged":                       {bundle: stamped(w), tlog: 1, want: "not enough verified log entries"},
		"logged elsewhere":                 {bundle: logged(other, k), tlog: 1, want: "not enough verified log entries"},
		"another's entry":                  {bundle: logged(w, newECDSA(t, elliptic.P256())), tlog: 1, want: "does not match"},
		"not stamped":                      {bundle: logged(w, k), time: 1, want: "threshold not met"},
		"wrong TSA":                        {bundle: stamped(other), time: 1, want: "threshold not met"},
	} {
		t.Run(name, func(t *testing.T) {
			tr := keyTrust(t, k)
			tr.Root, tr.TLog, tr.Timestamps = w.root, c.tlog, c.time
			v, err := bundle.Verify(marshal(t, c.bundle), subject, tr)
			if c.want != "" {
				denied(t, v, err, c.want)
				return
			}
			must(t, err)
			if len(v.Times) != c.times {
				t.Errorf("expected %d times, found %v", c.times, v.Times)
			}
		})
	}
}

// A root beside keys brings logs and authorities, and no second way to sign.
func TestRootBesideKeysTrustsNoCertificate(t *testing.T) {
	w := newWorld(t)
	tr := keyTrust(t, newECDSA(t, elliptic.P256()))
	tr.Root = w.root
	v, err := bundle.Verify(marshal(t, w.attest(keyless{}, signed())), subject, tr)
	denied(t, v, err, "expected a signature by a key, found one with a certificate, of "+workflow)
}

// keyEntry logs the envelope of b as signed by key.
func (w *world) keyEntry(key crypto.Signer, b *protobundle.Bundle) *protorekor.TransparencyLogEntry {
	env := b.GetDsseEnvelope()
	body := fmt.Sprintf(`{"apiVersion":"0.0.1","kind":"dsse","spec":{"envelopeHash":{"algorithm":"sha256","value":"%x"},"payloadHash":{"algorithm":"sha256","value":"%x"},"signatures":[{"signature":%q,"verifier":%q}]}}`,
		sha256.Sum256(nil), sha256.Sum256(env.Payload), b64(env.Signatures[0].Sig), b64(publicPEM(w.t, key.Public())))
	return w.log(keyless{at: time.Now()}, "dsse", body)
}

func TestTrustThatCannotBeUsed(t *testing.T) {
	w := newWorld(t)
	k := newECDSA(t, elliptic.P256())
	doc := marshal(t, byKey(t, k, signed()))
	keys, ids := keyTrust(t, k).Keys, w.trust().Identities
	for name, tr := range map[string]*bundle.Trust{
		"nil":                      nil,
		"zero":                     {},
		"root only":                {Root: w.root},
		"both":                     {Keys: keys, Identities: ids, Root: w.root},
		"identities, no root":      {Identities: ids},
		"keys with SCT":            {Keys: keys, Root: w.root, SCT: 1},
		"keys, log, no root":       {Keys: keys, TLog: 1},
		"keys, timestamp, no root": {Keys: keys, Timestamps: 1},
		"threshold":                {Keys: keys, TLog: -2},
		"high threshold":           {Identities: ids, Root: w.root, TLog: 17},
	} {
		t.Run(name, func(t *testing.T) {
			if tr.Check() == nil {
				t.Error("expected an error of Check")
			}
			v, err := bundle.Verify(doc, subject, tr)
			denied(t, v, err, "")
			if !errors.Is(err, bundle.ErrLocal) {
				t.Errorf("expected no decision, found %v", err)
			}
		})
	}
	v, err := bundle.Verify(doc, "sha256:abc", keyTrust(t, k))
	denied(t, v, err, "digest to judge")
	// Whoever forgets to fill an identity in matches nobody.
	v, err = bundle.Verify(marshal(t, w.attest(keyless{}, signed())), subject, &bundle.Trust{Root: w.root, Identities: []bundle.Identity{{}}})
	denied(t, v, err, "an identity is empty")
}
