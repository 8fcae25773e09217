//go:build e2e

package e2e

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/e2e/harness"
)

const (
	honest  = "registry.example" // docker-registry
	hostile = "hostile.example"  // a registry that lies
)

// scene is one gate between all the images of the matrix and all clients. Each
// case has a repository of its own.
type scene struct {
	gate    *harness.Gate
	reg     *harness.Registry
	liar    *liar
	sigs    *harness.Lookaside
	trusted *harness.Key
	wrong   *harness.Key
}

func newScene(t *testing.T) *scene {
	t.Helper()
	ring := harness.NewGPG(t)
	s := &scene{
		reg: harness.NewDockerRegistry(t), liar: newLiar(t), sigs: harness.NewWebLookaside(t),
		trusted: ring.Key(t, harness.RSA3072), wrong: ring.Key(t, harness.Ed25519),
	}
	s.gate = harness.StartGate(t, harness.GateConfig{
		Upstreams: []harness.Upstream{
			{Registry: honest, Endpoint: s.reg.URL},
			{Registry: hostile, Endpoint: s.liar.URL},
		},
		Policy: harness.PolicyFor(honest, s.trusted.SignedBy(t)).With(hostile, s.trusted.SignedBy(t)),
		RegistriesD: harness.RegistriesD{
			honest:  {Lookaside: s.sigs.URL},
			hostile: {Lookaside: s.sigs.URL},
		},
	})
	return s
}

// push puts an image into the honest registry.
func (s *scene) push(t *testing.T, repo, tag string, img harness.Image) harness.Ref {
	t.Helper()
	s.reg.Push(t, repo, tag, img)
	return harness.Tagged(honest, repo, tag)
}

// sign puts a signature by key over img, for the name that it is published under.
func (s *scene) sign(t *testing.T, key *harness.Key, ref harness.Ref, images ...harness.Image) {
	t.Helper()
	for _, img := range images {
		s.sigs.Put(t, ref.Repository, img.Digest, key.Sign(t, ref.String(), img.Digest))
	}
}

// byDigest is the same repository, asked for by the image's digest.
func byDigest(ref harness.Ref, img harness.Image) harness.Ref {
	return harness.Digested(ref.Registry, ref.Repository, img.Digest)
}

// The expectation of a pull: allowed, or denied with this in the reason.
type expectation struct {
	ref    harness.Ref
	denied string // empty: allowed
}

func allowed(ref harness.Ref) []expectation { return []expectation{{ref: ref}} }

func denied(reason string, ref harness.Ref) []expectation { return []expectation{{ref, reason}} }

// stories are the cases of the matrix. Each prepares its images in a repository
// that is new for each client, and says what must become of the pulls.
var stories = []struct {
	name string
	tell func(t *testing.T, s *scene, repo string) []expectation
}{
	{"signed tag", func(t *testing.T, s *scene, repo string) []expectation {
		img := harness.NewImage(t, repo)
		ref := s.push(t, repo, "v1", img)
		s.sign(t, s.trusted, ref, img)
		return allowed(ref)
	}},
	{"signed digest", func(t *testing.T, s *scene, repo string) []expectation {
		img := harness.NewImage(t, repo)
		ref := s.push(t, repo, "v1", img)
		s.sign(t, s.trusted, ref, img)
		return allowed(byDigest(ref, img))
	}},
	{"signed digest whose tag moved", func(t *testing.T, s *scene, repo string) []expectation {
		img := harness.NewImage(t, repo)
		ref := s.push(t, repo, "v1", img)
		s.sign(t, s.trusted, ref, img)
		s.push(t, repo, "v1", harness.NewImage(t, repo+" moved"))
		return append(allowed(byDigest(ref, img)), denied("no signatures found", ref)...)
	}},
	{"signed docker schema 2", func(t *testing.T, s *scene, repo string) []expectation {
		img := harness.NewDockerImage(t, repo)
		ref := s.push(t, repo, "v1", img)
		s.sign(t, s.trusted, ref, img)
		return allowed(ref)
	}},
	{"signed index and platforms", func(t *testing.T, s *scene, repo string) []expectation {
		img := harness.NewMultiArch(t, repo)
		ref := s.push(t, repo, "v1", img)
		s.sign(t, s.trusted, ref, append(img.Children, img)...)
		return allowed(ref)
	}},
	{"signed index only", func(t *testing.T, s *scene, repo string) []expectation {
		img := harness.NewMultiArch(t, repo)
		ref := s.push(t, repo, "v1", img)
		s.sign(t, s.trusted, ref, img)
		return allowed(ref)
	}},
	{"signed index by digest", func(t *testing.T, s *scene, repo string) []expectation {
		img := harness.NewMultiArch(t, repo)
		ref := s.push(t, repo, "v1", img)
		s.sign(t, s.trusted, ref, img)
		return allowed(byDigest(ref, img))
	}},
	{"signed platforms only", func(t *testing.T, s *scene, repo string) []expectation {
		img := harness.NewMultiArch(t, repo)
		ref := s.push(t, repo, "v1", img)
		s.sign(t, s.trusted, ref, img.Children...)
		return allowed(ref)
	}},
	{"signed docker list", func(t *testing.T, s *scene, repo string) []expectation {
		img := harness.NewDockerList(t, repo)
		ref := s.push(t, repo, "v1", img)
		s.sign(t, s.trusted, ref, img)
		return allowed(ref)
	}},
	{"unsigned tag", func(t *testing.T, s *scene, repo string) []expectation {
		return denied("no signatures found", s.push(t, repo, "v1", harness.NewImage(t, repo)))
	}},
	{"unsigned digest", func(t *testing.T, s *scene, repo string) []expectation {
		img := harness.NewImage(t, repo)
		return denied("no signatures found", byDigest(s.push(t, repo, "v1", img), img))
	}},
	{"unsigned index", func(t *testing.T, s *scene, repo string) []expectation {
		return denied("no signatures found", s.push(t, repo, "v1", harness.NewMultiArch(t, repo)))
	}},
	{"one platform unsigned", func(t *testing.T, s *scene, repo string) []expectation {
		img := harness.NewMultiArch(t, repo)
		ref := s.push(t, repo, "v1", img)
		s.sign(t, s.trusted, ref, img.Children[0])
		return denied("no signatures found", ref)
	}},
	{"wrong key", func(t *testing.T, s *scene, repo string) []expectation {
		img := harness.NewImage(t, repo)
		ref := s.push(t, repo, "v1", img)
		s.sign(t, s.wrong, ref, img)
		return denied("which this scope does not trust", ref)
	}},
	{"signed for another repository", func(t *testing.T, s *scene, repo string) []expectation {
		img := harness.NewImage(t, repo)
		ref := s.push(t, repo, "v1", img)
		s.sigs.Put(t, repo, img.Digest, s.trusted.Sign(t, honest+"/other:v1", img.Digest))
		return append(denied("signature is for "+honest+"/other:v1", ref), denied("signature is for "+honest+"/other:v1", byDigest(ref, img))...)
	}},
	{"signed image under another tag", func(t *testing.T, s *scene, repo string) []expectation {
		img := harness.NewImage(t, repo)
		ref := s.push(t, repo, "v1", img)
		s.sign(t, s.trusted, ref, img)
		return append(denied("signature is for "+ref.String(), s.push(t, repo, "v2", img)), allowed(ref)...)
	}},
	{"altered after signing", func(t *testing.T, s *scene, repo string) []expectation {
		img := harness.NewImage(t, repo)
		altered := harness.WithAnnotation(t, img, "altered", "yes")
		ref := s.push(t, repo, "v1", altered)
		s.sigs.Put(t, repo, altered.Digest, s.trusted.Sign(t, ref.String(), img.Digest))
		return denied("signature is for digest "+img.Digest.String(), ref)
	}},
	{"other bytes for a signed digest", func(t *testing.T, s *scene, repo string) []expectation {
		img := harness.NewImage(t, repo)
		ref := s.liar.push(t, repo, "v1", img, harness.WithAnnotation(t, img, "altered", "yes"))
		s.sign(t, s.trusted, ref, img)
		return denied("other bytes", byDigest(ref, img))
	}},
	{"honest HEAD, other bytes on GET", func(t *testing.T, s *scene, repo string) []expectation {
		img := harness.NewImage(t, repo)
		ref := s.liar.push(t, repo, "v1", img, harness.WithAnnotation(t, img, "altered", "yes"))
		s.sign(t, s.trusted, ref, img)
		return denied("other bytes", ref)
	}},
}

// Every client gets every story. A denial counts when the client fails and the
// audit log says why; an admission when the client succeeds, the audit log says
// so and nothing was denied on the way.
func TestMatrix(t *testing.T) {
	s := newScene(t)
	for _, c := range harness.Clients {
		t.Run(c.Name, func(t *testing.T) {
			client := c.New(t)
			for i, story := range stories {
				t.Run(story.name, func(t *testing.T) {
					for _, want := range story.tell(t, s, c.Name+"/story"+strconv.Itoa(i)) {
						s.pull(t, client, want)
					}
				})
			}
			t.Run("moved tag", func(t *testing.T) { s.movedTag(t, client) })
		})
	}
}

// movedTag: an image that was pulled before is replaced by an unsigned one under
// the same tag.
func (s *scene) movedTag(t *testing.T, client harness.Client) {
	repo := client.Name() + "/moved"
	img := harness.NewImage(t, repo)
	ref := s.push(t, repo, "v1", img)
	s.sign(t, s.trusted, ref, img)
	s.pull(t, client, expectation{ref: ref})
	s.push(t, repo, "v1", harness.NewImage(t, repo+" moved"))
	s.pull(t, client, expectation{ref, "no signatures found"})
}

// pull makes one pull and holds its outcome against the expectation.
func (s *scene) pull(t *testing.T, client harness.Client, want expectation) {
	t.Helper()
	mark := s.gate.Mark(t)
	r := client.Pull(t, s.gate, want.ref)
	if want.denied == "" && want.ref.Registry == honest {
		s.expectAllowed(t, r, mark, want.ref)
		return
	}
	if r.ExitCode == 0 {
		t.Fatalf("%s was pulled, expected a denial; audit log:\n%s", want.ref, s.gate.Since(t, mark))
	}
	rec := s.gate.Expect(t, mark, harness.Denied, want.ref)
	if reasons := strings.Join(rec.Reasons, "\n"); len(rec.Reasons) == 0 || !strings.Contains(reasons, want.denied) {
		t.Errorf("audit record gives %q, expected %q", reasons, want.denied)
	}
	if s.gate.Since(t, mark).Decisions(harness.Allowed) > 0 {
		t.Errorf("something was allowed on the way:\n%s", s.gate.Since(t, mark))
	}
	expectMessage(t, client, r, rec, want)
}

func (s *scene) expectAllowed(t *testing.T, r harness.Result, mark harness.Mark, ref harness.Ref) {
	t.Helper()
	if r.ExitCode != 0 {
		t.Fatalf("%s: exit status %d, expected a pull\n%s\naudit log:\n%s", ref, r.ExitCode, r.Output, s.gate.Since(t, mark))
	}
	rec := s.gate.Expect(t, mark, harness.Allowed, ref)
	if len(rec.Signers) == 0 || rec.Scope != honest {
		t.Errorf("audit record names scope %q and signers %v", rec.Scope, rec.Signers)
	}
	if s.gate.Since(t, mark).Decisions(harness.Denied) > 0 {
		t.Errorf("something was denied on the way:\n%s", s.gate.Since(t, mark))
	}
}

// expectMessage holds what people see against what they should: the policy's
// words, in the wrapping that each client is known for.
func expectMessage(t *testing.T, client harness.Client, r harness.Result, rec harness.Record, want expectation) {
	t.Helper()
	wrapping := map[string]string{
		"docker": "manifest unverified: ", "containerd": "403 Denied by image policy " + rec.Scope,
		"podman": "denied", "buildah": "denied", "skopeo": "denied", "curl": "403 Denied by image policy " + rec.Scope,
	}[client.Name()]
	if rec.Status != http.StatusForbidden {
		wrapping = strconv.Itoa(rec.Status) // a registry that lies is no matter of policy
		if rec.Status != http.StatusBadGateway {
			t.Errorf("status %d, expected 403 or 502", rec.Status)
		}
	}
	for _, part := range []string{wrapping, want.denied} {
		if !strings.Contains(r.Output, part) {
			t.Errorf("%s does not say %q:\n%s", client.Name(), part, r.Output)
		}
	}
}
