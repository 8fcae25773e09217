package verify

import (
	"fmt"
	"strings"
	"testing"
)

// TestNoneSaysWhatWasFoundInstead: who signs in another way than the policy asks for
// reads that, and not only that nothing is there. No request is made for it.
func TestNoneSaysWhatWasFoundInstead(t *testing.T) {
	ours, key, gpg := newBundleSigner(t), newSigstoreKey(t), newGPG(t, "ed25519")
	const notation = `{"type":"notationSigned","trustStores":{"ca":["ca.crt"]},"trustedIdentities":["x509.subject: C=US, ST=WA, O=acme.example"],"revocation":"skip"}`
	const bundled = `{"type":"bundleSigned","keyPath":"ours.pub"}`
	const attested = `{"type":"attested","predicateType":"t","signedBy":{"keyPath":"ours.pub"}}`
	envelope := func(w *world, n int) { w.refer("application/jose+json", fmt.Appendf(nil, `{"payload":"%d"}`, n)) }
	for name, c := range map[string]struct {
		requirements string
		carries      func(w *world)
		want         string // behind the places in the first reason
	}{
		"bundle, notation":     {bundled, func(w *world) { envelope(w, 1) }, " (only a notation signature)"},
		"bundle, two":          {bundled, func(w *world) { envelope(w, 1); envelope(w, 2) }, " (only 2 notation signatures)"},
		"attested, notation":   {attested, func(w *world) { envelope(w, 1) }, " (only a notation signature)"},
		"notation, bundle":     {notation, func(w *world) { w.refer(bundleType, ours.sign(theManifest)) }, " (only a sigstore bundle)"},
		"notation, nothing":    {notation, func(*world) {}, ""},
		"bundle, GPG":          {bundled + "," + fmt.Sprintf(`{"type":"signedBy","keyType":"GPGKeys","keyData":%q}`, b64(gpg.public())), func(w *world) { w.store("team/app", gpg.sign(v1, theManifest)) }, " (only a simple signing signature)"},
		"notation, attachment": {notation + "," + bundled, func(w *world) { w.attach(repo, key.sign(repo, theManifest)) }, " (only a sigstore signature)"},
		"notation, not asked":  {notation, func(w *world) { w.attach(repo, key.sign(repo, theManifest)) }, ""},
		"notation, both of them": {notation + "," + bundled, func(w *world) {
			w.attach(repo, key.sign(repo, theManifest))
			w.refer(bundleType, ours.sign(theManifest))
		}, " (only a sigstore bundle and a sigstore signature)"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.write("ours.pub", ours.pem())
			w.write("ca.crt", testCA(t))
			e := w.engine(`{"default":[` + c.requirements + `]}`)
			c.carries(w)
			v := verify(t, e, subject(t, v1))
			got := strings.Join(v.Requirements[0].Found, "\n")
			if !strings.HasPrefix(got, "no ") || strings.Contains(got, "(only") != (c.want != "") || !strings.HasSuffix(got, c.want) {
				t.Errorf("%v: expected an end %q, found %s", v.Decision, c.want, got)
			}
		})
	}
}
