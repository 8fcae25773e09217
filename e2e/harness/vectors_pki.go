package harness

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"
)

// Object identifiers of certificates that say more than Go's templates.
var (
	oidExtKeyUsage  = asn1.ObjectIdentifier{2, 5, 29, 37}
	oidTimeStamping = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 8}
	// Fulcio's fields are below this one (fulcio, docs/oid-info.md).
	oidFulcio = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1}
)

// lasting is how long what is kept as a vector must stay good.
const lasting = 100 * 365 * 24 * time.Hour

// vectorCert is a certificate and its key.
type vectorCert struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func (c vectorCert) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.cert.Raw})
}

func (c vectorCert) keyPEM(t testing.TB) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// acmeName is a subject as notation wants it: with country, state and organisation.
func acmeName(common string) pkix.Name {
	return pkix.Name{Country: []string{"US"}, Province: []string{"WA"}, Organization: []string{"acme.example"}, CommonName: common}
}

// vectorCA makes an authority.
func vectorCA(t testing.TB, name string) vectorCert {
	t.Helper()
	c := &x509.Certificate{
		Subject: acmeName(name), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		NotAfter: time.Now().Add(lasting),
	}
	return vectorIssue(t, c, nil)
}

// vectorIssue signs a certificate; without a parent it signs itself.
func vectorIssue(t testing.TB, c *x509.Certificate, parent *vectorCert) vectorCert {
	t.Helper()
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber = serial
	if c.NotBefore.IsZero() {
		c.NotBefore = time.Now().Add(-time.Hour)
	}
	out := vectorCert{key: newECKey(t)}
	if parent == nil {
		parent = &vectorCert{cert: c, key: out.key}
	}
	out.cert, err = x509.ParseCertificate(issue(t, c, parent.cert, out.key, parent.key))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// codeSigner makes the template of a notation signer's certificate.
func codeSigner(name string, notAfter time.Time) *x509.Certificate {
	return &x509.Certificate{
		Subject: acmeName(name), NotAfter: notAfter, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		CRLDistributionPoints: []string{"http://crl.acme.example/ca.crl"},
	}
}

// timestamper makes the template of a timestamp authority's certificate, whose
// only purpose is critical (RFC 3161, section 2.3).
func timestamper(t testing.TB) *x509.Certificate {
	t.Helper()
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{oidTimeStamping})
	if err != nil {
		t.Fatal(err)
	}
	return &x509.Certificate{
		Subject: acmeName("timestamps"), NotAfter: time.Now().Add(lasting), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{{Id: oidExtKeyUsage, Critical: true, Value: usage}},
	}
}

// VectorSubject is the workflow that signs without a key of its own.
const VectorSubject = "https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main"

// VectorIssuer is who says that it is that workflow.
const VectorIssuer = "https://token.actions.githubusercontent.com"

// fulcioFields are what Fulcio's certificates say beside the subject, by the last
// number of their identifier.
var fulcioFields = map[int]string{
	8: VectorIssuer, 11: "github-hosted", 12: "https://github.com/acme/app", 14: "refs/heads/main", 20: "push",
}

// workflow makes the template of a certificate as Fulcio issues them: for ten
// minutes, to a workflow.
func workflow() (*x509.Certificate, error) {
	uri, err := url.Parse(VectorSubject)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	c := &x509.Certificate{
		SerialNumber: serial, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(9 * time.Minute),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}, URIs: []*url.URL{uri},
	}
	for n, text := range fulcioFields {
		value, err := asn1.MarshalWithParams(text, "utf8")
		if err != nil {
			return nil, err
		}
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: append(slices.Clone(oidFulcio), n), Value: value})
	}
	return c, nil
}

// ServeHTTP is the part of Fulcio that issues certificates (fulcio, openapi:
// /api/v2/signingCert). It asks for no proof: everybody is the workflow.
func (c vectorCert) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	chain, err := c.certify(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"signedCertificateEmbeddedSct": map[string]any{"chain": map[string]any{"certificates": chain}}})
}

func (c vectorCert) certify(r *http.Request) (chain []string, err error) {
	var in struct {
		PublicKeyRequest struct{ PublicKey struct{ Content string } }
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return nil, err
	}
	block, _ := pem.Decode([]byte(in.PublicKeyRequest.PublicKey.Content))
	if block == nil {
		return nil, errors.New("expected a public key as PEM")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	template, err := workflow()
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, c.cert, key, c.key)
	if err != nil {
		return nil, err
	}
	leaf := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return []string{string(leaf), string(c.pem())}, nil
}

// revocations makes a list of an authority, which revokes these certificates.
func (c vectorCert) revocations(t testing.TB, revoked ...vectorCert) []byte {
	t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(lasting)}
	for _, r := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: r.cert.SerialNumber, RevocationTime: time.Now().Add(-time.Minute)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, c.cert, c.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}
