package intercept

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/pullgate/pullgate/proxy/internal/address"
)

// Bounds of host names (RFC 1035, section 2.3.4).
const (
	maxName  = 253
	maxLabel = 63
)

// httpsPort is the port that registries and tunnels have when none is written.
const httpsPort = 443

// target is where a client wants to go. There is one spelling for each: what is
// spelt differently is refused, so that nothing behind the gate can read it as
// another place.
type target struct {
	host string     // name in lower case, or address in its usual form, without brackets
	addr netip.Addr // valid when host is an address
	port uint16
}

// String is host:port.
func (t target) String() string { return net.JoinHostPort(t.host, strconv.Itoa(int(t.port))) }

// authority is host[:port] as it stands in a Host header; the port that the
// scheme implies is left out (RFC 9110, section 7.2).
func (t target) authority(implied uint16) string {
	if t.port != implied {
		return t.String()
	}
	if t.addr.Is6() {
		return "[" + t.host + "]"
	}
	return t.host
}

// parseTarget reads the authority of a CONNECT request (RFC 9112, section 3.2.3):
// host:port, the port written out. Errors say what was expected and never repeat
// what stands before an @, which may be a password.
func parseTarget(s string) (target, error) {
	if strings.Contains(s, "@") {
		return target{}, fmt.Errorf("expected host:port, found a user name in it")
	}
	colon := strings.LastIndexByte(s, ':')
	if colon < 0 || strings.HasSuffix(s, "]") {
		return target{}, fmt.Errorf("expected host:port, found no port in %s", quote(s))
	}
	port, err := parsePort(s[colon+1:])
	if err != nil {
		return target{}, err
	}
	t := target{port: port}
	host := s[:colon]
	if inner, bracketed := strings.CutPrefix(host, "["); bracketed {
		inner, closed := strings.CutSuffix(inner, "]")
		if t.addr, err = parseAddr(inner); err == nil && (!closed || !t.addr.Is6()) {
			err = fmt.Errorf("expected an IPv6 address in brackets, found %s", quote(host))
		}
		t.host = inner
		return t, err
	}
	t.host = host
	if a, err := netip.ParseAddr(host); err == nil && a.Is4() {
		t.addr = a
		return t, nil
	}
	return t, checkName(host)
}

// parseAuthority reads host[:port] with the port that is implied when none is
// written.
func parseAuthority(s string, implied uint16) (target, error) {
	if !strings.Contains(s, ":") || strings.HasSuffix(s, "]") {
		s += ":" + strconv.Itoa(int(implied))
	}
	return parseTarget(s)
}

// parsePort reads a port number in its only form: decimal, no sign, no zeros in
// front.
func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != s {
		return 0, fmt.Errorf("expected a port from 1 to 65535 without zeros in front, found %s", quote(s))
	}
	return uint16(n), nil
}

// parseAddr reads an address in the one form that it is printed in: no zone, no
// IPv4 in IPv6, lower case, the longest run of zeros left out (RFC 5952).
func parseAddr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		return a, fmt.Errorf("expected an address, found %s", quote(s))
	case a.Zone() != "":
		return a, fmt.Errorf("expected an address without a zone, found %s", quote(s))
	case a.Is4In6():
		return a, fmt.Errorf("expected the IPv4 address %s in its own form, found %s", a.Unmap(), quote(s))
	case a.String() != s:
		return a, fmt.Errorf("expected the address in its usual form %s, found %s", a, quote(s))
	}
	return a, nil
}

// checkName accepts host names in lower case: labels of letters, digits, hyphens
// and underscores, no dot at the end. Names whose last label is a number are
// addresses to some resolvers.
func checkName(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("expected a host name, found none")
	case len(s) > maxName:
		return fmt.Errorf("expected a host name of at most %d characters, found %d", maxName, len(s))
	case strings.ToLower(s) != s:
		return fmt.Errorf("expected a host name in lower case, as policy scopes are, found %s", quote(s))
	case strings.HasSuffix(s, "."):
		return fmt.Errorf("expected a host name without a dot at its end, found %s", quote(s))
	case address.EndsInNumber(s):
		return fmt.Errorf("expected a host name, or an address in its usual form, found %s", quote(s))
	}
	for label := range strings.SplitSeq(s, ".") {
		if !goodLabel(label) {
			return fmt.Errorf("expected a host name of letters, digits, hyphens and dots, found %s", quote(s))
		}
	}
	return nil
}

func goodLabel(s string) bool {
	if s == "" || len(s) > maxLabel || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}

// maxQuoted bounds what an error repeats.
const maxQuoted = 100

// quote repeats foreign text in an error: bounded, printable ASCII.
func quote(s string) string {
	if len(s) > maxQuoted {
		s = s[:maxQuoted] + "..."
	}
	return strconv.QuoteToASCII(s)
}
