package config

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestFaultsOfTrustRoots(t *testing.T) {
	roots := func(items string) string { return minimal + "state_dir: .\ntrust_roots: [" + items + "]" }
	tuf := func(keys string) string { return roots("{name: a, tuf: {" + keys + "}}") }
	const file = "trusted_root: auth.json"
	runAll(t, []faulty{
		{"unknown key", roots("{name: a, trusted_rot: auth.json}"), "trust_roots[0].trusted_rot", 4, []string{"did you mean trusted_root?"}},
		{"unknown key of tuf", tuf("mirror: 'https://x.example', root: auth.json, targt: x"), "trust_roots[0].tuf.targt", 4, []string{"did you mean target?"}},
		{"key twice", roots("{name: a, " + file + ", " + file + "}"), "trust_roots[0].trusted_root", 4, []string{"second time"}},
		{"key of tuf twice", tuf("root: auth.json, root: policy.json, mirror: 'https://x.example'"), "trust_roots[0].tuf.root", 4, []string{"second time"}},
		{"no list", minimal + "trust_roots: {name: a}", "trust_roots", 3, []string{"expected a list"}},
		{"tuf no section", roots("{name: a, tuf: 'https://x.example'}"), "trust_roots[0].tuf", 4, []string{"expected keys with values"}},
		{"no name", roots("{" + file + "}"), "trust_roots[0].name", 4, []string{"public-good"}},
		{"capitals", roots("{name: Public, " + file + "}"), "trust_roots[0].name", 4, []string{`"Public"`}},
		{"path as name", roots("{name: ../a, " + file + "}"), "trust_roots[0].name", 4, nil},
		{"name twice", roots("{name: a, " + file + "},\n  {name: a, " + file + "}"), "trust_roots[1].name", 5, []string{"trust_roots[0].name"}},
		{"nothing", roots("{name: a}"), "trust_roots[0]", 4, []string{"neither"}},
		{"empty tuf", roots("{name: a, tuf: {}}"), "trust_roots[0]", 4, []string{"neither"}},
		{"both", roots("{name: a, " + file + ", tuf: {mirror: 'https://x.example', root: auth.json}}"), "trust_roots[0]", 4, []string{"only one"}},
		{"no such file", roots("{name: a, trusted_root: nowhere.json}"), "trust_roots[0].trusted_root", 4, []string{"no such file"}},
		{"a directory", roots("{name: a, trusted_root: layout}"), "trust_roots[0].trusted_root", 4, []string{"is not a file"}},
		{"age without a unit", roots("{name: a, " + file + ", max_age: 30}"), "trust_roots[0].max_age", 4, []string{"with a unit"}},
		{"age below zero", roots("{name: a, " + file + ", max_age: -1h}"), "trust_roots[0].max_age", 4, []string{"from 0s"}},
		{"age of a century", roots("{name: a, " + file + ", max_age: 876000h}"), "trust_roots[0].max_age", 4, []string{"87600h"}},
		{"no mirror", tuf("root: auth.json"), "trust_roots[0].tuf.mirror", 4, []string{"is not set"}},
		{"no root", tuf("mirror: 'https://x.example'"), "trust_roots[0].tuf.root", 4, []string{"start somewhere"}},
		{"root that is not there", tuf("mirror: 'https://x.example', root: no.json"), "trust_roots[0].tuf.root", 4, []string{"no such file"}},
		{"mirror without a scheme", tuf("mirror: x.example, root: auth.json"), "trust_roots[0].tuf.mirror", 4, nil},
		{"mirror of files", tuf("mirror: 'file:///etc', root: auth.json"), "trust_roots[0].tuf.mirror", 4, nil},
		{"mirror with a password", tuf("mirror: 'https://u:hunter2@x.example', root: auth.json"), "trust_roots[0].tuf.mirror", 4, []string{"password"}},
		{"mirror with a query", tuf("mirror: 'https://x.example/?a=b', root: auth.json"), "trust_roots[0].tuf.mirror", 4, []string{"query"}},
		{"target outside", tuf("mirror: 'https://x.example', root: auth.json, target: ../x"), "trust_roots[0].tuf.target", 4, []string{`"../x"`}},
		{"target from the top", tuf("mirror: 'https://x.example', root: auth.json, target: /x"), "trust_roots[0].tuf.target", 4, nil},
		{"target with a query", tuf("mirror: 'https://x.example', root: auth.json, target: 'x?y'"), "trust_roots[0].tuf.target", 4, nil},
		{"too many", roots(strings.Repeat("{name: a}, ", 101)), "trust_roots", 4, []string{"at most 100"}},
		{"nowhere to keep it", minimal + "state_dir: no/where\ntrust_roots: [{name: a, tuf: {mirror: 'https://x.example', root: auth.json}}]", "state_dir", 3, []string{"no such file"}},
		{"offline maybe", minimal + "offline: maybe", "offline", 3, []string{"true or false"}},
	})
}

// A password in a URL is in no fault.
func TestFaultsOfMirrorsHoldNoPassword(t *testing.T) {
	s := newSite(t)
	_, err := s.load(minimal+"state_dir: .\ntrust_roots: [{name: a, tuf: {mirror: 'https://u:hunter2@x.example', root: auth.json}}]", LoadOptions{})
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("found %v", err)
	}
}

// Trust roots that a variable would replace or drop never leave more trusted than
// the file says.
func TestTrustRootsComeFromTheFileOnly(t *testing.T) {
	s := newSite(t)
	_, err := s.load(minimal, LoadOptions{Environ: []string{"PULLGATE_TRUST_ROOTS=a=" + filepath.Join(s.dir, "auth.json")}})
	if err == nil || !strings.Contains(err.Error(), "into the file") {
		t.Errorf("found %v", err)
	}
	c := s.good(minimal, LoadOptions{Environ: []string{"PULLGATE_OFFLINE=true"}})
	if !c.Offline {
		t.Error("offline did not arrive")
	}
}
