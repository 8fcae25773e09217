package auth

import (
	"net/http"
	"strings"
	"testing"
)

func TestClientAddress(t *testing.T) {
	a, err := New(Options{TrustedNetworks: prefixes("192.0.2.0/24", "2001:db8::/32", "10.0.0.9/32"), TrustedProxies: prefixes("10.0.0.0/24", "fd00::/64")})
	if err != nil {
		t.Fatal(err)
	}
	full := strings.TrimSuffix(strings.Repeat("192.0.2.1,", maxForwarded), ",")
	for name, c := range map[string]struct {
		peer  string
		lines []string
		addr  string
		known bool // by network
	}{
		"direct":                        {"192.0.2.7:1", nil, "192.0.2.7", true},
		"mapped":                        {"[::ffff:192.0.2.7]:1", nil, "192.0.2.7", true},
		"IPv6":                          {"[2001:db8::1]:1", nil, "2001:db8::1", true},
		"zone":                          {"[fe80::1%eth0]:1", nil, "fe80::1%eth0", false},
		"elsewhere":                     {"198.51.100.1:1", nil, "198.51.100.1", false},
		"no address":                    {"@", nil, "invalid IP", false},
		"forged, no proxy":              {"198.51.100.1:1", []string{"192.0.2.1"}, "198.51.100.1", false},
		"forged from a trusted client":  {"192.0.2.7:1", []string{"192.0.2.1"}, "192.0.2.7", true},
		"by proxy":                      {"10.0.0.1:1", []string{"192.0.2.1"}, "192.0.2.1", true},
		"by mapped proxy":               {"[::ffff:10.0.0.1]:1", []string{"::ffff:192.0.2.1"}, "192.0.2.1", true},
		"by IPv6 proxy":                 {"[fd00::1]:1", []string{"2001:db8::5"}, "2001:db8::5", true},
		"by two proxies":                {"10.0.0.1:1", []string{"192.0.2.1, 10.0.0.2"}, "192.0.2.1", true},
		"prepended by the client":       {"10.0.0.1:1", []string{"192.0.2.1, 198.51.100.1"}, "198.51.100.1", false},
		"prepended, two proxies":        {"10.0.0.1:1", []string{"192.0.2.1, 198.51.100.1, 10.0.0.2"}, "198.51.100.1", false},
		"prepended with a proxy's":      {"10.0.0.1:1", []string{"192.0.2.1, 10.0.0.3, 198.51.100.1"}, "198.51.100.1", false},
		"several lines":                 {"10.0.0.1:1", []string{"192.0.2.1", "198.51.100.1,10.0.0.2"}, "198.51.100.1", false},
		"last of several lines":         {"10.0.0.1:1", []string{"198.51.100.1", "192.0.2.1"}, "192.0.2.1", true},
		"missing":                       {"10.0.0.1:1", nil, "10.0.0.1", false},
		"only proxies":                  {"10.0.0.1:1", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3", false},
		"a proxy that is a client":      {"10.0.0.1:1", []string{"10.0.0.9"}, "10.0.0.9", true},
		"malformed":                     {"10.0.0.1:1", []string{"x, 192.0.2.1"}, "10.0.0.1", false},
		"malformed, of a trusted proxy": {"10.0.0.9:1", []string{"x, 198.51.100.1"}, "10.0.0.9", false},
		"empty":                         {"10.0.0.9:1", []string{""}, "10.0.0.9", false},
		"empty entry":                   {"10.0.0.9:1", []string{"192.0.2.1,,"}, "10.0.0.9", false},
		"port":                          {"10.0.0.9:1", []string{"192.0.2.1:99"}, "10.0.0.9", false},
		"zone forwarded":                {"10.0.0.9:1", []string{"2001:db8::1%eth0"}, "10.0.0.9", false},
		"unknown":                       {"10.0.0.9:1", []string{"unknown"}, "10.0.0.9", false},
		"octal":                         {"10.0.0.9:1", []string{"192.0.02.1"}, "10.0.0.9", false},
		"most":                          {"10.0.0.9:1", []string{full}, "192.0.2.1", true},
		"too many":                      {"10.0.0.9:1", []string{full + ",192.0.2.1"}, "10.0.0.9", false},
		"too many, several lines":       {"10.0.0.9:1", []string{full, "192.0.2.1"}, "10.0.0.9", false},
	} {
		r := &http.Request{RemoteAddr: c.peer, Header: http.Header{"X-Forwarded-For": c.lines}}
		if got := a.Client(r).String(); got != c.addr {
			t.Errorf("%s: client %s, expected %s", name, got, c.addr)
		}
		for _, identify := range []func() (Identity, error){
			func() (Identity, error) { return a.Identify(r, Place{}) },
			func() (Identity, error) { return a.IdentifyProxy(r) },
		} {
			if id, err := identify(); (err == nil) != c.known || (id.Kind == Network) != c.known {
				t.Errorf("%s: %v %v, expected known %v", name, id, err, c.known)
			}
		}
	}
}

// Rules by network go by the same address.
func TestForgedAddressAndRules(t *testing.T) {
	w := newWorld(t, func(o *Options) {
		o.TrustedProxies = prefixes("127.0.0.1/32")
		o.Rules = []Rule{{Networks: prefixes("192.0.2.0/24", "127.0.0.0/8"), Scopes: []string{"*"}}}
	})
	alice := basic("alice", "wonderland")
	w.want(w.get(nginx, alice, header("X-Forwarded-For", "192.0.2.1")), http.StatusOK, "user:alice")
	w.want(w.get(nginx, alice), http.StatusOK, "user:alice")
	for _, forged := range []string{"192.0.2.1, 198.51.100.1", "x, 198.51.100.1", "", "192.0.2.1, "} {
		w.want(w.get(nginx, alice, header("X-Forwarded-For", forged)), http.StatusForbidden, "may not pull")
	}
}
