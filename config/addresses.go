package config

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
)

// place is an address that the gate listens on.
type place struct {
	key, value string
	host       string
	port       int
}

// addresses checks every address that the gate listens on, and that no two of them
// are the same.
func (v *validator) addresses() {
	var taken []place
	add := func(key, value string) {
		host, port, good := v.address(key, value)
		if !good {
			return
		}
		p := place{key, value, host, port}
		if i := slices.IndexFunc(taken, p.same); i >= 0 {
			v.fault(key, fmt.Sprintf("%s is taken by %s (%s)", quote(value), taken[i].key, taken[i].value), "use another port")
			return
		}
		taken = append(taken, p)
	}
	add("listen", v.c.Listen)
	add("admin.listen", v.c.Admin.Listen)
	for i, l := range v.c.Listeners {
		add(fmt.Sprintf("listeners[%d].listen", i), l.Listen)
	}
	if v.c.Intercept.Listen != "" {
		add("intercept.listen", v.c.Intercept.Listen)
	}
}

// same reports whether two places cannot both be listened on.
func (p place) same(o place) bool {
	if p.port == 0 || p.port != o.port {
		return false
	}
	return plainAddress(p.host) == plainAddress(o.host) || everyAddress(p.host) || everyAddress(o.host)
}

// plainAddress is one form for the forms that an address has.
func plainAddress(host string) string {
	if host == "localhost" {
		return "127.0.0.1"
	}
	if ip := net.ParseIP(host); ip != nil {
		return ip.String()
	}
	return strings.ToLower(host)
}

// address checks host:port. A service's name is refused, as it would depend on
// the machine which port it is.
func (v *validator) address(key, value string) (host string, port int, good bool) {
	const fix = `write host:port, like 127.0.0.1:5000, or :5000 for every address`
	host, digits, err := net.SplitHostPort(value)
	if err != nil {
		v.fault(key, fmt.Sprintf("expected an address, found %s", quote(value)), fix)
		return "", 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil {
		v.fault(key, fmt.Sprintf("expected a port from 0 to 65535, found %s", quote(digits)), fix)
		return "", 0, false
	}
	if strings.ContainsAny(host, "/@?# ") {
		v.fault(key, fmt.Sprintf("expected a host, found %s", quote(host)), fix)
		return "", 0, false
	}
	return host, int(n), true
}

func everyAddress(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}

// onlyHere reports whether host[:port] is reached from this machine only.
func onlyHere(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// maxListeners bounds the addresses that the gate listens on.
const maxListeners = 100

// listeners checks what the listeners for one registry stand for.
func (v *validator) listeners() {
	if !v.few("listeners", len(v.c.Listeners), maxListeners) {
		return
	}
	for i, l := range v.c.Listeners {
		at := fmt.Sprintf("listeners[%d]", i)
		if v.served(at+".registry", l.Registry) && l.Mirror && l.Registry != dockerHub {
			v.fault(at+".mirror", fmt.Sprintf("docker asks mirrors for %s only, and this listener is for %s", dockerHub, quote(l.Registry)),
				"leave mirror out, or write registry: "+dockerHub)
		}
	}
}
