//go:build e2e

package e2e

import (
	"crypto/tls"
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

// TestTLS serves the registry API by HTTPS, to clients with a certificate only,
// and refuses over HTTP/2, which has no reason phrase, with a whole answer.
func TestTLS(t *testing.T) {
	reg := harness.NewGoRegistry(t)
	image := harness.NewImage(t, "secret")
	reg.Push(t, "team/app", "v1", image)
	pki := harness.NewPKI(t)
	g := harness.StartGate(t, harness.GateConfig{
		Upstreams: []harness.Upstream{{Registry: "registry.example", Endpoint: reg.URL}},
		TLS:       pki,
	})
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		c := pki.Client(t, proto == "HTTP/2.0")
		resp, err := c.Get("https://" + g.Addr + "/v2/team/app/manifests/v1")
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.Proto != proto || resp.StatusCode != http.StatusForbidden || !strings.Contains(string(b), `"DENIED"`) {
			t.Errorf("%s: found %s %s %s %v", proto, resp.Proto, resp.Status, b, err)
		}
		if proto == "HTTP/1.1" && !strings.Contains(resp.Status, "Denied by image policy default") {
			t.Errorf("expected the reason in the status line, found %q", resp.Status)
		}
	}
	bare := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pki.Pool}}}
	if resp, err := bare.Get("https://" + g.Addr + "/v2/"); err == nil {
		resp.Body.Close()
		t.Error("a client without a certificate was answered")
	}
	old := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pki.Pool, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}}}
	if resp, err := old.Get("https://" + g.Addr + "/v2/"); err == nil {
		resp.Body.Close()
		t.Error("TLS 1.1 was accepted")
	}
}
