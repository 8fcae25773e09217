package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/spf13/pflag"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/pullgate/pullgate/proxy/admin"
	"github.com/pullgate/pullgate/verify"
)

// rootedPolicy names the trust root acme, in a way that a root without logs can meet.
const rootedPolicy = `{"default":[{"type":"bundleSigned","trustRoot":"acme","identities":[{"issuer":"https://i.example","subject":"s"}],"thresholds":{"tlog":0,"sct":0,"timestamps":1}}]}`

// site is a directory with a configuration, a policy and a trusted_root.json.
type site struct {
	t   *testing.T
	dir string
}

// newSite writes a configuration with these trust_roots, YAML from line 3 on.
func newSite(t *testing.T, roots string) *site {
	t.Helper()
	s := &site{t, t.TempDir()}
	good, err := os.ReadFile(filepath.Join(vectors, "trust", "trusted_root.json"))
	if err != nil {
		t.Fatal(err)
	}
	s.write("trusted_root.json", string(good))
	s.write("policy.json", rootedPolicy)
	s.write("pullgate.yaml", "policy: policy.json\nupstreams: [{registry: registry.example}]\n"+roots+"\nstate_dir: state\ndefault_registry: registry.example\n")
	return s
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

func (s *site) write(name, content string) {
	s.t.Helper()
	if err := os.MkdirAll(filepath.Dir(s.path(name)), 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(s.path(name), []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) age(name string, d time.Duration) {
	s.t.Helper()
	at := time.Now().Add(-d)
	if err := os.Chtimes(s.path(name), at, at); err != nil {
		s.t.Fatal(err)
	}
}

// ask runs a command with the site's configuration.
func (s *site) ask(args ...string) (int, string) {
	s.t.Helper()
	return command(s.t, append(args, "--config", s.path("pullgate.yaml"))...)
}

// gate is one that has just started.
func (s *site) gate() *gate {
	s.t.Helper()
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	addConfigFlags(flags)
	if err := flags.Set("config", s.path("pullgate.yaml")); err != nil {
		s.t.Fatal(err)
	}
	cfg, policy, err := loadConfig(flags)
	if err != nil {
		s.t.Fatal(err)
	}
	g, err := newGate(cfg, policy, slog.New(slog.DiscardHandler), noRecords{}, everybody)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(g.upstream.Close)
	return g
}

var revisionLine = regexp.MustCompile(`(?m)revision[" :]+([0-9a-f]{64})`)

// commandsThatPrintTheRevision print that of the files.
func (s *site) commandsThatPrintTheRevision() map[string][]string {
	return map[string][]string{
		"config check":        {"config", "check"},
		"policy show":         {"policy", "show"},
		"policy show --json":  {"policy", "show", "--json"},
		"policy explain":      {"policy", "explain", "app:v1"},
		"policy lint":         {"policy", "lint"},
		"policy lint FILE":    {"policy", "lint", s.path("policy.json")},
		"config check POLICY": {"config", "check", "--policy", s.path("policy.json")},
	}
}

func (s *site) expectTheGatesRevision(want string, note bool) {
	s.t.Helper()
	for name, args := range s.commandsThatPrintTheRevision() {
		code, out := s.ask(args...)
		found := revisionLine.FindStringSubmatch(out)
		if code != 0 || found == nil || found[1] != want {
			s.t.Errorf("%s: exit %d, expected revision %s:\n%s", name, code, want, out)
		}
		if strings.Contains(out, "was not fetched yet") != note {
			s.t.Errorf("%s: says that a root is still to be fetched: %t\n%s", name, !note, out)
		}
	}
}

// The revision that is printed for files is that of the gate with these files, so
// that one can see whether they are in force.
func TestRevisionIsTheGates(t *testing.T) {
	s := newSite(t, "trust_roots: [{name: acme, trusted_root: trusted_root.json, max_age: 720h}]")
	g := s.gate()
	first := g.engine.Revision()
	s.expectTheGatesRevision(first, false)

	s.age("trusted_root.json", 960*time.Hour)
	g.refreshRootsOnce(t.Context())
	stale := g.engine.Revision()
	if stale == first {
		t.Error("a root that got stale is not another revision")
	}
	s.expectTheGatesRevision(stale, false)
}

// For a root by TUF it is that of the last good one, without dialling.
func TestRevisionWithTUF(t *testing.T) {
	const mirror = "https://tuf.invalid"
	s := newSite(t, `trust_roots: [{name: acme, max_age: 720h, tuf: {mirror: "`+mirror+`", root: root.json}}]`)
	first := tufRoot(t)
	s.write("root.json", string(first))
	s.expectTheGatesRevision(s.gate().engine.Revision(), true)

	id := sha256.New()
	fmt.Fprintf(id, "%q %q %q\n", "acme", mirror, "trusted_root.json")
	id.Write(first)
	good, err := os.ReadFile(s.path("trusted_root.json"))
	if err != nil {
		t.Fatal(err)
	}
	s.write(filepath.Join("state", "trust_roots", hex.EncodeToString(id.Sum(nil)[:16]), "last-good.json"), string(good))
	s.expectTheGatesRevision(s.gate().engine.Revision(), false)
}

// tufRoot is the first root.json of a TUF repository.
func tufRoot(t *testing.T) []byte {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := metadata.KeyFromPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	root := metadata.Root(time.Now().Add(time.Hour))
	for _, role := range []string{"root", "timestamp", "snapshot", "targets"} {
		if err := root.Signed.AddKey(key, role); err != nil {
			t.Fatal(err)
		}
	}
	signer, err := signature.LoadSigner(private, crypto.Hash(0))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := root.Sign(signer); err != nil {
		t.Fatal(err)
	}
	b, err := root.ToBytes(false)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A root whose time jumps back, or into the future, ends what rests on it at once;
// config check warns.
func TestAStaleRootEndsItsVerdicts(t *testing.T) {
	s := newSite(t, "trust_roots: [{name: acme, trusted_root: trusted_root.json, max_age: 720h}]")
	g := s.gate()
	ref, err := reference.ParseNormalizedNamed("registry.example/app:v1")
	if err != nil {
		t.Fatal(err)
	}
	image := verify.Subject{Ref: ref, Digest: digest.FromString("x")}
	revision, basis := g.engine.Basis(image)
	for _, age := range []time.Duration{960 * time.Hour, -time.Hour} {
		s.age("trusted_root.json", age)
		g.refreshRootsOnce(t.Context())
		if r, b := g.engine.Basis(image); r == revision || b == basis {
			t.Errorf("age %s: verdicts stay in force", age)
		}
		code, out := s.ask("config", "check")
		if code != 0 || !strings.Contains(out, "warning: trust_roots: trust root acme is stale") || !strings.Contains(out, "touch the file when it is current") {
			t.Errorf("age %s: exit %d: %s", age, code, out)
		}
		s.age("trusted_root.json", 0)
		g.refreshRootsOnce(t.Context())
		if r, b := g.engine.Basis(image); r != revision || b != basis {
			t.Errorf("age %s: a root that is good again is another", age)
		}
	}
	if _, out := s.ask("config", "check"); strings.Contains(out, "stale") {
		t.Errorf("found %s", out)
	}
}

// What is wrong with a root is told by /readyz, and does not make the gate unready.
func TestReadinessTellsAboutRoots(t *testing.T) {
	s := newSite(t, "trust_roots: [{name: acme, trusted_root: trusted_root.json, max_age: 720h}]")
	g := s.gate()
	status := func() admin.TrustRootStatus {
		t.Helper()
		all := g.status(&watchedSink{})
		if !all.Ready || len(all.TrustRoots) != 1 || all.TrustRoots[0].Name != "acme" {
			t.Fatalf("found %+v", all)
		}
		return all.TrustRoots[0]
	}
	if r := status(); r.Stale || r.Error != "" || r.RefreshedAt.IsZero() {
		t.Errorf("found %+v", r)
	}
	s.age("trusted_root.json", 960*time.Hour)
	g.refreshRootsOnce(t.Context())
	if r := status(); !r.Stale || !strings.Contains(r.Error, "touch the file when it is current") {
		t.Errorf("too old: found %+v", r)
	}
	s.age("trusted_root.json", 0)
	g.refreshRootsOnce(t.Context())
	if r := status(); r.Stale || r.Error != "" {
		t.Errorf("good again: found %+v", r)
	}
	s.write("trusted_root.json", "{")
	g.refreshRootsOnce(t.Context())
	if r := status(); r.Stale || !strings.HasPrefix(r.Error, "the last refresh did not work: ") {
		t.Errorf("cannot be read: found %+v", r)
	}
	if rootStatus(nil) != nil {
		t.Error("roots without any")
	}
}

// A root that cannot be used is a fault like others: told with them, with its place.
func TestRootFaultsAmongOthers(t *testing.T) {
	s := newSite(t, `trust_roots:
  - {name: good, trusted_root: trusted_root.json}
  - name: acme
    trusted_root: broken.json
  - {name: gone, trusted_root: gone.json}
  - name: mirror
    tuf: {mirror: "https://tuf.invalid", root: broken.json}
auth: {htpasswd: htpasswd}`)
	s.write("broken.json", `{"mediaType": "text/plain"}`)
	s.write("htpasswd", "alice:plain\n")
	s.write("policy.json", `{"default":[{"type":"rejct"}]}`)
	expect := func(want ...string) {
		t.Helper()
		code, out := s.ask("config", "check")
		if code != 1 {
			t.Errorf("exit %d: %s", code, out)
		}
		for _, want := range want {
			if n := strings.Count(out, want); n != 1 {
				t.Errorf("expected %q once, found it %d times in:\n%s", want, n, out)
			}
		}
	}
	file, broken := s.path("pullgate.yaml"), s.path("broken.json")
	roots := []string{
		file + ":6: trust_roots[1].trusted_root: trust root acme: " + broken + ": expected a trusted_root.json of sigstore",
		file + ":9: trust_roots[3].tuf.root: trust root mirror: " + broken + ": expected a root.json of TUF",
		`did you mean "reject"?`,
	}
	expect(append(roots, "trust_roots[2].trusted_root: ", "gone.json", "put a trusted_root.json of the sigstore instance there")...)
	// Who may pull is looked at when the settings have no fault.
	s.write("gone.json", "{}")
	expect(append(roots, "trust_roots[2].trusted_root: trust root gone: ", "htpasswd:1")...)
	for _, args := range [][]string{{"policy", "show"}, {"check", "app:v1"}} {
		if _, out := s.ask(args...); !strings.Contains(out, file+":6: trust_roots[1].trusted_root") {
			t.Errorf("%s: %s", args, out)
		}
	}
}

// What the policy asks for and the root has not is told where both are known.
func TestRootsWithoutLogsAreWarnedAbout(t *testing.T) {
	s := newSite(t, "trust_roots: [{name: acme, trusted_root: trusted_root.json}]")
	if code, out := s.ask("config", "check"); code != 0 || strings.Contains(out, "denies every image") {
		t.Errorf("exit %d: %s", code, out)
	}
	s.write("policy.json", `{"default":[{"type":"bundleSigned","trustRoot":"acme","identities":[{"issuer":"https://i.example","subject":"s"}]}]}`)
	for _, args := range [][]string{{"config", "check"}, {"policy", "lint"}, {"policy", "lint", s.path("policy.json")}} {
		if code, out := s.ask(args...); code != 0 || !strings.Contains(out, "policy.json: default[0].thresholds: denies every image: it asks for 1 (tlog), the default,") {
			t.Errorf("%s: exit %d: %s", args, code, out)
		}
	}
}

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// That roots can be read again is told, also when they are what they were before.
func TestRefreshTellsWhenItWorksAgain(t *testing.T) {
	s := newSite(t, "trust_roots: [{name: acme, trusted_root: trusted_root.json}]")
	g := s.gate()
	log := &lockedBuffer{}
	g.logger = slog.New(slog.NewTextHandler(log, nil))
	ctx, cancel := context.WithCancel(t.Context())
	asked, ended := make(chan struct{}), make(chan struct{})
	go func() { g.refreshRoots(ctx, asked); close(ended) }()
	defer func() { cancel(); <-ended }()
	good, err := os.ReadFile(s.path("trusted_root.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ content, want string }{{"x", "were not refreshed"}, {string(good), "can be read again"}} {
		s.write("trusted_root.json", step.content)
		asked <- struct{}{}
		for start := time.Now(); !strings.Contains(log.String(), step.want); time.Sleep(time.Millisecond) {
			if time.Since(start) > 20*time.Second {
				t.Fatalf("expected %q in %s", step.want, log)
			}
		}
	}
}

// Scopes of registries that are not served judge nothing: a name may be misspelt.
func TestScopesOfOtherRegistriesAreWarnedAbout(t *testing.T) {
	s := newSite(t, "other_registries: deny")
	const text = "no image is judged by these scopes"
	good := `"registry.example":[{"type":"reject"}],"registry.example/team":[{"type":"reject"}],"*.example":[{"type":"reject"}],"":[{"type":"reject"}]`
	s.write("policy.json", `{"default":[{"type":"reject"}],"transports":{"docker":{`+good+`}}}`)
	if code, out := s.ask("config", "check"); code != 0 || strings.Contains(out, text) {
		t.Errorf("exit %d: %s", code, out)
	}
	s.write("policy.json", `{"default":[{"type":"reject"}],"transports":{"docker":{`+good+`,"registry.exmaple/team":[{"type":"reject"}]}}}`)
	for _, args := range [][]string{{"config", "check"}, {"policy", "lint"}} {
		if code, out := s.ask(args...); code != 0 || !strings.Contains(out, text+`, whose registries are not among upstreams: ["registry.exmaple/team"]`) {
			t.Errorf("%s: exit %d: %s", args, code, out)
		}
	}
}

// show says in which time alternatives count.
func TestShowSaysTheDatesOfAlternatives(t *testing.T) {
	s := newSite(t, "trust_roots: [{name: acme, trusted_root: trusted_root.json}]")
	signed := `{"type":"bundleSigned","trustRoot":"acme","identities":[{"issuer":"https://i.example","subject":"s"}],"thresholds":{"tlog":0,"sct":0,"timestamps":1}}`
	s.write("policy.json", `{"default":[{"type":"anyOf","of":[
		{"type":"allOf","of":[`+signed+`],"until":"2020-01-01T00:00:00Z"},
		{"type":"allOf","of":[`+signed+`],"until":"2999-01-01T00:00:00Z","signedBefore":"2998-01-01T00:00:00Z"},
		[`+signed+`]]}]}`)
	code, out := s.ask("policy", "show")
	for _, want := range []string{"alternative: 1, until 2020-01-01T00:00:00Z (it has ended)\n", "alternative: 2, until 2999-01-01T00:00:00Z, signed before 2998-01-01T00:00:00Z\n", "alternative: 3\n"} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("exit %d, expected %q in:\n%s", code, want, out)
		}
	}
}

// show says by which certificates notation's signers are known, and which identities
// are expressions.
func TestShowSaysWhoIsTrusted(t *testing.T) {
	s := newSite(t, "trust_roots: [{name: acme, trusted_root: trusted_root.json}]")
	ca, err := filepath.Abs(filepath.Join(vectors, "trust", "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	s.write("policy.json", `{"default":[
		{"type":"notationSigned","trustStores":{"ca":["`+ca+`"]},"trustedIdentities":["x509.subject: C=US, ST=WA, O=acme.example"],"revocation":"skip"},
		{"type":"bundleSigned","trustRoot":"acme","identities":[{"issuer":"https://i.example","subjectRegExp":"https://s\\.example"}]}]}`)
	code, out := s.ask("policy", "show")
	for _, want := range []string{`authority: ca sha256:[0-9a-f]{64}, \S`, `identity: subjectRegExp https://s\\\.example \(issuer https://i\.example\)`} {
		if code != 0 || !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("exit %d, expected %s in:\n%s", code, want, out)
		}
	}
}
