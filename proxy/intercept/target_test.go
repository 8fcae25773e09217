package intercept

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/proxy/internal/address"
)

func TestTargetsOfConnect(t *testing.T) {
	for _, good := range []string{"registry.example:443", "a-b.c_d.example:1", "localhost:65535", "10.0.0.1:443", "[2001:db8::1]:5000", "[::1]:443", "xn--bcher-kva.example:443"} {
		got, err := parseTarget(good)
		if err != nil || got.String() != good {
			t.Errorf("%s: %s, %v", good, got, err)
		}
	}
	for _, bad := range []string{"", ":", ":443", "host", "host:", "host:0", "host:65536", "host:0443", "host:+443", "host: 443", "host:443 ", "host:https", "HOST:443", "Host.example:443",
		"host.:443", "a..b:443", ".a:443", "-a:443", "a-:443", "a/b:443", "a\x00b:443", "a%2eb:443", "bücher.example:443", "a,b:443", "a b:443", "user@host:443", "user:pw@host:443", "http://host:443", "host:443/", "host:443?x", "host:443#x",
		"2130706433:443", "017700000001:443", "0x7f000001:443", "0x7f.1:443", "127.1:443", "0177.0.0.1:443", "127.0.0.01:443", "1.2.3.4.5:443", "169.254.169.254.:443", "127.0.0.1.:443", "a.1:443",
		"::1:443", "[::1]", "[::1", "[::1:443", "::1]:443", "[127.0.0.1]:443", "[::ffff:127.0.0.1]:443", "[::ffff:7f00:1]:443", "[fe80::1%eth0]:443", "[fe80::1%25eth0]:443", "[0:0:0:0:0:0:0:1]:443", "[2001:DB8::1]:443", "[2001:db8::01]:443", "[]:443", "[host]:443",
		strings.Repeat("a", 64) + ".example:443", strings.Repeat("a.", 130) + "a:443"} {
		if got, err := parseTarget(bad); err == nil {
			t.Errorf("%q passed as %s", bad, got)
		} else if strings.Contains(err.Error(), "pw@") {
			t.Errorf("%q: the error holds a password: %v", bad, err)
		}
	}
}

func TestAuthorities(t *testing.T) {
	for in, want := range map[string]string{"a.example:443": "a.example", "a.example:80": "a.example:80", "[::1]:443": "[::1]", "[::1]:80": "[::1]:80", "10.0.0.1:443": "10.0.0.1"} {
		got, err := parseTarget(in)
		if err != nil || got.authority(443) != want {
			t.Errorf("%s: %q, %v", in, got.authority(443), err)
		}
		if back, err := parseAuthority(want, 443); err != nil || back != got {
			t.Errorf("%s: %v, %v", want, back, err)
		}
	}
}

func TestTunnelLists(t *testing.T) {
	list, err := ParseTunnel([]string{"a.example", "b.example:8443", "*.c.example", "10.0.0.1", "10.0.0.2:8443", "[2001:db8::2]:8443", "2001:db8::1", "10.1.0.0/16", "2001:db8:1::/48"})
	if err != nil {
		t.Fatal(err)
	}
	for to, want := range map[string]bool{
		"a.example:443": true, "a.example:80": false, "x.a.example:443": false, "aa.example:443": false,
		"b.example:8443": true, "b.example:443": false,
		"c.example:443": false, "x.c.example:443": true, "x.y.c.example:443": true, "xc.example:443": false, "x.c.example:8443": false,
		"10.0.0.1:443": true, "10.0.0.1:80": false, "10.0.0.2:8443": true, "10.0.0.2:443": false, "10.0.0.3:443": false,
		"10.1.2.3:443": true, "10.1.2.3:80": false, "10.2.0.1:443": false,
		"[2001:db8::1]:443": true, "[2001:db8::2]:8443": true, "[2001:db8::2]:443": false, "[2001:db8:1::7]:443": true,
	} {
		at, err := parseTarget(to)
		if err != nil {
			t.Fatal(err)
		}
		if got := list.lists(at); got != want {
			t.Errorf("%s: %v, want %v", to, got, want)
		}
	}
	for a, want := range map[string]bool{"10.0.0.1:9": true, "10.0.0.2:8443": true, "10.0.0.2:443": false, "10.1.255.255:9": true, "10.2.0.0:9": false, "[2001:db8:1::7]:9": true} {
		if got := list.covers(netip.MustParseAddrPort(a)); got != want {
			t.Errorf("covers %s: %v, want %v", a, got, want)
		}
	}
	if (Tunnels{}).lists(target{host: "a.example", port: 443}) {
		t.Error("an empty list lets something pass")
	}
}

func TestFaultsOfTunnelEntries(t *testing.T) {
	for _, bad := range []string{"", "*", "*.", "*.example", "*a.example", "a.*.example", "*.a.example:443", "*.1", "A.example", "a.example.", "https://a.example", "a.example/x", "a.example:0", "a.example:x", "user@a.example",
		"10.0.0.1/8", "10.0.0.0/33", "0.0.0.0/0", "::/0", "::ffff:10.0.0.0/104", "10.0.0.0/08", "2001:DB8::/32", "169.254.169.254", "169.254.169.254:80", "0.0.0.0", "::", "[fe80::1]:443", "fe80::1%eth0", "::ffff:10.0.0.1", "[::1]", "127.1", "2130706433", "0x7f.1:443", "010.0.0.1"} {
		if _, err := ParseTunnel([]string{bad}); err == nil {
			t.Errorf("%q passed", bad)
		}
	}
	_, err := ParseTunnel([]string{"good.example", "BAD.example", "10.0.0.1/8"})
	if err == nil || err.Error() != `[1]: expected a host name in lower case, as policy scopes are, found "BAD.example"`+"\n"+`[2]: "10.0.0.1/8" has bits set after its prefix; the network is 10.0.0.0/8` {
		t.Errorf("faults: %v", err)
	}
}

// What passes has one spelling and is a name or a plain address.
func FuzzTarget(f *testing.F) {
	for _, s := range []string{"a.example:443", "[::1]:443", "127.1:443", "user:pw@h:1", "0x7f.1:80", "[::ffff:7f00:1]:443", "a.:443"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := parseTarget(s)
		if err != nil {
			return
		}
		if got.String() != s || got.port == 0 || strings.ToLower(s) != s || strings.ContainsAny(s, "@/?#% \t\r\n") {
			t.Fatalf("%q passed as %q", s, got)
		}
		if a, err := netip.ParseAddr(got.host); err == nil && a != got.addr {
			t.Fatalf("%q is an address and passed as a name", s)
		}
		if !got.addr.IsValid() && address.EndsInNumber(got.host) {
			t.Fatalf("%q ends in a number", s)
		}
	})
}

// No entry covers addresses that are never reached by itself, nor everything.
func FuzzTunnelEntry(f *testing.F) {
	for _, s := range []string{"a.example", "a.example:8443", "*.a.example", "10.0.0.1", "10.0.0.1:1", "10.0.0.0/8", "2001:db8::/32", "::1", "[::1]:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		list, err := ParseTunnel([]string{s})
		if err != nil {
			if len(list.entries) > 0 {
				t.Fatalf("%q: a list beside an error", s)
			}
			return
		}
		if own := s == "other.invalid" || s == "other.invalid:443"; list.lists(target{host: "other.invalid", port: 443}) != own {
			t.Fatalf("%q lets another name pass", s)
		}
		if metadata := netip.MustParseAddr("169.254.169.254"); !strings.Contains(s, "/") && list.covers(netip.AddrPortFrom(metadata, 80)) {
			t.Fatalf("%q covers the metadata service", s)
		}
	})
}
