package notation

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/veraison/go-cose"
)

// edited changes a JWS envelope's JSON.
func edited(tb testing.TB, b []byte, change func(map[string]any)) []byte {
	tb.Helper()
	var m map[string]any
	must(tb, json.Unmarshal(b, &m))
	change(m)
	out, err := json.Marshal(m)
	must(tb, err)
	return out
}

// rechain puts other certificates into a JWS envelope.
func rechain(tb testing.TB, b []byte, chain []*x509.Certificate) []byte {
	tb.Helper()
	return edited(tb, b, func(m map[string]any) {
		var certs []string
		for _, c := range chain {
			certs = append(certs, base64.StdEncoding.EncodeToString(c.Raw))
		}
		m["header"].(map[string]any)["x5c"] = certs
	})
}

func TestTampered(t *testing.T) {
	by := newChain(t)
	jws := envelope{by: by}.sign(t)
	other := edited(t, jws, func(m map[string]any) {
		p, err := base64.RawURLEncoding.DecodeString(m["payload"].(string))
		must(t, err)
		p = bytes.Replace(p, []byte(image.Digest.Encoded()[:8]), []byte("00000000"), 1)
		m["payload"] = base64.RawURLEncoding.EncodeToString(p)
	})
	header := edited(t, jws, func(m map[string]any) {
		p, err := base64.RawURLEncoding.DecodeString(m["protected"].(string))
		must(t, err)
		p = bytes.Replace(p, []byte("ES256"), []byte("none"), 1)
		m["protected"] = base64.RawURLEncoding.EncodeToString(p)
	})
	for what, b := range map[string][]byte{"payload": other, "algorithm none": header} {
		if v, err := verify(b, MediaTypeJWS, trustCA(t, by)); err == nil {
			t.Errorf("%s: expected a refusal, got %+v", what, v)
		}
	}
	var m cose.Sign1Message
	must(t, m.UnmarshalCBOR(envelope{by: by, mediaType: MediaTypeCOSE}.sign(t)))
	m.Payload = bytes.Replace(m.Payload, []byte(image.Digest.Encoded()[:8]), []byte("00000000"), 1)
	b, err := m.MarshalCBOR()
	must(t, err)
	v, err := verify(b, MediaTypeCOSE, trustCA(t, by))
	denied(t, v, err, "signature is invalid")
	// Another key under the same names.
	v, err = verify(rechain(t, jws, append(newChain(t).chain()[:1], by.chain()[1:]...)), MediaTypeJWS, trustCA(t, by))
	denied(t, v, err, "signature is invalid")
}

func TestGarbage(t *testing.T) {
	by := newChain(t)
	trust := trustCA(t, by)
	jws := envelope{by: by}.sign(t)
	for what, b := range map[string][]byte{
		"nothing": nil, "text": []byte("hello"), "null": []byte("null"), "array": []byte("[]"), "object": []byte("{}"),
		"cut": jws[:len(jws)/2], "doubled": append(append([]byte{}, jws...), jws...), "CBOR": {0xd2, 0x84, 0x40, 0xa0, 0xf6, 0x40},
		"deep JSON": []byte(strings.Repeat("[", 100_000)), "deep CBOR": bytes.Repeat([]byte{0x81}, 100_000),
		"no certificates": edited(t, jws, func(m map[string]any) { m["header"] = map[string]any{} }),
		"bad certificate": edited(t, jws, func(m map[string]any) { m["header"] = map[string]any{"x5c": []string{"AAAA"}} }),
	} {
		for _, mt := range mediaTypes {
			if v, err := verify(b, mt, trust); err == nil {
				t.Errorf("%s as %s: expected a refusal, got %+v", what, mt, v)
			}
			Describe(b, mt)
		}
	}
	v, err := verify(jws, "application/vnd.dsse.envelope.v1+json", trust)
	denied(t, v, err, "expected an envelope of media type")
	v, err = verify(jws, MediaTypeCOSE, trust)
	denied(t, v, err, "expected a COSE_Sign1 envelope")
	v, err = verify(append(jws, bytes.Repeat([]byte(" "), MaxEnvelopeBytes)...), MediaTypeJWS, trust)
	denied(t, v, err, "expected an envelope of at most")
}

func TestLongChain(t *testing.T) {
	by := newCA(t, nil, "root", ecKey(t))
	for range maxChain - 2 {
		by = newCA(t, by, "intermediate", ecKey(t))
	}
	longest := newLeaf(t, by, "build", ecKey(t))
	if _, err := verify(envelope{by: longest}.sign(t), MediaTypeJWS, trustCA(t, longest)); err != nil {
		t.Fatal(err)
	}
	longer := newLeaf(t, newCA(t, by, "intermediate", ecKey(t)), "build", ecKey(t))
	for _, mt := range mediaTypes {
		v, err := verify(envelope{by: longer, mediaType: mt}.sign(t), mt, trustCA(t, longer))
		denied(t, v, err, "expected 1 to 10 certificates, found 11")
	}
}

func hugeKey() *rsa.PublicKey {
	return &rsa.PublicKey{N: new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), 1_000_000), big.NewInt(1)), E: 65537}
}

// A certificate with a key of a million bits, which an envelope can bring along
// unsigned: to verify with it would take minutes.
func TestHugeKey(t *testing.T) {
	by := newChain(t)
	cert, err := x509.ParseCertificate(hugeCert(t, by.issuer))
	must(t, err)
	start := time.Now()
	v, err := verify(rechain(t, envelope{by: by}.sign(t), append([]*x509.Certificate{cert}, by.chain()[1:]...)), MediaTypeJWS, trustCA(t, by))
	denied(t, v, err, "expected an RSA key of at most")
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

// A root of 1024 bits above a trusted intermediate: nothing else looks at it.
func TestWeakKeyInChain(t *testing.T) {
	root := newCA(t, nil, "root", rsaKey(t, 1024))
	inter := newCA(t, root, "intermediate", ecKey(t))
	by := newLeaf(t, inter, "build", ecKey(t))
	trust := newTrust(t, Options{CA: []*x509.Certificate{inter.cert}})
	for _, mt := range mediaTypes {
		v, err := verify(envelope{by: by, mediaType: mt}.sign(t), mt, trust)
		denied(t, v, err, "expected an RSA key of at least 2048 bits, found 1024")
	}
}

// What is critical in a certificate and not understood is refused.
func TestCriticalExtension(t *testing.T) {
	by := newChain(t, func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4, 5}, Critical: true, Value: []byte{5, 0}}}
	})
	v, err := verify(envelope{by: by}.sign(t), MediaTypeJWS, trustCA(t, by))
	denied(t, v, err, "expected no critical extension that is not known, found 1.2.3.4.5")
}

func TestPanicIsARefusal(t *testing.T) {
	by := newChain(t)
	trust := newTrust(t, Options{CA: []*x509.Certificate{by.root().cert}, Now: func() time.Time { panic("clock\nbroke") }})
	v, err := verify(envelope{by: by}.sign(t), MediaTypeJWS, trust)
	denied(t, v, err, "its reader broke at: clock?broke")
}

type noNetwork struct{ tb testing.TB }

func (n noNetwork) RoundTrip(r *http.Request) (*http.Response, error) {
	n.tb.Errorf("expected no network, dialled %s", r.URL)
	return nil, http.ErrServerClosed
}

// Certificates that name servers to ask: nobody is asked.
func TestNoNetwork(t *testing.T) {
	was := http.DefaultTransport
	http.DefaultTransport = noNetwork{t}
	defer func() { http.DefaultTransport = was }()
	servers := func(c *x509.Certificate) {
		c.CRLDistributionPoints = []string{"http://crl.example.com/x.crl"}
		c.OCSPServer = []string{"http://ocsp.example.com"}
		c.IssuingCertificateURL = []string{"http://ca.example.com/ca.crt"}
	}
	by, tsa := newChain(t, servers), newTSA(t, ecKey(t))
	leaf := newLeaf(t, tsa.issuer, "tsa 2", tsa.key, func(c *x509.Certificate) {
		c.ExtKeyUsage, c.NotBefore = nil, tsa.cert.NotBefore
		for _, x := range tsa.cert.Extensions {
			if x.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 37}) {
				c.ExtraExtensions = []pkix.Extension{x}
			}
		}
		servers(c)
	})
	b := envelope{by: by, stamp: &stamper{leaf, time.Now().Add(-time.Minute)}}.sign(t)
	roots, tsas := []*x509.Certificate{by.root().cert}, []*x509.Certificate{tsa.root().cert}
	if _, err := verify(b, MediaTypeJWS, newTrust(t, Options{CA: roots, TSA: tsas})); err != nil {
		t.Error(err)
	}
	enforced := newTrust(t, Options{CA: roots, TSA: tsas, EnforceRevocation: true, CRLs: []*x509.RevocationList{crlOf(t, tsa.root(), tsa.root().key, nil)}})
	v, err := verify(b, MediaTypeJWS, enforced)
	denied(t, v, err, "cannot tell whether")
}
