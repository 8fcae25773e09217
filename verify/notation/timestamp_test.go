package notation

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"math/big"
	"testing"
	"time"

	"github.com/notaryproject/notation-core-go/signature"
)

// expired is a chain whose leaf ended yesterday.
func expired(tb testing.TB) *entity {
	return newChain(tb, valid(time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)))
}

func TestTimestamp(t *testing.T) {
	by, tsa, wrong := expired(t), newTSA(t, ecKey(t)), newTSA(t, ecKey(t))
	then := by.cert.NotBefore.Add(time.Hour).Truncate(time.Second)
	roots := []*x509.Certificate{by.root().cert}
	for _, mt := range mediaTypes {
		for _, c := range []struct {
			what  string
			stamp *stamper
			tsa   []*x509.Certificate
			why   string
		}{
			{"while the leaf was valid", &stamper{tsa, then}, []*x509.Certificate{tsa.root().cert}, ""},
			{"one of several authorities", &stamper{tsa, then}, []*x509.Certificate{wrong.root().cert, tsa.root().cert}, ""},
			{"no timestamp", nil, []*x509.Certificate{tsa.root().cert}, "no timestamp countersignature"},
			{"no authority trusted", &stamper{tsa, then}, nil, "expired"},
			{"neither", nil, nil, "expired"},
			{"wrong authority", &stamper{wrong, then}, []*x509.Certificate{tsa.root().cert}, "timestamp countersignature"},
			{"after the leaf's end", &stamper{tsa, by.cert.NotAfter.Add(time.Minute)}, []*x509.Certificate{tsa.root().cert}, "timestamp can be after certificate"},
			{"before the leaf's start", &stamper{tsa, by.cert.NotBefore.Add(-time.Minute)}, []*x509.Certificate{tsa.root().cert}, "timestamp can be before certificate"},
		} {
			t.Run(mt+" "+c.what, func(t *testing.T) {
				v, err := verify(envelope{by: by, mediaType: mt, stamp: c.stamp}.sign(t), mt, newTrust(t, Options{CA: roots, TSA: c.tsa}))
				if c.why != "" {
					denied(t, v, err, c.why)
					return
				}
				must(t, err)
				if len(v.Times) != 1 || !v.Times[0].Equal(then) {
					t.Errorf("expected the time %v, got %v", then, v.Times)
				}
				if !v.Expires.IsZero() {
					t.Errorf("expected no end of what a timestamp proves, got %v", v.Expires)
				}
			})
		}
	}
}

// With a timestamp authority, a signature needs its timestamp even while its
// certificates are valid.
func TestTimestampAlways(t *testing.T) {
	by, tsa := newChain(t), newTSA(t, ecKey(t))
	v, err := verify(envelope{by: by}.sign(t), MediaTypeJWS, newTrust(t, Options{CA: []*x509.Certificate{by.root().cert}, TSA: []*x509.Certificate{tsa.root().cert}}))
	denied(t, v, err, "no timestamp countersignature")
}

// The timestamp of one signature does not do for another.
func TestTimestampOfAnother(t *testing.T) {
	by, tsa := expired(t), newTSA(t, ecKey(t))
	token := tokenOf(t, envelope{by: by, stamp: &stamper{tsa, by.cert.NotBefore.Add(time.Hour)}}.sign(t))
	b := withToken(t, envelope{by: by, expiry: time.Now().Add(time.Hour)}.sign(t), token)
	v, err := verify(b, MediaTypeJWS, newTrust(t, Options{CA: []*x509.Certificate{by.root().cert}, TSA: []*x509.Certificate{tsa.root().cert}}))
	denied(t, v, err, "mismatched message")
}

// Times of signing that have not come yet prove that somebody's clock is wrong.
func TestTimestampOfTomorrow(t *testing.T) {
	by, tsa := newChain(t), newTSA(t, ecKey(t))
	trust := newTrust(t, Options{CA: []*x509.Certificate{by.root().cert}, TSA: []*x509.Certificate{tsa.root().cert}})
	v, err := verify(envelope{by: by, stamp: &stamper{tsa, time.Now().Add(time.Hour)}}.sign(t), MediaTypeJWS, trust)
	denied(t, v, err, "expected a time of signing that has passed")
}

func TestWeakTimestampAuthority(t *testing.T) {
	by, tsa := newChain(t), newTSA(t, rsaKey(t, 1024))
	trust := newTrust(t, Options{CA: []*x509.Certificate{by.root().cert}, TSA: []*x509.Certificate{tsa.root().cert}})
	v, err := verify(envelope{by: by, stamp: &stamper{tsa, time.Now().Add(-time.Minute)}}.sign(t), MediaTypeJWS, trust)
	denied(t, v, err, "expected an RSA key of at least 2048 bits, found 1024")
}

// What a timestamp brings along is bounded before it is verified with.
func TestHostileTimestamp(t *testing.T) {
	by, tsa := newChain(t), newTSA(t, ecKey(t))
	trust := newTrust(t, Options{CA: []*x509.Certificate{by.root().cert}, TSA: []*x509.Certificate{tsa.root().cert}})
	token := tokenOf(t, envelope{by: by, stamp: &stamper{tsa, time.Now().Add(-time.Minute)}}.sign(t))
	var crowd []byte
	for range maxTimestampCerts {
		crowd = append(crowd, newCA(t, nil, "other", tsa.issuer.key).cert.Raw...)
	}
	for why, token := range map[string][]byte{
		"expected at most 20 certificates": withMore(t, token, crowd, 0),
		"expected an RSA key of at most":   withMore(t, token, hugeCert(t, tsa.issuer), 0),
		"expected at most 4 signatures":    withMore(t, token, nil, maxTimestampSigns),
		"expected an RFC 3161 timestamp":   []byte("hello"),
		"expected a timestamp of at most ": bytes.Repeat([]byte{0x30}, maxTimestampBytes+1),
	} {
		v, err := verify(withToken(t, envelope{by: by}.sign(t), token), MediaTypeJWS, trust)
		denied(t, v, err, why)
	}
}

// Of a signing authority, the envelope's timestamp plays no part.
func TestTimestampBesideSigningAuthority(t *testing.T) {
	by, tsa := newChain(t), newTSA(t, ecKey(t))
	roots := []*x509.Certificate{by.root().cert}
	trust := newTrust(t, Options{CA: roots, SigningAuthority: roots, TSA: []*x509.Certificate{tsa.root().cert}})
	if _, err := verify(envelope{by: by, scheme: signature.SigningSchemeX509SigningAuthority}.sign(t), MediaTypeJWS, trust); err != nil {
		t.Fatal(err)
	}
}

// tokenOf takes the timestamp out of a JWS envelope, withToken puts one in.
func tokenOf(tb testing.TB, b []byte) []byte {
	tb.Helper()
	u, err := decode(b, MediaTypeJWS)
	must(tb, err)
	return u.timestamp
}

func withToken(tb testing.TB, b, token []byte) []byte {
	tb.Helper()
	return edited(tb, b, func(m map[string]any) {
		m["header"].(map[string]any)[timestampHeader] = base64.StdEncoding.EncodeToString(token)
	})
}

// withMore adds certificates to a timestamp, and its signature some times more
// (RFC 5652, section 5.1): neither is signed.
func withMore(tb testing.TB, token, certs []byte, signers int) []byte {
	tb.Helper()
	var info struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue `asn1:"explicit,tag:0"`
	}
	_, err := asn1.Unmarshal(token, &info)
	must(tb, err)
	var signed struct {
		Version                    int
		Algorithms, Content, Certs asn1.RawValue
		Signers                    asn1.RawValue
	}
	_, err = asn1.Unmarshal(info.Content.Bytes, &signed)
	must(tb, err)
	signed.Certs = asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: append(signed.Certs.Bytes, certs...)}
	signed.Signers = asn1.RawValue{Tag: asn1.TagSet, IsCompound: true, Bytes: bytes.Repeat(signed.Signers.Bytes, 1+signers)}
	der, err := asn1.Marshal(signed)
	must(tb, err)
	info.Content = asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: der}
	out, err := asn1.Marshal(info)
	must(tb, err)
	return out
}

func hugeCert(tb testing.TB, issuer *entity) []byte {
	tb.Helper()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: name("huge"), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(nil, tmpl, issuer.cert, hugeKey(), issuer.key)
	must(tb, err)
	return der
}
