package upstream

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// hangUp ends the connection without an answer.
func hangUp(w http.ResponseWriter) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	}
}

func TestFailedConnectionsAreTriedAgain(t *testing.T) {
	tests := map[string]struct {
		failures int32
		ok       bool
	}{"once": {1, true}, "twice": {2, true}, "three times": {3, false}}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var n atomic.Int32
			srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if n.Add(1) <= tt.failures {
					hangUp(w)
					return
				}
				io.WriteString(w, "{}")
			})
			_, err := open(t, options(srv.URL)).Manifest(t.Context(), named(t, "r.example/x:v1"))
			if (err == nil) != tt.ok {
				t.Errorf("after %d failures: %v", tt.failures, err)
			}
			if err != nil {
				wantKind(t, err, Unavailable)
			}
			if got := len(srv.requests()); got != int(min(tt.failures+1, maxTries)) {
				t.Errorf("%d tries", got)
			}
		})
	}
}

func TestWhatIsNotTriedAgain(t *testing.T) {
	t.Run("an answer that breaks off", func(t *testing.T) {
		srv := serve(t, short)
		if _, err := open(t, options(srv.URL)).Manifest(t.Context(), named(t, "r.example/x:v1")); err == nil {
			t.Error("a broken answer passed")
		}
		srv.wantRequests(t, "GET /v2/x/manifests/v1")
	})
	t.Run("a request for a token with a body", func(t *testing.T) {
		tokens := serve(t, func(w http.ResponseWriter, r *http.Request) { hangUp(w) })
		reg := bearerRegistry(t, func() string { return tokens.URL })
		o := options(reg.URL)
		o.Credentials = login("", "", "refresh")
		_, err := open(t, o).Manifest(t.Context(), named(t, "r.example/x:v1"))
		wantKind(t, err, Unavailable)
		tokens.wantRequests(t, "POST /")
	})
	t.Run("a registry that does not answer", func(t *testing.T) {
		srv := serve(t, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		o := options(srv.URL)
		o.HeaderTimeout = 50 * time.Millisecond
		_, err := open(t, o).Manifest(t.Context(), named(t, "r.example/x:v1"))
		wantKind(t, err, Unavailable)
		srv.wantRequests(t, "GET /v2/x/manifests/v1")
	})
	t.Run("for a client that has left", func(t *testing.T) {
		tries := 0
		ctx, leave := context.WithCancel(t.Context())
		o := options("http://127.0.0.1:1")
		o.seams.backoff = time.Hour
		o.seams.send = roundTrip(func(r *http.Request) (*http.Response, error) {
			tries++
			time.AfterFunc(10*time.Millisecond, leave)
			return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
		})
		_, err := open(t, o).Manifest(ctx, named(t, "r.example/x:v1"))
		if wantKind(t, err, Unavailable); !errors.Is(err, context.Canceled) || tries != 1 {
			t.Errorf("%d tries, %v", tries, err)
		}
	})
}

func TestRetriable(t *testing.T) {
	get := func() *http.Request { r, _ := http.NewRequest("GET", "http://x.example", nil); return r }()
	post, _ := http.NewRequest("POST", "http://x.example", nil)
	body, _ := http.NewRequest("GET", "http://x.example", strings.NewReader("x"))
	reset := &net.OpError{Op: "read", Err: syscall.ECONNRESET}
	tests := []struct {
		name string
		req  *http.Request
		err  error
		want bool
	}{
		{"refused connection", get, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, true},
		{"reset connection", get, reset, true},
		{"closed connection", get, io.EOF, true},
		{"name server trouble", get, &net.DNSError{IsTimeout: true}, true},
		{"no such name", get, &net.DNSError{IsNotFound: true}, false},
		{"refused target", get, &net.OpError{Op: "dial", Err: &refusal{}}, false},
		{"anything else", get, errors.New("certificate"), false},
		{"another method", post, reset, false},
		{"a body", body, reset, false},
	}
	for _, tt := range tests {
		if got := retriable(tt.req, tt.err); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
