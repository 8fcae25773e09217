package admin

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func newMetrics(t testing.TB, registries ...string) (*Metrics, *prometheus.Registry) {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	m, err := NewMetrics(reg, registries)
	if err != nil {
		t.Fatal(err)
	}
	return m, reg
}

func expectMetrics(t *testing.T, reg *prometheus.Registry, want string, names ...string) {
	t.Helper()
	for i, n := range names {
		names[i] = "pullgate_" + n
	}
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
}

func TestCountersOfRequestsAndDecisions(t *testing.T) {
	m, reg := newMetrics(t, "docker.io", "quay.io")
	m.Request(RouteManifest, "GET", 200, time.Millisecond)
	m.Request(RouteManifest, "GET", 200, time.Millisecond)
	m.Request(RouteManifest, "HEAD", 403, time.Second)
	m.Decision("allowed", "docker.io", "manifest")
	m.Decision("denied", "quay.io", "blob")
	m.Decision("report-only", "quay.io", "manifest")
	m.BlobBytes("quay.io", 5)
	m.BlobBytes("quay.io", 7)
	m.AuditError()
	expectMetrics(t, reg, `
# HELP pullgate_requests_total Requests of clients answered.
# TYPE pullgate_requests_total counter
pullgate_requests_total{method="GET",route="manifest",status="200"} 2
pullgate_requests_total{method="HEAD",route="manifest",status="403"} 1
# HELP pullgate_decisions_total Decisions by what was asked for.
# TYPE pullgate_decisions_total counter
pullgate_decisions_total{decision="allowed",kind="manifest",registry="docker.io"} 1
pullgate_decisions_total{decision="denied",kind="blob",registry="quay.io"} 1
pullgate_decisions_total{decision="report-only",kind="manifest",registry="quay.io"} 1
# HELP pullgate_blob_bytes_total Bytes of blobs sent to clients.
# TYPE pullgate_blob_bytes_total counter
pullgate_blob_bytes_total{registry="quay.io"} 12
# HELP pullgate_audit_errors_total Audit records that could not be written.
# TYPE pullgate_audit_errors_total counter
pullgate_audit_errors_total 1
`, "requests_total", "decisions_total", "blob_bytes_total", "audit_errors_total")
	if n := observations(t, reg, "pullgate_request_duration_seconds"); n != 3 {
		t.Errorf("%d durations of requests, expected 3", n)
	}
}

func TestCountersOfUpstreamsAndVerifications(t *testing.T) {
	m, reg := newMetrics(t, "docker.io")
	m.Upstream("docker.io", OpManifest, 200, time.Millisecond)
	m.Upstream("docker.io", OpManifest, 404, time.Millisecond)
	m.Upstream("docker.io", OpBlob, 0, time.Second)
	m.Verification("allowed", time.Millisecond)
	m.Verification("inconclusive", time.Second)
	m.VerdictCache(true)
	m.VerdictCache(true)
	m.VerdictCache(false)
	m.PolicyReload(true)
	m.PolicyReload(false)
	m.PolicyReload(false)
	expectMetrics(t, reg, `
# HELP pullgate_upstream_requests_total Requests sent to upstreams; status_class error is no answer.
# TYPE pullgate_upstream_requests_total counter
pullgate_upstream_requests_total{op="blob",registry="docker.io",status_class="error"} 1
pullgate_upstream_requests_total{op="manifest",registry="docker.io",status_class="2xx"} 1
pullgate_upstream_requests_total{op="manifest",registry="docker.io",status_class="4xx"} 1
# HELP pullgate_verifications_total Verifications made, not answered from the cache.
# TYPE pullgate_verifications_total counter
pullgate_verifications_total{result="allowed"} 1
pullgate_verifications_total{result="inconclusive"} 1
# HELP pullgate_verdict_cache_total Questions to the verdict cache.
# TYPE pullgate_verdict_cache_total counter
pullgate_verdict_cache_total{result="hit"} 2
pullgate_verdict_cache_total{result="miss"} 1
# HELP pullgate_policy_reloads_total Reloads of policy and keys; after an error the policy before stays in force.
# TYPE pullgate_policy_reloads_total counter
pullgate_policy_reloads_total{result="error"} 2
pullgate_policy_reloads_total{result="ok"} 1
`, "upstream_requests_total", "verifications_total", "verdict_cache_total", "policy_reloads_total")
	for name, want := range map[string]uint64{"verification_duration_seconds": 2, "upstream_request_duration_seconds": 3} {
		if n := observations(t, reg, "pullgate_"+name); n != want {
			t.Errorf("%d observations of %s, expected %d", n, name, want)
		}
	}
}

// observations counts what the histograms of a name have seen.
func observations(t *testing.T, reg *prometheus.Registry, name string) (n uint64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				n += m.GetHistogram().GetSampleCount()
			}
		}
	}
	return n
}

func TestOnlyThePolicyInForceIsExposed(t *testing.T) {
	m, reg := newMetrics(t)
	expectMetrics(t, reg, "", "policy_info", "policy_loaded_timestamp_seconds")
	m.PolicyLoaded("one", time.Unix(1000, 0))
	m.PolicyLoaded("two\xff", time.Unix(2000, 500_000_000))
	expectMetrics(t, reg, `
# HELP pullgate_policy_info The policy in force.
# TYPE pullgate_policy_info gauge
pullgate_policy_info{revision="two?"} 1
# HELP pullgate_policy_loaded_timestamp_seconds When the policy in force was loaded, in seconds since 1970.
# TYPE pullgate_policy_loaded_timestamp_seconds gauge
pullgate_policy_loaded_timestamp_seconds 2000.5
`, "policy_info", "policy_loaded_timestamp_seconds")
}

// Whatever clients and upstreams send, the number of time series stays what the
// configuration allows.
func TestHostileNamesMakeNoTimeSeries(t *testing.T) {
	m, reg := newMetrics(t, "docker.io")
	count := func() int {
		n, err := testutil.GatherAndCount(reg)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	hostile := func(i int) {
		name := fmt.Sprintf("evil-%d\xff\n\"%s", i, strings.Repeat("x", i%50))
		m.Request(name, name, 10_000+i, time.Hour)
		m.Decision(name, name, name)
		m.Verification(name, -time.Second)
		m.Upstream(name, name, -i, 0)
		m.BlobBytes(name, int64(i))
		m.BlobBytes(name, math.MinInt64)
	}
	hostile(1)
	after1 := count()
	for i := range 2000 {
		hostile(i)
	}
	if n := count(); n != after1 {
		t.Errorf("%d time series after 2,000 hostile names, %d after one", n, after1)
	}
	expectMetrics(t, reg, `
# HELP pullgate_decisions_total Decisions by what was asked for.
# TYPE pullgate_decisions_total counter
pullgate_decisions_total{decision="other",kind="other",registry="other"} 2001
# HELP pullgate_requests_total Requests of clients answered.
# TYPE pullgate_requests_total counter
pullgate_requests_total{method="other",route="other",status="other"} 2001
`, "decisions_total", "requests_total")
}

func TestStatusCodes(t *testing.T) {
	s := newStatuses()
	for code, want := range map[int]string{
		200: "200", 403: "403", 503: "503", 100: "100", 0: other, -1: other, 99: other, 299: other, 599: other, 600: other, 1 << 30: other,
	} {
		if got := s.values[s.ofCode(code)]; got != want {
			t.Errorf("%d counts as %s, expected %s", code, got, want)
		}
	}
}

func TestTheNamesFollowTheRulesOfPrometheus(t *testing.T) {
	m, reg := newMetrics(t, "docker.io")
	m.Request("ping", "GET", 200, 0)
	m.Decision("allowed", "docker.io", "manifest")
	m.Verification("allowed", 0)
	m.Upstream("docker.io", OpPing, 200, 0)
	m.BlobBytes("docker.io", 1)
	m.PolicyLoaded("r", time.Unix(1, 0))
	problems, err := testutil.GatherAndLint(reg)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestRegisteringTwiceIsAnError(t *testing.T) {
	reg := prometheus.NewRegistry()
	if _, err := NewMetrics(reg, nil); err != nil {
		t.Fatal(err)
	}
	if m, err := NewMetrics(reg, nil); err == nil || m != nil {
		t.Error("the second registration is no error")
	}
	if _, err := NewMetrics(nil, nil); err == nil {
		t.Error("a missing registry is no error")
	}
}

func TestCountingFromManyGoroutines(t *testing.T) {
	m, reg := newMetrics(t, "docker.io")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				m.Request(RouteBlob, "GET", 206, time.Microsecond)
				m.PolicyLoaded("r", time.Unix(1, 0))
			}
		})
	}
	wg.Go(func() {
		for range 20 {
			if _, err := reg.Gather(); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	expectMetrics(t, reg, `
# HELP pullgate_requests_total Requests of clients answered.
# TYPE pullgate_requests_total counter
pullgate_requests_total{method="GET",route="blob",status="206"} 4000
`, "requests_total")
}

func TestCountingAllocatesNothing(t *testing.T) {
	m, _ := newMetrics(t, "docker.io")
	if n := testing.AllocsPerRun(100, func() {
		m.Request(RouteManifest, "GET", 200, time.Millisecond)
		m.Decision("allowed", "docker.io", "manifest")
		m.Upstream("docker.io", OpManifest, 200, time.Millisecond)
		m.VerdictCache(true)
		m.BlobBytes("docker.io", 1)
	}); n != 0 {
		t.Errorf("%g allocations", n)
	}
}

func BenchmarkWarmRequest(b *testing.B) {
	m, _ := newMetrics(b, "docker.io")
	b.ReportAllocs()
	for b.Loop() {
		m.Request(RouteManifest, "GET", 200, time.Millisecond)
		m.Decision("allowed", "docker.io", "manifest")
		m.VerdictCache(true)
	}
}
