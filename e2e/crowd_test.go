//go:build e2e

package e2e

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pullgate/pullgate/e2e/harness"
)

// TestCrowd sends a thousand clients to one tag that the gate has not seen: the
// registry is asked once, the signatures are judged once, and each client's
// decision is in the audit log.
func TestCrowd(t *testing.T) {
	const clients = 1000
	key := harness.NewGPG(t).Key(t, harness.Ed25519)
	reg, sigs := harness.NewGoRegistry(t), harness.NewWebLookaside(t)
	image := harness.NewImage(t, "wanted by many")
	reg.Push(t, "team/app", "v1", image)
	sigs.Put(t, "team/app", image.Digest, key.Sign(t, "registry.example/team/app:v1", image.Digest))
	g := harness.StartGate(t, harness.GateConfig{
		Upstreams:   []harness.Upstream{{Registry: "registry.example", Endpoint: reg.URL}},
		Policy:      harness.PolicyFor("registry.example", key.SignedBy(t)),
		RegistriesD: harness.RegistriesD{"": {Lookaside: sigs.URL}},
		TagsTTL:     time.Minute,
	})
	reg.ForgetRequests()

	var wg sync.WaitGroup
	start := make(chan struct{})
	bad := make(chan string, clients)
	for range clients {
		wg.Go(func() {
			<-start
			resp, err := http.Get(g.URL + "/v2/team/app/manifests/v1")
			if err != nil {
				bad <- err.Error()
				return
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != http.StatusOK || string(b) != string(image.Manifest) {
				bad <- resp.Status
			}
		})
	}
	close(start)
	wg.Wait()
	close(bad)
	for b := range bad {
		t.Errorf("a client was answered %s", b)
	}
	var manifests []harness.Request
	for _, r := range reg.Requests() {
		if strings.Contains(r.Path, "/manifests/") {
			manifests = append(manifests, r)
		}
	}
	if len(manifests) != 1 {
		t.Errorf("expected one manifest request to the registry, found %d: %v", len(manifests), manifests)
	}
	if n := g.Metric(t, "pullgate_verifications_total"); n != 1 {
		t.Errorf("expected one verification, found %v", n)
	}
	if n := g.Audit(t).Decisions(harness.Allowed); n != clients {
		t.Errorf("expected %d records of allowed pulls, found %d", clients, n)
	}
}
