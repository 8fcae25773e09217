package upstream

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/pullgate/pullgate/proxy/internal/address"
)

// class says how far an address reaches. A target is allowed when it is at
// least as public as the upstream that names it: whoever runs a registry on the
// internet must not make the gate fetch from the networks behind it.
type class = address.Class

const (
	forbidden = address.Forbidden // never a target
	public    = address.Public
	private   = address.Private
	loopback  = address.Loopback
)

func classOf(a netip.Addr) class { return address.ClassOf(a) }

// guard decides where the requests of one upstream may go.
type guard struct {
	endpoint string // host:port of the upstream itself
	https    bool   // the endpoint's scheme, which is never left for http
	other    bool   // not configured: public addresses only, from the first dial on
	class    func(netip.AddrPort) class
	// reached is the most public class the endpoint was found at, 0 before that.
	// It only ever gets more public: a name that later resolves into a private
	// network does not open that network to redirects.
	reached atomic.Int32
}

// refusal is a target that the guard does not let the gate reach.
type refusal struct {
	target string // scheme://host:port, host:port or address: no path, no query
	why    string
	first  bool // it was the upstream itself, not what it named
}

func (r *refusal) Error() string { return fmt.Sprintf("refused to go to %s: %s", r.target, r.why) }

func newGuard(endpoint *url.URL, other bool, cl func(netip.AddrPort) class) *guard {
	g := &guard{endpoint: hostPort(endpoint), https: endpoint.Scheme == "https", other: other, class: cl}
	if c, ok := g.literal(endpoint); ok {
		// The operator wrote the address, so even a reserved one may be dialled;
		// it opens no more than the private networks.
		if c == forbidden {
			c = private
		}
		g.reached.Store(int32(c))
	}
	return g
}

// own reports whether u is at the upstream's own host and port.
func (g *guard) own(u *url.URL) bool { return hostPort(u) == g.endpoint }

// limit is the least public class that may be a target.
func (g *guard) limit() class {
	if c := class(g.reached.Load()); c != 0 && !g.other {
		return c
	}
	return public
}

// checkURL judges what can be judged without a look-up. It is the only check
// that is made when a proxy does the dialling.
func (g *guard) checkURL(u *url.URL) error {
	refuse := func(why string) error {
		return &refusal{target: u.Scheme + "://" + u.Host, why: why, first: g.own(u)}
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return &refusal{target: strconv.Quote(u.Scheme) + " URL", why: "expected https or http"}
	case u.Scheme == "http" && g.https:
		return &refusal{target: u.Scheme + "://" + u.Host, why: "the upstream is reached by https, which is never left for http"}
	case u.User != nil:
		return &refusal{target: u.Scheme + "://" + u.Host, why: "the URL holds a user name"}
	case g.own(u) && !g.other:
		return nil
	}
	c, ok := g.literal(u)
	if !ok {
		if address.EndsInNumber(u.Hostname()) {
			return refuse("expected a host name or an address in its usual form")
		}
		return nil
	}
	if c == forbidden || c > g.limit() {
		return refuse(fmt.Sprintf("a %s address, where at most %s is allowed", c, g.limit()))
	}
	return nil
}

// checkAddr judges an address that is about to be dialled, after the look-up.
func (g *guard) checkAddr(own bool, a netip.AddrPort) error {
	c := g.class(a)
	switch {
	case own && !g.other:
		// What the operator wrote as an address is theirs to choose; a name must
		// not turn into a metadata service.
		if h, _, _ := net.SplitHostPort(g.endpoint); c != forbidden || isAddr(h) {
			return nil
		}
	case c != forbidden && c <= g.limit():
		return nil
	}
	return &refusal{target: a.String(), first: own,
		why: fmt.Sprintf("a %s address, where at most %s is allowed", c, g.limit())}
}

// note remembers where the upstream itself was reached.
func (g *guard) note(a netip.AddrPort) {
	c := int32(g.class(a))
	if c == int32(forbidden) {
		return
	}
	for {
		old := g.reached.Load()
		if old != 0 && old <= c {
			return
		}
		if g.reached.CompareAndSwap(old, c) {
			return
		}
	}
}

// literal classifies a host that needs no look-up.
func (g *guard) literal(u *url.URL) (class, bool) {
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return loopback, true // RFC 6761
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		return forbidden, false
	}
	port, _ := strconv.ParseUint(portOf(u), 10, 16)
	return g.class(netip.AddrPortFrom(a, uint16(port))), true
}

func isAddr(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// hostPort is the host and port that u is dialled at, in lower case.
func hostPort(u *url.URL) string {
	return net.JoinHostPort(strings.ToLower(u.Hostname()), portOf(u))
}

func portOf(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}
