package discover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Annotations of BuildKit on the attestation manifests in an index (BuildKit, "Image
// Attestation Storage").
const (
	referenceType   = "vnd.docker.reference.type"
	referenceDigest = "vnd.docker.reference.digest"

	attestationManifest = "attestation-manifest"
)

// inIndex reads the statements about the judged manifest that lie beside it in its
// index. They are the builder's, and nobody signed them.
func (f Finder) inIndex(ctx context.Context, q Query) (Found, error) {
	index, err := reference.WithDigest(reference.TrimNamed(q.Ref), digest.FromBytes(q.Index))
	if err != nil {
		return Found{}, fmt.Errorf("reference of the index: %w", err)
	}
	place := "the attestation manifests of " + index.String()
	found := Found{Looked: []string{place}}
	list, err := attestationManifests(q.Index, q.Digest)
	if err == nil {
		err = f.referring(ctx, index, list, statementsOf, &found)
	}
	if err != nil {
		return found, inconclusive(place, err)
	}
	return found, nil
}

// attestationManifests lists what index says to be attestations about subject. An
// index that does not list subject itself has none.
func attestationManifests(index []byte, subject digest.Digest) ([]imgspec.Descriptor, error) {
	var x imgspec.Index
	if err := json.Unmarshal(index, &x); err != nil {
		return nil, errors.New("expected an index")
	}
	var out []imgspec.Descriptor
	listed := false
	for _, d := range x.Manifests {
		listed = listed || d.Digest == subject
		if d.Annotations[referenceType] == attestationManifest && d.Annotations[referenceDigest] == subject.String() {
			out = append(out, d)
		}
	}
	if !listed {
		return nil, nil
	}
	return out, nil
}

// statementsOf returns the statements that an attestation manifest holds.
func statementsOf(b []byte, source string) []layer {
	m, err := imageManifest(b)
	if err != nil {
		return nil
	}
	return layersOf(m, source, KindStatement)
}
