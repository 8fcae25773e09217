// Package address says how far IP addresses reach and which host names are
// addresses in disguise. It is shared by those who dial on behalf of others: the
// guard of upstream requests and the tunnels of interception.
//
// It never dials and never looks anything up.
package address

import (
	"net/netip"
	"strconv"
	"strings"
)

// Class says how far an address reaches. Higher is nearer to the gate itself.
type Class int32

// Classes. The zero value is never a target.
const (
	Forbidden Class = iota // link-local, unspecified, multicast, metadata services
	Public
	Private
	Loopback
)

// String names the class for errors.
func (c Class) String() string {
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

// ClassOf classifies an address. IPv6 forms that carry an IPv4 address are
// classified by that address.
func ClassOf(a netip.Addr) Class {
	a = a.Unmap().WithZone("")
	switch {
	case !a.IsValid(), a.IsUnspecified():
		return Forbidden
	case a.IsLoopback():
		return Loopback
	}
	if a.Is6() {
		for p, at := range embeddedV4 {
			if b := a.As16(); p.Contains(a) {
				return ClassOf(netip.AddrFrom4([4]byte(b[at : at+4])))
			}
		}
	}
	switch {
	case a.IsLinkLocalUnicast(), a.IsMulticast(), within(forbiddenBlocks, a):
		return Forbidden
	case a.IsPrivate(), within(privateBlocks, a):
		return Private
	}
	return Public
}

func within(blocks []netip.Prefix, a netip.Addr) bool {
	for _, p := range blocks {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// EndsInNumber finds hosts like 2130706433 or 0x7f.1, which some resolvers (a
// proxy's, say) read as IPv4 addresses, and those without any last label. No
// top-level domain looks like that.
func EndsInNumber(host string) bool {
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
