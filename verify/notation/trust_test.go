package notation

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"slices"
	"strings"
	"testing"
)

func TestNewTrust(t *testing.T) {
	by, tsa := newChain(t), newTSA(t, ecKey(t))
	root, any := by.root(), []string{"*"}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	must(t, err)
	certs := func(e ...*entity) (out []*x509.Certificate) {
		for _, e := range e {
			out = append(out, e.cert)
		}
		return out
	}
	weak := newCA(t, nil, "weak", rsaKey(t, 1024))
	list := []*x509.RevocationList{crlOf(t, root, root.key, nil)}
	for what, c := range map[string]struct {
		o   Options
		why string
	}{
		"good":                 {Options{CA: certs(root), TSA: certs(tsa.root()), Identities: any}, ""},
		"intermediate":         {Options{CA: certs(by.issuer), Identities: any}, ""},
		"self-signed leaf":     {Options{CA: certs(newLeaf(t, nil, "self", ecKey(t))), Identities: any}, ""},
		"enforced":             {Options{CA: certs(root), Identities: any, EnforceRevocation: true, CRLs: list}, ""},
		"nothing":              {Options{}, "found none"},
		"no identities":        {Options{CA: certs(root)}, "trusted identities"},
		"timestamps only":      {Options{TSA: certs(tsa.root()), Identities: any}, "ca or signingAuthority"},
		"timestamps beside SA": {Options{SigningAuthority: certs(root), TSA: certs(tsa.root()), Identities: any}, "expected certificates in ca"},
		"leaf":                 {Options{CA: certs(by), Identities: any}, "expected a CA or a self-signed"},
		"leaf of authority":    {Options{SigningAuthority: certs(by), Identities: any}, "expected a CA or a self-signed"},
		"weak":                 {Options{CA: certs(root, weak), Identities: any}, "trust store ca: certificate 2"},
		"weak authority":       {Options{SigningAuthority: certs(weak), Identities: any}, "at least 2048 bits, found 1024"},
		"weak timestamps":      {Options{CA: certs(root), TSA: certs(weak), Identities: any}, "trust store tsa"},
		"weak curve":           {Options{CA: certs(newCA(t, nil, "p224", p224)), Identities: any}, "at least 256 bits, found 224"},
		"TSA intermediate":     {Options{CA: certs(root), TSA: certs(tsa.issuer), Identities: any}, "expected a self-signed root"},
		"no certificate":       {Options{CA: []*x509.Certificate{nil}, Identities: any}, "found nothing"},
		"too many":             {Options{CA: slices.Repeat(certs(root), maxTrusted+1), Identities: any}, "at most 256"},
		"nothing to enforce":   {Options{CA: certs(root), Identities: any, EnforceRevocation: true}, "found none"},
		"lists not used":       {Options{CA: certs(root), Identities: any, CRLs: list}, "enforce it or remove them"},
		"too many lists":       {Options{CA: certs(root), Identities: any, EnforceRevocation: true, CRLs: slices.Repeat(list, maxCRLs+1)}, "at most 64"},
	} {
		t.Run(what, func(t *testing.T) {
			trust, err := NewTrust(c.o)
			if c.why == "" {
				must(t, err)
				return
			}
			if trust != nil || err == nil || !strings.Contains(err.Error(), c.why) {
				t.Errorf("expected a refusal because of %q, got %v", c.why, err)
			}
		})
	}
}

// Options belong to the caller: what is done to them later changes nothing.
func TestTrustKeepsItsOwn(t *testing.T) {
	by, other := newChain(t), newChain(t)
	o := Options{CA: []*x509.Certificate{by.root().cert}, Identities: []string{acme}}
	trust := newTrust(t, o)
	o.CA[0], o.Identities[0] = other.root().cert, "*"
	if _, err := verify(envelope{by: by}.sign(t), MediaTypeJWS, trust); err != nil {
		t.Error(err)
	}
	v, err := verify(envelope{by: other}.sign(t), MediaTypeJWS, trust)
	denied(t, v, err, "expected a chain")
	v, err = verify(envelope{by: newLeaf(t, by.issuer, "other", ecKey(t))}.sign(t), MediaTypeJWS, trust)
	denied(t, v, err, "expected a signer")
}

func TestIdentitiesThatCannotBeUsed(t *testing.T) {
	root := newCA(t, nil, "root", ecKey(t))
	for _, c := range []struct {
		ids []string
		why string
	}{
		{[]string{""}, `expected "x509.subject: `},
		{[]string{"C=US, ST=WA, O=Acme"}, `expected "x509.subject: `},
		{[]string{"x509.san: build.acme.example"}, `expected "x509.subject: `},
		{[]string{"X509.subject: C=US, ST=WA, O=Acme"}, `expected "x509.subject: `},
		{[]string{"x509.subject: C=US, ST=WA, O=Acme", "x509.san: x"}, `expected "x509.subject: `},
		{[]string{"x509.subject:"}, "found no C, no ST, no O"},
		{[]string{"x509.subject: CN=build"}, `trusted identity "x509.subject: CN=build": expected C, ST (or S) and O, which every identity needs`},
		{[]string{"x509.subject: CN=build"}, "found no C, no ST, no O"},
		{[]string{"x509.subject: C=US, S=WA"}, "CN=build\"; found no O"},
		{[]string{acme, "x509.subject: C=US, O=Acme, L=ST"}, "CN=build\"; found no ST"},
		{[]string{"x509.subject: C=US, ST=WA, O=Acme, CN="}, "expected a value of CN"},
		{[]string{"x509.subject: C=US, ST=WA, O=Acme, cn=build"}, `found "cn"`},
		{[]string{"x509.subject: C=US, ST=WA, O=Acme, emailAddress=a@b"}, `found "emailAddress"`},
		{[]string{"x509.subject: C=US, ST=WA, O=Acme, O=Other"}, "duplicate RDN"},
		{[]string{"x509.subject: C=US, ST=WA, O=Acme+CN=build"}, "multi-valued RDN"},
		{[]string{"x509.subject: C=US, ST=WA, O=#0402"}, "=#"},
		{[]string{"x509.subject: C=US, ST=WA, O"}, "distinguished name"},
		{[]string{"x509.subject: C=US, ST=WA, O=Acme", "x509.subject: C=US, ST=WA, O=Acme, CN=build"}, "overlap"},
		{[]string{"*", "x509.subject: C=US, ST=WA, O=Acme"}, `expected "*" alone`},
		{slices.Repeat([]string{acme}, maxIdentities+1), "at most 256"},
	} {
		trust, err := NewTrust(Options{CA: []*x509.Certificate{root.cert}, Identities: c.ids})
		if trust != nil || err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%.200q: expected a refusal because of %q, got %v", c.ids, c.why, err)
		}
	}
}

func TestIdentities(t *testing.T) {
	root := newCA(t, nil, "root", ecKey(t))
	subject := func(change func(*pkix.Name)) pkix.Name {
		n := name("build")
		change(&n)
		return n
	}
	for what, c := range map[string]struct {
		subject pkix.Name
		ids     []string
		why     string
	}{
		"whole":                       {name("build"), []string{acme}, ""},
		"part":                        {name("build"), []string{"x509.subject: C=US, ST=WA, O=Acme"}, ""},
		"S for ST, any order":         {name("build"), []string{"x509.subject:CN=build,O=Acme,S=WA,C=US"}, ""},
		"second of two":               {name("build"), []string{"x509.subject: C=US, ST=WA, O=Other", acme}, ""},
		"any":                         {name("whoever"), []string{"*"}, ""},
		"another CN":                  {name("other"), []string{acme}, "expected a signer " + acme},
		"longer CN":                   {name("build2"), []string{acme}, "expected a signer"},
		"shorter CN":                  {name("buil"), []string{acme}, "expected a signer"},
		"case":                        {name("Build"), []string{acme}, "expected a signer"},
		"no CN":                       {name(""), []string{acme}, "expected a signer"},
		"another O":                   {subject(func(n *pkix.Name) { n.Organization = []string{"Evil"} }), []string{acme}, "expected a signer"},
		"CN in the O":                 {subject(func(n *pkix.Name) { n.Organization, n.CommonName = []string{"Acme,CN=build"}, "x" }), []string{acme}, "expected a signer"},
		"O in the CN":                 {subject(func(n *pkix.Name) { n.Organization, n.CommonName = []string{"Evil"}, "build,O=Acme" }), []string{acme}, "expected a signer"},
		"O in the CN, plus":           {subject(func(n *pkix.Name) { n.Organization, n.CommonName = []string{"Evil"}, "build+O=Acme" }), []string{acme}, "expected a signer"},
		"two Os":                      {subject(func(n *pkix.Name) { n.Organization = []string{"Evil", "Acme"} }), []string{acme}, "expected a signer"},
		"CN as OU":                    {subject(func(n *pkix.Name) { n.OrganizationalUnit, n.CommonName = []string{"build"}, "x" }), []string{acme}, "expected a signer"},
		"space":                       {name(" build"), []string{acme}, "expected a signer"},
		"NUL":                         {name("build\x00evil"), []string{acme}, "expected a signer"},
		"no subject at all":           {pkix.Name{}, []string{acme}, "expected a signer"},
		"escaped comma, spelled out":  {name("a,b"), []string{`x509.subject: C=US, ST=WA, O=Acme, CN=a\,b`}, ""},
		"unknown attribute, not read": {subject(func(n *pkix.Name) { n.ExtraNames = []pkix.AttributeTypeAndValue{{Type: []int{1, 2, 3}, Value: "x"}} }), []string{acme}, "expected a signer"},
	} {
		for _, mt := range mediaTypes {
			t.Run(mt+" "+what, func(t *testing.T) {
				by := newLeaf(t, root, "", ecKey(t), func(cert *x509.Certificate) { cert.Subject = c.subject })
				trust := newTrust(t, Options{CA: []*x509.Certificate{root.cert}, Identities: c.ids})
				v, err := verify(envelope{by: by, mediaType: mt}.sign(t), mt, trust)
				if c.why == "" {
					must(t, err)
					return
				}
				denied(t, v, err, c.why)
			})
		}
	}
}
