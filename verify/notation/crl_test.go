package notation

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/notaryproject/notation-core-go/signature"
)

func enforced(tb testing.TB, by *entity, lists ...*x509.RevocationList) *Trust {
	tb.Helper()
	roots := []*x509.Certificate{by.root().cert}
	return newTrust(tb, Options{CA: roots, SigningAuthority: roots, EnforceRevocation: true, CRLs: lists})
}

func TestRevocation(t *testing.T) {
	by := newChain(t)
	inter, root := by.issuer, by.root()
	good := crlOf(t, inter, inter.key, nil, root.cert)
	goodRoot := crlOf(t, root, root.key, nil)
	until := func(at time.Time) func(*x509.RevocationList) {
		return func(l *x509.RevocationList) { l.ThisUpdate, l.NextUpdate = at.Add(-time.Hour), at }
	}
	other := newChain(t)
	for what, c := range map[string]struct {
		lists []*x509.RevocationList
		why   string
	}{
		"all current":                {[]*x509.RevocationList{good, goodRoot}, ""},
		"one expired beside current": {[]*x509.RevocationList{crlOf(t, inter, inter.key, until(time.Now().Add(-time.Minute))), good, goodRoot}, ""},
		"leaf revoked":               {[]*x509.RevocationList{crlOf(t, inter, inter.key, nil, by.cert), goodRoot}, "was revoked"},
		"intermediate revoked":       {[]*x509.RevocationList{good, crlOf(t, root, root.key, nil, inter.cert)}, "was revoked"},
		"revoked in an old list":     {[]*x509.RevocationList{good, crlOf(t, inter, inter.key, until(time.Now().Add(-time.Minute)), by.cert), goodRoot}, "was revoked"},
		"leaf's missing":             {[]*x509.RevocationList{goodRoot}, `cannot tell whether certificate "CN=build`},
		"intermediate's missing":     {[]*x509.RevocationList{good}, `cannot tell whether certificate "CN=intermediate`},
		"expired":                    {[]*x509.RevocationList{crlOf(t, inter, inter.key, until(time.Now().Add(-time.Minute))), goodRoot}, "found one that ended at"},
		"not yet valid":              {[]*x509.RevocationList{crlOf(t, inter, inter.key, until(time.Now().Add(2*time.Hour))), goodRoot}, "found one that begins at"},
		"issuer's name, other's key": {[]*x509.RevocationList{crlOf(t, inter, other.issuer.key, nil), goodRoot}, "found one that it did not sign"},
		"another issuer's":           {[]*x509.RevocationList{crlOf(t, root, inter.key, nil), goodRoot}, "cannot tell whether"},
	} {
		for _, mt := range mediaTypes {
			t.Run(mt+" "+what, func(t *testing.T) {
				v, err := verify(envelope{by: by, mediaType: mt}.sign(t), mt, enforced(t, by, c.lists...))
				if c.why != "" {
					denied(t, v, err, c.why)
					return
				}
				must(t, err)
				if !v.Expires.Equal(good.NextUpdate) && !v.Expires.Equal(goodRoot.NextUpdate) {
					t.Errorf("expected the next update of the lists, %v, got %v", good.NextUpdate, v.Expires)
				}
			})
		}
	}
}

// A list of user certificates says nothing of a CA.
func TestListOfUsersOnly(t *testing.T) {
	by := newChain(t)
	inter, root := by.issuer, by.root()
	users := crlOf(t, root, root.key, withExtension(oidIssuingDistributionPoint, point(t, "", 1)))
	v, err := verify(envelope{by: by}.sign(t), MediaTypeJWS, enforced(t, by, crlOf(t, inter, inter.key, nil), users))
	denied(t, v, err, "found one that is about other certificates")
}

// An issuer that may not sign lists did not.
func TestIssuerMayNotSignLists(t *testing.T) {
	root := newCA(t, nil, "root", ecKey(t), func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCertSign })
	by := newLeaf(t, root, "build", ecKey(t))
	may := *root.cert
	may.KeyUsage |= x509.KeyUsageCRLSign
	list := crlOf(t, &entity{cert: &may}, root.key, nil)
	v, err := verify(envelope{by: by}.sign(t), MediaTypeJWS, enforced(t, by, list))
	denied(t, v, err, "found one that it did not sign")
}

// Neither a signing authority's time nor an invalidity date undo a revocation.
func TestRevokedIsRevoked(t *testing.T) {
	root := newCA(t, nil, "root", ecKey(t))
	by := newLeaf(t, root, "build", ecKey(t))
	date, err := asn1.MarshalWithParams(time.Now(), "generalized")
	must(t, err)
	list := crlOf(t, root, root.key, func(l *x509.RevocationList) {
		l.RevokedCertificateEntries[0].ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 24}, Value: date}}
	}, by.cert)
	e := envelope{by: by, scheme: signature.SigningSchemeX509SigningAuthority}
	v, err := verify(e.sign(t), MediaTypeJWS, enforced(t, by, list))
	denied(t, v, err, "was revoked")
}

// The timestamp authority's certificates are asked about as well.
func TestRevocationOfTimestampAuthority(t *testing.T) {
	by, tsa := newLeaf(t, newCA(t, nil, "root", ecKey(t)), "build", ecKey(t)), newTSA(t, ecKey(t))
	b := envelope{by: by, stamp: &stamper{tsa, time.Now().Add(-time.Minute)}}.sign(t)
	signer := crlOf(t, by.issuer, by.issuer.key, nil)
	soon := time.Now().Add(time.Minute).Truncate(time.Second)
	inter := crlOf(t, tsa.issuer, tsa.issuer.key, func(l *x509.RevocationList) { l.NextUpdate = soon })
	root := crlOf(t, tsa.root(), tsa.root().key, nil)
	for what, c := range map[string]struct {
		lists []*x509.RevocationList
		why   string
	}{
		"good":    {[]*x509.RevocationList{signer, inter, root}, ""},
		"missing": {[]*x509.RevocationList{signer, root}, `cannot tell whether certificate "CN=tsa`},
		"revoked": {[]*x509.RevocationList{signer, crlOf(t, tsa.issuer, tsa.issuer.key, nil, tsa.cert), root}, "was revoked"},
	} {
		t.Run(what, func(t *testing.T) {
			trust := newTrust(t, Options{CA: []*x509.Certificate{by.root().cert}, TSA: []*x509.Certificate{tsa.root().cert}, EnforceRevocation: true, CRLs: c.lists})
			v, err := verify(b, MediaTypeJWS, trust)
			if c.why != "" {
				denied(t, v, err, c.why)
				return
			}
			must(t, err)
			if !v.Expires.Equal(soon) {
				t.Errorf("expected the authority's next update, %v, got %v", soon, v.Expires)
			}
		})
	}
}

// point is an issuing distribution point: a URI, and a flag by its tag.
func point(tb testing.TB, uri string, flag int) []byte {
	tb.Helper()
	var parts []byte
	wrap := func(tag int, compound bool, b []byte) []byte {
		der, err := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: compound, Bytes: b})
		must(tb, err)
		return der
	}
	if uri != "" {
		parts = append(parts, wrap(0, true, wrap(0, true, wrap(6, false, []byte(uri))))...)
	}
	switch flag {
	case 0:
	case 3:
		parts = append(parts, wrap(3, false, []byte{0x06, 0x40})...) // keyCompromise
	default:
		parts = append(parts, wrap(flag, false, []byte{0xff})...)
	}
	der, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: parts})
	must(tb, err)
	return der
}

func withExtension(id asn1.ObjectIdentifier, value []byte) func(*x509.RevocationList) {
	return func(l *x509.RevocationList) {
		l.ExtraExtensions = append(l.ExtraExtensions, pkix.Extension{Id: id, Critical: true, Value: value})
	}
}

// A list that is about a part of the certificates answers for that part only.
func TestPartialLists(t *testing.T) {
	const uri = "http://crl.example.com/1.crl"
	root := newCA(t, nil, "root", ecKey(t))
	by := newLeaf(t, root, "build", ecKey(t), func(c *x509.Certificate) { c.CRLDistributionPoints = []string{uri} })
	for what, c := range map[string]struct {
		point []byte
		why   string
	}{
		"its own point":     {point(t, uri, 0), ""},
		"user certificates": {point(t, "", 1), ""},
		"another point":     {point(t, "http://crl.example.com/2.crl", 0), "found one that is about other certificates"},
		"CAs only":          {point(t, "", 2), "found one that is about other certificates"},
	} {
		t.Run(what, func(t *testing.T) {
			list := crlOf(t, root, root.key, withExtension(oidIssuingDistributionPoint, c.point))
			v, err := verify(envelope{by: by}.sign(t), MediaTypeJWS, enforced(t, by, list))
			if c.why != "" {
				denied(t, v, err, c.why)
				return
			}
			must(t, err)
		})
	}
}

func TestListsThatCannotBeUsed(t *testing.T) {
	root := newCA(t, nil, "root", ecKey(t))
	noEnd := crlOf(t, root, root.key, nil)
	noEnd.NextUpdate = time.Time{}
	entry := crlOf(t, root, root.key, func(l *x509.RevocationList) {
		l.RevokedCertificateEntries[0].ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 29}, Critical: true, Value: []byte{5, 0}}}
	}, root.cert)
	for what, c := range map[string]struct {
		list *x509.RevocationList
		why  string
	}{
		"nothing":            {nil, "found nothing"},
		"no next update":     {noEnd, "next update"},
		"delta":              {crlOf(t, root, root.key, withExtension(oidDeltaCRLIndicator, []byte{2, 1, 1})), "found a delta CRL"},
		"some reasons":       {crlOf(t, root, root.key, withExtension(oidIssuingDistributionPoint, point(t, "", 3))), "partial or indirect"},
		"indirect":           {crlOf(t, root, root.key, withExtension(oidIssuingDistributionPoint, point(t, "", 4))), "partial or indirect"},
		"attribute certs":    {crlOf(t, root, root.key, withExtension(oidIssuingDistributionPoint, point(t, "", 5))), "partial or indirect"},
		"relative name":      {crlOf(t, root, root.key, withExtension(oidIssuingDistributionPoint, []byte{0x30, 4, 0xa0, 2, 0xa1, 0})), "relative name"},
		"point of no URI":    {crlOf(t, root, root.key, withExtension(oidIssuingDistributionPoint, []byte{0x30, 7, 0xa0, 5, 0xa0, 3, 0x82, 1, 'x'})), "another name"},
		"broken scope":       {crlOf(t, root, root.key, withExtension(oidIssuingDistributionPoint, []byte{4, 0})), "issuing distribution point"},
		"critical extension": {crlOf(t, root, root.key, withExtension(asn1.ObjectIdentifier{1, 2, 3}, []byte{5, 0})), "found 1.2.3"},
		"entry of another":   {entry, "entry with a critical extension"},
	} {
		t.Run(what, func(t *testing.T) {
			_, err := NewTrust(Options{CA: []*x509.Certificate{root.cert}, Identities: []string{"*"}, EnforceRevocation: true, CRLs: []*x509.RevocationList{c.list}})
			if err == nil || !strings.Contains(err.Error(), c.why) {
				t.Errorf("expected a refusal because of %q, got %v", c.why, err)
			}
		})
	}
}

// Many long lists of the same certificate: counted before anything is made of them.
func TestTooManyRevoked(t *testing.T) {
	root := newCA(t, nil, "root", ecKey(t))
	list := crlOf(t, root, root.key, nil)
	list.RevokedCertificateEntries = slices.Repeat([]x509.RevocationListEntry{{SerialNumber: big.NewInt(1)}}, maxRevoked/maxCRLs+1)
	_, err := indexCRLs(slices.Repeat([]*x509.RevocationList{list}, maxCRLs))
	if err == nil || !strings.Contains(err.Error(), "revoked certificates, found more") {
		t.Errorf("expected a refusal, got %v", err)
	}
}

func TestParseCRLs(t *testing.T) {
	root := newCA(t, nil, "root", ecKey(t))
	list := crlOf(t, root, root.key, nil)
	block := pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: list.Raw})
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.cert.Raw})
	for what, c := range map[string]struct {
		b    []byte
		want int
		why  string
	}{
		"DER":           {list.Raw, 1, ""},
		"PEM":           {block, 1, ""},
		"two":           {append(append([]byte{}, block...), block...), 2, ""},
		"nothing":       {nil, 0, "expected a CRL"},
		"text":          {[]byte("hello"), 0, "expected a CRL"},
		"certificate":   {cert, 0, "found a CERTIFICATE"},
		"both":          {append(append([]byte{}, block...), cert...), 0, "found a CERTIFICATE"},
		"broken second": {append(append([]byte{}, block...), pem.EncodeToMemory(&pem.Block{Type: "X509 CRL"})...), 0, "CRL 2"},
		"trailing data": {append(append([]byte{}, block...), "-----BEGIN X509 CRL-----\nAAAA"...), 0, "after the last"},
		"too many":      {[]byte(strings.Repeat(string(block), maxCRLs+1)), 0, "at most 64"},
	} {
		lists, err := ParseCRLs(c.b)
		if len(lists) != c.want || c.why == "" && err != nil || c.why != "" && (err == nil || !strings.Contains(err.Error(), c.why)) {
			t.Errorf("%s: expected %d lists, error %q, got %d, %v", what, c.want, c.why, len(lists), err)
		}
	}
}

// Serial numbers are compared whole, with their sign.
func TestSerialKey(t *testing.T) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 159))
	must(t, err)
	n.Add(n, big.NewInt(1))
	if serialKey(n) == serialKey(new(big.Int).Neg(n)) || serialKey(n) == serialKey(new(big.Int).Lsh(n, 8)) || serialKey(n) != serialKey(new(big.Int).Set(n)) {
		t.Error("serial numbers are mixed up")
	}
}
