package verify

import (
	"fmt"
	"testing"

	"github.com/pullgate/pullgate/verify/trustroot"
)

// someRoots are trust roots of which only the generations count.
type someRoots map[string]string

func (r someRoots) Get(name string) (trustroot.Root, bool) {
	g, ok := r[name]
	return trustroot.Root{Name: name, Generation: g, Stale: true, Problem: "of a test"}, ok
}

func (r someRoots) Generation() string { return fmt.Sprint(map[string]string(r)) }

// basisWorld is what decides about registry.example.com/team/app:v1, and more.
type basisWorld struct {
	team, other, byDefault string // requirements
	key, registries        string
	weak                   bool
	repositories           map[string]string
	roots                  someRoots
	ref                    string
}

func (b basisWorld) of(t *testing.T) (revision, basis string) {
	t.Helper()
	w := newWorld(t)
	w.write("k.pub", b.key)
	w.write("registries.d/x.yaml", b.registries)
	w.write("policy.json", fmt.Sprintf(`{"default":[%s],"transports":{"docker":{"registry.example.com/team":[%s],"registry.example.com/other":[%s]}}}`, b.byDefault, b.team, b.other))
	o := w.options()
	o.InsecureAllowWeak, o.SignatureRepositories, o.TrustRoots = b.weak, b.repositories, []string{"a", "b"}
	p, err := LoadPolicy(o)
	if err != nil {
		t.Fatal(err)
	}
	e, err := NewEngine(p, w.reg, w.web)
	if err != nil {
		t.Fatal(err)
	}
	e.UseRoots(b.roots)
	s := subject(t, b.ref)
	revision, basis = e.Basis(s)
	if revision != e.Revision() || basis == "" {
		t.Fatalf("revision %q, basis %q", revision, basis)
	}
	if v, _ := e.Verify(t.Context(), s); v.Revision != revision || v.Basis != basis && v.Basis != "" {
		t.Errorf("a verdict of %q by %q, expected %q by %q", v.Revision, v.Basis, revision, basis)
	}
	return revision, basis
}

// TestBasisIsWhatDecides: another policy has the same basis for an image exactly when
// nothing changed that decides about it.
func TestBasisIsWhatDecides(t *testing.T) {
	const reject, anything = `{"type":"reject"}`, `{"type":"insecureAcceptAnything"}`
	const byKey = `{"type":"bundleSigned","keyPath":"k.pub"}`
	const byRoot = `{"type":"bundleSigned","trustRoot":"a","identities":[{"issuer":"https://i.example","subject":"s"}]}`
	onBase := fmt.Sprintf(`{"type":"signedBaseLayer","baseLayerIdentity":{"type":"exactRepository","dockerRepository":%q}}`, "registry.example.com/other/os")
	within := func(r string) string { return `{"type":"anyOf","of":[[` + byKey + `],[` + r + `]]}` }
	key, otherKey := string(newSigstoreKey(t).pem()), string(newSigstoreKey(t).pem())
	place := func(ns, host string) string {
		return "docker:\n  " + ns + ": {lookaside: 'https://" + host + "/'}"
	}
	start := basisWorld{team: byKey, other: reject, byDefault: reject, key: key, registries: place("registry.example.com/team", "a.example"),
		roots: someRoots{"a": "1", "b": "1"}, ref: v1}
	for name, c := range map[string]struct {
		from   func(*basisWorld)
		change func(*basisWorld)
		same   bool
	}{
		"nothing":                     {nil, func(*basisWorld) {}, true},
		"another scope":               {nil, func(b *basisWorld) { b.other = anything }, true},
		"the default":                 {nil, func(b *basisWorld) { b.byDefault = anything }, true},
		"spaces":                      {nil, func(b *basisWorld) { b.team = " " + b.team }, true},
		"the place of others":         {nil, func(b *basisWorld) { b.registries += "\n" + `  other.example: {lookaside: "https://b.example/"}` }, true},
		"a root that it needs not":    {nil, func(b *basisWorld) { b.roots = someRoots{"a": "2", "b": "2"} }, true},
		"its requirement":             {nil, func(b *basisWorld) { b.team = anything }, false},
		"one more requirement":        {nil, func(b *basisWorld) { b.team += "," + anything }, false},
		"its key's bytes":             {nil, func(b *basisWorld) { b.key = otherKey }, false},
		"its place":                   {nil, func(b *basisWorld) { b.registries = place("registry.example.com/team", "b.example") }, false},
		"its signature repository":    {nil, func(b *basisWorld) { b.repositories = map[string]string{"registry.example.com": "sigs.example/x"} }, false},
		"another's repository":        {nil, func(b *basisWorld) { b.repositories = map[string]string{"elsewhere.example": "sigs.example/x"} }, true},
		"weak keys":                   {nil, func(b *basisWorld) { b.weak = true }, false},
		"its root":                    {func(b *basisWorld) { b.team = byRoot }, func(b *basisWorld) { b.roots = someRoots{"a": "2", "b": "1"} }, false},
		"another's root":              {func(b *basisWorld) { b.team = byRoot }, func(b *basisWorld) { b.roots = someRoots{"a": "1", "b": "2"} }, true},
		"its root, within":            {func(b *basisWorld) { b.team = within(byRoot) }, func(b *basisWorld) { b.roots = someRoots{"a": "2", "b": "1"} }, false},
		"the scope of its base":       {func(b *basisWorld) { b.team = onBase }, func(b *basisWorld) { b.other = byKey }, false},
		"the base's, within":          {func(b *basisWorld) { b.team = within(onBase) }, func(b *basisWorld) { b.other = byKey }, false},
		"a root, and a base":          {func(b *basisWorld) { b.team = onBase }, func(b *basisWorld) { b.roots = someRoots{"a": "2", "b": "1"} }, false},
		"the default that decides":    {func(b *basisWorld) { b.ref = "elsewhere.example/x:v1" }, func(b *basisWorld) { b.byDefault = anything }, false},
		"a scope beside the default":  {func(b *basisWorld) { b.ref = "elsewhere.example/x:v1" }, func(b *basisWorld) { b.team = anything }, true},
		"the same in another scope":   {nil, func(b *basisWorld) { b.ref = "registry.example.com/other/app:v1"; b.other = byKey }, false},
		"another tag, the same scope": {nil, func(b *basisWorld) { b.ref = "registry.example.com/team/app:v2" }, true}, // the cache tells them apart
	} {
		t.Run(name, func(t *testing.T) {
			before := start
			if c.from != nil {
				c.from(&before)
			}
			after := before
			c.change(&after)
			_, first := before.of(t)
			if _, second := after.of(t); (first == second) != c.same {
				t.Errorf("expected the same basis: %v, found %q and %q", c.same, first, second)
			}
		})
	}
}
