package intercept

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pullgate/pullgate/proxy/audit"
	"github.com/pullgate/pullgate/proxy/auth"
)

func TestRequestsInsideAreTheRegistrys(t *testing.T) {
	w := newWorld(t, nil)
	c := w.inside()
	leaf := c.ConnectionState().PeerCertificates[0]
	if p := c.ConnectionState().NegotiatedProtocol; p != "" && p != "http/1.1" || c.ConnectionState().Version < tls.VersionTLS12 {
		t.Errorf("negotiated %q", p)
	}
	if err := leaf.VerifyHostname(registryHost); err != nil {
		t.Error(err)
	}
	for range 2 { // on one connection
		if a := get(t, c, registryHost, "/v2/x%2fy/manifests/1?ns=z"); a.body != "registry.example GET /v2/x%2fy/manifests/1?ns=z" {
			t.Errorf("%+v", a)
		}
	}
	r := w.lastServed()
	if r.RemoteAddr != c.LocalAddr().String() || r.TLS == nil {
		t.Errorf("from %s, want the client's own %s", r.RemoteAddr, c.LocalAddr())
	}
	if a := get(t, c, registryHost+":443", "/v2/"); a.status != 200 {
		t.Errorf("with the port that https implies: %+v", a)
	}
	if got := w.sink.list(); len(got) > 0 {
		t.Errorf("records of a terminated connection: %+v", got)
	}
}

// A client as Go's own, which is what dockerd, containerd and podman use.
func TestHTTPClientsOfTheProxy(t *testing.T) {
	w := newWorld(t, nil)
	proxy, err := http.NewRequest("GET", w.server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{Proxy: http.ProxyURL(proxy.URL), TLSClientConfig: w.trust(""), ForceAttemptHTTP2: true}
	defer tr.CloseIdleConnections()
	client := &http.Client{Transport: tr}
	resp, err := client.Get("https://registry.example/v2/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); string(b) != "registry.example GET /v2/" || resp.ProtoMajor != 1 {
		t.Errorf("%s %q", resp.Proto, b)
	}
	_, err = client.Get("https://other.example/v2/")
	if err == nil || !strings.Contains(err.Error(), "other.example:443 is neither a registry that this gate serves nor in its tunnel list; what would pass: its operator can list") {
		t.Errorf("what the client shows: %v", err)
	}
}

func TestTheNameInTheHandshakeIsThatOfConnect(t *testing.T) {
	w := newWorld(t, func(_ *world, o *Options) {
		o.Registry = func(host string) (string, bool) { return host, host == registryHost || host == "127.0.0.1:5000" }
	})
	c := w.open(registryHost + ":443")
	err := tls.Client(c, &tls.Config{ServerName: "other.example", InsecureSkipVerify: true}).Handshake()
	if err == nil || !strings.Contains(err.Error(), "unrecognized name") {
		t.Errorf("another name: %v", err)
	}
	wantClosed(t, c)
	w.wantRecord(audit.Denied, audit.KindConnect, `expected the server name registry.example, as in CONNECT, found "other.example"`)

	none := tls.Client(w.open(registryHost+":443"), &tls.Config{InsecureSkipVerify: true})
	if a := get(t, none, registryHost, "/v2/"); a.status != 200 {
		t.Errorf("without a name: %+v", a)
	}
	if err := none.ConnectionState().PeerCertificates[0].VerifyHostname(registryHost); err != nil {
		t.Error(err)
	}
	byAddr := tls.Client(w.open("127.0.0.1:5000"), w.trust("127.0.0.1"))
	if a := get(t, byAddr, "127.0.0.1:5000", "/v2/"); a.body != "127.0.0.1:5000 GET /v2/" {
		t.Errorf("by address: %+v", a)
	}
	if tls.Client(w.open("127.0.0.1:5000"), w.trust("registry.example")).Handshake() == nil {
		t.Error("a name for an address passed")
	}
}

func TestTheHostInsideIsThatOfConnect(t *testing.T) {
	w := newWorld(t, nil)
	for _, host := range []string{"other.example", "registry.example:5000", "registry.example:80", "registry.example.", "x.registry.example", "plain.example:5000", ""} {
		c := w.inside()
		a := get(t, c, host, "/v2/")
		if a.status != http.StatusMisdirectedRequest || !strings.Contains(a.phrase, "expected Host registry.example, as in CONNECT") {
			t.Errorf("Host %q: %d %s", host, a.status, a.phrase)
		}
		wantClosed(t, c)
	}
	w.wantRecord(audit.Denied, audit.KindConnect, `found "other.example"`)
	if a := get(t, w.inside(), "Registry.Example", "/v2/"); a.status != 200 { // names have no case
		t.Errorf("%+v", a)
	}
	for _, target := range []string{"https://registry.example/v2/", "http://other.example/v2/", "*"} {
		a := send(t, w.inside(), "OPTIONS", "OPTIONS "+target+" HTTP/1.1\r\nHost: registry.example\r\n\r\n")
		if a.status != http.StatusBadRequest && a.status != http.StatusOK { // net/http itself answers *
			t.Errorf("%s: %+v", target, a)
		}
	}
	if a := send(t, w.inside(), http.MethodConnect, "CONNECT other.example:443 HTTP/1.1\r\nHost: registry.example\r\n\r\n"); a.status != http.StatusBadRequest {
		t.Errorf("CONNECT inside: %+v", a)
	}
	if got := w.requests(); !slices.Equal(got, []string{"GET /v2/"}) {
		t.Errorf("served: %q", got)
	}
}

func TestClientsThatOnlySpeakHTTP2FailCleanly(t *testing.T) {
	w := newWorld(t, nil)
	config := w.trust(registryHost)
	config.NextProtos = []string{"h2"}
	c := w.open(registryHost + ":443")
	if err := tls.Client(c, config).Handshake(); err == nil || !strings.Contains(err.Error(), "no application protocol") {
		t.Errorf("handshake: %v", err)
	}
	wantClosed(t, c)
	w.wantRecord(audit.Error, audit.KindConnect, "unsupported application protocols")
	config.NextProtos = []string{"h2", "http/1.1"}
	both := tls.Client(w.open(registryHost+":443"), config)
	if err := both.Handshake(); err != nil || both.ConnectionState().NegotiatedProtocol != "http/1.1" {
		t.Errorf("with both: %q, %v", both.ConnectionState().NegotiatedProtocol, err)
	}
}

func TestHandshakesThatFailAreRecorded(t *testing.T) {
	w := newWorld(t, func(_ *world, o *Options) { o.seams.helloWait = 300 * time.Millisecond })
	if tls.Client(w.open(registryHost+":443"), &tls.Config{ServerName: registryHost}).Handshake() == nil {
		t.Fatal("an unknown CA was trusted")
	}
	w.wantRecord(audit.Error, audit.KindConnect, "what would pass: a client that trusts the interception CA")
	if tls.Client(w.open(registryHost+":443"), &tls.Config{ServerName: registryHost, InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}).Handshake() == nil {
		t.Error("TLS 1.1 passed")
	}
	w.wantRecord(audit.Error, audit.KindConnect, "client offered only unsupported versions")
	c := w.open(registryHost + ":443")
	io.WriteString(c, "GET /v2/ HTTP/1.1\r\nHost: registry.example\r\n\r\n")
	wantClosed(t, c)
	w.wantRecord(audit.Error, audit.KindConnect, "expected a TLS ClientHello, found something else")
	wantClosed(t, w.open(registryHost+":443")) // says nothing
	w.wantRecord(audit.Error, audit.KindConnect, "i/o timeout")
	if len(w.requests()) > 0 {
		t.Error("something was served")
	}
}

// Whatever stands after a request whose end is a matter of opinion is not served.
func TestSmugglingInsideATerminatedConnection(t *testing.T) {
	w := newWorld(t, nil)
	const next = "GET /v2/smuggled HTTP/1.1\r\nHost: registry.example\r\n\r\n"
	post := "POST /v2/first HTTP/1.1\r\nHost: registry.example\r\n"
	for name, raw := range map[string]string{
		"both":                   post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + next,
		"both, the other way":    post + "Transfer-Encoding: chunked\r\nContent-Length: 100\r\n\r\n0\r\n\r\n" + next,
		"two lengths":            post + "Content-Length: 0\r\nContent-Length: 5\r\n\r\n" + next,
		"two lengths in one":     post + "Content-Length: 0, 5\r\n\r\n" + next,
		"length with a sign":     post + "Content-Length: +0\r\n\r\n" + next,
		"length in hexadecimal":  post + "Content-Length: 0x0\r\n\r\n" + next,
		"space before the colon": post + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + next,
		"xchunked":               post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + next,
		"identity, chunked":      post + "Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n" + next,
		"chunked twice":          post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + next,
		"chunked and identity":   post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + next,
		"folded":                 post + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + next,
		"control character":      post + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + next,
		"bare carriage return":   post + "X: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + next,
		"chunked":                post + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + next,
		"chunk size overflows":   post + "Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n" + next,
		"body of a GET":          "GET /v2/first HTTP/1.1\r\nHost: registry.example\r\nContent-Length: 5\r\n\r\nhello" + next,
		"HTTP/1.0, chunked":      "POST /v2/first HTTP/1.0\r\nHost: registry.example\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n" + next,
		"two hosts":              "GET /v2/first HTTP/1.1\r\nHost: registry.example\r\nHost: other.example\r\n\r\n" + next,
		"space before the name":  "GET /v2/first HTTP/1.1\r\n Host: registry.example\r\n\r\n" + next,
	} {
		c := w.inside()
		if _, err := io.WriteString(c, raw); err != nil {
			t.Fatal(err)
		}
		answers := 0
		for in := bufio.NewReader(c); ; answers++ {
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				break
			}
			_, _ = io.Copy(io.Discard, resp.Body)
		}
		if answers > 1 {
			t.Errorf("%s: %d answers, want at most one and the end", name, answers)
		}
	}
	if got := w.requests(); slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, "smuggled") }) {
		t.Errorf("served: %q", got)
	}
}

func TestLimitsInsideATerminatedConnection(t *testing.T) {
	w := newWorld(t, nil)
	c := w.inside()
	a := send(t, c, "GET", "GET /v2/ HTTP/1.1\r\nHost: registry.example\r\nX: "+strings.Repeat("x", 80<<10)+"\r\n\r\n")
	if a.status != http.StatusRequestHeaderFieldsTooLarge || len(w.requests()) > 0 {
		t.Errorf("80 KiB of headers: %+v", a)
	}
	if s := w.handler.inner; s.ReadHeaderTimeout != 10*time.Second || s.IdleTimeout != 2*time.Minute || s.MaxHeaderBytes != 64<<10 {
		t.Errorf("limits of the server: %+v", s)
	}
}

// Refusals of the registry API take the connection over, and long answers set
// deadlines: both must reach the real connection.
func TestTheAPICanTakeConnectionsOver(t *testing.T) {
	w := newWorld(t, func(_ *world, o *Options) {
		o.Serve = func(string, auth.Identity) http.Handler {
			return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				control := http.NewResponseController(rw)
				if err := control.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
					t.Error(err)
				}
				c, _, err := control.Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				io.WriteString(c, "HTTP/1.1 403 Denied by image policy default: unsigned\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			})
		}
	})
	c := w.inside()
	if a := get(t, c, registryHost, "/v2/x/manifests/1"); a.status != 403 || a.phrase != "Denied by image policy default: unsigned" {
		t.Errorf("%+v", a)
	}
	wantClosed(t, c)
	w.wantSlots(0)
}

// wantSlots waits until so many connections are in use.
func (w *world) wantSlots(n int) {
	w.t.Helper()
	count := func() int {
		w.handler.slots.mu.Lock()
		defer w.handler.slots.mu.Unlock()
		return len(w.handler.slots.used)
	}
	for end := time.Now().Add(5 * time.Second); count() != n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("%d connections are in use, want %d", count(), n)
		}
	}
}

func TestClosingEndsTerminatedConnections(t *testing.T) {
	started := make(chan struct{})
	w := newWorld(t, func(_ *world, o *Options) {
		o.Serve = func(string, auth.Identity) http.Handler {
			return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				close(started)
				<-r.Context().Done()
			})
		}
	})
	idle, busy, silent := w.inside(), w.inside(), w.open(registryHost+":443")
	io.WriteString(busy, "GET / HTTP/1.1\r\nHost: registry.example\r\n\r\n")
	<-started
	w.handler.Close()
	for _, c := range []net.Conn{idle, busy, silent} {
		_, _ = io.ReadAll(c)
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a connection outlives its handler: %v", err)
		}
	}
}

func TestWhoAsksIsKnownInside(t *testing.T) {
	var got auth.Identity
	id := auth.Identity{Kind: auth.User, Name: "alice", Addr: netip.MustParseAddr("192.0.2.7")}
	w := newWorld(t, func(w *world, o *Options) {
		o.Identify = func(r *http.Request) (auth.Identity, error) {
			switch r.Header.Get("Proxy-Authorization") {
			case "Basic right":
				return id, nil
			case "Basic broken":
				return auth.Identity{}, errors.New("htpasswd: permission denied")
			}
			return auth.Identity{}, &auth.Refusal{Status: http.StatusProxyAuthRequired, Challenge: `Basic realm="pullgate"`, Message: "say who you are"}
		}
		o.Serve = func(registry string, id auth.Identity) http.Handler {
			got = id
			return w.api(registry)
		}
		o.Tunnel = []string{"cdn.example"}
	})
	for _, to := range []string{registryHost + ":443", "cdn.example:443", "other.example:443", "not a target"} {
		c := w.dial()
		a := send(t, c, http.MethodConnect, "CONNECT "+strings.ReplaceAll(to, " ", "")+" HTTP/1.1\r\nHost: x\r\n\r\n")
		if a.status != http.StatusProxyAuthRequired || a.header.Get("Proxy-Authenticate") != `Basic realm="pullgate"` || !strings.HasPrefix(a.phrase, "say who you are") {
			t.Errorf("%s: %+v", to, a)
		}
	}
	w.wantRecord(audit.Denied, audit.KindConnect, "say who you are")
	connect := func(credentials string) (net.Conn, answer) {
		c := w.dial()
		return c, send(t, c, http.MethodConnect, "CONNECT registry.example:443 HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic "+credentials+"\r\n\r\n")
	}
	if _, a := connect("broken"); a.status != http.StatusServiceUnavailable || strings.Contains(a.body, "htpasswd") {
		t.Errorf("%+v", a)
	}
	if r := w.wantRecord(audit.Inconclusive, audit.KindConnect, "it cannot be told who asks"); r.Mode != "intercept" || r.Identity != "" {
		t.Errorf("record %+v", r)
	}
	c, a := connect("right")
	if a.status != http.StatusOK || got.Name != "alice" {
		t.Fatalf("%+v as %v", a, got)
	}
	inside := tls.Client(c, w.trust(registryHost))
	send(t, inside, "GET", "GET /v2/ HTTP/1.1\r\nHost: registry.example\r\nAuthorization: Basic own\r\nProxy-Authorization: Basic right\r\n"+
		"X-Forwarded-For: 10.0.0.1\r\nForwarded: for=10.0.0.1\r\nX-Real-IP: 10.0.0.1\r\n\r\n")
	h := w.lastServed().Header
	if h.Get("Authorization") != "Basic own" || h.Get("Proxy-Authorization") != "" || h.Get("Forwarded") != "" || h.Get("X-Real-Ip") != "" {
		t.Errorf("headers of the request inside: %v", h)
	}
	if got := h.Values("X-Forwarded-For"); !slices.Equal(got, []string{"192.0.2.7"}) {
		t.Errorf("X-Forwarded-For is %q, want what the CONNECT request said", got)
	}
}

func TestRefusedTargets(t *testing.T) {
	w := newWorld(t, nil)
	for to, reason := range map[string]string{
		"REGISTRY.example:443": "expected a host name in lower case", "registry.example.:443": "without a dot at its end", "registry.example": "found no port",
		"user@registry.example:443": "found a user name", "user:secret@registry.example:443": "found a user name", "2852039166:443": "an address in its usual form",
		"0xa9fea9fe:443": "an address in its usual form", "0251.0376.0251.0376:443": "an address in its usual form", "127.1:443": "an address in its usual form",
		"[::ffff:169.254.169.254]:443": "in its own form", "registry.example:0443": "expected a port", "registry.example:443?x": "expected a port",
	} {
		w.wantRefused(to, http.StatusBadRequest, reason)
	}
	for _, r := range w.sink.list() {
		if s := fmt.Sprint(r); strings.Contains(s, "secret") {
			t.Errorf("a password in the log: %s", s)
		}
	}
	c := w.dial()
	a := send(t, c, http.MethodConnect, "CONNECT registry.example:443 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello")
	if a.status != http.StatusBadRequest || !strings.Contains(a.phrase, "without a body") {
		t.Errorf("CONNECT with a body: %+v", a)
	}
}

// Some clients do not wait for the answer to CONNECT.
func TestWhatIsSentEarlyIsNotLost(t *testing.T) {
	w := newWorld(t, nil)
	c := w.dial()
	early := &earlyConn{Conn: c, first: "CONNECT registry.example:443 HTTP/1.1\r\nHost: x\r\n\r\n", skip: established}
	if a := get(t, tls.Client(early, w.trust(registryHost)), registryHost, "/v2/"); a.status != 200 {
		t.Errorf("%+v", a)
	}
}

// earlyConn sends something with the first write and drops the answer to it.
type earlyConn struct {
	net.Conn
	first, skip string
}

func (c *earlyConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(append([]byte(c.first), p...))
	n -= len(c.first)
	c.first = ""
	return n, err
}

func (c *earlyConn) Read(p []byte) (int, error) {
	if c.skip != "" {
		if _, err := io.ReadFull(c.Conn, make([]byte, len(c.skip))); err != nil {
			return 0, err
		}
		c.skip = ""
	}
	return c.Conn.Read(p)
}

// Who connected is asked again for each request: a user who was removed, or who is
// somebody else now, does not go on over a connection that is still open.
func TestWhoIsGoneDoesNotGoOn(t *testing.T) {
	for name, now := range map[string]func() (auth.Identity, error){
		"refused": func() (auth.Identity, error) {
			return auth.Identity{}, &auth.Refusal{Status: http.StatusProxyAuthRequired}
		},
		"cannot tell":   func() (auth.Identity, error) { return auth.Identity{}, errors.New("no idea") },
		"somebody else": func() (auth.Identity, error) { return auth.Identity{Kind: auth.User, Name: "bob"}, nil },
	} {
		t.Run(name, func(t *testing.T) {
			var gone atomic.Bool
			w := newWorld(t, func(_ *world, o *Options) {
				o.Identify = func(*http.Request) (auth.Identity, error) {
					if gone.Load() {
						return now()
					}
					return auth.Identity{Kind: auth.User, Name: "alice"}, nil
				}
			})
			c := w.inside()
			if a := get(t, c, registryHost, "/v2/"); a.status != http.StatusOK {
				t.Fatalf("%+v", a)
			}
			served := len(w.requests())
			gone.Store(true)
			if a := get(t, c, registryHost, "/v2/"); a.status != http.StatusForbidden {
				t.Errorf("%+v", a)
			}
			w.wantRecord(audit.Denied, audit.KindConnect, "whoever connected is")
			if n := len(w.requests()); n != served {
				t.Errorf("%d requests were served after that", n-served)
			}
		})
	}
}
