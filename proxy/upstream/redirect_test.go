package upstream

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"testing"
)

func TestRedirectTargets(t *testing.T) {
	cdn := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "{}") })
	port := strconv.Itoa(int(cdn.addr().Port()))
	tests := map[string]struct {
		to    string
		class class // of the upstream
		cdn   class // of the target, when it is the server above
		ok    bool
	}{
		"loopback to loopback": {cdn.URL + "/b", loopback, loopback, true},
		"loopback to public":   {cdn.URL + "/b", loopback, public, true},
		"private to loopback":  {cdn.URL + "/b", private, loopback, false},
		"private to private":   {cdn.URL + "/b", private, private, true},
		"public to public":     {cdn.URL + "/b", public, public, true},
		"public to private":    {cdn.URL + "/b", public, private, false},
		"public to localhost":  {"http://localhost:" + port, public, loopback, false},
		"user name stripped":   {"http://user:pw@127.0.0.1:" + port, loopback, loopback, true},
		"metadata service":     {"http://169.254.169.254/latest/meta-data/", loopback, 0, false},
		"metadata by IPv6":     {"http://[::ffff:a9fe:a9fe]/latest/meta-data/", loopback, 0, false},
		"metadata by NAT64":    {"http://[64:ff9b::a9fe:a9fe]/latest/meta-data/", loopback, 0, false},
		"unspecified":          {"http://0.0.0.0:" + port, loopback, 0, false},
		"file":                 {"file:///etc/passwd", loopback, 0, false},
		"data":                 {"data:text/plain,x", loopback, 0, false},
		"no host":              {"http:///x", loopback, 0, false},
		"number":               {"http://2130706433:" + port, loopback, 0, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			reg := serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Location", tt.to)
				w.WriteHeader(http.StatusTemporaryRedirect)
			})
			o := options(reg.URL)
			o.seams.class = classes(map[netip.AddrPort]class{reg.addr(): tt.class, cdn.addr(): tt.cdn})
			before := len(cdn.requests())
			_, err := open(t, o).Manifest(t.Context(), named(t, "r.example/x:v1"))
			if tt.ok {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || len(cdn.requests()) != before {
				t.Errorf("the redirect was followed: %v", err)
			}
			reg.wantRequests(t, "GET /v2/x/manifests/v1")
		})
	}
}

// Names are checked when they are dialled, after the look-up.
func TestRedirectToANameWithAnInternalAddress(t *testing.T) {
	cdn := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "{}") })
	port := strconv.Itoa(int(cdn.addr().Port()))
	dns := &names{addrs: map[string][]string{"cdn.test.": {"127.0.0.1"}, "meta.test.": {"169.254.169.254"}}}
	for _, host := range []string{"cdn.test", "meta.test"} {
		reg := serve(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://"+host+":"+port+"/b", http.StatusFound)
		})
		o := options(reg.URL)
		o.seams.resolver = dns.resolver()
		o.seams.class = classes(map[netip.AddrPort]class{reg.addr(): public})
		_, err := open(t, o).Manifest(t.Context(), named(t, "r.example/x:v1"))
		if wantKind(t, err, Refused); !strings.Contains(err.Error(), "refused to go to") {
			t.Errorf("%s: %v", host, err)
		}
	}
	cdn.wantRequests(t)
}

// An upstream known by name may send us on within the class of the address it
// was reached at.
func TestRedirectsOfNamedUpstreams(t *testing.T) {
	cdn := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "{}") })
	reg := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, cdn.URL, http.StatusFound) })
	dns := &names{addrs: map[string][]string{"reg.test.": {"127.0.0.1"}}}
	for from, ok := range map[class]bool{loopback: true, private: true, public: false} {
		o := options("http://reg.test:" + strconv.Itoa(int(reg.addr().Port())))
		o.seams.resolver = dns.resolver()
		o.seams.class = classes(map[netip.AddrPort]class{reg.addr(): from, cdn.addr(): private})
		_, err := open(t, o).Manifest(t.Context(), named(t, "r.example/x:v1"))
		if (err == nil) != ok {
			t.Errorf("%s upstream to a private target: %v", from, err)
		}
	}
}

// A name that is public when it is first looked up and internal later does not
// get through: there is one look-up a connection, and it is the one that counts.
func TestRebindingNames(t *testing.T) {
	cdn := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "{}") })
	port := strconv.Itoa(int(cdn.addr().Port()))
	reg := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://cdn.test:"+port+"/b", http.StatusFound)
	})
	dns := &names{addrs: map[string][]string{"cdn.test.": {"127.0.0.1", "127.0.0.2"}}}
	o := options(reg.URL)
	o.seams.resolver = dns.resolver()
	o.seams.class = classes(map[netip.AddrPort]class{reg.addr(): public, cdn.addr(): public})
	c := open(t, o)
	if _, err := c.Manifest(t.Context(), named(t, "r.example/x:v1")); err != nil {
		t.Fatal(err)
	}
	c.Close() // the next request makes a new connection
	_, err := c.Manifest(t.Context(), named(t, "r.example/x:v1"))
	if e := wantKind(t, err, Refused); !strings.Contains(e.Error(), "127.0.0.2") {
		t.Error(err)
	}
	cdn.wantRequests(t, "GET /b")
}

// The endpoint's own name must not turn into a metadata service, and an
// unconfigured registry must not turn out to be internal at all.
func TestRebindingEndpoints(t *testing.T) {
	dns := &names{addrs: map[string][]string{"reg.test.": {"169.254.169.254"}, "inner.test.": {"10.1.2.3"}, "self.test.": {"127.0.0.1"}}}
	o := options("http://reg.test:5000")
	o.Others = true
	o.seams.resolver = dns.resolver()
	c := open(t, o)
	for _, ref := range []string{"r.example/x:v1", "inner.test/x:v1", "self.test:8443/x:v1"} {
		_, err := c.Manifest(t.Context(), named(t, ref))
		if wantKind(t, err, NotServed); !strings.Contains(err.Error(), "refused to go to") {
			t.Errorf("%s: %v", ref, err)
		}
	}
}

func TestRedirectsAreCounted(t *testing.T) {
	for hops, ok := range map[int]bool{5: true, 6: false} {
		reg := serve(t, func(w http.ResponseWriter, r *http.Request) {
			n, _ := strconv.Atoi(r.URL.Query().Get("n"))
			if n == hops {
				io.WriteString(w, "{}")
				return
			}
			http.Redirect(w, r, fmt.Sprintf("%s?n=%d", r.URL.Path, n+1), http.StatusFound)
		})
		_, err := open(t, options(reg.URL)).Manifest(t.Context(), named(t, "r.example/x:v1"))
		if (err == nil) != ok {
			t.Errorf("%d redirects: %v", hops, err)
		}
		if err != nil {
			wantKind(t, err, Refused)
		}
		if n := len(reg.requests()); n != 6 {
			t.Errorf("%d redirects: %d requests, want 6", hops, n)
		}
	}
}

func TestRedirectsNeverLeaveHTTPS(t *testing.T) {
	plain := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "{}") })
	secure := serveTLS(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, plain.URL, http.StatusFound) })
	certs := certsFor(t, secure)

	t.Run("https upstream", func(t *testing.T) {
		o := options(secure.URL)
		o.CertsDirs = []string{certs}
		_, err := open(t, o).Manifest(t.Context(), named(t, "r.example/x:v1"))
		wantKind(t, err, Refused)
	})
	t.Run("http upstream that went to https", func(t *testing.T) {
		reg := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, secure.URL, http.StatusFound) })
		o := options(reg.URL)
		o.CertsDirs = []string{certs}
		_, err := open(t, o).Manifest(t.Context(), named(t, "r.example/x:v1"))
		wantKind(t, err, Refused)
	})
	t.Run("https upstream with a plain token server", func(t *testing.T) {
		reg := serveTLS(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm=%q`, plain.URL))
			w.WriteHeader(http.StatusUnauthorized)
		})
		o := options(reg.URL)
		o.CertsDirs = []string{certsFor(t, reg)}
		o.Credentials = login("me", "hunter2", "")
		_, err := open(t, o).Manifest(t.Context(), named(t, "r.example/x:v1"))
		if err == nil {
			t.Error("a plain token server was accepted")
		}
		wantNoSecrets(t, err)
	})
	plain.wantRequests(t)
}

// Presigned URLs are secrets: neither the next host nor the log may see them.
func TestQueriesOfRedirectsStayInside(t *testing.T) {
	last := serve(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusForbidden) })
	middle := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, last.URL+"/b?secret=2", http.StatusFound)
	})
	reg := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, middle.URL+"/b?secret=1", http.StatusFound)
	})
	_, err := open(t, options(reg.URL)).Blob(t.Context(), of(t, "r.example/x", nil))
	wantKind(t, err, Refused)
	wantNoSecrets(t, err)
	if got := last.headers("Referer"); got[0] != "" {
		t.Errorf("the last host was told where we come from: %q", got)
	}
	last.Close()
	_, err = open(t, options(reg.URL)).Blob(t.Context(), of(t, "r.example/x", nil))
	wantKind(t, err, Unavailable)
	wantNoSecrets(t, err)
}

// A proxy of the environment does the dialling. It may be anywhere; addresses
// written into redirects are still checked.
func TestProxy(t *testing.T) {
	proxy := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Host == "far.example" {
			http.Redirect(w, r, "http://10.0.0.1/internal", http.StatusFound)
			return
		}
		io.WriteString(w, "{}")
	})
	o := options("http://reg.example")
	o.Registries = append(o.Registries, Registry{Name: "far.example", Endpoint: "http://far.example"})
	target, _ := url.Parse(proxy.URL)
	o.seams.proxy = func(*http.Request) (*url.URL, error) { return target, nil }
	c := open(t, o)
	if _, err := c.Manifest(t.Context(), named(t, "r.example/x:v1")); err != nil {
		t.Error(err)
	}
	_, err := c.Manifest(t.Context(), named(t, "far.example/x:v1"))
	wantKind(t, err, Refused)
	proxy.wantRequests(t, "GET /v2/x/manifests/v1", "GET /v2/x/manifests/v1")
	o.seams.proxy = func(*http.Request) (*url.URL, error) { return nil, fmt.Errorf("invalid proxy http://user:hunter2@x") }
	_, err = open(t, o).Manifest(t.Context(), named(t, "r.example/x:v1"))
	wantKind(t, err, Unavailable)
	wantNoSecrets(t, err)
}
