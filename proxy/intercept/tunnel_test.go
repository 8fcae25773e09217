package intercept

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pullgate/pullgate/proxy/audit"
	"github.com/pullgate/pullgate/proxy/internal/address"
)

// get asks for a path over an open connection and returns the answer.
func get(t *testing.T, c net.Conn, host, path string) answer {
	t.Helper()
	return send(t, c, http.MethodGet, "GET "+path+" HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
}

func TestATunnelToAListedStore(t *testing.T) {
	ended := make(chan [2]int64, 1)
	w, o, target := cdn(t, store, func(_ *world, opts *Options) {
		opts.Observe = func(host string, sent, received int64, _ time.Duration) {
			if host != "cdn.example" {
				t.Errorf("observed %s", host)
			}
			ended <- [2]int64{sent, received}
		}
	})
	c := through(t, w.open(target), "cdn.example")
	if a := get(t, c, "cdn.example", "/blobs/1"); a.body != "blob /blobs/1" {
		t.Errorf("through the tunnel: %+v", a)
	}
	r := w.wantRecord(audit.Allowed, audit.KindTunnel, "127.0.0.1")
	if r.Reference != target || r.Registry != "" || r.Repository != "" || r.Status != 200 || r.Client != "127.0.0.1" {
		t.Errorf("record %+v", r)
	}
	c.Close()
	if n := <-ended; n[0] < 100 || n[1] < 100 {
		t.Errorf("%d bytes sent, %d received", n[0], n[1])
	}
	if got := len(w.sink.list()); got != 1 {
		t.Errorf("%d records for one tunnel", got)
	}
	if got := o.requests(); got[len(got)-1] != "GET cdn.example/blobs/1" {
		t.Errorf("the store saw %q", got)
	}
}

func TestOnlyListedPlacesAreReached(t *testing.T) {
	w, o, _ := cdn(t, store, func(w *world, opts *Options) { w.names(opts, "cdn.example", "other.example", "a.cdn.example") })
	for _, to := range []string{"other.example:" + o.port(), "cdn.example:443", "a.cdn.example:" + o.port(), "127.0.0.1:443", "127.0.0.2:" + o.port(),
		"[::1]:" + o.port(), registryHost + ":8443", "localhost:" + o.port()} {
		w.wantRefused(to, http.StatusForbidden, to+" is neither a registry that this gate serves nor in its tunnel list")
	}
	if got := w.notes(&w.resolved); len(got) > 0 {
		t.Errorf("looked up although not listed: %q", got)
	}
}

func TestWhereEveryHostMayBeARegistryTheListStillTunnels(t *testing.T) {
	var asked []string
	w, o, target := cdn(t, store, func(_ *world, opts *Options) {
		opts.Others = func(host string) (string, bool) {
			asked = append(asked, host)
			return host, true
		}
	})
	if a := get(t, through(t, w.open(target), "cdn.example"), "cdn.example", "/blobs/1"); a.body != "blob /blobs/1" {
		t.Errorf("through the tunnel: %+v", a)
	}
	if len(asked) != 0 {
		t.Errorf("a tunnel is no registry, but was asked about: %q", asked)
	}
	_ = w.open("other.example:" + o.port()) // terminated: nothing is dialled
	if len(asked) != 1 || asked[0] != "other.example:"+o.port() {
		t.Errorf("not taken for a registry: %q", asked)
	}
}

func TestAddressesThatAreNeverReached(t *testing.T) {
	bad := map[string]string{"metadata.example": "169.254.169.254", "aws6.example": "fd00:ec2::254", "unspecified.example": "0.0.0.0",
		"multicast.example": "224.0.0.1", "mapped.example": "::ffff:169.254.169.254", "nat64.example": "64:ff9b::a9fe:a9fe", "link.example": "fe80::1"}
	w := newWorld(t, func(_ *world, o *Options) {
		for name := range bad {
			o.Tunnel = append(o.Tunnel, name)
		}
		o.Tunnel = append(o.Tunnel, "169.0.0.0/8", "fc00::/7", "fe80::/10", "0.0.0.0/1", "::/1")
		o.seams.resolve = func(_ context.Context, host string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("93.184.216.34"), netip.MustParseAddr(bad[host])}, nil
		}
	})
	for name := range bad {
		w.wantRefused(name+":443", http.StatusForbidden, "a link-local or reserved address")
	}
	for _, a := range []string{"169.254.169.254:443", "[fd00:ec2::254]:443", "[fe80::1]:443", "0.0.0.0:443"} {
		w.wantRefused(a, http.StatusForbidden, a+" is a link-local or reserved address")
	}
	if got := w.notes(&w.dialled); len(got) > 0 {
		t.Errorf("connected to %q", got)
	}
}

func TestPrivateAddressesOnlyWhenListed(t *testing.T) {
	o := newOrigin(t, store)
	for _, test := range []struct {
		list  []string
		class address.Class
		ok    bool
	}{
		{nil, address.Public, true},
		{nil, address.Private, false},
		{nil, address.Loopback, false},
		{[]string{"10.0.0.0/8"}, address.Private, false},
		{[]string{"127.0.0.2"}, address.Loopback, false},
		{[]string{"127.0.0.1:1"}, address.Private, false},
		{[]string{"127.0.0.0/8"}, address.Private, true},
		{[]string{"127.0.0.1"}, address.Loopback, true},
		{[]string{"127.0.0.1:" + o.port()}, address.Loopback, true},
		{[]string{"127.0.0.1:" + o.port()}, 17, false}, // a class that nobody knows
	} {
		w := newWorld(t, func(w *world, opts *Options) {
			opts.Tunnel = append(test.list, "cdn.example:"+o.port())
			w.names(opts, "cdn.example")
			opts.seams.class = func(netip.Addr) address.Class { return test.class }
		})
		if test.ok {
			w.open("cdn.example:" + o.port())
			continue
		}
		w.wantRefused("cdn.example:"+o.port(), http.StatusForbidden, "is at 127.0.0.1, a ")
	}
}

func TestTheGateIsNotReachedThroughItself(t *testing.T) {
	w := newWorld(t, func(w *world, o *Options) {
		o.Own = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:5000"), netip.MustParseAddrPort("[::]:5001")}
		o.Tunnel = []string{"127.0.0.0/8", "10.0.0.0/8", "gate.example", "gate.example:5000", "gate.example:5001", "10.9.9.9:5001", "[::1]:5000", "127.0.0.1:5001", "192.0.2.1:5000"}
		w.names(o, "gate.example")
		o.seams.interfaces = func() ([]net.Addr, error) {
			return []net.Addr{&net.IPNet{IP: net.IPv4(10, 9, 9, 9), Mask: net.CIDRMask(8, 32)}}, nil
		}
	})
	for _, to := range []string{"192.0.2.1:5000", "gate.example:5000", "gate.example:5001", "127.0.0.1:5001", "10.9.9.9:5001", "[::1]:5000"} {
		w.wantRefused(to, http.StatusForbidden, "the gate itself")
	}
	own := w.server.Listener.Addr().String()
	w.handler.tunnels, _ = ParseTunnel([]string{own})
	w.wantRefused(own, http.StatusForbidden, "the gate itself")
	if got := w.notes(&w.dialled); len(got) > 0 {
		t.Errorf("connected to %q", got)
	}
}

func TestUnknownInterfacesRefuse(t *testing.T) {
	w := newWorld(t, func(_ *world, o *Options) {
		o.Own = []netip.AddrPort{netip.MustParseAddrPort("[::]:5001")}
		o.Tunnel = []string{"10.9.9.9:5001"}
		o.seams.interfaces = func() ([]net.Addr, error) { return nil, errors.New("no netlink") }
	})
	w.wantRefused("10.9.9.9:5001", http.StatusServiceUnavailable, "cannot tell its own addresses")
}

// A name that resolves to something else after it was checked leads nowhere else.
func TestRebindingBetweenCheckAndDial(t *testing.T) {
	o := newOrigin(t, store)
	calls := 0
	w := newWorld(t, func(w *world, opts *Options) {
		opts.Tunnel = []string{"cdn.example:" + o.port(), "127.0.0.1"}
		opts.seams.resolve = func(context.Context, string) ([]netip.Addr, error) {
			calls++
			return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, byte(calls)})}, nil
		}
	})
	w.open("cdn.example:" + o.port())
	if want := []string{"127.0.0.1:" + o.port(), "127.0.0.1:" + o.port()}; calls != 1 || !slices.Equal(w.notes(&w.dialled), want) {
		t.Errorf("looked up %d times, connected to %q, want once and the checked address for probe and tunnel", calls, w.notes(&w.dialled))
	}
	w.wantRefused("cdn.example:"+o.port(), http.StatusForbidden, "127.0.0.2, a loopback address")
}

func TestNamesWithoutAddresses(t *testing.T) {
	many := 0
	w := newWorld(t, func(_ *world, o *Options) {
		o.Tunnel = []string{"cdn.example"}
		o.seams.resolve = func(context.Context, string) ([]netip.Addr, error) {
			return make([]netip.Addr, many), nil
		}
	})
	w.wantRefused("cdn.example:443", http.StatusBadGateway, "cdn.example cannot be looked up")
	many = maxAddrs + 1
	w.wantRefused("cdn.example:443", http.StatusBadGateway, "cdn.example cannot be looked up")
	many = 1 // no valid address
	w.wantRefused("cdn.example:443", http.StatusForbidden, "link-local or reserved")
}

func TestTheNameInATunnelIsThatOfConnect(t *testing.T) {
	w, o, target := cdn(t, store, nil)
	w.open(target) // probes
	before := len(o.requests())
	for sni, reason := range map[string]string{
		registryHost: `expected the server name cdn.example, as in CONNECT, found "registry.example"`,
		"":           "expected the server name cdn.example in the ClientHello, found none",
	} {
		c := w.open(target)
		err := tls.Client(c, &tls.Config{ServerName: sni, InsecureSkipVerify: true}).Handshake()
		if err == nil || !strings.Contains(err.Error(), "access denied") {
			t.Errorf("SNI %q: handshake %v", sni, err)
		}
		wantClosed(t, c)
		w.wantRecord(audit.Denied, audit.KindConnect, reason)
		if len(o.requests()) != before {
			t.Errorf("SNI %q: the server was asked", sni)
		}
	}
	// An address has no name.
	c := w.open("127.0.0.1:" + o.port())
	if tls.Client(c, &tls.Config{ServerName: "cdn.example", InsecureSkipVerify: true}).Handshake() == nil {
		t.Error("a name for an address passed")
	}
	w.wantRecord(audit.Denied, audit.KindConnect, "expected no server name, as CONNECT was to the address 127.0.0.1")
	if a := get(t, through(t, w.open("127.0.0.1:"+o.port()), ""), "127.0.0.1", "/blobs/2"); a.body != "blob /blobs/2" {
		t.Errorf("by address: %+v", a)
	}
}

// clientHello is what crypto/tls sends first.
func clientHello(t *testing.T, c *tls.Config) []byte {
	t.Helper()
	near, far := net.Pipe()
	defer far.Close()
	go func() {
		tls.Client(near, c).Handshake()
		near.Close()
	}()
	b := make([]byte, 16<<10)
	n, err := far.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

// addExtension appends an extension to a ClientHello in one record.
func addExtension(hello []byte, id uint16, data []byte) []byte {
	ext := append([]byte{byte(id >> 8), byte(id), byte(len(data) >> 8), byte(len(data))}, data...)
	at := 5 + 4 + 2 + 32
	at += 1 + int(hello[at])                       // session id
	at += 2 + int(hello[at])<<8 + int(hello[at+1]) // cipher suites
	at += 1 + int(hello[at])                       // compression methods
	out := append(slices.Clone(hello), ext...)
	grow := func(i, bytes int) {
		n := 0
		for k := range bytes {
			n = n<<8 | int(out[i+k])
		}
		n += len(ext)
		for k := bytes - 1; k >= 0; k-- {
			out[i+k] = byte(n)
			n >>= 8
		}
	}
	grow(3, 2)  // record
	grow(6, 3)  // handshake message
	grow(at, 2) // extensions
	return out
}

func TestEncryptedClientHelloIsRefused(t *testing.T) {
	w, _, target := cdn(t, store, nil)
	plain := clientHello(t, &tls.Config{ServerName: "cdn.example"})
	c := w.open(target)
	if _, err := c.Write(addExtension(plain, extensionECH, []byte{1})); err != nil {
		t.Fatal(err)
	}
	wantClosed(t, c)
	w.wantRecord(audit.Denied, audit.KindConnect, "found an encrypted ClientHello")

	// The same with another extension passes: it is the one that counts.
	c = w.open(target)
	c.Write(addExtension(plain, 0xfe0c, []byte{1}))
	w.wantRecord(audit.Allowed, audit.KindTunnel, "")
}

func TestNamesThatAreAmbiguousAreRefused(t *testing.T) {
	w, _, target := cdn(t, store, nil)
	plain := clientHello(t, &tls.Config{ServerName: "cdn.example"})
	second := []byte("\x00\x13\x00\x00\x10registry.example") // server_name, once more
	c := w.open(target)
	c.Write(addExtension(plain, 0, second))
	wantClosed(t, c)
	w.wantRecord(audit.Denied, audit.KindConnect, "only TLS passes")
}

func TestOnlyTLSPasses(t *testing.T) {
	w, o, target := cdn(t, store, func(_ *world, opts *Options) { opts.seams.helloWait = 200 * time.Millisecond })
	w.open(target) // probes
	probed := len(o.requests())
	for _, raw := range []string{"GET /v2/ HTTP/1.1\r\nHost: cdn.example\r\n\r\n", "SSH-2.0-x\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\x16\x03\x01\x00\x05\x01\xff\xff\xff\xff", strings.Repeat("\x00", 100)} {
		c := w.open(target)
		io.WriteString(c, raw)
		wantClosed(t, c)
	}
	w.wantRecord(audit.Denied, audit.KindConnect, "found something else; only TLS passes")
	if got := len(o.requests()); got != probed {
		t.Errorf("the server saw %q", o.requests())
	}
	for _, r := range w.sink.list() {
		if r.Kind == audit.KindTunnel {
			t.Errorf("recorded as let through: %+v", r)
		}
	}
}

func TestSlowAndEndlessHellos(t *testing.T) {
	w, _, target := cdn(t, store, func(_ *world, opts *Options) { opts.seams.helloWait = 300 * time.Millisecond })
	c := w.open(target)
	hello := clientHello(t, &tls.Config{ServerName: "cdn.example"})
	start := time.Now()
	for i := 0; i < len(hello) && time.Since(start) < 5*time.Second; i++ {
		if _, err := c.Write(hello[i : i+1]); err != nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("a slow ClientHello was waited for %s", took)
	}
	w.wantRecord(audit.Denied, audit.KindConnect, "expected a TLS ClientHello within 300ms")

	// As long as crypto/tls reads it, and too long with its records.
	c = w.open(target)
	record := append([]byte{22, 3, 1, 0x40, 0}, make([]byte, 0x4000)...)
	copy(record[5:], []byte{1, 0, 0xff, 0xff})
	for range 5 {
		if _, err := c.Write(record); err != nil {
			break
		}
	}
	w.wantRecord(audit.Denied, audit.KindConnect, "expected a TLS ClientHello of at most 65536 bytes, found more")
}

func TestNothingPassesWithoutARecord(t *testing.T) {
	w, o, target := cdn(t, store, nil)
	w.open(target)
	probed := len(o.requests())
	w.sink.mu.Lock()
	w.sink.err = errors.New("disk full")
	w.sink.mu.Unlock()
	c := w.open(target)
	if tls.Client(c, &tls.Config{ServerName: "cdn.example", InsecureSkipVerify: true}).Handshake() == nil || len(o.requests()) != probed {
		t.Error("a tunnel opened that could not be recorded")
	}
}

// raw is a TLS server that hands over its connections after the handshake.
func raw(t *testing.T, serve func(*tls.Conn)) netip.AddrPort {
	t.Helper()
	pair := newOrigin(t, store).TLS.Certificates
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: pair})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c.(*tls.Conn))
			}()
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String())
}

// rawTunnel opens a tunnel to a raw server, of which it is known that it is no
// registry.
func rawTunnel(t *testing.T, idle time.Duration, serve func(*tls.Conn)) (*world, *tls.Conn) {
	t.Helper()
	a := raw(t, serve)
	w := newWorld(t, func(_ *world, o *Options) {
		o.Tunnel = []string{a.String()}
		o.IdleTimeout = idle
	})
	to, err := parseTarget(a.String())
	if err != nil {
		t.Fatal(err)
	}
	w.handler.probes.remember(probeKey{to.String(), to.addr}, nil)
	return w, through(t, w.open(a.String()), "")
}

// pair is a TCP connection on loopback.
func pair(t *testing.T) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if near, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if far, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{near, far} {
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	}
	return near, far
}

func TestHalfClosedTunnels(t *testing.T) {
	client, near := pair(t)
	far, server := pair(t)
	done := make(chan [2]int64, 1)
	go func() {
		sent, received, err := newPipe(time.Minute).run(&conn{Conn: near, after: func() {}}, far, []byte("hello, "))
		if err != nil {
			t.Error(err)
		}
		done <- [2]int64{sent, received}
	}()
	io.WriteString(client, "all of it")
	client.(*net.TCPConn).CloseWrite()
	if b, err := io.ReadAll(server); string(b) != "hello, all of it" || err != nil {
		t.Errorf("the server read %q, %v", b, err)
	}
	io.WriteString(server, "thanks")
	server.(*net.TCPConn).CloseWrite()
	if b, err := io.ReadAll(client); string(b) != "thanks" || err != nil {
		t.Errorf("the client read %q, %v", b, err)
	}
	if n := <-done; n != [2]int64{16, 6} {
		t.Errorf("counted %d", n)
	}
}

// A side that reads nothing holds nothing for longer than the idle time.
func TestStalledTunnelsEnd(t *testing.T) {
	client, near := pair(t)
	far, _ := pair(t)
	go func() {
		for chunk := make([]byte, 64<<10); ; {
			if _, err := client.Write(chunk); err != nil {
				return
			}
		}
	}()
	if _, _, err := newPipe(200*time.Millisecond).run(near, far, nil); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("ended with %v", err)
	}
}

func TestIdleTunnelsEnd(t *testing.T) {
	_, c := rawTunnel(t, 300*time.Millisecond, func(s *tls.Conn) {
		for range 10 { // one direction keeps the other alive
			s.Write([]byte("x"))
			time.Sleep(100 * time.Millisecond)
		}
		io.Copy(io.Discard, s)
	})
	start := time.Now()
	b, _ := io.ReadAll(c)
	if took := time.Since(start); len(b) != 10 || took < time.Second || took > 5*time.Second {
		t.Errorf("%d bytes in %s, want all 10 and the end after that", len(b), took)
	}
}

func TestClosingEndsTunnels(t *testing.T) {
	w, c := rawTunnel(t, time.Minute, func(s *tls.Conn) { io.Copy(s, s) })
	io.WriteString(c, "x")
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	w.handler.Close()
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a tunnel outlives its handler")
	}
	if _, a := w.connect(w.opts.Tunnel[0]); a.status != http.StatusServiceUnavailable {
		t.Errorf("after Close: %d %s", a.status, a.phrase)
	}
}

func TestShutdownWaitsForTunnels(t *testing.T) {
	w, c := rawTunnel(t, time.Minute, func(s *tls.Conn) { io.Copy(s, s) })
	done := make(chan error, 1)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	go func() { done <- w.handler.Shutdown(ctx) }()
	for { // until new ones are refused
		if _, a := w.connect(w.opts.Tunnel[0]); a.status == http.StatusServiceUnavailable {
			break
		}
	}
	io.WriteString(c, "still here")
	b := make([]byte, 10)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "still here" {
		t.Errorf("during shutdown: %q, %v", b, err)
	}
	c.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestShutdownEndsTunnelsInTheEnd(t *testing.T) {
	w, c := rawTunnel(t, time.Minute, func(s *tls.Conn) { io.Copy(s, s) })
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := w.handler.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("shutdown with an open tunnel: %v", err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a tunnel outlives its handler")
	}
}
