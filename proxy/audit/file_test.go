package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func open(t *testing.T, path string) *File {
	t.Helper()
	f, err := Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func write(t *testing.T, f *File, id string) {
	t.Helper()
	if err := f.Write(Record{RequestID: id}); err != nil {
		t.Fatal(err)
	}
}

// ids returns the request ids of the whole lines of files, in order. A line that
// is no record is reported as it is.
func ids(t *testing.T, paths ...string) (ids []string) {
	t.Helper()
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			var r Record
			if err := json.Unmarshal([]byte(line), &r); err != nil || !strings.HasSuffix(line, "\n") {
				ids = append(ids, line)
				continue
			}
			ids = append(ids, r.RequestID)
		}
	}
	return ids
}

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("got %q, expected %q", got, want)
	}
}

// clock is a clock that stands still between steps.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) read() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }
func (c *clock) step(d time.Duration) {
	c.mu.Lock()
	c.now = c.now.Add(d)
	c.mu.Unlock()
}

// stand gives a file a clock that only the test moves.
func stand(f *File) *clock {
	c := &clock{now: time.Now()}
	f.now = c.read
	f.next = c.now.Add(checkEvery)
	return c
}

func TestAFileIsAppendedToAndPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	f := open(t, path)
	write(t, f, "a")
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, open(t, path), "b")
	expect(t, ids(t, path), "a", "b")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode&0o027 != 0 {
		t.Errorf("mode %o lets others read or write", mode)
	}
}

func TestRecordsAreWrittenWhenWriteReturns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	f := open(t, path)
	for i := range 3 {
		write(t, f, fmt.Sprint(i))
		if got := ids(t, path); len(got) != i+1 { // as a killed process would leave it
			t.Fatalf("after %d records the file holds %q", i+1, got)
		}
	}
}

func TestAfterCloseEveryWriteIsAnError(t *testing.T) {
	var out bytes.Buffer
	stdout, err := Open(Stdout, &out)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []*File{stdout, open(t, filepath.Join(t.TempDir(), "a"))} {
		for range 2 {
			if err := f.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		}
		if err := f.Write(Record{}); !errors.Is(err, os.ErrClosed) {
			t.Errorf("write: %v", err)
		}
		if err := f.Reopen(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("reopen: %v", err)
		}
	}
	if out.Len() > 0 {
		t.Errorf("written: %s", out.String())
	}
}

// calls is a writer that counts its calls and takes only so many bytes in each.
type calls struct {
	bytes.Buffer
	count int
	take  []int // bytes taken by each call, everything after the last
	err   error // returned by calls that take less than everything
}

func (c *calls) Write(p []byte) (int, error) {
	c.count++
	if len(c.take) == 0 {
		return c.Buffer.Write(p)
	}
	n := min(c.take[0], len(p))
	c.take = c.take[1:]
	c.Buffer.Write(p[:n])
	if n < len(p) {
		return n, c.err
	}
	return n, nil
}

func toStdout(t *testing.T, w io.Writer) *File {
	t.Helper()
	f, err := Open(Stdout, w)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestARecordIsOneCall(t *testing.T) {
	w := &calls{}
	f := toStdout(t, w)
	for range 10 {
		write(t, f, strings.Repeat("long", 1000))
	}
	if w.count != 10 {
		t.Errorf("10 records took %d calls", w.count)
	}
}

func TestAShortWriteIsCompleted(t *testing.T) {
	w := &calls{take: []int{5, 1}}
	write(t, toStdout(t, w), "a")
	if got := w.String(); strings.Count(got, "\n") != 1 || !json.Valid(w.Bytes()) {
		t.Errorf("got %q", got)
	}
}

func TestAWriterThatTakesNothingIsAnError(t *testing.T) {
	f := toStdout(t, &calls{take: []int{0}})
	if err := f.Write(Record{}); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("got %v", err)
	}
}

func TestAfterATornLineTheNextRecordStartsOnItsOwn(t *testing.T) {
	w := &calls{take: []int{7, 0, 1}, err: syscall.ENOSPC}
	f := toStdout(t, w)
	for i := range 3 { // torn after 7 bytes; nothing taken; only the line end taken
		if err := f.Write(Record{RequestID: "lost"}); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("write %d: %v", i, err)
		}
	}
	write(t, f, "b")
	write(t, f, "c")
	lines := strings.SplitAfter(w.String(), "\n")
	if len(lines) != 4 || lines[0] != `{"time"`+"\n" || !strings.Contains(lines[1], `"b"`) || !strings.Contains(lines[2], `"c"`) {
		t.Errorf("got %q", lines)
	}
}

func TestATornLineOfTheRunBeforeIsEnded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	if err := os.WriteFile(path, []byte(`{"time":"20`), 0o600); err != nil {
		t.Fatal(err)
	}
	f := open(t, path)
	write(t, f, "a")
	write(t, f, "b")
	expect(t, ids(t, path), `{"time":"20`+"\n", "a", "b")
}

func TestAFullDiskIsAnErrorEveryTime(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Fatalf("a device that is always full is needed: %v", err)
	}
	f := open(t, "/dev/full")
	for range 3 {
		if err := f.Write(Record{}); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("got %v", err)
		}
	}
}

func TestRotationByRenameAndReopen(t *testing.T) {
	dir := t.TempDir()
	path, old := filepath.Join(dir, "audit.jsonl"), filepath.Join(dir, "audit.jsonl.1")
	f := open(t, path)
	stand(f)
	write(t, f, "a")
	if err := os.Rename(path, old); err != nil {
		t.Fatal(err)
	}
	write(t, f, "b") // before the signal: kept under the new name
	if err := f.Reopen(); err != nil {
		t.Fatal(err)
	}
	write(t, f, "c")
	expect(t, ids(t, old), "a", "b")
	expect(t, ids(t, path), "c")
}

func TestRotationWithoutASignalIsNoticedWithinASecond(t *testing.T) {
	for name, rotate := range map[string]func(path string) error{
		"renamed":              func(path string) error { return os.Rename(path, path+".1") },
		"removed":              os.Remove,
		"replaced by a new":    func(path string) error { os.Rename(path, path+".1"); return os.WriteFile(path, nil, 0o600) },
		"replaced by a torn":   func(path string) error { os.Rename(path, path+".1"); return os.WriteFile(path, []byte("torn"), 0o600) },
		"directory moved away": func(path string) error { d := filepath.Dir(path); os.Rename(d, d+".1"); return os.Mkdir(d, 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "logs", "audit.jsonl")
			if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			f := open(t, path)
			c := stand(f)
			write(t, f, "a")
			if err := rotate(path); err != nil {
				t.Fatal(err)
			}
			c.step(checkEvery - 1)
			write(t, f, "b")
			c.step(1)
			write(t, f, "c")
			got := ids(t, path)
			if got[len(got)-1] != "c" || strings.Contains(strings.Join(got, ""), "b") {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestCopyAndTruncateLeavesNoHole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	f := open(t, path)
	write(t, f, "a")
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	write(t, f, "b")
	expect(t, ids(t, path), "b")
}

func TestWhenTheNewFileCannotBeOpenedTheOldOneIsKept(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "logs", "audit.jsonl")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	f := open(t, path)
	c := stand(f)
	write(t, f, "a")
	moved := filepath.Join(dir, "moved")
	if err := os.Rename(filepath.Dir(path), moved); err != nil {
		t.Fatal(err)
	}
	if err := f.Reopen(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("reopen: %v", err)
	}
	c.step(checkEvery)
	if err := f.Write(Record{RequestID: "b"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a rotation that cannot be followed is not told: %v", err)
	}
	write(t, f, "c") // told once a second, not for each record
	expect(t, ids(t, filepath.Join(moved, "audit.jsonl")), "a", "b", "c")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	c.step(checkEvery)
	write(t, f, "d")
	expect(t, ids(t, path), "d")
}

func TestWhatCannotBeOpened(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, filepath.Join(dir, "none", "audit.jsonl"), "", pipe} {
		if f, err := Open(path, nil); err == nil || f != nil {
			t.Errorf("%q is opened", path)
		}
	}
	if _, err := Open(Stdout, nil); err == nil {
		t.Error("standard output that is not there is opened")
	}
}

// 8 goroutines write while the file is rotated 20 times: every record arrives
// once, whole, and in the order of its goroutine.
func TestNoRecordIsLostOrTornWhileFilesRotate(t *testing.T) {
	const writers, records, rotations = 8, 500, 20
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.jsonl")
	f := open(t, path)
	c := stand(f)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range records {
				r := Record{RequestID: fmt.Sprintf("%d %d", w, i), UserAgent: strings.Repeat("\n\"\xff", 1+i%200)}
				if err := f.Write(r); err != nil {
					t.Error(err)
				}
			}
		})
	}
	paths := []string{path}
	for i := range rotations {
		old := fmt.Sprintf("%s.%d", path, i)
		// The file is there again once a record or Reopen made it.
		for os.Rename(path, old) != nil {
			time.Sleep(time.Millisecond)
			if err := f.Reopen(); err != nil {
				t.Fatal(err)
			}
		}
		paths = append(paths, old)
		if i%2 == 0 {
			c.step(checkEvery)
		} else if err := f.Reopen(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	wg.Wait()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		paths = paths[1:] // rotated after the last record
	}
	seen := map[string]int{}
	for _, id := range ids(t, paths...) {
		seen[id]++
	}
	for w := range writers {
		for i := range records {
			if n := seen[fmt.Sprintf("%d %d", w, i)]; n != 1 {
				t.Errorf("record %d of writer %d stands %d times", i, w, n)
			}
		}
	}
	if len(seen) != writers*records {
		t.Errorf("%d different lines, expected %d", len(seen), writers*records)
	}
}
