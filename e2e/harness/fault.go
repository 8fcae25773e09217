package harness

import (
	"net/http"
	"sync"
	"time"
)

// Switch replaces a server's answers while it is set. Its zero value is off.
type Switch struct {
	mu    sync.Mutex
	fault http.Handler
}

// Set makes every request go to fault; nil ends that.
func (s *Switch) Set(fault http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

// Middleware puts the switch before next.
func (s *Switch) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		fault := s.fault
		s.mu.Unlock()
		if fault == nil {
			fault = next
		}
		fault.ServeHTTP(w, r)
	})
}

// FaultStatus answers with a status and a short text.
func FaultStatus(status int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "out of order", status) })
}

// FaultHTML answers 200 with a page for people, as captive portals and
// misconfigured servers do.
func FaultHTML() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<!doctype html><title>Welcome</title><p>Please sign in."))
	})
}

// FaultHang accepts the request and does not answer until the client gives up.
func FaultHang() http.Handler {
	return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
}

// FaultEndless answers 200 and sends bytes until the client gives up; pause lies
// between chunks of 1 KiB (0: as fast as it goes).
func FaultEndless(pause time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for chunk := make([]byte, 1024); r.Context().Err() == nil; time.Sleep(pause) {
			if _, err := w.Write(chunk); err != nil {
				return
			}
			if pause > 0 {
				w.(http.Flusher).Flush()
			}
		}
	})
}

// FaultSame answers every request, signature-1 to signature-infinity, with b.
func FaultSame(b []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(b) })
}
