package harness

import (
	"encoding/json"
	"runtime"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/cmd/pullgate-demo/hello"
)

// Image is a manifest with everything that belongs to it; a text makes it, and
// all its blobs, different from every other.
type Image = hello.Image

// Media types that are Docker's own.
const (
	DockerManifest  = "application/vnd.docker.distribution.manifest.v2+json"
	DockerList      = "application/vnd.docker.distribution.manifest.list.v2+json"
	DockerSchema1   = "application/vnd.docker.distribution.manifest.v1+json"
	DockerSchema1JS = "application/vnd.docker.distribution.manifest.v1+prettyjws"
	dockerConfig    = "application/vnd.docker.container.image.v1+json"
	dockerLayer     = "application/vnd.docker.image.rootfs.diff.tar.gzip"
)

// Arch is the architecture of single images: this machine's, so that every
// client takes them.
func Arch() string {
	if slices.Contains(hello.Architectures(), runtime.GOARCH) {
		return runtime.GOARCH
	}
	return "amd64"
}

// NewImage returns an OCI image for this machine that prints text and exits.
func NewImage(t testing.TB, text string) Image { return NewImageFor(t, Arch(), text) }

// NewImageFor returns an OCI image for linux/arch.
func NewImageFor(t testing.TB, arch, text string) Image {
	t.Helper()
	img, err := hello.New(arch, text)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// NewIndex returns an OCI index of images or further indexes.
func NewIndex(t testing.TB, images ...Image) Image {
	t.Helper()
	index, err := hello.NewIndex(images...)
	if err != nil {
		t.Fatal(err)
	}
	return index
}

// NewMultiArch returns an OCI index of an amd64 and an arm64 image.
func NewMultiArch(t testing.TB, text string) Image {
	t.Helper()
	return NewIndex(t, NewImageFor(t, "amd64", text+" (amd64)"), NewImageFor(t, "arm64", text+" (arm64)"))
}

// NewDockerImage returns a Docker schema 2 image for this machine.
func NewDockerImage(t testing.TB, text string) Image {
	t.Helper()
	return toDocker(t, NewImage(t, text))
}

// NewDockerList returns a Docker manifest list of an amd64 and an arm64 image.
func NewDockerList(t testing.TB, text string) Image {
	t.Helper()
	index := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: DockerList}
	var children []Image
	for _, arch := range hello.Architectures() {
		child := toDocker(t, NewImageFor(t, arch, text+" ("+arch+")"))
		children = append(children, child)
		index.Manifests = append(index.Manifests, child.Descriptor())
	}
	img := fromManifest(t, DockerList, index)
	img.Children = children
	return img
}

// toDocker rewrites an OCI image's manifest as Docker schema 2 over the same
// blobs.
func toDocker(t testing.TB, img Image) Image {
	t.Helper()
	var m v1.Manifest
	if err := json.Unmarshal(img.Manifest, &m); err != nil {
		t.Fatal(err)
	}
	m.MediaType, m.Config.MediaType = DockerManifest, dockerConfig
	for i := range m.Layers {
		m.Layers[i].MediaType = dockerLayer
	}
	out := fromManifest(t, DockerManifest, m)
	out.Blobs, out.Platform = img.Blobs, img.Platform
	return out
}

// NewArtifact returns an OCI artifact with one blob; subject, when not nil, is
// the manifest that it belongs to.
func NewArtifact(t testing.TB, artifactType, blobType string, blob []byte, subject *v1.Descriptor) Image {
	t.Helper()
	m := v1.Manifest{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    v1.MediaTypeImageManifest,
		ArtifactType: artifactType,
		Config:       v1.DescriptorEmptyJSON,
		Layers:       []v1.Descriptor{{MediaType: blobType, Digest: digest.FromBytes(blob), Size: int64(len(blob))}},
		Subject:      subject,
	}
	img := fromManifest(t, v1.MediaTypeImageManifest, m)
	img.Blobs = map[digest.Digest][]byte{
		v1.DescriptorEmptyJSON.Digest: v1.DescriptorEmptyJSON.Data,
		digest.FromBytes(blob):        blob,
	}
	return img
}

// WithAnnotation returns the image with one more annotation in its manifest:
// another digest over the same blobs, as an attacker or a rebuild makes it.
func WithAnnotation(t testing.TB, img Image, key, value string) Image {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(img.Manifest, &m); err != nil {
		t.Fatal(err)
	}
	m["annotations"] = map[string]string{key: value}
	out := fromManifest(t, img.MediaType, m)
	out.Blobs, out.Children, out.Platform = img.Blobs, img.Children, img.Platform
	return out
}

// FromManifest wraps the bytes of any manifest, valid or not; blobs can be
// added.
func FromManifest(mediaType string, manifest []byte) Image {
	return Image{MediaType: mediaType, Manifest: manifest, Digest: digest.FromBytes(manifest), Blobs: map[digest.Digest][]byte{}}
}

func fromManifest(t testing.TB, mediaType string, m any) Image {
	t.Helper()
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return FromManifest(mediaType, b)
}

// NewSchema1 returns a Docker schema 1 image, signed as that format demands
// (prettyjws) or plain. Its digest leaves the signatures out.
func NewSchema1(t testing.TB, name, tag, text string, signed bool) Image {
	t.Helper()
	base := NewImage(t, text)
	var m v1.Manifest
	if err := json.Unmarshal(base.Manifest, &m); err != nil {
		t.Fatal(err)
	}
	layer := m.Layers[0].Digest
	compat, err := json.Marshal(map[string]any{
		"id": digest.FromString(text).Encoded(), "created": "2026-01-01T00:00:00Z",
		"os": "linux", "architecture": Arch(), "config": map[string]any{"Entrypoint": []string{"/hello"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.MarshalIndent(map[string]any{
		"schemaVersion": 1, "name": name, "tag": tag, "architecture": Arch(),
		"fsLayers": []map[string]any{{"blobSum": layer}},
		"history":  []map[string]any{{"v1Compatibility": string(compat)}},
	}, "", "   ")
	if err != nil {
		t.Fatal(err)
	}
	img := FromManifest(DockerSchema1, payload)
	if signed {
		img.MediaType, img.Manifest = DockerSchema1JS, signSchema1(t, payload)
	}
	img.Blobs[layer] = base.Blobs[layer]
	return img
}
