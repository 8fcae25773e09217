package discover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
)

const judged = digest.Digest("sha256:" + hexD)

// hub is many registries in memory.
type hub struct {
	mu        sync.Mutex
	manifests map[string][]byte // by reference
	blobs     map[string][]byte // by reference
	lists     map[string][]imgspec.Descriptor
	fail      map[string]error // by the beginning of what is asked
	asked     []string
	onAsk     func(ctx context.Context, what string) error
}

func newHub() *hub {
	return &hub{manifests: map[string][]byte{}, blobs: map[string][]byte{},
		lists: map[string][]imgspec.Descriptor{}, fail: map[string]error{}}
}

func (h *hub) ask(ctx context.Context, op string, ref reference.Named) error {
	what := op + " " + ref.String()
	h.mu.Lock()
	h.asked = append(h.asked, what)
	h.mu.Unlock()
	if h.onAsk != nil {
		if err := h.onAsk(ctx, what); err != nil {
			return err
		}
	}
	for prefix, err := range h.fail {
		if strings.HasPrefix(what, prefix) {
			return err
		}
	}
	return nil
}

func (h *hub) ManifestBytes(ctx context.Context, ref reference.Named) ([]byte, error) {
	return h.get(ctx, "manifest", ref, h.manifests)
}

func (h *hub) BlobBytes(ctx context.Context, ref reference.Canonical, limit int64) ([]byte, error) {
	b, err := h.get(ctx, "blob", ref, h.blobs)
	if int64(len(b)) > limit {
		return nil, errors.New("blob is too large")
	}
	return b, err
}

func (h *hub) get(ctx context.Context, op string, ref reference.Named, from map[string][]byte) ([]byte, error) {
	if err := h.ask(ctx, op, ref); err != nil {
		return nil, err
	}
	if b, ok := from[ref.String()]; ok {
		return b, nil
	}
	return nil, fs.ErrNotExist
}

func (h *hub) ExtensionSignatures(ctx context.Context, ref reference.Canonical) ([][]byte, bool, error) {
	return nil, true, h.ask(ctx, "extension", ref)
}

func (h *hub) Referrers(ctx context.Context, ref reference.Canonical) ([]imgspec.Descriptor, error) {
	if err := h.ask(ctx, "referrers", ref); err != nil {
		return nil, err
	}
	return h.lists[ref.String()], nil
}

// count is how often what begins with prefix was asked.
func (h *hub) count(prefix string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, a := range h.asked {
		if strings.HasPrefix(a, prefix) {
			n++
		}
	}
	return n
}

// holds makes a manifest in repo whose layers are there too.
func (h *hub) holds(t testing.TB, repo string, layers []content, edit func(*imgspec.Manifest)) []byte {
	t.Helper()
	m := imgspec.Manifest{MediaType: imgspec.MediaTypeImageManifest,
		Config:  imgspec.DescriptorEmptyJSON,
		Subject: &imgspec.Descriptor{MediaType: imgspec.MediaTypeImageManifest, Digest: judged, Size: 2}}
	m.SchemaVersion = 2
	for _, l := range layers {
		d := digest.FromString(l.body)
		h.blobs[repo+"@"+d.String()] = []byte(l.body)
		m.Layers = append(m.Layers, imgspec.Descriptor{MediaType: l.mediaType, Digest: d, Size: int64(len(l.body)), Annotations: l.annotations})
	}
	if edit != nil {
		edit(&m)
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// refers lists b as a referrer of the judged manifest. The list lies about what it
// is.
func (h *hub) refers(repo string, b []byte) {
	d := digest.FromBytes(b)
	h.manifests[repo+"@"+d.String()] = b
	key := fmt.Sprintf("%s@%s", repo, judged)
	h.lists[key] = append(h.lists[key], imgspec.Descriptor{MediaType: imgspec.MediaTypeImageManifest,
		ArtifactType: "application/vnd.oci.empty.v1+json", Digest: d, Size: int64(len(b))})
}

// content is a layer.
type content struct {
	mediaType, body string
	annotations     map[string]string
}

func bundle(body string) content { return content{mediaType: typeBundle, body: body} }

// find asks h as q says.
func (h *hub) find(t testing.TB, q Query) (Found, error) {
	t.Helper()
	q.Ref, q.Digest = named(t, repo+":v1"), judged
	return Finder{h, web{}}.Find(context.Background(), q)
}

// wantInconclusive checks that err names a place with where in it and is no absence.
func wantInconclusive(t testing.TB, found Found, err error, where string) {
	t.Helper()
	var inc *Inconclusive
	if !errors.As(err, &inc) || !strings.Contains(inc.Place, where) || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("expected an inconclusive error about %q, found %v", where, err)
	}
	if len(found.Signatures) != 0 || len(found.Documents) != 0 || len(found.Looked) == 0 {
		t.Errorf("expected the places only, found %+v", found)
	}
}
