package harness

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"os"
	"path/filepath"
	"testing"
)

// More kinds of keys.
var (
	RSA2048  = KeyKind{algorithm: "rsa2048"}
	RSA4096  = KeyKind{algorithm: "rsa4096"}
	NISTP256 = KeyKind{algorithm: "nistp256"}
)

// OldKey makes a key in the past that never expires. It signs in the past too:
// with the options "--default-sig-expire", "1d" its signatures are expired.
func (g *GPG) OldKey(t testing.TB) *Key {
	t.Helper()
	g.keys++
	then := KeyKind{expired: true} // for the clock alone
	user := "old key " + string(rune('A'+g.keys-1)) + " <key@example.com>"
	status := g.run(t, then, nil, "--quick-generate-key", user, "rsa3072", "sign", "never")
	return &Key{Fingerprint: createdKey(t, status), Kind: then, ring: g}
}

// Revoke revokes the key with the certificate that gpg made along with it. What
// is exported afterwards says so; the key signs no more.
func (k *Key) Revoke(t testing.TB) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(k.ring.Home, "openpgp-revocs.d", k.Fingerprint+".rev"))
	if err != nil {
		t.Fatal(err)
	}
	// gpg guards the armor with a colon against accidents.
	b = bytes.Replace(b, []byte(":-----BEGIN"), []byte("-----BEGIN"), 1)
	k.ring.run(t, KeyKind{}, b, "--import")
}

// Armored returns the public key as text.
func (k *Key) Armored(t testing.TB) []byte {
	t.Helper()
	return []byte(k.ring.run(t, KeyKind{}, nil, "--armor", "--export", k.Fingerprint))
}

// SignPayload signs any bytes.
func (k *SigstoreKey) SignPayload(t testing.TB, payload []byte) Layer {
	t.Helper()
	sum := sha256.Sum256(payload)
	sig, err := ecdsa.SignASN1(rand.Reader, k.private, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return Layer{payload, encode(sig)}
}
