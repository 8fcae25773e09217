package harness

import (
	"encoding/json"
	"maps"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// NewImageOn returns an image with the layers of base and one more, whose program
// prints text.
func NewImageOn(t testing.TB, base Image, text string) Image {
	t.Helper()
	top := NewImage(t, text)
	below, belowConfig := opened(t, base)
	m, config := opened(t, top)
	m.Layers = append(below.Layers, m.Layers...)
	config.RootFS.DiffIDs = append(belowConfig.RootFS.DiffIDs, config.RootFS.DiffIDs...)
	config.History = nil
	return withConfig(t, m, config, maps.All(base.Blobs), maps.All(top.Blobs))
}

// NewBuildKitIndex returns an index as BuildKit pushes it: the image, and beside it a
// manifest with statements about it that nobody signed. With subject that is an OCI
// artifact, which is among the image's referrers too.
func NewBuildKitIndex(t testing.TB, img Image, subject bool, predicateType string, statement []byte) Image {
	t.Helper()
	d := digest.FromBytes(statement)
	m := v1.Manifest{MediaType: v1.MediaTypeImageManifest, Config: v1.DescriptorEmptyJSON,
		Layers: []v1.Descriptor{{MediaType: "application/vnd.in-toto+json", Digest: d, Size: int64(len(statement)),
			Annotations: map[string]string{"in-toto.io/predicate-type": predicateType}}}}
	m.SchemaVersion = 2
	var note Image
	if subject {
		of := img.Descriptor()
		of.Platform = nil
		m.ArtifactType, m.Subject = "application/vnd.docker.attestation.manifest.v1+json", &of
		note = fromManifest(t, v1.MediaTypeImageManifest, m)
		note.Blobs = map[digest.Digest][]byte{m.Config.Digest: m.Config.Data, d: statement}
	} else {
		config := v1.Image{Platform: v1.Platform{Architecture: "unknown", OS: "unknown"},
			RootFS: v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{d}}}
		note = withConfig(t, m, config, maps.All(map[digest.Digest][]byte{d: statement}))
	}
	entry := note.Descriptor()
	entry.Platform = &v1.Platform{Architecture: "unknown", OS: "unknown"}
	entry.Annotations = map[string]string{"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": img.Digest.String()}
	index := v1.Index{MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{img.Descriptor(), entry}}
	index.SchemaVersion = 2
	out := fromManifest(t, v1.MediaTypeImageIndex, index)
	out.Children = []Image{img, note}
	return out
}

// opened is the manifest and the config of an image.
func opened(t testing.TB, img Image) (m v1.Manifest, config v1.Image) {
	t.Helper()
	if err := json.Unmarshal(img.Manifest, &m); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(img.Blobs[m.Config.Digest], &config); err != nil {
		t.Fatal(err)
	}
	return m, config
}

// withConfig is an image of m's layers with another config.
func withConfig(t testing.TB, m v1.Manifest, config v1.Image, blobs ...func(yield func(digest.Digest, []byte) bool)) Image {
	t.Helper()
	b, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	m.Config = v1.Descriptor{MediaType: v1.MediaTypeImageConfig, Digest: digest.FromBytes(b), Size: int64(len(b))}
	out := fromManifest(t, v1.MediaTypeImageManifest, m)
	for _, more := range blobs {
		maps.Insert(out.Blobs, more)
	}
	out.Blobs[m.Config.Digest] = b
	out.Platform = &config.Platform
	return out
}
