package discover

import (
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"unicode"
)

// Fault is one thing that is wrong in a configuration file, said so that the
// person who wrote the file can put it right.
type Fault struct {
	File    string // the file's name as it was given
	Key     string // where in the file, for example docker."example.com".lookaside; empty for the whole file
	Problem string // what is wrong
	Fix     string // what to write instead; empty when the problem says it
}

// Error says where, what and how to put it right, on one line. What is not printable,
// which a file can hold in names of scopes and keys, is left out.
func (f Fault) Error() string {
	parts := make([]string, 0, 3)
	for _, p := range []string{f.File, f.Key, f.Problem} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	s := strings.Join(parts, ": ")
	if f.Fix != "" {
		s += "; fix: " + f.Fix
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// ReadRegular reads a whole regular file of at most limit bytes. Anything else
// under that name (a directory, a FIFO, a device) is an error, and so is a file
// that is larger; it never blocks on a special file and never truncates.
func ReadRegular(name string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, &os.PathError{Op: "read", Path: name, Err: fmt.Errorf("expected a regular file, found %s", kindOf(st.Mode()))}
	}
	return readAtMost(f, limit, name)
}

// kindOf names the kind of a file that is not regular.
func kindOf(m os.FileMode) string {
	switch {
	case m.IsDir():
		return "a directory"
	case m&os.ModeNamedPipe != 0:
		return "a FIFO"
	case m&os.ModeDevice != 0:
		return "a device"
	case m&os.ModeSocket != 0:
		return "a socket"
	}
	return "something else"
}

// readAtMost reads all of r, and errors when that is more than limit bytes.
func readAtMost(r io.Reader, limit int64, what string) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", what, limit)
	}
	return b, nil
}
