package doctor

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
	"syscall"

	securejoin "github.com/cyphar/filepath-securejoin"
)

// Bounds of what is read from a node. A file or directory beyond them is an error,
// never a shorter one.
const (
	maxFile    = 1 << 20
	maxBundle  = 8 << 20
	maxEntries = 4096
	maxFiles   = 256 // of one drop-in directory
)

// node reads the files of a system below root. Paths are those of the node:
// absolute, symbolic links resolved inside root, so that a root taken from
// elsewhere never leads to files of this system.
type node struct{ root string }

// at is where a path of the node is on this system.
func (n node) at(p string) (string, error) { return securejoin.SecureJoin(n.root, p) }

// read returns a regular file of at most limit bytes. A missing file is
// [fs.ErrNotExist].
func (n node) read(p string, limit int64) ([]byte, error) {
	real, err := n.at(p)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p, reason(err))
	}
	// Without O_NONBLOCK a named pipe would hold the doctor for ever.
	f, err := os.OpenFile(real, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p, reason(err))
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p, reason(err))
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: expected a regular file, found %s", p, info.Mode().Type())
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p, reason(err))
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s: larger than %d bytes", p, limit)
	}
	return b, nil
}

// list returns the sorted names in a directory, none when it does not exist.
func (n node) list(p string) ([]string, error) {
	real, err := n.at(p)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p, reason(err))
	}
	d, err := os.OpenFile(real, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_DIRECTORY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p, reason(err))
	}
	defer d.Close()
	names, err := d.Readdirnames(maxEntries + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", p, reason(err))
	}
	if len(names) > maxEntries {
		return nil, fmt.Errorf("%s: more than %d entries", p, maxEntries)
	}
	sort.Strings(names)
	return names, nil
}

// dropIns returns the paths of a directory's files with a suffix, in the order in
// which they are read.
func (n node) dropIns(dir, suffix string) ([]string, error) {
	names, err := n.list(dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, name := range names {
		if strings.HasSuffix(name, suffix) {
			out = append(out, path.Join(dir, name))
		}
	}
	if len(out) > maxFiles {
		return nil, fmt.Errorf("%s: more than %d files", dir, maxFiles)
	}
	return out, nil
}

// stat says what is at a path. A path that cannot be looked at is an error, and
// not absent.
func (n node) stat(p string) (fs.FileInfo, error) {
	real, err := n.at(p)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p, reason(err))
	}
	info, err := os.Stat(real)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p, reason(err))
	}
	return info, nil
}

// has reports whether there is something at one of the paths.
func (n node) has(paths ...string) bool {
	for _, p := range paths {
		if _, err := n.stat(p); err == nil || !absent(err) {
			return true
		}
	}
	return false
}

// programDirs are searched for clients besides PATH.
var programDirs = []string{
	"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/opt/bin", "/snap/bin",
}

// program reports whether an executable of that name is on the node.
func (n node) program(name string) bool {
	for _, dir := range programDirs {
		if info, err := n.stat(path.Join(dir, name)); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return true
		}
	}
	return false
}

// absent reports whether an error says that there is no such file.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// reason takes the path of this system out of an error: the node's is told.
func reason(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// lineOf is the line of the first occurrence of text, 0 when there is none.
func lineOf(b []byte, text string) int {
	i := bytes.Index(b, []byte(text))
	if i < 0 {
		return 0
	}
	return bytes.Count(b[:i], []byte("\n")) + 1
}

// cleanRoot makes root absolute and free of symbolic links, as resolving below it
// needs it.
func cleanRoot(root string) (string, error) {
	abs, err := filepath.Abs(root)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	if err != nil {
		return "", fmt.Errorf("--root: %w", err)
	}
	if info, err := os.Stat(abs); err != nil || !info.IsDir() {
		return "", fmt.Errorf("--root: expected a directory, found %s", abs)
	}
	return abs, nil
}
