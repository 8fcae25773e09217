//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/pullgate/pullgate/e2e/harness"
)

// Where the vectors are: an image layout for each repository, and the public keys,
// certificates and revocation lists of their signers.
const (
	vectorImages = "testdata/vectors/images"
	vectorTrust  = "testdata/vectors/trust"
)

// vectorSigners names the directory of the signers; when it is set the vectors are
// made anew. deploy/test-vectors.sh sets it.
const vectorSigners = "PULLGATE_SIGNERS"

// Predicates of the attestations.
const (
	provenance = `{"buildDefinition":{"buildType":"https://acme.example/build/v1",` +
		`"externalParameters":{"repository":"https://github.com/acme/app","ref":"refs/heads/main"},"internalParameters":{},` +
		`"resolvedDependencies":[{"uri":"git+https://github.com/acme/app","digest":{"gitCommit":"0123456789abcdef0123456789abcdef01234567"}}]},` +
		`"runDetails":{"builder":{"id":"https://acme.example/builder"},"metadata":{"invocationId":"1"}}}`
	scan = `{"invocation":{"parameters":null,"uri":"","event_id":"","builder.id":""},` +
		`"scanner":{"uri":"https://acme.example/scanner","version":"1.2.3","db":{"uri":"","version":""},` +
		`"result":{"critical":0,"high":2,"findings":["CVE-2026-0001","CVE-2026-0002"]}},` +
		`"metadata":{"scanStartedOn":"2026-01-01T00:00:00Z","scanFinishedOn":"2026-01-01T00:01:00Z"}}`
)

// vectorRecipe makes one vector.
type vectorRecipe struct {
	name string
	// api: in a registry with the referrers API, so that the signer leaves no tag
	// for want of it.
	api   bool
	index bool // an index of two platforms, of which the index is signed
	sign  []harness.VectorSigner
}

func attestBoth(attest func(command, key string, more ...string) harness.VectorSigner) []harness.VectorSigner {
	var out []harness.VectorSigner
	for kind, predicate := range map[string]string{"slsaprovenance1": provenance, "vuln": scan} {
		out = append(out, func(t testing.TB, s *harness.Signers, image string) {
			attest("attest", "cosign", s.Predicate(t, kind, predicate)...)(t, s, image)
		})
	}
	return out
}

func vectorRecipes() []vectorRecipe {
	one := func(s ...harness.VectorSigner) []harness.VectorSigner { return s }
	return []vectorRecipe{
		// First: its certificate ends soon.
		{"notation-expired", true, false, one(harness.Notation("jws", "short"))},
		{"notation-timestamped", true, false, one(harness.NotationTimestamped("cose", "short"))},
		{"notation-jws", true, false, one(harness.Notation("jws", "build"))},
		{"notation-cose", true, false, one(harness.Notation("cose", "build"))},
		{"notation-fallback", false, false, one(harness.Notation("jws", "build"))},
		{"unsigned", false, false, nil},
		{"cosign2-key", false, false, one(harness.Cosign2("sign", "cosign"))},
		{"cosign2-index", false, true, one(harness.Cosign2("sign", "cosign"))},
		{"cosign2-attest", false, false, attestBoth(harness.Cosign2)},
		{"cosign2-keyless", false, false, one(harness.Cosign2Keyless())},
		{"cosign2-referrer", true, false, one(harness.Cosign2Referrer("cosign"))},
		{"cosign3-key", true, false, one(harness.Cosign3("sign", "cosign"))},
		{"cosign3-fallback", false, false, one(harness.Cosign3("sign", "cosign"))},
		{"cosign3-index", true, true, one(harness.Cosign3("sign", "cosign"))},
		{"cosign3-two-keys", true, false, one(harness.Cosign3("sign", "other"), harness.Cosign3("sign", "cosign"))},
		{"cosign3-attest", true, false, attestBoth(harness.Cosign3)},
		{"cosign3-attest-fallback", false, false, attestBoth(harness.Cosign3)},
		{"cosign3-timestamped", true, false, attestBoth(harness.Cosign3Timestamped)},
		{"cosign3-keyless", true, false, one(harness.Cosign3Keyless("sign"))},
		{"cosign3-attest-keyless", false, false, one(func(t testing.TB, s *harness.Signers, image string) {
			harness.Cosign3Keyless("attest", s.Predicate(t, "slsaprovenance1", provenance)...)(t, s, image)
		})},
		{"everything", true, false, append(attestBoth(harness.Cosign3),
			harness.Cosign2("sign", "cosign"), harness.Cosign3("sign", "cosign"), harness.Notation("cose", "build"))},
	}
}

// makeVectors replaces the vectors by new ones when it is asked to.
func makeVectors(t *testing.T) {
	bin := os.Getenv(vectorSigners)
	if bin == "" {
		return
	}
	for _, dir := range []string{vectorImages, vectorTrust} {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	s := harness.NewSigners(t, bin, vectorTrust)
	withAPI, without := harness.NewGoRegistry(t), harness.NewDockerRegistry(t)
	for _, r := range vectorRecipes() {
		reg, img := without, harness.NewImage(t, r.name)
		if r.api {
			reg = withAPI
		}
		if r.index {
			img = harness.NewMultiArch(t, r.name)
		}
		reg.Push(t, r.name, "v1", img)
		for _, sign := range r.sign {
			sign(t, s, reg.Addr+"/"+r.name+"@"+img.Digest.String())
		}
		harness.CopyVector(t, reg, r.name).Save(t, filepath.Join(vectorImages, r.name))
	}
	s.Expire()
}
