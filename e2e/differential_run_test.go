//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/e2e/harness"
)

// diffUnusableAnswer is the gate's answer when it cannot work with its configuration.
const diffUnusableAnswer = "unusable"

// diffSite is a case that is set up: image, signatures, policy, configuration.
type diffSite struct {
	c            diffCase
	n            diffName
	ref          harness.Ref
	gate         *harness.Gate // its configuration; not running
	registriesD  string
	skopeoPolicy string
	dir          string
}

// build sets a case up.
func (w *diffWorld) build(t *testing.T, c diffCase) *diffSite {
	t.Helper()
	s := &diffSite{c: c, dir: t.TempDir()}
	s.n.registry, s.n.repo = w.registry(c.place)
	if w.alone(c) {
		s.n.repo = path.Dir(s.n.repo) + "/" + c.id() // attachments are stored by name
	}
	img, ok := w.images[c.kind()]
	if !ok {
		t.Fatalf("no image %q", c.kind())
	}
	w.push(t, s.n.repo, c.kind(), img)
	s.n.tag, s.n.digest = c.kind(), img.Digest
	if c.ref == "child" {
		s.n.digest = img.Children[0].Digest
	}
	s.ref = harness.Tagged(s.n.registry, s.n.repo, s.n.tag)
	if c.byDigest() {
		s.ref = harness.Digested(s.n.registry, s.n.repo, s.n.digest)
	}
	s.n.ref = s.ref.String()[len(s.n.name()):]
	s.sign(t, w, img)
	s.configure(t, w)
	return s
}

// alone says whether a case needs a repository of its own.
func (w *diffWorld) alone(c diffCase) bool {
	return c.key == "p256" || diffLists[c.list].sigstore || c.place == "front" || c.place == "ext" || c.state == "with sigstore" || c.state == "only sigstore"
}

// diffTargets are the manifests that a choice among all, index, platforms, amd64,
// arm64 and none means; an image of its own is meant by all and index.
func diffTargets(img harness.Image, choice string) []digest.Digest {
	var platforms []digest.Digest
	for _, c := range img.Children {
		platforms = append(platforms, c.Digest)
	}
	switch {
	case choice == "all":
		return append(platforms, img.Digest)
	case choice == "index":
		return []digest.Digest{img.Digest}
	case choice == "platforms":
		return platforms
	case choice == "amd64" && len(platforms) > 0:
		return platforms[:1]
	case choice == "arm64" && len(platforms) > 1:
		return platforms[1:]
	}
	return nil
}

// sign makes the signatures of the case and puts them where they belong.
func (s *diffSite) sign(t *testing.T, w *diffWorld, img harness.Image) {
	t.Helper()
	m, ok := diffMatchers[s.c.matcher]
	if !ok {
		t.Fatalf("no matcher %q", s.c.matcher)
	}
	for _, d := range diffTargets(img, s.c.signed) {
		signer := diffSigner{t: t, w: w, key: s.c.key, home: m.home(s.n), d: d}
		var blobs [][]byte
		var layers []harness.Layer
		for _, p := range s.c.makeState(signer) {
			if p.layer != nil {
				layers = append(layers, *p.layer)
			} else {
				blobs = append(blobs, p.blob)
			}
		}
		s.store(t, w, d, blobs)
		s.attach(t, w, d, layers)
	}
	s.fail(t, w, img)
}

// store keeps simple signing signatures at the place that the case asks: the
// signature server, a directory, or the registry's own list.
func (s *diffSite) store(t *testing.T, w *diffWorld, d digest.Digest, blobs [][]byte) {
	t.Helper()
	switch {
	case s.c.place == "ext":
		var list []any
		for i, b := range blobs {
			list = append(list, map[string]any{"schemaVersion": 2, "name": fmt.Sprintf("%s@%d", d, i), "type": "atomic", "content": b})
		}
		list = append(list, map[string]any{"schemaVersion": 3, "name": d.String() + "@x", "type": "later", "content": "!"})
		w.ext.answer(s.extensionPath(d), answerJSON(map[string]any{"signatures": list[:len(blobs)]}))
	case s.c.where == "file":
		for i, b := range blobs {
			p := filepath.Join(s.dir, "signatures", fmt.Sprintf("%s@%s=%s", s.n.repo, d.Algorithm(), d.Encoded()), fmt.Sprintf("signature-%d", i+1))
			if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
				t.Fatal(err)
			}
			if s.c.fault == "directory" {
				if err := os.Mkdir(p, 0o755); err != nil {
					t.Fatal(err)
				}
				continue
			}
			if err := os.WriteFile(p, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	default:
		w.sigs.put(s.c.id(), s.n.repo, d, blobs)
	}
}

func (s *diffSite) extensionPath(d digest.Digest) string {
	return "/extensions/v2/" + s.n.repo + "/signatures/" + d.String()
}

// attach pushes a .sig attachment.
func (s *diffSite) attach(t *testing.T, w *diffWorld, d digest.Digest, layers []harness.Layer) {
	t.Helper()
	if len(layers) > 0 {
		w.reg.Push(t, s.n.repo, harness.AttachmentTag(d), harness.NewAttachment(t, layers...))
	}
	if s.c.fault == "" || s.c.on != "payload" {
		return
	}
	for _, l := range layers {
		w.front.answer("/v2/"+s.n.repo+"/blobs/"+digest.FromBytes(l.Payload).String(), s.handler(l.Payload))
	}
}

// handler is the case's fault as an answer.
func (s *diffSite) handler(content []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { diffFaults[s.c.fault].answer(w, r, content) })
}

// fail puts the case's fault in place.
func (s *diffSite) fail(t *testing.T, w *diffWorld, img harness.Image) {
	t.Helper()
	f, known := diffFaults[s.c.fault]
	switch s.c.fault {
	case "", "directory", "refused":
		return
	}
	if !known {
		t.Fatalf("no fault %q", s.c.fault)
	}
	for _, d := range diffTargets(img, s.c.failing) {
		switch s.c.on {
		case "attachment":
			w.front.answer("/v2/"+s.n.repo+"/manifests/"+harness.AttachmentTag(d), s.handler(nil))
		case "extension":
			w.ext.answer(s.extensionPath(d), s.handler(nil))
		}
	}
	if s.c.on == "lookaside" {
		w.sigs.fail(s.c.id(), diffPlacedFault{f, diffTargets(img, s.c.failing)})
	}
}

// configure writes policy.json, registries.d and the gate's configuration.
func (s *diffSite) configure(t *testing.T, w *diffWorld) {
	t.Helper()
	c := s.c
	keys := diffKeys{t, w, s.dir}
	policy, forSkopeo := s.policies(t, keys)
	config := harness.GateConfig{
		Upstreams: []harness.Upstream{{Registry: s.n.registry, Prefix: "x", Endpoint: w.endpoint(c.place)}}, Policy: policy,
		Extra: map[string]string{"allowed": "insecure_weak_signatures: true"}[c.weak],
	}
	// Among so many pairs of free ports there is one of twice the same.
	for s.gate == nil || s.gate.URL == s.gate.AdminURL {
		s.gate = harness.WriteConfig(t, config)
	}
	s.skopeoPolicy = s.gate.Policy
	if c.unusable != "" {
		good := string(policy.JSON(t))
		bad := diffUnusable[c.unusable](good)
		if bad == good && c.unusable != "registries.d" {
			t.Fatalf("%s changes nothing in %s", c.unusable, good)
		}
		overwriteFile(t, s.gate.Policy, []byte(bad))
	}
	if forSkopeo != nil {
		s.skopeoPolicy = filepath.Join(s.dir, "skopeo.json")
		overwriteFile(t, s.skopeoPolicy, forSkopeo.JSON(t))
	}
	s.registriesD = filepath.Join(s.gate.Dir, "registries.d")
	writeLookasides(t, s.registriesD, s.lookasides(t, w), w.alone(c))
}

// policies are the case's policy and, when skopeo needs another text for the same,
// that one.
func (s *diffSite) policies(t *testing.T, k diffKeys) (policy harness.Policy, forSkopeo *harness.Policy) {
	t.Helper()
	c := s.c
	list, ok := diffLists[c.list]
	shape, known := diffShapes[c.shape]
	if !ok || !known {
		t.Fatalf("no list %q or shape %q", c.list, c.shape)
	}
	decoy := diffLists[c.decoy].make(nil, nil, nil)
	second := withMatcher(harness.SignedBy(k.w.keys[diffSecondKey].public), c.matcher, s.n)
	cosign := withMatcher(k.sigstoreSigned("keyData"), c.matcher, s.n)
	var main, other harness.Requirement
	if c.key == "p256" {
		main = withMatcher(k.sigstoreSigned(c.source), c.matcher, s.n)
	} else {
		main, other = k.signedBy(c.key, c.source)
		main, other = withMatcher(main, c.matcher, s.n), withMatcher(other, c.matcher, s.n)
	}
	policy = shape(s.n, list.make(main, second, cosign), decoy)
	if other != nil {
		p := shape(s.n, list.make(other, second, cosign), decoy)
		forSkopeo = &p
	}
	return policy, forSkopeo
}

func (s *diffSite) lookasides(t *testing.T, w *diffWorld) map[string]lookasideFile {
	t.Helper()
	good, decoy := w.sigs.url+"/"+s.c.id(), w.sigs.url+"/nothing-here"
	where := s.c.where
	if where == "file" {
		where, good = "host", "file://"+filepath.Join(s.dir, "signatures")
	}
	if s.c.fault == "refused" {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		good = "http://" + l.Addr().String()
		l.Close()
	}
	f, ok := diffWhere[where]
	if !ok {
		t.Fatalf("no place %q", where)
	}
	return f(s.n, good, decoy)
}

func overwriteFile(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// diffAnswer is a decision, and what was said about it.
type diffAnswer struct{ decision, said string }

// check asks pullgate check.
func (s *diffSite) check(t testing.TB) diffAnswer {
	t.Helper()
	r := s.gate.Command(t, "check", "--json", s.ref.String())
	var report struct{ Decision, Reference, Error string }
	if err := json.Unmarshal([]byte(r.Stdout), &report); err != nil {
		t.Fatalf("pullgate check: exit status %d: %v\n%s", r.ExitCode, err, r.Output)
	}
	if r.ExitCode == 2 && report.Reference == "" && strings.HasPrefix(report.Error, "the configuration cannot be used") {
		return diffAnswer{diffUnusableAnswer, report.Error}
	}
	if report.Reference != s.ref.String() {
		t.Fatalf("pullgate check judged %q, asked about %s", report.Reference, s.ref)
	}
	exit := map[string]int{harness.Allowed: 0, harness.Denied: 1, harness.Inconclusive: 2}
	if want, known := exit[report.Decision]; !known || want != r.ExitCode {
		t.Fatalf("pullgate check: decision %q with exit status %d\n%s", report.Decision, r.ExitCode, r.Output)
	}
	return diffAnswer{report.Decision, r.Output}
}

// ask asks an oracle.
func (s *diffSite) ask(t testing.TB, w *diffWorld, oracle string) diffAnswer {
	t.Helper()
	judge := w.library.judge
	if oracle == "skopeo" {
		judge = w.skopeo.judge
	}
	a, err := judge(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
