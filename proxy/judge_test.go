package proxy_test

import (
	"testing"

	"github.com/distribution/reference"

	"github.com/pullgate/pullgate/verify"
)

// The subjects of a pull are what is judged for it: the index and its images, not the
// evidence in it. Nobody is asked for a verdict, so that what is denied has them too.
func TestSubjects(t *testing.T) {
	w := newWorld(t)
	img, second := imageOf("image"), imageOf("second")
	w.unsigned(indexOf(img, evidenceManifest(inToto, statementFor(img.digest)), second), "v1")
	ref, err := reference.ParseNamed(app + ":v1")
	w.must(err)
	subjects, err := w.handler.Subjects(t.Context(), ref)
	w.must(err)
	if len(subjects) != 3 || subjects[1].Digest != img.digest || subjects[2].Digest != second.digest {
		t.Fatalf("%+v", subjects)
	}
	for _, s := range subjects {
		if d, err := verify.ManifestDigest(s.Manifest, ""); err != nil || d != s.Digest || s.Ref.String() != ref.String() || s.MediaType == "" {
			t.Errorf("%s of %s: %v", s.Digest, s.Ref, err)
		}
	}
	missing, err := reference.ParseNamed(app + ":none")
	w.must(err)
	if _, err := w.handler.Subjects(t.Context(), missing); err == nil {
		t.Error("subjects of what is not there")
	}
}
