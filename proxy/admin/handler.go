// Package admin is the gate's second listener: is it alive, is it ready, what did
// it do.
//
// It promises to answer from what is in memory, without asking an upstream or
// waiting for a request, and that the number of time series it keeps is bounded
// by the configuration: no label ever holds text that a client or an upstream
// chose. It has no authentication and changes nothing, so it tells nothing secret
// and takes only GET and HEAD.
package admin

import (
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Status is the state of the gate as /readyz tells it. The zero value is not
// ready.
type Status struct {
	// Ready tells that requests can be judged: a policy is in force. A newer policy
	// that cannot be used, or an audit log that cannot be written, is told beside
	// it and does not change it.
	Ready bool `json:"ready"`
	// Reason says why the gate is not ready; empty when it is.
	Reason string `json:"reason,omitempty"`
	// Revision names the policy in force.
	Revision string `json:"revision"`
	// PolicyLoadedAt is when that policy was loaded.
	PolicyLoadedAt time.Time `json:"policy_loaded_at,omitzero"`
	// PolicyError is the failure of the last reload; empty when it worked.
	PolicyError string `json:"policy_error"`
	// AuditError is the failure of the last audit record; empty when it was
	// written.
	AuditError string `json:"audit_error"`
	// TrustRoots are the configured trust roots. One that cannot be used makes what
	// needs it inconclusive, and the gate not unready: other scopes do without it.
	TrustRoots []TrustRootStatus `json:"trust_roots,omitempty"`
	// Upstreams are the configured registries. Their state does not make the gate
	// unready: every gate would be, at once, and cached answers are still good.
	Upstreams []UpstreamStatus `json:"upstreams,omitempty"`
}

// TrustRootStatus is the state of one trust root.
type TrustRootStatus struct {
	Name string `json:"name"`
	// Stale tells that nothing is judged by it: it is too old, or was never fetched.
	Stale bool `json:"stale"`
	// Error says why it is stale, or why the last refresh did not work; empty when all
	// is well.
	Error string `json:"error"`
	// RefreshedAt is what its age counts from; zero when there is none yet.
	RefreshedAt time.Time `json:"refreshed_at,omitzero"`
}

// UpstreamStatus is the state of one upstream as the last request to it left it.
type UpstreamStatus struct {
	Registry string    `json:"registry"`
	Error    string    `json:"error"`       // of the last request; empty when it was answered
	At       time.Time `json:"at,omitzero"` // when that was; zero when it was never asked
}

const (
	index = "pullgate\n\n/healthz  the process serves\n/readyz   requests can be judged\n/metrics  for Prometheus\n"

	// A scrape costs work; these bound what a stray client can ask for.
	maxScrapes    = 4
	scrapeTimeout = 10 * time.Second
)

// NewHandler returns the handler of the second listener:
//
//	/         text, what there is
//	/healthz  200 as long as the process serves
//	/readyz   the Status as JSON: 200 when it is ready, else 503
//	/metrics  the registry handed in, in the formats of Prometheus
//
// Other paths are 404, other methods than GET and HEAD 405. Status is called for
// each request to /readyz, from several goroutines, and must not wait.
func NewHandler(reg *prometheus.Registry, status func() Status) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", text(index))
	mux.HandleFunc("/healthz", text("ok\n"))
	mux.HandleFunc("/readyz", ready(status))
	mux.Handle("/metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		ErrorHandling:       promhttp.ContinueOnError, // one bad metric must not hide the others
		MaxRequestsInFlight: maxScrapes,
		Timeout:             scrapeTimeout,
	}))
	return readOnly(mux)
}

// readOnly refuses every method that could change something, and keeps answers
// out of caches: they are about now.
func readOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "only GET and HEAD are served here", http.StatusMethodNotAllowed)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func text(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		// The client may be gone; there is nobody to tell.
		_, _ = io.WriteString(w, body)
	}
}

func ready(status func() Status) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		s := Status{Reason: "the gate is starting"}
		if status != nil {
			s = status()
		}
		body, err := json.MarshalIndent(s, "", "  ")
		if err != nil { // a time that JSON cannot hold
			http.Error(w, "status cannot be written", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if !s.Ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = w.Write(append(body, '\n'))
	}
}
