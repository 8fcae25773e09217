package address

import (
	"net/netip"
	"testing"
)

func TestClassOf(t *testing.T) {
	tests := map[Class][]string{
		Public:   {"93.184.216.34", "2606:4700::1111", "::ffff:93.184.216.34", "64:ff9b::5db8:d822", "100.128.0.1"},
		Private:  {"10.0.0.1", "100.64.0.1", "fd12::1%eth0", "::ffff:10.0.0.1", "2002:a00:1::", "::ffff:0:a00:1"},
		Loopback: {"127.255.255.254", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "::127.0.0.1"},
		Forbidden: {"0.0.0.0", "::", "169.254.169.254", "fe80::1%eth0", "ff02::1", "255.255.255.255",
			"::ffff:169.254.169.254", "100.100.100.200", "fd00:ec2::254", "2001:0:1::"},
	}
	for want, addrs := range tests {
		for _, a := range addrs {
			if got := ClassOf(netip.MustParseAddr(a)); got != want {
				t.Errorf("%s is %s, want %s", a, got, want)
			}
		}
	}
	if ClassOf(netip.Addr{}) != Forbidden {
		t.Error("no address at all is a target")
	}
}

func TestEndsInNumber(t *testing.T) {
	for _, bad := range []string{"", ".", "2130706433", "0x7f000001", "0x7f.1", "127.1", "017700000001", "x.1.", "a.99999999999999999999999"} {
		if !EndsInNumber(bad) {
			t.Errorf("%q passed", bad)
		}
	}
	for _, good := range []string{"localhost", "1.example", "cdn01.quay.io", "x.e1"} {
		if EndsInNumber(good) {
			t.Errorf("%q is refused", good)
		}
	}
}
