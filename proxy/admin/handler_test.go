package admin

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// ask sends one request to a handler over a real connection.
func ask(t *testing.T, h http.Handler, method, path string) (*http.Response, string) {
	t.Helper()
	s := httptest.NewServer(h) // on 127.0.0.1
	defer s.Close()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := s.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func handler(s Status) http.Handler {
	return NewHandler(prometheus.NewRegistry(), func() Status { return s })
}

func TestReadiness(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		status Status
		code   int
		want   map[string]any
	}{
		"zero value": {Status{}, 503, map[string]any{"ready": false, "revision": "", "policy_error": "", "audit_error": ""}},
		"starting": {Status{Reason: "no policy yet"}, 503,
			map[string]any{"ready": false, "reason": "no policy yet", "revision": "", "policy_error": "", "audit_error": ""}},
		"ready": {Status{Ready: true, Revision: "r1", PolicyLoadedAt: at}, 200,
			map[string]any{"ready": true, "revision": "r1", "policy_loaded_at": "2026-03-01T12:00:00Z", "policy_error": "", "audit_error": ""}},
		"the new policy is broken, the old one in force": {
			Status{Ready: true, Revision: "r1", PolicyError: "policy.json: line 3", AuditError: "no space left on device"}, 200,
			map[string]any{"ready": true, "revision": "r1", "policy_error": "policy.json: line 3", "audit_error": "no space left on device"}},
		"a trust root was not refreshed, another one is there no more": {
			Status{Ready: true, Revision: "r1", TrustRoots: []TrustRootStatus{{Name: "acme", Error: "the last refresh did not work", RefreshedAt: at}, {Name: "old", Stale: true, Error: "too old"}}}, 200,
			map[string]any{"ready": true, "revision": "r1", "policy_error": "", "audit_error": "", "trust_roots": []any{
				map[string]any{"name": "acme", "stale": false, "error": "the last refresh did not work", "refreshed_at": "2026-03-01T12:00:00Z"},
				map[string]any{"name": "old", "stale": true, "error": "too old"}}}},
		"an upstream is down": {
			Status{Ready: true, Revision: "r1", Upstreams: []UpstreamStatus{{Registry: "docker.io", Error: "status 503", At: at}}}, 200,
			map[string]any{"ready": true, "revision": "r1", "policy_error": "", "audit_error": "",
				"upstreams": []any{map[string]any{"registry": "docker.io", "error": "status 503", "at": "2026-03-01T12:00:00Z"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			resp, body := ask(t, handler(test.status), "GET", "/readyz")
			if resp.StatusCode != test.code || resp.Header.Get("Content-Type") != "application/json" {
				t.Errorf("status %d, type %q", resp.StatusCode, resp.Header.Get("Content-Type"))
			}
			var got map[string]any
			if err := json.Unmarshal([]byte(body), &got); err != nil {
				t.Fatal(err)
			}
			if g, w := canonical(t, got), canonical(t, test.want); g != w {
				t.Errorf("got  %s\nwant %s", g, w)
			}
		})
	}
}

// canonical writes a decoded document with sorted keys.
func canonical(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestWithoutAStatusTheGateIsNotReady(t *testing.T) {
	if resp, _ := ask(t, NewHandler(prometheus.NewRegistry(), nil), "GET", "/readyz"); resp.StatusCode != 503 {
		t.Errorf("status %d", resp.StatusCode)
	}
}

func TestAStatusThatCannotBeWrittenIsNotReady(t *testing.T) {
	s := Status{Ready: true, PolicyLoadedAt: time.Date(100_000, 1, 1, 0, 0, 0, 0, time.UTC)}
	if resp, _ := ask(t, handler(s), "GET", "/readyz"); resp.StatusCode != 500 {
		t.Errorf("status %d", resp.StatusCode)
	}
}

func TestHealthDoesNotDependOnReadiness(t *testing.T) {
	resp, body := ask(t, handler(Status{}), "GET", "/healthz")
	if resp.StatusCode != 200 || body != "ok\n" {
		t.Errorf("status %d, body %q", resp.StatusCode, body)
	}
}

func TestTheIndexNamesEveryPath(t *testing.T) {
	resp, body := ask(t, handler(Status{}), "GET", "/")
	if resp.StatusCode != 200 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") {
		t.Errorf("status %d, type %q", resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		if !strings.Contains(body, path) {
			t.Errorf("no %s in %q", path, body)
		}
	}
}

func TestMetricsAreThoseHandedIn(t *testing.T) {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector())
	m, err := NewMetrics(reg, []string{"docker.io"})
	if err != nil {
		t.Fatal(err)
	}
	m.Decision("denied", "docker.io", "manifest")
	resp, body := ask(t, NewHandler(reg, nil), "GET", "/metrics")
	if resp.StatusCode != 200 {
		t.Errorf("status %d", resp.StatusCode)
	}
	for _, want := range []string{`pullgate_decisions_total{decision="denied",kind="manifest",registry="docker.io"} 1`, "go_goroutines "} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q in the metrics", want)
		}
	}
	if strings.Contains(body, "process_") {
		t.Error("there are metrics that nobody registered")
	}
}

func TestOnlyReadingIsServed(t *testing.T) {
	h := handler(Status{Ready: true})
	for _, path := range []string{"/", "/healthz", "/readyz", "/metrics", "/x"} {
		for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"} {
			resp, _ := ask(t, h, method, path)
			if resp.StatusCode != 405 || resp.Header.Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: status %d", method, path, resp.StatusCode)
			}
		}
	}
	for _, path := range []string{"/", "/healthz", "/readyz", "/metrics"} {
		resp, body := ask(t, h, "HEAD", path)
		if resp.StatusCode != 200 || body != "" || resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("HEAD %s: status %d, body %q, headers %v", path, resp.StatusCode, body, resp.Header)
		}
	}
}

func TestOtherPathsAreNotFound(t *testing.T) {
	for _, path := range []string{"/x", "/metrics/", "/healthz/x", "/debug/pprof/", "/v2/", "/readyz%00"} {
		if resp, _ := ask(t, handler(Status{}), "GET", path); resp.StatusCode != 404 {
			t.Errorf("%s: status %d", path, resp.StatusCode)
		}
	}
}
