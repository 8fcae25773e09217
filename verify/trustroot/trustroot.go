// Package trustroot keeps named sigstore trust roots: the certificate authorities,
// logs and timestamp authorities (trusted_root.json) that identities in the policy
// are verified against.
//
// A root comes from a file, or from a TUF mirror whose first root metadata the
// operator gives. It is read when the gate starts and whenever [Set.Refresh] is
// called; what cannot be read or verified then never takes the place of what could.
// With a maximum age, a root that was not refreshed for as long is stale and
// nothing may be judged by it: keys that were withdrawn must not be good for ever
// because a mirror is dead.
//
// It promises that a root is swapped whole, that a reader never waits for a
// refresh, and that it dials only in Refresh, only through the [Web] that it was
// given, and not at all when offline. It never accepts TUF metadata older than what
// it has seen, nor falls back to a root that the operator did not name.
package trustroot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
)

// Source says where a named root comes from: File or TUF.
type Source struct {
	Name   string
	File   string        // path of a trusted_root.json; empty with TUF
	TUF    TUF           // zero with File
	MaxAge time.Duration // 0: a root never gets stale
}

// TUF is a TUF repository (https://theupdateframework.github.io/specification/).
type TUF struct {
	Mirror string // URL of the metadata, http or https
	Root   string // path of the root.json that trust starts from
	Target string // name of the trusted root there: trusted_root.json
}

// Web fetches a file. A file that is not there matches [io/fs.ErrNotExist]; sizes
// are bounded by who reads.
type Web interface {
	Get(ctx context.Context, url string) (io.ReadCloser, error)
}

// Options configure a [Set].
type Options struct {
	Roots    []Source
	Offline  bool             // never ask Web
	StateDir string           // where TUF metadata and the last good roots are kept; required with TUF
	Web      Web              // required with TUF unless Offline
	Now      func() time.Time // nil: time.Now
	// Warn is told of what was wrong with StateDir and put right; it may be nil.
	Warn func(text string)
}

// Root is a named trust root at one moment.
type Root struct {
	Name     string
	Material root.TrustedMaterial // nil when there is none yet
	// Generation is the sha256 in hex of the trusted_root.json, empty when there is
	// none yet.
	Generation string
	LoadedAt   time.Time // when these bytes were read
	// Refreshed is what the maximum age counts from: the time of the file, or that of
	// the last good TUF refresh. Zero when there is none yet.
	Refreshed time.Time
	Expires   time.Time // Refreshed and the maximum age; zero: never
	// Stale says that nothing may be judged by it: it is too old, or there is none
	// yet. Verdicts that need it are inconclusive.
	Stale bool
	// Problem says why it is stale and what would make it good again, or why the last
	// refresh did not work; empty when all is well.
	Problem string
}

// Fault is why one source cannot be used.
type Fault struct {
	Name string // of the root, as [Source] has it
	File string // the file of the configuration that is to blame; empty when none is
	Err  error  // names the file, too
}

func (f *Fault) Error() string { return fmt.Sprintf("trust root %s: %v", f.Name, f.Err) }

func (f *Fault) Unwrap() error { return f.Err }

// Faults are those of all sources that cannot be used, in the order of
// [Options].Roots.
type Faults []*Fault

// Error lists the faults, one a line.
func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// maxSkew is how far in the future the time of a file may be.
const maxSkew = 10 * time.Minute

// Set holds named roots. It is safe for concurrent use. Use [Open].
type Set struct {
	opt     Options
	sources map[string]*source
	names   []string      // sorted
	busy    chan struct{} // held by the one refresh
	now     atomic.Pointer[snapshot]
}

// snapshot is all roots at one moment; it never changes.
type snapshot struct {
	roots      map[string]Root
	generation string
	// No root gets stale, or good again, from one of these times until before the
	// other; zero: there is no such time.
	from, until time.Time
}

// Open reads all roots from disk: files, and what the last good refresh of TUF left
// in StateDir. It dials nothing. It is an error when a file cannot be used, when
// the first root of a TUF repository cannot, and when offline nothing was left: the
// error is [Faults], of all of them at once. A root that is still to be fetched is
// there and stale until Refresh has it.
func Open(o Options) (*Set, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Set{opt: o, sources: map[string]*source{}, busy: make(chan struct{}, 1)}
	roots := map[string]Root{}
	var faults Faults
	for _, src := range o.Roots {
		if _, twice := s.sources[src.Name]; twice || src.Name == "" {
			faults = append(faults, &Fault{Name: src.Name, Err: errors.New("expected a name of its own")})
			continue
		}
		s.sources[src.Name] = nil
		from, r, fault := s.open(src)
		if fault != nil {
			faults = append(faults, fault)
			continue
		}
		roots[src.Name], s.sources[src.Name] = r, from
	}
	if len(faults) > 0 {
		return nil, faults
	}
	s.names = slices.Sorted(maps.Keys(roots))
	s.now.Store(s.snapshot(roots))
	return s, nil
}

// open reads one root from disk.
func (s *Set) open(src Source) (*source, Root, *Fault) {
	from, err := newSource(src, &s.opt)
	if err != nil {
		return nil, Root{}, &Fault{src.Name, src.TUF.Root, err}
	}
	r, err := from.load()
	switch {
	case err != nil && from.repo == nil:
		return nil, Root{}, &Fault{src.Name, src.File, err}
	case err != nil && s.opt.Offline:
		return nil, Root{}, &Fault{src.Name, "", fmt.Errorf("offline, and no good refresh was kept: %w", err)}
	case err != nil:
		r = Root{Problem: "it was not fetched yet"}
	}
	r.Name = src.Name
	return from, r, nil
}

// Get returns a root by its name, and false for a name that is not configured. A
// root that is there may be stale.
func (s *Set) Get(name string) (Root, bool) {
	r, ok := s.now.Load().roots[name]
	if !ok {
		return Root{}, false
	}
	src := s.sources[name]
	if stale := src.stale(r, s.opt.Now()); stale != "" {
		r.Stale = true
		if r.Problem != "" {
			stale += "; " + r.Problem
		}
		r.Problem = stale
	}
	return r, true
}

// Names returns the names of all roots, sorted.
func (s *Set) Names() []string { return slices.Clone(s.names) }

// Generation changes with every byte of every root, and when one gets stale or good
// again: what was decided by a root must not outlive it. sha256 in hex.
func (s *Set) Generation() string { return s.current().generation }

// current is the snapshot as it is now. It is made again only when a root got stale,
// or good again, since it was made.
func (s *Set) current() *snapshot {
	for {
		sn, now := s.now.Load(), s.opt.Now()
		if (sn.from.IsZero() || !now.Before(sn.from)) && (sn.until.IsZero() || now.Before(sn.until)) {
			return sn
		}
		// Where a refresh is faster, its snapshot is looked at.
		if fresh := s.snapshotAt(sn.roots, now); s.now.CompareAndSwap(sn, fresh) {
			return fresh
		}
	}
}

// Refresh reads files again and asks TUF mirrors, all at once: a mirror that does not
// answer holds up no other root, and each is in force as soon as it is there. Roots for
// which that does not work stay as they are and get older; the error names each.
// Changed says that Generation is another than before. One refresh runs at a time.
func (s *Set) Refresh(ctx context.Context) (changed bool, err error) {
	select {
	case s.busy <- struct{}{}:
		defer func() { <-s.busy }()
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	before := s.current()
	done := make(chan refreshed)
	for _, name := range s.names {
		go func() { done <- s.refreshOne(ctx, name) }()
	}
	faults := map[string]error{}
	for range s.names {
		got := <-done
		roots := maps.Clone(s.now.Load().roots)
		if got.Material == nil { // keep the old one
			got.Root = roots[got.name]
		}
		got.Name, got.Problem = got.name, ""
		if got.err != nil {
			got.Problem = "the last refresh did not work: " + got.err.Error()
			faults[got.name] = fmt.Errorf("trust root %s: %w", got.name, got.err)
		}
		roots[got.name] = got.Root
		s.now.Store(s.snapshot(roots))
	}
	var all []error
	for _, name := range s.names {
		all = append(all, faults[name])
	}
	return s.now.Load().generation != before.generation, errors.Join(all...)
}

// refreshed is what became of one root.
type refreshed struct {
	Root
	name string
	err  error
}

func (s *Set) refreshOne(ctx context.Context, name string) (out refreshed) {
	// Metadata comes from anybody who answers for the mirror, and nobody else could
	// recover from a panic in this goroutine.
	defer func() {
		if p := recover(); p != nil {
			out = refreshed{name: name, err: fmt.Errorf("reading it panicked: %v", p)}
		}
	}()
	r, err := s.sources[name].refresh(ctx)
	return refreshed{r, name, err}
}

func (s *Set) snapshot(roots map[string]Root) *snapshot { return s.snapshotAt(roots, s.opt.Now()) }

func (s *Set) snapshotAt(roots map[string]Root, now time.Time) *snapshot {
	h := sha256.New()
	out := &snapshot{roots: roots}
	for _, name := range s.names {
		r := roots[name]
		fmt.Fprintf(h, "%q %s stale=%t\n", name, r.Generation, s.sources[name].stale(r, now) != "")
		for _, at := range s.sources[name].turns(r) {
			switch {
			case at.After(now):
				out.until = earlier(out.until, at)
			case at.After(out.from):
				out.from = at
			}
		}
	}
	out.generation = hex.EncodeToString(h.Sum(nil))
	return out
}

// earlier is the earlier of two times, of which zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}
