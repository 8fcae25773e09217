package upstream

import (
	"encoding/json"
	"errors"
	"os"
	"path"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// ociStore is one OCI image layout for all repositories, told apart by their
// org.opencontainers.image.ref.name ("registry/repository:tag" or
// "repository:tag"), or, where the directory itself has no index.json, a layout
// for each repository whose ref.name is the tag (image-spec, image-layout.md).
type ociStore struct{}

// layout is a repository's part of an image layout.
type layout struct {
	dir     string // of the layout, below the root
	entries []ocispec.Descriptor
	tags    map[string]ocispec.Descriptor
	loose   []ocispec.Descriptor // entries of a shared layout without a name
}

// layout reads the index.json that the repository is in.
func (ociStore) layout(v *view) (*layout, error) {
	l := &layout{tags: map[string]ocispec.Descriptor{}}
	b, err := v.read("index.json", maxLocalIndex)
	shared := err == nil
	if errors.Is(err, errMissing) {
		l.dir = v.repo
		b, err = v.read(path.Join(v.repo, "index.json"), maxLocalIndex)
	}
	if err != nil {
		return nil, err
	}
	var index struct {
		Manifests []ocispec.Descriptor `json:"manifests"`
	}
	if err := json.Unmarshal(b, &index); err != nil {
		return nil, malformedf("index.json: expected an image index: %w", errJSON(err))
	}
	if len(index.Manifests) > maxLocalEntries {
		return nil, malformedf("index.json: expected at most %d entries, found %d", maxLocalEntries, len(index.Manifests))
	}
	for _, d := range index.Manifests {
		if err := checkDescriptor(d); err != nil {
			return nil, malformedf("index.json: %w", err)
		}
		if err := l.add(v, d, shared); err != nil {
			return nil, err
		}
	}
	if len(l.entries) == 0 {
		return nil, errMissing
	}
	return l, nil
}

// add sorts one entry of index.json in: ours, nobody's, or another repository's.
func (l *layout) add(v *view, d ocispec.Descriptor, shared bool) error {
	name := d.Annotations[ocispec.AnnotationRefName]
	tag, ours := ownEntry(v, name, shared)
	switch {
	case name == "" && shared:
		l.loose = append(l.loose, d)
		return nil
	case name != "" && !ours:
		return nil
	}
	l.entries = append(l.entries, d)
	if tag == "" {
		return nil
	}
	if other, ok := l.tags[tag]; ok && other.Digest != d.Digest {
		return malformedf("index.json: expected one entry for tag %s, found %s and %s", tag, other.Digest, d.Digest)
	}
	l.tags[tag] = d
	return nil
}

// ownEntry reads a ref.name: whether it is in the repository, and its tag if any.
func ownEntry(v *view, name string, shared bool) (tag string, ours bool) {
	if !shared && tagPattern.MatchString(name) {
		return name, true
	}
	for _, candidate := range []string{name, v.registry + "/" + name} {
		ref, err := reference.ParseNamed(candidate)
		if err != nil || reference.Domain(ref) != v.registry || reference.Path(ref) != v.repo {
			continue
		}
		if t, ok := ref.(reference.Tagged); ok {
			return t.Tag(), true
		}
		if _, ok := ref.(reference.Digested); ok {
			return "", true
		}
	}
	return "", false
}

func (l *layout) file(d digest.Digest) string {
	return path.Join(l.dir, "blobs", d.Algorithm().String(), d.Encoded())
}

func (s ociStore) tags(v *view) ([]string, error) {
	l, err := s.layout(v)
	if err != nil {
		return nil, err
	}
	out := make([]string, 0, len(l.tags))
	for t := range l.tags {
		out = append(out, t)
	}
	return out, nil
}

func (s ociStore) tagged(v *view, tag string) ([]byte, error) {
	l, err := s.layout(v)
	if err != nil {
		return nil, err
	}
	d, ok := l.tags[tag]
	if !ok {
		return nil, errMissing
	}
	return l.read(v, d)
}

// read returns the manifest that an entry of the layout promises. That it is
// not there is a fault of the layout, not a missing image.
func (l *layout) read(v *view, d ocispec.Descriptor) ([]byte, error) {
	b, err := v.read(l.file(d.Digest), v.limit)
	if errors.Is(err, errMissing) {
		return nil, malformedf("index.json: expected the manifest that it lists, found no file %s", l.file(d.Digest))
	}
	return b, err
}

func (s ociStore) blob(v *view, d digest.Digest) (*os.File, error) {
	l, err := s.layout(v)
	if err != nil {
		return nil, err
	}
	f, _, err := v.open(l.file(d))
	return f, err
}

// errFound ends a walk that has what it wanted.
var errFound = errors.New("found")

func (s ociStore) find(v *view, d digest.Digest) ([]byte, error) {
	l, err := s.layout(v)
	if err != nil {
		return nil, err
	}
	var found []byte
	err = l.walk(v, func(at digest.Digest, read func() ([]byte, error)) error {
		if at != d {
			return nil
		}
		if found, err = read(); err != nil {
			return err
		}
		return errFound
	})
	if errors.Is(err, errFound) {
		return found, nil
	}
	if err == nil {
		err = errMissing
	}
	return nil, err
}

func (s ociStore) all(v *view, f func(b []byte) error) error {
	l, err := s.layout(v)
	if err != nil {
		return err
	}
	return l.walk(v, func(_ digest.Digest, read func() ([]byte, error)) error {
		b, err := read()
		if errors.Is(err, errMissing) {
			return nil // a platform that was not copied
		}
		if err != nil {
			return err
		}
		return f(b)
	})
}

// visit is called with each manifest that a repository reaches.
type visit func(d digest.Digest, read func() ([]byte, error)) error

// walk visits what the repository's entries reach: themselves, the manifests
// their indexes list, and entries without a name whose subject was reached,
// with what those list in turn.
func (l *layout) walk(v *view, f visit) error {
	w := &walker{layout: l, view: v, visit: f, seen: map[digest.Digest]bool{}}
	for _, d := range l.entries {
		if err := w.descend(d, 0); err != nil {
			return err
		}
	}
	return w.adopt()
}

// adopt descends into the nameless entries whose subject was reached.
func (w *walker) adopt() error {
	subjects := map[digest.Digest][]ocispec.Descriptor{}
	for _, d := range w.loose {
		b, err := w.layout.read(w.view, d)
		if err != nil {
			return err
		}
		if m := parseLocal(b); m.Subject != nil {
			subjects[m.Subject.Digest] = append(subjects[m.Subject.Digest], d)
		}
	}
	// Each round takes out what it reached, so there are at most as many rounds
	// as subjects, and each entry is descended into once.
	for again := true; again; {
		again = false
		for subject, entries := range subjects {
			if !w.seen[subject] {
				continue
			}
			delete(subjects, subject)
			again = true
			for _, d := range entries {
				if err := w.descend(d, 0); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

type walker struct {
	*layout
	*view
	visit visit
	seen  map[digest.Digest]bool
}

// descend visits one manifest and, when it is an index, what it lists.
func (w *walker) descend(d ocispec.Descriptor, depth int) error {
	if w.seen[d.Digest] {
		return nil
	}
	if len(w.seen) == maxLocalFound {
		return malformedf("expected at most %d manifests in a repository, found more", maxLocalFound)
	}
	w.seen[d.Digest] = true
	if err := w.visit(d.Digest, func() ([]byte, error) { return w.view.read(w.file(d.Digest), w.limit) }); err != nil {
		return err
	}
	if d.MediaType != ocispec.MediaTypeImageIndex && d.MediaType != mediaDockerList {
		return nil
	}
	b, err := w.view.read(w.file(d.Digest), w.limit)
	if errors.Is(err, errMissing) {
		return nil
	}
	if err != nil {
		return err
	}
	if ok, err := has(b, d.Digest); err != nil || !ok {
		return malformedf("%s: expected bytes of that digest, found others", w.file(d.Digest))
	}
	if depth == maxLocalDepth {
		return malformedf("expected at most %d levels of indexes, found more", maxLocalDepth)
	}
	for _, child := range parseLocal(b).Manifests {
		if err := checkDescriptor(child); err != nil {
			return malformedf("%s: %w", w.file(d.Digest), err)
		}
		if err := w.descend(child, depth+1); err != nil {
			return err
		}
	}
	return nil
}
