package proxy_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/proxy/audit"
)

// uncached is a gate that asks everything anew for each request.
func uncached(_ *world, s *settings) {
	s.tagsTTL, s.verdicts.AllowedTTL, s.verdicts.DeniedTTL = 0, 0, 0
}

// forgetful is a gate that keeps no manifest either.
func forgetful(w *world, s *settings) {
	uncached(w, s)
	s.manifests = 1
}

// exactly trusts the key for the very reference that was signed: nothing that is
// asked for by digest is allowed itself when a tag was signed.
func exactly(w *world, s *settings) {
	s.policy[registryName] = list{signedByAs(matchExact, w.key)}
}

// Rule 2: by tag, (name:tag, digest) is judged, for HEAD as for GET.

func TestTags(t *testing.T) {
	w := newWorld(t)
	signed := w.signed(imageOf("signed"), "v1")
	w.unsigned(imageOf("unsigned"), "v2")
	wrong := w.unsigned(imageOf("wrong key"), "v3")
	w.sign(w.stranger, app+":v3", wrong)
	otherTag := w.unsigned(imageOf("other tag"), "v4")
	w.sign(w.key, app+":v5", otherTag)
	otherDigest := w.unsigned(imageOf("other digest"), "v6")
	w.storeSignature(app, otherDigest.digest, w.key.sign(app+":v6", signed.digest))

	w.wantManifest(manifestPath(app, "v1"), signed)
	for tag, reason := range map[string]string{
		"v2": "no signatures found at " + w.sigs.URL,
		"v3": "signed by key 0x" + w.stranger.entity.PrimaryKey.KeyIdString() + ", which this scope does not trust",
		"v4": "signature is for " + app + ":v5, asked for " + app + ":v4",
		"v6": "signature is for digest " + signed.digest.String(),
	} {
		got := w.wantDenied(manifestPath(app, tag))
		if !strings.Contains(got.phrase(), reason) || !strings.Contains(got.wire[0].Message, reason) {
			t.Errorf("%s: expected %q in %q and %q", tag, reason, got.phrase(), got.wire[0].Message)
		}
	}
	if got := w.wantStatus(manifestPath(app, "v9"), 404); got.wire[0].Code != "MANIFEST_UNKNOWN" {
		t.Errorf("missing tag: %s", got)
	}
}

// HEAD comes first here: a client that resolves by HEAD never asks for the tag
// again.
func TestHeadOfATagIsJudged(t *testing.T) {
	w := newWorld(t)
	w.unsigned(imageOf("unsigned"), "v1")
	got := w.head(manifestPath(app, "v1"))
	if got.StatusCode != 403 || !strings.HasPrefix(got.phrase(), "Denied by image policy "+registryName) || got.Header.Get("Docker-Content-Digest") != "" {
		t.Errorf("expected a denial, got %s", got)
	}
	if r := w.recordOf(got); r.Method != "HEAD" || r.Decision != audit.Denied {
		t.Errorf("audit record %+v", r)
	}
}

func TestAnHonestHeadDoesNotVouchForAnotherGet(t *testing.T) {
	evil := imageOf("evil")
	good := imageOf("good")
	tests := map[string]struct {
		path    string // upstream's answer to this
		answer  http.HandlerFunc
		request string
	}{
		"other bytes by digest":                      {manifestPath(repo, good.digest), bytesOf(evil.manifest), good.digest.String()},
		"other bytes by digest, with a lying digest": {manifestPath(repo, good.digest), saying(good.digest, evil.manifest), good.digest.String()},
		"other bytes by tag, with a lying digest":    {manifestPath(repo, "v1"), saying(good.digest, evil.manifest), "v1"},
		"right bytes by tag, with a lying digest":    {manifestPath(repo, "v1"), saying(evil.digest, good.manifest), "v1"},
		"a prefix of the bytes":                      {manifestPath(repo, good.digest), bytesOf(good.manifest[:len(good.manifest)-1]), good.digest.String()},
		"the bytes and one more":                     {manifestPath(repo, good.digest), bytesOf(append(good.manifest[:len(good.manifest):len(good.manifest)], '\n')), good.digest.String()},
		"nothing":                                    {manifestPath(repo, good.digest), bytesOf(nil), good.digest.String()},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.signed(good, "v1")
			w.registry.answer("GET "+tt.path, tt.answer)
			w.registry.answer("HEAD "+tt.path, saying(good.digest, good.manifest))
			got := w.wantStatus(manifestPath(app, tt.request), 502)
			if len(got.wire) != 1 || got.wire[0].Code != "UNKNOWN" {
				t.Errorf("got %s", got)
			}
			if r := w.recordOf(got); r.Decision != audit.Denied || r.Status != 502 || !strings.Contains(lines(r.Reasons), "the upstream") {
				t.Errorf("audit record %+v", r)
			}
			// Nothing of it is kept: as soon as the upstream is honest, all is well,
			// and the bytes that it sent instead are still nobody's.
			w.registry.answer("GET "+tt.path, nil)
			w.wantManifest(manifestPath(app, tt.request), good)
			w.wantStatus(manifestPath(app, evil.digest), 404)
		})
	}
}

func TestWhatTheUpstreamSaysAboutItsDigestIsNotPassedOn(t *testing.T) {
	good := imageOf("good")
	for _, says := range []string{"", "nonsense", "sha512:" + strings.Repeat("a", 128), "sha256:short", "md5:x"} {
		w := newWorld(t)
		w.signed(good, "v1")
		w.registry.answer("GET "+manifestPath(repo, "v1"), saying(digest.Digest(says), good.manifest))
		w.wantManifest(manifestPath(app, "v1"), good)
	}
}

func TestAMovedTagIsJudgedAgain(t *testing.T) {
	w := newWorld(t, uncached)
	first := w.signed(imageOf("first"), "v1")
	w.wantManifest(manifestPath(app, "v1"), first)
	w.unsigned(imageOf("unsigned"), "v1")
	w.wantDenied(manifestPath(app, "v1"))
	second := w.signed(imageOf("second"), "v1")
	w.wantManifest(manifestPath(app, "v1"), second)
	w.unsigned(first, "v1")
	w.wantManifest(manifestPath(app, "v1"), first)
	w.registry.drop(manifestPath(repo, "v1"))
	w.wantStatus(manifestPath(app, "v1"), 404)
}

func TestATagIsRememberedForItsTimeOnly(t *testing.T) {
	w := newWorld(t) // for a minute
	first := w.signed(imageOf("first"), "v1")
	w.wantManifest(manifestPath(app, "v1"), first)
	w.unsigned(imageOf("unsigned"), "v1")
	w.wantManifest(manifestPath(app, "v1"), first)
	if n := w.registry.count("GET " + manifestPath(repo, "v1")); n != 1 {
		t.Errorf("%d requests for the tag within its time", n)
	}
}

// A tag is asked for again by HEAD; what that says decides only which judged
// bytes are meant.
func TestRevalidationByALyingHead(t *testing.T) {
	w := newWorld(t, uncached)
	first, second := w.signed(imageOf("first"), "v1"), imageOf("second")
	path, v1 := manifestPath(app, "v1"), manifestPath(repo, "v1")
	w.wantManifest(path, first)

	w.unsigned(second, "v1") // moved to something unsigned, and HEAD hides it
	w.registry.answer("HEAD "+v1, saying(first.digest, first.manifest))
	w.wantManifest(path, first)

	w.unsigned(first, "v1") // not moved, and HEAD says that it was
	w.registry.answer("HEAD "+v1, saying(second.digest, second.manifest))
	w.wantManifest(path, first)

	for name, broken := range map[string]http.HandlerFunc{"error": status(500), "forbidden": status(403), "no digest": saying("", nil), "nonsense": saying("x", nil)} {
		t.Log(name)
		w.registry.answer("HEAD "+v1, broken)
		w.wantManifest(path, first)
	}
	w.registry.answer("HEAD "+v1, status(404))
	w.wantStatus(path, 404)
	w.registry.answer("HEAD "+v1, status(429))
	w.wantStatus(path, 429)
}

// Rule 3: by digest.

func TestADigestIsAllowedItselfOrThroughARootThatIsAllowed(t *testing.T) {
	w := newWorld(t)
	signed := w.signed(imageOf("signed"), "v1")
	unsigned := w.unsigned(imageOf("unsigned"), "v2")
	// The usual matcher lets any tag's signature in the repository vouch for it.
	w.wantManifest(manifestPath(app, signed.digest), signed)
	w.wantDenied(manifestPath(app, unsigned.digest))

	strict := newWorld(t, exactly)
	img := strict.signed(imageOf("signed"), "v1")
	strict.wantDenied(manifestPath(app, img.digest))
	if got := strict.head(manifestPath(app, "v1")); got.StatusCode != 200 {
		t.Errorf("HEAD of the tag: %s", got)
	}
	strict.wantManifest(manifestPath(app, img.digest), img)
	strict.wantBlob(blobPath(app, img.layer()), img.blobs[1])
}

// containerd's way: HEAD of the tag, then everything by digest.
func TestHeadOfTheTagThenDigests(t *testing.T) {
	w := newWorld(t, exactly)
	index := w.signed(multiArch("signed"), "v1")
	other := w.unsigned(multiArch("unsigned"), "v2")
	child := index.children[1]

	w.wantDenied(manifestPath(app, child.digest)) // nobody asked for the tag yet
	w.wantDenied(blobPath(app, child.layer()))
	if got := w.head(manifestPath(app, "v1")); got.StatusCode != 200 {
		t.Fatalf("HEAD of the tag: %s", got)
	}
	w.wantManifest(manifestPath(app, index.digest), index)
	w.wantManifest(manifestPath(app, child.digest), child)
	w.wantBlob(blobPath(app, child.config()), child.blobs[0])
	w.wantBlob(blobPath(app, child.layer()), child.blobs[1])

	w.wantDenied(manifestPath(app, "v2"))
	w.wantDenied(manifestPath(app, other.digest))
	w.wantDenied(manifestPath(app, other.children[0].digest)) // listed by a denied index only
	w.wantDenied(blobPath(app, other.children[0].layer()))
}

func TestAChildOfAnIndexOfIndexesIsAdmitted(t *testing.T) {
	w := newWorld(t, exactly)
	leaf := imageOf("leaf")
	index := w.signed(indexOf(indexOf(indexOf(leaf))), "v1")
	w.wantManifest(manifestPath(app, "v1"), index)
	for img := index; len(img.children) > 0; img = img.children[0] {
		w.wantManifest(manifestPath(app, img.children[0].digest), img.children[0])
	}
	w.wantBlob(blobPath(app, leaf.layer()), leaf.blobs[1])
}

func TestAnotherPolicyReachesChildrenAndBlobsAtOnce(t *testing.T) {
	w := newWorld(t)
	index := w.signed(multiArch("signed"), "v1")
	child := index.children[0]
	trusting := w.engine.Policy()
	pull := func(expect func(path string, want any)) {
		for path, want := range map[string]any{
			manifestPath(app, "v1"): index, manifestPath(app, index.digest): index, manifestPath(app, child.digest): child,
			blobPath(app, child.layer()): child.blobs[1], blobPath(app, child.config()): child.blobs[0],
		} {
			expect(path, want)
		}
	}
	served := func(path string, want any) {
		t.Helper()
		if got := w.get(path); got.StatusCode != 200 {
			t.Errorf("expected content, got %s", got)
		}
	}
	denied := func(path string, _ any) { t.Helper(); w.wantDenied(path) }

	w.wantManifest(manifestPath(app, "v1"), index)
	w.wantManifest(manifestPath(app, child.digest), child)
	pull(served)
	w.engine.Replace(w.load(object{registryName: list{signedBy(w.stranger)}}, reject))
	pull(denied)
	w.engine.Replace(trusting)
	pull(served)
	w.engine.Replace(w.load(object{app: list{reject}, registryName: list{signedBy(w.key)}}, accept))
	pull(denied)
}

func TestADigestOfAnotherRepository(t *testing.T) {
	w := newWorld(t, exactly)
	index := w.signed(multiArch("signed"), "v1")
	child := index.children[0]
	w.registry.push("team/other", index, "v1")
	w.wantManifest(manifestPath(app, "v1"), index)
	w.wantManifest(manifestPath(app, child.digest), child)
	other := registryName + "/team/other"
	// The same bytes are there, and nobody signed them for that repository.
	w.wantDenied(manifestPath(other, "v1"))
	w.wantDenied(manifestPath(other, index.digest))
	w.wantDenied(manifestPath(other, child.digest))
	w.wantDenied(blobPath(other, child.layer()))
	w.wantStatus(manifestPath(registryName+"/team/none", child.digest), 404)
}

func TestARootInDoubtDoesNotDeny(t *testing.T) {
	w := newWorld(t, exactly, uncached)
	index := w.signed(multiArch("signed"), "v1")
	child := index.children[0]
	w.wantManifest(manifestPath(app, "v1"), index)
	w.wantManifest(manifestPath(app, child.digest), child)
	w.sigs.answer(signaturePath(app, index.digest, 1), status(500))
	w.wantUnavailable(manifestPath(app, child.digest))
	w.wantUnavailable(blobPath(app, child.layer()))
	w.sigs.answer(signaturePath(app, index.digest, 1), nil)
	w.wantManifest(manifestPath(app, child.digest), child)
	w.sigs.drop(signaturePath(app, index.digest, 1)) // and with it what vouched for the child
	w.wantDenied(manifestPath(app, child.digest))
	w.wantDenied(blobPath(app, child.layer()))
}

// An index that is gone vouches for nothing, and its children are denied: "not
// found" would be the wrong word for what is there.
func TestARootThatIsGoneVouchesForNothing(t *testing.T) {
	w := newWorld(t, exactly, forgetful)
	index := w.signed(multiArch("signed"), "v1")
	child := index.children[0]
	w.wantManifest(manifestPath(app, "v1"), index)
	w.wantManifest(manifestPath(app, child.digest), child)
	w.wantBlob(blobPath(app, child.layer()), child.blobs[1])
	w.registry.drop(manifestPath(repo, index.digest))
	w.wantDenied(manifestPath(app, child.digest))
	w.wantDenied(blobPath(app, child.layer()))
	w.registry.drop(manifestPath(repo, child.digest))
	w.wantDenied(blobPath(app, child.layer()))
	w.registry.answer(manifestPath(repo, child.digest), status(500))
	w.wantUnavailable(blobPath(app, child.layer()))
}

// What is known about manifests may be forgotten at any time; who pulls an image
// that is allowed gets all of it all the same.
func TestForgottenFactsComeBackWithTheNextPull(t *testing.T) {
	w := newWorld(t, exactly, func(_ *world, s *settings) { s.graphSize = 12 })
	index := w.signed(multiArch("signed"), "v1")
	child := index.children[0]
	for i := range 3 {
		w.wantManifest(manifestPath(app, "v1"), index)
		w.wantManifest(manifestPath(app, child.digest), child)
		w.wantBlob(blobPath(app, child.layer()), child.blobs[1])
		flood := w.unsigned(imageWith([]byte("{}"), manyLayers(20, i)...), "flood")
		w.get(manifestPath(app, flood.digest))
	}
}

func manyLayers(n, salt int) [][]byte {
	var out [][]byte
	for i := range n {
		out = append(out, []byte{byte(i), byte(salt)})
	}
	return out
}
