package verify

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	baseRepo = "base.example.com/base/os"
	baseTag  = baseRepo + ":9"
	appRepo  = "registry.example.com/team/app"
	appTag   = appRepo + ":v1"
	amd64    = "linux/amd64"
)

// recipe is an image to be made. A layer is written CONTENT or CONTENT!PACKING: the
// content decides about the diff ID, both about the digest.
type recipe struct {
	layers      []string
	platform    string
	annotations map[string]string
	mediaType   string // of layers
	diffs       []string
	configBytes []byte // instead of the config made of the rest
	configSize  int64
	extra       string // members in front of the manifest's own
	noConfig    bool
}

// bake makes an image and puts its config into repo.
func (w *world) bake(repo string, r recipe) []byte {
	w.t.Helper()
	if r.mediaType == "" {
		r.mediaType = imgspec.MediaTypeImageLayerGzip
	}
	if r.platform == "" {
		r.platform = amd64
	}
	if r.diffs == nil {
		r.diffs = r.layers
	}
	parts := append(strings.Split(r.platform, "/"), "")
	var c imgspec.Image
	c.OS, c.Architecture, c.Variant = parts[0], parts[1], parts[2]
	c.RootFS.Type = "layers"
	for _, l := range r.diffs {
		inside, _, _ := strings.Cut(l, "!")
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, digest.FromString(inside))
	}
	config := w.json(c)
	if r.configBytes != nil {
		config = r.configBytes
	}
	m := imgspec.Manifest{MediaType: imgspec.MediaTypeImageManifest, Annotations: r.annotations, Layers: []imgspec.Descriptor{}}
	m.SchemaVersion = 2
	m.Config = imgspec.Descriptor{MediaType: imgspec.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: int64(len(config))}
	if r.configSize != 0 {
		m.Config.Size = r.configSize
	}
	for _, l := range r.layers {
		m.Layers = append(m.Layers, imgspec.Descriptor{MediaType: r.mediaType, Digest: digest.FromString("packed " + l), Size: 9})
	}
	if !r.noConfig {
		w.reg.blobs[repo+"@"+m.Config.Digest.String()] = config
	}
	b := w.json(m)
	if r.extra != "" {
		b = append([]byte("{"+r.extra+","), b[1:]...)
	}
	return b
}

func (w *world) json(v any) []byte {
	w.t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// push puts a manifest into a registry, under its digest and the tag of ref.
func (w *world) push(ref string, m []byte) digest.Digest {
	repo, _, _ := strings.Cut(ref, ":")
	d := digest.FromBytes(m)
	w.reg.manifests[ref], w.reg.manifests[repo+"@"+d.String()] = m, m
	return d
}

// signed stores a simple signing signature of a manifest as ref.
func (w *world) signed(k *gpgKey, ref string, m []byte) {
	repo, _, _ := strings.Cut(ref, ":")
	_, path, _ := strings.Cut(repo, "/")
	w.web.files[fmt.Sprintf("/s/%s@sha256=%s/signature-1", path, digest.FromBytes(m).Encoded())] = k.sign(ref, m)
}

// index lists manifests, as many as platforms.
func (w *world) index(platforms []string, manifests ...[]byte) []byte {
	x := imgspec.Index{MediaType: imgspec.MediaTypeImageIndex, Manifests: []imgspec.Descriptor{}}
	x.SchemaVersion = 2
	for i, m := range manifests {
		parts := append(strings.Split(platforms[i], "/"), "")
		x.Manifests = append(x.Manifests, imgspec.Descriptor{MediaType: imgspec.MediaTypeImageManifest, Digest: digest.FromBytes(m), Size: int64(len(m)),
			Platform: &imgspec.Platform{OS: parts[0], Architecture: parts[1], Variant: parts[2]}})
	}
	return w.json(x)
}

func signedBaseLayer(kind, key, value string) map[string]any {
	id := map[string]any{"type": kind}
	if key != "" {
		id[key] = value
	}
	return map[string]any{"type": "signedBaseLayer", "baseLayerIdentity": id}
}

func ofRepository(repo string) map[string]any {
	return signedBaseLayer("exactRepository", "dockerRepository", repo)
}

func exactly(ref string) map[string]any {
	return signedBaseLayer("exactReference", "dockerReference", ref)
}

func builtOn(name string, d digest.Digest) map[string]string {
	out := map[string]string{}
	if name != "" {
		out[imgspec.AnnotationBaseImageName] = name
	}
	if d != "" {
		out[imgspec.AnnotationBaseImageDigest] = d.String()
	}
	return out
}

func subjectOf(t testing.TB, ref string, m []byte) Subject {
	t.Helper()
	return Subject{Ref: named(t, ref), Digest: digest.FromBytes(m), Manifest: m, MediaType: imgspec.MediaTypeImageManifest}
}

// wantBased checks a verdict: reason is part of what was found, "" for allowed.
func wantBased(t *testing.T, v Verdict, reason string) {
	t.Helper()
	if reason == "" {
		if v.Decision != Allowed || len(v.Signers()) == 0 {
			t.Errorf("expected allowed with signers, found %+v", v)
		}
		return
	}
	var found []string
	for _, r := range v.Requirements {
		found = append(found, r.Found...)
		if !r.Allowed && r.WouldPass == "" {
			t.Errorf("nothing is said to pass: %+v", r)
		}
	}
	if v.Decision != Denied || len(v.Signers()) > 0 || !v.Expires.IsZero() || !strings.Contains(strings.Join(found, "\n"), reason) {
		t.Errorf("expected denied with %q, found %s %q", reason, v.Decision, found)
	}
}

// onBase is a world with a signed base of two layers and a policy for images on it.
type onBase struct {
	*world
	key    *gpgKey
	base   []byte
	digest digest.Digest
	scopes map[string]any
}

func newOnBase(t testing.TB, requirement map[string]any) *onBase {
	w := newWorld(t)
	key := newGPG(t, "ed25519")
	b := w.bake(baseRepo, recipe{layers: []string{"os1", "os2"}})
	o := &onBase{w, key, b, w.push(baseTag, b), map[string]any{
		baseRepo: []any{signedBy(nil, key)}, appRepo: []any{requirement}}}
	w.signed(key, baseTag, b)
	return o
}

func (o *onBase) judge(t testing.TB, m []byte) Verdict {
	t.Helper()
	return verify(t, o.engine(policyFor(t, o.scopes)), subjectOf(t, appTag, m))
}
