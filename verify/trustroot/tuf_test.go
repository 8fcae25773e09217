package trustroot_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/pullgate/pullgate/verify/trustroot"
)

// Before the first refresh there is nothing to judge by; after it there is, also
// after a restart without the mirror, until it is too old.
func TestTUFFromNothingToStale(t *testing.T) {
	w := newWorld(t, trustedRoot(t, "a"))
	s := w.open()
	if r := get(t, s, "acme"); !r.Stale || r.Material != nil || r.Problem == "" {
		t.Errorf("expected a stale root, found %+v", r)
	}
	if len(w.mirror.asked) > 0 {
		t.Errorf("Open asked for %q", w.mirror.asked)
	}
	before := s.Generation()
	if !refresh(t, s) || s.Generation() == before {
		t.Error("expected another generation")
	}
	r := get(t, s, "acme")
	if r.Stale || r.Material == nil || r.Problem != "" || !r.Expires.Equal(w.clock.now().Add(time.Hour)) {
		t.Errorf("expected a good root, found %+v", r)
	}
	if refresh(t, s) {
		t.Error("nothing changed, and it is said to have")
	}

	w.mirror.down = errDown
	w.clock.add(30 * time.Minute)
	again := w.open()
	if r := get(t, again, "acme"); r.Stale || again.Generation() != s.Generation() {
		t.Errorf("the last good root was not there after a restart: %+v", r)
	}
	if changed, err := again.Refresh(t.Context()); changed || err == nil {
		t.Errorf("expected an error, found %v, %v", changed, err)
	}
	if r := get(t, again, "acme"); r.Stale || !strings.Contains(r.Problem, "is down") {
		t.Errorf("expected a good root with a problem, found %+v", r)
	}
	w.clock.add(30 * time.Minute)
	for _, set := range []*trustroot.Set{s, again, w.open()} {
		if r := get(t, set, "acme"); !r.Stale || !strings.Contains(r.Problem, "older than its maximum age") {
			t.Errorf("expected a stale root, found %+v", r)
		}
	}
	w.mirror.down = nil
	refresh(t, again)
	if r := get(t, again, "acme"); r.Stale {
		t.Errorf("expected a good root, found %+v", r)
	}
}

// silent is a mirror that never answers beside one that does.
type silent struct {
	*mirror
	reached chan struct{}
}

func (w silent) Get(ctx context.Context, url string) (io.ReadCloser, error) {
	switch {
	case strings.HasPrefix(url, "https://breaks.example/"):
		panic("a parser tripped")
	case strings.HasPrefix(url, "https://silent.example/"):
		<-ctx.Done()
		return nil, ctx.Err()
	case strings.HasSuffix(url, ".trusted_root.json"):
		defer close(w.reached)
	}
	return w.mirror.Get(ctx, url)
}

// TestTUFMirrorsDoNotHoldUpOneAnother: who keeps one mirror from answering must not
// keep keys in force that another one has withdrawn.
func TestTUFMirrorsDoNotHoldUpOneAnother(t *testing.T) {
	w := newWorld(t, trustedRoot(t, "a"))
	reached := make(chan struct{})
	w.opt.Web = silent{w.mirror, reached}
	for name, url := range map[string]string{"aaa": "https://silent.example/repo", "aab": "https://breaks.example/repo"} {
		other := w.opt.Roots[0]
		other.Name, other.TUF.Mirror = name, url
		w.opt.Roots = append(w.opt.Roots, other)
	}
	s := w.open()
	ctx, cancel := context.WithCancel(t.Context())
	answer := make(chan error)
	go func() {
		_, err := s.Refresh(ctx)
		answer <- err
	}()
	select {
	case <-reached:
	case <-time.After(10 * time.Second):
		t.Error("the mirror was not asked")
	}
	for deadline := time.Now().Add(10 * time.Second); get(t, s, "acme").Stale && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if r := get(t, s, "acme"); r.Stale {
		t.Errorf("expected a good root, found %s", r.Problem)
	}
	cancel()
	if err := <-answer; err == nil || !strings.Contains(err.Error(), "trust root aaa: ") || !strings.Contains(err.Error(), "trust root aab: reading it panicked") {
		t.Errorf("%v", err)
	}
	for _, name := range []string{"aaa", "aab"} {
		if r := get(t, s, name); !r.Stale {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// tardy is a mirror that takes a while for each file.
type tardy struct {
	*mirror
	clock *clock
}

func (w tardy) Get(ctx context.Context, url string) (io.ReadCloser, error) {
	w.clock.add(time.Minute)
	return w.mirror.Get(ctx, url)
}

// TestTUFAgeCountsFromTheQuestion: what a mirror says was true when it was asked, not
// when it was pleased to finish.
func TestTUFAgeCountsFromTheQuestion(t *testing.T) {
	w := newWorld(t, trustedRoot(t, "a"))
	w.opt.Web = tardy{w.mirror, w.clock}
	s := w.open()
	asked := w.clock.now()
	refresh(t, s)
	if r := get(t, s, "acme"); !r.Refreshed.Equal(asked) || w.clock.now().Equal(asked) {
		t.Errorf("asked at %s, found to be of %s", asked, r.Refreshed)
	}
}

// TestTUFRefreshEnds although nobody ends it.
func TestTUFRefreshEnds(t *testing.T) {
	w := newWorld(t, trustedRoot(t, "a"))
	w.opt.Web = silent{w.mirror, nil}
	w.opt.Roots[0].TUF.Mirror = "https://silent.example/repo"
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if _, err := w.open().Refresh(context.Background()); err == nil || time.Since(start) > 5*time.Minute {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
	})
}

func TestTUFUpdates(t *testing.T) {
	w := newWorld(t, trustedRoot(t, "a"))
	s := w.open()
	refresh(t, s)
	old := get(t, s, "acme")
	w.mirror.publish(trustedRoot(t, "b"))
	if !refresh(t, s) || get(t, s, "acme").Generation == old.Generation {
		t.Error("the new root did not arrive")
	}
}

// Nothing is dialled offline; what was fetched before is used.
func TestTUFOffline(t *testing.T) {
	w := newWorld(t, trustedRoot(t, "a"))
	offline := w.opt
	offline.Offline, offline.Web = true, nil
	if _, err := trustroot.Open(offline); err == nil {
		t.Error("a root that was never fetched was opened offline")
	}
	refresh(t, w.open())
	s, err := trustroot.Open(offline)
	if err != nil {
		t.Fatal(err)
	}
	refresh(t, s)
	if r := get(t, s, "acme"); r.Stale {
		t.Errorf("found %+v", r)
	}
	offline.Web = w.mirror
	asked := len(w.mirror.asked)
	s, err = trustroot.Open(offline)
	if err != nil {
		t.Fatal(err)
	}
	refresh(t, s)
	if len(w.mirror.asked) != asked {
		t.Error("somebody was asked offline")
	}
}

// A hostile or broken mirror changes nothing.
func TestTUFAttacks(t *testing.T) {
	_, stranger, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		reason string // empty when it is the library's
		attack func(w *world)
	}{
		{"signed by a stranger", "", func(w *world) { w.mirror.keys["timestamp"] = stranger; w.mirror.publish(trustedRoot(w.t, "evil")) }},
		{"targets by a stranger", "", func(w *world) { w.mirror.keys["targets"] = stranger; w.mirror.publish(trustedRoot(w.t, "evil")) }},
		{"root by a stranger", "", func(w *world) {
			w.mirror.key("timestamp")
			w.mirror.publishRoot(2, stranger)
			w.mirror.publish(trustedRoot(w.t, "evil"))
		}},
		{"expired", "", func(w *world) {
			w.mirror.expires = time.Now().Add(-time.Minute)
			w.mirror.publish(trustedRoot(w.t, "evil"))
		}},
		{"older than seen", "", func(w *world) { w.mirror.version = 0; w.mirror.publish(trustedRoot(w.t, "evil")) }},
		{"target of other bytes", "", func(w *world) {
			w.mirror.publish(trustedRoot(w.t, "b"))
			for name := range w.mirror.files {
				if strings.Contains(name, "/targets/") {
					w.mirror.files[name] = trustedRoot(w.t, "evil")
				}
			}
		}},
		{"target that is none", "", func(w *world) { w.mirror.publish([]byte(`{"mediaType":"x"}`)) }},
		{"target without authorities", "found none of them", func(w *world) {
			w.mirror.publish([]byte(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`))
		}},
		{"large target", "has 2097152 bytes", func(w *world) { w.mirror.publish(bytes.Repeat([]byte(" "), 2<<20)) }},
		{"endless timestamp", "larger than 16384", func(w *world) { w.mirror.put("timestamp.json", bytes.Repeat([]byte(" "), 1<<20)) }},
		{"no timestamp", "", func(w *world) { delete(w.mirror.files, mirrorURL+"/timestamp.json") }},
		{"root server error", "is down", func(w *world) { w.mirror.down = errDown }},
		{"endless roots", "", func(w *world) {
			for v := int64(2); v < 200; v++ {
				w.mirror.publishRoot(v, w.mirror.keys["root"])
			}
			w.mirror.keys["timestamp"] = stranger
			w.mirror.publish(trustedRoot(w.t, "evil"))
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, trustedRoot(t, "a"))
			w.mirror.publish(trustedRoot(t, "a2")) // so that there is something older
			w.mirror.version++
			w.mirror.publish(trustedRoot(t, "a3"))
			s := w.open()
			refresh(t, s)
			good := get(t, s, "acme")
			w.t = t
			w.clock.add(time.Minute)
			w.mirror.asked = nil
			tt.attack(w)
			changed, err := s.Refresh(t.Context())
			if changed || err == nil || !strings.Contains(err.Error(), tt.reason) {
				t.Errorf("expected an error with %q and no change, found %v, %v", tt.reason, changed, err)
			}
			r := get(t, s, "acme")
			if r.Generation != good.Generation || !r.Expires.Equal(good.Expires) || r.Problem == "" {
				t.Errorf("expected the old root with its age, found %+v", r)
			}
			if again := get(t, w.open(), "acme"); again.Generation != good.Generation || again.Refreshed.Sub(good.Refreshed).Abs() > time.Millisecond {
				t.Errorf("the last good root was replaced: %+v", again)
			}
			if len(w.mirror.asked) > 100 {
				t.Errorf("%d requests", len(w.mirror.asked))
			}
		})
	}
}

// Keys that root.json withdrew stay withdrawn when the mirror hides the root.json
// that did it, also after a restart.
func TestTUFWithdrawnKeysStayWithdrawn(t *testing.T) {
	w := newWorld(t, trustedRoot(t, "a"))
	before := w.mirror.state()
	refresh(t, w.open())
	stolen := w.mirror.keys["timestamp"]
	w.mirror.key("timestamp")
	w.mirror.publishRoot(2, w.mirror.keys["root"])
	w.mirror.publish(trustedRoot(t, "b"))
	s := w.open()
	refresh(t, s)
	good := get(t, s, "acme").Generation

	w.mirror.files = before // 2.root.json is hidden
	w.mirror.keys["timestamp"], w.mirror.version = stolen, 50
	w.mirror.publish(trustedRoot(t, "evil"))
	for _, set := range []*trustroot.Set{s, w.open()} {
		if _, err := set.Refresh(t.Context()); err == nil {
			t.Error("a withdrawn key was accepted")
		}
		if get(t, set, "acme").Generation != good {
			t.Error("the root was replaced")
		}
	}
}

// A root that could not be kept is in force all the same: a full disk must not keep
// authorities trusted that were withdrawn.
func TestTUFRootThatCannotBeKept(t *testing.T) {
	w := newWorld(t, trustedRoot(t, "a"))
	s := w.open()
	refresh(t, s)
	old := get(t, s, "acme").Generation
	kept := w.state("last-good.json")
	if err := errors.Join(os.Remove(kept), os.MkdirAll(filepath.Join(kept, "x"), 0o700)); err != nil {
		t.Fatal(err)
	}
	w.mirror.publish(trustedRoot(t, "b"))
	changed, err := s.Refresh(t.Context())
	if r := get(t, s, "acme"); !changed || err == nil || r.Generation == old || r.Stale || r.Problem == "" {
		t.Errorf("changed %t, %v, %+v", changed, err, r)
	}
}

// Another first root is another repository: nothing that was kept is used.
func TestTUFOtherFirstRoot(t *testing.T) {
	w := newWorld(t, trustedRoot(t, "a"))
	refresh(t, w.open())
	other := newMirror(t, trustedRoot(t, "b"))
	write(t, w.opt.Roots[0].TUF.Root, other.files[mirrorURL+"/1.root.json"])
	s := w.open()
	if r := get(t, s, "acme"); !r.Stale || r.Material != nil {
		t.Errorf("expected nothing, found %+v", r)
	}
	if _, err := s.Refresh(t.Context()); err == nil {
		t.Error("the mirror of another root was accepted")
	}
}

// What is broken on the disk is not used, is set aside with a warning, and comes back
// with the next refresh.
func TestTUFBrokenState(t *testing.T) {
	for _, name := range []string{"last-good.json", "root.json", "timestamp.json", "snapshot.json", "targets.json", "versions.json"} {
		role := strings.TrimSuffix(name, ".json")
		for _, content := range []string{"", "{}", "not JSON", strings.Repeat(" ", 2<<20), `{"signed":{"_type":"` + role + `"}}`,
			`{"signatures":[],"signed":{"_type":"` + role + `","version":"x"}}`, `{"signatures":[],"signed":{"_type":"` + role + `","spec_version":"1.0.31","version":1,"expires":"2099-01-01T00:00:00Z","meta":{}}}`} {
			w := newWorld(t, trustedRoot(t, "a"))
			var warned []string
			w.opt.Warn = func(text string) { warned = append(warned, text) }
			s := w.open()
			refresh(t, s)
			file := w.state(name)
			write(t, file, []byte(content))
			s = w.open()
			if r := get(t, s, "acme"); name == "last-good.json" && (!r.Stale || r.Material != nil) {
				t.Errorf("%s: found %+v", name, r)
			}
			refresh(t, s)
			if r := get(t, s, "acme"); r.Stale || r.Problem != "" {
				t.Errorf("%s: found %+v", name, r)
			}
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			// JSON that is only not signed is fetched again without a word.
			quiet := name == "last-good.json" || name == "versions.json" && strings.HasPrefix(content, "{") || name == "targets.json" && strings.Contains(content, `"_type":"targets"`)
			if b, err := os.ReadFile(file + ".broken"); !quiet &&
				(err != nil || string(b) != content || len(warned) != 1 || !strings.Contains(warned[0], name+" cannot be read")) {
				t.Errorf("%s with %.40q: expected it to be set aside with a warning, found %v, %q", name, content, err, warned)
			}
		}
	}
}

// What was known stays known when the metadata that says so is lost: an older root,
// whose keys were withdrawn, is not good again.
func TestTUFBrokenStateIsNoWayBack(t *testing.T) {
	for _, name := range []string{"root.json", "timestamp.json", "snapshot.json", "targets.json"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, trustedRoot(t, "a"))
			refresh(t, w.open())
			stolen := w.mirror.keys["timestamp"]
			before := w.mirror.state()
			if name == "root.json" {
				w.mirror.key("timestamp")
				w.mirror.publishRoot(2, w.mirror.keys["root"])
			}
			w.mirror.publish(trustedRoot(t, "b"))
			now := w.mirror.state()
			s := w.open()
			refresh(t, s)
			good := get(t, s, "acme").Generation

			w.mirror.files = before // as it was before, or with the stolen key
			if name == "root.json" {
				fresh := w.mirror.keys["timestamp"]
				w.mirror.keys["timestamp"], w.mirror.version = stolen, 50
				w.mirror.publish(trustedRoot(t, "evil"))
				w.mirror.keys["timestamp"] = fresh
			}
			for range 2 { // the first try leaves metadata behind
				for _, f := range []string{name, "timestamp.json", "snapshot.json", "targets.json"} {
					write(t, filepath.Join(filepath.Dir(w.state("last-good.json")), f), []byte("{}"))
				}
				again := w.open()
				if _, err := again.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "which was seen") {
					t.Errorf("expected older metadata to be refused, found %v", err)
				}
				if get(t, again, "acme").Generation != good {
					t.Error("the root was replaced")
				}
			}
			w.mirror.files = now // the mirror is well again
			again := w.open()
			refresh(t, again)
			if r := get(t, again, "acme"); r.Generation != good || r.Problem != "" {
				t.Errorf("found %+v", r)
			}
		})
	}
}

// Metadata that is refused does not take the newest root along: trust does not start
// again from the operator's, whose key was stolen and withdrawn.
func TestTUFRefusedMetadataLeavesTheRoot(t *testing.T) {
	w := newWorld(t, trustedRoot(t, "a"))
	first, stolen := w.mirror.state(), w.mirror.keys["root"]
	refresh(t, w.open())
	w.mirror.key("root")
	w.mirror.publishRoot(2, stolen, w.mirror.keys["root"])
	w.mirror.publish(trustedRoot(t, "b"))
	old := w.mirror.state()
	w.mirror.publish(trustedRoot(t, "c"))
	s := w.open()
	refresh(t, s)
	good := get(t, s, "acme").Generation

	// What says how new the metadata was is lost, and the mirror shows what was before.
	for _, f := range []string{"timestamp.json", "snapshot.json", "targets.json"} {
		write(t, w.state(f), []byte("{}"))
	}
	w.mirror.files = old
	if _, err := s.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "which was seen") {
		t.Errorf("expected older metadata to be refused, found %v", err)
	}
	w.mirror.files = first
	for _, role := range []string{"root", "timestamp", "snapshot", "targets"} {
		w.mirror.key(role)
	}
	w.mirror.publishRoot(2, stolen, w.mirror.keys["root"])
	w.mirror.publishRoot(3, w.mirror.keys["root"])
	w.mirror.version = 100
	w.mirror.publish(trustedRoot(t, "evil"))
	if _, err := s.Refresh(t.Context()); err == nil || get(t, s, "acme").Generation != good {
		t.Errorf("roots signed with a key that was withdrawn were accepted: %v", err)
	}
}

// A repository that recovers from a stolen key may begin its versions anew.
func TestTUFNewRootMayBeginAnew(t *testing.T) {
	w := newWorld(t, trustedRoot(t, "a"))
	w.mirror.version = 50
	w.mirror.publish(trustedRoot(t, "b"))
	s := w.open()
	refresh(t, s)
	for _, role := range []string{"timestamp", "snapshot", "targets"} {
		w.mirror.key(role)
	}
	w.mirror.publishRoot(2, w.mirror.keys["root"])
	w.mirror.version = 0
	w.mirror.publish(trustedRoot(t, "c"))
	if !refresh(t, s) {
		t.Error("expected the new root")
	}
}

// Metadata that leaves out what the library expects is refused, and forgotten.
func TestTUFMetadataWithoutMembers(t *testing.T) {
	w := newWorld(t, trustedRoot(t, "a"))
	good := w.mirror.state()
	timestamp := metadata.Timestamp(w.mirror.expires)
	timestamp.Signed.Version = 2
	delete(timestamp.Signed.Meta, "snapshot.json")
	w.mirror.put("timestamp.json", sign(w.mirror, timestamp, w.mirror.keys["timestamp"]))
	s := w.open()
	if _, err := s.Refresh(t.Context()); err == nil {
		t.Error("expected an error")
	}
	w.mirror.files = good
	refresh(t, s)
}

func TestTUFLeavesNoTemporaryFiles(t *testing.T) {
	w := newWorld(t, trustedRoot(t, "a"))
	s := w.open()
	refresh(t, s)
	refresh(t, s)
	left, err := filepath.Glob(filepath.Join(w.opt.StateDir, "trust_roots", "*", "*tmp*"))
	more, err2 := filepath.Glob(filepath.Join(w.opt.StateDir, "trust_roots", "*", ".last-good-*"))
	if err != nil || err2 != nil || len(left)+len(more) > 0 {
		t.Errorf("found %q %q, %v, %v", left, more, err, err2)
	}
	info, err := os.Stat(filepath.Join(w.opt.StateDir, "trust_roots"))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("found %v, %v", info, err)
	}
}

// slow is a mirror that never ends.
type slow struct{}

func (slow) Get(ctx context.Context, _ string) (io.ReadCloser, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestTUFEndsWithItsCaller(t *testing.T) {
	w := newWorld(t, trustedRoot(t, "a"))
	w.opt.Web = slow{}
	s := w.open()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	done := make(chan error, 2)
	for range 2 { // the second waits for the first
		go func() { _, err := s.Refresh(ctx); done <- err }()
	}
	for range 2 {
		select {
		case err := <-done:
			if err == nil {
				t.Error("expected an error")
			}
		case <-time.After(10 * time.Second):
			t.Fatal("it does not end")
		}
	}
}

func TestOpenRefusesTUF(t *testing.T) {
	for name, change := range map[string]func(*trustroot.Options){
		"no mirror":    func(o *trustroot.Options) { o.Roots[0].TUF.Mirror = "" },
		"no root":      func(o *trustroot.Options) { o.Roots[0].TUF.Root = "" },
		"no target":    func(o *trustroot.Options) { o.Roots[0].TUF.Target = "" },
		"no directory": func(o *trustroot.Options) { o.StateDir = "" },
		"no client":    func(o *trustroot.Options) { o.Web = nil },
		"root away":    func(o *trustroot.Options) { o.Roots[0].TUF.Root += ".x" },
		"root hostile": func(o *trustroot.Options) { write(t, o.Roots[0].TUF.Root, []byte(`{"signed":{}}`)) },
		"file too":     func(o *trustroot.Options) { o.Roots[0].File = "x" },
	} {
		w := newWorld(t, trustedRoot(t, "a"))
		change(&w.opt)
		if _, err := trustroot.Open(w.opt); err == nil || !strings.Contains(err.Error(), "acme") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
