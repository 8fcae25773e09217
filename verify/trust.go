package verify

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
)

// sigstoreTrust is what a sigstoreSigned requirement trusts, beside what is
// handed to containers/image: for naming signers and refusing weak keys.
type sigstoreTrust struct {
	keys []sigstoreKey // keyPath, keyPaths, keyData, keyDatas

	// Fulcio.
	fulcio bool
	issuer string
	email  string // Fulcio's subjectEmail or the PKI's
	logged bool   // the Rekor log has to know the signature

	// PKI of one's own.
	pki           bool
	hostname      string
	roots         []*x509.Certificate
	intermediates []*x509.Certificate
}

// sigstoreKey is one public key.
type sigstoreKey struct {
	verifier signature.Verifier
	name     string // sha256 of the key's DER form (SubjectPublicKeyInfo)
	weak     string // "RSA-1024" when too small, else empty
}

// parseSigstoreKey reads a PEM public key as containers/image does: the first
// block counts. extra tells whether there is more in the file.
func parseSigstoreKey(b []byte) (key sigstoreKey, extra bool, err error) {
	pub, err := cryptoutils.UnmarshalPEMToPublicKey(b)
	if err != nil {
		return key, false, fmt.Errorf("holds no PEM public key: %w", err)
	}
	if key.verifier, err = signature.LoadVerifier(pub, crypto.SHA256); err != nil {
		return key, false, fmt.Errorf("holds a key that cannot verify signatures: %w", err)
	}
	if key.name, err = spkiName(pub); err != nil {
		return key, false, err
	}
	key.weak = weakPublicKey(pub)
	_, rest := pem.Decode(b)
	return key, bytes.Contains(rest, []byte("-----BEGIN ")), nil
}

// parseRekorKey checks a transparency log's key: PEM, ECDSA.
func parseRekorKey(b []byte) error {
	pub, err := cryptoutils.UnmarshalPEMToPublicKey(b)
	if err != nil {
		return fmt.Errorf("holds no PEM public key: %w", err)
	}
	if _, ok := pub.(*ecdsa.PublicKey); !ok {
		return fmt.Errorf("expected an ECDSA key, found %T", pub)
	}
	return nil
}

// parseCerts reads the certificates of a PEM file.
func parseCerts(b []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for rest := b; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("expected PEM certificates, found a %s", clean(block.Type))
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(out)+1, err)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, errors.New("holds no PEM certificate")
	}
	return out, nil
}

// strongCerts splits certificates by the size of their keys.
func strongCerts(certs []*x509.Certificate) (strong []*x509.Certificate, weak []string) {
	for _, c := range certs {
		if w := weakPublicKey(c.PublicKey); w != "" {
			weak = append(weak, fmt.Sprintf("certificate %q has an %s key", clean(c.Subject.String()), w))
			continue
		}
		strong = append(strong, c)
	}
	return strong, weak
}

// encodeCerts writes certificates as PEM.
func encodeCerts(certs []*x509.Certificate) []byte {
	var out []byte
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}

// weakPublicKey describes an RSA key that is too small, "RSA-1024".
func weakPublicKey(pub crypto.PublicKey) string {
	if k, ok := pub.(*rsa.PublicKey); ok && k.N.BitLen() < minRSABits {
		return fmt.Sprintf("RSA-%d", k.N.BitLen())
	}
	return ""
}

// spkiName is sha256:hex of a public key's DER form.
func spkiName(pub crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return "", fmt.Errorf("holds a key that cannot be encoded: %w", err)
	}
	return fmt.Sprintf("sha256:%x", sha256.Sum256(der)), nil
}

// names lists the trusted keys for people.
func (t *sigstoreTrust) names() []string {
	out := make([]string, len(t.keys))
	for i, k := range t.keys {
		out[i] = shortKey(k.name)
	}
	return out
}

// shortKey shortens sha256:hex to what people compare.
func shortKey(name string) string {
	if len(name) > 23 {
		return name[:23] + "…"
	}
	return name
}
