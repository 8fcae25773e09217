package verify

import (
	"crypto"
	"crypto/x509"
	"encoding/hex"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore/pkg/cryptoutils"

	"github.com/pullgate/pullgate/verify/bundle"
	"github.com/pullgate/pullgate/verify/discover"
	"github.com/pullgate/pullgate/verify/trustroot"
)

// What the trust root public-good is.
const (
	rootFixtures     = "the fixtures' Fulcio and log"
	rootIntermediate = "the same, and the intermediate certificate"
	rootOtherLog     = "the fixtures' Fulcio and another log"
	rootOtherLogKey  = "the fixtures' Fulcio and another key for its log"
	rootPKI          = "the fixtures' PKI and log"
	rootPublicGood   = "sigstore's public good instance"
)

// rootFiles are the fixtures that a root is made of: certificates, then the log's key.
func rootFiles(kind string) []string {
	const fulcio = "fixtures/fulcio_v1.crt.pem"
	switch kind {
	case rootFixtures:
		return []string{fulcio, rekorKey}
	case rootIntermediate:
		return []string{fulcio, "fixtures/fulcio-chain", rekorKey}
	case rootOtherLog, rootOtherLogKey:
		return []string{fulcio, "fixtures/cosign.pub"}
	case rootPKI:
		return []string{"fixtures/pki_root_crts.pem", "fixtures/pki_intermediate_crts.pem", rekorKey}
	}
	return nil
}

// fixtureRoot is a trust root. Those of the fixtures have no certificate log, as there
// is no fixture of one.
func fixtureRoot(f fixtureDir, kind string) root.TrustedMaterial {
	f.t.Helper()
	if kind == rootPublicGood {
		r, err := root.NewTrustedRootFromPath(filepath.Join("bundle", "testdata", "conformance", "trusted_root.json"))
		if err != nil {
			f.t.Fatal(err)
		}
		return r
	}
	files := rootFiles(kind)
	log := files[len(files)-1]
	id := f.keyID(log)
	if kind == rootOtherLogKey {
		id = f.keyID(rekorKey)
	}
	return f.root(files[:len(files)-1], log, id)
}

// root is a trust root of a root certificate, perhaps intermediates, and a log.
func (f fixtureDir) root(certificates []string, logKey string, logID []byte) root.TrustedMaterial {
	f.t.Helper()
	authority := &root.FulcioCertificateAuthority{Root: f.certificates(certificates[0])[0]}
	authority.ValidityPeriodStart = authority.Root.NotBefore
	for _, name := range certificates[1:] {
		for _, c := range f.certificates(name) {
			if !c.Equal(authority.Root) {
				authority.Intermediates = append(authority.Intermediates, c)
			}
		}
	}
	log := &root.TransparencyLog{ID: logID, PublicKey: f.publicKey(logKey), HashFunc: crypto.SHA256, SignatureHashFunc: crypto.SHA256,
		ValidityPeriodStart: time.Date(2021, 1, 12, 0, 0, 0, 0, time.UTC)}
	r, err := root.NewTrustedRoot(root.TrustedRootMediaType01, []root.CertificateAuthority{authority}, nil, nil,
		map[string]*root.TransparencyLog{hex.EncodeToString(logID): log})
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

func (f fixtureDir) certificates(name string) []*x509.Certificate {
	f.t.Helper()
	certs, err := parseCerts(f.read(name))
	if err != nil {
		f.t.Fatalf("%s: %v", name, err)
	}
	return certs
}

func (f fixtureDir) publicKey(name string) crypto.PublicKey {
	f.t.Helper()
	k, err := cryptoutils.UnmarshalPEMToPublicKey(f.read(name))
	if err != nil {
		f.t.Fatalf("%s: %v", name, err)
	}
	return k
}

// keyID is the ID of a log with this key (RFC 6962, 3.2).
func (f fixtureDir) keyID(name string) []byte {
	f.t.Helper()
	der, err := x509.MarshalPKIXPublicKey(f.publicKey(name))
	if err != nil {
		f.t.Fatal(err)
	}
	id, err := hex.DecodeString(digest.FromBytes(der).Encoded())
	if err != nil {
		f.t.Fatal(err)
	}
	return id
}

// keyBundle is a bundleSigned requirement of keys.
func keyBundle(trust string) string { return `{"type":"bundleSigned",` + trust + `}` }

// identityBundle is a bundleSigned requirement of one identity.
func identityBundle(issuer, subject, more string) string {
	return `{"type":"bundleSigned","trustRoot":"public-good","identities":[{"issuer":"` + issuer + `","subject":"` + subject + `"}]` + more + `}`
}

const (
	github  = "https://github.com/login/oauth"
	noSCT   = `,"thresholds":{"sct":0}`
	logged  = `,"trustRoot":"public-good","thresholds":{"tlog":1}`
	noLogs  = "not enough verified log entries"
	noKey   = "signed by another key than sha256:"
	noBytes = "no sigstore bundles or signatures found"
)

// bundleFixtures are the same .sig attachments under bundleSigned. It binds a signature
// to the manifest's digest, to a key or an identity, and to a log; not to a reference,
// as bundles have none. With identities it asks for more than sigstoreSigned does: an
// entry in a certificate log (SCT), unless the policy says otherwise. Weak keys never
// count here, whatever is configured.
func bundleFixtures() []fixtureCase {
	out := append(keyBundleFixtures(), loggedBundleFixtures()...)
	return append(out, keylessBundleFixtures()...)
}

func keyBundleFixtures() []fixtureCase {
	key := keyBundle(onlyOneCosignName)
	tagged := []string{taggedDir + "signature-1"}
	return withDefaults([]fixtureCase{
		{name: "key", requirements: key},
		{name: "either key", requirements: keyBundle(`"keyPaths":["fixtures/cosign2.pub","fixtures/cosign.pub"]`)},
		{name: "key inline", requirements: keyBundle(`"keyDatas":["@fixtures/cosign.pub","@fixtures/cosign2.pub"]`)},
		{name: "another key", requirements: keyBundle(`"keyPath":"fixtures/cosign2.pub"`), want: noKey},
		{name: "unknown key", signatures: []string{"fixtures/unknown-cosign-key.signature"}, requirements: key, want: noKey},
		{name: "a bad and a good one", signatures: []string{"fixtures/unknown-cosign-key.signature", cosignSignature}, requirements: key},
		{name: "two signatures", signatures: []string{cosignSignature, "fixtures/dir-img-cosign-valid-2/signature-2"}, requirements: key},
		{name: "another reference", ref: "docker.io/this/does-not:match", requirements: key},
		{name: "with a tag", manifest: taggedDir + "manifest.json", signatures: tagged, ref: cosignTagged, requirements: key},
		{name: "with another tag", manifest: taggedDir + "manifest.json", signatures: tagged, ref: "192.168.64.2:5000/skopeo-signed:othertag", requirements: key},
		{name: "modified manifest", manifest: "fixtures/dir-img-cosign-modified-manifest/manifest.json", requirements: key,
			want: "expected docker-manifest-digest sha256:d9dcafdb480aa7c475e91737b96925e45844213dcb0290b4a90017459121f71f"},
		{name: "schema 1 with invalid signatures", manifest: "fixtures/v2s1-invalid-signatures.manifest.json", requirements: key, unknown: "manifest of " + cosignSingle},
		{name: "no cryptographic signature", change: map[string]string{annotationSignature: ""}, requirements: key, want: "expected a signature in base64"},
		{name: "only another attachment", signatures: []string{"fixtures/dir-img-cosign-other-attachment/signature-1"}, requirements: key, want: noBytes},
		{name: "a log entry is asked for", requirements: keyBundle(onlyOneCosignName + logged), root: rootFixtures, want: noLogs},
		{name: "an identity is asked for", requirements: identityBundle(github, "mitr@redhat.com", ""), root: rootFixtures, want: "expected one certificate"},
		{name: "only simple signing", manifest: simpleImage, signatures: []string{validSignature}, ref: manifestLatest, requirements: key, want: noBytes},
	}, cosignImage, cosignSingle, []string{cosignSignature})
}

func loggedBundleFixtures() []fixtureCase {
	const key = `"keyPath":"fixtures/cosign2.pub"`
	return withDefaults([]fixtureCase{
		{name: "log, not asked for", requirements: keyBundle(key)},
		{name: "log", requirements: keyBundle(key + logged), root: rootFixtures},
		{name: "log of the public good instance", requirements: keyBundle(key + logged), root: rootPublicGood},
		{name: "log, keys", requirements: keyBundle(`"keyPaths":["fixtures/cosign.pub","fixtures/cosign2.pub"]` + logged), root: rootFixtures},
		{name: "log, another signer", requirements: keyBundle(onlyOneCosignName + logged), root: rootFixtures, want: noKey},
		{name: "another log", requirements: keyBundle(key + logged), root: rootOtherLog, want: noLogs},
		{name: "another key of the log", requirements: keyBundle(key + logged), root: rootOtherLogKey, want: noLogs},
		{name: "log, missing entry", change: map[string]string{annotationLog: ""}, requirements: keyBundle(key + logged), root: rootFixtures, want: noLogs},
		{name: "log, invalid entry", change: map[string]string{annotationLog: "this is not a valid SET"}, requirements: keyBundle(key + logged), root: rootFixtures, want: "annotation dev.sigstore.cosign/bundle"},
		{name: "two logs are asked for", requirements: keyBundle(key + `,"trustRoot":"public-good","thresholds":{"tlog":2}`), root: rootFixtures, want: noLogs},
	}, keyRekorDir+"manifest.json", keyRekorRef, []string{keyRekorDir + "signature-1"})
}

func keylessBundleFixtures() []fixtureCase {
	good := identityBundle(github, "mitr@redhat.com", noSCT)
	out := withDefaults([]fixtureCase{
		{name: "fulcio", requirements: good, root: rootFixtures},
		{name: "fulcio, a certificate log is asked for", requirements: identityBundle(github, "mitr@redhat.com", ""), root: rootFixtures, want: "SCT",
			stricter: "sigstoreSigned asks for no SCT, and the fixtures have no certificate log"},
		{name: "fulcio, a certificate log is asked for and known", requirements: identityBundle(github, "mitr@redhat.com", ""), root: rootPublicGood},
		{name: "fulcio, another subject", requirements: identityBundle(github, "this-does-not-match@example.com", noSCT), root: rootFixtures, want: "signed by mitr@redhat.com (issuer " + github + ")"},
		{name: "fulcio, another issuer", requirements: identityBundle("https://accounts.google.com", "mitr@redhat.com", noSCT), root: rootFixtures, want: "signed by mitr@redhat.com (issuer " + github + ")"},
		{name: "fulcio, another log", requirements: good, root: rootOtherLog, want: noLogs},
		{name: "fulcio, another key of the log", requirements: good, root: rootOtherLogKey, want: noLogs},
		{name: "fulcio, another CA", requirements: good, root: rootPKI, want: "its certificate was not issued by an authority of trust root public-good"},
		{name: "fulcio, missing entry", change: map[string]string{annotationLog: ""}, requirements: good, root: rootFixtures, want: noLogs},
		{name: "fulcio, invalid entry", change: map[string]string{annotationLog: "this is not a valid SET"}, requirements: good, root: rootFixtures, want: "annotation dev.sigstore.cosign/bundle"},
		{name: "fulcio, missing certificate", change: map[string]string{annotationCertificate: ""}, requirements: good, root: rootFixtures, want: "expected one certificate"},
		{name: "fulcio, invalid certificate", change: map[string]string{annotationCertificate: "this is not a valid certificate"}, requirements: good, root: rootFixtures, want: "annotation dev.sigstore.cosign/certificate"},
		{name: "fulcio, missing chain", change: map[string]string{annotationChain: ""}, requirements: good, root: rootFixtures, want: "its certificate was not issued by an authority of trust root public-good"},
		{name: "fulcio, missing chain, the intermediate is trusted", change: map[string]string{annotationChain: ""}, requirements: good, root: rootIntermediate},
		{name: "fulcio, invalid chain", change: map[string]string{annotationChain: "not a certificate"}, requirements: good, root: rootFixtures, want: "annotation dev.sigstore.cosign/chain"},
		{name: "fulcio, a key is asked for", requirements: keyBundle(onlyOneCosignName), want: noKey},
		{name: "fulcio, another reference", ref: "docker.io/this/does-not:match", requirements: good, root: rootFixtures},
		{name: "fulcio, modified manifest", manifest: cosignImage, requirements: good, root: rootFixtures, want: "expected docker-manifest-digest"},
	}, fulcioRekorDir+"manifest.json", fulcioRekorRef, []string{fulcioRekorDir + "signature-1"})
	// A certificate of a CA without a log proves no time, and names no issuer; this one
	// names two holders. It is not what identities are about. sigstoreSigned with pki is.
	return append(out, withDefaults([]fixtureCase{
		{name: "PKI", requirements: identityBundle("https://issuer.example", "qiwan@redhat.com", `,"thresholds":{"sct":0,"tlog":0}`), root: rootPKI, want: "its certificate: expected exactly one subject alternative name, found 2"},
	}, pkiDir+"manifest.json", pkiRef, []string{pkiDir + "signature-1"})...)
}

// TestFixturesOfBundles judges the attachments by bundleSigned, as .sig attachments
// and as referrers.
func TestFixturesOfBundles(t *testing.T) {
	f := newFixtureDir(t)
	for _, c := range bundleFixtures() {
		t.Run(c.name, func(t *testing.T) {
			atTime(t, c.at, func(t *testing.T) { judgeBundleFixture(t, f, c) })
		})
	}
}

func judgeBundleFixture(t *testing.T, f fixtureDir, c fixtureCase) {
	f.t = t
	s, blobs := f.subject(c), f.blobs(c)
	for place, put := range map[string]func(w *world){
		"attachments": func(w *world) { w.putInRegistry(s, blobs) },
		"referrers": func(w *world) {
			for _, b := range blobs {
				if parsed, err := discover.ParseStored("fixture", b); err == nil && parsed.Sigstore != nil {
					w.referTo(s.Manifest, s.Ref.Name(), parsed.Sigstore.MIMEType, parsed.Sigstore.Payload, parsed.Sigstore.Annotations)
				}
			}
		},
	} {
		w := newWorld(t)
		put(w)
		e := w.engine(`{"default":[` + f.resolved(c.requirements) + `]}`)
		if c.root != "" {
			e.UseRoots(&oneRoot{Root: trustroot.Root{Material: fixtureRoot(f, c.root)}})
		}
		v, err := e.Verify(t.Context(), s)
		checkFixture(t, place, v, err, c.want, c.unknown)
	}
}

// looseParts are the files of an attachment in parts. There is no manifest to them, so
// no image can carry it.
func looseParts() []string {
	return []string{"internal/testdata/rekor-payload", "internal/testdata/rekor-sig", "internal/testdata/rekor-cert", "internal/testdata/rekor-set",
		"fixtures/fulcio-cert", "fixtures/fulcio-chain", "fixtures/pki-cert", "fixtures/pki-chain"}
}

// looseAttachment is the attachment in parts, and the digest of what it signs.
func looseAttachment(f fixtureDir) (*discover.Sigstore, digest.Digest) {
	f.t.Helper()
	s := &discover.Sigstore{MIMEType: discover.SimpleSigningMIMEType, Payload: f.read("internal/testdata/rekor-payload"), Annotations: map[string]string{
		annotationSignature: string(f.read("internal/testdata/rekor-sig")), annotationCertificate: string(f.read("fixtures/fulcio-cert")),
		annotationChain: string(f.read("fixtures/fulcio-chain")), annotationLog: string(f.read("internal/testdata/rekor-set")),
	}}
	return s, "sha256:fa93b01658e3a5a1686dc3ae55f170d8de487006fb53a28efcd12ab0710a2e5f"
}

// TestFixturesInParts are TestVerifyRekorFulcio and the parts of TestPKIVerify.
func TestFixturesInParts(t *testing.T) {
	f := newFixtureDir(t)
	trust := func(subject string) *bundle.Trust {
		id, err := bundle.ParseIdentity(github, "", subject, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		return &bundle.Trust{Root: fixtureRoot(f, rootFixtures), Identities: []bundle.Identity{id}, SCT: bundle.None}
	}
	s, subject := looseAttachment(f)
	if _, err := bundle.VerifySigstore(s, subject, trust("mitr@redhat.com")); err != nil {
		t.Errorf("expected it to be good, got %v", err)
	}
	for name, c := range map[string]struct {
		change  func(*discover.Sigstore)
		subject string
	}{
		"payload does not match": {change: func(s *discover.Sigstore) { s.Payload = append(s.Payload, ' ') }},
		"another subject":        {subject: "this-does-not-match@example.com"},
		"no intermediates":       {change: func(s *discover.Sigstore) { delete(s.Annotations, annotationChain) }},
		"two certificates": {change: func(s *discover.Sigstore) {
			s.Annotations[annotationCertificate] += s.Annotations[annotationCertificate]
		}},
		"no certificate": {change: func(s *discover.Sigstore) { s.Annotations[annotationCertificate] = "not a certificate" }},
		"no chain":       {change: func(s *discover.Sigstore) { s.Annotations[annotationChain] = "not a certificate" }},
	} {
		bad, subject := looseAttachment(f)
		who := "mitr@redhat.com"
		if c.change != nil {
			c.change(bad)
		}
		if c.subject != "" {
			who = c.subject
		}
		if v, err := bundle.VerifySigstore(bad, subject, trust(who)); err == nil {
			t.Errorf("%s: expected a refusal, got %+v", name, v)
		}
	}
	// The others are copies of what is judged above.
	if string(f.read("internal/testdata/rekor-cert")) != string(f.read("fixtures/fulcio-cert")) {
		t.Error("expected rekor-cert to be fulcio-cert")
	}
	stored, err := discover.ParseStored("fixture", f.read(pkiDir+"signature-1"))
	if err != nil {
		t.Fatal(err)
	}
	for file, annotation := range map[string]string{"fixtures/pki-cert": annotationCertificate, "fixtures/pki-chain": annotationChain} {
		want, err := parseCerts([]byte(stored.Sigstore.Annotations[annotation]))
		if got := f.certificates(file); err != nil || len(got) != len(want) || !got[0].Equal(want[0]) {
			t.Errorf("expected %s to be annotation %s of %s: %v", file, annotation, pkiDir, err)
		}
	}
}
