package verify

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
)

// elsewhere loads a policy that accepts ours in all scopes, with signature
// repositories.
func (w *world) elsewhere(ours *bundleSigner, byScope map[string]string) (*Policy, error) {
	w.t.Helper()
	w.write("ours.pub", ours.pem())
	w.write("policy.json", `{"default":[{"type":"bundleSigned","keyPath":"ours.pub"}]}`)
	o := w.options()
	o.SignatureRepositories = byScope
	return LoadPolicy(o)
}

// Evidence is looked for in the repository of the most specific scope, and there
// alone.
func TestSignatureRepositories(t *testing.T) {
	ours := newSigstoreKey(t)
	for name, c := range map[string]struct {
		byScope map[string]string
		want    string // where .sig is looked for
	}{
		"none":                  {nil, repo},
		"of the repository":     {map[string]string{repo: "sigs.example.com/one", "registry.example.com": "sigs.example.com/two"}, "sigs.example.com/one"},
		"of the registry":       {map[string]string{"registry.example.com": "sigs.example.com/two", "default": "sigs.example.com/three"}, "sigs.example.com/two"},
		"of the domain":         {map[string]string{"*.example.com": "sigs.example.com/two"}, "sigs.example.com/two"},
		"of everything":         {map[string]string{"default": "sigs.example.com/three", "registry.example.com/x": "sigs.example.com/two"}, "sigs.example.com/three"},
		"below":                 {map[string]string{"registry.example.com": "sigs.example.com/of/*"}, "sigs.example.com/of/team/app"},
		"with a beginning":      {map[string]string{"registry.example.com/team": "sigs.example.com/docker/dhi-*"}, "sigs.example.com/docker/dhi-app"},
		"below a registry":      {map[string]string{"registry.example.com": "sigs.example.com/*"}, "sigs.example.com/team/app"},
		"below a part":          {map[string]string{"registry.example.com/team": "sigs.example.com/t/*"}, "sigs.example.com/t/app"},
		"below itself":          {map[string]string{repo: "sigs.example.com/one/*"}, "sigs.example.com/one"},
		"of another repository": {map[string]string{repo + "x": "sigs.example.com/one"}, repo},
	} {
		t.Run(name, func(t *testing.T) {
			for _, at := range []string{repo, "sigs.example.com/one", "sigs.example.com/two", "sigs.example.com/three", "sigs.example.com/of/team/app", "sigs.example.com/t/app", "sigs.example.com/team/app", "sigs.example.com/docker/dhi-app"} {
				w := newWorld(t)
				w.write("cosign.pub", string(ours.pem()))
				w.write("policy.json", `{"default":[{"type":"sigstoreSigned","keyPath":"cosign.pub","signedIdentity":{"type":"matchRepository"}}]}`)
				o := w.options()
				o.SignatureRepositories = c.byScope
				p, err := LoadPolicy(o)
				if err != nil {
					t.Fatal(err)
				}
				e, err := NewEngine(p, w.reg, w.web)
				if err != nil {
					t.Fatal(err)
				}
				w.attach(at, ours.sign(repo, theManifest))
				v := verify(t, e, subject(t, v1))
				if allowed := v.Decision == Allowed; allowed != (at == c.want) {
					t.Errorf("signed in %s: %v, want it looked for in %s: %v", at, v.Decision, c.want, v.Requirements)
				}
				if !strings.Contains(strings.Join(v.Looked, " "), c.want) {
					t.Errorf("looked in %v, want %s", v.Looked, c.want)
				}
			}
		})
	}
}

// A bundle among the referrers of the signature repository counts; that the place is
// down is inconclusive, whatever the image's own repository holds.
func TestSignatureRepositoryOfBundles(t *testing.T) {
	ours := newBundleSigner(t)
	w := newWorld(t)
	p, err := w.elsewhere(ours, map[string]string{"registry.example.com": "sigs.example.com/one"})
	if err != nil {
		t.Fatal(err)
	}
	e, err := NewEngine(p, w.reg, w.web)
	if err != nil {
		t.Fatal(err)
	}
	w.refer(bundleType, ours.sign(theManifest))
	for name, m := range maps.Clone(w.reg.manifests) {
		if at, ok := strings.CutPrefix(name, repo+"@"); ok {
			w.reg.manifests["sigs.example.com/one@"+at] = m
			delete(w.reg.manifests, name)
		}
	}
	for name, b := range maps.Clone(w.reg.blobs) {
		w.reg.blobs["sigs.example.com/one@"+strings.TrimPrefix(name, repo+"@")] = b
		delete(w.reg.blobs, name)
	}
	if v := verify(t, e, subject(t, v1)); v.Decision != Allowed {
		t.Errorf("found %+v", v)
	}
	if i := slices.IndexFunc(w.reg.asked, func(s string) bool { return strings.Contains(s, repo) }); i >= 0 {
		t.Errorf("the image's own repository was asked: %s", w.reg.asked[i])
	}
	w.reg.err = errors.New("status 503")
	if v, err := e.Verify(t.Context(), subject(t, v1)); err == nil || v.Decision == Allowed || !strings.Contains(err.Error(), "sigs.example.com/one") {
		t.Errorf("found %v, %v; want an error that names the place", v.Decision, err)
	}
}

// Where signatures are looked for decides, so it counts into the revision.
func TestSignatureRepositoriesCountIntoTheRevision(t *testing.T) {
	ours, seen := newBundleSigner(t), map[string]string{}
	w := newWorld(t)
	for name, byScope := range map[string]map[string]string{
		"none":       nil,
		"one":        {"registry.example.com": "sigs.example.com/one"},
		"another":    {"registry.example.com": "sigs.example.com/two"},
		"by another": {"registry.example.com/team": "sigs.example.com/one"},
	} {
		p, err := w.elsewhere(ours, byScope)
		if err != nil {
			t.Fatal(err)
		}
		if other, dup := seen[p.Revision()]; dup {
			t.Errorf("%s and %s have the same revision", name, other)
		}
		seen[p.Revision()] = name
	}
	if p, err := w.elsewhere(ours, nil); err != nil || seen[p.Revision()] != "none" {
		t.Errorf("the revision of the same differs: %v", err)
	}
}

// What a star makes of a name need not be one: then nobody can tell where the evidence
// is, and the image is not allowed.
func TestSignatureRepositoryWithoutAName(t *testing.T) {
	ours := newBundleSigner(t)
	for _, star := range []string{"sigs.example.com/*", "sigs.example.com/dhi-*", "sigs.example.com/" + strings.Repeat("x", 250) + "/*"} {
		w := newWorld(t)
		scope := "registry.example.com"
		if !strings.Contains(star, "xxx") {
			scope = repo
		}
		p, err := w.elsewhere(ours, map[string]string{scope: star})
		if err != nil {
			t.Fatal(err)
		}
		e, err := NewEngine(p, w.reg, w.web)
		if err != nil {
			t.Fatal(err)
		}
		w.refer(bundleType, ours.sign(theManifest))
		if v, err := e.Verify(t.Context(), subject(t, v1)); err == nil || v.Decision == Allowed || !strings.Contains(err.Error(), "signature repository") {
			t.Errorf("%.40s: found %v, %v", star, v.Decision, err)
		}
	}
}

func TestFaultsOfSignatureRepositories(t *testing.T) {
	ours := newBundleSigner(t)
	for scope, r := range map[string]string{
		"registry.example.com":      "sigs.example.com/one:v1",
		"registry.example.com/a":    "one",
		"registry.example.com/b":    "",
		"https://x.example":         "sigs.example.com/one",
		"":                          "sigs.example.com/one",
		"default":                   "sigs.example.com/one/*",
		"*.example.com":             "sigs.example.com/one/*",
		"registry.example.com/d":    "sigs.example.com*",
		"registry.example.com/e:v1": "sigs.example.com/*",
		"registry.example.com/c":    "sigs.example.com/*/x",
	} {
		if _, err := newWorld(t).elsewhere(ours, map[string]string{scope: r}); err == nil || !strings.Contains(err.Error(), "signature_repositories") {
			t.Errorf("%q=%q: found %v", scope, r, err)
		}
	}
}
