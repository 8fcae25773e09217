package bundle

import (
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"time"

	"github.com/digitorus/pkcs7"
	"github.com/sigstore/sigstore-go/pkg/root"
)

// material is what one judgement trusts, in the form that the library asks for:
// one key or the certificate authorities of a root, and the root's logs and
// timestamp authorities, less everything that is weak.
type material struct {
	key   root.TimeConstrainedVerifier // nil with identities
	cas   []root.CertificateAuthority
	tsas  []root.TimestampingAuthority
	rekor map[string]*root.TransparencyLog
	ct    map[string]*root.TransparencyLog
	// issued is what cas said, for the reason of a denial.
	issued issued
}

var _ root.TrustedMaterial = &material{}

// newMaterial takes from r, which may be nil, what e can be judged with. With a
// key no certificate authority is trusted.
func newMaterial(r root.TrustedMaterial, key root.TimeConstrainedVerifier, e *evidence) *material {
	m := &material{key: key}
	if r == nil {
		return m
	}
	m.rekor, m.ct = strongLogs(r.RekorLogs()), strongLogs(r.CTLogs())
	for _, tsa := range r.TimestampingAuthorities() {
		m.tsas = append(m.tsas, &strongTSA{tsa, e.stamped})
	}
	if key != nil {
		return m
	}
	for _, ca := range r.FulcioCertificateAuthorities() {
		m.cas = append(m.cas, &strongCA{withIntermediates(ca, e.intermediates), &m.issued})
	}
	return m
}

func (m *material) TimestampingAuthorities() []root.TimestampingAuthority     { return m.tsas }
func (m *material) FulcioCertificateAuthorities() []root.CertificateAuthority { return m.cas }
func (m *material) RekorLogs() map[string]*root.TransparencyLog               { return m.rekor }
func (m *material) CTLogs() map[string]*root.TransparencyLog                  { return m.ct }

// PublicKeyVerifier returns the trusted key whatever the hint, which anybody can
// write into a document.
func (m *material) PublicKeyVerifier(string) (root.TimeConstrainedVerifier, error) {
	if m.key == nil {
		return nil, errors.New("expected a certificate, found a signature by a key")
	}
	return m.key, nil
}

// strongLogs leaves out the logs with weak keys.
func strongLogs(logs map[string]*root.TransparencyLog) map[string]*root.TransparencyLog {
	out := make(map[string]*root.TransparencyLog, len(logs))
	for id, l := range logs {
		if checkStrong(l.PublicKey) == nil {
			out[id] = l
		}
	}
	return out
}

// withIntermediates adds certificates that came with the signature, to build the
// chain to ca's root with. They are not trusted by that. A trust root that names
// intermediates means these and no others, as with cosign: that one was taken out of
// it must hold whatever the signature brings along.
func withIntermediates(ca root.CertificateAuthority, more []*x509.Certificate) root.CertificateAuthority {
	f, ok := ca.(*root.FulcioCertificateAuthority)
	if !ok || len(f.Intermediates) > 0 || len(more) == 0 {
		return ca
	}
	c := *f
	c.Intermediates = more
	return &c
}

// strongCA refuses chains with weak keys.
type strongCA struct {
	root.CertificateAuthority
	said *issued
}

func (s *strongCA) Verify(cert *x509.Certificate, at time.Time) ([][]*x509.Certificate, error) {
	chains, err := s.CertificateAuthority.Verify(cert, at)
	if err != nil {
		s.said.note(at, err, nil)
		return nil, err
	}
	var strong [][]*x509.Certificate
	for _, chain := range chains {
		if err = checkStrongAll(chain); err == nil {
			strong = append(strong, chain)
		}
	}
	if len(strong) == 0 {
		s.said.note(at, err, err)
		return nil, err
	}
	s.said.note(at, nil, nil)
	return strong, nil
}

// strongTSA refuses timestamps with weak certificates, and ones whose certificates
// have keys so large that verifying them is an attack: the library verifies a
// timestamp with the certificate in it before it looks whose that is. A timestamp
// may be over stamped in place of the signature: cosign has the whole envelope of
// an .att attachment timestamped.
type strongTSA struct {
	root.TimestampingAuthority
	stamped []byte // nil: only the signature
}

func (s *strongTSA) Verify(stamp, signature []byte) (*root.Timestamp, error) {
	certs, err := timestampCerts(stamp)
	if err != nil {
		return nil, err
	}
	if a, ok := s.TimestampingAuthority.(*root.SigstoreTimestampingAuthority); ok {
		certs = append(append(certs, a.Intermediates...), a.Root)
		if a.Leaf != nil {
			certs = append(certs, a.Leaf)
		}
	}
	if err := checkStrongAll(certs); err != nil {
		return nil, err
	}
	t, err := s.TimestampingAuthority.Verify(stamp, signature)
	if err != nil && s.stamped != nil {
		t, err = s.TimestampingAuthority.Verify(stamp, s.stamped)
	}
	return t, err
}

// timestampCerts returns the certificates in a TimeStampResp (RFC 3161, 2.4.2).
func timestampCerts(b []byte) ([]*x509.Certificate, error) {
	var response struct{ Status, Token asn1.RawValue }
	if rest, err := asn1.Unmarshal(b, &response); err != nil || len(rest) > 0 {
		return nil, errors.New("expected a timestamp response (RFC 3161)")
	}
	if err := checkNesting(response.Token.FullBytes); err != nil {
		return nil, fmt.Errorf("timestamp token: %w", err)
	}
	p7, err := pkcs7.Parse(response.Token.FullBytes)
	if err != nil {
		return nil, fmt.Errorf("timestamp token: %w", err)
	}
	// "The time-stamp token MUST NOT contain any signatures other than the signature of
	// the TSA." The library would verify them all.
	if n := len(p7.Signers); n != 1 {
		return nil, fmt.Errorf("timestamp token: expected one signer, found %d", n)
	}
	return p7.Certificates, nil
}

func checkStrongAll(certs []*x509.Certificate) error {
	for _, c := range certs {
		if c == nil {
			return errors.New("a certificate is missing")
		}
		if err := checkStrong(c.PublicKey); err != nil {
			return fmt.Errorf("certificate %q: %w", c.Subject, err)
		}
	}
	return nil
}

// checkStrong refuses RSA keys that are too small, or larger than anybody uses.
func checkStrong(pub crypto.PublicKey) error {
	if k, ok := pub.(*rsa.PublicKey); ok && (k.N.BitLen() < minRSABits || k.N.BitLen() > maxRSABits) {
		return fmt.Errorf("expected an RSA key of %d to %d bits, found %d", minRSABits, maxRSABits, k.N.BitLen())
	}
	return nil
}
