package upstream

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
)

// class says how far an address reaches. A target is allowed when it is at
// least as public as the upstream that names it: whoever runs a registry on the
// internet must not make the gate fetch from the networks behind it.
type class int32

const (
	forbidden class = iota // never a target: link-local, unspecified, multicast, metadata services
	public
	private
	loopback
)

// String names the class for errors.
func (c class) String() string {
	return [...]string{"link-local or reserved", "public", "private", "loopback"}[c]
}

// Address blocks by class, where net/netip has no predicate of its own. From the
// IANA special-purpose address registries (RFC 6890).
var (
	privateBlocks = prefixes("100.64.0.0/10", "192.0.0.0/24", "198.18.0.0/15", "fec0::/10")
	// The last four are metadata services of clouds outside link-local space.
	forbiddenBlocks = prefixes("0.0.0.0/8", "240.0.0.0/4", "64:ff9b:1::/48", "2001::/32",
		"100.100.100.200/32", "168.63.129.16/32", "fd00:ec2::/64", "fd20:ce::254/128")
	// Blocks whose addresses carry an IPv4 address, and where in it.
	embeddedV4 = map[netip.Prefix]int{
		netip.MustParsePrefix("64:ff9b::/96"):    12, // NAT64, RFC 6052
		netip.MustParsePrefix("2002::/16"):       2,  // 6to4, RFC 3056
		netip.MustParsePrefix("::/96"):           12, // IPv4-compatible, RFC 4291
		netip.MustParsePrefix("::ffff:0:0:0/96"): 12, // IPv4-translated, RFC 7915
	}
)

func prefixes(all ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(all))
	for i, s := range all {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// classOf classifies an address. IPv6 forms that carry an IPv4 address are
// classified by that address.
func classOf(a netip.Addr) class {
	a = a.Unmap().WithZone("")
	switch {
	case !a.IsValid(), a.IsUnspecified():
		return forbidden
	case a.IsLoopback():
		return loopback
	}
	if a.Is6() {
		for p, at := range embeddedV4 {
			if b := a.As16(); p.Contains(a) {
				return classOf(netip.AddrFrom4([4]byte(b[at : at+4])))
			}
		}
	}
	switch {
	case a.IsLinkLocalUnicast(), a.IsMulticast(), within(forbiddenBlocks, a):
		return forbidden
	case a.IsPrivate(), within(privateBlocks, a):
		return private
	}
	return public
}

func within(blocks []netip.Prefix, a netip.Addr) bool {
	for _, p := range blocks {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

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
		if endsInNumber(u.Hostname()) {
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

// endsInNumber finds hosts like 2130706433 or 0x7f.1, which some resolvers (a
// proxy's, say) read as IPv4 addresses, and those without any last label. No
// top-level domain looks like that.
func endsInNumber(host string) bool {
	host = strings.TrimSuffix(host, ".")
	last := host[strings.LastIndexByte(host, '.')+1:]
	if last == "" {
		return true
	}
	if _, err := strconv.ParseUint(last, 0, 64); err == nil {
		return true
	}
	return strings.Trim(last, "0123456789") == ""
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
