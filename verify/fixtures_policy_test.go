package verify

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

const policyFixture = "fixtures/policy.json"

// refusedFixture is a requirement that upstream refuses when it reads it, or each time
// it evaluates it. Here keys are read when the policy is loaded, so it is not loaded.
type refusedFixture struct {
	name, requirement, want string
}

// refusedFixtures are those of TestPRSignedByIsSignatureAuthorAccepted and of the
// PrepareTrustRoot tests. The standard says the same of most; that a key cannot be
// used, upstream finds when it judges, and denies.
func refusedFixtures() []refusedFixture {
	const gpg = `{"type":"signedBy","keyType":"GPGKeys",`
	const fulcioOf = `"oidcIssuer":"https://example.com","subjectEmail":"test@example.com"`
	const key, keys = `"keyPath":"fixtures/cosign.pub"`, `"keyPaths":["fixtures/cosign.pub","fixtures/cosign2.pub"]`
	const fulcio = `"fulcio":{"caPath":"fixtures/fulcio_v1.crt.pem",` + fulcioOf + `}`
	rekor := `"rekorPublicKeyPath":"` + rekorKey + `"`
	return []refusedFixture{
		{"GPG, an unknown type of keys", `{"type":"signedBy","keyType":"This is invalid","keyPath":"fixtures/public-key.gpg"}`, "keyType"},
		{"GPG, path and data", gpg + `"keyPath":"fixtures/public-key.gpg","keyData":"@fixtures/public-key.gpg"}`, "keyPath"},
		{"GPG, path and paths", gpg + `"keyPath":"fixtures/public-key.gpg","keyPaths":["fixtures/public-key-1.gpg"]}`, "keyPath"},
		{"GPG, paths and data", gpg + `"keyPaths":["fixtures/public-key-1.gpg"],"keyData":"@fixtures/public-key.gpg"}`, "keyPath"},
		{"GPG, no keys", gpg + `"signedIdentity":{"type":"matchExact"}}`, "keyPath"},
		{"GPG, no such file", gpg + `"keyPath":"fixtures/does-not-exist"}`, "does not exist"},
		{"GPG, one file of two is missing", gpg + `"keyPaths":["fixtures/public-key.gpg","fixtures/does-not-exist"]}`, "does not exist"},
		{"GPG, no keys in the data", gpg + `"keyData":""}`, "holds no usable OpenPGP public key"},
		{"GPG, a signature", gpg + `"keyPath":"fixtures/image.signature"}`, "holds no usable OpenPGP public key"},
		{"GPG, gpg's trust database", gpg + `"keyPath":"fixtures/trustdb.gpg"}`, "holds no usable OpenPGP public key"},

		{"sigstore, no trust", sigstoreReq(anyTag), "keyPath"},
		{"sigstore, path and data", sigstoreReq(key + `,"keyData":"@fixtures/cosign.pub"`), "keyPath"},
		{"sigstore, path and paths", sigstoreReq(key + "," + keys), "keyPath"},
		{"sigstore, data and datas", sigstoreReq(`"keyData":"@fixtures/cosign.pub","keyDatas":["@fixtures/cosign2.pub"]`), "keyData"},
		{"sigstore, empty paths", sigstoreReq(`"keyPaths":[]`), "keyPaths"},
		{"sigstore, empty datas", sigstoreReq(`"keyDatas":[]`), "keyDatas"},
		{"sigstore, a signature", sigstoreReq(`"keyPath":"fixtures/image.signature"`), "holds no PEM public key"},
		{"sigstore, a signature and a key", sigstoreReq(`"keyPaths":["fixtures/image.signature","fixtures/cosign2.pub"]`), "holds no PEM public key"},
		{"sigstore, a key and a signature", sigstoreReq(`"keyPaths":["fixtures/cosign2.pub","fixtures/image.signature"]`), "holds no PEM public key"},
		{"sigstore, no such file", sigstoreReq(`"keyPath":"fixtures/does-not-exist"`), "does not exist"},
		{"sigstore, a key and no such file", sigstoreReq(`"keyPaths":["fixtures/cosign2.pub","fixtures/does-not-exist"]`), "does not exist"},
		{"sigstore, data is no key", sigstoreReq(`"keyData":"dGhpcyBpcyBpbnZhbGlk"`), "holds no PEM public key"},
		{"sigstore, key and fulcio", sigstoreReq(key + "," + fulcio + "," + rekor), "fulcio"},
		{"sigstore, fulcio and PKI", sigstoreReq(fulcio + "," + rekor + `,"pki":{` + pkiRoots + "," + pkiSubjects + "}"), "fulcio"},
		{"sigstore, PKI and log", sigstoreReq(`"pki":{` + pkiRoots + "," + pkiSubjects + "}," + rekor), "rekorPublicKeyPath"},

		{"log, path and data", sigstoreReq(key + "," + rekor + `,"rekorPublicKeyData":"@` + rekorKey + `"`), "rekorPublicKey"},
		{"log, empty paths", sigstoreReq(key + `,"rekorPublicKeyPaths":[]`), "contains no entries"},
		{"log, empty datas", sigstoreReq(key + `,"rekorPublicKeyDatas":[]`), "contains no entries"},
		{"log, a signature", sigstoreReq(key + `,"rekorPublicKeyPath":"fixtures/image.signature"`), "holds no PEM public key"},
		{"log, a key and a signature", sigstoreReq(key + `,"rekorPublicKeyPaths":["` + rekorKey + `","fixtures/image.signature"]`), "holds no PEM public key"},
		{"log, not ECDSA", sigstoreReq(key + `,"rekorPublicKeyPath":"fixtures/some-rsa-key.pub"`), "expected an ECDSA key, found *rsa.PublicKey"},

		{"fulcio, no log", sigstoreReq(fulcio), "rekorPublicKey"},
		{"fulcio, empty", sigstoreReq(`"fulcio":{},` + rekor), "fulcio"},
		{"fulcio, no CA", sigstoreReq(`"fulcio":{` + fulcioOf + "}," + rekor), "caPath"},
		{"fulcio, two CAs", sigstoreReq(`"fulcio":{"caPath":"fixtures/fulcio_v1.crt.pem","caData":"@fixtures/fulcio_v1.crt.pem",` + fulcioOf + "}," + rekor), "caPath"},
		{"fulcio, a signature", sigstoreReq(`"fulcio":{"caPath":"fixtures/image.signature",` + fulcioOf + "}," + rekor), "holds no PEM certificate"},
		{"fulcio, no such file", sigstoreReq(`"fulcio":{"caPath":"fixtures/does-not-exist",` + fulcioOf + "}," + rekor), "does not exist"},
		{"fulcio, data is no certificate", sigstoreReq(`"fulcio":{"caData":"aW52YWxpZA==",` + fulcioOf + "}," + rekor), "holds no PEM certificate"},
		{"fulcio, no issuer", sigstoreReq(`"fulcio":{"caPath":"fixtures/fulcio_v1.crt.pem","subjectEmail":"test@example.com"},` + rekor), "oidcIssuer"},
		{"fulcio, no subject", sigstoreReq(`"fulcio":{"caPath":"fixtures/fulcio_v1.crt.pem","oidcIssuer":"https://example.com"},` + rekor), "subjectEmail"},

		{"PKI, empty", sigstoreReq(`"pki":{}`), "caRootsPath"},
		{"PKI, no roots", sigstoreReq(`"pki":{` + pkiSubjects + "}"), "caRoots"},
		{"PKI, roots twice", sigstoreReq(`"pki":{` + pkiRoots + `,"caRootsData":"@fixtures/pki_root_crts.pem",` + pkiSubjects + "}"), "caRoots"},
		{"PKI, intermediates twice", sigstoreReq(`"pki":{` + pkiRoots + "," + pkiIntermediates + `,"caIntermediatesData":"@fixtures/pki_intermediate_crts.pem",` + pkiSubjects + "}"), "caIntermediates"},
		{"PKI, roots are a signature", sigstoreReq(`"pki":{"caRootsPath":"fixtures/image.signature",` + pkiSubjects + "}"), "holds no PEM certificate"},
		{"PKI, intermediates are a signature", sigstoreReq(`"pki":{` + pkiRoots + `,"caIntermediatesPath":"fixtures/image.signature",` + pkiSubjects + "}"), "holds no PEM certificate"},
		{"PKI, no such roots", sigstoreReq(`"pki":{"caRootsPath":"fixtures/does-not-exist",` + pkiSubjects + "}"), "does not exist"},
		{"PKI, no such intermediates", sigstoreReq(`"pki":{` + pkiRoots + `,"caIntermediatesPath":"fixtures/does-not-exist",` + pkiSubjects + "}"), "does not exist"},
		{"PKI, no subject", sigstoreReq(`"pki":{` + pkiRoots + "," + pkiIntermediates + "}"), "subject"},
	}
}

// TestRefusedFixtures loads them.
func TestRefusedFixtures(t *testing.T) {
	f := newFixtureDir(t)
	for _, c := range refusedFixtures() {
		t.Run(c.name, func(t *testing.T) {
			_, err := newWorld(t).load(`{"default":[` + f.resolved(c.requirement) + `]}`)
			var faults Faults
			if !errors.As(err, &faults) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("expected a fault about %q, got %v", c.want, err)
			}
		})
	}
	if _, err := newWorld(t).load(`{"default":[]}`); err == nil || !strings.Contains(err.Error(), "at least one requirement") {
		t.Errorf("no requirements: %v", err)
	}
}

// TestPolicyFixture loads upstream's policy.json. As it stands its keys are missing,
// which is found when it is loaded; with keys in their places each scope decides as
// upstream does, and key types that nothing implements deny.
func TestPolicyFixture(t *testing.T) {
	f := newFixtureDir(t)
	text := string(f.read(policyFixture))
	w := newWorld(t)
	_, err := w.load(text)
	for _, want := range []string{"file /keys/employee-gpg-keyring does not exist", "file /keys/RH-beta-signing-key-gpg-keyring does not exist",
		"file /keys/vendor-gpg-keyring does not exist", "file /keys/public-key does not exist", `"example.com/sigstore/key-data-example"[0].keyData`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("expected a fault about %q, got %v", want, err)
		}
	}
	text = strings.ReplaceAll(text, `"/keys/public-key"`, `"fixtures/cosign.pub"`)
	text = regexp.MustCompile(`"/keys/[^"]+"`).ReplaceAllString(text, `"fixtures/public-key.gpg"`)
	text = regexp.MustCompile(`("sigstoreSigned",\s*"keyData": )"bm9uc2Vuc2U="`).ReplaceAllString(text, `$1"@fixtures/cosign.pub"`)
	e := w.engine(f.resolved(text))
	for ref, want := range map[string]string{
		"docker.io/library/nothing:latest":         "the policy rejects every image here",
		"example.com/playground:latest":            "",
		"example.com/production:latest":            "no signatures found",
		"example.com/hardened:latest":              "keyType signedByGPGKeys is not implemented",
		"example.com/hardened-x509:latest":         "keyType X509Certificates is not implemented",
		"registry.access.redhat.com/rhel7:latest":  "keyType signedByGPGKeys is not implemented",
		"registry.redhat.io/beta:latest":           "no signatures found",
		"private-mirror:5000/vendor-mirror:latest": "no signatures found",
		"other.access.redhat.com/x:latest":         "keyType signedByGPGKeys is not implemented",
		"example.com/sigstore/key-path-example:v1": "no signatures found",
		"example.com/sigstore/key-data-example:v1": "no signatures found",
	} {
		s := f.subject(fixtureCase{manifest: simpleImage, ref: ref})
		v, err := e.Verify(t.Context(), s)
		checkFixture(t, fmt.Sprintf("%s under %s", ref, v.Scope), v, err, want, "")
	}
	s := f.subject(fixtureCase{manifest: simpleImage, ref: "private-mirror:5000/vendor-mirror/testing/manifest:latest"})
	w.storeOf(s.Digest, "vendor-mirror/testing/manifest", f.read(validSignature))
	v, err := e.Verify(t.Context(), s)
	checkFixture(t, "remapped", v, err, "signature is for testing/manifest:latest", "")
}
