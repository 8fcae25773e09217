package verify

import (
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// startsWith checks that the first layers of image are those of base, all of them,
// in order: the same content (diff ID), and the same bytes (digest). The bytes count
// because the base's signature vouches for no others: what a layer that was
// compressed anew unpacks to is only said by the image's own config. An error is
// *notBased.
func startsWith(image, base *content, name string) error {
	if len(base.layers) == 0 {
		return notBasedf("base %s has no layers: every image starts with none", name)
	}
	if !slices.ContainsFunc(image.diffIDs, func(d digest.Digest) bool { return slices.Contains(base.diffIDs, d) }) {
		return notBasedf("none of the %d layers of base %s is among the image's %d: the image is not built on it, or was squashed",
			len(base.layers), name, len(image.layers))
	}
	if len(image.layers) < len(base.layers) {
		return notBasedf("the image has %d layers, fewer than the %d of base %s: it was squashed, or is not built on all of it",
			len(image.layers), len(base.layers), name)
	}
	for i, want := range base.diffIDs {
		found := image.diffIDs[i]
		switch {
		case found != want && slices.Contains(image.diffIDs, want):
			return notBasedf("layer %d of base %s is layer %d of the image: the layers are in another order",
				i+1, name, slices.Index(image.diffIDs, want)+1)
		case found != want:
			return notBasedf("layer %d of the image is not the one of base %s: expected diff ID %s, found %s", i+1, name, want, found)
		case image.layers[i].Digest != base.layers[i].Digest:
			return notBasedf("layer %d of the image has the content of base %s, compressed anew: expected digest %s, found %s; "+
				"push the image with the base's layers as they are", i+1, name, base.layers[i].Digest, image.layers[i].Digest)
		}
		if err := isFileSystem(image.layers[i], i); err != nil {
			return err
		}
	}
	return nil
}

// isFileSystem refuses a layer that a client may leave out.
func isFileSystem(l ocispec.Descriptor, i int) error {
	if !slices.Contains(layerTypes, l.MediaType) {
		return notBasedf("layer %d of the image is of type %s, which clients may leave out: expected one of %s",
			i+1, clean(l.MediaType), strings.Join(layerTypes, ", "))
	}
	return nil
}
