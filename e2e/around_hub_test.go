//go:build e2e

package e2e

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/e2e/harness"
)

// visitor is an HTTP client at a vantage of a Hub, which follows no redirects.
func visitor(t *testing.T, n *harness.Namespace, h *harness.Hub, v *harness.Vantage) *http.Client {
	t.Helper()
	tr := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: h.CA.Pool},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			host, port, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			return n.Dial(ctx, network, net.JoinHostPort(v.Addrs[host].String(), port))
		},
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// ask makes a GET with a token, when there is one, and returns the answer and its body.
func ask(t *testing.T, c *http.Client, url, token string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return send(t, c, req)
}

func send(t *testing.T, c *http.Client, req *http.Request) (*http.Response, string) {
	t.Helper()
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

// tokenFor asks the token server for a repository, as a user when one is given.
func tokenFor(t *testing.T, c *http.Client, repository, user, password string) (token string, status int) {
	t.Helper()
	url := "https://" + harness.HubTokens + "/token?service=registry.docker.io&scope=repository:" + repository + ":pull"
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if user != "" {
		req.SetBasicAuth(user, password)
	}
	resp, body := send(t, c, req)
	var answer struct{ Token string }
	if resp.StatusCode == http.StatusOK {
		if err := json.Unmarshal([]byte(body), &answer); err != nil {
			t.Fatal(err)
		}
	}
	return answer.Token, resp.StatusCode
}

// The Hub of the tests is as strict as Docker Hub: what a client gets from it
// without the gate, it would get from Docker Hub.
func TestHubHandsOutWhatItsTokensAreFor(t *testing.T) {
	n := harness.NewNamespace(t)
	h := harness.NewHub(t, n)
	v, other := h.NewVantage(t, "visitor"), h.NewVantage(t, "other")
	c := visitor(t, n, h, v)
	img := harness.NewImage(t, "an image")
	for _, repo := range []string{"team/app", "private/app"} {
		h.Docker.Push(t, repo, "v1", img)
	}
	manifest := func(repo string) string { return "https://" + harness.HubRegistry + "/v2/" + repo + "/manifests/v1" }

	resp, _ := ask(t, c, manifest("team/app"), "")
	want := `Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:team/app:pull"`
	if got := resp.Header.Get("Www-Authenticate"); resp.StatusCode != http.StatusUnauthorized || got != want {
		t.Errorf("without a token: status %d, challenge %s; expected 401 and %s", resp.StatusCode, got, want)
	}
	if _, status := tokenFor(t, c, "team/app", "alice", "wrong"); status != http.StatusUnauthorized {
		t.Errorf("token for a wrong password: status %d, expected 401", status)
	}
	for _, tt := range []struct {
		tokenRepo, user, repo string
		status                int
	}{
		{"team/app", "", "team/app", http.StatusOK},
		{"team/other", "", "team/app", http.StatusUnauthorized},
		{"private/app", "", "private/app", http.StatusUnauthorized},
		{"private/app", "alice", "private/app", http.StatusOK},
		{"team/app", "alice", "private/app", http.StatusUnauthorized},
	} {
		token, _ := tokenFor(t, c, tt.tokenRepo, tt.user, "secret of alice")
		resp, body := ask(t, c, manifest(tt.repo), token)
		if resp.StatusCode != tt.status {
			t.Errorf("%s with a token of %q for %s: status %d, expected %d", tt.repo, tt.user, tt.tokenRepo, resp.StatusCode, tt.status)
		}
		if tt.status == http.StatusOK && body != string(img.Manifest) {
			t.Errorf("%s: other bytes than pushed", tt.repo)
		}
	}
	blobFromCDN(t, c, img)

	if got := v.Traffic(); got.Connections == 0 || len(got.Requests) == 0 || got.Requests[0].Host != harness.HubRegistry {
		t.Errorf("counted %s", got)
	}
	if got := other.Traffic(); got.Connections != 0 || len(got.Requests) != 0 {
		t.Errorf("somebody else's requests were counted: %s", got)
	}
}

// blobFromCDN follows a blob to the CDN, which has nothing else.
func blobFromCDN(t *testing.T, c *http.Client, img harness.Image) {
	t.Helper()
	token, _ := tokenFor(t, c, "team/app", "", "")
	for d, blob := range img.Blobs {
		resp, _ := ask(t, c, "https://"+harness.HubRegistry+"/v2/team/app/blobs/"+d.String(), token)
		at, err := resp.Location()
		if err != nil || resp.StatusCode != http.StatusTemporaryRedirect || at.Host != harness.HubCDN {
			t.Fatalf("blob: status %d, location %v (%v); expected a redirect to the CDN", resp.StatusCode, at, err)
		}
		if resp, body := ask(t, c, at.String(), ""); resp.StatusCode != http.StatusOK || body != string(blob) {
			t.Errorf("blob from the CDN: status %d, %d bytes; expected %d", resp.StatusCode, len(body), len(blob))
		}
		bare, _, _ := strings.Cut(at.String(), "?")
		if resp, _ := ask(t, c, bare, ""); resp.StatusCode != http.StatusForbidden {
			t.Errorf("blob without its signature: status %d, expected 403", resp.StatusCode)
		}
	}
	if resp, _ := ask(t, c, "https://"+harness.HubCDN+"/v2/team/app/manifests/v1", token); resp.StatusCode != http.StatusForbidden {
		t.Errorf("manifest from the CDN: status %d, expected 403", resp.StatusCode)
	}
}

// Without a gate, everything arrives, and is counted: a pull that fails in a
// closed mode fails because of the gate.
func TestEverythingArrivesWithoutAGate(t *testing.T) {
	w := harness.NewWorld(t, nil)
	for _, client := range nativeClients() {
		t.Run(string(client.Kind()), func(t *testing.T) {
			node := w.NewNode(t, t.Name(), "", client)
			client.Start(t, node)
			unsigned := w.Push(t, "docker.io", "without/"+strings.ReplaceAll(string(client.Kind()), " ", "-"), "v1", harness.NewImage(t, t.Name()), false)
			canary := harness.Tagged(harness.CanaryRegistry, "canary/unsigned", "any")
			example := w.Push(t, harness.ExampleRegistry, "without/"+string(client.Kind()), "v1", harness.NewImage(t, t.Name()), false)
			for _, ref := range []harness.Ref{unsigned, canary, example} {
				before := node.Around()
				if r := client.Pull(t, node, ref.String()); r.ExitCode != 0 {
					t.Errorf("%s: exit status %d\n%s", ref, r.ExitCode, r.Output)
				}
				if got := node.AroundSince(before); got.Connections == 0 || len(got.Requests) == 0 {
					t.Errorf("%s arrived, and counted were %s", ref, got)
				}
			}
		})
	}
}
