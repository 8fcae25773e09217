package upstream

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func openWeb(t *testing.T, o Options) *Web {
	t.Helper()
	w := NewWeb(o)
	t.Cleanup(w.Close)
	return w
}

const signaturePath = "/sigs/team/app@sha256=0123/signature-1"

func TestSignatureServer(t *testing.T) {
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) { w.Write([]byte{0x99, 1, 2}) })
	body, err := openWeb(t, options("")).Get(t.Context(), srv.URL+signaturePath)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if b, err := io.ReadAll(body); err != nil || string(b) != "\x99\x01\x02" {
		t.Errorf("%q, %v", b, err)
	}
	srv.wantRequests(t, "GET "+signaturePath)
	if got := srv.headers("Accept-Encoding"); got[0] != "identity" {
		t.Errorf("Accept-Encoding: %q", got)
	}
}

// Only a 404 says that there is no signature. Everything else could be an
// outage or an attack.
func TestSignatureServerFailures(t *testing.T) {
	status := func(n int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(n) }
	}
	tests := map[string]struct {
		h    http.HandlerFunc
		want Kind
	}{
		"not found":    {status(404), NotFound},
		"forbidden":    {status(403), Refused},
		"unauthorized": {status(401), Refused},
		"gone":         {status(410), Invalid},
		"busy":         {status(429), TooManyRequests},
		"down":         {status(500), Unavailable},
		"empty":        {status(204), Invalid},
		"silent":       {func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, Unavailable},
		"encoded": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "br")
		}, Invalid},
		"redirect to metadata": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/latest/", http.StatusFound)
		}, Refused},
		"redirect to a file": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "file:///etc/passwd")
			w.WriteHeader(http.StatusFound)
		}, Refused},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, tt.h)
			o := options("")
			o.HeaderTimeout = 100 * time.Millisecond
			_, err := openWeb(t, o).Get(t.Context(), srv.URL+signaturePath+"?secret=1")
			wantKind(t, err, tt.want)
			wantNoSecrets(t, err)
			if errors.Is(err, fs.ErrNotExist) != (tt.want == NotFound) {
				t.Errorf("%v reads as missing", err)
			}
		})
	}
}

func TestSlowSignatureServers(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{"drips": drip, "stalls": stall} {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, h)
			o := options("")
			o.HeaderTimeout, o.BodyTimeout, o.IdleTimeout = 100*time.Millisecond, 100*time.Millisecond, 150*time.Millisecond
			body, err := openWeb(t, o).Get(t.Context(), srv.URL+signaturePath)
			if err != nil {
				t.Fatal(err)
			}
			defer body.Close()
			_, err = io.ReadAll(body)
			wantKind(t, err, Unavailable)
		})
	}
}

func TestSignatureServersByOtherMeans(t *testing.T) {
	w := openWeb(t, options(""))
	for _, u := range []string{"file:///etc/passwd", "ftp://x.example/", "//x.example", "http://", "https://%zz", ""} {
		_, err := w.Get(t.Context(), u)
		wantKind(t, err, Invalid)
	}
	o := options("")
	o.BodyTimeout = -1
	if _, err := openWeb(t, o).Get(t.Context(), "https://x.example"); err == nil {
		t.Error("a negative limit passed")
	}
}

// A password in the URL goes to that host and no further, and into no error.
func TestPasswordsOfSignatureServers(t *testing.T) {
	next := serve(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, next.URL+"/x?secret=2", http.StatusFound)
	})
	_, err := openWeb(t, options("")).Get(t.Context(), strings.Replace(srv.URL, "http://", "http://me:hunter2@", 1)+signaturePath)
	wantKind(t, err, Unavailable)
	wantNoSecrets(t, err)
	if got := srv.headers("Authorization"); !slices.Equal(got, []string{basic("me", "hunter2")}) {
		t.Errorf("the host was told %q", got)
	}
	if got := next.headers("Authorization"); !slices.Equal(got, []string{""}) {
		t.Errorf("the next host was told %q", got)
	}
}

func TestSignatureServersCannotOpenTheNetworkBehind(t *testing.T) {
	inside := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "secret") })
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, inside.URL, http.StatusFound) })
	o := options("")
	o.seams.class = classes(map[netip.AddrPort]class{srv.addr(): public})
	_, err := openWeb(t, o).Get(t.Context(), srv.URL+signaturePath)
	wantKind(t, err, Refused)
	inside.wantRequests(t)
}

func TestSitesAreBounded(t *testing.T) {
	o := options("")
	o.seams.send = roundTrip(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 404, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
	})
	w := openWeb(t, o)
	for i := range 2 * maxSites {
		_, err := w.Get(t.Context(), fmt.Sprintf("https://h%d.example/x", i))
		wantKind(t, err, NotFound)
	}
	if len(w.sites) > maxSites {
		t.Errorf("%d sites are kept", len(w.sites))
	}
}
