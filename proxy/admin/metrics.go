package admin

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const namespace = "pullgate"

// Values of the route label. Anything else is counted as "other".
const (
	RoutePing      = "ping" // /v2/
	RouteManifest  = "manifest"
	RouteBlob      = "blob"
	RouteTags      = "tags"
	RouteReferrers = "referrers"
	RouteToken     = "token" // of a registry whose clients use their own credentials
	RouteWrite     = "write" // pushes, deletes and uploads, which are refused
)

// Values of the op label of upstream requests. Anything else is counted as
// "other".
const (
	OpPing       = "ping" // /v2/
	OpManifest   = "manifest"
	OpResolve    = "resolve" // HEAD of a tag
	OpBlob       = "blob"
	OpStat       = "stat" // HEAD of a blob
	OpTags       = "tags"
	OpReferrers  = "referrers"
	OpSignatures = "signatures" // signature extension API of a registry
	OpFile       = "file"       // file of a signature server
	OpToken      = "token"      // token server
)

// Metrics counts what the gate does. Its methods take any text and count unknown
// words as "other", so that no client can make time series. They are safe for
// use by several goroutines and do not wait.
type Metrics struct {
	routes, methods, decisions, registries, kinds, results, ops, classes label
	statuses                                                             *statuses

	requests            *table[prometheus.Counter]
	requestDuration     *table[prometheus.Observer]
	decided             *table[prometheus.Counter]
	verifications       *table[prometheus.Counter]
	verificationSeconds prometheus.Histogram
	verdictCache        [2]prometheus.Counter // miss, hit
	upstreamRequests    *table[prometheus.Counter]
	upstreamDuration    *table[prometheus.Observer]
	blobBytes           *table[prometheus.Counter]
	auditErrors         prometheus.Counter
	policyReloads       [2]prometheus.Counter // error, ok
	policy              *policyCollector
	roots               *prometheus.GaugeVec
}

// NewMetrics makes the metrics and registers them. Registries are the configured
// names, which become values of the registry label; others are counted as
// "other". It is an error when metrics of these names are registered already.
func NewMetrics(reg prometheus.Registerer, registries []string) (*Metrics, error) {
	if reg == nil {
		return nil, errors.New("metrics: no registry to register with")
	}
	m := &Metrics{
		routes: newLabel(RoutePing, RouteManifest, RouteBlob, RouteTags, RouteReferrers, RouteToken, RouteWrite),
		methods: newLabel(http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
			http.MethodDelete, http.MethodOptions, http.MethodConnect),
		decisions:  newLabel("allowed", "denied", "report-only", "inconclusive", "error"),
		registries: newLabel(registries...),
		kinds:      newLabel("manifest", "blob", "tags", "referrers", "canary"),
		results:    newLabel("allowed", "denied", "inconclusive"),
		ops:        newLabel(OpPing, OpManifest, OpResolve, OpBlob, OpStat, OpTags, OpReferrers, OpSignatures, OpFile, OpToken),
		classes:    newLabel("1xx", "2xx", "3xx", "4xx", "5xx", "error"),
		statuses:   newStatuses(),
	}
	r := &registrar{reg: reg}
	m.registerRequests(r)
	m.registerUpstreams(r)
	m.registerPolicy(r)
	if r.err != nil {
		return nil, fmt.Errorf("register metrics: %w", r.err)
	}
	return m, nil
}

func (m *Metrics) registerRequests(r *registrar) {
	m.requests = counters(r, "requests_total", "Requests of clients answered.",
		[]string{"route", "method", "status"}, m.routes, m.methods, m.statuses.label)
	m.requestDuration = histograms(r, "request_duration_seconds", "Time to answer requests of clients.", "route", m.routes,
		[]float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60})
	m.decided = counters(r, "decisions_total", "Decisions by what was asked for.",
		[]string{"decision", "registry", "kind"}, m.decisions, m.registries, m.kinds)
	m.blobBytes = counters(r, "blob_bytes_total", "Bytes of blobs sent to clients.", []string{"registry"}, m.registries)
	m.auditErrors = prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace,
		Name: "audit_errors_total", Help: "Audit records that could not be written."})
	r.add(m.auditErrors)
	m.roots = prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: "trust_root_refreshed_timestamp_seconds",
		Help: "When a trust root was good last, in seconds since 1970."}, []string{"root"})
	r.add(m.roots)
}

func (m *Metrics) registerUpstreams(r *registrar) {
	m.upstreamRequests = counters(r, "upstream_requests_total", "Requests sent to upstreams; status_class error is no answer.",
		[]string{"registry", "op", "status_class"}, m.registries, m.ops, m.classes)
	m.upstreamDuration = histograms(r, "upstream_request_duration_seconds", "Time until upstreams answered.", "op", m.ops,
		[]float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30})
}

func (m *Metrics) registerPolicy(r *registrar) {
	m.verifications = counters(r, "verifications_total", "Verifications made, not answered from the cache.", []string{"result"}, m.results)
	m.verificationSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace,
		Name: "verification_duration_seconds", Help: "Time of verifications, look-up of signatures included.",
		Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}})
	r.add(m.verificationSeconds)

	cache := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace,
		Name: "verdict_cache_total", Help: "Questions to the verdict cache."}, []string{"result"})
	r.add(cache)
	m.verdictCache = [2]prometheus.Counter{cache.WithLabelValues("miss"), cache.WithLabelValues("hit")}

	reloads := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace,
		Name: "policy_reloads_total", Help: "Reloads of policy and keys; after an error the policy before stays in force."}, []string{"result"})
	r.add(reloads)
	m.policyReloads = [2]prometheus.Counter{reloads.WithLabelValues("error"), reloads.WithLabelValues("ok")}

	m.policy = newPolicyCollector()
	r.add(m.policy)
}

// Request counts a request of a client that was answered.
func (m *Metrics) Request(route, method string, status int, took time.Duration) {
	n := m.routes.of(route)
	m.requests.at(n, m.methods.of(method), m.statuses.ofCode(status)).Inc()
	m.requestDuration.at(n).Observe(took.Seconds())
}

// Decision counts a decision: allowed, denied, report-only, inconclusive or
// error, about a manifest, blob, tags or referrers.
func (m *Metrics) Decision(decision, registry, kind string) {
	m.decided.at(m.decisions.of(decision), m.registries.of(registry), m.kinds.of(kind)).Inc()
}

// Verification counts a verification that was made: allowed, denied or
// inconclusive.
func (m *Metrics) Verification(result string, took time.Duration) {
	m.verifications.at(m.results.of(result)).Inc()
	m.verificationSeconds.Observe(took.Seconds())
}

// VerdictCache counts a question to the verdict cache.
func (m *Metrics) VerdictCache(hit bool) { m.verdictCache[number(hit)].Inc() }

// Upstream counts a request sent to an upstream. Status is 0 when there was no
// answer; took is the time until the headers of the answer.
func (m *Metrics) Upstream(registry, op string, status int, took time.Duration) {
	class := "error"
	if status >= 100 && status < 600 {
		class = [...]string{"1xx", "2xx", "3xx", "4xx", "5xx"}[status/100-1]
	}
	n := m.ops.of(op)
	m.upstreamRequests.at(m.registries.of(registry), n, m.classes.of(class)).Inc()
	m.upstreamDuration.at(n).Observe(took.Seconds())
}

// BlobBytes counts bytes of blobs sent to clients. What is not above 0 counts
// nothing.
func (m *Metrics) BlobBytes(registry string, n int64) {
	if n > 0 {
		m.blobBytes.at(m.registries.of(registry)).Add(float64(n))
	}
}

// AuditError counts an audit record that could not be written.
func (m *Metrics) AuditError() { m.auditErrors.Inc() }

// PolicyReload counts an attempt to load policy and keys anew.
func (m *Metrics) PolicyReload(ok bool) { m.policyReloads[number(ok)].Inc() }

// TrustRoot notes when a trust root was good last. Its name is one of the
// configuration's.
func (m *Metrics) TrustRoot(name string, refreshed time.Time) {
	m.roots.WithLabelValues(name).Set(float64(refreshed.Unix()))
}

// PolicyLoaded tells which policy is in force since when.
func (m *Metrics) PolicyLoaded(revision string, at time.Time) {
	m.policy.current.Store(&policyInfo{revision: revision, at: at})
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

// policyCollector exposes the policy in force, and only that one: a gauge per
// revision would keep those of the past.
type policyCollector struct {
	info, loaded *prometheus.Desc
	current      atomic.Pointer[policyInfo]
}

type policyInfo struct {
	revision string
	at       time.Time
}

func newPolicyCollector() *policyCollector {
	return &policyCollector{
		info: prometheus.NewDesc(namespace+"_policy_info", "The policy in force.", []string{"revision"}, nil),
		loaded: prometheus.NewDesc(namespace+"_policy_loaded_timestamp_seconds",
			"When the policy in force was loaded, in seconds since 1970.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *policyCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.info; ch <- c.loaded }

// Collect implements prometheus.Collector. Before the first policy there is
// nothing to tell.
func (c *policyCollector) Collect(ch chan<- prometheus.Metric) {
	p := c.current.Load()
	if p == nil {
		return
	}
	ch <- prometheus.MustNewConstMetric(c.info, prometheus.GaugeValue, 1, strings.ToValidUTF8(p.revision, "?"))
	ch <- prometheus.MustNewConstMetric(c.loaded, prometheus.GaugeValue, float64(p.at.UnixNano())/1e9)
}
