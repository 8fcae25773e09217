package audit

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"
)

// Stdout is the path that means standard output.
const Stdout = "-"

// checkEvery bounds how often the path is looked at for a rotation, and so how
// long records go to a file that was renamed.
const checkEvery = time.Second

// maxKept bounds the buffers that are kept between records, in bytes.
const maxKept = 64 << 10

// File is a [Sink] that appends to a file or to standard output.
type File struct {
	path string           // Stdout when there is nothing to rotate
	now  func() time.Time // the clock of the checks for rotation
	bufs sync.Pool        // of *[]byte

	mu     sync.Mutex
	w      io.Writer   // nil after Close
	file   *os.File    // what w is, unless it is standard output
	info   os.FileInfo // of file, when it was opened
	next   time.Time   // when the path is looked at again
	midway bool        // the last line has no end: the next record starts with one
}

var _ Sink = (*File)(nil)

// Open returns a sink that appends to the file at path, created with mode 0640
// when missing, or that writes to stdout when path is [Stdout]. It never waits: a
// named pipe without a reader is an error.
//
// A stalled reader of standard output or of a pipe stalls the requests, as
// decisions are not made without a record of them.
func Open(path string, stdout io.Writer) (*File, error) {
	f := &File{path: path, now: time.Now, w: stdout}
	f.bufs.New = func() any { return new([]byte) }
	if path == Stdout {
		if stdout == nil {
			return nil, errors.New("audit log: no standard output to write to")
		}
		return f, nil
	}
	if err := f.open(); err != nil {
		return nil, err
	}
	return f, nil
}

// Write appends the record as one line with one system call.
func (f *File) Write(r Record) error {
	buf := f.bufs.Get().(*[]byte)
	// The first byte is room for the end of a line that was cut off.
	line := appendRecord(append((*buf)[:0], '\n'), &r)
	err := f.write(line)
	if cap(line) <= maxKept {
		*buf = line
		f.bufs.Put(buf)
	}
	return err
}

// write writes a line, given with a line end before it. The record is written
// even when a rotation could not be followed: the old file may still be kept
// under another name.
func (f *File) write(line []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.w == nil {
		return fmt.Errorf("audit log %s: %w", f.path, os.ErrClosed)
	}
	rotation := f.follow()
	if !f.midway {
		line = line[1:]
	}
	if err := f.writeAll(line); err != nil {
		return errors.Join(rotation, fmt.Errorf("audit log: %w", err))
	}
	return rotation
}

// writeAll completes short writes. When it cannot, it remembers whether part of a
// line was written.
func (f *File) writeAll(line []byte) error {
	written := 0
	for written < len(line) {
		n, err := f.w.Write(line[written:])
		written += max(n, 0)
		if err == nil && n <= 0 {
			err = io.ErrShortWrite
		}
		if err != nil && written < len(line) {
			if written > 0 {
				f.midway = line[written-1] != '\n'
			}
			return err
		}
	}
	f.midway = false
	return nil
}

// follow opens the path anew when it no longer is the file that is open.
func (f *File) follow() error {
	if f.file == nil {
		return nil
	}
	now := f.now()
	if now.Before(f.next) {
		return nil
	}
	f.next = now.Add(checkEvery)
	if info, err := os.Stat(f.path); err == nil && os.SameFile(info, f.info) {
		return nil
	}
	return f.open()
}

// Reopen opens the path anew, as after a rotation. When that fails, records keep
// going to the file that is open. It does nothing for standard output.
func (f *File) Reopen() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.w == nil {
		return fmt.Errorf("audit log %s: %w", f.path, os.ErrClosed)
	}
	if f.path == Stdout {
		return nil
	}
	return f.open()
}

// open replaces the open file by the one at the path now.
func (f *File) open() error {
	// O_NONBLOCK: a pipe nobody reads is an error at once. It means nothing to
	// files.
	file, err := os.OpenFile(f.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY|syscall.O_NONBLOCK, 0o640)
	if err != nil {
		return fmt.Errorf("open audit log: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return fmt.Errorf("open audit log: %w", err)
	}
	if f.file != nil {
		// Everything was handed to the system by write; what Close could report is
		// about a file that records no longer go to.
		f.file.Close()
	}
	f.file, f.w, f.info = file, file, info
	f.next = f.now().Add(checkEvery)
	f.midway = endsMidway(f.path, info)
	return nil
}

// endsMidway reports whether the last line of a file has no end, as a full disk
// or a crash of the machine can leave it. A file that may not be read is taken to
// be whole.
func endsMidway(path string, info os.FileInfo) bool {
	if !info.Mode().IsRegular() || info.Size() == 0 {
		return false
	}
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	last := make([]byte, 1)
	if _, err := file.ReadAt(last, info.Size()-1); err != nil {
		return false
	}
	return last[0] != '\n'
}

// Close flushes the file to the disk and closes it. Standard output stays open.
// Further calls do nothing.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	file, regular := f.file, f.file != nil && f.info.Mode().IsRegular()
	f.w, f.file = nil, nil
	if file == nil {
		return nil
	}
	var err error
	if regular {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("close audit log: %w", err)
	}
	return nil
}
