package verify

import (
	"fmt"
	"testing"

	"github.com/pullgate/pullgate/verify/trustroot"
)

// generations are trust roots of which only the generation matters.
type generations map[string]string

func (g generations) Get(name string) (trustroot.Root, bool) {
	gen, ok := g[name]
	return trustroot.Root{Name: name, Generation: gen}, ok
}

func (g generations) Generation() string { return fmt.Sprint(g) }

// What a verdict rests on changes with everything that decides about its image, and
// with nothing else.
func TestBasis(t *testing.T) {
	const (
		keyed = "registry.example.com/keyed"
		rooty = "registry.example.com/rooted"
		based = "registry.example.com/based"
		other = "quay.example.com/other"
	)
	images := []string{keyed, rooty, based, other}
	type state struct {
		policy, key, places string
		weak                bool
		repositories        map[string]string
		roots               generations
	}
	key, second := string(newSigstoreKey(t).pem()), string(newSigstoreKey(t).pem())
	const identity = `"identities":[{"issuer":"https://i.example","subject":"me"}]`
	policy := func(rest, otherwise string) string {
		return `{"default":[` + otherwise + `],"transports":{"docker":{` + rest +
			`"registry.example.com/keyed":[{"type":"bundleSigned","keyPath":"a.pub"}],
			"registry.example.com/rooted":[{"type":"anyOf","of":[[{"type":"bundleSigned","trustRoot":"public-good",` + identity + `}]]}],
			"registry.example.com/based":[{"type":"signedBaseLayer","baseLayerIdentity":{"type":"matchRepository"}}]}}}`
	}
	const reject, places = `{"type":"reject"}`, "default-docker:\n  lookaside: https://sigs.example.com/s\n"
	first := state{policy: policy("", reject), key: key, places: places, roots: generations{"public-good": "1", "unused": "1"}}
	basisOf := func(t *testing.T, s state) map[string]string {
		w := newWorld(t)
		w.write("a.pub", s.key)
		w.write("policy.json", s.policy)
		w.write("registries.d/default.yaml", s.places)
		o := w.options()
		o.InsecureAllowWeak, o.SignatureRepositories = s.weak, s.repositories
		e := w.engineWith(o)
		e.UseRoots(s.roots)
		out := map[string]string{}
		for _, name := range images {
			revision, basis := e.Basis(subject(t, name+":v1"))
			if revision != e.Revision() || basis == "" {
				t.Errorf("%s: revision %s, basis %q", name, revision, basis)
			}
			out[name] = basis
		}
		return out
	}
	before := basisOf(t, first)
	all := images
	for name, c := range map[string]struct {
		change func(*state)
		want   []string // the images whose verdicts end
	}{
		"nothing":                        {func(*state) {}, nil},
		"the bytes of a key":             {func(s *state) { s.key = second }, []string{keyed, based}},
		"the default list":               {func(s *state) { s.policy = policy("", `{"type":"insecureAcceptAnything"}`) }, []string{other, based}},
		"another scope":                  {func(s *state) { s.policy = policy(`"x.example":[`+reject+`],`, reject) }, []string{based}},
		"a scope within":                 {func(s *state) { s.policy = policy(`"registry.example.com/keyed:v1":[`+reject+`],`, reject) }, []string{keyed, based}},
		"the same list in another scope": {func(s *state) { s.policy = policy(`"quay.example.com":[`+reject+`],`, reject) }, []string{other, based}},
		"a trust root":                   {func(s *state) { s.roots = generations{"public-good": "2", "unused": "1"} }, []string{rooty, based}},
		"a trust root that is not used":  {func(s *state) { s.roots = generations{"public-good": "1", "unused": "2"} }, []string{based}},
		"no trust root any more":         {func(s *state) { s.roots = generations{"unused": "1"} }, []string{rooty, based}},
		"weak signatures":                {func(s *state) { s.weak = true }, all},
		"the lookaside": {func(s *state) {
			s.places += "docker:\n  quay.example.com:\n    lookaside: https://sigs.example.com/quay\n"
		}, []string{other, based}},
		"a signature repository": {func(s *state) { s.repositories = map[string]string{keyed: "sigs.example.com/x"} }, []string{keyed, based}},
	} {
		t.Run(name, func(t *testing.T) {
			s := first
			c.change(&s)
			after := basisOf(t, s)
			ends := map[string]bool{}
			for _, name := range c.want {
				ends[name] = true
			}
			for _, name := range images {
				if changed := after[name] != before[name]; changed != ends[name] {
					t.Errorf("%s: changed %t, want %t", name, changed, ends[name])
				}
			}
		})
	}
}

// A verdict names the basis that the engine has for its image.
func TestVerdictsNameTheirBasis(t *testing.T) {
	w := newWorld(t)
	e := w.engine(`{"default":[{"type":"reject"}],"transports":{"docker":{"registry.example.com":[{"type":"insecureAcceptAnything"}]}}}`)
	for _, image := range []string{v1, "quay.example.com/x:v1"} {
		v := verify(t, e, subject(t, image))
		revision, basis := e.Basis(subject(t, image))
		if v.Basis != basis || v.Revision != revision {
			t.Errorf("%s: verdict %s of %s, engine %s of %s", image, v.Basis, v.Revision, basis, revision)
		}
	}
}

// TestBasisIsOfItsRevision: a verdict that holds is filed under the revision in force.
// Where the roots are swapped meanwhile, that is the one whose roots were looked at: the
// other one may come back, as a root that was stale gets stale again.
func TestBasisIsOfItsRevision(t *testing.T) {
	w := newWorld(t)
	e := w.engine(`{"default":[{"type":"bundleSigned","trustRoot":"public-good","identities":[{"issuer":"https://i.example","subject":"s"}]}]}`)
	r := &swapped{left: 1}
	e.UseRoots(r)
	before := e.Revision()
	if revision, basis := e.Basis(subject(t, v1)); revision == before || revision != e.Revision() || basis == "" {
		t.Errorf("the basis %q is by the roots of revision %s, and said to be of %s", basis, e.Revision(), revision)
	}
	r.left = 100
	if revision, basis := e.Basis(subject(t, v1)); revision != "" || basis != "" || r.left < 100-10*maxJudged {
		t.Errorf("%d swaps: %q, %q", 100-r.left, revision, basis)
	}
}
