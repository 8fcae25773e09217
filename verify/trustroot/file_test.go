package trustroot_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pullgate/pullgate/verify/trustroot"
)

func fileSet(t *testing.T, c *clock, maxAge time.Duration, files ...string) (*trustroot.Set, error) {
	t.Helper()
	o := trustroot.Options{Now: c.now}
	for i, f := range files {
		o.Roots = append(o.Roots, trustroot.Source{Name: fmt.Sprintf("r%d", i), File: f, MaxAge: maxAge})
	}
	return trustroot.Open(o)
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	a, b := write(t, filepath.Join(dir, "a"), trustedRoot(t, "a")), write(t, filepath.Join(dir, "b"), trustedRoot(t, "b"))
	c := &clock{t: time.Now()}
	s, err := fileSet(t, c, 0, b, a)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Names(); !reflect.DeepEqual(got, []string{"r0", "r1"}) {
		t.Errorf("names %q", got)
	}
	r := get(t, s, "r0")
	if r.Stale || r.Problem != "" || !r.Expires.IsZero() || len(r.Material.FulcioCertificateAuthorities()) != 1 || r.Generation == get(t, s, "r1").Generation {
		t.Errorf("found %+v", r)
	}
	for _, name := range []string{"", "r2", "R0"} {
		if r, ok := s.Get(name); ok || r.Material != nil {
			t.Errorf("there is a root %q", name)
		}
	}
	c.add(100 * 365 * 24 * time.Hour)
	if get(t, s, "r0").Stale {
		t.Error("a root without maximum age is stale")
	}
}

// The generation covers the bytes, and whose they are.
func TestGeneration(t *testing.T) {
	dir := t.TempDir()
	a, b := write(t, filepath.Join(dir, "a"), trustedRoot(t, "a")), write(t, filepath.Join(dir, "b"), trustedRoot(t, "b"))
	c := &clock{t: time.Now()}
	seen := map[string]bool{}
	for _, files := range [][]string{{}, {a}, {b}, {a, b}, {b, a}, {a, a}} {
		s, err := fileSet(t, c, 0, files...)
		if err != nil {
			t.Fatal(err)
		}
		if seen[s.Generation()] {
			t.Errorf("%q: the generation of others", files)
		}
		seen[s.Generation()] = true
	}
	s, err := fileSet(t, c, 0, a)
	if err != nil {
		t.Fatal(err)
	}
	before := s.Generation()
	if refresh(t, s) {
		t.Error("nothing changed, and it is said to have")
	}
	content, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	write(t, a, append(content, '\n'))
	if !refresh(t, s) || s.Generation() == before {
		t.Error("one more byte is not another generation")
	}
}

func TestMaximumAge(t *testing.T) {
	file := write(t, filepath.Join(t.TempDir(), "a"), trustedRoot(t, "a"))
	c := &clock{t: time.Now().Truncate(time.Second)}
	at := func(d time.Duration) {
		t.Helper()
		if err := os.Chtimes(file, c.now().Add(d), c.now().Add(d)); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		age   time.Duration
		stale string
	}{
		{0, ""}, {59 * time.Minute, ""}, {time.Hour, "older"}, {48 * time.Hour, "older"},
		{-5 * time.Minute, ""}, {-time.Hour, "in the future"},
	} {
		at(-tt.age)
		s, err := fileSet(t, c, time.Hour, file)
		if err != nil {
			t.Fatal(err)
		}
		if r := get(t, s, "r0"); r.Stale != (tt.stale != "") || !strings.Contains(r.Problem, tt.stale) {
			t.Errorf("age %s: found stale %v, %q", tt.age, r.Stale, r.Problem)
		} else if r.Stale && !strings.Contains(r.Problem, "touch the file when it is current") {
			t.Errorf("age %s: what to do is not said: %q", tt.age, r.Problem)
		}
	}
	at(0)
	s, err := fileSet(t, c, time.Hour, file)
	if err != nil {
		t.Fatal(err)
	}
	c.add(time.Hour)
	if !get(t, s, "r0").Stale {
		t.Error("a root that got old is not stale")
	}
	refresh(t, s)
	if !get(t, s, "r0").Stale {
		t.Error("reading an old file again makes it young")
	}
	at(0) // touched
	refresh(t, s)
	if get(t, s, "r0").Stale {
		t.Error("a file that was touched is stale")
	}
}

// hostile are files that are no trust root.
func hostile(t testing.TB) map[string][]byte {
	good := string(trustedRoot(t, "a"))
	return map[string][]byte{
		"empty":             {},
		"null":              []byte("null"),
		"object":            []byte("{}"),
		"list":              []byte("[]"),
		"other media type":  []byte(strings.Replace(good, "version=0.1", "version=0.2", 1)),
		"no authorities":    []byte(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`),
		"empty authorities": []byte(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","certificateAuthorities":[]}`),
		"empty authority":   []byte(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","certificateAuthorities":[{}]}`),
		"null authority":    []byte(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","certificateAuthorities":[null]}`),
		"no certificate":    []byte(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","certificateAuthorities":[{"certChain":{"certificates":[{}]}}]}`),
		"unknown member":    []byte(strings.Replace(good, `{"mediaType"`, `{"extra":1,"mediaType"`, 1)),
		"member twice":      []byte(strings.Replace(good, `"certificateAuthorities":`, `"certificateAuthorities":[],"certificateAuthorities":`, 1)),
		"trailing":          []byte(good + good),
		"log without key":   []byte(strings.Replace(good, `"certificateAuthorities":`, `"tlogs":[{}],"certificateAuthorities":`, 1)),
		"large":             []byte(good + strings.Repeat(" ", 2<<20)),
		"deep":              []byte(strings.Repeat(`{"certificateAuthorities":[`, 20_000)),
	}
}

func TestHostileFiles(t *testing.T) {
	dir := t.TempDir()
	c := &clock{t: time.Now()}
	for name, content := range hostile(t) {
		file := write(t, filepath.Join(dir, "hostile"), content)
		if _, err := fileSet(t, c, 0, file); err == nil || !strings.Contains(err.Error(), "trust root r0") {
			t.Errorf("%s: %v", name, err)
		}
		// A file that turns bad does not take the place of the good one.
		write(t, file, trustedRoot(t, "a"))
		s, err := fileSet(t, c, time.Hour, file)
		if err != nil {
			t.Fatal(err)
		}
		good := get(t, s, "r0")
		write(t, file, content)
		c.add(time.Minute)
		if changed, err := s.Refresh(t.Context()); changed || err == nil {
			t.Errorf("%s: %v, %v", name, changed, err)
		}
		if r := get(t, s, "r0"); r.Generation != good.Generation || !r.Expires.Equal(good.Expires) || r.Stale || r.Problem == "" {
			t.Errorf("%s: found %+v", name, r)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	good := write(t, filepath.Join(dir, "good"), trustedRoot(t, "a"))
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, roots := range map[string][]trustroot.Source{
		"missing file":    {{Name: "a", File: filepath.Join(dir, "nowhere")}},
		"directory":       {{Name: "a", File: dir}},
		"pipe":            {{Name: "a", File: pipe}},
		"no name":         {{File: good}},
		"name twice":      {{Name: "a", File: good}, {Name: "a", File: good}},
		"nothing":         {{Name: "a"}},
		"age below zero":  {{Name: "a", File: good, MaxAge: -1}},
		"second is wrong": {{Name: "b", File: good}, {Name: "a"}},
	} {
		if s, err := trustroot.Open(trustroot.Options{Roots: roots}); err == nil || s != nil {
			t.Errorf("%s: was opened", name)
		}
	}
}

// Readers see one root or the other, whole, while it is swapped.
func TestSwapWhileReading(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "root")
	contents := [][]byte{trustedRoot(t, "a"), trustedRoot(t, "b")}
	write(t, file, contents[0])
	s, err := fileSet(t, &clock{t: time.Now()}, time.Hour, file)
	if err != nil {
		t.Fatal(err)
	}
	uri := map[string]bool{}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if r, ok := s.Get("r0"); !ok || r.Stale || len(r.Material.FulcioCertificateAuthorities()) != 1 || r.Generation == "" {
					t.Errorf("found %+v", r)
					return
				}
				s.Generation()
			}
		})
	}
	for i := range 50 {
		write(t, file+".new", contents[i%2])
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
		refresh(t, s)
		uri[get(t, s, "r0").Generation] = true
	}
	close(stop)
	wg.Wait()
	if len(uri) != 2 {
		t.Errorf("expected two generations, found %d", len(uri))
	}
}

func FuzzTrustedRoot(f *testing.F) {
	f.Add(trustedRoot(f, "a"))
	for _, b := range hostile(f) {
		if len(b) < 4096 {
			f.Add(b)
		}
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		file := write(t, filepath.Join(dir, "root"), b)
		s, err := trustroot.Open(trustroot.Options{Roots: []trustroot.Source{{Name: "a", File: file}}})
		if err != nil {
			return
		}
		if r, ok := s.Get("a"); !ok || r.Stale || r.Material == nil {
			t.Errorf("opened and not there: %+v", r)
		}
	})
}

// What was decided by a root ends when it gets stale, however that comes: the
// generation changes, and comes back with the root.
func TestGenerationCoversStaleness(t *testing.T) {
	dir := t.TempDir()
	file, other := write(t, filepath.Join(dir, "a"), trustedRoot(t, "a")), write(t, filepath.Join(dir, "b"), trustedRoot(t, "b"))
	c := &clock{t: time.Now().Truncate(time.Second)}
	at := func(file string, age time.Duration) {
		t.Helper()
		if err := os.Chtimes(file, c.now().Add(-age), c.now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	at(file, 0)
	at(other, 30*time.Minute)
	s, err := fileSet(t, c, time.Hour, file, other)
	if err != nil {
		t.Fatal(err)
	}
	good := s.Generation()
	expect := func(what string, same bool) {
		t.Helper()
		if got := s.Generation() == good; got != same {
			t.Errorf("%s: the generation is that of good roots: %t", what, got)
		}
	}
	for _, age := range []time.Duration{960 * time.Hour, -time.Hour} {
		at(file, age)
		if !refresh(t, s) {
			t.Errorf("age %s: a root that got stale is said not to have changed", age)
		}
		expect(fmt.Sprint("age ", age), false)
		at(file, 0)
		refresh(t, s)
		expect("touched", true)
	}
	c.add(30*time.Minute - time.Second)
	expect("a second before one of them gets stale", true)
	c.add(time.Second)
	expect("one got stale by age alone", false)
	one := s.Generation()
	c.add(30 * time.Minute)
	expect("both are stale", false)
	if s.Generation() == one {
		t.Error("the second one got stale, and the generation is the same")
	}
	c.add(-time.Hour) // somebody set the clock right
	expect("the clock was put back", true)
	c.add(-time.Hour)
	expect("both are in the future", false)
}

// All sources that cannot be used are told at once, with the file to look at.
func TestFaultsAtOnce(t *testing.T) {
	dir := t.TempDir()
	good, bad := write(t, filepath.Join(dir, "good"), trustedRoot(t, "a")), write(t, filepath.Join(dir, "bad"), []byte("no root"))
	s, err := trustroot.Open(trustroot.Options{StateDir: dir, Offline: true, Roots: []trustroot.Source{
		{Name: "a", File: bad}, {Name: "b", File: good}, {Name: "c", File: filepath.Join(dir, "nowhere")},
		{Name: "d", TUF: trustroot.TUF{Mirror: "https://tuf.example", Root: bad, Target: "t"}},
	}})
	var faults trustroot.Faults
	if s != nil || !errors.As(err, &faults) || len(faults) != 3 {
		t.Fatalf("found %v", err)
	}
	for i, want := range []string{bad, filepath.Join(dir, "nowhere"), bad} {
		if f := faults[i]; f.File != want || !strings.Contains(f.Error(), want) || f.Name != string("acd"[i]) {
			t.Errorf("%+v: %v", f, f)
		}
	}
}
