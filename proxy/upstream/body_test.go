package upstream

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// endless writes until the client hangs up.
func endless(w http.ResponseWriter, r *http.Request) {
	chunk := []byte(strings.Repeat(" ", 64<<10))
	for range 1 << 14 { // 1 GiB
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}

// drip writes a byte now and then, for as long as the client waits.
func drip(w http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		if _, err := w.Write([]byte(" ")); err != nil {
			return
		}
		w.(http.Flusher).Flush()
		time.Sleep(10 * time.Millisecond)
	}
}

// stall sends the beginning and then nothing.
func stall(w http.ResponseWriter, r *http.Request) {
	w.Write([]byte("{"))
	w.(http.Flusher).Flush()
	<-r.Context().Done()
}

func TestOversizeManifests(t *testing.T) {
	limit := 4 << 20
	tests := map[string]struct {
		h  http.HandlerFunc
		ok bool
	}{
		"endless": {h: endless},
		"announced": {h: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(1<<30))
			endless(w, r)
		}},
		"at the limit":  {ok: true, h: func(w http.ResponseWriter, r *http.Request) { w.Write(make([]byte, limit)) }},
		"over by one":   {h: func(w http.ResponseWriter, r *http.Request) { w.Write(make([]byte, limit+1)) }},
		"chunked, over": {h: func(w http.ResponseWriter, r *http.Request) { w.(http.Flusher).Flush(); w.Write(make([]byte, limit+1)) }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, tt.h)
			m, err := open(t, options(srv.URL)).Manifest(t.Context(), named(t, "r.example/x:v1"))
			if tt.ok {
				if err != nil || len(m.Bytes) != limit {
					t.Errorf("%d bytes, %v", len(m.Bytes), err)
				}
				return
			}
			if wantKind(t, err, Invalid); !strings.Contains(err.Error(), "at most 4194304 bytes") {
				t.Error(err)
			}
		})
	}
}

func TestSlowUpstreams(t *testing.T) {
	tests := map[string]http.HandlerFunc{
		"drips":  drip,
		"stalls": stall,
		"no headers": func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
		},
		"slow error": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusBadGateway)
			drip(w, r)
		},
	}
	for name, h := range tests {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, h)
			o := options(srv.URL)
			o.HeaderTimeout, o.BodyTimeout = 100*time.Millisecond, 100*time.Millisecond
			start := time.Now()
			_, err := open(t, o).Manifest(t.Context(), named(t, "r.example/x:v1"))
			wantKind(t, err, Unavailable)
			_, err = open(t, o).BlobBytes(t.Context(), of(t, "r.example/x", nil), 100)
			wantKind(t, err, Unavailable)
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("gave up after %s only", took)
			}
		})
	}
}

// A blob may take longer than any timeout as long as it moves, and the time in
// which the client does not read is not the upstream's.
func TestBlobsThatMoveAreNotCut(t *testing.T) {
	const n = 40
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for range n {
			w.Write([]byte("x"))
			w.(http.Flusher).Flush()
			time.Sleep(5 * time.Millisecond)
		}
	})
	o := options(srv.URL)
	o.BodyTimeout, o.IdleTimeout = 20*time.Millisecond, 100*time.Millisecond
	blob, err := open(t, o).Blob(t.Context(), of(t, "r.example/x", nil))
	if err != nil || blob.Size != -1 {
		t.Fatalf("%v, %v", blob, err)
	}
	defer blob.Body.Close()
	if _, err := io.ReadFull(blob.Body, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(150 * time.Millisecond)
	if b, err := io.ReadAll(blob.Body); err != nil || len(b) != n-1 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

func TestBlobsThatStallAreCut(t *testing.T) {
	srv := serve(t, stall)
	o := options(srv.URL)
	o.IdleTimeout = 50 * time.Millisecond
	blob, err := open(t, o).Blob(t.Context(), of(t, "r.example/x", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Body.Close()
	_, err = io.ReadAll(blob.Body)
	if wantKind(t, err, Unavailable); !strings.Contains(err.Error(), "stalled") {
		t.Error(err)
	}
}

// short announces more than it sends.
func short(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Length", "100")
	w.Write([]byte("{}"))
}

func TestBodiesShorterThanAnnounced(t *testing.T) {
	srv := serve(t, short)
	c := open(t, options(srv.URL))
	_, err := c.Manifest(t.Context(), named(t, "r.example/x:v1"))
	wantKind(t, err, Unavailable)
	blob, err := c.Blob(t.Context(), of(t, "r.example/x", nil))
	if err != nil || blob.Size != 100 {
		t.Fatalf("%v, %v", blob, err)
	}
	defer blob.Body.Close()
	b, err := io.ReadAll(blob.Body)
	if wantKind(t, err, Unavailable); string(b) != "{}" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestEncodedAnswersAreRefused(t *testing.T) {
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		z.Write([]byte("{}"))
		z.Close()
	})
	c := open(t, options(srv.URL))
	ref := of(t, "r.example/x", nil)
	_, err := c.Manifest(t.Context(), ref)
	wantKind(t, err, Invalid)
	_, err = c.Blob(t.Context(), ref)
	wantKind(t, err, Invalid)
	_, err = c.StatBlob(t.Context(), ref)
	wantKind(t, err, Invalid)
	_, err = c.Referrers(t.Context(), ref)
	wantKind(t, err, Invalid)
}

func TestStatNeedsALength(t *testing.T) {
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) { w.(http.Flusher).Flush() })
	_, err := open(t, options(srv.URL)).StatBlob(t.Context(), of(t, "r.example/x", nil))
	wantKind(t, err, Invalid)
}

func TestCancelledClients(t *testing.T) {
	srv := serve(t, stall)
	c := open(t, options(srv.URL))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := c.Manifest(ctx, named(t, "r.example/x:v1"))
	if wantKind(t, err, Unavailable); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	ctx, leave := context.WithCancel(t.Context())
	blob, err := c.Blob(ctx, of(t, "r.example/x", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Body.Close()
	time.AfterFunc(20*time.Millisecond, leave)
	if _, err := io.ReadAll(blob.Body); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A digest of another algorithm is checked by that algorithm.
func TestSHA512(t *testing.T) {
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "content") })
	c := open(t, options(srv.URL))
	good := at(t, "r.example/x", digest.SHA512.FromString("content"))
	if b, err := c.BlobBytes(t.Context(), good, 100); err != nil || string(b) != "content" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := c.ManifestBytes(t.Context(), good); err != nil {
		t.Error(err)
	}
	_, err := c.BlobBytes(t.Context(), at(t, "r.example/x", digest.SHA512.FromString("other")), 100)
	wantKind(t, err, Invalid)
}
