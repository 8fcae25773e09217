package bundle_test

import (
	"crypto/elliptic"
	"testing"

	"github.com/pullgate/pullgate/verify/bundle"
	"github.com/pullgate/pullgate/verify/discover"
)

func TestDescribe(t *testing.T) {
	w := newWorld(t)
	k := newECDSA(t, elliptic.P256())
	who := workflow + " (issuer " + issuer + ")"
	stmt := statement(subject, slsaType)
	att := w.attest(keyless{}, stmt)
	type said [3]string
	three := func(a, b, c string) said { return said{a, b, c} }
	for name, c := range map[string]struct{ got, want said }{
		"keyless bundle":    {three(bundle.Describe(marshal(t, w.attest(keyless{}, signed())))), said{who, subject.String(), bundle.SignType}},
		"chain":             {three(bundle.Describe(marshal(t, w.attest(keyless{chain: true, version: mediaV02}, stmt)))), said{who, subject.String(), slsaType}},
		"message signature": {three(bundle.Describe(marshal(t, w.sign(keyless{}, []byte("the manifest"))))), said{who, subject.String(), bundle.SignType}},
		"key":               {three(bundle.Describe(marshal(t, byKey(t, k, signed())))), said{"a key anything", subject.String(), bundle.SignType}},
		"keyless .sig":      {three(bundle.DescribeSigstore(w.sig(keyless{}, simpleSigning(subject)))), said{who, subject.String(), bundle.SignType}},
		".sig by key":       {three(bundle.DescribeSigstore(keySig(t, k, simpleSigning(subject)))), said{"a key", subject.String(), bundle.SignType}},
		"keyless .att": {three(bundle.DescribeDSSE(envelopeOf(stmt, att.GetDsseEnvelope().Signatures[0].Sig), w.annotations(att))),
			said{who, subject.String(), slsaType}},
		".att by key": {three(bundle.DescribeDSSE(envelope(t, k, stmt), nil)), said{"a key", subject.String(), slsaType}},
		"garbage":     {three(bundle.Describe([]byte("x"))), said{}},
		"empty":       {three(bundle.Describe([]byte("{}"))), said{}},
		"no .sig":     {three(bundle.DescribeSigstore(nil)), said{}},
		"empty .sig":  {three(bundle.DescribeSigstore(&discover.Sigstore{})), said{}},
		"bad .att":    {three(bundle.DescribeDSSE([]byte("x"), nil)), said{}},
	} {
		if c.got != c.want {
			t.Errorf("%s: expected %q, found %q", name, c.want, c.got)
		}
	}
}
