package bundle_test

import (
	"crypto/elliptic"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"github.com/sigstore/sigstore-go/pkg/root"

	"github.com/pullgate/pullgate/verify/bundle"
)

// signed is the statement of a cosign signature.
func signed() []byte { return statement(subject, bundle.SignType) }

func TestKeylessGood(t *testing.T) {
	w := newWorld(t)
	earlier := time.Now().Add(-time.Minute)
	stamped := func(tr *bundle.Trust) { tr.Timestamps = 1 }
	for name, c := range map[string]struct {
		bundle *protobundle.Bundle
		trust  func(*bundle.Trust)
		times  int
	}{
		"DSSE v0.3":                    {bundle: w.attest(keyless{}, signed()), times: 1},
		"DSSE v0.2":                    {bundle: w.attest(keyless{version: mediaV02, chain: true}, signed()), times: 1},
		"DSSE v0.1, promise only":      {bundle: w.attest(keyless{version: mediaV01, chain: true, noProof: true}, signed()), times: 1},
		"message signature":            {bundle: w.sign(keyless{}, []byte("the manifest")), times: 1},
		"message signature v0.1":       {bundle: w.sign(keyless{version: mediaV01, noProof: true}, []byte("the manifest")), times: 1},
		"log and timestamp":            {bundle: w.attest(keyless{at: earlier, stampBy: w}, signed()), trust: stamped, times: 2},
		"timestamp, not asked for":     {bundle: w.attest(keyless{at: earlier, stampBy: w}, signed()), times: 2},
		"proof without promise, stamp": {bundle: w.attest(keyless{noPromise: true, stampBy: w}, signed()), times: 1},
		"expired, log time":            {bundle: w.attest(keyless{at: time.Now().Add(-30 * time.Minute)}, signed()), times: 1},
		"no log, no SCT, timestamp": {bundle: w.attest(keyless{noLog: true, noSCT: true, stampBy: w}, signed()), times: 1,
			trust: func(tr *bundle.Trust) { tr.TLog, tr.SCT, tr.Timestamps = bundle.None, bundle.None, 1 }},
		"nothing asked for, log is there": {bundle: w.attest(keyless{noSCT: true}, signed()), times: 1,
			trust: func(tr *bundle.Trust) { tr.TLog, tr.SCT = bundle.None, bundle.None }},
		"P-384": {bundle: w.attest(keyless{key: newECDSA(t, elliptic.P384())}, signed()), times: 1},
		"a second identity": {bundle: w.attest(keyless{san: "https://example.com/other"}, signed()), times: 1,
			trust: func(tr *bundle.Trust) {
				id, err := bundle.ParseIdentity("", "https://token\\..*", "https://example.com/other", "", nil)
				must(t, err)
				tr.Identities = append(tr.Identities, id)
			}},
	} {
		t.Run(name, func(t *testing.T) {
			tr := w.trust()
			if c.trust != nil {
				c.trust(tr)
			}
			v, err := bundle.Verify(marshal(t, c.bundle), subject, tr)
			must(t, err)
			if len(v.Signers) != 1 || v.PredicateType != bundle.SignType || len(v.Times) != c.times || !v.Expires.IsZero() {
				t.Errorf("expected one signer and %d times, found %+v", c.times, v)
			}
			if (v.Statement == nil) != (c.bundle.GetMessageSignature() != nil) {
				t.Errorf("statement %q", v.Statement)
			}
			if !slices.IsSortedFunc(v.Times, time.Time.Compare) {
				t.Errorf("times are not sorted: %v", v.Times)
			}
		})
	}
}

func TestKeylessNamesTheSigner(t *testing.T) {
	w := newWorld(t)
	v, err := bundle.Verify(marshal(t, w.attest(keyless{}, signed())), subject, w.trust())
	must(t, err)
	if want := workflow + " (issuer " + issuer + ")"; v.Signers[0] != want {
		t.Errorf("expected %s, found %s", want, v.Signers[0])
	}
}

// An attestation is told from a signature by its predicate type, which is reported
// as it was signed.
func TestKeylessAttestationIsNoSignature(t *testing.T) {
	w := newWorld(t)
	v, err := bundle.Verify(marshal(t, w.attest(keyless{}, statement(subject, slsaType))), subject, w.trust())
	must(t, err)
	if v.PredicateType != slsaType || string(v.Statement) != string(statement(subject, slsaType)) {
		t.Errorf("found %q, %s", v.PredicateType, v.Statement)
	}
}

func TestKeylessDenied(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	old := time.Now().Add(-30 * time.Minute)
	for name, c := range map[string]struct {
		bundle *protobundle.Bundle
		trust  func(*bundle.Trust)
		want   string
	}{
		"another digest":            {bundle: w.attest(keyless{}, statement(digest.FromString("x"), bundle.SignType)), want: "expected a subject"},
		"message of another":        {bundle: w.sign(keyless{}, []byte("x")), want: "expected one over"},
		"another subject":           {bundle: w.attest(keyless{san: workflow + "x"}, signed()), want: "signed by " + workflow + "x"},
		"another issuer":            {bundle: w.attest(keyless{issuer: issuer + ".evil.example"}, signed()), want: "expected issuer " + issuer + ": signed by"},
		"untrusted root":            {bundle: other.attest(keyless{}, signed()), want: "not enough verified log entries"},
		"untrusted certificate":     {bundle: w.relog(other.attest(keyless{}, signed())), want: "its certificate was not issued by an authority of trust root acme, or by none that was valid at 2"},
		"no SCT":                    {bundle: w.attest(keyless{noSCT: true}, signed()), want: "SCT"},
		"no log entry":              {bundle: w.attest(keyless{noLog: true, stampBy: w}, signed()), want: "not enough verified log entries"},
		"two logs wanted":           {bundle: w.attest(keyless{}, signed()), trust: func(tr *bundle.Trust) { tr.TLog = 2 }, want: "1 < 2"},
		"two SCTs wanted":           {bundle: w.attest(keyless{}, signed()), trust: func(tr *bundle.Trust) { tr.SCT = 2 }, want: "threshold of 2"},
		"timestamp wanted":          {bundle: w.attest(keyless{}, signed()), trust: func(tr *bundle.Trust) { tr.Timestamps = 1 }, want: "0 < 1: there is none"},
		"wrong TSA":                 {bundle: w.attest(keyless{stampBy: other}, signed()), trust: func(tr *bundle.Trust) { tr.Timestamps = 1 }, want: "0 < 1"},
		"stamp of another":          {bundle: w.attest(keyless{stampBy: w, stampOver: []byte("x")}, signed()), trust: func(tr *bundle.Trust) { tr.Timestamps = 1 }, want: "hashed messages don't match"},
		"one stamp twice":           {bundle: twoStamps(w.attest(keyless{stampBy: w}, signed())), trust: func(tr *bundle.Trust) { tr.Timestamps = 2 }, want: "1 < 2"},
		"one entry twice":           {bundle: twoEntries(w.attest(keyless{}, signed())), trust: func(tr *bundle.Trust) { tr.TLog = 2 }, want: "duplicate"},
		"expired, no proven time":   {bundle: w.attest(keyless{at: old, noPromise: true}, signed()), want: "threshold not met"},
		"expired, stamped too late": {bundle: w.attest(keyless{at: old, noPromise: true, stampBy: w}, signed()), want: "its certificate was not valid when it was signed, at 2"},
		"no proven time, nothing asked for": {bundle: w.attest(keyless{noLog: true}, signed()), want: "threshold not met",
			trust: func(tr *bundle.Trust) { tr.TLog, tr.SCT = bundle.None, bundle.None }},
		"entry of another artifact":      {bundle: swapEntry(w.attest(keyless{}, signed()), w.attest(keyless{}, statement(digest.FromString("x"), bundle.SignType))), want: "does not match"},
		"body changed":                   {bundle: changeBody(w.attest(keyless{}, signed())), want: "log"},
		"signature changed":              {bundle: changeSignature(w.attest(keyless{}, signed())), want: "does not match"},
		"signature changed, no log":      {bundle: changeSignature(w.attest(keyless{noLog: true, stampBy: w}, signed())), want: "", trust: func(tr *bundle.Trust) { tr.TLog, tr.Timestamps = bundle.None, 1 }},
		"time changed":                   {bundle: changeTime(w.attest(keyless{}, signed())), want: "not enough verified log entries"},
		"signed in the future":           {bundle: w.attest(keyless{at: time.Now().Add(20 * time.Minute)}, signed()), want: "ahead of this machine's clock"},
		"expired, one time too late":     {bundle: w.attest(keyless{at: old, stampBy: w}, signed()), want: "its certificate was not valid when it was signed, at 2"},
		"a key where certificates count": {bundle: byKey(t, newECDSA(t, elliptic.P256()), signed()), want: "signed by a key, expected a certificate"},
		"chain in v0.3":                  {bundle: w.attest(keyless{chain: true}, signed()), want: "cannot be X.509 certificate chain"},
		"root in the chain":              {bundle: withRoot(w, w.attest(keyless{version: mediaV02, chain: true}, signed())), want: "expected no root certificate in the chain"},
		"v0.2 without a proof":           {bundle: w.attest(keyless{version: mediaV02, noProof: true}, signed()), want: "inclusion proof missing"},
		"v0.1 without a promise":         {bundle: w.attest(keyless{version: mediaV01, noPromise: true}, signed()), want: "inclusion promises missing"},
		"v0.4":                           {bundle: w.attest(keyless{version: "application/vnd.dev.sigstore.bundle.v0.4+json"}, signed()), want: "not yet supported"},
	} {
		t.Run(name, func(t *testing.T) {
			tr := w.trust()
			if c.trust != nil {
				c.trust(tr)
			}
			v, err := bundle.Verify(marshal(t, c.bundle), subject, tr)
			denied(t, v, err, c.want)
			if errors.Is(err, bundle.ErrLocal) {
				t.Errorf("expected a decision, found %v", err)
			}
		})
	}
}

// withRoot adds the root of the deployment to the chain.
func withRoot(w *world, b *protobundle.Bundle) *protobundle.Bundle {
	ca := w.vs.FulcioCertificateAuthorities()[0].(*root.FulcioCertificateAuthority)
	chain := b.VerificationMaterial.GetX509CertificateChain()
	chain.Certificates = append(chain.Certificates, &protocommon.X509Certificate{RawBytes: ca.Root.Raw})
	return b
}

// relog enters the evidence of another deployment into this one's log, so that only
// the certificate is wrong.
func (w *world) relog(b *protobundle.Bundle) *protobundle.Bundle {
	e := b.VerificationMaterial.TlogEntries[0]
	b.VerificationMaterial.TlogEntries[0] = w.log(keyless{at: time.Unix(e.IntegratedTime, 0)}, e.KindVersion.Kind, string(e.CanonicalizedBody))
	return b
}

func twoStamps(b *protobundle.Bundle) *protobundle.Bundle {
	d := b.VerificationMaterial.TimestampVerificationData
	d.Rfc3161Timestamps = append(d.Rfc3161Timestamps, d.Rfc3161Timestamps[0])
	return b
}

func twoEntries(b *protobundle.Bundle) *protobundle.Bundle {
	vm := b.VerificationMaterial
	vm.TlogEntries = append(vm.TlogEntries, vm.TlogEntries[0])
	return b
}

func swapEntry(b, from *protobundle.Bundle) *protobundle.Bundle {
	b.VerificationMaterial.TlogEntries = from.VerificationMaterial.TlogEntries
	return b
}

func changeBody(b *protobundle.Bundle) *protobundle.Bundle {
	e := b.VerificationMaterial.TlogEntries[0]
	e.CanonicalizedBody = append([]byte(" "), e.CanonicalizedBody...)
	return b
}

func changeSignature(b *protobundle.Bundle) *protobundle.Bundle {
	b.GetDsseEnvelope().Signatures[0].Sig[10] ^= 1
	return b
}

func changeTime(b *protobundle.Bundle) *protobundle.Bundle {
	b.VerificationMaterial.TlogEntries[0].IntegratedTime++
	return b
}
