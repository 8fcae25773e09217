// Package hello builds the smallest container images that still run: one layer
// with one static program of a few hundred bytes that prints a line.
//
// It is for demonstrations and tests, which need images of known content
// without a network, a compiler or a base image. The same input always gives the
// same bytes. It never signs, pushes or pulls anything.
package hello

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// path of the program in the image.
const path = "hello"

// created is the date of every image and file: a constant, so that digests are
// the same in each run.
var created = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Image is one image or index with everything it is made of.
type Image struct {
	MediaType string        // of Manifest
	Digest    digest.Digest // of Manifest
	Manifest  []byte
	// Blobs holds config and layer of an image; an index has none.
	Blobs map[digest.Digest][]byte
	// Children holds the images of an index, in its order.
	Children []Image
	// Platform is what an index says about the image; nil for an index.
	Platform *v1.Platform
}

// Descriptor describes the image as an index would.
func (i Image) Descriptor() v1.Descriptor {
	return v1.Descriptor{MediaType: i.MediaType, Digest: i.Digest, Size: int64(len(i.Manifest)), Platform: i.Platform}
}

// New returns an OCI image for linux/arch whose only program prints text and
// exits.
func New(arch, text string) (Image, error) {
	prog, err := Program(arch, text)
	if err != nil {
		return Image{}, err
	}
	plain, layer, err := pack(prog)
	if err != nil {
		return Image{}, err
	}
	config, err := json.Marshal(v1.Image{
		Created:  &created,
		Platform: v1.Platform{Architecture: arch, OS: "linux"},
		Config:   v1.ImageConfig{Entrypoint: []string{"/" + path}, WorkingDir: "/"},
		RootFS:   v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(plain)}},
		History:  []v1.History{{Created: &created, CreatedBy: "COPY " + path + " /"}},
	})
	if err != nil {
		return Image{}, fmt.Errorf("image config: %w", err)
	}
	m, err := json.Marshal(v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: v1.MediaTypeImageManifest,
		Config:    describe(v1.MediaTypeImageConfig, config),
		Layers:    []v1.Descriptor{describe(v1.MediaTypeImageLayerGzip, layer)},
	})
	if err != nil {
		return Image{}, fmt.Errorf("image manifest: %w", err)
	}
	return Image{
		MediaType: v1.MediaTypeImageManifest,
		Digest:    digest.FromBytes(m),
		Manifest:  m,
		Blobs:     map[digest.Digest][]byte{digest.FromBytes(config): config, digest.FromBytes(layer): layer},
		Platform:  &v1.Platform{Architecture: arch, OS: "linux"},
	}, nil
}

// NewIndex returns an OCI index of the images given.
func NewIndex(images ...Image) (Image, error) {
	index := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex}
	for _, i := range images {
		index.Manifests = append(index.Manifests, i.Descriptor())
	}
	m, err := json.Marshal(index)
	if err != nil {
		return Image{}, fmt.Errorf("image index: %w", err)
	}
	return Image{MediaType: v1.MediaTypeImageIndex, Digest: digest.FromBytes(m), Manifest: m, Children: images}, nil
}

func describe(mediaType string, b []byte) v1.Descriptor {
	return v1.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
}

// pack puts the program into a layer and returns it as tar (which the config's
// diff_ids name) and as tar+gzip (which the manifest names).
func pack(prog []byte) (plain, zipped []byte, err error) {
	var t bytes.Buffer
	tw := tar.NewWriter(&t)
	h := &tar.Header{Typeflag: tar.TypeReg, Name: path, Mode: 0o755, Size: int64(len(prog)), ModTime: created, Format: tar.FormatUSTAR}
	if err := tw.WriteHeader(h); err != nil {
		return nil, nil, fmt.Errorf("layer: %w", err)
	}
	if _, err := tw.Write(prog); err != nil {
		return nil, nil, fmt.Errorf("layer: %w", err)
	}
	if err := tw.Close(); err != nil {
		return nil, nil, fmt.Errorf("layer: %w", err)
	}
	var z bytes.Buffer
	zw := gzip.NewWriter(&z) // no name and no date in its header
	if _, err := zw.Write(t.Bytes()); err != nil {
		return nil, nil, fmt.Errorf("layer: %w", err)
	}
	if err := zw.Close(); err != nil {
		return nil, nil, fmt.Errorf("layer: %w", err)
	}
	return t.Bytes(), z.Bytes(), nil
}
