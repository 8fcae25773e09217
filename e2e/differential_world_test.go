//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/e2e/harness"
)

// diffWorld is what all cases of the differential test share: one registry with
// all images, places for signatures, keys.
type diffWorld struct {
	reg   *harness.Registry // Debian's docker-registry
	front *diffFront        // the same, with answers that a case replaces
	ext   *diffFront        // the same, with the signature API
	sigs  *diffSignatures
	keys  map[string]diffGPGKey // by diffCase.key
	p256  *harness.SigstoreKey  // the trusted sigstore key
	alien *harness.SigstoreKey  // the other one

	images    map[string]harness.Image // by diffCase.ref, without -digest
	elsewhere harness.Image            // never asked for

	mu     sync.Mutex
	pushed map[string]bool   // repository and tag
	signed map[string][]byte // by GPG keys: key, options and payload

	skopeo  *skopeoOracle
	library *libraryOracle
}

// The names of keys that no requirement trusts unless a case says so.
const (
	diffOtherKey  = "other"  // in no policy, or beside the trusted key in its ring
	diffSecondKey = "second" // of a second requirement
)

// diffGPGKey is a key with what gpg exports of it, asked once.
type diffGPGKey struct {
	*harness.Key
	public, armored []byte
}

func newDiffWorld(t *testing.T) *diffWorld {
	t.Helper()
	w := &diffWorld{reg: harness.NewDockerRegistry(t), pushed: map[string]bool{}, signed: map[string][]byte{}}
	w.front, w.ext = newDiffFront(t, w.reg, false), newDiffFront(t, w.reg, true)
	w.sigs = newDiffSignatures(t)
	w.makeKeys(t)
	w.images = map[string]harness.Image{
		"image": harness.NewImageFor(t, "amd64", "differential"), "docker": harness.NewDockerImage(t, "differential, docker"),
		"index": harness.NewMultiArch(t, "differential, index"), "list": harness.NewDockerList(t, "differential, list"),
		"schema1": harness.NewSchema1(t, "team/app", "schema1", "differential, schema 1", true),
	}
	w.elsewhere = harness.NewImageFor(t, "amd64", "signed, but never asked for")
	w.skopeo, w.library = newSkopeoOracle(t, w), newLibraryOracle(t, w)
	return w
}

func (w *diffWorld) makeKeys(t *testing.T) {
	t.Helper()
	ring := harness.NewGPG(t)
	keys := map[string]*harness.Key{"old": ring.OldKey(t)}
	for name, kind := range map[string]harness.KeyKind{
		"rsa2048": harness.RSA2048, "rsa3072": harness.RSA3072, "rsa4096": harness.RSA4096, "ed25519": harness.Ed25519, "nistp256": harness.NISTP256,
		"rsa-subkey": harness.RSA3072Subkey, "ed25519-subkey": harness.Ed25519Subkey,
		"rsa1024": harness.RSA1024, "expired": harness.ExpiredKey, "revoked": harness.RSA2048,
		diffOtherKey: harness.Ed25519, diffSecondKey: harness.Ed25519,
	} {
		keys[name] = ring.Key(t, kind)
	}
	w.keys = map[string]diffGPGKey{}
	for name, k := range keys {
		w.keys[name] = diffGPGKey{k, k.Public(t), k.Armored(t)}
	}
	w.keys["revoked"] = diffGPGKey{w.keys["revoked"].Key, keys["revoked"].RevokedPublic(t), nil} // not armored
	w.p256, w.alien = harness.NewSigstoreKey(t), harness.NewSigstoreKey(t)
}

// push makes an image available, once for each repository and tag.
func (w *diffWorld) push(t *testing.T, repo, tag string, img harness.Image) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.pushed[repo+":"+tag] {
		w.reg.Push(t, repo, tag, img)
		w.pushed[repo+":"+tag] = true
	}
}

// sign signs with gpg; many cases share a signature.
func (w *diffWorld) sign(t *testing.T, key string, payload []byte, options ...string) []byte {
	t.Helper()
	what := fmt.Sprintf("%s %q %q", key, options, payload)
	w.mu.Lock()
	b, done := w.signed[what]
	w.mu.Unlock()
	if !done {
		b = w.keys[key].SignPayload(t, payload, options...)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.signed[what] = b
	}
	return slices.Clone(b)
}

// registry is the registry's name in references. Names that are no address are
// reached through a proxy by the oracles, and by their endpoint by the gate.
func (w *diffWorld) registry(place string) (name, repo string) {
	_, port, _ := strings.Cut(w.reg.Addr, ":")
	switch place {
	case "port":
		return "localhost:" + port, "team/app"
	case "ip":
		return w.reg.Addr, "team/app"
	case "deep":
		return "registry.example.com", "team/sub/app"
	case "hub":
		return "docker.io", "library/app"
	case "front":
		return w.front.addr, "team/app"
	case "ext":
		return w.ext.addr, "team/app"
	}
	return "registry.example.com", "team/app"
}

// endpoint is where the gate reaches it.
func (w *diffWorld) endpoint(place string) string {
	switch place {
	case "port":
		name, _ := w.registry(place)
		return "http://" + name
	case "front":
		return "http://" + w.front.addr
	case "ext":
		return "http://" + w.ext.addr
	}
	return w.reg.URL
}

// diffFront is a registry in front of the shared one. It answers some paths
// itself, and can announce the signature API of OpenShift's registry.
type diffFront struct {
	addr     string
	next     http.Handler
	announce bool

	mu    sync.Mutex
	paths map[string]http.Handler
}

func newDiffFront(t *testing.T, reg *harness.Registry, announce bool) *diffFront {
	t.Helper()
	at, err := url.Parse(reg.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(at)
	proxy.ErrorLog = log.New(io.Discard, "", 0) // clients leave when they have seen enough
	f := &diffFront{next: proxy, announce: announce, paths: map[string]http.Handler{}}
	f.addr = harness.NewUpstream(t, f).Addr
	return f
}

func (f *diffFront) answer(path string, h http.Handler) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.paths[path] = h
}

func (f *diffFront) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f.announce && r.URL.Path == "/v2/" {
		w.Header().Set("X-Registry-Supports-Signatures", "1")
	}
	f.mu.Lock()
	h := f.paths[r.URL.Path]
	f.mu.Unlock()
	switch {
	case h != nil:
		h.ServeHTTP(w, r)
	case strings.HasPrefix(r.URL.Path, "/extensions/"):
		answerJSON(map[string]any{"signatures": []any{}}).ServeHTTP(w, r)
	default:
		f.next.ServeHTTP(w, r)
	}
}

func answerJSON(v any) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	})
}

// diffSignatures is a signature server with one tree for each case, below the
// case's id.
type diffSignatures struct {
	url string

	mu     sync.Mutex
	files  map[string][]byte          // by path
	faults map[string]diffPlacedFault // by id
}

// diffPlacedFault is a fault of a case, confined to some manifests' signatures.
type diffPlacedFault struct {
	diffFault
	manifests []digest.Digest // all when empty
}

func newDiffSignatures(t *testing.T) *diffSignatures {
	t.Helper()
	s := &diffSignatures{files: map[string][]byte{}, faults: map[string]diffPlacedFault{}}
	s.url = harness.NewUpstream(t, s).URL
	return s
}

// put stores signature-1 and so on; repo is the repository's path.
func (s *diffSignatures) put(id, repo string, d digest.Digest, blobs [][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, b := range blobs {
		s.files[fmt.Sprintf("/%s/%s@%s=%s/signature-%d", id, repo, d.Algorithm(), d.Encoded(), i+1)] = b
	}
}

func (s *diffSignatures) fail(id string, f diffPlacedFault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[id] = f
}

func (s *diffSignatures) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	s.mu.Lock()
	content, there := s.files[r.URL.Path]
	fault, failing := s.faults[id]
	s.mu.Unlock()
	switch {
	case failing && fault.hits(r.URL.Path):
		fault.answer(w, r, content)
	case there:
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(content)
	default:
		http.NotFound(w, r)
	}
}

func (f diffPlacedFault) hits(p string) bool {
	if f.at != "" && path.Base(p) != f.at {
		return false
	}
	for _, d := range f.manifests {
		if strings.Contains(p, d.Encoded()) {
			return true
		}
	}
	return len(f.manifests) == 0
}
