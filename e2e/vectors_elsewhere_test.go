//go:build e2e

package e2e

import (
	"net/http"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/e2e/harness"
)

// signatures is the registry that holds evidence about other registries' images.
const signatures = "sigs.example"

// imageOf is the image of a vector without the evidence about it.
func imageOf(v harness.Vector) harness.Image {
	img := v.Manifests[v.Tags["v1"]]
	img.Blobs = map[digest.Digest][]byte{}
	for d, b := range v.Blobs {
		if strings.Contains(string(img.Manifest), d.String()) {
			img.Blobs[d] = b
		}
	}
	return img
}

// Evidence that lies in another registry, as cosign puts it there with
// COSIGN_REPOSITORY, counts where the configuration says so and nowhere else. While
// that registry is down nobody can tell.
func TestVectorsInSignatureRepository(t *testing.T) {
	for _, c := range []struct {
		vector  string
		require harness.Requirement
	}{
		{"cosign2-key", bundleSigned(t, "cosign.pub")},
		{"cosign3-key", bundleSigned(t, "cosign.pub")},
		{"cosign3-fallback", bundleSigned(t, "cosign.pub")},
		{"cosign2-attest", attested(t, "cosign.pub", slsaV1, "")},
		{"notation-jws", notationSigned(t, "ca.crt", builder)},
	} {
		t.Run(c.vector, func(t *testing.T) {
			images, evidence := harness.NewGoRegistry(t), harness.NewDockerRegistry(t)
			var down atomic.Bool
			if madeWithAPI(c.vector) {
				evidence = harness.NewGoRegistry(t)
			}
			v := harness.LoadVector(t, filepath.Join(vectorImages, c.vector))
			v.Replay(t, evidence, "team/signatures")
			at, err := url.Parse(evidence.URL)
			if err != nil {
				t.Fatal(err)
			}
			toEvidence := httputil.NewSingleHostReverseProxy(at)
			front := harness.NewUpstream(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if down.Load() {
					w.WriteHeader(http.StatusBadGateway)
					return
				}
				toEvidence.ServeHTTP(w, r)
			}))
			ref := harness.Tagged(honest, "team/app", "v1")
			images.Push(t, ref.Repository, "v1", imageOf(v))
			config := harness.GateConfig{
				Upstreams: []harness.Upstream{{Registry: honest, Endpoint: images.URL}, {Registry: signatures, Endpoint: front.URL}},
				Policy:    harness.PolicyFor(honest, c.require),
			}
			skopeo := harness.NewSkopeo(t)

			beside := harness.StartGate(t, config)
			mark := beside.Mark(t)
			if r := skopeo.Pull(t, beside, ref); r.ExitCode == 0 {
				t.Error("without a signature repository the image has to be denied")
			}
			beside.Expect(t, mark, harness.Denied, ref)

			config.Extra = "signature_repositories: [{scope: " + honest + "/team, repository: " + signatures + "/team/signatures}]"
			gate := harness.StartGate(t, config)
			down.Store(true)
			mark = gate.Mark(t)
			if status, _ := fetch(t, gate.URL+"/v2/"+honest+"/team/app/manifests/v1"); status != http.StatusServiceUnavailable {
				t.Errorf("while the signature repository is down: expected status 503, found %d", status)
			}
			gate.Expect(t, mark, harness.Inconclusive, ref)
			down.Store(false)
			mark = gate.Mark(t)
			if r := skopeo.Pull(t, gate, ref); r.ExitCode != 0 {
				t.Errorf("expected the image to be allowed: %s", r.Output)
			}
			gate.Expect(t, mark, harness.Allowed, ref)
			if out := gate.Command(t, "policy", "explain", ref.String()); !strings.Contains(out.Stdout, signatures+"/team/signatures") {
				t.Errorf("expected policy explain to name the signature repository: %s", out.Output)
			}
		})
	}
}
