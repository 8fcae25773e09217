package discover

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestLayersDecide goes through what a referrer's manifest may be and say.
func TestLayersDecide(t *testing.T) {
	one := func(mediaType string) []content { return []content{{mediaType: mediaType, body: "evidence"}} }
	artifact := func(s string) func(*imgspec.Manifest) { return func(m *imgspec.Manifest) { m.ArtifactType = s } }
	config := func(s string) func(*imgspec.Manifest) { return func(m *imgspec.Manifest) { m.Config.MediaType = s } }
	for name, c := range map[string]struct {
		layers []content
		edit   func(*imgspec.Manifest)
		want   string // kinds
	}{
		"bundle v0.3":                       {one(typeBundle), artifact(typeBundle), "bundle"},
		"bundle v0.1":                       {one(typeBundleOlder + "0.1"), nil, "bundle"},
		"bundle v0.2":                       {one(typeBundleOlder + "0.2"), nil, "bundle"},
		"bundle v0.3, older spelling":       {one(typeBundleOlder + "0.3"), nil, "bundle"},
		"bundle of no known version":        {one(typeBundleOlder + "0.4"), artifact(typeBundle), ""},
		"bundle that says it is empty":      {one(typeBundle), artifact("application/vnd.oci.empty.v1+json"), "bundle"},
		"bundle that says it is notation's": {one(typeBundle), artifact(artifactNotary), "bundle"},
		"SBOM that says it is a bundle":     {one("application/spdx+json"), artifact(typeBundle), ""},
		"image that says it is a bundle":    {one(imgspec.MediaTypeImageLayerGzip), artifact(typeBundle), ""},
		"notation JWS by artifact type":     {one(typeJOSE), artifact(artifactNotary), "notation"},
		"notation COSE by config":           {one(typeCOSE), config(artifactNotary), "notation"},
		"JWS of something else":             {one(typeJOSE), artifact("application/x"), ""},
		"notation of two layers": {[]content{{mediaType: typeJOSE, body: "1"}, {mediaType: typeCOSE, body: "2"}},
			artifact(artifactNotary), ""},
		"DSSE":                   {one(typeDSSE), nil, "dsse"},
		"DSSE beside a layer":    {append(one(typeDSSE), content{mediaType: imgspec.MediaTypeImageLayer, body: "x"}), nil, "dsse"},
		"two bundles":            {[]content{bundle("1"), bundle("2")}, nil, "bundle bundle"},
		"media type left out":    {one(typeBundle), func(m *imgspec.Manifest) { m.MediaType = "" }, "bundle"},
		"no layers":              {nil, artifact(typeBundle), ""},
		"layer with URLs":        {one(typeBundle), func(m *imgspec.Manifest) { m.Layers[0].URLs = []string{"https://x.example/"} }, ""},
		"foreign layer":          {one("application/vnd.oci.image.layer.nondistributable.v1.tar"), nil, ""},
		"no subject":             {one(typeBundle), func(m *imgspec.Manifest) { m.Subject = nil }, ""},
		"another subject":        {one(typeBundle), func(m *imgspec.Manifest) { m.Subject.Digest = digest.FromString("x") }, ""},
		"subject without digest": {one(typeBundle), func(m *imgspec.Manifest) { m.Subject.Digest = "" }, ""},
		"Docker manifest": {one(typeBundle), func(m *imgspec.Manifest) {
			m.MediaType = "application/vnd.docker.distribution.manifest.v2+json"
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHub()
			b := h.holds(t, repo, c.layers, c.edit)
			h.refers(repo, b)
			found, err := h.find(t, Query{Referrers: true})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, d := range found.Documents {
				got = append(got, string(d.Kind))
				if d.Origin != OriginReferrers || digest.FromBytes(d.Bytes) != d.Digest ||
					!strings.HasPrefix(d.Source, repo+"@"+digest.FromBytes(b).String()) {
					t.Errorf("%+v", d)
				}
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("expected %q, found %q", c.want, got)
			}
			if n := h.count("blob"); n != len(got) {
				t.Errorf("fetched %d blobs for %d documents", n, len(got))
			}
			if want := []string{"the referrers of " + repo + "@" + judged.String()}; !slices.Equal(found.Looked, want) {
				t.Errorf("looked at %q", found.Looked)
			}
		})
	}
}

func TestArtifactTypeIsTheManifestsOwn(t *testing.T) {
	for want, edit := range map[string]func(*imgspec.Manifest){
		"application/x-own":    func(m *imgspec.Manifest) { m.ArtifactType = "application/x-own" },
		"application/x-config": func(m *imgspec.Manifest) { m.Config.MediaType = "application/x-config" },
	} {
		h := newHub()
		h.refers(repo, h.holds(t, repo, []content{bundle("x")}, edit))
		found, err := h.find(t, Query{Referrers: true})
		if err != nil || len(found.Documents) != 1 || found.Documents[0].ArtifactType != want || found.Documents[0].MediaType != typeBundle {
			t.Errorf("%s: %+v, %v", want, found.Documents, err)
		}
	}
}

func TestSimpleSigningAsReferrerIsASignature(t *testing.T) {
	h := newHub()
	h.refers(repo, h.holds(t, repo, []content{{SimpleSigningMIMEType, "payload", map[string]string{"a": "b"}}}, nil))
	found, err := h.find(t, Query{Referrers: true})
	if err != nil || len(found.Signatures) != 1 || len(found.Documents) != 0 {
		t.Fatalf("%+v, %v", found, err)
	}
	s := found.Signatures[0]
	if s.Origin != OriginReferrers || s.Sigstore == nil || string(s.Sigstore.Payload) != "payload" || s.Sigstore.Annotations["a"] != "b" {
		t.Errorf("%+v", s)
	}
}

// TestWhatIsNotAReferrerIsIgnored lists things beside one good bundle: none of them
// is evidence, and none hides it.
func TestWhatIsNotAReferrerIsIgnored(t *testing.T) {
	nested := func(subject bool) []byte {
		i := imgspec.Index{MediaType: imgspec.MediaTypeImageIndex, Manifests: []imgspec.Descriptor{{Digest: judged, Size: 2}}}
		i.SchemaVersion = 2
		if subject {
			i.Subject = &imgspec.Descriptor{Digest: judged, Size: 2}
		}
		b, err := json.Marshal(i)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, b := range map[string][]byte{
		"the subject itself": []byte("{}"), // its digest is the judged one
		"an index":           nested(false),
		"a nested index":     nested(true),
		"not JSON":           []byte("<html>"),
		"an ambiguous one": fmt.Appendf(nil, `{"schemaVersion":2,"subject":{"digest":%q},"layers":[{"mediaType":%q,"digest":%q,"size":2}],"manifests":[]}`,
			judged, typeBundle, judged),
	} {
		h := newHub()
		h.refers(repo, b)
		h.refers(repo, h.holds(t, repo, []content{bundle("good")}, nil))
		found, err := h.find(t, Query{Referrers: true})
		if err != nil || len(found.Documents) != 1 || string(found.Documents[0].Bytes) != "good" {
			t.Errorf("%s: %+v, %v", name, found.Documents, err)
		}
		if n := h.count("blob"); n != 1 {
			t.Errorf("%s: fetched %d blobs", name, n)
		}
	}
	if digest.FromString("{}") != judged {
		t.Error("the judged manifest is another one")
	}
}

func TestNoReferrers(t *testing.T) {
	h := newHub()
	for range 2 {
		found, err := h.find(t, Query{Referrers: true})
		if err != nil || len(found.Documents) != 0 || len(found.Looked) != 1 {
			t.Errorf("%+v, %v", found, err)
		}
		h.fail["referrers"] = fmt.Errorf("no such repository: %w", fs.ErrNotExist)
	}
}

// TestReferrersInconclusive lists one good bundle, and then something that nobody
// can look at. The good one must not decide anything.
func TestReferrersInconclusive(t *testing.T) {
	list := repo + "@" + judged.String()
	last := func(h *hub) *imgspec.Descriptor { return &h.lists[list][len(h.lists[list])-1] }
	layer := func(edit func(*imgspec.Descriptor)) func(t *testing.T, h *hub) {
		return func(t *testing.T, h *hub) {
			h.refers(repo, h.holds(t, repo, []content{bundle("bad")}, func(m *imgspec.Manifest) { edit(&m.Layers[0]) }))
		}
	}
	fails := func(op string, err error) func(t *testing.T, h *hub) {
		return func(_ *testing.T, h *hub) { h.fail[op] = err }
	}
	for name, prepare := range map[string]func(t *testing.T, h *hub){
		"429":     fails("referrers", errors.New("status 429")),
		"500":     fails("referrers", errors.New("status 500")),
		"timeout": fails("referrers", errors.New("no answer in time")),
		"10,000 referrers": func(_ *testing.T, h *hub) {
			for i := range 10_000 {
				h.refers(repo, fmt.Append(nil, i))
			}
		},
		"one too many": func(_ *testing.T, h *hub) {
			for i := range MaxReferrers {
				h.refers(repo, fmt.Append(nil, i))
			}
		},
		"a manifest is gone": func(_ *testing.T, h *hub) {
			h.refers(repo, []byte("x"))
			delete(h.manifests, repo+"@"+last(h).Digest.String())
		},
		"a manifest is refused":          fails("manifest", errors.New("status 403")),
		"a manifest of another digest":   func(_ *testing.T, h *hub) { h.manifests[repo+"@"+last(h).Digest.String()] = []byte("{}") },
		"a manifest larger than listed":  func(_ *testing.T, h *hub) { last(h).Size-- },
		"a manifest of a negative size":  func(_ *testing.T, h *hub) { last(h).Size = -1 },
		"a manifest that is huge":        func(_ *testing.T, h *hub) { last(h).Size = maxManifestBytes + 1 },
		"a manifest of a hostile digest": func(_ *testing.T, h *hub) { last(h).Digest = "sha256:../../x" },
		"a manifest of no known digest":  func(_ *testing.T, h *hub) { last(h).Digest = "md5:d41d8cd98f00b204e9800998ecf8427e" },
		"manifests too large together": func(_ *testing.T, h *hub) {
			for i := range 5 {
				h.refers(repo, fmt.Append(nil, i))
				last(h).Size = maxManifestBytes
			}
		},
		"a blob is gone":                layer(func(d *imgspec.Descriptor) { d.Digest = digest.FromString("gone") }),
		"a blob is refused":             fails("blob", errors.New("status 403")),
		"a blob is larger than said":    layer(func(d *imgspec.Descriptor) { d.Size-- }),
		"a blob of a negative size":     layer(func(d *imgspec.Descriptor) { d.Size = -1 }),
		"a blob that is huge":           layer(func(d *imgspec.Descriptor) { d.Size = MaxSignatureBytes + 1 }),
		"a blob of a hostile digest":    layer(func(d *imgspec.Descriptor) { d.Digest = "sha256:../../x" }),
		"a blob of no known digest":     layer(func(d *imgspec.Descriptor) { d.Digest = "md5:d41d8cd98f00b204e9800998ecf8427e" }),
		"a blob of another digest":      func(_ *testing.T, h *hub) { h.blobs[repo+"@"+digest.FromString("good").String()] = []byte("GOOD") },
		"too many documents in one":     func(t *testing.T, h *hub) { h.refers(repo, h.holds(t, repo, bundles(MaxSignatures), nil)) },
		"too many documents in some":    func(t *testing.T, h *hub) { manyDocuments(t, h) },
		"documents too large together":  func(t *testing.T, h *hub) { h.refers(repo, h.holds(t, repo, bundles(4), largest)) },
		"manifests and documents, both": func(t *testing.T, h *hub) { largeManifests(t, h) },
		"a manifest without a digest":   func(_ *testing.T, h *hub) { last(h).Digest = "" },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHub()
			h.refers(repo, h.holds(t, repo, []content{bundle("good")}, nil))
			prepare(t, h)
			found, err := h.find(t, Query{Referrers: true})
			wantInconclusive(t, found, err, "the referrers of "+list)
			if n := h.count("manifest"); n > MaxReferrers || len(h.lists[list]) > MaxReferrers && n > 0 {
				t.Errorf("fetched %d manifests", n)
			}
			// What the list or a manifest says amiss is seen before anything is fetched.
			for _, said := range []string{"negative", "hostile", "huge", "no known", "too"} {
				what := "blob"
				if strings.HasPrefix(name, "a manifest") || strings.HasPrefix(name, "manifests") {
					what = "manifest"
				}
				if n := h.count(what); strings.Contains(name, said) && n > 0 {
					t.Errorf("fetched %d %ss", n, what)
				}
			}
		})
	}
}

// bundles are n bundles.
func bundles(n int) []content {
	out := make([]content, n)
	for i := range out {
		out[i] = bundle(fmt.Sprintf("bundle %d", i))
	}
	return out
}

// manyDocuments adds as many bundles as one place may hold, in three referrers.
func manyDocuments(t *testing.T, h *hub) {
	for rest := bundles(MaxSignatures); len(rest) > 0; {
		n := min(len(rest), 50)
		h.refers(repo, h.holds(t, repo, rest[:n], nil))
		rest = rest[n:]
	}
}

// largest makes the layers as large as a document may be: four of them fill a place.
func largest(m *imgspec.Manifest) {
	for i := range m.Layers {
		m.Layers[i].Size = MaxSignatureBytes
	}
}

// largeManifests adds 12 MiB of manifests and 8 MiB of layers.
func largeManifests(t *testing.T, h *hub) {
	for i := range 3 {
		b := fmt.Append(nil, i)
		h.refers(repo, append(b, bytes.Repeat([]byte(" "), maxManifestBytes-len(b))...))
	}
	h.refers(repo, h.holds(t, repo, bundles(2), largest))
}

// TestReferrersUpToTheLimits finds as much as one place may hold.
func TestReferrersUpToTheLimits(t *testing.T) {
	h := newHub()
	manyDocuments(t, h)
	for i := range MaxReferrers - 3 {
		h.refers(repo, fmt.Append(nil, i))
	}
	h.lists[repo+"@"+judged.String()] = append(h.lists[repo+"@"+judged.String()], h.lists[repo+"@"+judged.String()]...)
	found, err := h.find(t, Query{Referrers: true})
	if err != nil || len(found.Documents) != MaxSignatures {
		t.Fatalf("%d documents, %v", len(found.Documents), err)
	}
	for i, d := range found.Documents {
		if want := fmt.Sprintf("bundle %d", i); string(d.Bytes) != want {
			t.Errorf("expected %s, found %s", want, d.Bytes)
		}
	}
	if n := h.count("manifest"); n != MaxReferrers {
		t.Errorf("fetched %d manifests: each once was expected", n)
	}
}

func FuzzEvidenceOf(f *testing.F) {
	h := newHub()
	f.Add(h.holds(f, repo, []content{bundle("x"), {mediaType: typeDSSE, body: "y"}}, nil))
	f.Add(h.holds(f, repo, []content{{mediaType: typeCOSE, body: "x"}}, func(m *imgspec.Manifest) { m.ArtifactType = artifactNotary }))
	f.Add([]byte(`{"schemaVersion":2,"subject":{"digest":"` + judged + `"},"layers":[{"mediaType":"` + typeBundle + `","size":-1,"urls":[""]}]}`))
	f.Add([]byte(`{"Subject":{},"subject":null,"layers":[null]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		layers := evidenceAbout(judged, kindSigning, KindBundle, KindNotation, KindDSSE)(b, "x")
		if len(layers) > 0 && !bytes.Contains(b, []byte(hexD[:4])) && !bytes.Contains(b, []byte(`\u`)) {
			t.Error("evidence about something else")
		}
		if len(layers) > MaxSignatures+1 {
			t.Errorf("%d layers", len(layers))
		}
		if checkLayers(layers, 0) != nil {
			return
		}
		var total int64
		for _, l := range layers {
			if total += l.Size; l.Size < 0 || l.Digest.Validate() != nil || l.kind == "" {
				t.Errorf("%+v", l)
			}
		}
		if total > MaxPlaceBytes {
			t.Errorf("%d bytes", total)
		}
	})
}
