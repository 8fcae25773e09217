package discover

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
)

func provenance(body string) content {
	return content{typeStatement, body, map[string]string{predicateAnnotation: "https://slsa.dev/provenance/v1"}}
}

// listed is an index of the judged manifest and of what is said to be about it.
func (h *hub) listed(t testing.TB, about digest.Digest, manifests ...[]byte) []byte {
	t.Helper()
	x := imgspec.Index{MediaType: imgspec.MediaTypeImageIndex, Manifests: []imgspec.Descriptor{{Digest: judged, Size: 2}}}
	x.SchemaVersion = 2
	for _, m := range manifests {
		d := digest.FromBytes(m)
		h.manifests[repo+"@"+d.String()] = m
		x.Manifests = append(x.Manifests, imgspec.Descriptor{MediaType: imgspec.MediaTypeImageManifest, Digest: d, Size: int64(len(m)),
			Annotations: map[string]string{referenceType: attestationManifest, referenceDigest: about.String()}})
	}
	b, err := json.Marshal(x)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// inBuildKit is an attestation manifest as BuildKit writes it by default: no subject.
func inBuildKit(m *imgspec.Manifest) { m.Subject = nil }

// TestStatementsInIndex: the provenance beside the image is found, and nothing else is
// fetched.
func TestStatementsInIndex(t *testing.T) {
	sbom := content{typeStatement, "sbom", map[string]string{predicateAnnotation: "https://spdx.dev/Document"}}
	for name, c := range map[string]struct {
		layers  []content
		about   digest.Digest
		without bool // Statements
		want    int
	}{
		"provenance":          {[]content{provenance("p")}, judged, false, 1},
		"beside an SBOM":      {[]content{sbom, provenance("p")}, judged, false, 1},
		"without annotation":  {[]content{{mediaType: typeStatement, body: "p"}}, judged, false, 1},
		"an SBOM":             {[]content{sbom}, judged, false, 0},
		"other layers":        {[]content{{mediaType: imgspec.MediaTypeImageLayerGzip, body: "x"}, bundle("b")}, judged, false, 0},
		"of another platform": {[]content{provenance("p")}, digest.FromString("other"), false, 0},
		"not asked for":       {[]content{provenance("p")}, judged, true, 0},
	} {
		h := newHub()
		index := h.listed(t, c.about, h.holds(t, repo, c.layers, inBuildKit))
		found, err := h.find(t, Query{Statements: !c.without, Index: index})
		if err != nil || len(found.Documents) != c.want || h.count("blob") != c.want {
			t.Errorf("%s: expected %d documents, found %+v, %v, asked %q", name, c.want, found, err, h.asked)
		}
		for _, d := range found.Documents {
			if d.Kind != KindStatement || d.Origin != OriginIndex || string(d.Bytes) != "p" || !strings.HasPrefix(d.Source, repo+"@sha256:") {
				t.Errorf("%s: %+v", name, d)
			}
		}
		if !c.without && (len(found.Looked) != 1 || !strings.Contains(found.Looked[0], digest.FromBytes(index).String())) {
			t.Errorf("%s: looked at %q", name, found.Looked)
		}
	}
}

// TestIndexOfAnother: an index that does not list the image has nothing about it.
func TestIndexOfAnother(t *testing.T) {
	h := newHub()
	index := strings.Replace(string(h.listed(t, judged, h.holds(t, repo, []content{provenance("p")}, inBuildKit))), `"digest":"`+judged.String()+`"`,
		`"digest":"`+digest.FromString("other").String()+`"`, 1)
	found, err := h.find(t, Query{Statements: true, Index: []byte(index)})
	if err != nil || len(found.Documents) != 0 || len(h.asked) != 0 {
		t.Errorf("found %+v, %v, asked %q", found, err, h.asked)
	}
}

// TestStatementsAmongReferrers are returned to those who ask for them only.
func TestStatementsAmongReferrers(t *testing.T) {
	for _, wanted := range []bool{true, false} {
		h := newHub()
		h.refers(repo, h.holds(t, repo, []content{provenance("p")}, nil))
		found, err := h.find(t, Query{Referrers: true, Statements: wanted})
		if err != nil || (len(found.Documents) == 1) != wanted || (h.count("blob") == 1) != wanted {
			t.Errorf("wanted %t: found %+v, %v", wanted, found, err)
		}
	}
}

// TestIndexInDoubt: what an index lists and cannot be read is no absence, and what is
// too much is an error.
func TestIndexInDoubt(t *testing.T) {
	for name, prepare := range map[string]func(h *hub, index []byte) []byte{
		"manifest is gone": func(h *hub, index []byte) []byte { clear(h.manifests); return index },
		"layer is gone":    func(h *hub, index []byte) []byte { clear(h.blobs); return index },
		"too many requests": func(h *hub, index []byte) []byte {
			h.fail["manifest "+repo] = errors.New("429")
			return index
		},
		"other bytes": func(h *hub, index []byte) []byte {
			for k := range h.manifests {
				h.manifests[k] = []byte(`{"schemaVersion":2}`)
			}
			return index
		},
		"no index": func(*hub, []byte) []byte { return []byte(`{"manifests":1}`) },
		"too many": func(h *hub, _ []byte) []byte {
			var all [][]byte
			for i := range MaxReferrers + 1 {
				all = append(all, fmt.Appendf(nil, `{"schemaVersion":2,"x":%d}`, i))
			}
			return h.listed(t, judged, all...)
		},
		"too large": func(_ *hub, index []byte) []byte {
			return []byte(strings.Replace(string(index), `"size":`, `"size":1`+strings.Repeat("0", 8), 2))
		},
		"a large statement": func(h *hub, _ []byte) []byte {
			return h.listed(t, judged, h.holds(t, repo, []content{provenance("p")}, func(m *imgspec.Manifest) { m.Layers[0].Size = MaxSignatureBytes + 1 }))
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHub()
			index := prepare(h, h.listed(t, judged, h.holds(t, repo, []content{provenance("p")}, inBuildKit)))
			found, err := h.find(t, Query{Statements: true, Index: index})
			wantInconclusive(t, found, err, "the attestation manifests of "+repo)
		})
	}
}
