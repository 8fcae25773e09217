package discover

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/distribution/reference"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/manifest"
	"golang.org/x/sync/errgroup"
)

// attachments reads the .sig tag beside the image: an OCI manifest whose layers
// are payloads and whose annotations are the signatures over them (cosign,
// SIGNATURE_SPEC.md). Layers of other media types are not signatures.
func (f Finder) attachments(ctx context.Context, q Query) (Found, error) {
	tag := strings.Replace(q.Digest.String(), ":", "-", 1) + ".sig"
	ref, err := reference.WithTag(reference.TrimNamed(q.Ref), tag)
	if err != nil {
		return Found{}, fmt.Errorf("reference of the attachments: %w", err)
	}
	found := Found{Looked: []string{ref.String()}}
	b, err := f.Registry.ManifestBytes(ctx, ref)
	if errors.Is(err, fs.ErrNotExist) {
		return found, nil
	}
	if err != nil {
		return found, inconclusive(ref.String(), err)
	}
	layers, err := signatureLayers(b)
	if err != nil {
		return found, inconclusive(ref.String(), err)
	}
	if found.Signatures, err = f.payloads(ctx, ref, layers); err != nil {
		found.Signatures = nil
		return found, inconclusive(ref.String(), err)
	}
	return found, nil
}

// signatureLayers returns the layers of an attachment manifest that are
// signatures, within the limits of one place.
func signatureLayers(b []byte) ([]imgspec.Descriptor, error) {
	if len(b) > maxManifestBytes {
		return nil, fmt.Errorf("manifest is larger than %d bytes", maxManifestBytes)
	}
	m, err := manifest.OCI1FromManifest(b)
	if err != nil {
		return nil, fmt.Errorf("expected an OCI image manifest: %w", err)
	}
	if m.MediaType != "" && m.MediaType != imgspec.MediaTypeImageManifest {
		return nil, fmt.Errorf("expected an OCI image manifest, found %.100q", m.MediaType)
	}
	var out []imgspec.Descriptor
	var total int64
	for _, l := range m.Layers {
		if l.MediaType != SimpleSigningMIMEType {
			continue
		}
		if err := l.Digest.Validate(); err != nil {
			return nil, fmt.Errorf("digest of a layer: %w", err)
		}
		if l.Size < 0 || l.Size > MaxSignatureBytes {
			return nil, fmt.Errorf("layer %s: expected at most %d bytes, found %d", l.Digest, MaxSignatureBytes, l.Size)
		}
		if total += l.Size; total > MaxPlaceBytes {
			return nil, errTooMuch
		}
		if out = append(out, l); len(out) > MaxSignatures {
			return nil, fmt.Errorf("expected at most %d signatures, found more", MaxSignatures)
		}
	}
	return out, nil
}

// payloads fetches the payloads of layers, a few at once, in their order.
func (f Finder) payloads(ctx context.Context, ref reference.Named, layers []imgspec.Descriptor) ([]Signature, error) {
	out := make([]Signature, len(layers))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(attachmentFetches)
	for i, l := range layers {
		g.Go(func() error {
			blob, err := reference.WithDigest(reference.TrimNamed(ref), l.Digest)
			if err != nil {
				return fmt.Errorf("reference of a layer: %w", err)
			}
			// The descriptor's size is the bound: a blob that is longer cannot have
			// the digest that the descriptor was written for.
			b, err := f.Registry.BlobBytes(ctx, blob, l.Size)
			if err != nil {
				return fmt.Errorf("layer %s: %w", l.Digest, err)
			}
			if l.Digest.Algorithm().FromBytes(b) != l.Digest {
				return fmt.Errorf("layer %s: the blob has another digest", l.Digest)
			}
			out[i] = Signature{Source: fmt.Sprintf("%s (layer %s)", ref, l.Digest),
				Sigstore: &Sigstore{MIMEType: l.MediaType, Payload: b, Annotations: l.Annotations}}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return out, nil
}
