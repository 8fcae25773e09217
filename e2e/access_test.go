//go:build e2e

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/e2e/harness"
)

// Names in the tests of who may pull. Their gates accept every image: what is
// refused is refused because of who asks.
const accessRegistry = "registry.example"

var (
	teamImage   = harness.Tagged(accessRegistry, "team/app", "v1")
	publicImage = harness.Tagged(accessRegistry, "public/app", "v1")
)

// users of the gates in these tests; bob may pull what is public only.
var accessUsers = map[string]string{"alice": "alice's secret", "bob": "bob's secret"}

const accessRules = `
  rules:
    - {users: [alice], scopes: ["*"]}
    - {users: ["*"], scopes: [` + accessRegistry + `/public]}
`

// newAccessRegistry is an upstream with an image for the team and one for everybody.
func newAccessRegistry(t *testing.T) (*harness.Registry, harness.Image) {
	t.Helper()
	reg, image := harness.NewGoRegistry(t), harness.NewImage(t, t.Name())
	reg.Push(t, teamImage.Repository, teamImage.Tag, image)
	reg.Push(t, publicImage.Repository, publicImage.Tag, image)
	return reg, image
}

// startAccessGate starts a gate before the registry, with more YAML.
func startAccessGate(t *testing.T, reg *harness.Registry, extra string) *harness.Gate {
	t.Helper()
	return harness.StartGate(t, harness.GateConfig{
		Upstreams: []harness.Upstream{{Registry: accessRegistry, Endpoint: reg.URL}},
		Policy:    harness.PolicyFor(accessRegistry, harness.AcceptAnything()),
		Extra:     extra + fmt.Sprintf("\nstate_dir: %q\n", t.TempDir()),
	})
}

// accessAnswer is an answer without its body's remains.
type accessAnswer struct {
	Status, Proto, Challenge, Body string
	Code                           int
}

// accessGet asks with a client and changes of the request.
func accessGet(t *testing.T, c *http.Client, url string, change ...func(*http.Request)) accessAnswer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range change {
		f(req)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return accessAnswer{resp.Status, resp.Proto, resp.Header.Get("Www-Authenticate"), string(b), resp.StatusCode}
}

// withPassword is a request with Basic.
func withPassword(user, password string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(user, password) }
}

// withHeader is a request with a header line.
func withHeader(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

// withHost is a request to another name of the gate.
func withHost(host string) func(*http.Request) { return func(r *http.Request) { r.Host = host } }

// manifestURL is where an image's manifest is at a gate that has its registry as
// the default.
func manifestURL(g *harness.Gate, r harness.Ref) string {
	return g.URL + "/v2/" + r.Repository + "/manifests/" + r.Reference()
}

// mustPull expects the pull to work, and its record to name who asked.
func mustPull(t *testing.T, g *harness.Gate, mark harness.Mark, r harness.Result, ref harness.Ref, identity string) {
	t.Helper()
	if r.ExitCode != 0 {
		t.Errorf("%v: expected the pull to work, found exit status %d\n%s", r.Args, r.ExitCode, r.Output)
		return
	}
	if rec := g.Expect(t, mark, harness.Allowed, ref); rec.Identity != identity {
		t.Errorf("%s was allowed to %q, expected %q", ref, rec.Identity, identity)
	}
}

// mustNotPull expects the pull to fail, with the text that the client shows, and a
// record of the refusal.
func mustNotPull(t *testing.T, g *harness.Gate, mark harness.Mark, r harness.Result, shows string, refused func(harness.Record) bool) {
	t.Helper()
	if r.ExitCode == 0 {
		t.Errorf("%v: expected the pull to fail", r.Args)
		return
	}
	if !strings.Contains(r.Output, shows) {
		t.Errorf("%v: expected the client to say %q, found\n%s", r.Args, shows, r.Output)
	}
	g.ExpectRecord(t, mark, fmt.Sprintf("the refusal of %v", r.Args), refused)
}

// refusedWith says that a record is of a refusal with a status, to somebody.
func refusedWith(status int, identity string) func(harness.Record) bool {
	return func(r harness.Record) bool {
		return r.Decision == harness.Denied && r.Status == status && r.Identity == identity
	}
}
