package harness

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Vector is everything that one repository holds: an image and the evidence about
// it, as a real signer left them there. It is kept as an OCI image layout
// (image-spec, image-layout.md), whose index.json names tags by
// org.opencontainers.image.ref.name and lists the manifests that no tag reaches.
type Vector struct {
	Manifests map[digest.Digest]Image // without blobs and children
	Blobs     map[digest.Digest][]byte
	Tags      map[string]digest.Digest
}

// manifestParts is what leads from one manifest to other content.
type manifestParts struct {
	MediaType string          `json:"mediaType"`
	Config    v1.Descriptor   `json:"config"`
	Layers    []v1.Descriptor `json:"layers"`
	Manifests []v1.Descriptor `json:"manifests"`
	Subject   *v1.Descriptor  `json:"subject"`
}

func parts(t testing.TB, b []byte) manifestParts {
	t.Helper()
	var m manifestParts
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatalf("manifest: %v", err)
	}
	return m
}

// blobs are the descriptors of config and layers.
func (m manifestParts) blobs() []v1.Descriptor {
	if m.Config.Digest == "" {
		return nil
	}
	return append([]v1.Descriptor{m.Config}, m.Layers...)
}

// CopyVector reads a whole repository: its tags, what they lead to, and, where the
// registry has the API, the referrers of all that.
func CopyVector(t testing.TB, r *Registry, repo string) Vector {
	t.Helper()
	v := Vector{map[digest.Digest]Image{}, map[digest.Digest][]byte{}, map[string]digest.Digest{}}
	var list struct{ Tags []string }
	_, b := r.get(t, repo+"/tags/list")
	if err := json.Unmarshal(b, &list); err != nil {
		t.Fatal(err)
	}
	for _, tag := range list.Tags {
		v.Tags[tag] = v.copyManifest(t, r, repo, tag)
	}
	return v
}

// copyManifest adds the manifest of a tag or digest with everything around it.
func (v Vector) copyManifest(t testing.TB, r *Registry, repo, ref string) digest.Digest {
	t.Helper()
	mediaType, b := r.get(t, repo+"/manifests/"+ref)
	img := FromManifest(mediaType, b)
	if _, known := v.Manifests[img.Digest]; known {
		return img.Digest
	}
	v.Manifests[img.Digest] = img
	m := parts(t, b)
	for _, d := range m.blobs() {
		if _, known := v.Blobs[d.Digest]; !known {
			_, v.Blobs[d.Digest] = r.get(t, repo+"/blobs/"+d.Digest.String())
		}
	}
	for _, d := range m.Manifests {
		v.copyManifest(t, r, repo, d.Digest.String())
	}
	if status, b := r.tryGet(t, repo+"/referrers/"+img.Digest.String()); status == http.StatusOK {
		for _, d := range parts(t, b).Manifests {
			v.copyManifest(t, r, repo, d.Digest.String())
		}
	}
	return img.Digest
}

// get reads what must be there.
func (r *Registry) get(t testing.TB, path string) (mediaType string, b []byte) {
	t.Helper()
	resp := r.ask(t, path)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: status %d, %v: %s", path, resp.StatusCode, err, b)
	}
	return resp.Header.Get("Content-Type"), b
}

func (r *Registry) tryGet(t testing.TB, path string) (int, []byte) {
	t.Helper()
	resp := r.ask(t, path)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, b
}

func (r *Registry) ask(t testing.TB, path string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.URL+"/v2/"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header["Accept"] = []string{v1.MediaTypeImageManifest, v1.MediaTypeImageIndex, DockerManifest, DockerList, "*/*"}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// Replay puts everything into a repository of a registry: first what others refer
// to, as registries demand it.
func (v Vector) Replay(t testing.TB, r *Registry, repo string) {
	t.Helper()
	for _, d := range sortedDigests(v.Blobs) {
		r.PushBlob(t, repo, d.String(), v.Blobs[d])
	}
	var indexes []digest.Digest
	for _, d := range sortedDigests(v.Manifests) {
		if img := v.Manifests[d]; len(parts(t, img.Manifest).Manifests) > 0 {
			indexes = append(indexes, d)
		} else {
			r.PushManifest(t, repo, d.String(), img.MediaType, img.Manifest)
		}
	}
	for _, d := range indexes {
		r.PushManifest(t, repo, d.String(), v.Manifests[d].MediaType, v.Manifests[d].Manifest)
	}
	for tag, d := range v.Tags {
		r.PushManifest(t, repo, tag, v.Manifests[d].MediaType, v.Manifests[d].Manifest)
	}
}

// Save writes the vector as an image layout in place of what is in dir.
func (v Vector) Save(t testing.TB, dir string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	index := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex}
	loose := sortedDigests(v.Manifests)
	for _, tag := range sortedKeys(v.Tags) {
		d := v.Manifests[v.Tags[tag]].Descriptor()
		d.Annotations = map[string]string{v1.AnnotationRefName: tag}
		index.Manifests = append(index.Manifests, d)
		loose = slices.DeleteFunc(loose, func(l digest.Digest) bool { return l == d.Digest || v.lists(t, d.Digest, l) })
	}
	for _, d := range loose {
		index.Manifests = append(index.Manifests, v.Manifests[d].Descriptor())
	}
	b, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "index.json"), b)
	writeFile(t, filepath.Join(dir, v1.ImageLayoutFile), []byte(`{"imageLayoutVersion":"`+v1.ImageLayoutVersion+`"}`))
	for d, img := range v.Manifests {
		writeFile(t, blobFile(dir, d), img.Manifest)
	}
	for d, b := range v.Blobs {
		writeFile(t, blobFile(dir, d), b)
	}
}

// lists tells whether index has child in its list.
func (v Vector) lists(t testing.TB, index, child digest.Digest) bool {
	t.Helper()
	return slices.ContainsFunc(parts(t, v.Manifests[index].Manifest).Manifests, func(d v1.Descriptor) bool { return d.Digest == child })
}

// LoadVector reads what Save wrote, and checks every digest.
func LoadVector(t testing.TB, dir string) Vector {
	t.Helper()
	v := Vector{map[digest.Digest]Image{}, map[digest.Digest][]byte{}, map[string]digest.Digest{}}
	for _, d := range parts(t, readFile(t, filepath.Join(dir, "index.json"))).Manifests {
		v.load(t, dir, d)
		if tag := d.Annotations[v1.AnnotationRefName]; tag != "" {
			v.Tags[tag] = d.Digest
		}
	}
	return v
}

func (v Vector) load(t testing.TB, dir string, d v1.Descriptor) {
	t.Helper()
	v.Manifests[d.Digest] = FromManifest(d.MediaType, readBlob(t, dir, d.Digest))
	m := parts(t, v.Manifests[d.Digest].Manifest)
	for _, blob := range m.blobs() {
		v.Blobs[blob.Digest] = readBlob(t, dir, blob.Digest)
	}
	for _, child := range m.Manifests {
		v.load(t, dir, child)
	}
}

func readBlob(t testing.TB, dir string, d digest.Digest) []byte {
	t.Helper()
	b := readFile(t, blobFile(dir, d))
	if digest.FromBytes(b) != d {
		t.Fatalf("%s: the content has digest %s", blobFile(dir, d), digest.FromBytes(b))
	}
	return b
}

func blobFile(dir string, d digest.Digest) string {
	return filepath.Join(dir, "blobs", d.Algorithm().String(), d.Encoded())
}

// Retarget returns the vector with another image under the tag, and everything that
// was said about the tag's image passed off as said about that one: its tags for
// signatures renamed, its referrers rewritten with the other subject. The evidence
// itself stays as it is.
func (v Vector) Retarget(t testing.TB, tag string, to Image) Vector {
	t.Helper()
	from := v.Tags[tag]
	out := Vector{map[digest.Digest]Image{to.Digest: to}, map[digest.Digest][]byte{}, map[string]digest.Digest{tag: to.Digest}}
	for _, blobs := range []map[digest.Digest][]byte{v.Blobs, to.Blobs} {
		for d, b := range blobs {
			out.Blobs[d] = b
		}
	}
	moved := map[digest.Digest]digest.Digest{}
	for _, d := range sortedDigests(v.Manifests) {
		if d == from || len(parts(t, v.Manifests[d].Manifest).Manifests) > 0 {
			continue
		}
		img := v.rewrite(t, v.Manifests[d], map[digest.Digest]Image{from: to})
		out.Manifests[img.Digest], moved[d] = img, img.Digest
	}
	for old, d := range v.Tags {
		if old == tag {
			continue
		}
		if _, done := moved[d]; !done { // an index of referrers
			children := map[digest.Digest]Image{}
			for was, is := range moved {
				children[was] = out.Manifests[is]
			}
			img := v.rewrite(t, v.Manifests[d], children)
			out.Manifests[img.Digest], moved[d] = img, img.Digest
		}
		out.Tags[strings.ReplaceAll(old, from.Encoded(), to.Digest.Encoded())] = moved[d]
	}
	return out
}

// rewrite replaces descriptors in a manifest's subject and list.
func (v Vector) rewrite(t testing.TB, img Image, by map[digest.Digest]Image) Image {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(img.Manifest, &m); err != nil {
		t.Fatal(err)
	}
	replace := func(x any) {
		d, ok := x.(map[string]any)
		if !ok {
			return
		}
		was, _ := d["digest"].(string)
		if to, ok := by[digest.Digest(was)]; ok {
			d["digest"], d["size"], d["mediaType"] = to.Digest, len(to.Manifest), to.MediaType
		}
	}
	replace(m["subject"])
	list, _ := m["manifests"].([]any)
	for _, x := range list {
		replace(x)
	}
	return fromManifest(t, img.MediaType, m)
}

func sortedDigests[V any](m map[digest.Digest]V) []digest.Digest {
	out := make([]digest.Digest, 0, len(m))
	for d := range m {
		out = append(out, d)
	}
	slices.Sort(out)
	return out
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
