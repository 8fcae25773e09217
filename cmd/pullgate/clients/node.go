package clients

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

const (
	maxFile    = 1 << 20 // of any file that is read on a node
	maxEntries = 10_000  // of any directory
)

// node is the file system of the machine that is configured, below a root that
// nothing leads out of. Paths are absolute, of the node.
type node struct{ root *os.Root }

// check looks at a node and returns what stands in the way of a plan, a line each.
type check func(node) []string

// noCheck is for plans that nothing on the node can undo.
func noCheck(node) []string { return nil }

func inRoot(name string) string {
	if rel := strings.TrimPrefix(path.Clean("/"+name), "/"); rel != "" {
		return rel
	}
	return "."
}

// read returns a regular file's content. Links are followed inside the root only;
// a link that leads out of it, and a file that is larger than 1 MiB, are errors.
func (n node) read(name string) (content []byte, there bool, err error) {
	info, err := n.root.Stat(inRoot(name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// A link to nothing is there too, for whoever writes to it.
		if _, lerr := n.root.Lstat(inRoot(name)); lerr == nil {
			return nil, true, fmt.Errorf("%s: is a symbolic link to nothing", name)
		}
		return nil, false, nil
	case err != nil:
		return nil, true, fmt.Errorf("%s: cannot be looked at: %w", name, cause(err))
	case !info.Mode().IsRegular():
		return nil, true, fmt.Errorf("%s: expected a regular file, found %s", name, info.Mode().Type())
	}
	f, err := n.root.Open(inRoot(name))
	if err != nil {
		return nil, true, fmt.Errorf("%s: %w", name, cause(err))
	}
	defer f.Close()
	content, err = io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, true, fmt.Errorf("%s: %w", name, cause(err))
	}
	if len(content) > maxFile {
		return nil, true, fmt.Errorf("%s: expected at most 1 MiB, found more", name)
	}
	return content, true, nil
}

// list returns the names in a directory, none when there is no directory.
func (n node) list(dir string) ([]fs.DirEntry, error) {
	f, err := n.root.Open(inRoot(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: cannot be looked at: %w", dir, cause(err))
	}
	defer f.Close()
	entries, err := f.ReadDir(maxEntries)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: cannot be looked at: %w", dir, cause(err))
	}
	if len(entries) == maxEntries {
		return nil, fmt.Errorf("%s: expected fewer than %d files", dir, maxEntries)
	}
	return entries, nil
}

// files returns the paths in a directory that end in suffix, in the order in which
// programs read them.
func (n node) files(dir, suffix string) ([]string, error) {
	entries, err := n.list(dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), suffix) && !e.IsDir() {
			out = append(out, path.Join(dir, e.Name()))
		}
	}
	slices.Sort(out)
	return out, nil
}

// cause leaves out the path of a file error, which the message has already.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// withoutComments returns the lines of a file that are no comments of systemd or
// shell.
func withoutComments(b []byte) []string {
	var out []string
	for line := range bytes.Lines(b) {
		s := strings.TrimSpace(string(line))
		if s != "" && s[0] != '#' && s[0] != ';' {
			out = append(out, s)
		}
	}
	return out
}
