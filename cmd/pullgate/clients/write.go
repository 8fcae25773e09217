package clients

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// What became of a file.
const (
	Unchanged = "unchanged" // it has the content already
	Created   = "created"
	Replaced  = "replaced" // it was ours, with other content, or others could read a password in it
	Merged    = "merged"   // keys were added to what was there
)

// Change says what became of one file. Backup is where its old content is.
type Change struct {
	Path   string `json:"path"`
	Action string `json:"action"`
	Backup string `json:"backup,omitempty"`
}

// Report says what Write did.
type Report struct {
	Changes []Change `json:"changes"`
	// Left are steps that only the operator can take. While there are any the
	// client is not closed.
	Left []Step `json:"left,omitempty"`
}

// Conflict is the error of Write when the node has content that is not ours to
// change. Nothing was changed then.
type Conflict struct{ Faults []string }

func (c *Conflict) Error() string {
	return "nothing was changed:\n" + strings.Join(c.Faults, "\n")
}

// pending is one file as it is going to be.
type pending struct {
	path    string
	action  string
	content []byte
	mode    fs.FileMode
	old     []byte // for the backup; nil when there is none to make
	oldMode fs.FileMode
}

// Write brings the node below root into the plan's state. Everything is looked at
// before anything is written: a *[Conflict] has all that stands in the way. Each
// file is written beside its place and renamed; what it replaces is kept as
// FILE.pullgate-backup-<time>. An error in between says so, and the Report has what
// was done until then.
func (p Plan) Write(root *os.Root, now time.Time) (Report, error) {
	if len(p.checks) == 0 {
		return Report{}, errors.New("the plan was not made by For")
	}
	n := node{root}
	todo, left, faults := p.prepare(n)
	if len(faults) > 0 {
		slices.Sort(faults)
		return Report{}, &Conflict{Faults: slices.Compact(faults)}
	}
	report := Report{Left: left}
	for _, f := range todo {
		change, err := n.put(f, now)
		if err != nil {
			return report, fmt.Errorf("%s: could not be written, the files after it were not touched: %w", f.path, cause(err))
		}
		report.Changes = append(report.Changes, change)
	}
	return report, nil
}

// prepare decides what becomes of each file.
func (p Plan) prepare(n node) (todo []pending, left []Step, faults []string) {
	for _, c := range p.checks {
		faults = append(faults, c(n)...)
	}
	for _, f := range p.Files {
		if f.Kind == ContainerdConfig {
			write, keep, step, err := n.containerdConfig(f)
			switch {
			case err != nil:
				faults = append(faults, err.Error())
				continue
			case step != nil:
				left = append(left, *step)
				continue
			case keep:
				todo = append(todo, pending{path: f.Path, action: Unchanged})
				continue
			}
			f = write
		}
		do, err := n.decide(f)
		if err != nil {
			faults = append(faults, err.Error())
			continue
		}
		todo = append(todo, do)
	}
	return todo, left, faults
}

// decide compares one file of the plan with what is there.
func (n node) decide(f File) (pending, error) {
	do := pending{path: f.Path, action: Created, content: f.Content, mode: f.Mode.Perm()}
	if info, err := n.root.Lstat(inRoot(f.Path)); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		return do, fmt.Errorf("%s: is a symbolic link; expected a file or nothing: put the content into the file it stands for, or remove the link", f.Path)
	}
	old, there, err := n.read(f.Path)
	if err != nil {
		return do, err
	}
	if !there {
		return do, n.parentsFit(f.Path)
	}
	info, err := n.root.Stat(inRoot(f.Path))
	if err != nil {
		return do, fmt.Errorf("%s: %w", f.Path, cause(err))
	}
	do.oldMode = info.Mode().Perm()
	if f.Kind == MergeJSON {
		if do, err = decideMerge(f, do, old); err != nil {
			return do, err
		}
		return do.kept(f, old), nil
	}
	switch {
	case bytes.Equal(old, f.Content), isOurs(old) && bytes.Equal(afterMarker(old), afterMarker(f.Content)):
		do.action = Unchanged // plans for several clients share files
	case isOurs(old):
		do.action, do.old = Replaced, old
	default:
		return do, fmt.Errorf("%s: has content that pullgate did not write; merge it by hand with what `pullgate client` prints for this file, or move it away", f.Path)
	}
	return do.kept(f, old), nil
}

// kept keeps a file with a password from everybody but root: what is written, what
// is there already, and the backup, which may hold the same password.
func (do pending) kept(f File, old []byte) pending {
	if f.Mode.Perm()&0o077 != 0 {
		return do
	}
	if do.action == Unchanged && do.oldMode&0o077 != 0 {
		do.action, do.content = Replaced, old
		do.mode = do.oldMode
	}
	do.mode &= 0o700
	do.oldMode &= 0o700
	return do
}

// afterMarker is a file of ours without its first line.
func afterMarker(b []byte) []byte {
	_, rest, _ := bytes.Cut(b, []byte("\n"))
	return rest
}

func decideMerge(f File, do pending, old []byte) (pending, error) {
	merged, changed, err := mergeJSON(f.Path, old, f.Content)
	if err != nil {
		return do, err
	}
	do.action = Unchanged
	if !changed {
		return do, nil
	}
	do.action, do.content, do.old = Merged, merged, old
	do.mode = do.oldMode // it may hold more than ours, and be kept from readers
	return do, nil
}

// parentsFit looks for the first directory above a path that is there: it has to
// be one, inside the root.
func (n node) parentsFit(name string) error {
	for dir := path.Dir(name); ; dir = path.Dir(dir) {
		info, err := n.root.Stat(inRoot(dir))
		switch {
		case err == nil && !info.IsDir():
			return fmt.Errorf("%s: expected a directory, found %s", dir, info.Mode().Type())
		case err == nil:
			return nil
		case !errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("%s: cannot be looked at: %w", dir, cause(err))
		case dir == "/":
			return fmt.Errorf("%s: %w", dir, cause(err))
		}
		if _, err := n.root.Lstat(inRoot(dir)); err == nil {
			return fmt.Errorf("%s: is a symbolic link to nothing", dir)
		}
	}
}

// put writes one file, if it is to be written.
func (n node) put(f pending, now time.Time) (Change, error) {
	change := Change{Path: f.path, Action: f.action}
	if f.action == Unchanged {
		return change, nil
	}
	if err := n.mkdirs(path.Dir(f.path)); err != nil {
		return change, err
	}
	if f.old != nil {
		change.Backup = f.path + ".pullgate-backup-" + now.UTC().Format("20060102T150405.000000000Z")
		if err := n.create(change.Backup, f.old, f.oldMode); err != nil {
			return change, err
		}
	}
	temporary := path.Join(path.Dir(f.path), ".pullgate-"+rand.Text())
	if err := n.create(temporary, f.content, f.mode); err != nil {
		return change, err
	}
	if err := n.root.Rename(inRoot(temporary), inRoot(f.path)); err != nil {
		return change, errors.Join(err, n.root.Remove(inRoot(temporary)))
	}
	return change, n.sync(path.Dir(f.path))
}

// mkdirs makes a directory and those above it, readable for everybody whatever the
// umask is: clients do not all run as root.
func (n node) mkdirs(dir string) error {
	if _, err := n.root.Stat(inRoot(dir)); err == nil || dir == "/" {
		return err
	}
	if err := n.mkdirs(path.Dir(dir)); err != nil {
		return err
	}
	if err := n.root.Mkdir(inRoot(dir), 0o755); err != nil {
		return err
	}
	return n.root.Chmod(inRoot(dir), 0o755)
}

// create writes a file that must not be there yet, and leaves none when it cannot.
func (n node) create(name string, content []byte, mode fs.FileMode) (err error) {
	f, err := n.root.OpenFile(inRoot(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(err, n.root.Remove(inRoot(name)))
		}
	}()
	if _, err := f.Write(content); err != nil {
		return err
	}
	if err := f.Chmod(mode); err != nil { // whatever the umask
		return err
	}
	return f.Sync()
}

// sync makes a rename last.
func (n node) sync(dir string) error {
	d, err := n.root.Open(inRoot(dir))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
