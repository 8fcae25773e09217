package upstream

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// dirStore is a directory per repository and tag, each as containers-transports(5)
// describes dir: manifest.json, <hex>.manifest.json for the manifests of an
// index, and blobs named by their hex. Signature files there are not read.
type dirStore struct{}

// dirName is how a digest appears in file names: the hex of sha256, and the
// algorithm before it for others.
func dirName(d digest.Digest) string {
	if d.Algorithm() == digest.Canonical {
		return d.Encoded()
	}
	return d.Algorithm().String() + "-" + d.Encoded()
}

// dirs lists the tags' directories of the repository: a directory without
// manifest.json is part of another repository's name.
func (dirStore) dirs(v *view) ([]string, error) {
	entries, err := v.list(v.repo)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if !e.IsDir() && e.Type()&fs.ModeSymlink == 0 {
			continue
		}
		if !tagPattern.MatchString(e.Name()) {
			continue
		}
		_, err := v.root.Stat(path.Join(v.repo, e.Name(), "manifest.json"))
		if err == nil {
			out = append(out, e.Name())
		} else if !errors.Is(missing(err), errMissing) {
			return nil, err
		}
	}
	return out, nil
}

func (s dirStore) tags(v *view) ([]string, error) { return s.dirs(v) }

func (dirStore) tagged(v *view, tag string) ([]byte, error) {
	return v.read(path.Join(v.repo, tag, "manifest.json"), v.limit)
}

func (s dirStore) find(v *view, d digest.Digest) ([]byte, error) {
	dirs, err := s.dirs(v)
	if err != nil {
		return nil, err
	}
	for _, tag := range dirs {
		b, err := v.read(path.Join(v.repo, tag, dirName(d)+".manifest.json"), v.limit)
		if err == nil || !errors.Is(err, errMissing) {
			return b, err
		}
	}
	for _, tag := range dirs {
		b, err := s.tagged(v, tag)
		if errors.Is(err, errMissing) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		if ok, err := has(b, d); ok || err != nil {
			return b, err
		}
	}
	return nil, errMissing
}

func (s dirStore) blob(v *view, d digest.Digest) (*os.File, error) {
	dirs, err := s.dirs(v)
	if err != nil {
		return nil, err
	}
	for _, tag := range dirs {
		f, _, err := v.open(path.Join(v.repo, tag, dirName(d)))
		if err == nil || !errors.Is(err, errMissing) {
			return f, err
		}
	}
	return nil, errMissing
}

func (s dirStore) all(v *view, f func(b []byte) error) error {
	dirs, err := s.dirs(v)
	if err != nil {
		return err
	}
	for _, tag := range dirs {
		entries, err := v.list(path.Join(v.repo, tag))
		if err != nil {
			return err
		}
		names := []string{}
		for _, e := range entries {
			if e.Name() == "manifest.json" || strings.HasSuffix(e.Name(), ".manifest.json") {
				names = append(names, e.Name())
			}
		}
		slices.Sort(names)
		for _, name := range names {
			b, err := v.read(path.Join(v.repo, tag, name), v.limit)
			if err == nil {
				err = f(b)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}
