package verify

import (
	"bytes"
	"compress/flate"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1" // for signing with it
	"encoding/binary"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/verify/discover"
)

// sha1Message signs content with RSA and SHA-1, byte by byte (RFC 4880, 5.2.3 and
// 5.4): no library signs like this any more.
func (k *gpgKey) sha1Message(content []byte) []byte {
	k.t.Helper()
	const binaryType, rsaAlgorithm, sha1Algorithm = 0, 1, 2
	id := binaryID(k.PrivateKey.KeyId)
	created := time.Now().Add(-time.Minute).Unix()
	trailer := []byte{4, binaryType, rsaAlgorithm, sha1Algorithm, 0, 6, 5, 2, byte(created >> 24), byte(created >> 16), byte(created >> 8), byte(created)}
	h := crypto.SHA1.New()
	h.Write(content)
	h.Write(trailer)
	h.Write([]byte{4, 0xFF, 0, 0, 0, byte(len(trailer))})
	sum := h.Sum(nil)
	sig, err := k.PrivateKey.PrivateKey.(*rsa.PrivateKey).Sign(rand.Reader, sum, crypto.SHA1)
	if err != nil {
		k.t.Fatal(err)
	}
	bits := new(big.Int).SetBytes(sig).BitLen()
	body := slices.Concat(trailer, []byte{0, 10, 9, 16}, id, sum[:2], []byte{byte(bits >> 8), byte(bits)}, new(big.Int).SetBytes(sig).Bytes())
	literal := append([]byte{'b', 0, 0, 0, 0, 0}, content...)
	return slices.Concat(
		[]byte{0xC4, 13, 3, binaryType, sha1Algorithm, rsaAlgorithm}, id, []byte{1},
		[]byte{0xCB, 0xFF, 0, 0, byte(len(literal) >> 8), byte(len(literal))}, literal,
		[]byte{0xC2, 0xFF, 0, 0, byte(len(body) >> 8), byte(len(body))}, body)
}

func binaryID(id uint64) []byte { return binary.BigEndian.AppendUint64(nil, id) }

// TestWeakSignaturesAreRefused: each passes in the library, is refused by default,
// and passes when weak ones are allowed.
func TestWeakSignaturesAreRefused(t *testing.T) {
	good, small := newGPG(t, "rsa2048"), newGPG(t, "rsa1024")
	payload := simplePayload(v1, digest.FromBytes(theManifest))
	smallC := newSigstoreRSA(t, 1024)
	for name, c := range map[string]struct {
		req  any
		blob []byte
		want string
	}{
		"SHA-1":                          {signedBy(nil, good), good.sha1Message(payload), "signed by key " + good.id() + " with SHA-1, which is refused"},
		"RSA-1024":                       {signedBy(nil, small), small.message(payload), "signed with RSA-1024 key " + small.id() + ", which is refused (under 2048 bits)"},
		"RSA-1024 among good keys":       {signedBy(nil, good, small), small.message(payload), "signed with RSA-1024 key " + small.id()},
		"RSA-1024 sigstore key":          {sigstoreSigned(nil, smallC), stored(t, smallC.sign(v1, theManifest)), "all its keys are RSA keys under 2048 bits"},
		"RSA-1024 sigstore key, another": {sigstoreSigned(nil, newSigstoreKey(t), smallC), stored(t, smallC.sign(v1, theManifest)), "signed with RSA-1024 key sha256:"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.store("team/app", c.blob)
			policy := policyFor(t, map[string]any{repo: []any{c.req}})
			if !libraryAllows(t, policy, subject(t, v1), [][]byte{c.blob}) {
				t.Error("the library refuses it by itself: nothing is tested")
			}
			e := w.engine(policy)
			if v := verify(t, e, subject(t, v1)); v.Decision != Denied || !strings.Contains(reasons(v), c.want) {
				t.Errorf("expected %q, found %s: %s", c.want, v.Decision, reasons(v))
			}
			o := w.options()
			o.InsecureAllowWeak = true
			p, err := LoadPolicy(o)
			if err != nil {
				t.Fatal(err)
			}
			e.Replace(p)
			if v := verify(t, e, subject(t, v1)); v.Decision != Allowed {
				t.Errorf("allowed by configuration, yet: %s", reasons(v))
			}
		})
	}
}

func stored(t *testing.T, s *discover.Sigstore) []byte {
	t.Helper()
	b, err := s.Blob()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestDecompressionBomb has a message that is small, validly signed, and holds
// a payload that is large.
func TestDecompressionBomb(t *testing.T) {
	key := newGPG(t, "ed25519")
	inner := key.message(append(simplePayload(v1, digest.FromBytes(theManifest)), bytes.Repeat([]byte(" "), 64<<20)...))
	bomb := compressed(t, inner)
	if len(bomb) > discover.MaxSignatureBytes {
		t.Fatalf("%d bytes: would not be fetched", len(bomb))
	}
	f := inspectSimple(bomb, openpgp.EntityList{key.Entity}, false, time.Now)
	if !strings.HasPrefix(f.problem, "malformed signature") {
		t.Errorf("expected a malformed signature, found %+v", f)
	}
}

// TestOversizePayload is the same without compression: the library accepts it.
func TestOversizePayload(t *testing.T) {
	key := newGPG(t, "ed25519")
	w := newWorld(t)
	w.store("team/app", key.message(append(simplePayload(v1, digest.FromBytes(theManifest)), bytes.Repeat([]byte(" "), maxPayload)...)))
	v := verify(t, w.engine(policyFor(t, map[string]any{repo: []any{signedBy(nil, key)}})), subject(t, v1))
	if v.Decision != Denied || !strings.Contains(reasons(v), "malformed signature") {
		t.Errorf("%s: %s", v.Decision, reasons(v))
	}
}

// TestBombBesideThePayload hides the bulk in a packet that readers pass over.
func TestBombBesideThePayload(t *testing.T) {
	key := newGPG(t, "ed25519")
	const bulk = 8 << 20
	skipped := append([]byte{0xC0 | 60, 0xFF, 0, byte(bulk >> 16), 0, 0}, make([]byte, bulk)...) // private use
	f := inspectSimple(compressed(t, slices.Concat(skipped, key.sign(v1, theManifest))), openpgp.EntityList{key.Entity}, false, time.Now)
	if f.problem == "" {
		t.Error("expected a malformed signature")
	}
	if f := inspectSimple(compressed(t, key.sign(v1, theManifest)), openpgp.EntityList{key.Entity}, false, time.Now); f.problem != "" {
		t.Errorf("without the bulk: %s", f.problem)
	}
}

// compressed wraps packets in a compressed data packet (RFC 4880, 5.6).
func compressed(t *testing.T, packets []byte) []byte {
	t.Helper()
	b := bytes.NewBuffer([]byte{0xA3, 1}) // old format, indeterminate length; ZIP
	z, err := flate.NewWriter(b, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(packets); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestCompressedSignaturePasses: compression itself is what gpg does by default.
func TestCompressedSignaturePasses(t *testing.T) {
	key := newGPG(t, "ed25519")
	w := newWorld(t)
	w.store("team/app", compressed(t, key.sign(v1, theManifest)))
	if v := verify(t, w.engine(policyFor(t, map[string]any{repo: []any{signedBy(nil, key)}})), subject(t, v1)); v.Decision != Allowed {
		t.Error(reasons(v))
	}
}

// TestExpiryOfTheVerdict is the earliest end of the key, the subkey, the signature.
func TestExpiryOfTheVerdict(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	made := now.Add(-time.Hour)
	entity := func(lifetime uint32) *gpgKey {
		cfg := &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, KeyLifetimeSecs: lifetime, Time: func() time.Time { return made }}
		e, err := openpgp.NewEntity("Limited", "", "", cfg)
		if err != nil {
			t.Fatal(err)
		}
		return &gpgKey{e, t, &packet.Config{}}
	}
	long, short := entity(30*24*3600), entity(2*24*3600)
	subkeyed := entity(30 * 24 * 3600)
	sub := &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, KeyLifetimeSecs: 3 * 24 * 3600, Time: func() time.Time { return made }}
	if err := subkeyed.AddSigningSubkey(sub); err != nil {
		t.Fatal(err)
	}
	dying := entity(0)
	dying.cfg = &packet.Config{SigLifetimeSecs: 24 * 3600}
	for name, c := range map[string]struct {
		keys []*gpgKey
		want time.Time
	}{
		"never":     {[]*gpgKey{entity(0)}, time.Time{}},
		"key":       {[]*gpgKey{long}, made.Add(30 * 24 * time.Hour)},
		"both keys": {[]*gpgKey{long, short}, made.Add(2 * 24 * time.Hour)},
		"subkey":    {[]*gpgKey{subkeyed}, made.Add(3 * 24 * time.Hour)},
		"signature": {[]*gpgKey{dying}, now.Add(24 * time.Hour)},
	} {
		w := newWorld(t)
		var reqs []any
		var sigs [][]byte
		for _, k := range c.keys {
			reqs, sigs = append(reqs, signedBy(nil, k)), append(sigs, k.sign(v1, theManifest))
		}
		w.store("team/app", sigs...)
		v := verify(t, w.engine(policyFor(t, map[string]any{repo: reqs})), subject(t, v1))
		if v.Decision != Allowed {
			t.Errorf("%s: %s", name, reasons(v))
		}
		if d := v.Expires.Sub(c.want); v.Expires.IsZero() != c.want.IsZero() || d < -time.Second || d > 10*time.Second {
			t.Errorf("%s: expected %v, found %v", name, c.want, v.Expires)
		}
		w.store("team/app")
		clear(w.web.files)
		if v := verify(t, w.engine(policyFor(t, map[string]any{repo: reqs})), subject(t, v1)); !v.Expires.IsZero() {
			t.Errorf("%s: a denial expires", name)
		}
	}
}

// TestSubkeySignature names the primary key as the signer.
func TestSubkeySignature(t *testing.T) {
	w := newWorld(t)
	key := newGPG(t, "ed25519")
	if err := key.AddSigningSubkey(&packet.Config{Algorithm: packet.PubKeyAlgoEdDSA}); err != nil {
		t.Fatal(err)
	}
	w.store("team/app", key.sign(v1, theManifest))
	v := verify(t, w.engine(policyFor(t, map[string]any{repo: []any{signedBy(nil, key)}})), subject(t, v1))
	if want := fmt.Sprintf("gpg:%X", key.PrimaryKey.Fingerprint); v.Decision != Allowed || v.Signers()[0] != want {
		t.Errorf("expected %s, found %v: %s", want, v.Signers(), reasons(v))
	}
	if v.Signatures[0].Signer == key.id() {
		t.Error("the signature was not made by the subkey")
	}
}

// TestRevokedKey refuses what a revoked key signed.
func TestRevokedKey(t *testing.T) {
	w := newWorld(t)
	key := newGPG(t, "ed25519")
	w.store("team/app", key.sign(v1, theManifest))
	if err := key.RevokeKey(packet.KeyCompromised, "lost", nil); err != nil {
		t.Fatal(err)
	}
	v := verify(t, w.engine(policyFor(t, map[string]any{repo: []any{signedBy(nil, key)}})), subject(t, v1))
	if v.Decision != Denied || !strings.Contains(reasons(v), "revoked") {
		t.Errorf("%s: %s", v.Decision, reasons(v))
	}
}

// TestUntrustedTextIsSanitized puts control characters and a flood into what
// signatures say.
func TestUntrustedTextIsSanitized(t *testing.T) {
	key := newGPG(t, "ed25519")
	evil := "x\x1b[31m\n\u202e" + strings.Repeat("y", 10000)
	w := newWorld(t)
	payload := bytes.ReplaceAll(simplePayload("REF", digest.FromBytes(theManifest)), []byte("REF"), []byte(jsonEscape(evil)))
	w.store("team/app", key.message(payload))
	v := verify(t, w.engine(policyFor(t, map[string]any{repo: []any{signedBy(nil, key)}})), subject(t, v1))
	if v.Decision != Denied {
		t.Error("allowed")
	}
	text := fmt.Sprint(v)
	if strings.ContainsAny(text, "\x1b\n\u202e") || len(text) > 4000 {
		t.Errorf("%d bytes: %.300q", len(text), text)
	}
}

func jsonEscape(s string) string {
	return strings.NewReplacer("\x1b", `\u001b`, "\n", `\n`).Replace(s)
}

// TestManyReasonsAreLimited has more signatures than anybody reads.
func TestManyReasonsAreLimited(t *testing.T) {
	w := newWorld(t)
	key := newGPG(t, "ed25519")
	var sigs [][]byte
	for i := range 40 {
		sigs = append(sigs, key.sign(fmt.Sprintf("%s:other%d", repo, i), theManifest))
	}
	w.store("team/app", sigs...)
	v := verify(t, w.engine(policyFor(t, map[string]any{repo: []any{signedBy(nil, key)}})), subject(t, v1))
	if n := len(v.Requirements[0].Found); n != maxReasons+1 {
		t.Errorf("expected %d reasons, found %d", maxReasons+1, n)
	}
}

// FuzzInspectSimple never panics, and finds nothing good in what was not signed by
// the key.
func FuzzInspectSimple(f *testing.F) {
	key := newGPG(f, "ed25519")
	ring := openpgp.EntityList{key.Entity}
	good := key.sign(v1, theManifest)
	f.Add(good)
	f.Add(newGPG(f, "ed25519").sign(v1, theManifest))
	f.Add(good[:len(good)/2])
	f.Add([]byte{0xC4, 0x01, 0x02})
	f.Add([]byte("\xCB\x08b\x00\x00\x00\x00\x00hi"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got := inspectSimple(b, ring, false, time.Now)
		if got.problem == "" && got.digest != digest.FromBytes(theManifest).String() {
			t.Fatalf("a forged signature: %+v", got)
		}
		if got.problem != clean(got.problem) && len(got.problem) < maxText {
			t.Fatalf("unclean: %q", got.problem)
		}
	})
}
