package intercept

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/pullgate/pullgate/proxy/internal/address"
)

// Tunnels is a list of places that connections may be passed through to. The zero
// value lets nothing pass.
//
// An entry is one of
//   - host: this name, port 443
//   - host:port: this name and port
//   - *.domain: every name below the domain, at any depth, port 443
//   - address, address:port, [address]:port: like a host; names may resolve to it
//   - CIDR: every address in it, port 443; names may resolve to them
//
// Names lead to public addresses. To private and loopback ones they lead only
// where an entry covers the address itself (at any port when the entry has none).
// Link-local addresses and metadata services are never reached.
type Tunnels struct{ entries []tunnelEntry }

// tunnelEntry is one entry: a name or a network.
type tunnelEntry struct {
	name   string       // exact, or with wild what names end in, dot included
	wild   bool         //
	prefix netip.Prefix // valid for addresses and CIDRs
	port   uint16       // 0: none was written
}

// ParseTunnel reads a list. The error joins one error for each faulty entry, which
// starts with its index in brackets.
func ParseTunnel(list []string) (Tunnels, error) {
	var out Tunnels
	var faults []error
	for i, s := range list {
		e, err := parseEntry(s)
		if err != nil {
			faults = append(faults, fmt.Errorf("[%d]: %w", i, err))
			continue
		}
		out.entries = append(out.entries, e)
	}
	if len(faults) > 0 {
		return Tunnels{}, errors.Join(faults...)
	}
	return out, nil
}

func parseEntry(s string) (tunnelEntry, error) {
	if domain, wild := strings.CutPrefix(s, "*."); wild {
		if err := checkName(domain); err != nil {
			return tunnelEntry{}, err
		}
		if !strings.Contains(domain, ".") {
			return tunnelEntry{}, fmt.Errorf("%s covers a whole top-level domain; name the domain below it", quote(s))
		}
		return tunnelEntry{name: "." + domain, wild: true}, nil
	}
	if strings.Contains(s, "/") {
		return parseNetwork(s)
	}
	if _, err := netip.ParseAddr(s); err == nil {
		a, err := parseAddr(s)
		if err != nil {
			return tunnelEntry{}, err
		}
		return addressEntry(a, 0)
	}
	if !strings.Contains(s, ":") {
		return tunnelEntry{name: s}, checkName(s)
	}
	t, err := parseTarget(s)
	if err != nil {
		return tunnelEntry{}, err
	}
	if t.addr.IsValid() {
		return addressEntry(t.addr, t.port)
	}
	return tunnelEntry{name: t.host, port: t.port}, nil
}

func addressEntry(a netip.Addr, port uint16) (tunnelEntry, error) {
	if address.ClassOf(a) == address.Forbidden {
		return tunnelEntry{}, fmt.Errorf("%s is a %s address, which is never connected to; remove it", a, address.Forbidden)
	}
	return tunnelEntry{prefix: netip.PrefixFrom(a, a.BitLen()), port: port}, nil
}

func parseNetwork(s string) (tunnelEntry, error) {
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return tunnelEntry{}, fmt.Errorf("expected a CIDR like 10.1.2.0/24, found %s", quote(s))
	case p.Addr().Is4In6():
		return tunnelEntry{}, fmt.Errorf("expected an IPv4 network in its own form, found %s", quote(s))
	case p != p.Masked():
		return tunnelEntry{}, fmt.Errorf("%s has bits set after its prefix; the network is %s", quote(s), p.Masked())
	case p.String() != s:
		return tunnelEntry{}, fmt.Errorf("expected the network in its usual form %s, found %s", p, quote(s))
	case p.Bits() == 0:
		return tunnelEntry{}, fmt.Errorf("%s covers every address; list the networks that are meant", quote(s))
	}
	return tunnelEntry{prefix: p}, nil
}

// lists tells whether the list has an entry for the target as the client wrote it.
func (l Tunnels) lists(t target) bool {
	for _, e := range l.entries {
		port := e.port
		if port == 0 {
			port = httpsPort
		}
		if t.port == port && e.matches(t) {
			return true
		}
	}
	return false
}

func (e tunnelEntry) matches(t target) bool {
	switch {
	case e.prefix.IsValid():
		return t.addr.IsValid() && e.prefix.Contains(t.addr)
	case t.addr.IsValid():
		return false
	case e.wild:
		return strings.HasSuffix(t.host, e.name)
	}
	return t.host == e.name
}

// covers tells whether an address or network of the list covers an address that
// was resolved.
func (l Tunnels) covers(a netip.AddrPort) bool {
	for _, e := range l.entries {
		if e.prefix.IsValid() && e.prefix.Contains(a.Addr()) && (e.port == 0 || e.port == a.Port()) {
			return true
		}
	}
	return false
}
