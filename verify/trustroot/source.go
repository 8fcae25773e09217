package trustroot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
)

// maxRoot bounds a trusted_root.json, in bytes. That of the public good instance
// has less than ten thousand.
const maxRoot = 1 << 20

// source is where one root comes from.
type source struct {
	Source
	opt  *Options
	kept string // path of the last good root of TUF; empty for a file
	repo *repository
}

func newSource(src Source, o *Options) (*source, error) {
	s := &source{Source: src, opt: o}
	switch {
	case src.MaxAge < 0:
		return nil, fmt.Errorf("expected a maximum age of 0 or more, found %s", src.MaxAge)
	case (src.File != "") == (src.TUF != TUF{}):
		return nil, errors.New("expected a file or a TUF repository, one of the two")
	case src.File != "":
		return s, nil
	}
	var err error
	s.repo, err = newRepository(src.Name, src.TUF, o)
	if err != nil {
		return nil, err
	}
	s.kept = s.repo.kept()
	return s, nil
}

// load reads the root from disk.
func (s *source) load() (Root, error) {
	path := s.File
	if path == "" {
		path = s.kept
	}
	b, at, err := readFile(path, maxRoot)
	if err != nil {
		return Root{}, err
	}
	r, err := s.root(b, at)
	if err != nil {
		return Root{}, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// refresh gets the root anew. A root beside an error is good, but could not be
// kept.
func (s *source) refresh(ctx context.Context) (Root, error) {
	if s.repo == nil || s.opt.Offline {
		return s.load()
	}
	at := s.opt.Now().Round(0) // by the calendar: the monotonic clock stands still while a machine sleeps
	b, v, err := s.repo.fetch(ctx)
	if err != nil {
		return Root{}, err
	}
	r, err := s.root(b, at)
	if err != nil {
		return Root{}, err
	}
	return r, s.repo.keep(b, v, at)
}

// root reads a trusted_root.json that is as good as it was at a time.
func (s *source) root(b []byte, at time.Time) (Root, error) {
	material, err := parse(b)
	if err != nil {
		return Root{}, err
	}
	sum := sha256.Sum256(b)
	r := Root{Material: material, Generation: hex.EncodeToString(sum[:]), LoadedAt: s.opt.Now(), Refreshed: at}
	if s.MaxAge > 0 {
		r.Expires = at.Add(s.MaxAge)
	}
	return r, nil
}

// stale says why nothing may be judged by a root, and what would make it good; empty
// when it is.
func (s *source) stale(r Root, now time.Time) string {
	at := r.Refreshed.UTC().Format(time.RFC3339)
	switch {
	case r.Material == nil:
		return "there is none"
	case s.MaxAge == 0:
		return ""
	case r.Refreshed.After(now.Add(maxSkew)):
		return fmt.Sprintf("its age is not known: it is of %s, which is in the future; %s", at, s.remedy())
	case now.Before(r.Expires):
		return ""
	case s.repo != nil && !s.opt.Offline:
		return fmt.Sprintf("its last good refresh by TUF was at %s, and it is older than its maximum age of %s; %s", at, s.MaxAge, s.remedy())
	}
	return fmt.Sprintf("it is of %s, older than its maximum age of %s; %s", at, s.MaxAge, s.remedy())
}

// remedy says what makes a root good again. Clients see it, so it names no file.
func (s *source) remedy() string {
	switch {
	case s.repo == nil:
		return "put a current trusted_root.json in its place, or touch the file when it is current"
	case s.opt.Offline:
		return "bring the kept trust roots in state_dir up to date on a machine that is online"
	}
	return "it is good again after a refresh that works: look at the mirror, the network and this machine's clock"
}

// turns are the times at which r gets stale or good by age alone.
func (s *source) turns(r Root) []time.Time {
	if r.Material == nil || s.MaxAge == 0 {
		return nil
	}
	return []time.Time{r.Refreshed.Add(-maxSkew), r.Expires}
}

// parse reads a trusted_root.json strictly (protobuf's JSON form; unknown and
// repeated members are errors). One with neither certificate authorities nor logs nor
// timestamp authorities is an error: it could vouch for nothing. Who reads the bytes
// bounds them.
func parse(b []byte) (root.TrustedMaterial, error) {
	material, err := root.NewTrustedRootFromJSON(b)
	if err != nil {
		return nil, fmt.Errorf("expected a trusted_root.json of sigstore: %w", err)
	}
	if len(material.FulcioCertificateAuthorities())+len(material.TimestampingAuthorities())+len(material.RekorLogs()) == 0 {
		return nil, errors.New("expected a trusted_root.json with certificateAuthorities, timestampAuthorities or tlogs, found none of them")
	}
	return material, nil
}

// readFile reads a regular file of at most limit bytes, and its time.
func readFile(path string, limit int64) ([]byte, time.Time, error) {
	info, err := os.Stat(path) // before opening: a pipe would block
	if err != nil {
		return nil, time.Time{}, err
	}
	if !info.Mode().IsRegular() {
		return nil, time.Time{}, fmt.Errorf("%s is not a file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, time.Time{}, err
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil { // of what is read, not of what was there before
		return nil, time.Time{}, err
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, time.Time{}, err
	}
	if int64(len(b)) > limit {
		return nil, time.Time{}, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return b, info.ModTime(), nil
}
