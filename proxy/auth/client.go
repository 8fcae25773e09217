package auth

import (
	"net/http"
	"net/netip"
	"strings"
)

// maxForwarded bounds the entries of X-Forwarded-For that are read.
const maxForwarded = 32

// Client returns the address of the client: the peer's, or when the peer is a
// trusted proxy the one that it says in X-Forwarded-For. A header that cannot be
// read does not count, then it is the peer's. The zero Addr means that the peer has
// none.
func (a *Authority) Client(r *http.Request) netip.Addr {
	addr, ok := a.forwarded(r)
	if !ok {
		return peer(r)
	}
	return addr
}

// forwarded returns the address of the client, and false when a trusted proxy sent
// a header that cannot be read: the proxy's own address must not open to its
// clients what it opens to the proxy.
func (a *Authority) forwarded(r *http.Request) (netip.Addr, bool) {
	p := peer(r)
	lines := r.Header.Values("X-Forwarded-For")
	if a == nil || len(lines) == 0 || !within(a.opts.TrustedProxies, p) {
		return p, true
	}
	chain, ok := parseForwarded(lines)
	if !ok {
		return netip.Addr{}, false
	}
	// Each proxy appends the address it was asked from, so the right end is what
	// trusted proxies wrote. Beyond the first address that is none of them, it is
	// what a client wrote.
	for i := len(chain) - 1; i > 0; i-- {
		if !within(a.opts.TrustedProxies, chain[i]) {
			return chain[i], true
		}
	}
	return chain[0], true
}

// parseForwarded reads the lines of X-Forwarded-For, in their order, as one list of
// at least one and at most maxForwarded plain addresses.
func parseForwarded(lines []string) ([]netip.Addr, bool) {
	var chain []netip.Addr
	for _, line := range lines {
		for entry := range strings.SplitSeq(line, ",") {
			addr, err := netip.ParseAddr(strings.Trim(entry, " \t"))
			if err != nil || addr.Zone() != "" || len(chain) == maxForwarded {
				return nil, false
			}
			chain = append(chain, addr.Unmap())
		}
	}
	return chain, len(chain) > 0
}

// peer returns the address that the connection comes from. One with a zone
// (link-local) is in no network.
func peer(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}

func within(networks []netip.Prefix, addr netip.Addr) bool {
	for _, n := range networks {
		if n.Contains(addr) {
			return true
		}
	}
	return false
}

// secure tells whether the client speaks TLS: to the gate, or to the trusted proxy
// before it.
func (a *Authority) secure(r *http.Request) bool {
	if r.TLS != nil {
		return true
	}
	proto := r.Header.Values("X-Forwarded-Proto")
	return len(proto) == 1 && proto[0] == "https" && within(a.opts.TrustedProxies, peer(r))
}
