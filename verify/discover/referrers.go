package discover

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
)

// referrers reads the manifests that refer to the judged one. What the list says
// of them (artifactType, annotations) is not believed: every one is fetched, and
// its own bytes say what it is.
func (f Finder) referrers(ctx context.Context, q Query) (Found, error) {
	subject, err := reference.WithDigest(q.repository(), q.Digest)
	if err != nil {
		return Found{}, fmt.Errorf("reference of the subject: %w", err)
	}
	place, via := "the referrers of "+subject.String(), ""
	var list []imgspec.Descriptor
	if r, ok := f.Registry.(viaReferrers); ok {
		list, via, err = r.ReferrersVia(ctx, subject)
	} else {
		list, err = f.Registry.Referrers(ctx, subject)
	}
	if via != "" {
		place += " (" + via + ")"
	}
	found := Found{Looked: []string{place}}
	if errors.Is(err, fs.ErrNotExist) {
		return found, nil
	}
	if err == nil {
		kinds := []Kind{kindSigning, KindBundle, KindNotation, KindDSSE}
		if q.Statements {
			kinds = append(kinds, KindStatement)
		}
		err = f.referring(ctx, subject, list, evidenceAbout(subject.Digest(), kinds...), &found)
	}
	if err != nil {
		return found, inconclusive(place, err)
	}
	return found, nil
}

// referring adds to found what the listed manifests hold, of which evidence chooses.
// All manifests are read and held to the limits before the first layer is asked for.
func (f Finder) referring(ctx context.Context, subject reference.Canonical, list []imgspec.Descriptor, evidence func(b []byte, source string) []layer, found *Found) error {
	list, err := checkReferrers(list)
	if err != nil {
		return err
	}
	manifests := make([][]byte, len(list))
	err = each(ctx, len(list), func(ctx context.Context, i int) (err error) {
		manifests[i], err = f.referrer(ctx, subject, list[i])
		return err
	})
	if err != nil {
		return err
	}
	var layers []layer
	var used int64
	for i, b := range manifests {
		used += int64(len(b))
		source := reference.TrimNamed(subject).String() + "@" + list[i].Digest.String()
		layers = append(layers, evidence(b, source)...)
	}
	if err := checkLayers(layers, used); err != nil {
		return err
	}
	return f.fetch(ctx, subject, layers, found)
}

// checkReferrers holds a list of referrers to the limits of one place, and names
// each manifest once.
func checkReferrers(list []imgspec.Descriptor) ([]imgspec.Descriptor, error) {
	seen := make(map[digest.Digest]bool, MaxReferrers)
	var out []imgspec.Descriptor
	var total int64
	for _, d := range list {
		if seen[d.Digest] {
			continue
		}
		if err := d.Digest.Validate(); err != nil {
			return nil, fmt.Errorf("digest of a referrer: %w", err)
		}
		if d.Size < 0 || d.Size > maxManifestBytes {
			return nil, fmt.Errorf("referrer %s: expected a manifest of at most %d bytes, found %d", d.Digest, maxManifestBytes, d.Size)
		}
		if total += d.Size; total > MaxPlaceBytes {
			return nil, errTooMuch
		}
		if len(out) == MaxReferrers {
			return nil, fmt.Errorf("expected at most %d referrers, found more", MaxReferrers)
		}
		seen[d.Digest] = true
		out = append(out, d)
	}
	return out, nil
}

// referrer reads one listed manifest. One that does not exist is an error: the
// list says that there is something, and nobody can tell what.
func (f Finder) referrer(ctx context.Context, subject reference.Canonical, d imgspec.Descriptor) ([]byte, error) {
	ref, err := reference.WithDigest(reference.TrimNamed(subject), d.Digest)
	if err != nil {
		return nil, fmt.Errorf("reference of a referrer: %w", err)
	}
	b, err := f.Registry.ManifestBytes(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("referrer %s: %w", d.Digest, err)
	}
	// The listed sizes bound what all manifests take together, so they must hold.
	if int64(len(b)) > d.Size {
		return nil, fmt.Errorf("referrer %s: expected a manifest of %d bytes as listed, found %d", d.Digest, d.Size, len(b))
	}
	if d.Digest.Algorithm().FromBytes(b) != d.Digest {
		return nil, fmt.Errorf("referrer %s: the manifest has another digest", d.Digest)
	}
	return b, nil
}

// evidenceAbout returns the evidence of the kinds about subject that a manifest holds.
// A manifest of another type, or about something else, holds none: a fallback tag may
// list the children of the subject, and anybody may write anything into an index.
func evidenceAbout(subject digest.Digest, kinds ...Kind) func(b []byte, source string) []layer {
	return func(b []byte, source string) []layer {
		m, err := imageManifest(b)
		if err != nil || m.Subject == nil || m.Subject.Digest != subject {
			return nil
		}
		return layersOf(m, source, kinds...)
	}
}
