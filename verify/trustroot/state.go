package trustroot

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"
)

// Files in a repository's directory beside the metadata.
const (
	lastGoodFile = "last-good.json"
	versionsFile = "versions.json"
	asideSuffix  = ".broken"
)

// setAside renames metadata that cannot be read, like a file that was not written to
// its end before a power failure: go-tuf would stop at it for ever. What can be read
// stays, as it protects from older versions; what that was is in versions.json too.
func (r *repository) setAside() error {
	files, err := os.ReadDir(r.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, f := range files {
		role, isJSON := strings.CutSuffix(f.Name(), ".json")
		if !isJSON || f.Name() == lastGoodFile {
			continue
		}
		file := filepath.Join(r.dir, f.Name())
		broken := r.readable(file, role)
		if broken == nil {
			continue
		}
		if err := os.RemoveAll(file + asideSuffix); err != nil {
			return err
		}
		if err := os.Rename(file, file+asideSuffix); err != nil {
			return err
		}
		r.warn(fmt.Sprintf("%s cannot be read (%v): it is now %s%s, and is fetched again", file, broken, f.Name(), asideSuffix))
	}
	return nil
}

// readable says why a file is not the metadata of its role.
func (r *repository) readable(file, role string) error {
	b, _, err := readFile(file, maxMetadata)
	if err != nil {
		return err
	}
	switch role {
	case strings.TrimSuffix(versionsFile, ".json"):
		var v versions
		return json.Unmarshal(b, &v)
	case metadata.ROOT:
		_, err = trustedmetadata.New(b)
	case metadata.TIMESTAMP:
		var m *metadata.Metadata[metadata.TimestampType]
		if m, err = (&metadata.Metadata[metadata.TimestampType]{}).FromBytes(b); err == nil {
			err = lists(m.Signed.Meta, metadata.SNAPSHOT)
		}
	case metadata.SNAPSHOT:
		var m *metadata.Metadata[metadata.SnapshotType]
		if m, err = (&metadata.Metadata[metadata.SnapshotType]{}).FromBytes(b); err == nil {
			err = lists(m.Signed.Meta, metadata.TARGETS)
		}
	default:
		_, err = (&metadata.Metadata[metadata.TargetsType]{}).FromBytes(b)
	}
	return err
}

// forget removes metadata that go-tuf kept and that was refused then: it could stand
// in the way of the good one. The root that trust started from stays: without it trust
// would start again from the operator's, whose keys may have been withdrawn since.
func (r *repository) forget(from []byte) error {
	for _, role := range []string{metadata.ROOT, metadata.TIMESTAMP, metadata.SNAPSHOT, metadata.TARGETS} {
		if role == metadata.ROOT && bytes.Equal(r.newest(), from) {
			continue
		}
		if err := os.Remove(filepath.Join(r.dir, role+".json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// lists tells that the metadata of a role is among files, and that each has something
// said of it: go-tuf breaks at what has not.
func lists(files map[string]*metadata.MetaFiles, role string) error {
	for name, f := range files {
		if f == nil {
			return fmt.Errorf("expected a version of %.100q, found none", name)
		}
	}
	if files[role+".json"] == nil {
		return fmt.Errorf("expected %s.json in it, found none", role)
	}
	return nil
}

// versions are those of the metadata of the last good refresh. They are kept beside
// the metadata, which also holds them: metadata that was lost must not let an older
// one be good again.
type versions struct {
	Root      int64 `json:"root"`
	Timestamp int64 `json:"timestamp"`
	Snapshot  int64 `json:"snapshot"`
	Targets   int64 `json:"targets"`
}

// versionsOf are those of metadata that was verified.
func versionsOf(m trustedmetadata.TrustedMetadata) (versions, error) {
	targets := m.Targets[metadata.TARGETS]
	if m.Root == nil || m.Timestamp == nil || m.Snapshot == nil || targets == nil {
		return versions{}, errors.New("expected root, timestamp, snapshot and targets, found not all of them")
	}
	return versions{m.Root.Signed.Version, m.Timestamp.Signed.Version, m.Snapshot.Signed.Version, targets.Signed.Version}, nil
}

// notBelow refuses versions older than what was seen. With a newer root the others may
// begin anew, as a repository does that recovers from a stolen key (TUF specification,
// 5.3.11).
func (v versions) notBelow(seen versions) error {
	if v.Root != seen.Root {
		if v.Root < seen.Root {
			return fmt.Errorf("root is version %d, older than %d, which was seen", v.Root, seen.Root)
		}
		return nil
	}
	for _, x := range []struct {
		role      string
		now, seen int64
	}{
		{"timestamp", v.Timestamp, seen.Timestamp}, {"snapshot", v.Snapshot, seen.Snapshot}, {"targets", v.Targets, seen.Targets},
	} {
		if x.now < x.seen {
			return fmt.Errorf("%s is version %d, older than %d, which was seen", x.role, x.now, x.seen)
		}
	}
	return nil
}

// seen are the versions of the last good refresh, zero when nothing says them.
func (r *repository) seen() versions {
	var v versions
	b, _, err := readFile(filepath.Join(r.dir, versionsFile), maxMetadata)
	if err != nil || json.Unmarshal(b, &v) != nil {
		return versions{}
	}
	return v
}
