package harness

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// Namespace is a network of its own: nothing but loopback, and on it the
// networks for documentation (RFC 5737), which programs take for public
// addresses. It ends with the process that holds it, so nothing is left behind,
// however the test program ends.
//
// It needs root and the kernel's network and mount namespaces. A test that
// cannot have them fails: what it would show is shown by nothing else.
type Namespace struct {
	holder *Process
	mu     sync.Mutex
	free   []netip.Addr
}

// publicNetworks are on the loopback interface of every Namespace.
var publicNetworks = []netip.Prefix{
	netip.MustParsePrefix("203.0.113.0/24"), // TEST-NET-3
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"),
}

// NewNamespace makes a network that lasts until the test's cleanup.
func NewNamespace(t testing.TB) *Namespace {
	t.Helper()
	demand(t, "unshare", "nsenter", "ip", "mount", "sleep")
	if os.Geteuid() != 0 {
		t.Fatal("this test makes network namespaces and needs root; run it as root")
	}
	script := "ip link set lo up\n"
	n := &Namespace{}
	for _, p := range publicNetworks {
		script += "ip address add " + p.String() + " dev lo\n"
		n.free = append(n.free, hostsOf(p)...)
	}
	n.holder = StartProcess(t, nil, "unshare", "--net", "--mount", "sh", "-ec", script+"echo ready\nexec sleep infinity")
	n.holder.WaitUntil(t, "a network namespace (does the kernel allow it here?)", n.holder.ready)
	return n
}

// ready says whether a holder of namespaces has finished its preparations.
func (p *Process) ready() bool { return strings.HasSuffix(p.Output.String(), "ready\n") }

// demand fails the test when a program is missing.
func demand(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Fatalf("this test needs the program %s: %v; deploy/test-tools.sh installs what the tests run", p, err)
		}
	}
}

// hostsOf lists the addresses of a /24 but its first and last.
func hostsOf(p netip.Prefix) []netip.Addr {
	first := p.Addr().As4()
	base := binary.BigEndian.Uint32(first[:])
	var out []netip.Addr
	for i := uint32(1); i < 255; i++ {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], base+i)
		out = append(out, netip.AddrFrom4(a))
	}
	return out
}

// Addr returns an address of this network that nobody else has until the test's
// cleanup.
func (n *Namespace) Addr(t testing.TB) netip.Addr {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.free) == 0 {
		t.Fatal("the network has no address left")
	}
	a := n.free[0]
	n.free = n.free[1:]
	t.Cleanup(func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.free = append(n.free, a)
	})
	return a
}

// Listen opens a TCP listener (address:port) inside the network for this
// process. It is closed by the test's cleanup.
func (n *Namespace) Listen(t testing.TB, addr string) net.Listener {
	t.Helper()
	var l net.Listener
	err := inNetwork(n.holder.PID(), func() (err error) {
		l, err = net.Listen("tcp", addr)
		return err
	})
	if err != nil {
		t.Fatalf("listen in the namespace: %v", err)
	}
	t.Cleanup(func() { _ = l.Close() }) // its server may have closed it
	return l
}

// Dial connects to address:port inside the network. Names are not resolved.
func (n *Namespace) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if _, err := netip.ParseAddrPort(addr); err != nil {
		return nil, fmt.Errorf("dial in a namespace: %w; expected address:port", err)
	}
	var c net.Conn
	err := inNetwork(n.holder.PID(), func() (err error) {
		c, err = new(net.Dialer).DialContext(ctx, network, addr)
		return err
	})
	return c, err
}

// HTTP returns a client whose connections are made inside the network.
func (n *Namespace) HTTP(t testing.TB) *http.Client {
	t.Helper()
	tr := &http.Transport{DialContext: n.Dial}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: commandTimeout}
}
