package config

import (
	"fmt"
	"net/netip"
)

// Prefixes reads the networks of a configuration: CIDRs without host bits, and
// addresses, each a network of its own, in the form that net/netip prints. IPv4
// addresses written as IPv6 are refused, as no client has one.
func Prefixes(texts []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, t := range texts {
		p, err := parsePrefix(t)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// parsePrefix reads one network. The error is a problem for a fault: what was
// expected and found, and what would pass where that is plain.
func parsePrefix(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return netip.Prefix{}, fmt.Errorf("expected an address or a CIDR, found %s", quote(text))
		}
		p = netip.PrefixFrom(a, a.BitLen()) // without its zone, which no client's address has
	}
	switch plain := p.Addr().String(); {
	case p.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf("expected IPv4 in its own form, found %s", quote(text))
	case p.Masked() != p:
		return netip.Prefix{}, fmt.Errorf("%s has bits set after its prefix; the network is %s", quote(text), p.Masked())
	case text != p.String() && text != plain:
		return netip.Prefix{}, fmt.Errorf("expected the usual form %s, found %s", p, quote(text))
	}
	return p, nil
}
