package verify

import (
	"encoding/base64"
	"testing"
	"time"
)

// The images and references of upstream's tests.
const (
	cosignSingle   = "192.168.64.2:5000/cosign-signed-single-sample:latest"
	cosignTagged   = "192.168.64.2:5000/skopeo-signed:tag"
	keyRekorRef    = "192.168.64.2:5000/cosign-signed/key-1:latest"
	fulcioRekorRef = "192.168.64.2:5000/cosign-signed/fulcio-rekor-1:latest"
	pkiRef         = "localhost:5000/test:latest"

	cosignSignature   = "fixtures/dir-img-cosign-valid/signature-1"
	keyRekorDir       = "fixtures/dir-img-cosign-key-rekor-valid/"
	fulcioRekorDir    = "fixtures/dir-img-cosign-fulcio-rekor-valid/"
	pkiDir            = "fixtures/dir-img-cosign-pki-valid/"
	taggedDir         = "fixtures/dir-img-cosign-valid-with-tag/"
	anyTag            = `"signedIdentity":{"type":"matchRepository"}`
	exactTag          = `"signedIdentity":{"type":"matchExact"}`
	fulcioIdentity    = `"oidcIssuer":"https://github.com/login/oauth","subjectEmail":"mitr@redhat.com"`
	pkiRoots          = `"caRootsPath":"fixtures/pki_root_crts.pem"`
	pkiIntermediates  = `"caIntermediatesPath":"fixtures/pki_intermediate_crts.pem"`
	pkiSubjects       = `"subjectEmail":"qiwan@redhat.com","subjectHostname":"myhost.example.com"`
	byCosignKey       = `{"type":"sigstoreSigned","keyPath":"fixtures/cosign.pub",` + anyTag + `}`
	notForThis        = "signature is for 192.168.64.2:5000/cosign-signed-single-sample, asked for "
	keyNotTrusted     = "signed by a key that this scope does not trust, or altered"
	onlyOneCosignName = `"keyPath":"fixtures/cosign.pub"`
)

// sigstoreReq is a sigstoreSigned requirement.
func sigstoreReq(trust string) string { return `{"type":"sigstoreSigned",` + trust + `}` }

// sigstoreFixtures are the fixtures of sigstoreSigned.
func sigstoreFixtures() []fixtureCase {
	out := cosignKeyFixtures()
	out = append(out, keyRekorFixtures()...)
	out = append(out, fulcioRekorFixtures()...)
	return append(out, pkiFixtures()...)
}

// cosignKeyFixtures are signed by a key, with no log.
func cosignKeyFixtures() []fixtureCase {
	one := []string{cosignSignature}
	out := []fixtureCase{
		{name: "keyPath", requirements: byCosignKey},
		{name: "keyPaths, the key first", requirements: sigstoreReq(`"keyPaths":["fixtures/cosign.pub","fixtures/cosign2.pub"],` + anyTag)},
		{name: "keyPaths, the key last", requirements: sigstoreReq(`"keyPaths":["fixtures/cosign2.pub","fixtures/cosign.pub"],` + anyTag)},
		{name: "keyData", requirements: sigstoreReq(`"keyData":"@fixtures/cosign.pub",` + anyTag)},
		{name: "keyDatas, the key first", requirements: sigstoreReq(`"keyDatas":["@fixtures/cosign.pub","@fixtures/cosign2.pub"],` + anyTag)},
		{name: "keyDatas, the key last", requirements: sigstoreReq(`"keyDatas":["@fixtures/cosign2.pub","@fixtures/cosign.pub"],` + anyTag)},
		{name: "another key", requirements: sigstoreReq(`"keyPath":"fixtures/cosign2.pub",` + anyTag), want: keyNotTrusted},
		{name: "unknown key", signatures: []string{"fixtures/unknown-cosign-key.signature"}, requirements: byCosignKey, want: keyNotTrusted},
		{name: "two signatures", signatures: []string{cosignSignature, "fixtures/dir-img-cosign-valid-2/signature-2"}, requirements: byCosignKey},
		{name: "two signatures for another reference", signatures: []string{cosignSignature, "fixtures/dir-img-cosign-valid-2/signature-2"}, ref: "docker.io/this/does-not:match",
			requirements: byCosignKey, want: notForThis},
		{name: "a bad and a good one", signatures: []string{"fixtures/unknown-cosign-key.signature", cosignSignature}, requirements: byCosignKey},
		{name: "another reference", ref: "docker.io/testing/manifest:notlatest", requirements: byCosignKey, want: notForThis},
		{name: "an exact reference of another", requirements: sigstoreReq(onlyOneCosignName + `,"signedIdentity":{"type":"exactReference","dockerReference":"this/does-not:match"}`), want: notForThis},
		{name: "cosign's have no tag", requirements: sigstoreReq(onlyOneCosignName + "," + exactTag), want: notForThis},
		{name: "with a tag", manifest: taggedDir + "manifest.json", signatures: []string{taggedDir + "signature-1"}, ref: cosignTagged, requirements: sigstoreReq(onlyOneCosignName + "," + exactTag)},
		{name: "with another tag", manifest: taggedDir + "manifest.json", signatures: []string{taggedDir + "signature-1"}, ref: "192.168.64.2:5000/skopeo-signed:othertag",
			requirements: sigstoreReq(onlyOneCosignName + "," + exactTag), want: "signature is for " + cosignTagged},
		{name: "modified manifest", manifest: "fixtures/dir-img-cosign-modified-manifest/manifest.json", requirements: byCosignKey,
			want: "signature is for digest sha256:634a8f35b5f16dcf4aaa0822adc0b1964bb786fca12f6831de8ddc45e5986a00, this manifest is sha256:d9dcafdb"},
		{name: "schema 1 with invalid signatures", manifest: "fixtures/v2s1-invalid-signatures.manifest.json", requirements: byCosignKey, unknown: "manifest of " + cosignSingle},
		{name: "no cryptographic signature", change: map[string]string{annotationSignature: ""}, requirements: byCosignKey, want: "no base64 in annotation"},
		{name: "signature does not verify", change: map[string]string{annotationSignature: base64.StdEncoding.EncodeToString([]byte("invalid signature"))}, requirements: byCosignKey, want: keyNotTrusted},
		{name: "only simple signing", manifest: simpleImage, signatures: []string{validSignature}, ref: manifestLatest, requirements: byCosignKey, want: "no sigstore signatures found"},
		{name: "only another attachment", signatures: []string{"fixtures/dir-img-cosign-other-attachment/signature-1"}, requirements: byCosignKey, want: "not a cosign signature: media type text/plain",
			unstored: "no signatures found"},
		{name: "another attachment and a good signature", signatures: []string{"fixtures/dir-img-cosign-other-attachment/signature-1", cosignSignature}, requirements: byCosignKey},
	}
	for i, c := range out {
		if c.signatures == nil {
			out[i].signatures = one
		}
	}
	return withDefaults(append(out, fixtureCase{name: "unsigned", requirements: byCosignKey, want: "no signatures found"}), cosignImage, cosignSingle, nil)
}

// withDefaults fills in what cases do not say.
func withDefaults(cases []fixtureCase, manifest, ref string, signatures []string) []fixtureCase {
	for i := range cases {
		c := &cases[i]
		if c.manifest == "" {
			c.manifest = manifest
		}
		if c.ref == "" {
			c.ref = ref
		}
		if c.signatures == nil {
			c.signatures = signatures
		}
	}
	return cases
}

// keyRekorFixtures are signed by a key and recorded in a log.
func keyRekorFixtures() []fixtureCase {
	const key2 = `"keyPath":"fixtures/cosign2.pub"`
	const rekor = `,"rekorPublicKeyPath":"` + rekorKey + `",`
	const wrongRekor = `,"rekorPublicKeyPath":"fixtures/cosign.pub",`
	out := []fixtureCase{
		{name: "log, not asked for", requirements: sigstoreReq(key2 + "," + anyTag)},
		{name: "log, missing entry", change: map[string]string{annotationLog: ""}, requirements: sigstoreReq(key2 + rekor + anyTag), want: "missing dev.sigstore.cosign/bundle annotation"},
		{name: "log, invalid entry", change: map[string]string{annotationLog: "this is not a valid SET"}, requirements: sigstoreReq(key2 + rekor + anyTag), want: "signature is not accepted: No public key verified against the RekorSET"},
		{name: "log, another reference", ref: cosignSingle, requirements: sigstoreReq(key2 + rekor + anyTag), want: "signature is for 192.168.64.2:5000/cosign-signed/key-1"},
		{name: "log, another signer", requirements: sigstoreReq(onlyOneCosignName + rekor + anyTag), want: keyNotTrusted},
	}
	for _, keys := range []string{`"fixtures/cosign2.pub"`, `"fixtures/cosign2.pub","fixtures/cosign.pub"`, `"fixtures/cosign.pub","fixtures/cosign2.pub"`} {
		for _, logs := range []string{`"` + rekorKey + `"`, `"` + rekorKey + `","fixtures/cosign.pub"`, `"fixtures/cosign.pub","` + rekorKey + `"`} {
			out = append(out, fixtureCase{name: "log, keys " + keys + ", logs " + logs, requirements: sigstoreReq(`"keyPaths":[` + keys + `],"rekorPublicKeyPaths":[` + logs + `],` + anyTag)})
		}
		out = append(out, fixtureCase{name: "wrong log, keys " + keys, requirements: sigstoreReq(`"keyPaths":[` + keys + `]` + wrongRekor + anyTag), want: "signature is not accepted: No public key verified against the RekorSET"})
	}
	return withDefaults(out, keyRekorDir+"manifest.json", keyRekorRef, []string{keyRekorDir + "signature-1"})
}

// fulcio is a sigstoreSigned requirement of a Fulcio identity with a log.
func fulcio(identity, log string) string {
	return sigstoreReq(`"fulcio":{"caPath":"fixtures/fulcio_v1.crt.pem",` + identity + `},"rekorPublicKeyPaths":[` + log + `],` + anyTag)
}

// fulcioRekorFixtures are signed with a certificate of ten minutes in January 2023.
func fulcioRekorFixtures() []fixtureCase {
	const log = `"` + rekorKey + `"`
	good := fulcio(fulcioIdentity, log)
	return withDefaults([]fixtureCase{
		{name: "fulcio", requirements: good},
		{name: "fulcio, another log, too", requirements: fulcio(fulcioIdentity, log+`,"fixtures/cosign.pub"`)},
		{name: "fulcio, another log first", requirements: fulcio(fulcioIdentity, `"fixtures/cosign.pub",`+log)},
		{name: "fulcio, wrong log", requirements: fulcio(fulcioIdentity, `"fixtures/cosign.pub"`), want: "signature is not accepted: cryptographic signature verification of Rekor SET failed"},
		{name: "fulcio, another subject", requirements: fulcio(`"oidcIssuer":"https://github.com/login/oauth","subjectEmail":"this-does-not-match@example.com"`, log), want: `signature is not accepted: Required email "this-does-not-match@example.com" not found (got ["mitr@redhat.com"])`},
		{name: "fulcio, another issuer", requirements: fulcio(`"oidcIssuer":"https://accounts.google.com","subjectEmail":"mitr@redhat.com"`, log), want: `signature is not accepted: Unexpected Fulcio OIDC issuer "` + github + `"`},
		{name: "fulcio, missing entry", change: map[string]string{annotationLog: ""}, requirements: good, want: "missing dev.sigstore.cosign/bundle annotation"},
		{name: "fulcio, invalid entry", change: map[string]string{annotationLog: "this is not a valid SET"}, requirements: good, want: "signature is not accepted: invalid character"},
		{name: "fulcio, missing certificate", change: map[string]string{annotationCertificate: ""}, requirements: good, want: "signed with a key; a certificate is required"},
		{name: "fulcio, invalid certificate", change: map[string]string{annotationCertificate: "this is not a valid certificate"}, requirements: good, want: "expected one certificate"},
		{name: "fulcio, missing chain", change: map[string]string{annotationChain: ""}, requirements: good, want: "certificate signed by unknown authority"},
		{name: "fulcio, missing chain, the intermediate is trusted", change: map[string]string{annotationChain: ""},
			requirements: sigstoreReq(`"fulcio":{"caPath":"fixtures/fulcio-chain",` + fulcioIdentity + `},"rekorPublicKeyPath":` + log + `,` + anyTag)},
		{name: "fulcio, invalid chain", change: map[string]string{annotationChain: "not a certificate"}, requirements: good, want: "the certificate chain cannot be read"},
		{name: "fulcio, another CA", requirements: sigstoreReq(`"fulcio":{"caPath":"fixtures/pki_root_crts.pem",` + fulcioIdentity + `},"rekorPublicKeyPath":` + log + `,` + anyTag), want: "certificate signed by unknown authority"},
		{name: "fulcio, a key is asked for", requirements: byCosignKey, want: "signed by mitr@redhat.com (issuer " + github + "), which is none of the keys"},
		{name: "fulcio, another tag is asked for", requirements: sigstoreReq(`"fulcio":{"caData":"@fixtures/fulcio_v1.crt.pem",` + fulcioIdentity + `},"rekorPublicKeyPath":` + log + `,` + exactTag),
			want: "signature is for 192.168.64.2:5000/cosign-signed/fulcio-rekor-1, asked for"},
	}, fulcioRekorDir+"manifest.json", fulcioRekorRef, []string{fulcioRekorDir + "signature-1"})
}

// pki is a sigstoreSigned requirement of a CA of one's own.
func pki(members string) string { return sigstoreReq(`"pki":{` + members + `},` + anyTag) }

// pkiFixtures are signed with a certificate of a CA of one's own, good until 2052.
func pkiFixtures() []fixtureCase {
	noChain := map[string]string{annotationChain: ""}
	return withDefaults([]fixtureCase{
		{name: "PKI", requirements: pki(pkiRoots + "," + pkiIntermediates + "," + pkiSubjects)},
		{name: "PKI, inline", requirements: pki(`"caRootsData":"@fixtures/pki_root_crts.pem","caIntermediatesData":"@fixtures/pki_intermediate_crts.pem",` + pkiSubjects)},
		{name: "PKI, by e-mail", requirements: pki(pkiRoots + `,"subjectEmail":"qiwan@redhat.com"`)},
		{name: "PKI, by host name", requirements: pki(pkiRoots + `,"subjectHostname":"myhost.example.com"`)},
		{name: "PKI, another e-mail", requirements: pki(pkiRoots + `,"subjectEmail":"this-does-not-match@example.com"`), want: `signature is not accepted: Required email "this-does-not-match@example.com" not found (got ["qiwan@redhat.com"])`},
		{name: "PKI, another host name", requirements: pki(pkiRoots + `,"subjectHostname":"this-does-not-match.example.com"`), want: "signature is not accepted: Unexpected subject hostname: x509: certificate is valid for myhost.example.com"},
		{name: "PKI, intermediates in the signature only", requirements: pki(pkiRoots + "," + pkiSubjects)},
		{name: "PKI, intermediates in the policy only", change: noChain, requirements: pki(pkiRoots + "," + pkiIntermediates + "," + pkiSubjects)},
		{name: "PKI, no intermediates", change: noChain, requirements: pki(pkiRoots + "," + pkiSubjects), want: "certificate signed by unknown authority"},
		{name: "PKI, missing certificate", change: map[string]string{annotationCertificate: ""}, requirements: pki(pkiRoots + "," + pkiIntermediates + "," + pkiSubjects),
			want: "signed with a key; a certificate is required"},
		{name: "PKI, invalid certificate", change: map[string]string{annotationCertificate: "not a certificate"}, requirements: pki(pkiRoots + "," + pkiSubjects), want: "expected one certificate"},
		{name: "PKI, invalid chain", change: map[string]string{annotationChain: "not a certificate"}, requirements: pki(pkiRoots + "," + pkiSubjects), want: "the certificate chain cannot be read"},
		{name: "PKI, another CA", requirements: pki(`"caRootsPath":"fixtures/fulcio_v1.crt.pem",` + pkiSubjects), want: "certificate signed by unknown authority"},
		{name: "PKI, not valid yet", at: time.Date(2024, 9, 1, 0, 0, 0, 0, time.UTC), requirements: pki(pkiRoots + "," + pkiSubjects), want: "certificate has expired or is not yet valid"},
		{name: "PKI, expired", at: time.Date(2052, 3, 1, 0, 0, 0, 0, time.UTC), requirements: pki(pkiRoots + "," + pkiSubjects), want: "certificate has expired or is not yet valid"},
		{name: "PKI, a key is asked for", requirements: byCosignKey, want: "which is none of the keys that this scope trusts"},
	}, pkiDir+"manifest.json", pkiRef, []string{pkiDir + "signature-1"})
}

// TestFixturesOfSigstore judges them, and asks the library itself, too.
func TestFixturesOfSigstore(t *testing.T) {
	f := newFixtureDir(t)
	for _, c := range sigstoreFixtures() {
		t.Run(c.name, func(t *testing.T) {
			atTime(t, c.at, func(t *testing.T) {
				judgeFixture(t, f, c)
				agreesWithLibrary(t, f, c)
			})
		})
	}
}
