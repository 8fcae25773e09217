package notation

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/digitorus/timestamp"
	"github.com/notaryproject/notation-core-go/signature"
	"github.com/notaryproject/tspclient-go"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	repo     = "registry.example.com/acme/app"
	acme     = "x509.subject: C=US, ST=WA, O=Acme, CN=build"
	payload1 = "application/vnd.cncf.notary.payload.v1+json"
)

// image is what the tests' signatures are about.
var image = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("manifest"), Size: 8}

var mediaTypes = []string{MediaTypeJWS, MediaTypeCOSE}

// entity is a certificate with its key and, above it, its issuer.
type entity struct {
	cert   *x509.Certificate
	key    crypto.Signer
	issuer *entity // nil: self-signed
}

// chain is leaf first, root last.
func (e *entity) chain() []*x509.Certificate {
	out := []*x509.Certificate{e.cert}
	for up := e.issuer; up != nil; up = up.issuer {
		out = append(out, up.cert)
	}
	return out
}

func (e *entity) root() *entity {
	for e.issuer != nil {
		e = e.issuer
	}
	return e
}

func ecKey(tb testing.TB) crypto.Signer {
	tb.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(tb, err)
	return k
}

func rsaKey(tb testing.TB, bits int) crypto.Signer {
	tb.Helper()
	k, err := rsa.GenerateKey(rand.Reader, bits)
	must(tb, err)
	return k
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func name(cn string) pkix.Name {
	return pkix.Name{Country: []string{"US"}, Province: []string{"WA"}, Organization: []string{"Acme"}, CommonName: cn}
}

type edit func(*x509.Certificate)

func valid(from, to time.Time) edit {
	return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = from, to }
}

// newCA makes a CA: a root without an issuer.
func newCA(tb testing.TB, issuer *entity, cn string, key crypto.Signer, edits ...edit) *entity {
	tb.Helper()
	now := time.Now()
	return issue(tb, issuer, &x509.Certificate{
		Subject: name(cn), NotBefore: now.AddDate(-5, 0, 0), NotAfter: now.AddDate(5, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, key, edits)
}

// newLeaf makes a signing certificate.
func newLeaf(tb testing.TB, issuer *entity, cn string, key crypto.Signer, edits ...edit) *entity {
	tb.Helper()
	now := time.Now()
	return issue(tb, issuer, &x509.Certificate{
		Subject: name(cn), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}, key, edits)
}

func issue(tb testing.TB, issuer *entity, tmpl *x509.Certificate, key crypto.Signer, edits []edit) *entity {
	tb.Helper()
	var err error
	tmpl.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<60))
	must(tb, err)
	for _, f := range edits {
		f(tmpl)
	}
	parent, signer := tmpl, key
	if issuer != nil {
		parent, signer = issuer.cert, issuer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), signer)
	must(tb, err)
	cert, err := x509.ParseCertificate(der)
	must(tb, err)
	return &entity{cert: cert, key: key, issuer: issuer}
}

// newChain is the usual case: root, intermediate, leaf CN=build.
func newChain(tb testing.TB, edits ...edit) *entity {
	tb.Helper()
	root := newCA(tb, nil, "root", ecKey(tb))
	return newLeaf(tb, newCA(tb, root, "intermediate", ecKey(tb)), "build", ecKey(tb), edits...)
}

// newTSA is a timestamp authority: root, intermediate with the key given, leaf.
func newTSA(tb testing.TB, intermediate crypto.Signer) *entity {
	tb.Helper()
	eku, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	must(tb, err)
	inter := newCA(tb, newCA(tb, nil, "tsa root", ecKey(tb)), "tsa intermediate", intermediate)
	return newLeaf(tb, inter, "tsa", rsaKey(tb, 2048), func(c *x509.Certificate) {
		c.NotBefore = time.Now().AddDate(-1, 0, 0)
		c.ExtKeyUsage = nil
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: eku}}
	})
}

// stamper answers timestamp requests with the time at.
type stamper struct {
	tsa *entity
	at  time.Time
}

func (s stamper) Timestamp(_ context.Context, req *tspclient.Request) (*tspclient.Response, error) {
	hash := map[int]crypto.Hash{32: crypto.SHA256, 48: crypto.SHA384, 64: crypto.SHA512}[len(req.MessageImprint.HashedMessage)]
	ts := timestamp.Timestamp{
		HashAlgorithm: hash, HashedMessage: req.MessageImprint.HashedMessage, Time: s.at, Nonce: req.Nonce,
		Policy: asn1.ObjectIdentifier{1, 2, 3, 4}, AddTSACertificate: true, Certificates: s.tsa.chain()[1:],
	}
	der, err := ts.CreateResponseWithOpts(s.tsa.cert, s.tsa.key, crypto.SHA256)
	if err != nil {
		return nil, err
	}
	var resp tspclient.Response
	return &resp, resp.UnmarshalBinary(der)
}

// envelope is a signature to be made.
type envelope struct {
	by        *entity
	mediaType string             // JWS when empty
	target    ocispec.Descriptor // image when empty
	payload   []byte             // made of target when nil
	scheme    signature.SigningScheme
	at        time.Time // of signing: an hour ago when zero
	expiry    time.Time
	attrs     []signature.Attribute
	stamp     *stamper
}

func (e envelope) sign(tb testing.TB) []byte {
	tb.Helper()
	if e.mediaType == "" {
		e.mediaType = MediaTypeJWS
	}
	if e.scheme == "" {
		e.scheme = signature.SigningSchemeX509
	}
	if e.at.IsZero() {
		e.at = e.by.cert.NotBefore.Add(time.Minute)
	}
	if e.target.Digest == "" {
		e.target = image
	}
	if e.payload == nil {
		var err error
		e.payload, err = json.Marshal(map[string]any{"targetArtifact": e.target})
		must(tb, err)
	}
	signer, err := signature.NewLocalSigner(e.by.chain(), e.by.key)
	must(tb, err)
	req := &signature.SignRequest{
		Payload: signature.Payload{ContentType: payload1, Content: e.payload}, Signer: signer,
		SigningTime: e.at, Expiry: e.expiry, SigningScheme: e.scheme, ExtendedSignedAttributes: e.attrs,
	}
	if e.stamp != nil {
		req.Timestamper, req.TSARootCAs = e.stamp, x509.NewCertPool()
		req.TSARootCAs.AddCert(e.stamp.tsa.root().cert)
	}
	env, err := signature.NewEnvelope(e.mediaType)
	must(tb, err)
	b, err := env.Sign(req)
	must(tb, err)
	return b
}

func newTrust(tb testing.TB, o Options) *Trust {
	tb.Helper()
	if o.Identities == nil {
		o.Identities = []string{acme}
	}
	t, err := NewTrust(o)
	must(tb, err)
	return t
}

func trustCA(tb testing.TB, e *entity) *Trust {
	tb.Helper()
	return newTrust(tb, Options{CA: []*x509.Certificate{e.root().cert}})
}

func verify(b []byte, mediaType string, t *Trust) (Verified, error) {
	return Verify(context.Background(), b, mediaType, image, repo, t)
}

// denied wants an error that says why, and nothing verified.
func denied(tb testing.TB, v Verified, err error, why string) {
	tb.Helper()
	if err == nil {
		tb.Fatalf("expected a refusal because of %q, got %+v", why, v)
	}
	if !strings.Contains(err.Error(), why) {
		tb.Fatalf("expected a refusal because of %q, got: %v", why, err)
	}
	if v.Signers != nil || v.Times != nil || !v.Expires.IsZero() {
		tb.Fatalf("expected nothing verified beside an error, got %+v", v)
	}
}

// crlOf makes an issuer's list; its key may be another's.
func crlOf(tb testing.TB, issuer *entity, key crypto.Signer, edits func(*x509.RevocationList), revoked ...*x509.Certificate) *x509.RevocationList {
	tb.Helper()
	now := time.Now()
	tmpl := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now.Add(-time.Hour), NextUpdate: now.Add(time.Hour)}
	for _, c := range revoked {
		tmpl.RevokedCertificateEntries = append(tmpl.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: now.Add(-time.Minute)})
	}
	if edits != nil {
		edits(tmpl)
	}
	by := *issuer.cert
	by.SubjectKeyId = []byte("key")
	by.PublicKey = key.Public()
	der, err := x509.CreateRevocationList(rand.Reader, tmpl, &by, key)
	must(tb, err)
	list, err := x509.ParseRevocationList(der)
	must(tb, err)
	return list
}
