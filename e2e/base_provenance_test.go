//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/e2e/harness"
)

const slsaV02 = "https://slsa.dev/provenance/v0.2"

// byBuildKit is the provenance that BuildKit writes with mode=min, in the versions
// that it knows; base is the package URL and digest of what stands behind FROM.
func byBuildKit(version string, about digest.Digest, base string, d digest.Digest) []byte {
	subject := fmt.Sprintf(`[{"name":"pkg:docker/registry.example/team/app@v1?platform=linux%%2F%s","digest":{"sha256":%q}}]`, harness.Arch(), about.Encoded())
	materials := fmt.Sprintf(`[{"uri":"pkg:docker/docker/dockerfile@1","digest":{"sha256":%q}},{"uri":%q,"digest":{"sha256":%q}}]`,
		digest.FromString("dockerfile").Encoded(), base+"?platform=linux%2F"+harness.Arch(), d.Encoded())
	if version == slsaV1 {
		return fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v0.1","predicateType":%q,"subject":%s,"predicate":{`+
			`"buildDefinition":{"buildType":"https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md",`+
			`"externalParameters":{"configSource":{"path":"Dockerfile"},"request":{"frontend":"gateway.v0","args":{"cmdline":"docker/dockerfile:1","source":"docker/dockerfile:1"},"locals":[{"name":"context"},{"name":"dockerfile"}]}},`+
			`"internalParameters":{"builderPlatform":"linux/amd64"},"resolvedDependencies":%s},`+
			`"runDetails":{"builder":{"id":""},"metadata":{"invocationId":"edf52vxjyf9b6o5qd7vgx0gru","startedOn":"2026-01-15T15:38:13.391980297Z","finishedOn":"2026-01-15T15:38:14.274565297Z",`+
			`"buildkit_metadata":{},"buildkit_completeness":{"request":true,"resolvedDependencies":false}}}}}`, version, subject, materials)
	}
	return fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v0.1","predicateType":%q,"subject":%s,"predicate":{`+
		`"builder":{"id":""},"buildType":"https://mobyproject.org/buildkit@v1","materials":%s,`+
		`"invocation":{"configSource":{"entryPoint":"Dockerfile"},"parameters":{"frontend":"gateway.v0","args":{"cmdline":"docker/dockerfile:1","source":"docker/dockerfile:1"},"locals":[{"name":"context"},{"name":"dockerfile"}]},"environment":{"platform":"linux/amd64"}},`+
		`"metadata":{"buildInvocationID":"edf52vxjyf9b6o5qd7vgx0gru","buildStartedOn":"2026-01-15T15:38:13.391980297Z","buildFinishedOn":"2026-01-15T15:38:14.274565297Z",`+
		`"completeness":{"parameters":true,"environment":true,"materials":false},"reproducible":false,"https://mobyproject.org/buildkit@v1#metadata":{}}}}`, version, subject, materials)
}

// byGenerator is the provenance of slsa-github-generator's container workflow: its
// only material is the source. With more it is what somebody writes who adds the base.
func byGenerator(about digest.Digest, more string) []byte {
	return fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v0.1","predicateType":%q,"subject":[{"name":"registry.example/generated/app","digest":{"sha256":%q}}],"predicate":{`+
		`"builder":{"id":"https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_container_slsa3.yml@refs/tags/v2.1.0"},`+
		`"buildType":"https://github.com/slsa-framework/slsa-github-generator/container@v1",`+
		`"invocation":{"configSource":{"uri":"git+https://github.com/acme/app@refs/tags/v1","digest":{"sha1":"24acc49548454b2f21a01a85d3357fc1858abdf4"},"entryPoint":".github/workflows/release.yaml"},`+
		`"parameters":{},"environment":{"github_actor":"acme","github_event_name":"push","github_run_attempt":"1"}},`+
		`"metadata":{"buildInvocationID":"2974712508-1","completeness":{"parameters":true,"environment":false,"materials":false},"reproducible":false},`+
		`"materials":[{"uri":"git+https://github.com/acme/app@refs/tags/v1","digest":{"sha1":"24acc49548454b2f21a01a85d3357fc1858abdf4"}}%s]}}`,
		slsaV02, about.Encoded(), more)
}

// TestBaseByProvenance: images without annotations whose provenance says on what they
// are built, as builders write it and where they put it.
func TestBaseByProvenance(t *testing.T) {
	const registry, base = "registry.example", "registry.example/base/os"
	ring, cosign := harness.NewGPG(t).Key(t, harness.Ed25519), harness.NewSigstoreKey(t)
	reg, sigs := harness.NewGoRegistry(t), harness.NewWebLookaside(t)
	os := harness.NewImage(t, "the base")
	reg.Push(t, "base/os", "9", os)
	sigs.Put(t, "base/os", os.Digest, ring.Sign(t, base+":9", os.Digest))

	onBase := harness.Requirement{"type": "signedBaseLayer", "baseLayerIdentity": map[string]any{"type": "exactRepository", "dockerRepository": base}}
	attested := harness.Requirement{"type": "attested", "predicateType": slsaV02, "condition": "size(predicate.materials) > 0",
		"signedBy": map[string]any{"keyData": cosign.Public(t)}}
	w := &vectorWorld{gate: harness.StartGate(t, harness.GateConfig{
		Upstreams: []harness.Upstream{{Registry: registry, Endpoint: reg.URL}},
		Policy: harness.Policy{Default: all(harness.Reject())}.With(base, ring.SignedBy(t)).
			With(registry+"/team", onBase).With(registry+"/generated", onBase, attested),
		RegistriesD: harness.RegistriesD{registry: {Lookaside: sigs.URL}},
	})}
	curl := harness.NewCurl(t)
	att := func(repo string, img harness.Image, envelope []byte) {
		m := harness.NewArtifact(t, "", "application/vnd.dsse.envelope.v1+json", envelope, nil)
		reg.Push(t, repo, strings.Replace(img.Digest.String(), ":", "-", 1)+".att", m)
	}
	material := func(uri string) string {
		return fmt.Sprintf(`,{"uri":%q,"digest":{"sha256":%q}}`, uri, os.Digest.Encoded())
	}

	for name, c := range map[string]struct {
		// push puts the image into repo as v1 and returns the document that names the base.
		push func(repo string, img harness.Image) []byte
		repo string
		onto harness.Image
		want string
	}{
		"BuildKit": {func(repo string, img harness.Image) []byte {
			p := byBuildKit(slsaV02, img.Digest, "pkg:docker/"+base+"@9", os.Digest)
			reg.Push(t, repo, "v1", harness.NewBuildKitIndex(t, img, false, slsaV02, p))
			return p
		}, "team/buildkit", os, ""},
		"BuildKit, OCI artifact": {func(repo string, img harness.Image) []byte {
			p := byBuildKit(slsaV1, img.Digest, "pkg:docker/"+base+"@9", os.Digest)
			reg.Push(t, repo, "v1", harness.NewBuildKitIndex(t, img, true, slsaV1, p))
			return p
		}, "team/artifact", os, ""},
		"BuildKit, not contained": {func(repo string, img harness.Image) []byte {
			p := byBuildKit(slsaV1, img.Digest, "pkg:docker/"+base+"@9", os.Digest)
			reg.Push(t, repo, "v1", harness.NewBuildKitIndex(t, img, false, slsaV1, p))
			return p
		}, "team/claimed", harness.NewImage(t, "another base"), "is among the image's 2: the image is not built on it, or was squashed"},
		"generator": {func(repo string, img harness.Image) []byte {
			reg.Push(t, repo, "v1", img)
			p := cosign.Attest(t, byGenerator(img.Digest, ""))
			att(repo, img, p)
			return p
		}, "generated/source", os, "names none either, but git+https://github.com/acme/app@refs/tags/v1"},
		"generator and base": {func(repo string, img harness.Image) []byte {
			reg.Push(t, repo, "v1", img)
			p := cosign.Attest(t, byGenerator(img.Digest, material("docker://"+base+":9")))
			att(repo, img, p)
			return p
		}, "generated/app", os, ""},
		"about another image": {func(repo string, img harness.Image) []byte {
			reg.Push(t, repo, "v1", img)
			p := cosign.Attest(t, byGenerator(os.Digest, material("docker://"+base+":9")))
			att(repo, img, p)
			return p
		}, "generated/moved", os, "it is about another image"},
		"no provenance": {func(repo string, img harness.Image) []byte {
			reg.Push(t, repo, "v1", img)
			return nil
		}, "team/silent", os, "no SLSA provenance found at"},
	} {
		t.Run(name, func(t *testing.T) {
			document := c.push(c.repo, harness.NewImageOn(t, c.onto, name))
			ref := harness.Tagged(registry, c.repo, "v1")
			report, mark := w.check(t, ref), w.gate.Mark(t)
			pull := curl.Pull(t, w.gate, ref)
			if (report.Decision == "allowed") != (c.want == "") || (pull.ExitCode == 0) != (c.want == "") || !strings.Contains(report.found(), c.want) {
				b, _ := json.MarshalIndent(report, "", " ")
				t.Fatalf("expected a reason with %q, found %s\npull: exit status %d: %s", c.want, b, pull.ExitCode, pull.Output)
			}
			decision := map[bool]string{true: harness.Allowed, false: harness.Denied}[c.want == ""]
			rec := w.gate.Expect(t, mark, decision, ref)
			if c.want == "" && (!slices.Contains(rec.Evidence, digest.FromBytes(document).String()) || !slices.Contains(rec.Evidence, os.Digest.String())) {
				t.Errorf("expected the provenance and the base in the audit record, found %v", rec.Evidence)
			}
		})
	}
}
