package intercept

import (
	"net/http"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/proxy/audit"
)

func TestPlainHTTPToAPlainRegistry(t *testing.T) {
	w := newWorld(t, nil)
	a := send(t, w.dial(), "GET", "GET http://plain.example:5000/v2/x%2fy/manifests/1?n=1 HTTP/1.1\r\nHost: other.example\r\nProxy-Authorization: Basic x\r\nAuthorization: Basic own\r\nConnection: close\r\n\r\n")
	if a.status != 200 || a.body != "plain.example:5000 GET /v2/x%2fy/manifests/1?n=1" {
		t.Errorf("%+v", a)
	}
	r := w.lastServed()
	if r.RequestURI != "/v2/x%2fy/manifests/1?n=1" || r.Host != "plain.example:5000" || r.URL.Host != "" || r.URL.Scheme != "" {
		t.Errorf("passed on as %s %s %v", r.Host, r.RequestURI, r.URL)
	}
	if r.Header.Get("Proxy-Authorization") != "" || r.Header.Get("Authorization") != "Basic own" {
		t.Errorf("headers %v", r.Header)
	}
}

func TestOtherAbsoluteURLsAreRefused(t *testing.T) {
	w := newWorld(t, func(_ *world, o *Options) { o.Tunnel = []string{"cdn.example", "cdn.example:80", "169.0.0.0/8"} })
	for url, status := range map[string]int{
		"http://registry.example/v2/":                       http.StatusForbidden, // its endpoint is https
		"http://cdn.example/v2/":                            http.StatusForbidden, // tunnels carry TLS
		"http://169.254.169.254/latest/meta-data/?token=pw": http.StatusForbidden,
		"http://[::1]:5000/v2/":                             http.StatusForbidden,
		"http://plain.example/v2/":                          http.StatusForbidden,
		"https://registry.example/v2/":                      http.StatusForbidden,
		"ftp://plain.example:5000/v2/":                      http.StatusForbidden,
		"HTTP://plain.example:5000/v2/":                     http.StatusForbidden,
		"http://user:pw@plain.example:5000/v2/":             http.StatusBadRequest,
		"http://PLAIN.example:5000/v2/":                     http.StatusBadRequest,
		"http://plain.example.:5000/v2/":                    http.StatusBadRequest,
		"http://2130706433/v2/":                             http.StatusBadRequest,
		"http://plain.example:5000":                         http.StatusBadRequest,
		"http://plain.example:5000?x=/v2/":                  http.StatusBadRequest,
		"http://plain.example:05000/v2/":                    http.StatusBadRequest,
	} {
		a := send(t, w.dial(), "GET", "GET "+url+" HTTP/1.1\r\nHost: plain.example:5000\r\n\r\n")
		if a.status != status || !strings.Contains(a.body, "What would pass: ") {
			t.Errorf("%s: %d %s", url, a.status, a.phrase)
		}
	}
	if len(w.requests()) > 0 {
		t.Errorf("served: %q", w.requests())
	}
	records := w.sink.list()
	if len(records) != 15 {
		t.Errorf("%d records", len(records))
	}
	for _, r := range records {
		if r.Decision != audit.Denied || r.Kind != audit.KindConnect || strings.Contains(r.Reference, "/") || strings.Contains(strings.Join(append(r.Reasons, r.Reference), ""), "pw") {
			t.Errorf("record %+v", r)
		}
	}
}

func TestTheProxyIsNoServer(t *testing.T) {
	w := newWorld(t, nil)
	for _, raw := range []string{"GET /v2/ HTTP/1.1\r\nHost: registry.example\r\n\r\n", "GET / HTTP/1.0\r\n\r\n", "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"} {
		a := send(t, w.dial(), "GET", raw)
		if a.status != http.StatusBadRequest || !strings.Contains(a.phrase, "this is an HTTP proxy") || !strings.Contains(a.body, "HTTPS proxy") {
			t.Errorf("%q: %+v", raw, a)
		}
	}
	a := send(t, w.dial(), http.MethodConnect, "CONNECT /rpc HTTP/1.1\r\nHost: registry.example:443\r\n\r\n")
	if a.status != http.StatusBadRequest {
		t.Errorf("CONNECT with a path: %+v", a)
	}
	a = send(t, w.dial(), "HEAD", "HEAD /v2/ HTTP/1.1\r\nHost: registry.example\r\n\r\n")
	if a.status != http.StatusBadRequest || a.body != "" {
		t.Errorf("HEAD: %+v", a)
	}
	w.wantRecord(audit.Denied, audit.KindConnect, "this is an HTTP proxy")
}

// What stands after a refused request, or after one with a body, is not served.
func TestSmugglingToTheProxy(t *testing.T) {
	w := newWorld(t, nil)
	const next = "GET http://plain.example:5000/v2/smuggled HTTP/1.1\r\nHost: plain.example:5000\r\n\r\n"
	for _, raw := range []string{
		"GET http://other.example/v2/ HTTP/1.1\r\nHost: x\r\n\r\n" + next,
		"POST http://plain.example:5000/v2/first HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + next,
		"CONNECT other.example:443 HTTP/1.1\r\nHost: x\r\n\r\n" + next,
		"CONNECT registry.example:443 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + next,
		"CONNECT registry.example:443 HTTP/1.1\r\nHost: x\r\n\r\n" + next,
	} {
		c := w.dial()
		send(t, c, http.MethodConnect, raw)
		b := make([]byte, 1<<10)
		for {
			n, err := c.Read(b)
			if strings.Contains(string(b[:n]), "smuggled") {
				t.Errorf("%q: %s", raw, b[:n])
			}
			if err != nil {
				break
			}
		}
	}
	for _, r := range w.requests() {
		if strings.Contains(r, "smuggled") {
			t.Errorf("served %s", r)
		}
	}
}
