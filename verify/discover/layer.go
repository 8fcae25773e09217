package discover

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/distribution/reference"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/manifest"
	"golang.org/x/sync/errgroup"
)

// Media types of what is evidence. [SimpleSigningMIMEType] is one too.
const (
	typeDSSE        = "application/vnd.dsse.envelope.v1+json"
	typeStatement   = "application/vnd.in-toto+json"
	typeJOSE        = "application/jose+json"
	typeCOSE        = "application/cose"
	artifactNotary  = "application/vnd.cncf.notary.signature"
	typeBundle      = "application/vnd.dev.sigstore.bundle.v0.3+json"
	typeBundleOlder = "application/vnd.dev.sigstore.bundle+json;version=" // 0.1, 0.2, 0.3
)

// predicateAnnotation says on a layer what an in-toto statement is about, and
// provenancePrefix starts the types of SLSA provenance.
const (
	predicateAnnotation = "in-toto.io/predicate-type"
	provenancePrefix    = "https://slsa.dev/provenance/"
)

// kindSigning is a layer that becomes a [Signature], not a document.
const kindSigning Kind = "simplesigning"

// errNoManifest is said of bytes that are no OCI image manifest.
var errNoManifest = errors.New("expected an OCI image manifest")

// imageManifest reads an OCI image manifest. Bytes that could be read as another
// type too are not one.
func imageManifest(b []byte) (*imgspec.Manifest, error) {
	if err := CheckValues(b); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoManifest, err)
	}
	m, err := manifest.OCI1FromManifest(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoManifest, err)
	}
	if m.MediaType != "" && m.MediaType != imgspec.MediaTypeImageManifest {
		return nil, fmt.Errorf("%w, found %.100q", errNoManifest, m.MediaType)
	}
	return &m.Manifest, nil
}

// artifactType is what a manifest says that it is (OCI image-spec, "Guidelines for
// Artifact Usage").
func artifactType(m *imgspec.Manifest) string {
	if m.ArtifactType != "" {
		return m.ArtifactType
	}
	return m.Config.MediaType
}

// kindOfLayer tells what the i-th layer of m is, "" for what is no evidence. The
// layer decides: the artifactType is believed only where the layer's media type
// alone would not tell, with notation's signatures.
func kindOfLayer(m *imgspec.Manifest, i int) Kind {
	switch m.Layers[i].MediaType {
	case SimpleSigningMIMEType:
		return kindSigning
	case typeDSSE:
		return KindDSSE
	case typeStatement:
		// Beside the provenance lie bills of materials that are larger than what is
		// looked at, and of no use to anybody here.
		if p, ok := m.Layers[i].Annotations[predicateAnnotation]; !ok || strings.HasPrefix(p, provenancePrefix) {
			return KindStatement
		}
	case typeBundle, typeBundleOlder + "0.1", typeBundleOlder + "0.2", typeBundleOlder + "0.3":
		return KindBundle
	case typeJOSE, typeCOSE:
		if len(m.Layers) == 1 && (m.ArtifactType == artifactNotary || m.Config.MediaType == artifactNotary) {
			return KindNotation
		}
	}
	return ""
}

// layer is a layer that is evidence, and where it was found.
type layer struct {
	imgspec.Descriptor
	kind         Kind
	artifactType string
	source       string
}

// layersOf returns the layers of m that are of one of the kinds, and no more than
// are needed to see that they are too many. Documents that say that they are stored
// elsewhere are left out: nobody but the registry is asked.
func layersOf(m *imgspec.Manifest, source string, kinds ...Kind) []layer {
	var out []layer
	for i, d := range m.Layers {
		kind := kindOfLayer(m, i)
		if !slices.Contains(kinds, kind) || kind != kindSigning && len(d.URLs) > 0 {
			continue
		}
		out = append(out, layer{Descriptor: d, kind: kind, artifactType: artifactType(m),
			source: fmt.Sprintf("%s (layer %.100s)", source, d.Digest)})
		if len(out) > MaxSignatures {
			break
		}
	}
	return out
}

// checkLayers holds layers to the limits of one place, of which used bytes are
// gone already.
func checkLayers(layers []layer, used int64) error {
	if len(layers) > MaxSignatures {
		return fmt.Errorf("expected at most %d signatures and documents, found more", MaxSignatures)
	}
	for _, l := range layers {
		if err := l.Digest.Validate(); err != nil {
			return fmt.Errorf("digest of a layer: %w", err)
		}
		if l.Size < 0 || l.Size > MaxSignatureBytes {
			return fmt.Errorf("layer %s: expected at most %d bytes, found %d", l.Digest, MaxSignatureBytes, l.Size)
		}
		if used += l.Size; used > MaxPlaceBytes {
			return errTooMuch
		}
	}
	return nil
}

// fetch reads layers from repo, a few at once, and adds them to found in their
// order. On an error nothing is added.
func (f Finder) fetch(ctx context.Context, repo reference.Named, layers []layer, found *Found) error {
	blobs := make([][]byte, len(layers))
	err := each(ctx, len(layers), func(ctx context.Context, i int) (err error) {
		blobs[i], err = f.blob(ctx, repo, layers[i])
		return err
	})
	if err != nil {
		return err
	}
	for i, l := range layers {
		if l.kind == kindSigning {
			found.Signatures = append(found.Signatures, Signature{Source: l.source,
				Sigstore: &Sigstore{MIMEType: l.MediaType, Payload: blobs[i], Annotations: l.Annotations}})
			continue
		}
		found.Documents = append(found.Documents, Document{Source: l.source, Kind: l.kind, MediaType: l.MediaType,
			ArtifactType: l.artifactType, Bytes: blobs[i], Digest: l.Digest, Annotations: l.Annotations})
	}
	return nil
}

// blob reads one layer.
func (f Finder) blob(ctx context.Context, repo reference.Named, l layer) ([]byte, error) {
	ref, err := reference.WithDigest(reference.TrimNamed(repo), l.Digest)
	if err != nil {
		return nil, fmt.Errorf("reference of a layer: %w", err)
	}
	// The descriptor's size is the bound: a blob that is longer cannot have the
	// digest that the descriptor was written for.
	b, err := f.Registry.BlobBytes(ctx, ref, l.Size)
	if err != nil {
		return nil, fmt.Errorf("layer %s: %w", l.Digest, err)
	}
	if l.Digest.Algorithm().FromBytes(b) != l.Digest {
		return nil, fmt.Errorf("layer %s: the blob has another digest", l.Digest)
	}
	return b, nil
}

// each calls do for 0 to n-1, a few at once, until one fails.
func each(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(fetches)
	for i := range n {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return do(ctx, i)
		})
	}
	return g.Wait()
}
