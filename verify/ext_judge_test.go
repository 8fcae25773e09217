package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/pullgate/pullgate/verify/bundle"
	"github.com/pullgate/pullgate/verify/discover"
)

// bundleSigner signs bundles with a key.
type bundleSigner struct {
	t    testing.TB
	pair *sign.EphemeralKeypair
}

func newBundleSigner(t testing.TB) *bundleSigner {
	t.Helper()
	pair, err := sign.NewEphemeralKeypair(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &bundleSigner{t, pair}
}

func (s *bundleSigner) pem() string {
	s.t.Helper()
	p, err := s.pair.GetPublicKeyPem()
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

// attest is a bundle with a statement about a manifest.
func (s *bundleSigner) attest(manifest []byte, predicateType, predicate string) []byte {
	s.t.Helper()
	statement := fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"x","digest":{"sha256":%q}}],"predicateType":%q,"predicate":%s}`,
		digest.FromBytes(manifest).Encoded(), predicateType, predicate)
	b, err := sign.Bundle(&sign.DSSEData{Data: []byte(statement), PayloadType: "application/vnd.in-toto+json"}, s.pair, sign.BundleOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	out, err := protojson.Marshal(b)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// sign is a bundle as cosign 3 signs an image.
func (s *bundleSigner) sign(manifest []byte) []byte {
	return s.attest(manifest, bundle.SignType, "{}")
}

// refer stores a document as a referrer of the image.
func (w *world) refer(mediaType string, doc []byte) {
	w.t.Helper()
	w.referTo(theManifest, repo, mediaType, doc, nil)
}

// referTo stores a document with annotations as a referrer of a manifest.
func (w *world) referTo(manifest []byte, repository, mediaType string, doc []byte, annotations map[string]string) {
	w.t.Helper()
	layer := imgspec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(doc), Size: int64(len(doc)), Annotations: annotations}
	subject := imgspec.Descriptor{MediaType: imgspec.MediaTypeImageManifest, Digest: digest.FromBytes(manifest), Size: int64(len(manifest))}
	config := imgspec.DescriptorEmptyJSON
	if mediaType == "application/jose+json" {
		config.MediaType = "application/vnd.cncf.notary.signature" // by which notation's are told
	}
	m := imgspec.Manifest{MediaType: imgspec.MediaTypeImageManifest, Config: config, Layers: []imgspec.Descriptor{layer}, Subject: &subject}
	m.SchemaVersion = 2
	b, err := json.Marshal(m)
	if err != nil {
		w.t.Fatal(err)
	}
	w.reg.blobs[repository+"@"+layer.Digest.String()] = doc
	w.reg.manifests[repository+"@"+digest.FromBytes(b).String()] = b
	w.reg.referrers = append(w.reg.referrers, imgspec.Descriptor{MediaType: m.MediaType, Digest: digest.FromBytes(b), Size: int64(len(b)),
		ArtifactType: "application/vnd.oci.empty.v1+json"})
}

const bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"

// TestBundleStories tells what becomes of images by their bundles.
func TestBundleStories(t *testing.T) {
	ours, theirs := newBundleSigner(t), newBundleSigner(t)
	cosign := newSigstoreKey(t)
	const slsa = "https://slsa.dev/provenance/v1"
	const built = `{"buildDefinition":{"buildType":"https://acme.example/build"}}`
	bundleSigned := `{"type":"bundleSigned","keyPath":"ours.pub"}`
	provenance := func(more string) string {
		return `{"type":"attested","predicateType":"` + slsa + `","signedBy":{"keyPath":"ours.pub"}` + more + `}`
	}
	isBuild := `,"condition":"predicate.buildDefinition.buildType == 'https://acme.example/build'"`
	for name, c := range map[string]struct {
		requirement string
		docs        [][]byte
		want        string // in the reasons; empty: allowed
	}{
		"signed":                         {bundleSigned, [][]byte{ours.sign(theManifest)}, ""},
		"unsigned":                       {bundleSigned, nil, "no sigstore bundles or signatures found"},
		"by a stranger":                  {bundleSigned, [][]byte{theirs.sign(theManifest)}, "key"},
		"by a stranger and by us":        {bundleSigned, [][]byte{theirs.sign(theManifest), ours.sign(theManifest)}, ""},
		"of another image":               {bundleSigned, [][]byte{ours.sign([]byte("other"))}, "digest"},
		"an attestation is no signature": {bundleSigned, [][]byte{ours.attest(theManifest, slsa, built)}, "which is no signature"},
		"garbage":                        {bundleSigned, [][]byte{[]byte("{}")}, "" + "bundle"},
		"either key":                     {`{"type":"bundleSigned","keyPaths":["theirs.pub","ours.pub"]}`, [][]byte{ours.sign(theManifest)}, ""},
		"attested":                       {provenance(isBuild), [][]byte{ours.attest(theManifest, slsa, built)}, ""},
		"a signature attests nothing":    {provenance(isBuild), [][]byte{ours.sign(theManifest)}, "an attestation of type " + bundle.SignType},
		"of another type":                {provenance(isBuild), [][]byte{ours.attest(theManifest, slsa+"x", built)}, "expected " + slsa},
		"attested by a stranger":         {provenance(isBuild), [][]byte{theirs.attest(theManifest, slsa, built)}, "key"},
		"attested of another image":      {provenance(isBuild), [][]byte{ours.attest([]byte("other"), slsa, built)}, "digest"},
		"the condition does not hold":    {provenance(isBuild), [][]byte{ours.attest(theManifest, slsa, `{"buildDefinition":{"buildType":"make"}}`)}, "the condition does not hold"},
		"the condition cannot be told":   {provenance(isBuild), [][]byte{ours.attest(theManifest, slsa, `{}`)}, "the condition cannot be evaluated"},
		"one of two attestations holds":  {provenance(isBuild), [][]byte{ours.attest(theManifest, slsa, `{}`), ours.attest(theManifest, slsa, built)}, ""},
		"a condition on the image":       {provenance(`,"condition":"image.reference == 'registry.example.com/team/app:v1'"`), [][]byte{ours.attest(theManifest, slsa, built)}, ""},
		"no age is proven":               {provenance(`,"maxAge":"168h"`), [][]byte{ours.attest(theManifest, slsa, built)}, "nothing proves when the attestation was made"},
		"both are asked for":             {bundleSigned + "," + provenance(isBuild), [][]byte{ours.sign(theManifest)}, "an attestation of type"},
		"both are there":                 {bundleSigned + "," + provenance(isBuild), [][]byte{ours.sign(theManifest), ours.attest(theManifest, slsa, built)}, ""},
		"beside a standard one":          {bundleSigned + `,{"type":"reject"}`, [][]byte{ours.sign(theManifest)}, "the policy rejects"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.write("ours.pub", ours.pem())
			w.write("theirs.pub", theirs.pem())
			w.write("cosign.pub", string(cosign.pem()))
			e := w.engine(fmt.Sprintf(`{"default":[{"type":"reject"}],"transports":{"docker":{"registry.example.com":[%s]}}}`, c.requirement))
			for _, d := range c.docs {
				w.refer(bundleType, d)
			}
			v := verify(t, e, subject(t, v1))
			if got := reasons(v); (v.Decision == Allowed) != (c.want == "") || !strings.Contains(got, c.want) {
				t.Fatalf("%v: %s", v.Decision, got)
			}
			if v.Decision == Allowed {
				for _, r := range v.Requirements {
					if len(r.Signers) == 0 || len(r.Evidence) == 0 {
						t.Errorf("who signed, and where, is missing: %+v", r)
					}
				}
				return
			}
			for _, r := range v.Requirements {
				if !r.Allowed && r.Type != "reject" && r.WouldPass == "" {
					t.Errorf("what would pass is missing: %+v", r)
				}
			}
		})
	}
}

// TestAConditionOnTheTimeIsAskedAgain: it may stop to hold while the verdict is kept.
func TestAConditionOnTheTimeIsAskedAgain(t *testing.T) {
	ours := newBundleSigner(t)
	w := newWorld(t)
	w.write("ours.pub", ours.pem())
	e := w.engine(`{"default":[{"type":"attested","predicateType":"t","signedBy":{"keyPath":"ours.pub"},"condition":"timestamp(predicate.at) > now - duration('1h')"}]}`)
	w.refer(bundleType, ours.attest(theManifest, "t", fmt.Sprintf(`{"at":%q}`, time.Now().UTC().Format(time.RFC3339))))
	v := verify(t, e, subject(t, v1))
	if v.Decision != Allowed || v.Expires.IsZero() || time.Until(v.Expires) > time.Minute {
		t.Errorf("%v until %s: %s", v.Decision, v.Expires, reasons(v))
	}
}

// TestBundlesMayBeOldAttachments: most public images still carry .sig attachments.
func TestBundlesMayBeOldAttachments(t *testing.T) {
	key, other := newSigstoreKey(t), newSigstoreKey(t)
	w := newWorld(t)
	w.write("cosign.pub", string(key.pem()))
	e := w.engine(`{"default":[{"type":"bundleSigned","keyPath":"cosign.pub"}]}`)
	w.attach(repo, other.sign(repo, theManifest))
	if v := verify(t, e, subject(t, v1)); v.Decision == Allowed {
		t.Error("signed by another key, and allowed")
	}
	w.attach(repo, key.sign(repo, []byte("other")))
	if v := verify(t, e, subject(t, v1)); v.Decision == Allowed {
		t.Error("the signature of another image counts")
	}
	w.attach(repo, other.sign(repo, theManifest), key.sign(repo, theManifest))
	if v := verify(t, e, subject(t, v1)); v.Decision != Allowed {
		t.Errorf("%s", reasons(v))
	}
}

// TestStandardRequirementsDoNotLookAtReferrers: what podman does not see must not
// make an image pass that podman would refuse.
func TestStandardRequirementsDoNotLookAtReferrers(t *testing.T) {
	key, ours := newSigstoreKey(t), newBundleSigner(t)
	w := newWorld(t)
	w.write("ours.pub", ours.pem())
	standard, err := json.Marshal(sigstoreSigned(map[string]any{"type": "matchRepository"}, key))
	if err != nil {
		t.Fatal(err)
	}
	e := w.engine(fmt.Sprintf(`{"default":[%s,{"type":"bundleSigned","keyPath":"ours.pub"}]}`, standard))
	s := key.sign(repo, theManifest)
	w.refer(bundleType, ours.sign(theManifest))
	w.referSimple(s.Payload, s.Annotations)
	v := verify(t, e, subject(t, v1))
	if v.Decision == Allowed || v.Requirements[0].Allowed || !v.Requirements[1].Allowed {
		t.Errorf("%+v", v.Requirements)
	}
}

// referSimple stores a cosign signature as a referrer.
func (w *world) referSimple(payload []byte, annotations map[string]string) {
	w.t.Helper()
	w.referTo(theManifest, repo, discover.SimpleSigningMIMEType, payload, annotations)
}

// TestExtensionsAreInconclusiveWhenReferrersAre: a registry that does not answer is
// no registry without bundles.
func TestExtensionsAreInconclusiveWhenReferrersAre(t *testing.T) {
	ours := newBundleSigner(t)
	w := newWorld(t)
	w.write("ours.pub", ours.pem())
	e := w.engine(`{"default":[{"type":"bundleSigned","keyPath":"ours.pub"}]}`)
	w.reg.err = errors.New("status 429")
	var doubt *Inconclusive
	if v, err := e.Verify(context.Background(), subject(t, v1)); !errors.As(err, &doubt) || v.Decision == Allowed {
		t.Errorf("%v, %v", v.Decision, err)
	}
}

// TestTrustRootsThatAreMissingAreInconclusive: that the gate has no roots says
// nothing about the image.
func TestTrustRootsThatAreMissingAreInconclusive(t *testing.T) {
	w := newWorld(t)
	e := w.engine(`{"default":[{"type":"bundleSigned","trustRoot":"public-good","identities":[{"issuer":"https://i.example","subject":"s"}]}]}`)
	w.refer(bundleType, newBundleSigner(t).sign(theManifest))
	if v, err := e.Verify(context.Background(), subject(t, v1)); err == nil || v.Decision == Allowed || !strings.Contains(err.Error(), "public-good") {
		t.Errorf("%v, %v", v.Decision, err)
	}
}

// TestAttestationsOfEveryKind: what is attested does not matter to who may attest it.
func TestAttestationsOfEveryKind(t *testing.T) {
	ours := newBundleSigner(t)
	for name, c := range map[string]struct{ predicateType, predicate, bad, condition string }{
		"SLSA provenance v0.2": {"https://slsa.dev/provenance/v0.2",
			`{"builder":{"id":"https://acme.example/builder"},"invocation":{"configSource":{"uri":"git+https://github.com/acme/app@refs/heads/main"}}}`,
			`{"builder":{"id":"https://evil.example/builder"},"invocation":{"configSource":{"uri":"git+https://github.com/acme/app@refs/heads/main"}}}`,
			`predicate.builder.id == 'https://acme.example/builder' && predicate.invocation.configSource.uri.endsWith('@refs/heads/main')`},
		"SPDX": {"https://spdx.dev/Document",
			`{"spdxVersion":"SPDX-2.3","packages":[{"name":"openssl","licenseConcluded":"Apache-2.0"}]}`,
			`{"spdxVersion":"SPDX-2.3","packages":[{"name":"openssl","licenseConcluded":"AGPL-3.0-only"}]}`,
			`!predicate.packages.exists(p, p.licenseConcluded.startsWith('AGPL'))`},
		"CycloneDX": {"https://cyclonedx.org/bom",
			`{"bomFormat":"CycloneDX","components":[{"name":"log4j-core","version":"2.17.1"}]}`,
			`{"bomFormat":"CycloneDX","components":[{"name":"log4j-core","version":"2.14.0"}]}`,
			`predicate.components.all(c, c.name != 'log4j-core' || !c.version.matches('^2[.]([0-9]|1[0-6])[.]'))`},
		"vulnerabilities": {"https://cosign.sigstore.dev/attestation/vuln/v1",
			`{"scanner":{"result":{"Results":[{"Vulnerabilities":[{"Severity":"LOW"}]},{}]}}}`,
			`{"scanner":{"result":{"Results":[{"Vulnerabilities":[{"Severity":"CRITICAL"}]}]}}}`,
			`!predicate.scanner.result.Results.exists(r, has(r.Vulnerabilities) && r.Vulnerabilities.exists(v, v.Severity == 'CRITICAL'))`},
		"OpenVEX": {"https://openvex.dev/ns",
			`{"statements":[{"vulnerability":{"name":"CVE-1"},"status":"not_affected"}]}`,
			`{"statements":[{"vulnerability":{"name":"CVE-1"},"status":"affected"}]}`,
			`predicate.statements.all(s, s.status in ['not_affected', 'fixed'])`},
		"test result": {"https://in-toto.io/attestation/test-result/v0.1",
			`{"result":"PASSED","configuration":[{"name":"ci.yml"}],"failedTests":[]}`,
			`{"result":"FAILED","configuration":[{"name":"ci.yml"}],"failedTests":["x"]}`,
			`predicate.result == 'PASSED'`},
		"one's own": {"https://acme.example/approved", `"yes"`, `"no"`, `predicate == 'yes'`},
	} {
		t.Run(name, func(t *testing.T) {
			requirement, err := json.Marshal(map[string]any{"type": "attested", "predicateType": c.predicateType, "condition": c.condition,
				"signedBy": map[string]any{"keyPath": "ours.pub"}})
			if err != nil {
				t.Fatal(err)
			}
			for predicate, want := range map[string]Decision{c.predicate: Allowed, c.bad: Denied} {
				w := newWorld(t)
				w.write("ours.pub", ours.pem())
				e := w.engine(fmt.Sprintf(`{"default":[%s]}`, requirement))
				w.refer(bundleType, ours.attest(theManifest, c.predicateType, predicate))
				if v := verify(t, e, subject(t, v1)); v.Decision != want || want == Denied && !strings.Contains(reasons(v), "the condition does not hold") {
					t.Errorf("%s: %v: %s", predicate, v.Decision, reasons(v))
				}
			}
		})
	}
}

// TestWouldPassSaysAllThatIsAskedFor: who has to sign, by which fields, and what has to
// vouch for it.
func TestWouldPassSaysAllThatIsAskedFor(t *testing.T) {
	identity := `"trustRoot":"public-good","identities":[{"issuer":"https://i.example","subject":"s","sourceRepositoryRef":"refs/heads/main","runnerEnvironment":"github-hosted"}]`
	for requirement, want := range map[string]string{
		`{"type":"bundleSigned",` + identity + `}`:                                                                           "by s (issuer https://i.example, runnerEnvironment github-hosted, sourceRepositoryRef refs/heads/main) under trust root public-good, vouched for by 1 transparency log, 1 certificate log",
		`{"type":"bundleSigned",` + identity + `,"thresholds":{"tlog":0,"sct":0,"timestamps":2}}`:                            "under trust root public-good, vouched for by 2 timestamp authority",
		`{"type":"bundleSigned","keyPath":"ours.pub"}`:                                                                       "by one of the keys sha256:",
		`{"type":"bundleSigned","keyPath":"ours.pub","trustRoot":"public-good","thresholds":{"tlog":1}}`:                     ", vouched for by 1 transparency log",
		`{"type":"attested","predicateType":"t","signedBy":{` + identity + `},"condition":"predicate.x == 1","maxAge":"1h"}`: "vouched for by 1 transparency log, 1 certificate log, for which predicate.x == 1, not older than 1h0m0s",
	} {
		w := newWorld(t)
		w.write("ours.pub", newBundleSigner(t).pem())
		p, err := w.load(`{"default":[` + requirement + `]}`)
		if err != nil {
			t.Fatal(err)
		}
		got := p.Explain(TransportDocker, named(t, v1)).Requirements[0].WouldPass
		if !strings.Contains(got, want) || strings.Contains(requirement, `"ours.pub"}`) && strings.Contains(got, "vouched") {
			t.Errorf("expected %q in %q", want, got)
		}
	}
}
