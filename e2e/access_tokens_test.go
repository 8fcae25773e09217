//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/e2e/harness"
)

// tokenOf asks a token endpoint for a token.
func tokenOf(t *testing.T, url, user, password string, change ...func(*http.Request)) string {
	t.Helper()
	a := accessGet(t, http.DefaultClient, url, append(change, withPassword(user, password))...)
	var answer struct{ Token string }
	if err := json.Unmarshal([]byte(a.Body), &answer); err != nil || answer.Token == "" {
		t.Fatalf("%s: %s: expected a token, found %s", url, a.Status, a.Body)
	}
	return answer.Token
}

// challenged asks for something, and then for the token that the challenge names.
func challenged(t *testing.T, g *harness.Gate, path string, change ...func(*http.Request)) func(*http.Request) {
	t.Helper()
	a := accessGet(t, http.DefaultClient, g.URL+path, change...)
	param := map[string]string{}
	for _, p := range strings.Split(strings.TrimPrefix(a.Challenge, "Bearer "), ",") {
		if k, v, ok := strings.Cut(p, "="); ok {
			param[k] = strings.Trim(v, `"`)
		}
	}
	realm, err := url.Parse(param["realm"])
	if err != nil || a.Code != http.StatusUnauthorized || param["scope"] == "" {
		t.Fatalf("%s: %s, challenge %q (%v)", path, a.Status, a.Challenge, err)
	}
	q := url.Values{"service": {param["service"]}, "scope": {param["scope"]}}
	token := tokenOf(t, g.URL+realm.Path+"?"+q.Encode(), "alice", accessUsers["alice"], withHost(realm.Host))
	return withHeader("Authorization", "Bearer "+token)
}

// A token that was asked for one repository opens no other, neither by another
// path nor by the same path of another registry.
func TestTokenIsForItsRepository(t *testing.T) {
	const other = "other.example"
	reg, _ := newAccessRegistry(t)
	second := harness.NewGoRegistry(t)
	second.Push(t, "team/app", "v1", harness.NewImage(t, "of the other registry"))
	passwords := harness.NewHtpasswd(t, accessUsers)
	g := harness.StartGate(t, harness.GateConfig{
		Upstreams: []harness.Upstream{{Registry: accessRegistry, Endpoint: reg.URL}, {Registry: other, Endpoint: second.URL}},
		Policy:    harness.PolicyFor(accessRegistry, harness.AcceptAnything()).With(other, harness.AcceptAnything()),
		Extra: fmt.Sprintf("hosts: [{host: other.gate.example, registry: %s}]\nstate_dir: %q\nauth: {htpasswd: %q, token: {enabled: true}}\n",
			other, t.TempDir(), passwords.Path),
	})
	const path = "/v2/team/app/manifests/v1"
	places := map[string]struct {
		path   string
		change []func(*http.Request)
	}{
		"default registry":     {path, nil},
		"registry in the path": {"/v2/" + accessRegistry + "/team/app/manifests/v1", nil},
		"ns of the default":    {path + "?ns=" + accessRegistry, nil},
		"other repository":     {"/v2/public/app/manifests/v1", nil},
		"longer path":          {"/v2/" + other + "/team/app/manifests/v1", nil},
		"other registry by ns": {path + "?ns=" + other, nil},
		"other by Host":        {path, []func(*http.Request){withHost("other.gate.example")}},
	}
	same := map[string][]string{
		"default registry": {"default registry", "registry in the path", "ns of the default"},
		"other by Host":    {"longer path", "other registry by ns", "other by Host"},
		"other repository": {"other repository"},
	}
	for _, group := range same {
		for _, from := range group {
			token := challenged(t, g, places[from].path, places[from].change...)
			for to, place := range places {
				want := http.StatusUnauthorized
				for _, s := range group {
					if s == to {
						want = http.StatusOK
					}
				}
				mark := g.Mark(t)
				a := accessGet(t, http.DefaultClient, g.URL+place.path, append([]func(*http.Request){token}, place.change...)...)
				if a.Code != want || want != http.StatusOK && !strings.Contains(a.Challenge, "insufficient_scope") {
					t.Errorf("token for %s used for %s: %s, challenge %q; expected %d", from, to, a.Status, a.Challenge, want)
				}
				decision := map[int]string{http.StatusOK: harness.Allowed, http.StatusUnauthorized: harness.Denied}[want]
				g.ExpectRecord(t, mark, fmt.Sprintf("a token for %s used for %s", from, to), func(r harness.Record) bool {
					return r.Decision == decision && r.Identity == "user:alice" && r.Status == want
				})
			}
		}
	}
}
