package verify

import (
	"encoding/base64"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/verify/discover"
)

// The fixtures of containers/image, judged under the policies of its own tests
// (policy_eval_*_test.go, mechanism_*_test.go, docker_test.go, simple_test.go,
// pki_cert_test.go, fulcio_cert_test.go), with the verdicts that these expect.
//
// The files are those of the module that is built with. Its zip has no symbolic links,
// so what upstream links to is named directly: image.manifest.json for the
// manifest.json of dir-img-valid, internal/testdata/rekor.pub for fixtures/rekor.pub.
//
// One case of upstream's cannot come to a gate: an image without a manifest
// (dir-img-no-manifest).

// Files that upstream reaches through links.
const (
	simpleImage = "fixtures/image.manifest.json"
	cosignImage = "fixtures/dir-img-cosign-valid/manifest.json"
	rekorKey    = "internal/testdata/rekor.pub"
)

// fixturesTime is when the fixtures are judged, whatever the date is: their youngest
// keys are of July 2025.
var fixturesTime = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// fixtureCase is one image with signatures of the fixtures under one list of
// requirements. Files are named from the package directory of containers/image.
type fixtureCase struct {
	name       string
	manifest   string
	signatures []string
	// change replaces annotations of the signatures, all sigstore ones; empty removes.
	change map[string]string
	ref    string
	// requirements are the elements of a scope's list. Every "fixtures/…" and
	// "internal/…" in it is a file; with an @ before it, the file's content in base64.
	requirements string
	signer       string    // [Verdict.Signers] of one that is allowed, where it matters
	root         string    // what the trust root public-good is, of fixtureRoot
	at           time.Time // fixturesTime when zero
	// want is part of the reason for a denial; empty: allowed.
	want string
	// unknown is part of the reason why nobody can tell: an error, not a verdict.
	unknown string
	// stricter says why upstream allows what is not allowed here.
	stricter string
	// unstored, unless empty, is what want is when the signatures do not come from a lookaside, as all
	// do otherwise, but from the registry: simple signing through its signature API,
	// sigstore as .sig attachments; or [allowedThere].
	unstored string
}

// allowedThere is a [fixtureCase].unstored that is allowed.
const allowedThere = "allowed"

// outcome is what comes of a case, by where its signatures are.
func (c fixtureCase) outcome(stored bool) (want, unknown string) {
	switch {
	case stored || c.unstored == "":
		return c.want, c.unknown
	case c.unstored == allowedThere:
		return "", ""
	}
	return c.unstored, ""
}

// fixtureFiles are the files named in a text with requirements.
var fixtureFiles = regexp.MustCompile(`"@?((?:fixtures|internal)/[^"]+)"`)

// files are all files that the case mentions.
func (c fixtureCase) files() []string {
	out := append([]string{c.manifest}, c.signatures...)
	for _, m := range fixtureFiles.FindAllStringSubmatch(c.requirements, -1) {
		out = append(out, m[1])
	}
	return append(out, rootFiles(c.root)...)
}

// fixtureDir is the package directory of containers/image's signature package, with
// the fixtures, in the module cache.
type fixtureDir struct {
	t   testing.TB
	dir string
}

func newFixtureDir(t testing.TB) fixtureDir {
	t.Helper()
	cmd := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "go.podman.io/image/v5")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list -m go.podman.io/image/v5, whose fixtures are judged: %v", err)
	}
	dir := filepath.Join(strings.TrimSpace(string(out)), "signature")
	if info, err := os.Stat(filepath.Join(dir, "fixtures")); err != nil || !info.IsDir() {
		t.Fatalf("expected the fixtures of go.podman.io/image/v5 in %s: %v", dir, err)
	}
	return fixtureDir{t, dir}
}

func (f fixtureDir) read(name string) []byte {
	f.t.Helper()
	b, err := os.ReadFile(filepath.Join(f.dir, name))
	if err != nil {
		f.t.Fatal(err)
	}
	return b
}

// resolved writes the files that requirements name with their whole path, or what is
// in them.
func (f fixtureDir) resolved(requirements string) string {
	f.t.Helper()
	return fixtureFiles.ReplaceAllStringFunc(requirements, func(m string) string {
		name := strings.Trim(m, `"`)
		if inline, ok := strings.CutPrefix(name, "@"); ok {
			return `"` + base64.StdEncoding.EncodeToString(f.read(inline)) + `"`
		}
		return `"` + filepath.Join(f.dir, name) + `"`
	})
}

// subject is the image of a case. A manifest that has no digest gets some.
func (f fixtureDir) subject(c fixtureCase) Subject {
	f.t.Helper()
	b := f.read(c.manifest)
	d, err := ManifestDigest(b, "")
	if err != nil {
		d = digest.FromBytes(b)
	}
	return Subject{Ref: named(f.t, c.ref), Digest: d, Manifest: b}
}

// blobs are the signatures of a case in their stored form.
func (f fixtureDir) blobs(c fixtureCase) (out [][]byte) {
	f.t.Helper()
	for _, name := range c.signatures {
		b := f.read(name)
		if len(c.change) > 0 {
			b = changed(f.t, b, c.change)
		}
		out = append(out, b)
	}
	return out
}

// changed is a stored sigstore signature with other annotations.
func changed(t testing.TB, blob []byte, change map[string]string) []byte {
	t.Helper()
	s, err := discover.ParseStored("fixture", blob)
	if err != nil || s.Sigstore == nil {
		t.Fatalf("expected a sigstore signature: %v", err)
	}
	for name, value := range change {
		if s.Sigstore.Annotations[name] == "" {
			t.Fatalf("expected annotation %s in the fixture", name)
		}
		s.Sigstore.Annotations[name] = value
		if value == "" {
			delete(s.Sigstore.Annotations, name)
		}
	}
	b, err := s.Sigstore.Blob()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// atTime runs a test at a time.
func atTime(t *testing.T, at time.Time, run func(*testing.T)) {
	t.Helper()
	if at.IsZero() {
		at = fixturesTime
	}
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(at))
		run(t)
	})
}

// judgeFixture judges a case with its signatures in a lookaside and in the registry,
// with weak signatures refused and allowed: no fixture is weak.
func judgeFixture(t *testing.T, f fixtureDir, c fixtureCase) {
	f.t = t
	s, blobs := f.subject(c), f.blobs(c)
	w := newWorld(t)
	e := w.engine(`{"default":[` + f.resolved(c.requirements) + `]}`)
	weak := w.options()
	weak.InsecureAllowWeak = true
	lax, err := LoadPolicy(weak)
	if err != nil {
		t.Fatal(err)
	}
	strict := e.Policy()
	for place, put := range map[string]func() (stored bool){
		"lookaside": func() bool { w.storeOf(s.Digest, reference.Path(s.Ref), blobs...); return true },
		"registry":  func() bool { w.putInRegistry(s, blobs); return false },
	} {
		w.web.files, w.reg.extension, w.reg.supported, w.reg.manifests = map[string][]byte{}, nil, false, map[string][]byte{}
		want, unknown := c.outcome(put())
		for what, p := range map[string]*Policy{"": strict, ", weak ones allowed": lax} {
			e.Replace(p)
			v, err := e.Verify(t.Context(), s)
			checkFixture(t, place+what, v, err, want, unknown)
			if c.signer != "" && !slices.Equal(v.Signers(), []string{c.signer}) {
				t.Errorf("%s: expected it to be signed by %s, got %v", place+what, c.signer, v.Signers())
			}
		}
	}
}

// putInRegistry puts sigstore signatures beside the image and all others into the
// signature API.
func (w *world) putInRegistry(s Subject, blobs [][]byte) {
	w.t.Helper()
	var attachments []*discover.Sigstore
	for _, b := range blobs {
		parsed, err := discover.ParseStored("fixture", b)
		if err == nil && parsed.Sigstore != nil {
			attachments = append(attachments, parsed.Sigstore)
			continue
		}
		w.reg.extension, w.reg.supported = append(w.reg.extension, b), true
	}
	if len(attachments) > 0 {
		w.attachTo(s.Digest, s.Ref.Name(), attachments...)
	}
}

// checkFixture holds a verdict against the one expected.
func checkFixture(t *testing.T, where string, v Verdict, err error, want, unknown string) {
	t.Helper()
	switch {
	case unknown != "":
		if err == nil || v.Decision == Allowed || !strings.Contains(err.Error(), unknown) {
			t.Errorf("%s: expected no verdict for %q, got %s, %v: %s", where, unknown, v.Decision, err, reasons(v))
		}
	case err != nil:
		t.Errorf("%s: expected a verdict, got %v", where, err)
	case (v.Decision == Allowed) != (want == "") || !strings.Contains(reasons(v), want):
		t.Errorf("%s: expected %q, got %s: %s", where, want, v.Decision, reasons(v))
	}
	for _, r := range v.Requirements {
		if r.Allowed && r.Type != typeAccept && (len(r.Signers) == 0 || len(r.Evidence) == 0) {
			t.Errorf("%s: allowed, and who signed, or where, is missing: %+v", where, r)
		}
	}
}

// TestEveryFixtureIsJudged: another release of the library must not add a fixture
// that nothing here looks at.
func TestEveryFixtureIsJudged(t *testing.T) {
	f := newFixtureDir(t)
	mentioned := map[string]string{"fixtures/.gitignore": "no fixture", "fixtures/regenerate-keys.sh": "no fixture"}
	for _, list := range [][]fixtureCase{simpleFixtures(), sigstoreFixtures(), bundleFixtures()} {
		for _, c := range list {
			for _, name := range c.files() {
				mentioned[name] = c.name
			}
		}
	}
	for _, c := range refusedFixtures() {
		for _, m := range fixtureFiles.FindAllStringSubmatch(c.requirement, -1) {
			mentioned[m[1]] = c.name
		}
	}
	for _, name := range slices.Concat(describedFiles(), looseParts(), []string{policyFixture}) {
		mentioned[name] = "named"
	}
	for _, dir := range []string{"fixtures", "internal/testdata"} {
		err := fs.WalkDir(os.DirFS(f.dir), dir, func(name string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() && mentioned[name] == "" {
				t.Errorf("%s is a fixture that no case mentions: add one with the verdict that upstream's tests expect", name)
			}
			delete(mentioned, name)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, by := range mentioned {
		if !strings.HasPrefix(name, "fixtures/does-not-exist") {
			t.Errorf("%s, mentioned by %q, is no fixture any more", name, by)
		}
	}
}
