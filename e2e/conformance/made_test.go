package conformance_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/pullgate/pullgate/e2e/conformance"
)

const (
	v01 = "application/vnd.dev.sigstore.bundle+json;version=0.1"
	v02 = "application/vnd.dev.sigstore.bundle+json;version=0.2"
	v03 = "application/vnd.dev.sigstore.bundle.v0.3+json"

	message = "happy-path-v0.3" // a message signature in Rekor v1, of the public instance
	twice   = "rekor2-multiple-timestamps-one-outside-cert-validity_fail"
)

// made is a case of the suite of which the file is not here. It is made from one
// that is, in the way that the suite's README of the case says. A few are neighbours
// of the suite's cases.
type made struct {
	from string // a folder; message when empty
	edit func(b *document)
	root func(r *document)            // changes the trusted root
	args func(args []string) []string // changes the command line
	why  string                       // of a denial
}

// run runs a made case.
func (m made) run(t *testing.T, name string) {
	from := m.from
	if from == "" {
		from = message
	}
	args := arguments(t, from)
	b := bundleOf(t, from)
	if m.edit != nil {
		m.edit(b)
	}
	replace(t, args, "--bundle", b.write())
	if m.root != nil {
		i := slices.Index(args, "--trusted-root") + 1
		rel, err := filepath.Rel(cases, args[i])
		must(t, err)
		r := read(t, rel)
		m.root(r)
		args[i] = r.write()
	}
	if m.args != nil {
		args = m.args(args)
	}
	expect(t, name, conformance.Run(args), m.why)
}

// replace gives an option another value.
func replace(t *testing.T, args []string, option, value string) {
	t.Helper()
	i := slices.Index(args, option)
	if i < 0 {
		t.Fatalf("no %s in %q", option, args)
	}
	args[i+1] = value
}

func TestMade(t *testing.T) {
	all := 0
	for _, group := range []map[string]made{forms(), logs(), contents(), roots(), rekor2(), rekor2Checkpoints(), rekor2Times()} {
		for name, m := range group {
			all++
			t.Run(name, func(t *testing.T) { m.run(t, name) })
		}
	}
	if all < 50 {
		t.Errorf("expected at least 50 cases, found %d", all)
	}
}

// forms are cases about the form of a bundle.
func forms() map[string]made {
	return map[string]made{
		"happy-path-v0.1":               {from: "proof-without-checkpoint", edit: func(b *document) { b.drop(proof) }},
		"happy-path-v0.2":               {edit: func(b *document) { b.asChain(v02) }},
		"happy-path-v0.3-new-mediaType": {edit: func(b *document) { b.set("mediaType", v03) }},

		"bundle-unknown-version_fail":    {edit: func(b *document) { b.set("mediaType", v01[:len(v01)-3]+"99.9") }, why: "unsupported media type"},
		"bundle-negative-log-index_fail": {edit: func(b *document) { b.set(entry+".logIndex", "-1") }, why: "nil value in transaction log entry"},
		"bundle-empty-certificate-chain_fail": {why: "missing verification material",
			edit: func(b *document) { b.asChain(v01); b.set(chain, []any{}) }},
		"bundle-invalid-base64-signature_fail": {edit: func(b *document) { b.set(signature, "!!! no base64 !!!") }, why: "invalid value for bytes field"},
		"bundle-with-root-cert_fail": {why: "expected no root certificate",
			edit: func(b *document) {
				r := read(b.t, "trusted_root.json")
				ca := "certificateAuthorities.1.certChain.certificates."
				b.asChain(v02, r.get(ca+"0"), r.get(ca+"1"))
			}},
		"bundle-from-wrong-instance_fail": {from: twice, why: "not enough verified log entries",
			args: func(args []string) []string {
				args[slices.Index(args, "--trusted-root")+1] = filepath.Join(cases, "trusted_root.json")
				return args
			}},
	}
}

// logs are cases about an entry of a Rekor v1 log and the proofs of it.
func logs() map[string]made {
	another := func(place string) func(*document) {
		return func(b *document) { b.set(place, bundleOf(b.t, "dsse-with-hashedrekord-happy-path").get(place)) }
	}
	return map[string]made{
		"checkpoint-bad-keyhint_fail":         {edit: func(b *document) { b.lines(otherHint) }, why: "signature on checkpoint did not verify"},
		"checkpoint-wrong-roothash_fail":      {edit: another(checkpoint), why: "proof root hash does not match signed tree head"},
		"invalid-checkpoint-signature_fail":   {edit: func(b *document) { b.lines(otherSignature) }, why: "signature on checkpoint did not verify"},
		"inclusion-proof-corrupted-hash_fail": {edit: func(b *document) { b.flip(proof + ".hashes.0") }, why: "calculated root"},
		"invalid-inclusion-proof_fail":        {edit: another(proof), why: "calculated root"},
		"set-invalid-signature_fail":          {edit: func(b *document) { b.flip(entry + ".inclusionPromise.signedEntryTimestamp") }, why: "not enough verified log entries"},
		"integrated-time-changed_fail":        {edit: func(b *document) { b.set(entry+".integratedTime", "1899999999") }, why: "not enough verified log entries"},
		"wrong-hashedrekord-entry_fail":       {edit: another(entry), why: "log signature does not match"},
		"wrong-hashedrekord-cert-and-sig_fail": {why: "log signature does not match",
			edit: swapEntry},
		"cve-2022-36056-swapped-tlog-entry_fail": {why: "log signature does not match", edit: swapEntry},
		"incorrect-public-key_fail":              {edit: otherKeyInEntry, why: "verifying signature"},
	}
}

// swapEntry puts the entry of another signing of the same artifact into b, in the
// form that is good by its promise alone.
func swapEntry(b *document) {
	other := bundleOf(b.t, "proof-without-checkpoint")
	other.drop(proof)
	b.set(entry, other.get(entry))
	b.set("mediaType", v01)
	b.set("verificationMaterial.x509CertificateChain", map[string]any{"certificates": []any{b.get(leaf)}})
	b.drop(leaf)
}

// contents are cases about what was signed, and by whom.
func contents() map[string]made {
	const dsse, attestation = "dsse-with-hashedrekord-happy-path", "npm-provenance-happy-path"
	keyed := "key-with-timestamp-happy-path"
	wrongArtifact := func(args []string) []string {
		args[len(args)-1] = artifact[:len(artifact)-4] + "0000"
		return args
	}
	return map[string]made{
		"signature-mismatch_fail":      {edit: func(b *document) { b.flip(signature) }, why: "log signature does not match"},
		"message-digest-mismatch_fail": {edit: func(b *document) { b.flip("messageSignature.messageDigest.digest") }, why: "message signature: expected one over"},
		"wrong-material_fail":          {args: wrongArtifact, why: "message signature: expected one over"},
		"wrong-hashedrekord-artifact_fail": {why: "hashedrekord entry digest", args: wrongArtifact,
			edit: func(b *document) { otherDigest(b, artifact[:len(artifact)-4]+"0000") }},

		"happy-path-intoto-in-dsse-v3": {from: attestation},
		"dsse-invalid-sig_fail":        {from: attestation, edit: func(b *document) { b.flip("dsseEnvelope.signatures.0.sig") }, why: "log signature does not match"},
		"dsse-mismatch-envelope_fail": {from: attestation, why: "payload hash",
			edit: moreSpace},
		"dsse-mismatch-sig_fail":                   {from: attestation, edit: func(b *document) { twin(b, "dsseEnvelope.signatures.0.sig") }, why: "log signature does not match"},
		"dsse-with-hashedrekord-invalid-sig_fail":  {from: dsse, edit: func(b *document) { b.flip("dsseEnvelope.signatures.0.sig") }, why: "log signature does not match"},
		"dsse-with-hashedrekord-mismatch-sig_fail": {from: dsse, edit: func(b *document) { twin(b, "dsseEnvelope.signatures.0.sig") }, why: "log signature does not match"},
		"intoto-expired-certificate_fail": {from: "intoto-with-custom-trust-root", why: "its certificate was not issued by an authority of",
			root: func(r *document) { r.set("certificateAuthorities.0.validFor.end", "2023-01-31T00:00:00Z") }},
		"intoto-missing-inclusion-proof_fail": {from: "intoto-with-custom-trust-root", edit: func(b *document) { b.drop(proof) }, why: "inclusion proof missing"},
		"intoto-log-entry-mismatch_fail":      {from: "intoto-with-custom-trust-root", edit: moreSpace, why: "payload hash"},

		"managed-key-happy-path": {from: keyed},
		"managed-key-no-key_fail": {from: keyed, why: "signed by a key, expected a certificate",
			args: func(args []string) []string {
				return slices.Replace(args, slices.Index(args, "--key"), slices.Index(args, "--key")+2, "--certificate-identity", identity, "--certificate-oidc-issuer", issuer)
			}},
		"managed-key-wrong-key_fail": {from: keyed, why: "which this scope does not trust",
			args: func(args []string) []string {
				args[slices.Index(args, "--key")+1] = filepath.Join(cases, "intoto-canonical-log-entry", "key.pub")
				return args
			}},
		"managed-key-and-client-identity_fail": {from: keyed, why: "expected keys or identities, found both",
			args: func(args []string) []string {
				return slices.Insert(args, 1, "--certificate-identity", identity, "--certificate-oidc-issuer", issuer)
			}},
	}
}

// roots are cases about the trusted root.
func roots() map[string]made {
	const ctKey, logTimes = "ctlogs.1.publicKey.rawBytes", "tlogs.0.publicKey.validFor"
	return map[string]made{
		"invalid-ct-key_fail":                         {root: func(r *document) { r.set(ctKey, r.get("tlogs.0.publicKey.rawBytes")) }, why: "only able to verify 0 SCT entries"},
		"trust-root-tlog-missing-validity-start_fail": {root: func(r *document) { r.drop(logTimes + ".start") }, why: "missing public key validity period start"},
		// The time of the entry is 1710869186.
		"trust-root-tlog-validity-end-inclusive": {root: func(r *document) { r.set(logTimes+".end", "2024-03-19T17:26:26Z") }},
		"trust-root-tlog-validity-ended_fail":    {root: func(r *document) { r.set(logTimes+".end", "2024-03-19T17:26:25Z") }, why: "not enough verified log entries"},
		"sct-duplicate-intermediate-name":        {root: decoyFirst},
	}
}

// rekor2 are cases about an entry of a Rekor v2 log.
func rekor2() map[string]made {
	return map[string]made{
		"rekor2-happy-path":              {from: twice, edit: firstTime},
		"rekor2-no-inclusion-proof_fail": {from: twice, edit: func(b *document) { firstTime(b); b.drop(proof) }, why: "inclusion proof missing"},
		"rekor2-no-timestamp_fail":       {from: twice, edit: func(b *document) { b.set(stamps, []any{}) }, why: "threshold not met"},
		"rekor2-signature-mismatch_fail": {from: twice, edit: func(b *document) { firstTime(b); twin(b, signature) }, why: "calculated root"},
	}
}

// fileWith is the path of a file with a text.
func fileWith(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(name, []byte(text), 0o600))
	return name
}

// What is no bundle, root, key or file is an error, and so is what the command line
// does not say.
func TestNotUsable(t *testing.T) {
	good := arguments(t, message)
	must(t, conformance.Run(good))
	empty := fileWith(t, "")
	with := func(option, value string) []string {
		args := slices.Clone(good)
		replace(t, args, option, value)
		return args
	}
	for name, args := range map[string][]string{
		"nothing":          nil,
		"other command":    {"sign-bundle"},
		"unknown option":   slices.Insert(slices.Clone(good), 1, "--unknown"),
		"no artifact":      good[:len(good)-1],
		"two artifacts":    append(slices.Clone(good), artifact),
		"missing artifact": append(slices.Clone(good[:len(good)-1]), "sha256:short"),
		"empty bundle":     with("--bundle", empty),
		"malformed bundle": with("--bundle", fileWith(t, `{"mediaType":`)),
		"missing bundle":   with("--bundle", empty+"x"),
		"empty root":       with("--trusted-root", empty),
		"no identity":      with("--certificate-identity", ""),
		"no issuer":        with("--certificate-oidc-issuer", ""),
		"missing key":      append([]string{"verify-bundle", "--key", empty + "x"}, good[1:]...),
		"empty key":        append([]string{"verify-bundle", "--key", empty}, good[1:]...),
	} {
		t.Run(name, func(t *testing.T) {
			if err := conformance.Run(args); err == nil {
				t.Error("expected an error")
			}
		})
	}
}
