package upstream

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// quiet is where servers complain about clients that hang up.
var quiet = log.New(io.Discard, "", 0)

// server is an HTTP server on loopback that writes down what it is asked.
type server struct {
	*httptest.Server
	mu   sync.Mutex
	seen []*http.Request
}

func serve(t *testing.T, h http.HandlerFunc) *server { return start(t, h, false) }

func serveTLS(t *testing.T, h http.HandlerFunc) *server { return start(t, h, true) }

func start(t *testing.T, h http.HandlerFunc, withTLS bool) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.seen = append(s.seen, r.Clone(context.Background()))
		s.mu.Unlock()
		h(w, r)
	}))
	s.Config.ErrorLog = quiet
	if withTLS {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

// requests returns "METHOD path" of all requests so far.
func (s *server) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, r := range s.seen {
		out = append(out, r.Method+" "+r.URL.Path)
	}
	return out
}

// headers returns one header of all requests so far.
func (s *server) headers(name string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, r := range s.seen {
		out = append(out, r.Header.Get(name))
	}
	return out
}

func (s *server) addr() netip.AddrPort {
	return netip.MustParseAddrPort(s.Listener.Addr().String())
}

// wantRequests checks exactly what was asked of the server.
func (s *server) wantRequests(t *testing.T, want ...string) {
	t.Helper()
	if got := s.requests(); !slices.Equal(got, want) {
		t.Errorf("requests sent:\n got %q\nwant %q", got, want)
	}
}

// options are what tests start from: one registry, no proxy, no waits.
func options(endpoint string) Options {
	return Options{
		Registries: []Registry{{Name: "r.example", Endpoint: endpoint}},
		seams: seams{
			backoff: time.Millisecond,
			proxy:   func(*http.Request) (*url.URL, error) { return nil, nil },
		},
	}
}

func open(t *testing.T, o Options) *Client {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// classes classifies the addresses of servers as a test says, and everything
// else as it is.
func classes(m map[netip.AddrPort]class) func(netip.AddrPort) class {
	return func(a netip.AddrPort) class {
		if c, ok := m[a]; ok {
			return c
		}
		return classOf(a.Addr())
	}
}

func named(t testing.TB, s string) reference.Named {
	t.Helper()
	ref, err := reference.ParseNamed(s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func tagged(t testing.TB, s string) reference.NamedTagged {
	t.Helper()
	return named(t, s).(reference.NamedTagged)
}

// of is a reference by the digest of content.
func of(t testing.TB, repo string, content []byte) reference.Canonical {
	t.Helper()
	return at(t, repo, digest.FromBytes(content))
}

func at(t testing.TB, repo string, d digest.Digest) reference.Canonical {
	t.Helper()
	ref, err := reference.WithDigest(named(t, repo), d)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// wantKind checks that err is an *Error of that kind, and returns it.
func wantKind(t *testing.T, err error, want Kind) *Error {
	t.Helper()
	e := new(Error)
	if !errors.As(err, &e) {
		t.Fatalf("got %v (%T), want an *Error", err, err)
	}
	if e.Kind != want {
		t.Fatalf("got kind %d (%v), want %d", e.Kind, err, want)
	}
	return e
}

// names is a resolver that answers what the test says.
type names struct {
	mu    sync.Mutex
	addrs map[string][]string // one answer after the other, the last one stays
	asked map[string]int
}

func (n *names) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, srv := net.Pipe()
		go n.answer(srv)
		return client, nil
	}}
}

// next returns the address for an A query.
func (n *names) next(host string, isA bool) (netip.Addr, bool) {
	if !isA {
		return netip.Addr{}, false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.asked == nil {
		n.asked = map[string]int{}
	}
	all := n.addrs[host]
	if len(all) == 0 {
		return netip.Addr{}, false
	}
	i := min(n.asked[host], len(all)-1)
	n.asked[host]++
	return netip.MustParseAddr(all[i]), true
}

// answer serves one DNS query in TCP framing (RFC 1035, section 4).
func (n *names) answer(conn net.Conn) {
	defer conn.Close()
	buf := make([]byte, 2048)
	size, err := conn.Read(buf[:2])
	if err != nil || size != 2 {
		return
	}
	msg := buf[2 : 2+int(buf[0])<<8+int(buf[1])]
	for got := 0; got < len(msg); {
		m, err := conn.Read(msg[got:])
		if err != nil {
			return
		}
		got += m
	}
	host, end := "", 12
	for msg[end] != 0 {
		host += string(msg[end+1:end+1+int(msg[end])]) + "."
		end += 1 + int(msg[end])
	}
	end += 5
	isA := msg[end-3] == 1
	reply := append([]byte{}, msg[:end]...)
	reply[2], reply[3] = 0x84, 0
	copy(reply[6:12], make([]byte, 6))
	if addr, ok := n.next(host, isA); ok {
		reply[7] = 1
		reply = append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
		reply = append(reply, addr.AsSlice()...)
	} else if !isA && len(n.addrs[host]) > 0 {
		reply[3] = 0 // the name exists, without an AAAA record
	} else {
		reply[3] = 3
	}
	conn.Write(append([]byte{byte(len(reply) >> 8), byte(len(reply))}, reply...))
}
