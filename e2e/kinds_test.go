//go:build e2e

package e2e

import (
	"strconv"
	"testing"

	"github.com/pullgate/pullgate/e2e/harness"
)

// Every kind of manifest is judged, and pulled whole, whatever its format.
func TestManifestKinds(t *testing.T) {
	s := newScene(t)
	curl := harness.NewCurl(t)
	for i, kind := range []struct {
		name string
		make func(repo, text string) harness.Image
	}{
		{"schema 1, signed", func(repo, text string) harness.Image { return harness.NewSchema1(t, repo, "v1", text, true) }},
		{"schema 1, plain", func(repo, text string) harness.Image { return harness.NewSchema1(t, repo, "v1", text, false) }},
		{"schema 2", func(_, text string) harness.Image { return harness.NewDockerImage(t, text) }},
		{"docker list", func(_, text string) harness.Image { return harness.NewDockerList(t, text) }},
		{"OCI image", func(_, text string) harness.Image { return harness.NewImage(t, text) }},
		{"OCI index", func(_, text string) harness.Image { return harness.NewMultiArch(t, text) }},
		{"index of indexes", func(_, text string) harness.Image { return harness.NewIndex(t, harness.NewMultiArch(t, text)) }},
		{"artifact", func(_, text string) harness.Image {
			return harness.NewArtifact(t, "application/vnd.example.thing", "text/plain", []byte(text), nil)
		}},
	} {
		t.Run(kind.name, func(t *testing.T) {
			for _, signed := range []bool{true, false} {
				repo := "kind" + strconv.Itoa(i) + "/" + map[bool]string{true: "signed", false: "unsigned"}[signed]
				img := kind.make(repo, repo)
				tag := harness.Tagged(honest, repo, "v1")
				if kind.name == "schema 1, plain" { // docker-registry takes only signed ones
					tag.Registry = hostile
					s.liar.Push(t, repo, "v1", img)
				} else {
					s.reg.Push(t, repo, "v1", img)
				}
				want := harness.Denied
				if signed {
					s.sign(t, s.trusted, tag, img)
					want = harness.Allowed
				}
				for _, ref := range []harness.Ref{tag, byDigest(tag, img)} {
					mark := s.gate.Mark(t)
					r := curl.Pull(t, s.gate, ref)
					s.gate.Expect(t, mark, want, ref)
					if (r.ExitCode == 0) != signed {
						t.Errorf("%s: exit status %d, expected %s\n%s", ref, r.ExitCode, want, r.Output)
					}
				}
			}
		})
	}
}

// dockerd still pulls schema 1, by tag and by the digest that leaves the
// signatures out.
func TestSchema1WithDocker(t *testing.T) {
	s, docker := newScene(t), harness.NewDocker(t)
	img := harness.NewSchema1(t, "old/app", "v1", "schema 1", true)
	tag := s.push(t, "old/app", "v1", img)
	s.pull(t, docker, expectation{byDigest(tag, img), "no signatures found"})
	s.sign(t, s.trusted, tag, img)
	s.pull(t, docker, expectation{ref: tag})
	s.pull(t, docker, expectation{ref: byDigest(tag, img)})
}
