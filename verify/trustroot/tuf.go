package trustroot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/config"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/updater"
)

// Bounds of one refresh.
const (
	maxRefresh   = 2 * time.Minute
	maxRotations = 64 // root.json files newer than the one that is known
	maxRootJSON  = 512_000
	maxDelegated = 8
	maxMetadata  = 5_000_000 // bytes of the largest metadata, go-tuf's default
)

// repository is a TUF repository and what is kept of it.
type repository struct {
	TUF
	web   Web
	dir   string // metadata, and the last good root
	first []byte // root.json of the operator
	warn  func(string)
}

// newRepository checks the first root. What is kept lies in a directory that is
// named by mirror, target and first root: another one of them starts afresh.
func newRepository(name string, t TUF, o *Options) (*repository, error) {
	switch {
	case t.Mirror == "" || t.Root == "" || t.Target == "":
		return nil, errors.New("expected mirror, root and target of a TUF repository")
	case o.StateDir == "":
		return nil, errors.New("expected a state directory for a TUF repository")
	case o.Web == nil && !o.Offline:
		return nil, errors.New("expected a client for a TUF repository")
	}
	first, _, err := readFile(t.Root, maxRootJSON)
	if err != nil {
		return nil, err
	}
	if _, err := trustedmetadata.New(first); err != nil {
		return nil, fmt.Errorf("%s: expected a root.json of TUF: %w", t.Root, err)
	}
	id := sha256.New()
	fmt.Fprintf(id, "%q %q %q\n", name, t.Mirror, t.Target)
	id.Write(first)
	dir := filepath.Join(o.StateDir, "trust_roots", hex.EncodeToString(id.Sum(nil)[:16]))
	r := &repository{TUF: t, web: o.Web, dir: dir, first: first, warn: func(string) {}}
	if o.Warn != nil {
		r.warn = func(text string) { o.Warn("trust root " + name + ": " + text) }
	}
	return r, nil
}

// kept is the path of the last good root. Its time is that of the last refresh.
func (r *repository) kept() string { return filepath.Join(r.dir, lastGoodFile) }

// newest is the newest root.json that was verified: trust must not start again from
// one whose keys were withdrawn since. sigstore-go's own client does.
func (r *repository) newest() []byte {
	b, _, err := readFile(filepath.Join(r.dir, metadata.ROOT+".json"), maxRootJSON)
	if err != nil {
		return r.first
	}
	seen, err := trustedmetadata.New(b)
	if err != nil {
		return r.first
	}
	first, err := trustedmetadata.New(r.first)
	if err != nil || seen.Root.Signed.Version < first.Root.Signed.Version {
		return r.first
	}
	return b
}

// fetch updates the metadata and returns the target with the versions that it is of.
// It is good only if all of it is: signed by enough keys, not expired, not older than
// what was seen before.
func (r *repository) fetch(ctx context.Context) (b []byte, v versions, err error) {
	if err := r.setAside(); err != nil {
		return nil, v, err
	}
	ctx, cancel := context.WithTimeout(ctx, maxRefresh)
	defer cancel()
	from := r.newest()
	cfg, err := config.New(r.Mirror, from)
	if err != nil {
		return nil, v, err
	}
	cfg.LocalMetadataDir, cfg.LocalTargetsDir = r.dir, filepath.Join(r.dir, "targets")
	cfg.MaxRootRotations, cfg.MaxDelegations, cfg.RootMaxLength = maxRotations, maxDelegated, maxRootJSON
	cfg.Fetcher = &fetcher{ctx: ctx, web: r.web}
	up, err := updater.New(cfg)
	if err != nil {
		return nil, v, err
	}
	if err := up.Refresh(); err != nil {
		return nil, v, err
	}
	if v, err = versionsOf(up.GetTrustedMetadataSet()); err != nil {
		return nil, v, err
	}
	if err := v.notBelow(r.seen()); err != nil {
		return nil, v, errors.Join(err, r.forget(from))
	}
	info, err := up.GetTargetInfo(r.Target)
	if err != nil {
		return nil, v, err
	}
	if info.Length > maxRoot {
		return nil, v, fmt.Errorf("target %s has %d bytes, expected at most %d", r.Target, info.Length, maxRoot)
	}
	_, b, err = up.DownloadTarget(info, "", "")
	return b, v, err
}

// keep writes the last good root and the versions of its metadata.
func (r *repository) keep(b []byte, v versions, at time.Time) error {
	seen, err := json.Marshal(v)
	if err == nil {
		err = r.write(versionsFile, seen, at)
	}
	if err != nil {
		return err
	}
	return r.write(lastGoodFile, b, at)
}

// write replaces a file: by the whole of it or not at all.
func (r *repository) write(name string, b []byte, at time.Time) error {
	f, err := os.CreateTemp(r.dir, ".last-good-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone when it was renamed
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Chtimes(f.Name(), at, at)
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(r.dir, name))
}

// fetcher is what go-tuf downloads with, for one refresh. The interface has no
// context, so it holds that of the refresh.
type fetcher struct {
	ctx context.Context
	web Web
}

// DownloadFile fetches at most limit bytes. go-tuf takes a 404, and nothing else,
// for the end of the list of root.json files.
func (f *fetcher) DownloadFile(url string, limit int64, _ time.Duration) ([]byte, error) {
	body, err := f.web.Get(f.ctx, url)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &metadata.ErrDownloadHTTP{StatusCode: http.StatusNotFound, URL: url}
	}
	if err != nil {
		return nil, err
	}
	defer body.Close()
	b, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, &metadata.ErrDownloadLengthMismatch{Msg: fmt.Sprintf("%s is larger than %d bytes", url, limit)}
	}
	return b, nil
}
