package verify

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const rejectAll = `{"default":[{"type":"reject"}]}`

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// TestEveryFaultAtOnce loads a policy in which a lot is wrong.
func TestEveryFaultAtOnce(t *testing.T) {
	w := newWorld(t)
	w.write("empty.gpg", " \n")
	w.write("text.gpg", "this is no key")
	os.Mkdir(filepath.Join(w.dir, "directory.gpg"), 0o755)
	w.write("registries.d/bad.yaml", "default-docker: {lookasid: x}")
	_, err := w.load(`{"default":[{"type":"reject"},{"type":"rejct"}],"transports":{"docker":{
		"a.example.com":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"absent.gpg"}],
		"b.example.com":[{"type":"signedBy","keyType":"GPGKeys","keyPaths":["empty.gpg","text.gpg"]}],
		"c.example.com":[{"type":"reject"},{"type":"signedBy","keyType":"GPGKeys","keyPath":"directory.gpg"}],
		"d.example.com":[{"type":"sigstoreSigned","keyPath":"text.gpg"}],
		"e.example.com":[{"type":"sigstoreSigned","fulcio":{"caPath":"text.gpg","oidcIssuer":"i","subjectEmail":"e"},"rekorPublicKeyPath":"absent.pub"}],
		"f.example.com":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"absent.gpg","keydata":""}]
	}}}`)
	var faults Faults
	if !errors.As(err, &faults) {
		t.Fatalf("expected faults, found %v", err)
	}
	for _, want := range []string{
		`default[1]: unknown requirement type "rejct"; did you mean "reject"?`,
		`transports.docker."a.example.com"[0].keyPath: file ` + w.dir + `/absent.gpg does not exist; fix: `,
		`transports.docker."b.example.com"[0].keyPaths[0]: file ` + w.dir + `/empty.gpg is empty`,
		`transports.docker."b.example.com"[0].keyPaths[1]: file text.gpg holds no usable OpenPGP public key`,
		`transports.docker."c.example.com"[1].keyPath: read ` + w.dir + `/directory.gpg: expected a regular file, found a directory`,
		`transports.docker."d.example.com"[0].keyPath: file text.gpg holds no PEM public key`,
		`transports.docker."e.example.com"[0].fulcio.caPath: file text.gpg holds no PEM certificate`,
		`transports.docker."e.example.com"[0].rekorPublicKeyPath: file ` + w.dir + `/absent.pub does not exist`,
		`transports.docker."f.example.com"[0]: Unknown key "keydata"`,
		`registries.d/bad.yaml`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("expected %q in:\n%v", want, err)
		}
	}
	for _, f := range faults {
		if f.File == "" || (f.Fix == "" && !strings.Contains(f.File, "registries.d")) {
			t.Errorf("expected a file and a fix: %+v", f)
		}
	}
}

// TestStrictParsing keeps what the library refuses refused, and says where it is.
func TestStrictParsing(t *testing.T) {
	key := b64(newGPG(t, "ed25519").public())
	signed := `{"type":"signedBy","keyType":"GPGKeys","keyData":"` + key + `"`
	for name, c := range map[string]struct{ policy, want string }{
		"not JSON":                {"{\n\"default\":,}", "line 2"},
		"empty file":              {"", "not JSON"},
		"trailing data":           {rejectAll + "{}", "not JSON"},
		"a list":                  {"[]", "default"},
		"no default":              {`{}`, "default"},
		"null default":            {`{"default":null}`, "default"},
		"empty default":           {`{"default":[]}`, "default"},
		"empty scope":             {`{"default":[{"type":"reject"}],"transports":{"docker":{"x.example.com":[]}}}`, `"x.example.com"`},
		"null scope":              {`{"default":[{"type":"reject"}],"transports":{"docker":{"x.example.com":null}}}`, `"x.example.com"`},
		"unknown key":             {`{"default":[{"type":"reject"}],"transport":{}}`, `Unknown key "transport"`},
		"upper case key":          {`{"Default":[{"type":"reject"}]}`, `Unknown key "Default"`},
		"key twice":               {`{"default":[{"type":"reject"}],"default":[{"type":"insecureAcceptAnything"}]}`, "Duplicate key"},
		"transport twice":         {`{"default":[{"type":"reject"}],"transports":{"docker":{},"docker":{}}}`, "Duplicate key"},
		"scope twice":             {`{"default":[{"type":"reject"}],"transports":{"docker":{"x.example.com":[{"type":"reject"}],"x.example.com":[{"type":"reject"}]}}}`, "Duplicate key"},
		"requirement key twice":   {`{"default":[{"type":"reject","type":"insecureAcceptAnything"}]}`, "Duplicate key"},
		"key in accept":           {`{"default":[{"type":"insecureAcceptAnything","keyPath":"x"}]}`, `Unknown key "keyPath"`},
		"two key sources":         {`{"default":[` + signed + `,"keyPath":"x"}]}`, "Exactly one of"},
		"no key source":           {`{"default":[{"type":"signedBy","keyType":"GPGKeys"}]}`, "Exactly one of"},
		"no key in keyData":       {`{"default":[{"type":"signedBy","keyType":"GPGKeys","keyData":""}]}`, "default[0].keyData"},
		"no key in keyPaths":      {`{"default":[{"type":"signedBy","keyType":"GPGKeys","keyPaths":[]}]}`, "default[0].keyPaths"},
		"unknown matcher":         {`{"default":[` + signed + `,"signedIdentity":{"type":"matchAll"}}]}`, "default[0]"},
		"fulcio without rekor":    {`{"default":[{"type":"sigstoreSigned","fulcio":{"caPath":"x","oidcIssuer":"i","subjectEmail":"e"}}]}`, "rekor"},
		"unknown key in fulcio":   {`{"default":[{"type":"sigstoreSigned","fulcio":{"caPath":"x","issuer":"i"},"rekorPublicKeyPath":"x"}]}`, "issuer"},
		"scope of atomic":         {`{"default":[{"type":"reject"}],"transports":{"atomic":{"a/b/c/d":[{"type":"reject"}]}}}`, "not a scope of the atomic transport"},
		"atomic signed twice":     {`{"default":[` + signed + `},` + signed + `,"x":1}]}`, "default[1]"},
		"sigstore keyDatas empty": {`{"default":[{"type":"sigstoreSigned","keyDatas":[]}]}`, "keyDatas"},
	} {
		_, err := newWorld(t).load(c.policy)
		var faults Faults
		if !errors.As(err, &faults) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: expected %q, found %v", name, c.want, err)
		}
	}
}

func TestPolicyFileIsBounded(t *testing.T) {
	w := newWorld(t)
	w.write("policy.json", "")
	if err := os.Truncate(w.options().PolicyFile, maxPolicyFile+1); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadPolicy(w.options()); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("expected a fault about the size, found %v", err)
	}
	if _, err := LoadPolicy(Options{PolicyFile: "/nonexistent/policy.json"}); err == nil {
		t.Error("expected a fault for a missing policy")
	}
}

func TestKeyFileIsBounded(t *testing.T) {
	w := newWorld(t)
	big := w.write("big.gpg", "")
	if err := os.Truncate(big, maxKeyFile+1); err != nil {
		t.Fatal(err)
	}
	if _, err := w.load(`{"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"big.gpg"}]}`); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("expected a fault about the size, found %v", err)
	}
}

// TestKeyFilesOfEveryForm signs with each of several keys that come as binary and
// armored files, with several blocks in one, and as inline data.
func TestKeyFilesOfEveryForm(t *testing.T) {
	a, b, c, d := newGPG(t, "ed25519"), newGPG(t, "ed25519"), newGPG(t, "ed25519"), newGPG(t, "rsa2048")
	w := newWorld(t)
	w.write("keys/a.gpg", string(a.public()))
	w.write("keys/bc.asc", "Comment before\n"+string(b.armored())+"and between\n"+string(c.armored())+"and after\n")
	abs := w.write("keys/d.asc", strings.ReplaceAll(string(d.armored()), "\n", "\r\n"))
	paths := fmt.Sprintf(`{"type":"signedBy","keyType":"GPGKeys","keyPaths":["keys/a.gpg","keys/bc.asc",%q]}`, abs)
	inline := fmt.Sprintf(`{"type":"signedBy","keyType":"GPGKeys","keyData":%q}`, b64(slices.Concat(a.armored(), b.armored(), c.armored(), d.armored())))
	for _, req := range []string{paths, inline} {
		e := w.engine(`{"default":[` + req + `]}`)
		for i, k := range []*gpgKey{a, b, c, d} {
			w.store("team/app", k.sign(v1, theManifest))
			if v := verify(t, e, subject(t, v1)); v.Decision != Allowed {
				t.Errorf("key %d: %+v", i, v.Requirements)
			}
		}
		w.store("team/app", newGPG(t, "ed25519").sign(v1, theManifest))
		if v := verify(t, e, subject(t, v1)); v.Decision != Denied {
			t.Error("another key is trusted")
		}
	}
}

// TestDamagedKeyFileCannotChangeTheNext joins a file whose last packet claims to
// be longer than the file.
func TestDamagedKeyFileCannotChangeTheNext(t *testing.T) {
	w := newWorld(t)
	w.write("a.gpg", string(newGPG(t, "ed25519").public())+"\xCD\xFF\x00\x00\x00\x40")
	w.write("b.gpg", string(newGPG(t, "ed25519").public()))
	_, err := w.load(`{"default":[{"type":"signedBy","keyType":"GPGKeys","keyPaths":["a.gpg","b.gpg"]}]}`)
	if err == nil {
		t.Error("expected a fault")
	}
}

func TestRevisionCoversEverythingThatDecides(t *testing.T) {
	a, b := newGPG(t, "ed25519"), newGPG(t, "ed25519")
	byPath := `{"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"k.gpg"}]}`
	revision := func(policy, key, registries string, weak bool) string {
		w := newWorld(t)
		w.write("k.gpg", key)
		w.write("registries.d/default.yaml", registries)
		w.write("policy.json", policy)
		o := w.options()
		o.InsecureAllowWeak = weak
		p, err := LoadPolicy(o)
		if err != nil {
			t.Fatal(err)
		}
		return p.Revision()
	}
	place := func(host string) string { return "default-docker: {lookaside: 'https://" + host + "/'}" }
	base := revision(byPath, string(a.public()), place("a"), false)
	if len(base) != 64 {
		t.Errorf("expected a SHA-256, found %q", base)
	}
	if again := revision("\n"+byPath+"\n", string(a.public()), "# nothing\n"+place("a"), false); again != base {
		t.Error("white space changes the revision")
	}
	for what, other := range map[string]string{
		"key bytes":    revision(byPath, string(b.public()), place("a"), false),
		"policy":       revision(rejectAll, string(a.public()), place("a"), false),
		"registries.d": revision(byPath, string(a.public()), place("b"), false),
		"weak":         revision(byPath, string(a.public()), place("a"), true),
	} {
		if other == base {
			t.Errorf("%s: the revision stays the same", what)
		}
	}
}

// TestNothingIsReadAfterLoading takes all files away after loading.
func TestNothingIsReadAfterLoading(t *testing.T) {
	w := newWorld(t)
	g, s := newGPG(t, "ed25519"), newSigstoreKey(t)
	w.write("g.gpg", string(g.public()))
	w.write("s.pub", string(s.pem()))
	e := w.engine(`{"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"g.gpg"},
		{"type":"sigstoreSigned","keyPaths":["s.pub"],"signedIdentity":{"type":"matchRepository"}}]}`)
	w.store("team/app", g.sign(v1, theManifest))
	w.attach(repo, s.sign(repo, theManifest))
	if err := os.RemoveAll(w.dir); err != nil {
		t.Fatal(err)
	}
	if v := verify(t, e, subject(t, v1)); v.Decision != Allowed {
		t.Errorf("%+v", v)
	}
}

func TestFilesListsWhatToWatch(t *testing.T) {
	w := newWorld(t)
	w.write("k.gpg", string(newGPG(t, "ed25519").public()))
	p, err := w.load(`{"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"k.gpg"},{"type":"signedBy","keyType":"GPGKeys","keyPaths":["k.gpg"]}]}`)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"policy.json", "k.gpg", "registries.d", "registries.d/default.yaml"}
	for i := range want {
		want[i] = filepath.Join(w.dir, want[i])
	}
	if got := p.Files(); !slices.Equal(got, want) {
		t.Errorf("expected %v, found %v", want, got)
	}
}

func TestScopesAreListed(t *testing.T) {
	p, err := newWorld(t).load(`{"default":[{"type":"reject"}],"transports":{"docker":{"b.example.com":[{"type":"reject"}],"":[{"type":"reject"}]},"atomic":{"a.example.com":[{"type":"reject"}]}}}`)
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Scopes("docker"); !slices.Equal(got, []string{"", "b.example.com"}) {
		t.Errorf("docker: %q", got)
	}
	if got := p.Scopes("atomic"); !slices.Equal(got, []string{"a.example.com"}) {
		t.Errorf("atomic: %q", got)
	}
}

// FuzzPolicy never panics, and what it accepts has a requirement in every list.
func FuzzPolicy(f *testing.F) {
	key := b64(newGPG(f, "ed25519").public())
	f.Add([]byte(rejectAll))
	f.Add([]byte(`{"default":[{"type":"signedBy","keyType":"GPGKeys","keyData":"` + key + `","signedIdentity":{"type":"remapIdentity","prefix":"a.example.com","signedPrefix":"b.example.com"}}],"transports":{"docker":{"":[{"type":"insecureAcceptAnything"}],"*.example.com":[{"type":"signedBaseLayer","baseLayerIdentity":{"type":"matchExact"}}]}}}`))
	f.Add([]byte(`{"default":[{"type":"sigstoreSigned","keyDatas":["` + b64(newSigstoreKey(f).pem()) + `"],"signedIdentity":{"type":"exactRepository","dockerRepository":"x"}}]}`))
	f.Add([]byte(`{"default":[{"type":"sigstoreSigned","pki":{"caRootsData":"eA==","subjectEmail":"x"}}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if strings.Contains(string(b), "Path") {
			return // no files here
		}
		l := &loader{file: "policy.json", dir: "/nonexistent"}
		out := l.load(b)
		if len(l.faults) > 0 {
			return
		}
		lists := [][]*requirement{out.byDefault}
		for _, scopes := range out.scopes {
			for _, reqs := range scopes {
				lists = append(lists, reqs)
			}
		}
		for _, reqs := range lists {
			if len(reqs) == 0 {
				t.Fatal("a list without requirements")
			}
			for _, r := range reqs {
				if r.native == nil || (r.denies == "" && r.kind != typeAccept && (r.gpg == nil) == (r.trust == nil)) {
					t.Fatalf("incomplete requirement %+v", r)
				}
			}
		}
		var again rawPolicy
		if err := json.Unmarshal(out.inlined, &again); err != nil {
			t.Fatal(err)
		}
	})
}
