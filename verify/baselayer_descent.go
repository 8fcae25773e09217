package verify

import (
	"slices"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// descent is the way from an image that is judged for itself down to one of its
// bases, with what was tried on all such ways.
type descent struct {
	images []string // repository@digest, outermost first
	tried  *int
}

// below is the way to the bases of j.
func (j *judged) below() (*descent, error) {
	d := &descent{tried: new(int)}
	if j.above != nil {
		d.images, d.tried = slices.Clone(j.above.images), j.above.tried
	}
	d.images = append(d.images, imageKey(j.ref(), j.canonical))
	if len(d.images) > maxBaseDepth {
		return nil, notBasedf("bases are nested deeper than %d", maxBaseDepth)
	}
	return d, nil
}

// try counts one more base that is looked at. Where provenance names several, and
// that of each of them several again, somebody has to say enough.
func (d *descent) try() error {
	if *d.tried == maxBaseTries {
		return notBasedf("more than %d images may be its base or a base of that: expected annotations that say which", maxBaseTries)
	}
	*d.tried++
	return nil
}

// has tells whether an image is on the way.
func (d *descent) has(ref reference.Named, canonical digest.Digest) bool {
	return slices.Contains(d.images, imageKey(ref, canonical))
}

func imageKey(ref reference.Named, d digest.Digest) string { return ref.Name() + "@" + d.String() }
