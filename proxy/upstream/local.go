package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/verify"
)

// Bounds of what is looked at on disk for one request.
const (
	maxLocalEntries = 4096     // tags of a repository, entries of an index.json
	maxLocalIndex   = 16 << 20 // bytes of an index.json
	maxLocalDepth   = 4        // indexes within indexes
	maxLocalFound   = 8192     // manifests reached from a repository's entries
)

// local is a registry kept as files below one directory, which is opened for
// each request and never left: symbolic links out of it are not followed.
type local struct {
	name  string
	path  string
	opt   *Options
	store store
}

// store is a way of laying images out below a directory.
type store interface {
	// tags lists the tags of a repository, unsorted; ErrNotExist without one.
	tags(v *view) ([]string, error)
	// tagged returns the manifest of a tag.
	tagged(v *view, tag string) ([]byte, error)
	// find returns the manifest with that digest if the repository reaches it.
	find(v *view, d digest.Digest) ([]byte, error)
	// blob opens a blob.
	blob(v *view, d digest.Digest) (*os.File, error)
	// all calls f with every manifest that the repository reaches.
	all(v *view, f func(b []byte) error) error
}

// view is one request's look at one repository.
type view struct {
	ctx      context.Context
	root     *os.Root
	registry string
	repo     string // path of the repository, without the registry
	limit    int64  // bytes of a manifest
}

func newLocal(o *Options, name, path string, s store) (*local, error) {
	if !filepath.IsAbs(path) {
		return nil, errors.New("endpoint: expected an absolute path")
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("endpoint: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("endpoint %s: expected a directory", path)
	}
	return &local{name: name, path: path, opt: o, store: s}, nil
}

func (l *local) close() {}

// look runs f over the repository of ref and turns its error into an *Error.
func (l *local) look(ctx context.Context, kind string, ref reference.Named, f func(v *view) error) error {
	start := time.Now()
	err := l.open(ctx, ref, f)
	l.opt.Observe(l.name, kind, 0, time.Since(start))
	if err == nil {
		return nil
	}
	if e := new(Error); errors.As(err, &e) {
		return e
	}
	out := &Error{Kind: Unavailable, Registry: l.name, Op: opName(kind, ref), Err: err}
	var bad *malformed
	switch {
	case errors.As(err, &bad):
		out.Kind = Invalid
	case errors.Is(err, errMissing):
		out.Kind = NotFound
	}
	return out
}

func (l *local) open(ctx context.Context, ref reference.Named, f func(v *view) error) error {
	root, err := os.OpenRoot(l.path)
	if err != nil {
		return err
	}
	defer root.Close()
	return f(&view{ctx: ctx, root: root, registry: l.name, repo: reference.Path(ref), limit: l.opt.ManifestLimit})
}

// errMissing is the only error that means "does not exist". That the directory
// itself is gone, for one, does not say anything about images.
var errMissing = errors.New("no such file")

// malformed is a file with the wrong content.
type malformed struct{ err error }

func (m *malformed) Error() string { return m.err.Error() }

func malformedf(format string, args ...any) error {
	return &malformed{fmt.Errorf(format, args...)}
}

// open opens a regular file below the root.
func (v *view) open(name string) (*os.File, int64, error) {
	if err := v.ctx.Err(); err != nil {
		return nil, 0, err
	}
	// Opening a pipe without O_NONBLOCK would wait for its other end.
	f, err := v.root.OpenFile(filepath.FromSlash(name), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, missing(err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = malformedf("%s: expected a regular file", name)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// missing marks errors that say that a file is not there.
func missing(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return errMissing
	}
	return err
}

// read returns a whole regular file of at most limit bytes.
func (v *view) read(name string, limit int64) ([]byte, error) {
	f, size, err := v.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > limit {
		return nil, malformedf("%s: expected at most %d bytes, found %d", name, limit, size)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = malformedf("%s: expected at most %d bytes, found more", name, limit)
	}
	return b, err
}

// list returns the entries of a directory below the root.
func (v *view) list(name string) ([]fs.DirEntry, error) {
	f, err := v.root.Open(filepath.FromSlash(name))
	if err != nil {
		return nil, missing(err)
	}
	defer f.Close()
	entries, err := f.ReadDir(maxLocalEntries + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, missing(err)
	}
	if len(entries) > maxLocalEntries {
		return nil, malformedf("%s: expected at most %d entries, found more", name, maxLocalEntries)
	}
	return entries, nil
}

// digestName checks a digest, which is about to become part of a file's name.
func digestName(d digest.Digest) error {
	if err := d.Validate(); err != nil {
		return malformedf("expected a valid digest")
	}
	return nil
}

// has reports whether b is the manifest with digest d.
func has(b []byte, d digest.Digest) (bool, error) {
	got, err := verify.ManifestDigest(b, d.Algorithm())
	if err != nil {
		return false, malformedf("digest of a manifest: %w", err)
	}
	return got == d, nil
}

func (l *local) manifest(ctx context.Context, ref reference.Named) (Manifest, error) {
	var m Manifest
	err := l.look(ctx, "manifest", ref, func(v *view) (err error) {
		if d, ok := ref.(reference.Digested); ok {
			if err = digestName(d.Digest()); err == nil {
				m.Bytes, err = l.store.find(v, d.Digest())
			}
		} else if t, ok := ref.(reference.Tagged); ok {
			m.Bytes, err = l.store.tagged(v, t.Tag())
		} else {
			err = malformedf("expected a reference with a tag or a digest")
		}
		return err
	})
	if err != nil {
		return Manifest{}, err
	}
	m.ContentType = parseLocal(m.Bytes).mediaType()
	return m, nil
}

func (l *local) resolve(ctx context.Context, ref reference.NamedTagged) (d digest.Digest, err error) {
	err = l.look(ctx, "resolve", ref, func(v *view) error {
		b, err := l.store.tagged(v, ref.Tag())
		if err != nil {
			return err
		}
		if d, err = verify.ManifestDigest(b, digest.Canonical); err != nil {
			return malformedf("digest of a manifest: %w", err)
		}
		return nil
	})
	return d, err
}

func (l *local) blob(ctx context.Context, ref reference.Canonical) (*Blob, error) {
	var out *Blob
	err := l.look(ctx, "blob", ref, func(v *view) error {
		if err := digestName(ref.Digest()); err != nil {
			return err
		}
		f, err := l.store.blob(v, ref.Digest())
		if err != nil {
			return err
		}
		info, err := f.Stat()
		if err != nil {
			f.Close()
			return err
		}
		out = &Blob{Size: info.Size(), Body: &fileBody{File: f, name: l.name, op: opName("blob", ref), left: info.Size()}}
		return nil
	})
	return out, err
}

func (l *local) blobBytes(ctx context.Context, ref reference.Canonical, limit int64) ([]byte, error) {
	b, err := l.blob(ctx, ref)
	if err != nil {
		return nil, err
	}
	defer b.Body.Close()
	if b.Size > limit {
		return nil, unexpected(l.name, opName("blob", ref), "expected at most %d bytes, found %d", limit, b.Size)
	}
	return io.ReadAll(b.Body)
}

func (l *local) stat(ctx context.Context, ref reference.Canonical) (int64, error) {
	b, err := l.blob(ctx, ref)
	if err != nil {
		return 0, err
	}
	return b.Size, b.Body.Close()
}

func (l *local) tags(ctx context.Context, repo reference.Named, n int, last string) (TagPage, error) {
	var page TagPage
	err := l.look(ctx, "tags", repo, func(v *view) error {
		all, err := l.store.tags(v)
		if err != nil {
			return err
		}
		if len(all) == 0 {
			return errMissing
		}
		slices.Sort(all)
		all = slices.Compact(all)
		all = slices.DeleteFunc(all, func(t string) bool { return last != "" && strings.Compare(t, last) <= 0 })
		if n > 0 && len(all) > n {
			all = all[:n]
			page.Next = &TagCursor{N: n, Last: all[n-1]}
		}
		page.Tags = all
		return nil
	})
	return page, err
}

func (l *local) signatures(context.Context, reference.Canonical) ([][]byte, bool, error) {
	return nil, false, nil
}

// referrers looks for manifests of the repository with that subject, and adds
// what the fallback tag lists.
func (l *local) referrers(ctx context.Context, subject reference.Canonical) ([]ocispec.Descriptor, error) {
	list := []ocispec.Descriptor{}
	err := l.look(ctx, "referrers", subject, func(v *view) error {
		seen := map[digest.Digest]bool{}
		add := func(d ocispec.Descriptor) error {
			if seen[d.Digest] {
				return nil
			}
			if len(list) == maxReferrers {
				return malformedf("expected at most %d referrers, found more", maxReferrers)
			}
			seen[d.Digest] = true
			list = append(list, d)
			return nil
		}
		err := l.store.all(v, func(b []byte) error {
			if m := parseLocal(b); m.Subject != nil && m.Subject.Digest == subject.Digest() {
				return add(m.descriptor(b))
			}
			return nil
		})
		if errors.Is(err, errMissing) {
			return nil
		}
		if err != nil {
			return err
		}
		return l.fallback(v, subject, add)
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// fallback adds the referrers that the fallback tag lists, if there is one.
func (l *local) fallback(v *view, subject reference.Canonical, add func(ocispec.Descriptor) error) error {
	ref, err := fallbackRef(subject)
	if err != nil {
		return malformedf("%w", err)
	}
	b, err := l.store.tagged(v, ref.Tag())
	if errors.Is(err, errMissing) {
		return nil
	}
	if err != nil {
		return err
	}
	tagged, err := addReferrers(nil, b)
	if err != nil {
		return malformedf("%w", err)
	}
	for _, d := range tagged {
		if err := add(d); err != nil {
			return err
		}
	}
	return nil
}

// localManifest is what is read from a manifest on disk.
type localManifest struct {
	SchemaVersion int                  `json:"schemaVersion"`
	MediaType     string               `json:"mediaType"`
	ArtifactType  string               `json:"artifactType"`
	Manifests     []ocispec.Descriptor `json:"manifests"`
	Config        *ocispec.Descriptor  `json:"config"`
	Subject       *ocispec.Descriptor  `json:"subject"`
	Signatures    json.RawMessage      `json:"signatures"`
	Annotations   map[string]string    `json:"annotations"`
}

// parseLocal reads a manifest; what cannot be read is empty, for whoever gets
// the bytes judges them.
func parseLocal(b []byte) localManifest {
	var m localManifest
	if json.Unmarshal(b, &m) != nil {
		return localManifest{}
	}
	return m
}

// mediaType is what a registry would say the type is. Files have no header.
func (m localManifest) mediaType() string {
	switch {
	case m.MediaType != "":
		return m.MediaType
	case m.SchemaVersion == 1 && m.Signatures != nil:
		return mediaDockerSigned1
	case m.SchemaVersion == 1:
		return mediaDockerSchema1
	case m.Manifests != nil:
		return ocispec.MediaTypeImageIndex
	}
	return ocispec.MediaTypeImageManifest
}

// descriptor describes b, the manifest's bytes, as a referrers API would.
func (m localManifest) descriptor(b []byte) ocispec.Descriptor {
	d := ocispec.Descriptor{MediaType: m.mediaType(), Digest: digest.FromBytes(b), Size: int64(len(b)),
		ArtifactType: m.ArtifactType, Annotations: m.Annotations}
	if d.ArtifactType == "" && m.Config != nil {
		d.ArtifactType = m.Config.MediaType
	}
	return d
}

// fileBody is a blob's file. One that shrinks while it is read is an error.
type fileBody struct {
	*os.File
	name, op string
	left     int64
}

// Read reads up to the size that the file had when it was opened.
func (f *fileBody) Read(p []byte) (int, error) {
	if f.left == 0 {
		return 0, io.EOF
	}
	n, err := f.File.Read(p[:min(int64(len(p)), f.left)])
	f.left -= int64(n)
	if err == io.EOF && f.left > 0 {
		err = &Error{Kind: Unavailable, Registry: f.name, Op: f.op, Err: errors.New("the file ended before its size")}
	} else if err != nil && err != io.EOF {
		err = &Error{Kind: Unavailable, Registry: f.name, Op: f.op, Err: err}
	}
	return n, err
}
