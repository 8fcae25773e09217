package intercept

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pullgate/pullgate/proxy/audit"
	"github.com/pullgate/pullgate/proxy/auth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// quiet is where servers complain about clients that hang up.
var quiet = log.New(io.Discard, "", 0)

// records is a sink in memory.
type records struct {
	mu  sync.Mutex
	all []audit.Record
	err error // of every Write
}

func (s *records) Write(r audit.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	s.all = append(s.all, r)
	return nil
}

func (s *records) Close() error { return nil }

func (s *records) list() []audit.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.all)
}

// world is a proxy on loopback, in front of one registry that is served.
type world struct {
	t        *testing.T
	opts     Options
	handler  *Handler
	server   *httptest.Server
	sink     *records
	ca       *CA
	mu       sync.Mutex
	served   []*http.Request // requests that reached the registry API
	resolved []string        // names that were looked up
	dialled  []string        // addresses that were connected to
}

// registryHost is the registry of the tests' gate.
const registryHost = "registry.example"

// newWorld starts a proxy; change may alter its options.
func newWorld(t *testing.T, change func(*world, *Options)) *world {
	t.Helper()
	dir := t.TempDir()
	ca, err := LoadOrCreateCA(filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, sink: &records{}, ca: ca}
	w.opts = Options{
		Registry:  func(host string) (string, bool) { return host, host == registryHost || host == "plain.example:5000" },
		PlainHTTP: func(registry string) bool { return registry == "plain.example:5000" },
		Serve:     func(registry string, id auth.Identity) http.Handler { return w.api(registry) },
		Identify:  func(*http.Request) (auth.Identity, error) { return auth.Identity{Kind: auth.Anonymous}, nil },
		CA:        ca, Audit: w.sink, Logger: slog.New(slog.DiscardHandler),
		seams: seams{
			resolve: func(_ context.Context, host string) ([]netip.Addr, error) {
				w.note(&w.resolved, host)
				return nil, errors.New("no such host")
			},
			helloWait: 2 * time.Second, probeWait: 2 * time.Second,
		},
	}
	if change != nil {
		change(w, &w.opts)
	}
	if w.opts.seams.dial == nil {
		var d net.Dialer
		w.opts.seams.dial = func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
			w.note(&w.dialled, to.String())
			return d.DialContext(ctx, "tcp", to.String())
		}
	}
	if w.handler, err = New(w.opts); err != nil {
		t.Fatal(err)
	}
	w.server = httptest.NewUnstartedServer(w.handler)
	w.server.Config.ErrorLog = quiet
	w.server.Config.ReadHeaderTimeout = 5 * time.Second
	w.server.Start()
	t.Cleanup(func() {
		w.handler.Close()
		w.server.Close()
	})
	return w
}

func (w *world) note(list *[]string, s string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*list = append(*list, s)
}

func (w *world) notes(list *[]string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(*list)
}

// api is the registry API of the tests: it answers with what it was asked.
func (w *world) api(registry string) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.served = append(w.served, r.Clone(context.Background()))
		w.mu.Unlock()
		fmt.Fprintf(rw, "%s %s %s", registry, r.Method, r.URL.RequestURI())
	})
}

// requests returns "METHOD target" of all requests to the registry API.
func (w *world) requests() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for _, r := range w.served {
		out = append(out, r.Method+" "+r.RequestURI)
	}
	return out
}

// lastServed is the last request to the registry API.
func (w *world) lastServed() *http.Request {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.served) == 0 {
		w.t.Fatal("nothing reached the registry API")
	}
	return w.served[len(w.served)-1]
}

// names lets the proxy resolve names to loopback, and to nothing else.
func (w *world) names(o *Options, names ...string) {
	o.seams.resolve = func(_ context.Context, host string) ([]netip.Addr, error) {
		w.note(&w.resolved, host)
		if slices.Contains(names, host) {
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		}
		return nil, errors.New("no such host")
	}
}

// dial connects to the proxy.
func (w *world) dial() net.Conn {
	w.t.Helper()
	c, err := net.Dial("tcp", w.server.Listener.Addr().String())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return c
}

// answer is what the proxy said.
type answer struct {
	status int
	phrase string
	body   string
	header http.Header
	ends   bool // it says that the connection ends
}

// send sends raw bytes and reads one answer.
func send(t *testing.T, c net.Conn, method, raw string) answer {
	t.Helper()
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReaderSize(c, 1), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	a := answer{status: resp.StatusCode, header: resp.Header, ends: resp.Close}
	_, a.phrase, _ = strings.Cut(resp.Status, " ")
	if method != http.MethodConnect || a.status != http.StatusOK {
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		a.body = string(b)
	}
	return a
}

// connect asks for a target and returns the connection with the answer.
func (w *world) connect(to string) (net.Conn, answer) {
	w.t.Helper()
	c := w.dial()
	return c, send(w.t, c, http.MethodConnect, "CONNECT "+to+" HTTP/1.1\r\nHost: x\r\n\r\n")
}

// open asks for a target that must be let through.
func (w *world) open(to string) net.Conn {
	w.t.Helper()
	c, a := w.connect(to)
	if a.status != http.StatusOK {
		w.t.Fatalf("CONNECT %s: %d %s", to, a.status, a.phrase)
	}
	return c
}

// trust are client settings that trust the proxy's CA, with a name for SNI.
func (w *world) trust(sni string) *tls.Config {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(w.ca.PEM())
	return &tls.Config{RootCAs: pool, ServerName: sni}
}

// inside opens a terminated connection to the registry.
func (w *world) inside() *tls.Conn {
	w.t.Helper()
	c := tls.Client(w.open(registryHost+":443"), w.trust(registryHost))
	if err := c.Handshake(); err != nil {
		w.t.Fatal(err)
	}
	return c
}

// wantRefused asks for a target and checks the refusal, in every place that it
// must stand in.
func (w *world) wantRefused(to string, status int, reason string) {
	w.t.Helper()
	c, a := w.connect(to)
	if a.status != status || !strings.Contains(a.phrase, reason) || !strings.Contains(a.body, reason) || !strings.Contains(a.body, "What would pass: ") {
		w.t.Fatalf("CONNECT %s: %d %q, want %d %q; body:\n%s", to, a.status, a.phrase, status, reason, a.body)
	}
	if _, err := c.Read(make([]byte, 1)); err != io.EOF || !a.ends {
		w.t.Errorf("CONNECT %s: the connection goes on after a refusal: %v", to, err)
	}
	w.wantRecord(decisionOf(status), audit.KindConnect, reason)
}

// wantRecord waits for a record and returns it.
func (w *world) wantRecord(decision, kind, reason string) audit.Record {
	w.t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		for _, r := range w.sink.list() {
			if r.Decision == decision && r.Kind == kind && strings.Contains(strings.Join(r.Reasons, "; "), reason) {
				return r
			}
		}
	}
	w.t.Fatalf("no record %s %s with %q in %+v", decision, kind, reason, w.sink.list())
	return audit.Record{}
}

// wantClosed checks that the other side ends the connection and sends nothing but
// a TLS alert before.
func wantClosed(t *testing.T, c net.Conn) {
	t.Helper()
	b, _ := io.ReadAll(c)
	if len(b) != 0 && b[0] != 21 {
		t.Errorf("expected the end of the connection, found %q", b)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection is still open: %v", err)
	}
}

// origin is a TLS server on loopback that writes down which Host and path it was
// asked for.
type origin struct {
	*httptest.Server
	mu   sync.Mutex
	seen []string
}

func newOrigin(t *testing.T, h http.HandlerFunc) *origin {
	t.Helper()
	o := &origin{}
	o.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.mu.Lock()
		o.seen = append(o.seen, r.Method+" "+r.Host+r.URL.Path)
		o.mu.Unlock()
		h(w, r)
	}))
	o.Config.ErrorLog = quiet
	o.StartTLS()
	t.Cleanup(o.Close)
	return o
}

func (o *origin) port() string {
	_, port, _ := net.SplitHostPort(o.Listener.Addr().String())
	return port
}

func (o *origin) requests() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.seen)
}

// store is a content store: it knows blobs and nothing of registries.
func store(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/blobs/") {
		fmt.Fprint(w, "blob "+r.URL.Path)
		return
	}
	http.Error(w, "no such key", http.StatusNotFound)
}

// cdn is a world with a tunnel to a content store named cdn.example on loopback.
func cdn(t *testing.T, h http.HandlerFunc, change func(*world, *Options)) (w *world, o *origin, target string) {
	t.Helper()
	o = newOrigin(t, h)
	w = newWorld(t, func(w *world, opts *Options) {
		opts.Tunnel = []string{"cdn.example:" + o.port(), "127.0.0.1:" + o.port()}
		w.names(opts, "cdn.example")
		if change != nil {
			change(w, opts)
		}
	})
	return w, o, "cdn.example:" + o.port()
}

// through speaks TLS with the origin through an open tunnel.
func through(t *testing.T, c net.Conn, sni string) *tls.Conn {
	t.Helper()
	s := tls.Client(c, &tls.Config{ServerName: sni, InsecureSkipVerify: true})
	if err := s.Handshake(); err != nil {
		t.Fatal(err)
	}
	return s
}
