package cache_test

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/cache"
)

// One suite for every store of a kind: another implementation is tested by
// handing its constructor to the suite.

type graph interface {
	Manifest(repo string, d digest.Digest, children, blobs []digest.Digest)
	Root(repo, ref string, d digest.Digest)
	Evidence(repo string, d, subject digest.Digest)
	IsManifest(repo string, d digest.Digest) bool
	Parents(repo string, d digest.Digest) []digest.Digest
	Holders(repo string, d digest.Digest) []digest.Digest
	Roots(repo string, d digest.Digest) []string
	Subject(repo string, d digest.Digest) digest.Digest
}

func named(s string) digest.Digest { return digest.FromString(s) }

func all(names ...string) []digest.Digest {
	var out []digest.Digest
	for _, n := range names {
		out = append(out, named(n))
	}
	return out
}

func TestGraph(t *testing.T) {
	testGraph(t, func(size int) graph {
		g, err := cache.NewGraph(size)
		if err != nil {
			t.Fatal(err)
		}
		return g
	})
}

func testGraph(t *testing.T, open func(size int) graph) {
	equal := func(t *testing.T, what string, got, want []digest.Digest) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
	}
	t.Run("nothing is known at first", func(t *testing.T) {
		g := open(10)
		if g.IsManifest("r", named("x")) || len(g.Parents("r", named("x")))+len(g.Holders("r", named("x")))+len(g.Roots("r", named("x"))) != 0 || g.Subject("r", named("x")) != "" {
			t.Error("something is known about nothing")
		}
	})
	t.Run("facts", func(t *testing.T) {
		g := open(100)
		g.Manifest("r", named("index"), all("a", "b"), nil)
		g.Manifest("r", named("other"), all("b", "b"), nil)
		g.Manifest("r", named("a"), nil, all("layer", "config"))
		g.Manifest("r", named("b"), nil, all("layer"))
		g.Root("r", ":v1", named("index"))
		g.Root("r", ":v2", named("index"))
		g.Root("r", ":v1", named("index")) // the newest again
		g.Evidence("r", named("sig"), named("a"))
		equal(t, "parents of a", g.Parents("r", named("a")), all("index"))
		equal(t, "parents of b", g.Parents("r", named("b")), all("other", "index"))
		equal(t, "holders of the layer", g.Holders("r", named("layer")), all("b", "a"))
		equal(t, "holders of the config", g.Holders("r", named("config")), all("a"))
		equal(t, "holders of a manifest", g.Holders("r", named("a")), nil)
		equal(t, "parents of a layer", g.Parents("r", named("layer")), nil)
		if got := g.Roots("r", named("index")); !slices.Equal(got, []string{":v1", ":v2"}) {
			t.Errorf("roots %v", got)
		}
		if g.Subject("r", named("sig")) != named("a") || g.Subject("r", named("a")) != "" {
			t.Error("evidence")
		}
		// Being listed makes nothing a manifest.
		for name, want := range map[string]bool{"index": true, "a": true, "layer": false, "config": false, "sig": false, "x": false} {
			if got := g.IsManifest("r", named(name)); got != want {
				t.Errorf("%s is a manifest: %t", name, got)
			}
		}
	})
	t.Run("repositories are apart", func(t *testing.T) {
		g := open(100)
		g.Manifest("r", named("index"), all("a"), all("layer"))
		g.Root("r", ":v1", named("index"))
		g.Evidence("r", named("sig"), named("a"))
		for _, repo := range []string{"s", "", "r/x", "R"} {
			if g.IsManifest(repo, named("index")) || len(g.Parents(repo, named("a")))+len(g.Holders(repo, named("layer")))+len(g.Roots(repo, named("index"))) != 0 || g.Subject(repo, named("sig")) != "" {
				t.Errorf("facts of r are known in %q", repo)
			}
		}
	})
	t.Run("the newest facts about a digest win", func(t *testing.T) {
		g := open(1000)
		for i := range 200 {
			g.Manifest("r", named(fmt.Sprint("m", i)), all("child"), all("layer"))
			g.Root("r", fmt.Sprint(":v", i), named("child"))
		}
		for what, got := range map[string]int{"parents": len(g.Parents("r", named("child"))), "holders": len(g.Holders("r", named("layer"))), "roots": len(g.Roots("r", named("child")))} {
			if got < 16 || got > 64 {
				t.Errorf("%d %s are kept", got, what)
			}
		}
		if g.Parents("r", named("child"))[0] != named("m199") || g.Holders("r", named("layer"))[0] != named("m199") || g.Roots("r", named("child"))[0] != ":v199" {
			t.Error("the newest fact does not come first")
		}
		g.Manifest("r", named("m150"), all("child"), all("layer")) // known before, and new again
		if got := g.Parents("r", named("child")); got[0] != named("m150") || slices.Contains(got[1:], named("m150")) {
			t.Errorf("parents %v", got[:3])
		}
	})
	t.Run("what is handed out is the caller's", func(t *testing.T) {
		g := open(100)
		g.Manifest("r", named("index"), all("a"), nil)
		g.Parents("r", named("a"))[0] = named("evil")
		equal(t, "parents", g.Parents("r", named("a")), all("index"))
	})
	t.Run("bounded", func(t *testing.T) {
		g := open(5)
		for i := range 50 {
			g.Manifest("r", named(fmt.Sprint("m", i)), nil, nil)
		}
		known := 0
		for i := range 50 {
			if g.IsManifest("r", named(fmt.Sprint("m", i))) {
				known++
			}
		}
		if known != 5 || !g.IsManifest("r", named("m49")) {
			t.Errorf("%d manifests are known", known)
		}
	})
	t.Run("used by many", func(t *testing.T) {
		g := open(20)
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				for i := range 300 {
					m, c := named(fmt.Sprint("m", (i+w)%30)), named(fmt.Sprint("c", i%10))
					g.Manifest("r", m, []digest.Digest{c}, []digest.Digest{c})
					g.Root("r", fmt.Sprint(":v", w), m)
					g.Evidence("r", m, c)
					_, _, _ = g.IsManifest("r", m), g.Roots("r", m), g.Subject("r", m)
					for _, p := range append(g.Parents("r", c), g.Holders("r", c)...) {
						if p.Validate() != nil {
							t.Errorf("%q", p)
						}
					}
				}
			})
		}
		wg.Wait()
	})
}

type content interface {
	Get(repo string, d digest.Digest) ([]byte, bool)
	Put(repo string, d digest.Digest, v []byte)
}

func TestContent(t *testing.T) {
	testContent(t, func(max int64) content {
		c, err := cache.NewContent(max, func(b []byte) int64 { return int64(len(b)) })
		if err != nil {
			t.Fatal(err)
		}
		return c
	})
}

func testContent(t *testing.T, open func(max int64) content) {
	blob := func(n int) []byte { return bytes.Repeat([]byte("x"), n) }
	known := func(c content, n int) (out []int) {
		for i := range n {
			if _, ok := c.Get("r", named(fmt.Sprint(i))); ok {
				out = append(out, i)
			}
		}
		return out
	}
	t.Run("repositories are apart", func(t *testing.T) {
		c := open(1 << 20)
		c.Put("r", named("a"), []byte("a"))
		if b, ok := c.Get("r", named("a")); !ok || string(b) != "a" {
			t.Errorf("%q, %t", b, ok)
		}
		for _, other := range []string{"s", "", "r/x"} {
			if b, ok := c.Get(other, named("a")); ok || b != nil {
				t.Errorf("%q of r is known in %q", b, other)
			}
		}
		if _, ok := c.Get("r", named("b")); ok {
			t.Error("what was never put is there")
		}
	})
	t.Run("bounded by bytes", func(t *testing.T) {
		c := open(100_000)
		for i := range 50 {
			c.Put("r", named(fmt.Sprint(i)), blob(10_000))
		}
		if got := known(c, 50); len(got) < 5 || len(got) > 10 || got[len(got)-1] != 49 {
			t.Errorf("kept %v", got)
		}
	})
	t.Run("small things count too", func(t *testing.T) {
		c := open(10_000)
		for i := range 1000 {
			c.Put("r", named(fmt.Sprint(i)), nil)
		}
		if got := known(c, 1000); len(got) < 1 || len(got) > 100 {
			t.Errorf("%d empty values are kept in 10 kB", len(got))
		}
	})
	t.Run("what was used stays", func(t *testing.T) {
		c := open(100_000)
		for i := range 8 {
			c.Put("r", named(fmt.Sprint(i)), blob(10_000))
		}
		c.Get("r", named("0"))
		for i := 8; i < 14; i++ {
			c.Put("r", named(fmt.Sprint(i)), blob(10_000))
		}
		if got := known(c, 14); !slices.Contains(got, 0) || slices.Contains(got, 1) {
			t.Errorf("kept %v", got)
		}
	})
	t.Run("putting again does not add up", func(t *testing.T) {
		c := open(100_000)
		c.Put("r", named("0"), blob(10_000))
		for range 100 {
			c.Put("r", named("1"), blob(20_000))
		}
		if got := known(c, 2); len(got) != 2 {
			t.Errorf("kept %v", got)
		}
	})
	t.Run("one large value does not drive out the rest", func(t *testing.T) {
		c := open(100_000)
		c.Put("r", named("0"), blob(10_000))
		c.Put("r", named("1"), blob(50_000))
		if got := known(c, 2); !slices.Equal(got, []int{0}) {
			t.Errorf("kept %v", got)
		}
	})
	t.Run("used by many", func(t *testing.T) {
		c := open(50_000)
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				for i := range 500 {
					n := (i*7 + w) % 40
					c.Put("r", named(fmt.Sprint(n)), blob(n*100))
					if b, ok := c.Get("r", named(fmt.Sprint(i%40))); ok && len(b) != i%40*100 {
						t.Errorf("%d bytes for %d", len(b), i%40)
					}
				}
			})
		}
		wg.Wait()
	})
}

type tags interface {
	Get(repo, tag string) (digest.Digest, bool)
	Put(repo, tag string, d digest.Digest)
}

func TestTags(t *testing.T) {
	testTags(t, func(size int, ttl time.Duration, now func() time.Time) tags {
		c, err := cache.NewTags(size, ttl, now)
		if err != nil {
			t.Fatal(err)
		}
		return c
	})
}

func testTags(t *testing.T, open func(size int, ttl time.Duration, now func() time.Time) tags) {
	expect := func(t *testing.T, c tags, repo, tag string, want digest.Digest, wantFresh bool) {
		t.Helper()
		if d, fresh := c.Get(repo, tag); d != want || fresh != wantFresh {
			t.Errorf("%s:%s is %s (%t), want %s (%t)", repo, tag, d, fresh, want, wantFresh)
		}
	}
	t.Run("fresh for their time, known after it", func(t *testing.T) {
		now := newClock()
		c := open(10, time.Minute, now.Now)
		expect(t, c, "r", "v1", "", false)
		c.Put("r", "v1", named("a"))
		now.pass(time.Minute - 1)
		expect(t, c, "r", "v1", named("a"), true)
		now.pass(1)
		expect(t, c, "r", "v1", named("a"), false)
		c.Put("r", "v1", named("b"))
		expect(t, c, "r", "v1", named("b"), true)
	})
	t.Run("repositories and tags are apart", func(t *testing.T) {
		c := open(10, time.Minute, nil)
		c.Put("r", "v1", named("a"))
		c.Put("r/v1", "v1", named("b"))
		c.Put("r", "v2", named("c"))
		expect(t, c, "r", "v1", named("a"), true)
		expect(t, c, "r/v1", "v1", named("b"), true)
		expect(t, c, "r", "v2", named("c"), true)
		expect(t, c, "s", "v1", "", false)
		expect(t, c, "r", "V1", "", false)
	})
	t.Run("no time", func(t *testing.T) {
		c := open(10, 0, nil)
		c.Put("r", "v1", named("a"))
		expect(t, c, "r", "v1", named("a"), false)
	})
	t.Run("bounded", func(t *testing.T) {
		c := open(3, time.Minute, nil)
		for i := range 5 {
			c.Put("r", fmt.Sprint(i), named("a"))
		}
		expect(t, c, "r", "1", "", false)
		expect(t, c, "r", "4", named("a"), true)
	})
	t.Run("used by many", func(t *testing.T) {
		now := newClock()
		c := open(10, time.Minute, now.Now)
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				for i := range 500 {
					tag := fmt.Sprint((i + w) % 20)
					c.Put("r", tag, named(tag))
					if d, _ := c.Get("r", tag); d != "" && d != named(tag) {
						t.Errorf("%s is %s", tag, d)
					}
					now.pass(time.Second)
				}
			})
		}
		wg.Wait()
	})
}
