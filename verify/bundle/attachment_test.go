package bundle_test

import (
	"crypto"
	"crypto/elliptic"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"

	"github.com/pullgate/pullgate/verify/bundle"
	"github.com/pullgate/pullgate/verify/discover"
)

const (
	annSignature = "dev.cosignproject.cosign/signature"
	annCert      = "dev.sigstore.cosign/certificate"
	annChain     = "dev.sigstore.cosign/chain"
	annRekor     = "dev.sigstore.cosign/bundle"
	annStamp     = "dev.sigstore.cosign/rfc3161timestamp"
)

// simpleSigning is cosign's payload about d.
func simpleSigning(d digest.Digest) []byte {
	return fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":"registry.example.com/app"},"image":{"docker-manifest-digest":%q},"type":"cosign container image signature"},"optional":null}`, d)
}

// annotations writes what a bundle holds as cosign's annotations.
func (w *world) annotations(b *protobundle.Bundle) map[string]string {
	w.t.Helper()
	vm := b.GetVerificationMaterial()
	out := map[string]string{
		annSignature: b64(b.GetMessageSignature().GetSignature()),
		annCert:      string(certPEM(parseCert(w.t, vm.GetCertificate().GetRawBytes()))),
		annChain:     string(certPEM(w.inter)),
	}
	for _, e := range vm.GetTlogEntries() {
		j, err := json.Marshal(map[string]any{"SignedEntryTimestamp": e.GetInclusionPromise().GetSignedEntryTimestamp(), "Payload": map[string]any{
			"body": e.CanonicalizedBody, "integratedTime": e.IntegratedTime, "logIndex": e.LogIndex, "logID": hex.EncodeToString(e.LogId.KeyId)}})
		must(w.t, err)
		out[annRekor] = string(j)
	}
	for _, s := range vm.GetTimestampVerificationData().GetRfc3161Timestamps() {
		out[annStamp] = stampAnnotation(w.t, s.SignedTimestamp)
	}
	return out
}

func stampAnnotation(t testing.TB, stamp []byte) string {
	t.Helper()
	j, err := json.Marshal(map[string][]byte{"SignedRFC3161Timestamp": stamp})
	must(t, err)
	return string(j)
}

// sig is a keyless .sig attachment.
func (w *world) sig(k keyless, payload []byte) *discover.Sigstore {
	w.t.Helper()
	return &discover.Sigstore{MIMEType: discover.SimpleSigningMIMEType, Payload: payload, Annotations: w.annotations(w.sign(k, payload))}
}

func keySig(t testing.TB, key crypto.Signer, payload []byte) *discover.Sigstore {
	t.Helper()
	return &discover.Sigstore{MIMEType: discover.SimpleSigningMIMEType, Payload: payload,
		Annotations: map[string]string{annSignature: b64(signDigest(t, key, payload))}}
}

// with is s with an annotation changed.
func with(s *discover.Sigstore, name, value string) *discover.Sigstore {
	c := *s
	c.Annotations = maps.Clone(s.Annotations)
	c.Annotations[name] = value
	return &c
}

func TestSigByKey(t *testing.T) {
	k, ed := newECDSA(t, elliptic.P256()), newEd25519(t)
	good := simpleSigning(subject)
	for name, c := range map[string]struct {
		sig  *discover.Sigstore
		want string // "" accepted
	}{
		"good":                 {sig: keySig(t, k, good)},
		"good, Ed25519":        {sig: keySig(t, ed, good)},
		"a certificate beside": {sig: with(keySig(t, k, good), annCert, "garbage, which a key does not need")},
		"another key":          {keySig(t, newECDSA(t, elliptic.P256()), good), "signed by another key than sha256:"},
		"another digest":       {keySig(t, k, simpleSigning(digest.FromString("x"))), "expected docker-manifest-digest"},
		"payload changed":      {&discover.Sigstore{MIMEType: discover.SimpleSigningMIMEType, Payload: append([]byte(" "), good...), Annotations: keySig(t, k, good).Annotations}, "signed by another key than sha256:"},
		"no signature":         {with(keySig(t, k, good), annSignature, ""), "expected a signature"},
		"signature no base64":  {with(keySig(t, k, good), annSignature, "!"), "expected a signature in base64"},
		"huge signature":       {with(keySig(t, k, good), annSignature, strings.Repeat("A", 1<<20)), "expected at most"},
		"another media type":   {&discover.Sigstore{MIMEType: "text/plain", Payload: good, Annotations: keySig(t, k, good).Annotations}, "expected a payload of type"},
		"another kind":         {keySig(t, k, []byte(strings.Replace(string(good), "cosign container image signature", "atomic container signature", 1))), "critical.type"},
		"digest twice":         {keySig(t, k, twice(good, `"docker-manifest-digest":`, digest.FromString("x"))), "is there twice"},
		"digest in other case": {keySig(t, k, twice(good, `"Docker-Manifest-Digest":`, digest.FromString("x"))), "expected the JSON member"},
		"unknown and critical": {keySig(t, k, []byte(strings.Replace(string(good), `"identity"`, `"expiry":"2020","identity"`, 1))), "is unknown"},
		"unknown in image":     {keySig(t, k, []byte(strings.Replace(string(good), `"image":{`, `"image":{"platform":"linux/amd64",`, 1))), "critical.image: member \"platform\" is unknown"},
		"unknown in identity":  {keySig(t, k, []byte(strings.Replace(string(good), `"identity":{`, `"identity":{"until":"2020",`, 1))), "critical.identity: member \"until\" is unknown"},
		"no identity":          {keySig(t, k, []byte(strings.Replace(string(good), `"identity":{"docker-reference":"registry.example.com/app"},`, "", 1))), "expected the member identity"},
		"identity of numbers":  {keySig(t, k, []byte(strings.Replace(string(good), `"registry.example.com/app"`, "1", 1))), "critical.identity.docker-reference"},
		"bad log entry":        {with(keySig(t, k, good), annRekor, `{"Payload":{"logID":"zz"}}`), "logID"},
		"bad timestamp":        {with(keySig(t, k, good), annStamp, `{`), "malformed JSON"},
		"nothing":              {nil, "found none"},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := bundle.VerifySigstore(c.sig, subject, keyTrust(t, k, ed))
			if c.want != "" {
				denied(t, v, err, c.want)
				return
			}
			must(t, err)
			if v.PredicateType != bundle.SignType || v.Statement != nil || !strings.HasPrefix(v.Signers[0], "sigstore-key:sha256:") {
				t.Errorf("found %+v", v)
			}
		})
	}
}

// twice puts a second digest into the payload's image.
func twice(payload []byte, name string, d digest.Digest) []byte {
	return []byte(strings.Replace(string(payload), `"image":{`, fmt.Sprintf(`"image":{%s%q,`, name, d), 1))
}

func TestSigKeyless(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	good := simpleSigning(subject)
	onlyStamp := func(tr *bundle.Trust) { tr.TLog, tr.Timestamps = bundle.None, 1 }
	base := w.sig(keyless{}, good)
	for name, c := range map[string]struct {
		sig   *discover.Sigstore
		trust func(*bundle.Trust)
		want  string // "" accepted
	}{
		"log entry":             {sig: base},
		"expired, log time":     {sig: w.sig(keyless{at: time.Now().Add(-30 * time.Minute)}, good)},
		"timestamp":             {sig: w.sig(keyless{noLog: true, stampBy: w}, good), trust: onlyStamp},
		"no chain":              {sig: with(base, annChain, "")},
		"no evidence":           {sig: w.sig(keyless{noLog: true}, good), want: "not enough verified log entries"},
		"no SCT":                {sig: w.sig(keyless{noSCT: true}, good), want: "SCT"},
		"another subject":       {sig: w.sig(keyless{san: "https://evil.example/"}, good), want: "signed by https://evil.example/"},
		"another digest":        {sig: w.sig(keyless{}, simpleSigning(digest.FromString("x"))), want: "expected docker-manifest-digest"},
		"entry of another":      {sig: with(base, annRekor, w.sig(keyless{}, good).Annotations[annRekor]), want: "does not match"},
		"another's deployment":  {sig: other.sig(keyless{}, good), want: "not enough verified log entries"},
		"wrong TSA":             {sig: w.sig(keyless{noLog: true, stampBy: other}, good), trust: onlyStamp, want: "threshold not met"},
		"by key":                {sig: keySig(t, newECDSA(t, elliptic.P256()), good), want: "expected one certificate"},
		"two certificates":      {sig: with(base, annCert, base.Annotations[annCert]+base.Annotations[annCert]), want: "expected one certificate"},
		"chain is no chain":     {sig: with(base, annChain, "x"), want: "found something else"},
		"chain is a key":        {sig: with(base, annChain, string(publicPEM(t, newECDSA(t, elliptic.P256()).Public()))), want: "expected PEM certificates"},
		"chain is weak":         {sig: with(base, annChain, string(certPEM(w.rsaCert(1024)))), want: "expected an RSA key"},
		"long chain":            {sig: with(base, annChain, strings.Repeat(string(certPEM(w.inter)), 17)), want: "expected at most 16"},
		"promise over another":  {sig: with(base, annRekor, strings.Replace(base.Annotations[annRekor], `"logIndex":7`, `"logIndex":8`, 1)), want: "not enough verified log entries"},
		"log entry twice in it": {sig: with(base, annRekor, strings.Replace(base.Annotations[annRekor], `"logIndex":7`, `"logIndex":7,"logIndex":7`, 1)), want: "is there twice"},
	} {
		t.Run(name, func(t *testing.T) {
			tr := w.trust()
			if c.trust != nil {
				c.trust(tr)
			}
			v, err := bundle.VerifySigstore(c.sig, subject, tr)
			if c.want != "" {
				denied(t, v, err, c.want)
				return
			}
			must(t, err)
			if v.Signers[0] != workflow+" (issuer "+issuer+")" || len(v.Times) != 1 || v.PredicateType != bundle.SignType {
				t.Errorf("found %+v", v)
			}
		})
	}
}

// An intermediate that the root does not hold comes with the signature.
func TestSigChainCompletesTheRoot(t *testing.T) {
	w := newWorld(t)
	bare := w.withoutIntermediates()
	s := w.sig(keyless{}, simpleSigning(subject))
	if _, err := bundle.VerifySigstore(s, subject, bare); err != nil {
		t.Fatalf("with the chain: %v", err)
	}
	v, err := bundle.VerifySigstore(with(s, annChain, ""), subject, bare)
	denied(t, v, err, "its certificate was not issued by an authority of trust root acme")
}

// TestSigChainAddsToNoRootWithIntermediates: an intermediate that was taken out of the
// trust root, because its key was lost, must not come back with the signature.
func TestSigChainAddsToNoRootWithIntermediates(t *testing.T) {
	lost, left := newECDSA(t, elliptic.P256()), newECDSA(t, elliptic.P256())
	rc, withdrawn, rest := twoIntermediates(t, lost.Public(), left.Public())
	w := newWorld(t).under(rc, rest, withdrawn, lost)
	s := w.sig(keyless{}, simpleSigning(subject))
	v, err := bundle.VerifySigstore(s, subject, w.trust())
	denied(t, v, err, "its certificate was not issued by an authority of trust root acme")
	if _, err := bundle.VerifySigstore(s, subject, w.withoutIntermediates()); err != nil {
		t.Errorf("under a root that names no intermediate: %v", err)
	}
}

// envelope is a DSSE envelope in JSON.
func envelope(t testing.TB, key crypto.Signer, payload []byte) []byte {
	t.Helper()
	return envelopeOf(payload, signDigest(t, key, dsse.PAE(intoto, payload)))
}

func envelopeOf(payload, sig []byte) []byte {
	return fmt.Appendf(nil, `{"payloadType":%q,"payload":%q,"signatures":[{"keyid":"","sig":%q}]}`, intoto, b64(payload), b64(sig))
}

func TestAttByKey(t *testing.T) {
	k := newECDSA(t, elliptic.P256())
	good := envelope(t, k, statement(subject, slsaType))
	for name, c := range map[string]struct {
		envelope []byte
		want     string // "" accepted
	}{
		"good":              {envelope: good},
		"unknown member":    {envelope: []byte(strings.Replace(string(good), `"keyid"`, `"cert":"x","keyid"`, 1))},
		"statement v0.1":    {envelope: envelope(t, k, []byte(strings.Replace(string(statement(subject, slsaType)), "/v1\"", "/v0.1\"", 1)))},
		"another key":       {envelope(t, newECDSA(t, elliptic.P256()), statement(subject, slsaType)), "signed by another key than sha256:"},
		"another digest":    {envelope(t, k, statement(digest.FromString("x"), slsaType)), "expected a subject"},
		"payload twice":     {[]byte(strings.Replace(string(good), `{"payloadType"`, `{"payload":"AAAA","payloadType"`, 1)), "is there twice"},
		"no envelope":       {[]byte(`{}`), "expected payload type"},
		"two signatures":    {[]byte(strings.Replace(string(good), `"signatures":[`, `"signatures":[{"sig":"AAAA"},`, 1)), "exactly one signature"},
		"garbage":           {[]byte("\x00garbage"), "malformed JSON"},
		"many of nothing":   {[]byte(`{"signatures":[` + strings.Repeat("{},", 1<<20) + `{}]}`), "values"},
		"not an object":     {[]byte(`[]`), "expected a DSSE envelope"},
		"no statement":      {envelope(t, k, []byte(`{}`)), "_type"},
		"statement of yore": {envelope(t, k, []byte(strings.Replace(string(statement(subject, slsaType)), "Statement/v1", "Statement/v9", 1))), "_type"},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := bundle.VerifyDSSE(c.envelope, nil, subject, keyTrust(t, k))
			if c.want != "" {
				denied(t, v, err, c.want)
				return
			}
			must(t, err)
			if v.PredicateType != slsaType || len(v.Statement) == 0 {
				t.Errorf("found %+v", v)
			}
		})
	}
}

func TestAttKeyless(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	stmt := statement(subject, slsaType)
	b := w.attest(keyless{}, stmt)
	sig := b.GetDsseEnvelope().Signatures[0].Sig
	env, ann := envelopeOf(stmt, sig), w.annotations(b)
	v, err := bundle.VerifyDSSE(env, ann, subject, w.trust())
	must(t, err)
	if v.PredicateType != slsaType || len(v.Times) != 1 {
		t.Errorf("found %+v", v)
	}
	// Cosign has the whole envelope timestamped, not the signature.
	onlyStamp := w.trust()
	onlyStamp.TLog, onlyStamp.Timestamps = bundle.None, 1
	stampedBy := func(by *world, over []byte) map[string]string {
		out := maps.Clone(ann)
		delete(out, annRekor)
		s, err := by.vs.TimestampResponse(over)
		must(t, err)
		out[annStamp] = stampAnnotation(t, s)
		return out
	}
	for name, over := range map[string][]byte{"envelope": env, "signature": sig} {
		if v, err := bundle.VerifyDSSE(env, stampedBy(w, over), subject, onlyStamp); err != nil || len(v.Times) != 1 {
			t.Errorf("stamp over the %s: %v, %v", name, v, err)
		}
	}
	v, err = bundle.VerifyDSSE(env, stampedBy(w, []byte("x")), subject, onlyStamp)
	denied(t, v, err, "hashed messages don't match")
	v, err = bundle.VerifyDSSE(env, stampedBy(other, env), subject, onlyStamp)
	denied(t, v, err, "threshold not met")
	v, err = bundle.VerifyDSSE(env, nil, subject, w.trust())
	denied(t, v, err, "expected one certificate")
	v, err = bundle.VerifyDSSE(envelopeOf(statement(subject, bundle.SignType), sig), ann, subject, w.trust())
	denied(t, v, err, "does not match")
}
