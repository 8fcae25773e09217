package harness

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
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

// RevokedPublic returns the public key with the revocation that gpg made along
// with the key, as others have it after that was published. Here the key goes on
// signing, as a thief's copy does.
func (k *Key) RevokedPublic(t testing.TB) []byte {
	t.Helper()
	b := readFile(t, filepath.Join(k.ring.Home, "openpgp-revocs.d", k.Fingerprint+".rev"))
	// gpg guards the armor with a colon against accidents.
	b = bytes.Replace(b, []byte(":-----BEGIN"), []byte("-----BEGIN"), 1)
	others := NewGPG(t)
	others.run(t, KeyKind{}, k.Public(t), "--import")
	others.run(t, KeyKind{}, b, "--import")
	return []byte(others.run(t, KeyKind{}, nil, "--export", k.Fingerprint))
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
