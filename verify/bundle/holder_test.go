package bundle_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net"
	"net/url"
	"testing"

	"github.com/sigstore/sigstore/pkg/cryptoutils"

	"github.com/pullgate/pullgate/verify/bundle"
)

// TestCertificatesThatSayTwoThings: each of these certificates is good for the identity
// that is asked for, by the one name or issuer that the library looks at, and says
// something else as well.
func TestCertificatesThatSayTwoThings(t *testing.T) {
	w := newWorld(t)
	victim, err := url.Parse("https://github.com/victim/app")
	must(t, err)
	other := w.fulcioExtension(8, "https://accounts.example").Value
	for name, c := range map[string]struct {
		also func(*x509.Certificate)
		want string // "" accepted
	}{
		"one name":                {nil, ""},
		"two URIs":                {func(c *x509.Certificate) { c.URIs = append(c.URIs, victim) }, "subject alternative name, found 2"},
		"the same URI twice":      {func(c *x509.Certificate) { c.URIs = append(c.URIs, c.URIs[0]) }, "found 2"},
		"an e-mail address too":   {func(c *x509.Certificate) { c.EmailAddresses = []string{"root@victim.example"} }, "found 2"},
		"a host too":              {func(c *x509.Certificate) { c.DNSNames = []string{"victim.example"} }, "found 2"},
		"an address too":          {func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(192, 0, 2, 1)} }, "found 2"},
		"another kind of name":    {otherNameToo, "found 2"},
		"the same issuer, old":    {issuerToo([]byte(issuer)), ""},
		"another issuer, old":     {issuerToo([]byte("https://accounts.example")), `expected one issuer, found "` + issuer + `" and "https://accounts.example"`},
		"an empty issuer, old":    {issuerToo(nil), "expected one issuer"},
		"a DER issuer in the old": {issuerToo(other), "expected one issuer"},
		"another issuer first": {func(c *x509.Certificate) {
			c.ExtraExtensions = append([]pkix.Extension{{Id: fulcioOID(1), Value: []byte("https://accounts.example")}}, c.ExtraExtensions...)
		}, "expected one issuer"},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := bundle.Verify(marshal(t, w.attest(keyless{also: c.also}, signed())), subject, w.trust())
			if c.want == "" {
				must(t, err)
				return
			}
			denied(t, v, err, c.want)
			v, err = bundle.VerifySigstore(w.sig(keyless{also: c.also}, simpleSigning(subject)), subject, w.trust())
			denied(t, v, err, c.want)
		})
	}
}

func fulcioOID(n int) asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, n}
}

// issuerToo adds Fulcio's old field for the issuer, behind the new one: the last one
// is what the library takes.
func issuerToo(value []byte) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: fulcioOID(1), Value: value})
	}
}

// otherNameToo adds an otherName, as Fulcio gives to user names, beside the URI.
func otherNameToo(c *x509.Certificate) {
	uri := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(c.URIs[0].String())}
	raw, err := cryptoutils.MarshalOtherNameSAN("victim!victim.example", false)
	if err != nil {
		panic(err)
	}
	var names []asn1.RawValue
	if _, err := asn1.Unmarshal(raw.Value, &names); err != nil {
		panic(err)
	}
	value, err := asn1.Marshal(append([]asn1.RawValue{uri}, names...))
	if err != nil {
		panic(err)
	}
	c.URIs = nil
	c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: cryptoutils.SANOID, Value: value})
}
