package notation

import (
	"context"
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/notaryproject/notation-core-go/signature"
	"github.com/notaryproject/notation-core-go/testhelper"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestGoodSignature(t *testing.T) {
	rsa3072, ec := testhelper.GetRSALeafCertificate(), testhelper.GetECCertTuple(elliptic.P384())
	rsaRoot, ecRoot := testhelper.GetRSARootCertificate(), testhelper.GetECRootCertificate()
	for what, by := range map[string]*entity{
		"RSA":         {cert: rsa3072.Cert, key: rsa3072.PrivateKey, issuer: &entity{cert: rsaRoot.Cert}},
		"ECDSA P-384": {cert: ec.Cert, key: ec.PrivateKey, issuer: &entity{cert: ecRoot.Cert}},
		"ECDSA P-256": newChain(t),
		"RSA 2048":    newLeaf(t, newCA(t, nil, "root", ecKey(t)), "build", rsaKey(t, 2048)),
	} {
		for _, mt := range mediaTypes {
			b := envelope{by: by, mediaType: mt, at: time.Now()}.sign(t)
			trust := newTrust(t, Options{CA: []*x509.Certificate{by.root().cert}, Identities: []string{"*"}})
			v, err := verify(b, mt, trust)
			if err != nil {
				t.Fatalf("%s, %s: %v", what, mt, err)
			}
			if want := "x509.subject: " + by.cert.Subject.String(); !slices.Equal(v.Signers, []string{want}) {
				t.Errorf("%s: expected the signer %q, got %q", what, want, v.Signers)
			}
			if v.Times != nil {
				t.Errorf("%s: expected no proven time, got %v", what, v.Times)
			}
			if !v.Expires.Equal(by.cert.NotAfter) {
				t.Errorf("%s: expected the end of the leaf, %v, got %v", what, by.cert.NotAfter, v.Expires)
			}
		}
	}
}

// What ends first ends the answer: here the intermediate.
func TestExpiresWithTheChain(t *testing.T) {
	end := time.Now().Add(2 * time.Hour).Truncate(time.Second)
	root := newCA(t, nil, "root", ecKey(t))
	inter := newCA(t, root, "intermediate", ecKey(t), func(c *x509.Certificate) { c.NotAfter = end })
	by := newLeaf(t, inter, "build", ecKey(t))
	v, err := verify(envelope{by: by}.sign(t), MediaTypeJWS, trustCA(t, by))
	must(t, err)
	if !v.Expires.Equal(end) {
		t.Errorf("expected %v, got %v", end, v.Expires)
	}
}

func TestWrongSubject(t *testing.T) {
	by := newChain(t)
	for _, mt := range mediaTypes {
		b := envelope{by: by, mediaType: mt}.sign(t)
		for what, change := range map[string]func(*ocispec.Descriptor){
			"digest":     func(d *ocispec.Descriptor) { d.Digest = digest.FromString("other") },
			"size":       func(d *ocispec.Descriptor) { d.Size++ },
			"media type": func(d *ocispec.Descriptor) { d.MediaType = ocispec.MediaTypeImageIndex },
		} {
			t.Run(mt+" "+what, func(t *testing.T) {
				d := image
				change(&d)
				v, err := Verify(context.Background(), b, mt, d, repo, trustCA(t, by))
				denied(t, v, err, "expected a signature of "+repo+"@"+d.Digest.String())
				denied(t, v, err, "found one of "+image.Digest.String())
			})
		}
	}
}

// A payload without a target must not match an image about which nothing is known.
func TestEmptySubject(t *testing.T) {
	by := newChain(t)
	b := envelope{by: by, payload: []byte(`{}`)}.sign(t)
	v, err := Verify(context.Background(), b, MediaTypeJWS, ocispec.Descriptor{}, repo, trustCA(t, by))
	denied(t, v, err, "expected the digest, size and media type")
	v, err = verify(b, MediaTypeJWS, trustCA(t, by))
	denied(t, v, err, "expected a signature of")
}

func TestWithoutTrust(t *testing.T) {
	b := envelope{by: newChain(t)}.sign(t)
	for _, trust := range []*Trust{nil, {}} {
		v, err := verify(b, MediaTypeJWS, trust)
		denied(t, v, err, "expected a trust")
	}
}

func TestUntrustedRoot(t *testing.T) {
	// The attacker's chain has the same names all the way.
	mine, theirs := newChain(t), newChain(t)
	for _, mt := range mediaTypes {
		v, err := verify(envelope{by: theirs, mediaType: mt}.sign(t), mt, trustCA(t, mine))
		denied(t, v, err, "expected a chain with a certificate of the trust store ca")
	}
	// A chain that only carries the trusted root along does not lead to it.
	chain := append(theirs.chain(), mine.root().cert)
	b := rechain(t, envelope{by: theirs}.sign(t), chain)
	v, err := verify(b, MediaTypeJWS, trustCA(t, mine))
	denied(t, v, err, "certificate-chain is invalid")
}

func TestTrustedIntermediate(t *testing.T) {
	by := newChain(t)
	trust := newTrust(t, Options{CA: []*x509.Certificate{by.issuer.cert}})
	if _, err := verify(envelope{by: by}.sign(t), MediaTypeJWS, trust); err != nil {
		t.Fatal(err)
	}
}

func TestExpiredSignature(t *testing.T) {
	by := newChain(t)
	for _, mt := range mediaTypes {
		b := envelope{by: by, mediaType: mt, at: time.Now().Add(-time.Hour), expiry: time.Now().Add(-time.Minute)}.sign(t)
		v, err := verify(b, mt, trustCA(t, by))
		denied(t, v, err, "expired")
		soon := time.Now().Add(time.Minute).Truncate(time.Second)
		v, err = verify(envelope{by: by, mediaType: mt, expiry: soon}.sign(t), mt, trustCA(t, by))
		must(t, err)
		if !v.Expires.Equal(soon) {
			t.Errorf("%s: expected the signature's own expiry, %v, got %v", mt, soon, v.Expires)
		}
	}
}

// The trust's clock counts as well as the machine's.
func TestClock(t *testing.T) {
	by := newChain(t)
	expiry := time.Now().Add(time.Hour)
	for what, c := range map[string]struct {
		e   envelope
		now time.Time
		why string
	}{
		"signature has expired":         {envelope{expiry: expiry}, expiry.Add(time.Second), "ended at"},
		"certificate has expired":       {envelope{}, by.cert.NotAfter.Add(time.Second), "ended at"},
		"certificate is not yet valid":  {envelope{}, by.cert.NotBefore.Add(-time.Second), "valid from"},
		"signing authority's own clock": {envelope{scheme: signature.SigningSchemeX509SigningAuthority, at: time.Now()}, time.Now().Add(-time.Hour), "has passed"},
	} {
		t.Run(what, func(t *testing.T) {
			c.e.by = by
			roots := []*x509.Certificate{by.root().cert}
			trust := newTrust(t, Options{CA: roots, SigningAuthority: roots, Now: func() time.Time { return c.now }})
			v, err := verify(c.e.sign(t), MediaTypeJWS, trust)
			denied(t, v, err, c.why)
		})
	}
}

func TestSigningSchemes(t *testing.T) {
	by := newChain(t)
	roots := []*x509.Certificate{by.root().cert}
	x509Scheme, authority := signature.SigningSchemeX509, signature.SigningSchemeX509SigningAuthority
	for _, mt := range mediaTypes {
		for _, c := range []struct {
			scheme signature.SigningScheme
			opts   Options
			why    string
		}{
			{authority, Options{SigningAuthority: roots}, ""},
			{authority, Options{CA: roots}, "expected a certificate in the trust store signingAuthority"},
			{x509Scheme, Options{SigningAuthority: roots}, "expected a certificate in the trust store ca"},
			{authority, Options{CA: roots, SigningAuthority: []*x509.Certificate{newChain(t).root().cert}}, "with a certificate of the trust store signingAuthority"},
			{x509Scheme, Options{SigningAuthority: roots, CA: []*x509.Certificate{newChain(t).root().cert}}, "with a certificate of the trust store ca"},
		} {
			at := by.cert.NotBefore.Add(time.Minute)
			v, err := verify(envelope{by: by, mediaType: mt, scheme: c.scheme, at: at}.sign(t), mt, newTrust(t, c.opts))
			if c.why != "" {
				denied(t, v, err, c.why)
				continue
			}
			must(t, err)
			if len(v.Times) != 1 || !v.Times[0].Equal(at.Truncate(time.Second)) {
				t.Errorf("expected the authority's time %v, got %v", at, v.Times)
			}
			if !v.Expires.IsZero() {
				t.Errorf("expected no end when the authority vouches for the time, got %v", v.Expires)
			}
		}
	}
}

// A signing authority's certificate that has ended is good for what it signed
// while it was valid, and for nothing else.
func TestSigningAuthorityExpired(t *testing.T) {
	from, to := time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)
	by := newChain(t, valid(from, to))
	trust := newTrust(t, Options{SigningAuthority: []*x509.Certificate{by.root().cert}})
	e := envelope{by: by, scheme: signature.SigningSchemeX509SigningAuthority}
	if _, err := verify(e.sign(t), MediaTypeJWS, trust); err != nil {
		t.Fatal(err)
	}
}

func TestAttributes(t *testing.T) {
	by := newChain(t)
	attr := func(key, value any, critical bool) signature.Attribute {
		return signature.Attribute{Key: key, Value: value, Critical: critical}
	}
	for what, c := range map[string]struct {
		attrs     []signature.Attribute
		why       string
		mediaType []string
	}{
		"not critical":        {[]signature.Attribute{attr("example.note", "x", false)}, "", mediaTypes},
		"critical":            {[]signature.Attribute{attr("example.must", "x", true)}, `no critical attribute that is not known, found "example.must"`, mediaTypes},
		"critical, a number":  {[]signature.Attribute{attr(int64(77), "x", true)}, `found "77"`, []string{MediaTypeCOSE}},
		"plugin":              {[]signature.Attribute{attr("io.cncf.notary.verificationPlugin", "com.example", true)}, `one that demands "com.example"`, mediaTypes},
		"plugin not critical": {[]signature.Attribute{attr("io.cncf.notary.verificationPlugin", "com.example", false)}, "plugins are never run", mediaTypes},
		"plugin version only": {[]signature.Attribute{attr("io.cncf.notary.verificationPluginMinVersion", "1.0.0", true)}, "plugins are never run", mediaTypes},
	} {
		for _, mt := range c.mediaType {
			t.Run(mt+" "+what, func(t *testing.T) {
				v, err := verify(envelope{by: by, mediaType: mt, attrs: c.attrs}.sign(t), mt, trustCA(t, by))
				if c.why == "" {
					must(t, err)
					return
				}
				denied(t, v, err, c.why)
			})
		}
	}
}

// A cancelled question is no answer.
func TestCancelled(t *testing.T) {
	by := newChain(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	v, err := Verify(ctx, envelope{by: by}.sign(t), MediaTypeJWS, image, repo, trustCA(t, by))
	denied(t, v, err, "could not be checked")
	if !errors.Is(err, ErrLocal) || !errors.Is(err, context.Canceled) {
		t.Errorf("expected ErrLocal and the cause, got %v", err)
	}
}

func TestDescribe(t *testing.T) {
	by := newChain(t)
	for _, mt := range mediaTypes {
		d := Describe(envelope{by: by, mediaType: mt}.sign(t), mt)
		if want := (Description{Signer: "x509.subject: " + by.cert.Subject.String(), Digest: image.Digest.String()}); d.Signer != want.Signer ||
			d.Digest != want.Digest || !strings.Contains(d.Authority, "CN=root") || d.SigningAuthority || d.Timestamped || d.Plugin != "" {
			t.Errorf("%s: expected %+v, found %+v", mt, want, d)
		}
		plugin := signature.Attribute{Key: "io.cncf.notary.verificationPlugin", Value: "com.example", Critical: true}
		d = Describe(envelope{by: by, mediaType: mt, scheme: signature.SigningSchemeX509SigningAuthority, attrs: []signature.Attribute{plugin}}.sign(t), mt)
		if !d.SigningAuthority || d.Plugin != "com.example" {
			t.Errorf("%s: expected the scheme and the plugin, found %+v", mt, d)
		}
	}
	if d := Describe([]byte("{}"), "text/plain"); d != (Description{}) {
		t.Errorf("expected nothing, found %+v", d)
	}
	by = newChain(t, func(c *x509.Certificate) { c.Subject.CommonName = "a\n\x1b[31mred\u202e" })
	if signer := Describe(envelope{by: by}.sign(t), MediaTypeJWS).Signer; signer != clean(signer) || !slices.Contains([]rune(signer), '?') {
		t.Errorf("expected a printable subject, got %q", signer)
	}
}
