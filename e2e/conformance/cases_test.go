package conformance_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/e2e/conformance"
)

// cases holds folders as sigstore-conformance lays them out; README.md there says
// how, and where each is from.
const cases = "../../verify/bundle/testdata/conformance"

// What the suite takes when a case says nothing else.
const (
	identity = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main"
	issuer   = "https://token.actions.githubusercontent.com"
	artifact = "sha256:a0cfc71271d6e278e57cd332ff957c3f7043fdda354c4cbb190a30d56efa01bf" // the suite's a.txt
)

// reasons says of each case that is denied what the denial must say: the reason
// that the case is about, not whatever comes first.
var reasons = map[string]string{
	"dsse-statement-missing-type_fail":                          `expected _type https://in-toto.io/Statement/v1 or v0.1, found ""`,
	"dsse-statement-unknown-type_fail":                          `found "https://in-toto.io/Statement/v2"`,
	"key-with-timestamp-other-artifact_fail":                    "message signature: expected one over",
	"npm-provenance-other-digest_fail":                          "expected a subject with digest",
	"npm-provenance-other-workflow_fail":                        "expected subject https://github.com/sigstore/sigstore-js/.github/workflows/release.yml@refs/heads/mai: signed by",
	"othername-email_fail":                                      "expected subject foo@oidc.local: signed by",
	"rekor2-dsse-mismatch-envelope_fail":                        "dsse implementation for version '0.0.2' not found",
	"rekor2-multiple-timestamps-one-outside-cert-validity_fail": "expected every timestamp to lie within the certificate's validity",
}

// refused are cases that the suite wants accepted and that are denied on purpose,
// each with what the denial says. docs/signatures.md says why.
var refused = map[string]string{
	"dsse-with-hashedrekord-happy-path": "rekor v1 entry is not a dsse_v001 or intoto_v002 entry",
	"intoto-canonical-log-entry":        "verifying inclusion",
	"rekor2-dsse-happy-path":            "dsse implementation for version '0.0.2' not found",
	"proof-without-checkpoint":          "inclusion proof missing required checkpoint",
}

// TestCases runs every case that is here as a file.
func TestCases(t *testing.T) {
	entries, err := os.ReadDir(cases)
	must(t, err)
	ran := 0
	for _, e := range entries {
		if !e.IsDir() || e.Name() == "rekor2-timestamp-wrong-tsa-validity-borrow_fail" { // a root alone, of a made case
			continue
		}
		ran++
		t.Run(e.Name(), func(t *testing.T) {
			expect(t, e.Name(), conformance.Run(arguments(t, e.Name())), reasons[e.Name()])
		})
	}
	if ran < 16 {
		t.Errorf("expected at least 16 cases, found %d", ran)
	}
}

// expect holds an outcome against the case's name.
func expect(t *testing.T, name string, err error, why string) {
	t.Helper()
	denied := strings.HasSuffix(name, "_fail")
	if said, ok := refused[name]; ok {
		denied, why = true, said
	}
	switch {
	case !denied:
		must(t, err)
	case err == nil:
		t.Error("expected a denial, the bundle was accepted")
	case why == "" || !strings.Contains(err.Error(), why):
		t.Errorf("expected a denial because of %q, found %v", why, err)
	}
}

// arguments is the command line that the suite would run a case with.
func arguments(t *testing.T, name string) []string {
	t.Helper()
	args := []string{"verify-bundle", "--bundle", file(t, name, "bundle.sigstore.json")}
	if key := file(t, name, "key.pub"); key != "" {
		args = append(args, "--key", key)
	} else {
		args = append(args, "--certificate-identity", content(t, name, "identity", identity), "--certificate-oidc-issuer", content(t, name, "issuer", issuer))
	}
	trusted := file(t, name, "trusted_root.json")
	switch {
	case trusted == "" && strings.HasPrefix(name, "rekor2-"):
		trusted = filepath.Join(cases, "trusted_root.staging.json")
	case trusted == "":
		trusted = filepath.Join(cases, "trusted_root.json")
	}
	args = append(args, "--trusted-root", trusted)
	if f := file(t, name, "artifact"); f != "" {
		return append(args, f)
	}
	return append(args, content(t, name, "digest", artifact))
}

// file is the path of a file of the case or of the one that it is the same as, ""
// when there is none.
func file(t *testing.T, name, base string) string {
	t.Helper()
	f := filepath.Join(cases, name, base)
	_, err := os.Stat(f)
	if err == nil {
		return f
	}
	if !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	same, err := os.ReadFile(filepath.Join(cases, name, "same-as"))
	if err != nil {
		return ""
	}
	return file(t, strings.TrimSpace(string(same)), base)
}

// content is what a file of the case says.
func content(t *testing.T, name, base, byDefault string) string {
	t.Helper()
	f := file(t, name, base)
	if f == "" {
		return byDefault
	}
	b, err := os.ReadFile(f)
	must(t, err)
	return strings.TrimSpace(string(b))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
