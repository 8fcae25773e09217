package discover

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/distribution/reference"
)

// tagged reads a tag beside the image, sha256-<hex> and the suffix .sig or .att:
// an OCI manifest whose layers are payloads or envelopes, and whose annotations are
// what belongs to each (cosign, SIGNATURE_SPEC.md). Layers that are not of the
// kinds are not fetched.
func (f Finder) tagged(ctx context.Context, q Query, suffix string, kinds ...Kind) (Found, error) {
	tag := strings.Replace(q.Digest.String(), ":", "-", 1) + suffix
	ref, err := reference.WithTag(q.repository(), tag)
	if err != nil {
		return Found{}, fmt.Errorf("reference of the attachments: %w", err)
	}
	found := Found{Looked: []string{ref.String()}}
	b, err := f.Registry.ManifestBytes(ctx, ref)
	if errors.Is(err, fs.ErrNotExist) {
		return found, nil
	}
	if err == nil {
		err = f.attached(ctx, ref, b, kinds, &found)
	}
	if err != nil {
		return found, inconclusive(ref.String(), err)
	}
	return found, nil
}

// attached adds to found what the attachment manifest b holds.
func (f Finder) attached(ctx context.Context, ref reference.Named, b []byte, kinds []Kind, found *Found) error {
	if len(b) > maxManifestBytes {
		return fmt.Errorf("manifest is larger than %d bytes", maxManifestBytes)
	}
	m, err := imageManifest(b)
	if err != nil {
		return err
	}
	layers := layersOf(m, ref.String(), kinds...)
	if err := checkLayers(layers, 0); err != nil {
		return err
	}
	return f.fetch(ctx, ref, layers, found)
}
