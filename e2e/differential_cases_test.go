//go:build e2e

package e2e

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// diffCase is one question to the gate and to the oracles. An empty field has the
// value of plainCase.
type diffCase struct {
	block    string // of the generator
	place    string // registry, see diffWorld.registry
	ref      string // key of diffWorld.images; -digest: asked for by digest; or "child"
	shape    string // key of diffShapes
	list     string // key of diffLists
	decoy    string // what other scopes demand: a list without keys
	matcher  string // key of diffMatchers
	key      string // key of diffWorld.keys, or "p256": a sigstore key
	source   string // how the policy names the key, see diffKeys
	state    string // of the signatures, key of the diff…States
	signed   string // which manifests of an index: all, index, platforms, amd64, none
	where    string // key of diffWhere
	fault    string // key of diffFaults
	on       string // what fails: lookaside, attachment, payload, extension
	failing  string // whose signatures cannot be read: all, index, amd64, arm64
	unusable string // key of diffUnusable
	weak     string // "allowed" when the gate accepts weak signatures

	// What is expected besides agreement.
	unread  bool   // signatures that count cannot be read: the gate has to say so
	differs string // key of diffExceptions
}

var plainCase = diffCase{
	place: "name", ref: "image", shape: "host", list: "one", decoy: "reject", key: "ed25519", source: "keyData",
	state: "good", signed: "all", where: "host", on: "lookaside", failing: "all",
}

// fields are the case's properties with their names and plain values.
func (c diffCase) fields() []struct{ name, value, plain string } {
	p := plainCase
	return []struct{ name, value, plain string }{
		{"place", c.place, p.place}, {"ref", c.ref, p.ref}, {"shape", c.shape, p.shape}, {"list", c.list, p.list}, {"decoy", c.decoy, p.decoy},
		{"matcher", c.matcher, p.matcher}, {"key", c.key, p.key}, {"source", c.source, p.source}, {"state", c.state, p.state},
		{"signed", c.signed, p.signed}, {"where", c.where, p.where}, {"fault", c.fault, p.fault}, {"on", c.on, p.on},
		{"failing", c.failing, p.failing}, {"unusable", c.unusable, p.unusable}, {"weak", c.weak, p.weak},
	}
}

// name says everything that makes the case: it can be run alone.
func (c diffCase) name() string {
	var parts []string
	for _, f := range c.fields() {
		if f.value != f.plain {
			parts = append(parts, f.name+"="+f.value)
		}
	}
	if len(parts) == 0 {
		return c.block + "/plain"
	}
	return c.block + "/" + strings.Join(parts, ",")
}

// id is short and fit for paths.
func (c diffCase) id() string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(c.name()))
	return fmt.Sprintf("c%016x", h.Sum64())
}

func (c diffCase) byDigest() bool { return c.ref == "child" || strings.HasSuffix(c.ref, "-digest") }

// kind is the image, without how it is asked for.
func (c diffCase) kind() string {
	if c.ref == "child" {
		return "index"
	}
	return strings.TrimSuffix(c.ref, "-digest")
}

// diffGenerator collects cases. The same seed makes the same cases.
type diffGenerator struct {
	rand  *rand.Rand
	block string
	seen  map[string]bool
	cases []diffCase
}

// add completes a case and keeps it, unless a block has it already.
func (g *diffGenerator) add(c diffCase) {
	c.place, c.ref = cmp.Or(c.place, plainCase.place), cmp.Or(c.ref, plainCase.ref)
	c.shape, c.list, c.decoy = cmp.Or(c.shape, plainCase.shape), cmp.Or(c.list, plainCase.list), cmp.Or(c.decoy, plainCase.decoy)
	c.key, c.source = cmp.Or(c.key, plainCase.key), cmp.Or(c.source, plainCase.source)
	c.state, c.signed = cmp.Or(c.state, plainCase.state), cmp.Or(c.signed, plainCase.signed)
	c.where, c.on, c.failing = cmp.Or(c.where, plainCase.where), cmp.Or(c.on, plainCase.on), cmp.Or(c.failing, plainCase.failing)
	_, what, _ := strings.Cut(c.name(), "/")
	if g.seen[what] {
		return
	}
	g.seen[what] = true
	c.block = g.block
	g.cases = append(g.cases, c)
}

// pickKey is one of the keys of a table, in an order that does not change.
func pickKey[V any](g *diffGenerator, m map[string]V) string {
	keys := slices.Sorted(maps.Keys(m))
	return keys[g.rand.IntN(len(keys))]
}

// sometimes is x in one of n cases, and else "", which is the plain value.
func (g *diffGenerator) sometimes(n int, x string) string {
	if g.in(1, n) {
		return x
	}
	return ""
}

// in says yes in k of n cases.
func (g *diffGenerator) in(k, n int) bool { return g.rand.IntN(n) < k }

// oneOf is one of several.
func (g *diffGenerator) oneOf(s ...string) string { return s[g.rand.IntN(len(s))] }

// diffCases generates all cases. Blocks cross two or three properties each; the
// last one crosses all at random.
func diffCases() []diffCase {
	g := &diffGenerator{rand: rand.New(rand.NewPCG(5, 2)), seen: map[string]bool{}}
	for _, b := range diffBlocks {
		g.block = b.name
		b.make(g)
	}
	return g.cases
}

// diffBlocks are the generator's parts.
var diffBlocks = []struct {
	name string
	make func(*diffGenerator)
}{
	{"scopes", scopeCases}, {"identities", identityCases}, {"payloads", payloadCases}, {"messages", messageCases},
	{"keys", keyCases}, {"indexes", indexCases}, {"lists", listCases}, {"lookasides", whereCases},
	{"outages", outageCases}, {"attachments", attachmentCases}, {"extension", extensionCases}, {"unusable", unusableCases},
	{"random", randomCases},
}

// randomCases cross everything that can be combined, except outages, which have
// to be told apart one by one. Half of them lean towards images that are allowed.
func randomCases(g *diffGenerator) {
	states := slices.Sorted(maps.Keys(diffStates))
	for start := len(g.cases); len(g.cases) < start+60; {
		c := diffCase{
			place: g.oneOf("name", "port", "hub", "deep", "ip"), ref: g.oneOf("image", "image-digest", "docker", "docker-digest", "index", "index-digest", "list", "child"),
			shape: pickKey(g, diffShapes), decoy: g.oneOf("accept", "reject"), matcher: g.sometimes(2, pickKey(g, diffMatchers)),
			state: g.oneOf(states...), signed: g.oneOf("all", "platforms", "none"), list: g.sometimes(4, pickKey(g, diffLists)),
			key: g.oneOf("ed25519", "rsa2048", "rsa3072", "rsa4096", "nistp256", "p256"), where: g.sometimes(3, pickKey(g, diffWhere)),
		}
		if g.in(1, 2) {
			c.state = g.oneOf("good", "junk, good", "bad, good", "other tag, good")
			c.shape = g.oneOf("default", "transport", "host", "namespace", "repository", "reference")
			c.signed = "all"
		}
		if c.where == "duplicate" || c.key == "p256" && diffLists[c.list].gpg {
			continue // a fault of the configuration
		}
		g.add(c)
	}
}

// The generator makes enough cases, always the same; each can be told from every
// other, and every exception has one.
func TestDifferentialCases(t *testing.T) {
	first, again := diffCases(), diffCases()
	if len(first) < 200 || !slices.Equal(first, again) {
		t.Errorf("%d cases, expected 200 or more, and the same each time", len(first))
	}
	ids, used := map[string]string{}, map[string]bool{}
	for _, c := range first {
		if other, dup := ids[c.id()]; dup {
			t.Errorf("%s and %s have the same id", c.name(), other)
		}
		ids[c.id()], used[c.differs] = c.name(), true
		if _, ok := diffExceptions[c.differs]; c.differs != "" && !ok {
			t.Errorf("%s: no exception %q", c.name(), c.differs)
		}
	}
	for name, e := range diffExceptions {
		if !used[name] {
			t.Errorf("exception %q has no case", name)
		}
		if e.skopeo == e.library && agree(e.skopeo, e.gate) || e.why == "" {
			t.Errorf("exception %q is none, or has no reason", name)
		}
	}
}
