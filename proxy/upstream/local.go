package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

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
// Observers are told the status that a registry would have answered.
func (l *local) look(ctx context.Context, kind string, ref reference.Named, f func(v *view) error) error {
	start := time.Now()
	err := l.open(ctx, ref, f)
	status := 0
	defer func() { l.opt.Observe(l.name, kind, status, time.Since(start)) }()
	out := &Error{Kind: Unavailable, Registry: l.name, Op: opName(kind, ref), Err: err}
	var bad *malformed
	switch {
	case err == nil:
		status = http.StatusOK
		return nil
	case errors.Is(err, errMissing):
		status, out.Kind = http.StatusNotFound, NotFound
	case errors.As(err, &bad):
		out.Kind = Invalid
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

func (l *local) tags(ctx context.Context, repo reference.Named, from TagCursor) (TagPage, error) {
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
		all = slices.DeleteFunc(all, func(t string) bool { return from.Last != "" && strings.Compare(t, from.Last) <= 0 })
		if n := from.N; n > 0 && len(all) > n {
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
