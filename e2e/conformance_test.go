//go:build e2e

package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/e2e/harness"
)

// conformanceSuite is the OCI distribution specification's own test program.
const conformanceSuite = "github.com/opencontainers/distribution-spec/conformance@v0.0.0-20260831232431-97274622c111"

// The pull, tags and referrers parts of the OCI conformance suite pass through
// the gate, over a registry that was filled before.
func TestConformance(t *testing.T) {
	bin := t.TempDir()
	harness.MustRun(t, []string{"GOBIN=" + bin, "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false"}, harness.Require(t, "go"), "install", conformanceSuite)

	reg := harness.NewGoRegistry(t)
	const repo = "conformance/repo1"
	image, index := harness.NewImage(t, "conformance"), harness.NewMultiArch(t, "conformance index")
	reg.Push(t, repo, "image", image)
	reg.Push(t, repo, "another", harness.NewDockerImage(t, "conformance docker"))
	reg.Push(t, repo, "index", index)
	subject := v1.Descriptor{MediaType: image.MediaType, Digest: image.Digest, Size: int64(len(image.Manifest))}
	artifact := harness.NewArtifact(t, "application/vnd.example.sbom", "application/vnd.example.sbom+json", []byte(`{"sbom":true}`), &subject)
	reg.Push(t, repo, "", artifact)

	var blobs, manifests []string
	for _, m := range []harness.Image{image, artifact} {
		manifests = append(manifests, m.Digest.String())
		for d := range m.Blobs {
			blobs = append(blobs, d.String())
		}
	}
	manifests = append(manifests, index.Digest.String())

	for _, over := range []struct{ name, registry string }{
		{"by default registry", ""},
		{"by path", "registry.example/"},
	} {
		t.Run(over.name, func(t *testing.T) {
			g := harness.StartGate(t, harness.GateConfig{
				Upstreams: []harness.Upstream{{Registry: "registry.example", Endpoint: reg.URL}},
				Policy:    harness.PolicyFor("registry.example", harness.AcceptAnything()),
			})
			results := t.TempDir()
			out := harness.Run(t, []string{
				"OCI_REGISTRY=" + g.Addr, "OCI_TLS=disabled", "OCI_REPO1=" + over.registry + repo, "OCI_REPO2=" + over.registry + "conformance/repo2",
				"OCI_VERSION=1.1", "OCI_API_PUSH=false", "OCI_API_BLOBS_DELETE=false", "OCI_API_MANIFESTS_DELETE=false",
				"OCI_API_TAGS_DELETE=false", "OCI_API_BLOBS_DIGEST_HEADER=true",
				"OCI_RO_DATA_TAGS=image another index", "OCI_RO_DATA_MANIFESTS=" + strings.Join(manifests, " "),
				"OCI_RO_DATA_BLOBS=" + strings.Join(blobs, " "), "OCI_RO_DATA_REFERRERS=" + image.Digest.String(),
				"OCI_RESULTS_DIR=" + results,
			}, filepath.Join(bin, "conformance"))
			// The verdict is in what it prints: writing its result files fails
			// after that for reasons of its own.
			for _, want := range []string{
				"OCI Conformance Result: Pass", "read-only/pull/manifest-by-tag: Pass", "read-only/pull/manifest-by-digest: Pass",
				"read-only/pull/blob-get: Pass", "read-only/head/blob-head: Pass", "read-only/tag-list: Pass", "read-only/referrers: Pass",
			} {
				if !strings.Contains(out.Output, want) {
					t.Errorf("the suite did not say %q:\n%s", want, out.Output)
				}
			}
		})
	}
}
