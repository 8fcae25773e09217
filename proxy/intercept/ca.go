package intercept

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

const (
	caName  = "Pullgate interception CA"
	caYears = 10
	backlog = time.Hour // how far back certificates start, for clocks that are behind
	minRSA  = 2048      // bits
)

// CA signs the certificates of terminated connections. Whoever trusts it believes
// the gate to be any host: its key must stay on the gate.
type CA struct {
	chain [][]byte // DER, its own certificate first
	cert  *x509.Certificate
	key   crypto.Signer
}

// PEM is the certificate (with those that signed it, when the file has them) for
// the trust store of clients. It holds no secret.
func (c *CA) PEM() []byte {
	var b bytes.Buffer
	for _, der := range c.chain {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: der}) // to memory
	}
	return b.Bytes()
}

// NotAfter is when the CA ends. Clients trust nothing that it signed after that.
func (c *CA) NotAfter() time.Time { return c.cert.NotAfter }

// newCA makes a CA and returns its certificate and key in PEM.
func newCA(now time.Time) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber:          newSerial(),
		Subject:               pkix.Name{CommonName: caName},
		NotBefore:             now.Add(-backlog),
		NotAfter:              now.AddDate(caYears, 0, 0),
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), nil
}

// newSerial is a positive number of 127 random bits (RFC 5280, section 4.1.2.2).
func newSerial() *big.Int {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b[:])
}

// parseCA checks that a certificate and its key can sign for interception. Errors
// do not hold anything of the key.
func parseCA(certPEM, keyPEM []byte, now time.Time) (*CA, error) {
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("expected a certificate and its own private key, both in PEM: %w", err)
	}
	out := &CA{chain: pair.Certificate}
	if out.key, _ = pair.PrivateKey.(crypto.Signer); out.key == nil {
		return nil, errors.New("expected a key that signs")
	}
	if k, ok := out.key.Public().(*rsa.PublicKey); ok && k.N.BitLen() < minRSA {
		return nil, fmt.Errorf("expected an RSA key of at least %d bits, found %d", minRSA, k.N.BitLen())
	}
	var above *x509.Certificate // signs for the one before
	for i := len(out.chain) - 1; i >= 0; i-- {
		c, err := x509.ParseCertificate(out.chain[i])
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", i+1, err)
		}
		if err := checkAuthority(c, now); err != nil {
			return nil, fmt.Errorf("certificate %d: %w", i+1, err)
		}
		if above != nil {
			if err := c.CheckSignatureFrom(above); err != nil {
				return nil, fmt.Errorf("expected certificate %d to be signed by the next one: %w", i+1, err)
			}
		}
		above = c
	}
	out.cert = above
	return out, nil
}

func checkAuthority(c *x509.Certificate, now time.Time) error {
	switch {
	case !c.BasicConstraintsValid || !c.IsCA:
		return errors.New("expected a certificate authority (basicConstraints CA:TRUE), found a certificate that may not sign others")
	case c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0:
		return errors.New("expected the key usage keyCertSign, found a certificate without it")
	case now.After(c.NotAfter):
		return fmt.Errorf("expected a certificate that is valid now, found one that ended %s", c.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(c.NotBefore):
		return fmt.Errorf("expected a certificate that is valid now, found one that starts %s", c.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}
