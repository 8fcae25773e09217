package upstream

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// referrers looks for manifests of the repository with that subject, and adds
// what the fallback tag lists.
func (l *local) referrers(ctx context.Context, subject reference.Canonical) ([]ocispec.Descriptor, string, error) {
	list := []ocispec.Descriptor{}
	err := l.look(ctx, "referrers", subject, func(v *view) error {
		seen := map[digest.Digest]bool{}
		add := func(d ocispec.Descriptor) error {
			if seen[d.Digest] {
				return nil
			}
			if len(list) == maxReferrers {
				return malformedf("expected at most %d referrers, found more", maxReferrers)
			}
			seen[d.Digest] = true
			list = append(list, d)
			return nil
		}
		err := l.store.all(v, func(b []byte) error {
			if m := parseLocal(b); m.Subject != nil && m.Subject.Digest == subject.Digest() {
				return add(m.descriptor(b))
			}
			return nil
		})
		if errors.Is(err, errMissing) {
			return nil
		}
		if err != nil {
			return err
		}
		return l.fallback(v, subject, add)
	})
	const via = "all manifests of the layout, and the fallback tag"
	if err != nil {
		return nil, via, err
	}
	return list, via, nil
}

// fallback adds the referrers that the fallback tag lists, if there is one.
func (l *local) fallback(v *view, subject reference.Canonical, add func(ocispec.Descriptor) error) error {
	ref, err := fallbackRef(subject)
	if err != nil {
		return malformedf("%w", err)
	}
	b, err := l.store.tagged(v, ref.Tag())
	if errors.Is(err, errMissing) {
		return nil
	}
	if err != nil {
		return err
	}
	tagged, err := addReferrers(nil, b)
	if err != nil {
		return malformedf("%w", err)
	}
	for _, d := range tagged {
		if err := add(d); err != nil {
			return err
		}
	}
	return nil
}

// localManifest is what is read from a manifest on disk.
type localManifest struct {
	SchemaVersion int                  `json:"schemaVersion"`
	MediaType     string               `json:"mediaType"`
	ArtifactType  string               `json:"artifactType"`
	Manifests     []ocispec.Descriptor `json:"manifests"`
	Config        *ocispec.Descriptor  `json:"config"`
	Subject       *ocispec.Descriptor  `json:"subject"`
	Signatures    json.RawMessage      `json:"signatures"`
	Annotations   map[string]string    `json:"annotations"`
}

// parseLocal reads a manifest; what cannot be read is empty, for whoever gets
// the bytes judges them.
func parseLocal(b []byte) localManifest {
	var m localManifest
	if json.Unmarshal(b, &m) != nil {
		return localManifest{}
	}
	return m
}

// mediaType is what a registry would say the type is. Files have no header.
func (m localManifest) mediaType() string {
	switch {
	case m.MediaType != "":
		return m.MediaType
	case m.SchemaVersion == 1 && m.Signatures != nil:
		return mediaDockerSigned1
	case m.SchemaVersion == 1:
		return mediaDockerSchema1
	case m.Manifests != nil:
		return ocispec.MediaTypeImageIndex
	}
	return ocispec.MediaTypeImageManifest
}

// descriptor describes b, the manifest's bytes, as a referrers API would.
func (m localManifest) descriptor(b []byte) ocispec.Descriptor {
	d := ocispec.Descriptor{MediaType: m.mediaType(), Digest: digest.FromBytes(b), Size: int64(len(b)),
		ArtifactType: m.ArtifactType, Annotations: m.Annotations}
	if d.ArtifactType == "" && m.Config != nil {
		d.ArtifactType = m.Config.MediaType
	}
	return d
}
