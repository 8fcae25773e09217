package bundle_test

import (
	"crypto/elliptic"
	"testing"

	"github.com/sigstore/sigstore-go/pkg/root"

	"github.com/pullgate/pullgate/verify/bundle"
)

// withoutAuthorities is the root of w with its timestamp authorities alone.
func (w *world) withoutAuthorities() *root.TrustedRoot {
	w.t.Helper()
	r, err := root.NewTrustedRoot(root.TrustedRootMediaType01, nil, nil, w.root.TimestampingAuthorities(), nil)
	must(w.t, err)
	return r
}

// Timestamp authorities are enough of a root to prove when a key has signed.
func TestKeyUnderRootOfTimestampsAlone(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	k := newECDSA(t, elliptic.P256())
	for by, want := range map[*world]string{w: "", other: "threshold not met"} {
		b := byKey(t, k, signed())
		b.VerificationMaterial.TimestampVerificationData = stamps(t, by, b.GetDsseEnvelope().Signatures[0].Sig)
		tr := keyTrust(t, k)
		tr.Root, tr.Timestamps = w.withoutAuthorities(), 1
		v, err := bundle.Verify(marshal(t, b), subject, tr)
		if want != "" {
			denied(t, v, err, want)
			continue
		}
		must(t, err)
		if len(v.Times) != 1 {
			t.Errorf("expected one time, found %v", v.Times)
		}
	}
}

// A root without certificate authorities proves no identity, however little is asked
// for.
func TestIdentitiesUnderRootOfTimestampsAlone(t *testing.T) {
	w := newWorld(t)
	tr := w.trust()
	tr.Root, tr.TLog, tr.SCT, tr.Timestamps = w.withoutAuthorities(), bundle.None, bundle.None, 1
	v, err := bundle.Verify(marshal(t, w.attest(keyless{stampBy: w}, signed())), subject, tr)
	denied(t, v, err, "leaf certificate")
}
