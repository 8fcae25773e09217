package verify

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"

	"github.com/pullgate/pullgate/verify/discover"
)

const mediaTypeBundle = "application/vnd.dev.sigstore.bundle.v0.3+json"

// bundleOf is a bundle in shape only: nothing in it would verify.
func bundleOf(t *testing.T, leaf *authority, logged bool, about ...digest.Digest) []byte {
	t.Helper()
	var subjects []any
	for _, d := range about {
		subjects = append(subjects, map[string]any{"digest": map[string]string{"sha256": d.Encoded()}})
	}
	statement := mustJSON(t, map[string]any{"_type": "https://in-toto.io/Statement/v1", "subject": subjects,
		"predicateType": "https://slsa.dev/provenance/v1", "predicate": map[string]any{}})
	material := map[string]any{"publicKey": map[string]any{"hint": "aGludA=="}}
	if leaf != nil {
		material = map[string]any{"certificate": map[string]any{"rawBytes": leaf.cert.Raw}}
	}
	if logged {
		material["tlogEntries"] = []any{map[string]any{}}
	}
	return mustJSON(t, map[string]any{"mediaType": mediaTypeBundle, "verificationMaterial": material,
		"dsseEnvelope": map[string]any{"payload": statement, "payloadType": "application/vnd.in-toto+json",
			"signatures": []any{map[string]any{"sig": []byte("x")}}}})
}

// tagged puts layers beside the image under a tag with a suffix.
func (w *world) tagged(suffix, mediaType string, layers ...[]byte) {
	w.t.Helper()
	m := imgspec.Manifest{MediaType: imgspec.MediaTypeImageManifest}
	m.SchemaVersion = 2
	m.Config = imgspec.Descriptor{MediaType: imgspec.MediaTypeImageConfig, Digest: digest.FromString("{}"), Size: 2}
	for _, b := range layers {
		d := digest.FromBytes(b)
		w.reg.blobs[repo+"@"+d.String()] = b
		m.Layers = append(m.Layers, imgspec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(b))})
	}
	b, err := json.Marshal(m)
	if err != nil {
		w.t.Fatal(err)
	}
	w.reg.manifests[repo+":sha256-"+digest.FromBytes(theManifest).Encoded()+suffix] = b
}

func fulcioLeaf(t *testing.T, uri string) *authority {
	t.Helper()
	return newLeaf(t, newCA(t, nil, ecKey(t), 300), ecKey(t), func(c *x509.Certificate) {
		u, err := url.Parse(uri)
		if err != nil {
			t.Fatal(err)
		}
		c.EmailAddresses, c.URIs = nil, []*url.URL{u}
		issuer, err := asn1.Marshal(issuerURL)
		if err != nil {
			t.Fatal(err)
		}
		ref, err := asn1.Marshal("refs/heads/main")
		if err != nil {
			t.Fatal(err)
		}
		hidden, err := asn1.Marshal("https://github.com/acme\u202e")
		if err != nil {
			t.Fatal(err)
		}
		c.ExtraExtensions = []pkix.Extension{{Id: oidIssuerV2, Value: issuer},
			{Id: certificate.OIDSourceRepositoryRef, Value: ref}, {Id: certificate.OIDSourceRepositoryURI, Value: hidden}}
	})
}

func TestInspectLooksEverywhere(t *testing.T) {
	w := newWorld(t)
	gpg, key := newGPG(t, "ed25519"), newSigstoreKey(t)
	const uri = "https://github.com/acme/app/.github/workflows/build.yml@refs/heads/main"
	w.store("team/app", gpg.sign(v1, theManifest))
	w.attach(repo, key.sign(repo, theManifest), key.sign(repo, otherManifest))
	this, other := digest.FromBytes(theManifest), digest.FromBytes(otherManifest)
	w.tagged(".att", mediaTypeBundle, bundleOf(t, fulcioLeaf(t, uri), true, other, this), bundleOf(t, nil, false, other), []byte("{"))
	// The policy asks for nothing: what it requires says nothing about where to look.
	e := w.engine(`{"default":[{"type":"reject"}]}`)
	got, err := e.Inspect(context.Background(), subject(t, v1))
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Looked) != 4 || !strings.Contains(got.Looked[3], "referrers") || strings.Contains(strings.Join(got.Looked, " "), "secret") {
		t.Errorf("looked at %v", got.Looked)
	}
	if len(got.Evidence) != 6 {
		t.Fatalf("expected 6, found %+v", got.Evidence)
	}
	simple, sig, wrong, keyless, keyed, broken := got.Evidence[0], got.Evidence[1], got.Evidence[2], got.Evidence[3], got.Evidence[4], got.Evidence[5]
	if simple.Kind != KindSimple || simple.Signer != gpg.id() || simple.Identity != v1 || !simple.About || simple.Origin != discover.OriginStored {
		t.Errorf("%+v", simple)
	}
	if sig.Kind != KindSigstore || sig.Identity != repo || !sig.About || sig.Subject != "" || sig.Origin != discover.OriginAttachments {
		t.Errorf("%+v", sig)
	}
	if wrong.About {
		t.Errorf("a signature of another image: %+v", wrong)
	}
	if keyless.Kind != KindBundle || keyless.Issuer != issuerURL || keyless.Subject != uri || !keyless.Logged || keyless.SCT || !keyless.About ||
		keyless.PredicateType != "https://slsa.dev/provenance/v1" || keyless.Fields["sourceRepositoryRef"] != "refs/heads/main" || keyless.Fields["sourceRepositoryURI"] != "" ||
		keyless.Authority == "" {
		t.Errorf("%+v", keyless)
	}
	if keyed.About || keyed.Hint != "aGludA==" || keyed.Subject != "" {
		t.Errorf("%+v", keyed)
	}
	if broken.Problem == "" || broken.About {
		t.Errorf("%+v", broken)
	}
}

// An identity that cannot be shown as it is must not be proposed.
func TestInspectHidesNothing(t *testing.T) {
	for subject, shown := range map[string]bool{
		"https://github.com/acme/app@refs/heads/main":         true,
		"https://github.com/acme/" + strings.Repeat("x", 500): true,
		"": false, "a\u202eb": false, "a\nb": false, "a\xffb": false, strings.Repeat("x", maxIdentity+1): false,
	} {
		if printable(subject) != shown {
			t.Errorf("%.40q: expected shown %t", subject, shown)
		}
	}
}

// A place that cannot be asked is not an empty one.
func TestInspectInconclusive(t *testing.T) {
	w := newWorld(t)
	w.reg.err = errors.New("down")
	got, err := w.engine(`{"default":[{"type":"reject"}]}`).Inspect(context.Background(), subject(t, v1))
	var inconclusive *Inconclusive
	if !errors.As(err, &inconclusive) || len(got.Evidence) > 0 || len(got.Looked) == 0 {
		t.Errorf("%+v, %v", got, err)
	}
	s := subject(t, v1)
	s.Manifest = otherManifest
	if _, err := w.engine(`{"default":[{"type":"reject"}]}`).Inspect(context.Background(), s); err == nil {
		t.Error("bytes of another digest were inspected")
	}
}

func FuzzInspectDocument(f *testing.F) {
	f.Add("bundle", []byte(`{"verificationMaterial":{"certificate":{"rawBytes":"AA=="}}}`), "")
	f.Add("dsse", []byte(`{"payload":"e30="}`), "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n")
	f.Add("notation", []byte(`{}`), "")
	f.Fuzz(func(t *testing.T, kind string, doc []byte, cert string) {
		d := discover.Document{Kind: discover.Kind(kind), Bytes: doc, MediaType: "application/jose+json"}
		if cert != "" {
			d.Annotations = map[string]string{annotationCertificate: cert}
		}
		x := inspectDocument(d)
		if (x.Subject != "" || x.Issuer != "") && !(printable(x.Subject) && printable(x.Issuer)) {
			t.Errorf("%+v", x)
		}
		if strings.ContainsAny(fmt.Sprint(x.Signer, x.Digest, x.Problem, x.Hint, x.PredicateType), "\n\x1b") {
			t.Errorf("%q", fmt.Sprint(x))
		}
		aboutByStatement(d, digest.FromBytes(theManifest))
	})
}

// What a certificate names is proposed as it is or not at all.
func TestInspectCertificate(t *testing.T) {
	ca := newCA(t, nil, ecKey(t), 300)
	for name, c := range map[string]struct {
		issuer, mail string
		want         bool
	}{
		"plain":            {issuerURL, signerMail, true},
		"issuer of lines":  {issuerURL + "\nhttps://more.example", signerMail, false},
		"issuer overrides": {issuerURL + "\u202e", signerMail, false},
		"no issuer":        {"", signerMail, false},
		"long subject":     {issuerURL, strings.Repeat("x", maxIdentity) + "@example.com", false},
	} {
		leaf := newLeaf(t, ca, ecKey(t), func(x *x509.Certificate) {
			issuer, err := asn1.Marshal(c.issuer)
			if err != nil {
				t.Fatal(err)
			}
			x.EmailAddresses, x.ExtraExtensions = []string{c.mail}, []pkix.Extension{{Id: oidIssuerV2, Value: issuer}, {Id: oidSCT, Value: []byte{4, 0}}}
		})
		var e Evidence
		e.certified(leaf.cert, nil)
		if (e.Subject != "" && e.Issuer != "") != c.want || (e.Problem == "") != c.want || !e.SCT {
			t.Errorf("%s: %+v", name, e)
		}
	}
}
