package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/verify"
)

// view is one request's look at one repository.
type view struct {
	ctx      context.Context
	root     *os.Root
	registry string
	repo     string // path of the repository, without the registry
	limit    int64  // bytes of a manifest
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
