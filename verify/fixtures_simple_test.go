package verify

import (
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// Requirements of simple signing; the names in front are those of upstream's tests.
const (
	byKey        = `{"type":"signedBy","keyType":"GPGKeys","keyPath":"fixtures/public-key.gpg","signedIdentity":{"type":"matchExact"}}`
	byKeyAnyTag  = `{"type":"signedBy","keyType":"GPGKeys","keyPath":"fixtures/public-key.gpg","signedIdentity":{"type":"matchRepository"}}`
	byOtherKey   = `{"type":"signedBy","keyType":"GPGKeys","keyPath":"fixtures/public-key-2.gpg"}`
	bySubkey     = `{"type":"signedBy","keyType":"GPGKeys","keyPath":"fixtures/public-key-with-subkey.gpg","signedIdentity":{"type":"matchExact"}}`
	byRevoked    = `{"type":"signedBy","keyType":"GPGKeys","keyPath":"fixtures/public-key-with-revoked-subkey.gpg","signedIdentity":{"type":"matchExact"}}`
	byKeyring    = `{"type":"signedBy","keyType":"GPGKeys","keyPath":"fixtures/pubring.gpg","signedIdentity":{"type":"matchRepository"}}`
	byPrivateKey = `{"type":"signedBy","keyType":"GPGKeys","keyPath":"fixtures/secring.gpg","signedIdentity":{"type":"matchExact"}}`
	rejectsEvery = `{"type":"reject"}`
	acceptsEvery = `{"type":"insecureAcceptAnything"}`
)

// The references of upstream's tests, and the signatures of its most used images.
const (
	manifestLatest = "docker.io/testing/manifest:latest"
	manifestOther  = "docker.io/testing/manifest:notlatest"
	validSignature = "fixtures/dir-img-valid/signature-1"
	validSecond    = "fixtures/dir-img-valid-2/signature-2"
)

// gpgKeys is signedBy with several key files.
func gpgKeys(files string) string {
	return `{"type":"signedBy","keyType":"GPGKeys","keyPaths":[` + files + `],"signedIdentity":{"type":"matchExact"}}`
}

// gpgIdentity is byKey with another identity.
func gpgIdentity(identity string) string {
	return `{"type":"signedBy","keyType":"GPGKeys","keyPath":"fixtures/public-key.gpg","signedIdentity":` + identity + `}`
}

// simpleFixtures are the fixtures of simple signing. Version 3 signatures are not read
// by the OpenPGP library that containers/image is built with here, as upstream's tests
// allow; gpg would accept the one of a good subkey.
func simpleFixtures() []fixtureCase {
	const unread = "does not verify: openpgp: invalid data: LiteralData not followed by signature"
	one := func(signature string) []string { return []string{signature} }
	valid, both := one(validSignature), []string{validSignature, validSecond}
	mixed := []string{"fixtures/unknown-key.signature", validSignature}
	out := []fixtureCase{
		{name: "one key", signatures: valid, requirements: byKey, signer: "gpg:08CD26E446E2E95249B7A405E932F44B23E8DD43"},
		{name: "key lists, the key first", signatures: valid, requirements: gpgKeys(`"fixtures/public-key-1.gpg","fixtures/public-key-2.gpg"`)},
		{name: "key lists, the key last", signatures: valid, requirements: gpgKeys(`"fixtures/public-key-2.gpg","fixtures/public-key-1.gpg"`)},
		{name: "key lists, the key twice", signatures: valid, requirements: gpgKeys(`"fixtures/public-key-1.gpg","fixtures/public-key-1.gpg"`)},
		{name: "key lists without the key", signatures: valid, requirements: gpgKeys(`"fixtures/public-key-2.gpg","fixtures/public-key-with-subkey.gpg"`),
			want: "signed by key 0xE932F44B23E8DD43, which this scope does not trust"},
		{name: "key inline", signatures: valid, requirements: `{"type":"signedBy","keyType":"GPGKeys","keyData":"@fixtures/public-key.gpg"}`},
		{name: "a keyring of four keys", signatures: valid, requirements: byKeyring},
		{name: "a keyring with private keys", signatures: valid, requirements: byPrivateKey},
		{name: "another key", signatures: valid, requirements: byOtherKey, want: "which this scope does not trust"},
		{name: "key types that nothing implements", signatures: valid,
			requirements: `{"type":"signedBy","keyType":"X509Certificates","keyPath":"fixtures/public-key.gpg"}`, want: "keyType X509Certificates is not implemented"},
		{name: "two signatures", signatures: both, requirements: byKey},
		{name: "two signatures for another tag", signatures: both, ref: manifestOther, requirements: byKey, want: "asked for " + manifestOther},
		{name: "unsigned", requirements: byKey, want: "no signatures found"},
		{name: "unsigned, any allowed", requirements: acceptsEvery},
		{name: "only sigstore signatures", signatures: one("fixtures/dir-img-cosign-valid/signature-1"), requirements: byKey, want: "no simple signing signatures found",
			unstored: "no signatures found"},
		{name: "another tag", signatures: valid, ref: manifestOther, requirements: byKey, want: "signature is for testing/manifest:latest, asked for " + manifestOther},
		{name: "another tag, any accepted", signatures: valid, ref: manifestOther, requirements: byKeyAnyTag},
		{name: "another repository", signatures: valid, ref: "example.com/does-not/match:latest", requirements: byKeyAnyTag, want: "signature is for testing/manifest:latest"},
		{name: "an exact reference", signatures: valid, requirements: gpgIdentity(`{"type":"exactReference","dockerReference":"testing/manifest:latest"}`)},
		{name: "an exact reference of another", signatures: valid, requirements: gpgIdentity(`{"type":"exactReference","dockerReference":"this/does-not:match"}`),
			want: "signature is for testing/manifest:latest"},
		{name: "modified manifest", manifest: "fixtures/dir-img-modified-manifest/manifest.json", signatures: valid, requirements: byKey,
			want: "signature is for digest sha256:20bf21ed457b390829cdbeec8795a7bea1626991fda603e0d01b4e7f60427e55, this manifest is sha256:2edc21ff"},
		{name: "schema 1 with invalid signatures", manifest: "fixtures/v2s1-invalid-signatures.manifest.json", signatures: valid, requirements: byKey, unknown: "manifest of " + manifestLatest},
		{name: "schema 1 with invalid signatures, any allowed", manifest: "fixtures/v2s1-invalid-signatures.manifest.json", requirements: acceptsEvery, unknown: "manifest of " + manifestLatest,
			stricter: "what has no digest is not judged; upstream does not look at a manifest that needs no signature"},
		{name: "a bad and a good one", signatures: mixed, requirements: byKey},
		{name: "two that allow", signatures: mixed, requirements: byKeyAnyTag + "," + byKeyAnyTag},
		{name: "one that allows and one that denies", signatures: mixed, requirements: byKeyAnyTag + "," + rejectsEvery, want: "the policy rejects every image here"},
		{name: "reject", signatures: mixed, requirements: rejectsEvery, want: "the policy rejects every image here"},
		{name: "accept anything", signatures: mixed, requirements: acceptsEvery},
		{name: "accept anything and a key", signatures: valid, requirements: acceptsEvery + "," + byKeyAnyTag},
		{name: "accept anything and a key, unsigned", requirements: acceptsEvery + "," + byKeyAnyTag, want: "no signatures found"},

		{name: "no tag", signatures: one("fixtures/image.signature"), requirements: byKeyAnyTag},
		{name: "no tag, and one is asked for", signatures: one("fixtures/image.signature"), requirements: byKey, want: "signature is for testing/manifest, asked for " + manifestLatest},
		{name: "no tag, modified manifest", manifest: "fixtures/dir-img-modified-manifest/manifest.json", signatures: one("fixtures/image.signature"), requirements: byKeyAnyTag, want: "signature is for digest"},
		{name: "no optional fields", signatures: one("fixtures/no-optional-fields.signature"), requirements: byKeyAnyTag},
		{name: "subkey", signatures: one("fixtures/subkey.signature"), requirements: bySubkey, signer: "gpg:B9F4CDB9FD8C475BFA340AC38D54A947EE396F36"},
		{name: "subkey of a keyring", signatures: one("fixtures/subkey.signature"), requirements: byKeyring},
		{name: "subkey of another key", signatures: one("fixtures/subkey.signature"), requirements: byKey, want: "which this scope does not trust"},
		{name: "revoked subkey", signatures: one("fixtures/subkey-revoked.signature"), requirements: byRevoked, want: "signed by key 0x3EF0F93A1F602997, which is revoked"},
		{name: "revoked subkey of a keyring", signatures: one("fixtures/subkey-revoked.signature"), requirements: byKeyring, want: "which is revoked"},
		{name: "unknown key", signatures: one("fixtures/unknown-key.signature"), requirements: byKeyAnyTag, want: "signed by key 0x5F9470E3BC6C3B55, which this scope does not trust"},
		{name: "unknown key, a keyring", signatures: one("fixtures/unknown-key.signature"), requirements: byKeyring, want: "which this scope does not trust"},
		{name: "corrupt", signatures: one("fixtures/corrupt.signature"), requirements: byKeyAnyTag, want: "does not verify"},
		{name: "expired", signatures: one("fixtures/expired.signature"), requirements: byKeyAnyTag, want: "the signature by key 0xE932F44B23E8DD43 is expired"},
		{name: "expired, while it was not", signatures: one("fixtures/expired.signature"), requirements: byKeyAnyTag,
			at: time.Date(2025, 6, 23, 22, 0, 0, 0, time.UTC), want: "malformed signature: invalid character 'T'"},
		{name: "content is no JSON", signatures: one("fixtures/invalid-blob.signature"), requirements: byKey, want: "malformed signature: invalid character 'T'"},
		{name: "content has an invalid reference", signatures: one("fixtures/invalid-reference.signature"), requirements: byKeyAnyTag, want: `signature is for UPPERCASEISINVALID`},
		{name: "cleartext", signatures: one("fixtures/invalid-cleartext.signature"), requirements: byKey, unknown: "expected an OpenPGP message or a sigstore signature, found an armored one",
			unstored: "malformed signature"},
		{name: "cleartext before a good one", signatures: []string{"fixtures/invalid-cleartext.signature", validSignature}, requirements: byKey,
			unknown: "expected an OpenPGP message or a sigstore signature, found an armored one", unstored: allowedThere},
		{name: "literal data", signatures: one("fixtures/unsigned-literal.signature"), requirements: byKey, want: "the OpenPGP message is not signed"},
		{name: "encrypted data", signatures: one("fixtures/unsigned-encrypted.signature"), requirements: byKey, unknown: "found bytes that start with 0x84", unstored: "malformed signature"},

		{name: "version 3, subkey", signatures: one("fixtures/subkey.signature-v3"), requirements: bySubkey, want: unread},
		{name: "version 3, revoked subkey", signatures: one("fixtures/subkey-revoked.signature-v3"), requirements: byRevoked, want: unread},
		{name: "version 3, unknown key", signatures: one("fixtures/unknown-key.signature-v3"), requirements: byKeyAnyTag, want: "which this scope does not trust"},
		{name: "version 3, corrupt", signatures: one("fixtures/corrupt.signature-v3"), requirements: byKeyAnyTag, want: unread},
		{name: "version 3, content is no JSON", signatures: one("fixtures/invalid-blob.signature-v3"), requirements: byKey, want: unread},
	}
	for i, c := range out {
		if c.manifest == "" {
			out[i].manifest = simpleImage
		}
		if c.ref == "" {
			out[i].ref = manifestLatest
		}
	}
	return out
}

// TestFixturesOfSimpleSigning judges them, and asks the library itself, too.
func TestFixturesOfSimpleSigning(t *testing.T) {
	f := newFixtureDir(t)
	for _, c := range simpleFixtures() {
		t.Run(c.name, func(t *testing.T) {
			atTime(t, c.at, func(t *testing.T) {
				judgeFixture(t, f, c)
				agreesWithLibrary(t, f, c)
			})
		})
	}
}

// agreesWithLibrary asks containers/image what it makes of a case: what the table says.
func agreesWithLibrary(t *testing.T, f fixtureDir, c fixtureCase) {
	t.Helper()
	f.t = t
	want := c.want == "" && c.unknown == "" || c.stricter != ""
	if got := libraryAllows(t, `{"default":[`+f.resolved(c.requirements)+`]}`, f.subject(c), f.blobs(c)); got != want {
		t.Errorf("expected containers/image to allow it: %t, got %t", want, got)
	}
}

// describedFixture is what a signature says about itself, as upstream reads it
// without verifying anything.
type describedFixture struct{ file, signer, identity string }

// describedFixtures are those of TestGetUntrustedSignatureInformationWithoutVerifying and
// TestGPGSigningMechanismUntrustedSignatureContents. The reader that is used there reads
// version 3 signatures, which the one here refuses.
func describedFixtures() []describedFixture {
	return []describedFixture{
		{"fixtures/image.signature", "0xE932F44B23E8DD43", "testing/manifest"},
		{"fixtures/no-optional-fields.signature", "0xE932F44B23E8DD43", "testing/manifest"},
		{"fixtures/corrupt.signature", "0xE932F44B23E8DD43", "testing/manifest"},
		{"fixtures/unknown-key.signature", "0x5F9470E3BC6C3B55", "testing/manifest"},
		{"fixtures/subkey.signature", "0xD75B3109B3BAAEAF", "testing/manifest:latest"},
		{"fixtures/expired.signature", "0xE932F44B23E8DD43", ""},
		{"fixtures/invalid-blob.signature", "0xE932F44B23E8DD43", ""},
	}
}

func describedFiles() (out []string) {
	for _, d := range describedFixtures() {
		out = append(out, d.file)
	}
	return out
}

// TestFixturesDescribeThemselves reads whose they say they are, and of what.
func TestFixturesDescribeThemselves(t *testing.T) {
	f := newFixtureDir(t)
	w := newWorld(t)
	s := f.subject(fixtureCase{manifest: simpleImage, ref: manifestLatest})
	e := w.engine(`{"default":[` + f.resolved(byKey) + `]}`)
	for i, d := range describedFixtures() {
		w.storeOf(s.Digest, "testing/manifest", f.read(d.file))
		v := verify(t, e, s)
		if len(v.Signatures) != 1 {
			t.Fatalf("%s: expected one signature, got %+v", d.file, v.Signatures)
		}
		got, claimed := v.Signatures[0], digest.Digest("")
		if d.identity != "" {
			claimed = s.Digest
		}
		if got.Signer != d.signer || got.Identity != d.identity || got.Digest != claimed.String() || (got.Problem == "") != (d.identity != "") {
			t.Errorf("%d, %s: expected %+v, got %+v", i, d.file, d, got)
		}
	}
}
