package bundle

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
)

// RSA keys outside of these sizes are refused: smaller ones are weak, larger ones
// are a way to make the verifier work for minutes.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// Key is one trusted public key. The zero value verifies nothing.
type Key struct {
	// Name is sha256:hex of the key's DER form (SubjectPublicKeyInfo).
	Name string
	// Weak is "RSA-1024" or the like when the key is too small to be trusted, and
	// empty otherwise. Nothing verifies with a weak key.
	Weak string

	pub       crypto.PublicKey
	verifiers []signature.Verifier // any of them; more than one where clients differ in the hash
}

// ParseKey reads one PEM public key: ECDSA P-256, P-384 or P-521, Ed25519, or RSA.
// More than one block in b is an error: which of them counts must not be a guess.
func ParseKey(b []byte) (Key, error) {
	block, rest := pem.Decode(b)
	if block == nil {
		return Key{}, errors.New("expected a PEM public key, found no PEM block")
	}
	if strings.Contains(string(rest), "-----BEGIN ") {
		return Key{}, errors.New("expected one PEM public key, found more than one block")
	}
	pub, err := cryptoutils.UnmarshalPEMToPublicKey(b)
	if err != nil {
		return Key{}, fmt.Errorf("expected a PEM public key: %w", err)
	}
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return Key{}, fmt.Errorf("holds a key that cannot be encoded: %w", err)
	}
	key := Key{Name: fmt.Sprintf("sha256:%x", sha256.Sum256(der)), Weak: weakKey(pub), pub: pub}
	hashes, err := keyHashes(pub)
	if err != nil {
		return Key{}, err
	}
	for _, h := range hashes {
		v, err := signature.LoadVerifier(pub, h)
		if err != nil {
			return Key{}, fmt.Errorf("holds a key that cannot verify signatures: %w", err)
		}
		key.verifiers = append(key.verifiers, v)
	}
	return key, nil
}

// keyHashes lists the hashes that signatures of a key may be made with. Cosign
// signed with SHA-256 whatever the curve; newer clients take the hash that fits
// the curve (sigstore's algorithm registry).
func keyHashes(pub crypto.PublicKey) ([]crypto.Hash, error) {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return []crypto.Hash{crypto.SHA256}, nil
		case elliptic.P384():
			return []crypto.Hash{crypto.SHA384, crypto.SHA256}, nil
		case elliptic.P521():
			return []crypto.Hash{crypto.SHA512, crypto.SHA256}, nil
		}
		return nil, fmt.Errorf("expected a curve of P-256, P-384 or P-521, found %s", k.Params().Name)
	case *rsa.PublicKey:
		if k.N.BitLen() > maxRSABits {
			return nil, fmt.Errorf("expected an RSA key of at most %d bits, found %d", maxRSABits, k.N.BitLen())
		}
		return []crypto.Hash{crypto.SHA256}, nil
	case ed25519.PublicKey:
		return []crypto.Hash{crypto.SHA512}, nil // Ed25519 hashes by itself
	}
	return nil, fmt.Errorf("expected an ECDSA, Ed25519 or RSA key, found %T", pub)
}

// weakKey describes an RSA key that is too small, "RSA-1024".
func weakKey(pub crypto.PublicKey) string {
	if k, ok := pub.(*rsa.PublicKey); ok && k.N.BitLen() < minRSABits {
		return fmt.Sprintf("RSA-%d", k.N.BitLen())
	}
	return ""
}
