package proxy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/verify"
)

// Rule 4: an index is allowed itself, or every manifest in it is allowed under
// the reference that was asked for.

func TestTagConfusion(t *testing.T) {
	w := newWorld(t, exactly)
	old := w.signed(imageOf("old, with a hole in it"), "v1")
	index := w.unsigned(indexOf(old), "latest")
	got := w.wantDenied(manifestPath(app, "latest"))
	if want := "signature is for " + app + ":v1, asked for " + app + ":latest"; !strings.Contains(got.wire[0].Message, want) {
		t.Errorf("expected %q in %q", want, got.wire[0].Message)
	}
	w.wantDenied(manifestPath(app, index.digest))
	w.wantDenied(manifestPath(app, old.digest))        // :latest led to it, which is not what was signed
	w.wantDenied(blobPath(app, old.layer()))           // nor is what it holds
	w.wantManifest(manifestPath(app, "v1"), old)       // it is what was signed
	w.wantManifest(manifestPath(app, old.digest), old) // and now it was asked for as that
	w.wantDenied(manifestPath(app, "latest"))

	// By the usual matcher, :latest is still not :v1.
	usual := newWorld(t)
	old = usual.signed(imageOf("old"), "v1")
	usual.unsigned(indexOf(old), "latest")
	usual.wantDenied(manifestPath(app, "latest"))
}

func TestAnIndexWhoseImagesAreAllAllowedIsAllowed(t *testing.T) {
	w := newWorld(t, exactly)
	index := w.unsigned(multiArch("signed children"), "v1")
	requirements := list{signedByAs(matchExact, w.key)}
	for _, c := range index.children {
		w.wantDenied(manifestPath(app, "v1"))
		w.sign(w.key, app+":v1", c)
		requirements = append(requirements, accept) // another list, so that what was denied is judged again
		w.engine.Replace(w.load(object{registryName: requirements}, reject))
	}
	w.wantManifest(manifestPath(app, "v1"), index)
	for _, c := range index.children {
		w.wantManifest(manifestPath(app, c.digest), c)
		w.wantBlob(blobPath(app, c.layer()), c.blobs[1])
	}
	if r := w.recordOf(w.get(manifestPath(app, "v1"))); len(r.Signers) != 1 || r.Scope != registryName {
		t.Errorf("audit record %+v", r)
	}
	w.registry.put(manifestPath(repo, "v2"), index.manifest) // the same index under another name
	w.wantDenied(manifestPath(app, "v2"))
}

func TestChildrenAreJudgedUnderTheReferenceOfTheIndex(t *testing.T) {
	a, b := imageOf("a"), imageOf("b")
	inner := indexOf(a)
	index := indexOf(inner, b)
	through := map[digest.Digest]image{inner.digest: index, b.digest: index, a.digest: inner}
	j := &judge{revision: "1", answer: func(s verify.Subject) (verify.Verdict, error) {
		if strings.Contains(string(s.Manifest), `"manifests"`) {
			return denying("not signed"), nil
		}
		return allowing(), nil
	}}
	w := newWorld(t, func(_ *world, s *settings) { s.fake = j })
	w.unsigned(index, "v1")
	w.wantManifest(manifestPath(app, "v1"), index)
	if len(j.asked) != 4 {
		t.Errorf("%d judgements, want 4", len(j.asked))
	}
	for _, s := range j.asked {
		if s.Ref.String() != app+":v1" || digestOf(s.Manifest) != s.Digest || s.MediaType == "" {
			t.Errorf("judged %s (%s, %s) as %s", digestOf(s.Manifest), s.Digest, s.MediaType, s.Ref)
		}
		if want := through[s.Digest].manifest; string(s.Index) != string(want) {
			t.Errorf("judged %s as reached through %q, expected %q", s.Digest, s.Index, want)
		}
	}
}

func TestIndexesThatAreNotAllowedThemselves(t *testing.T) {
	signedChild, unsignedChild := imageOf("signed child"), imageOf("unsigned child")
	platform := object{"os": "linux", "architecture": "amd64"}
	lying := func(mediaType any) image {
		e := with(with(unsignedChild.entry(), "platform", platform), "mediaType", mediaType)
		return indexWith(list{signedChild.entry(), e}, signedChild, unsignedChild)
	}
	nested := func(depth int) image {
		index := signedChild
		for range depth {
			index = indexOf(index)
		}
		return index
	}
	about := func(subject image) image { return evidenceManifest(inToto, statementFor(subject.digest)) }
	relabelled := evidenceManifest(inToto, []byte("a layer in fact"))

	tests := map[string]struct {
		index  image
		drop   *image // not in the registry
		reason string // empty: allowed
	}{
		"one image":                                  {index: indexOf(signedChild)},
		"the same image twice":                       {index: indexOf(signedChild, signedChild)},
		"three indexes around it":                    {index: nested(3)},
		"image with its attestation":                 {index: indexOf(signedChild, about(signedChild))},
		"image that says to be an index":             {index: indexWith(list{with(signedChild.entry(), "mediaType", ociIndex)}, signedChild)},
		"image of another kind than it says":         {index: indexWith(list{with(signedChild.entry(), "mediaType", dockerManifest)}, signedChild)},
		"no images":                                  {index: indexOf(), reason: "lists no manifests"},
		"no images, docker":                          {index: fromManifest(object{"schemaVersion": 2, "mediaType": dockerList, "manifests": list{}}), reason: "lists no manifests"},
		"one unsigned":                               {index: indexOf(signedChild, unsignedChild), reason: unsignedChild.digest.String()},
		"one unsigned, first":                        {index: indexOf(unsignedChild, signedChild), reason: unsignedChild.digest.String()},
		"one missing":                                {index: indexOf(signedChild, unsignedChild), drop: &unsignedChild, reason: "is not in the registry"},
		"four indexes around it":                     {index: nested(4), reason: "nested deeper"},
		"ten indexes around it":                      {index: nested(10), reason: "nested deeper"},
		"unsigned, said to be a layer":               {index: lying(ociLayer), reason: unsignedChild.digest.String()},
		"unsigned, said to be JSON":                  {index: lying("application/json"), reason: unsignedChild.digest.String()},
		"unsigned, with a parameter":                 {index: lying(ociManifest + "; charset=utf-8"), reason: unsignedChild.digest.String()},
		"unsigned, in upper case":                    {index: lying(strings.ToUpper(ociManifest)), reason: unsignedChild.digest.String()},
		"unsigned, of no type":                       {index: lying(""), reason: unsignedChild.digest.String()},
		"unsigned, of null type":                     {index: lying(nil), reason: unsignedChild.digest.String()},
		"unsigned, said to be an index":              {index: lying(ociIndex), reason: unsignedChild.digest.String()},
		"unsigned, said to be a signature":           {index: lying(cosignPayload), reason: unsignedChild.digest.String()},
		"unsigned, for no machine":                   {index: indexWith(list{signedChild.entry(), with(unsignedChild.entry(), "platform", object{"os": "unknown", "architecture": "unknown"})}, signedChild, unsignedChild), reason: unsignedChild.digest.String()},
		"an entry that is a blob":                    {index: indexWith(list{signedChild.entry(), descriptor(ociLayer, signedChild.blobs[1])}, signedChild), reason: "is not in the registry"},
		"attestation about an image elsewhere":       {index: indexOf(signedChild, about(unsignedChild)), reason: about(unsignedChild).digest.String()},
		"attestation about another attestation":      {index: indexOf(about(signedChild), evidenceManifest(inToto, statementFor(about(signedChild).digest))), reason: "nor is every image in the index"},
		"layer relabelled as attestation":            {index: indexOf(signedChild, relabelled), reason: relabelled.digest.String()},
		"attestation with a layer":                   {index: indexOf(signedChild, evidenceManifest(inToto, statementFor(signedChild.digest), []byte("layer"))), reason: "nor is every image in the index"},
		"unsigned with a subject in the index":       {index: indexOf(signedChild, unsignedChild.referring(signedChild)), reason: unsignedChild.referring(signedChild).digest.String()},
		"attestation whose subject it does not name": {index: indexOf(signedChild, about(unsignedChild).referring(signedChild)), reason: "nor is every image in the index"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.registry.push(repo, signedChild)
			w.sign(w.key, app+":v1", signedChild)
			w.unsigned(tt.index, "v1")
			if tt.drop != nil {
				w.registry.drop(manifestPath(repo, tt.drop.digest))
			}
			if tt.reason == "" {
				w.wantManifest(manifestPath(app, "v1"), tt.index)
				return
			}
			got := w.wantDenied(manifestPath(app, "v1"))
			if reasons := lines(w.recordOf(got).Reasons); !strings.Contains(reasons, tt.reason) {
				t.Errorf("expected %q in %q", tt.reason, reasons)
			}
		})
	}
}

// Attestations alone are no image, but a list of evidence (rule 6), as clients
// keep it at fallback tags.
func TestAttestationsAloneAreNoImage(t *testing.T) {
	w := newWorld(t)
	img := w.signed(imageOf("signed"), "v1")
	first := evidenceManifest(inToto, statementFor(img.digest))
	index := w.unsigned(indexOf(first), "v2")
	w.wantManifest(manifestPath(app, "v2"), index)
	if r := w.recordOf(w.get(manifestPath(app, "v2"))); lines(r.Reasons) != "list of evidence" {
		t.Errorf("audit record %+v", r)
	}
	w.unsigned(indexOf(first, evidenceManifest(inToto, statementFor(first.digest))), "v3")
	w.wantDenied(manifestPath(app, "v3"))
}

// BuildKit lists its attestations beside the images that they are about.
func TestAttestationsInAnIndexArePulledWithIt(t *testing.T) {
	for name, signWhat := range map[string]func(w *world, index, img image){
		"index signed": func(w *world, index, _ image) { w.sign(w.key, app+":v1", index) },
		"image signed": func(w *world, _, img image) { w.sign(w.key, app+":v1", img) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, exactly)
			img := imageOf("image")
			attestation := evidenceManifest(inToto, statementFor(img.digest))
			index := w.unsigned(indexWith(list{
				with(img.entry(), "platform", object{"os": "linux", "architecture": "amd64"}),
				with(attestation.entry(), "platform", object{"os": "unknown", "architecture": "unknown"}),
			}, img, attestation), "v1")
			signWhat(w, index, img)
			w.wantManifest(manifestPath(app, "v1"), index)
			w.wantManifest(manifestPath(app, img.digest), img)
			w.wantManifest(manifestPath(app, attestation.digest), attestation)
			w.wantBlob(blobPath(app, attestation.layer()), attestation.blobs[1])
		})
	}
}

func TestASignedIndexVouchesForWhatItLists(t *testing.T) {
	w := newWorld(t, exactly)
	img, odd := imageOf("image"), imageOf("of a type that nobody knows")
	index := w.signed(indexWith(list{img.entry(), with(odd.entry(), "mediaType", "application/x"), descriptor(ociLayer, []byte("cache"))}, img, odd), "v1")
	w.wantManifest(manifestPath(app, "v1"), index)
	w.wantManifest(manifestPath(app, img.digest), img)
	w.wantManifest(manifestPath(app, odd.digest), odd)
}

func TestAChildThatCannotBeFetchedIsInDoubt(t *testing.T) {
	w := newWorld(t)
	index := w.unsigned(multiArch("signed children"), "v1")
	for _, c := range index.children {
		w.sign(w.key, app+":v1", c)
	}
	child := manifestPath(repo, index.children[1].digest)
	w.registry.answer(child, status(500))
	w.wantUnavailable(manifestPath(app, "v1"))
	w.registry.answer(child, bytesOf(imageOf("other").manifest))
	w.wantStatus(manifestPath(app, "v1"), 502)
	w.registry.answer(child, nil)
	w.wantManifest(manifestPath(app, "v1"), index)
}

// Indexes that would make the gate fetch and judge without end.
func TestIndexBombs(t *testing.T) {
	leaf := imageOf("leaf")
	wide := func(n, salt int, child image) image {
		entries, entry := list{}, child.entry()
		for range n {
			entries = append(entries, entry)
		}
		out := fromManifest(object{"schemaVersion": 2, "mediaType": ociIndex, "manifests": entries, "annotations": object{"salt": fmt.Sprint(salt)}})
		out.children = []image{child}
		return out
	}
	w := newWorld(t)
	w.registry.push(repo, leaf)
	w.sign(w.key, app+":v1", leaf)

	w.unsigned(wide(1000, 0, leaf), "v1")
	if got := w.get(manifestPath(app, "v1")); got.StatusCode != 200 {
		t.Errorf("1,000 entries: %s", got)
	}
	w.unsigned(wide(1001, 0, leaf), "many")
	if got := w.wantStatus(manifestPath(app, "many"), 502); !strings.Contains(got.wire[0].Message, "1001 entries") {
		t.Errorf("1,001 entries: %s", got)
	}
	w.sign(w.key, app+":v2", leaf)
	var level []image
	for i := range 30 {
		level = append(level, wide(40, i, leaf))
	}
	w.unsigned(indexOf(level...), "v2")
	before := w.registry.count("GET")
	got := w.wantDenied(manifestPath(app, "v2"))
	if !strings.Contains(got.wire[0].Message, "more than 1000 manifests") {
		t.Errorf("fan-out: %s", got.wire[0].Message)
	}
	if n := w.registry.count("GET") - before; n > 40 {
		t.Errorf("fan-out: %d requests upstream", n)
	}
	// The same index over and over, a thousand times a thousand times a thousand.
	bomb := leaf
	for i := range 3 {
		bomb = wide(1000, i, bomb)
	}
	w.sign(w.key, app+":v3", leaf)
	w.unsigned(bomb, "v3")
	w.wantDenied(manifestPath(app, "v3"))
}

func TestAPolicyThatChangesInTheMiddleOfAnIndexDecidesNothing(t *testing.T) {
	index := multiArch("children")
	j := &judge{revision: "1"}
	next := map[string]string{"1": "2", "2": "1"}
	j.answer = func(s verify.Subject) (verify.Verdict, error) {
		if s.Digest == index.digest {
			return denying("not signed"), nil
		}
		if s.Digest == index.children[1].digest { // while the first is judged, say
			j.set(next[j.Revision()])
		}
		return allowing(), nil
	}
	w := newWorld(t, uncached, func(_ *world, s *settings) { s.fake = j })
	w.unsigned(index, "v1")
	if got := w.wantUnavailable(manifestPath(app, "v1")); !strings.Contains(got.wire[0].Message, "policy changed") {
		t.Errorf("got %s", got)
	}
}
