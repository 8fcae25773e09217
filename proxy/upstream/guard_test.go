package upstream

import (
	"net/netip"
	"net/url"
	"testing"
)

func TestClassOf(t *testing.T) {
	tests := map[class][]string{
		public: {"93.184.216.34", "1.1.1.1", "2606:4700::1111", "::ffff:93.184.216.34", "64:ff9b::5db8:d822", "2002:5db8:d822::1",
			"100.63.255.255", "100.128.0.1", "172.32.0.1", "192.0.1.1", "169.253.255.255"},
		private: {"10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "100.127.255.255", "fc00::1", "fd12::1",
			"fec0::1", "::ffff:10.0.0.1", "::ffff:100.64.0.1", "64:ff9b::a00:1", "2002:a00:1::", "::10.0.0.1", "::ffff:0:a00:1", "198.18.0.1", "192.0.0.8", "fd12::1%eth0"},
		loopback: {"127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "::127.0.0.1"},
		forbidden: {"0.0.0.0", "0.1.2.3", "::", "169.254.169.254", "169.254.0.1", "fe80::1", "fe80::1%eth0", "224.0.0.1", "239.255.255.255",
			"ff02::1", "ff0e::1", "255.255.255.255", "240.0.0.1", "::ffff:169.254.169.254", "::ffff:100.100.100.200", "::ffff:240.0.0.1", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::",
			"::169.254.169.254", "::ffff:0:a9fe:a9fe", "64:ff9b:1::1", "2001:0:1::", "100.100.100.200", "168.63.129.16", "fd00:ec2::254", "fd20:ce::254"},
	}
	for want, addrs := range tests {
		for _, a := range addrs {
			if got := classOf(netip.MustParseAddr(a)); got != want {
				t.Errorf("%s is %s, want %s", a, got, want)
			}
		}
	}
	if classOf(netip.Addr{}) != forbidden {
		t.Error("no address at all is a target")
	}
}

func newTestGuard(t *testing.T, endpoint string, other bool) *guard {
	t.Helper()
	u, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	return newGuard(u, other, func(a netip.AddrPort) class { return classOf(a.Addr()) })
}

// What counts is the table of classes: a target must be at least as public as
// the upstream that names it.
func TestTargetsByClassOfTheUpstream(t *testing.T) {
	addrs := map[class]string{public: "93.184.216.34", private: "10.1.2.3", loopback: "127.0.0.1", forbidden: "169.254.169.254"}
	allowed := map[[2]class]bool{
		{loopback, loopback}: true, {loopback, private}: true, {loopback, public}: true,
		{private, private}: true, {private, public}: true, {public, public}: true,
	}
	for from, fromAddr := range addrs {
		g := newTestGuard(t, "http://"+fromAddr+":5000", false)
		if from == forbidden {
			continue
		}
		for to, toAddr := range addrs {
			want := allowed[[2]class{from, to}]
			u := &url.URL{Scheme: "http", Host: toAddr + ":8080"}
			if err := g.checkURL(u); (err == nil) != want {
				t.Errorf("URL from %s to %s: %v", from, to, err)
			}
			if err := g.checkAddr(false, netip.MustParseAddrPort(toAddr+":8080")); (err == nil) != want {
				t.Errorf("address from %s to %s: %v", from, to, err)
			}
		}
		if err := g.checkURL(&url.URL{Scheme: "http", Host: fromAddr + ":5000", Path: "/other"}); err != nil {
			t.Errorf("%s upstream's own host: %v", from, err)
		}
	}
}

func TestURLsThatAreNeverTargets(t *testing.T) {
	g := newTestGuard(t, "http://127.0.0.1:5000", false)
	for _, bad := range []string{"file:///etc/passwd", "ftp://x.example", "gopher://x.example", "//x.example", "http:///x",
		"http://user@x.example", "http://user:pw@127.0.0.1:5000/", "http://2130706433/", "http://0x7f000001/", "http://0x7f.1/", "http://017700000001",
		"http://127.1/", "http://x.1./", "http://0.0.0.0", "http://[::]", "http://[fe80::1%25eth0]/", "http://[::ffff:169.254.169.254]/", "http://169.254.169.254./"} {
		u, err := url.Parse(bad)
		if err != nil {
			t.Fatal(err)
		}
		if err := g.checkURL(u); err == nil {
			t.Errorf("%s passed", bad)
		}
	}
	https := newTestGuard(t, "https://127.0.0.1:5000", false)
	for _, bad := range []string{"http://127.0.0.1:5000", "http://x.example"} {
		u, _ := url.Parse(bad)
		if https.checkURL(u) == nil {
			t.Errorf("%s passed where the upstream is reached by https", bad)
		}
	}
	for _, bad := range []string{"http://localhost/", "http://LOCALHOST./", "http://a.localhost/", "http://127.0.0.1./"} {
		u, _ := url.Parse(bad)
		if newTestGuard(t, "http://93.184.216.34", false).checkURL(u) == nil {
			t.Errorf("%s passed for a public upstream", bad)
		}
	}
}

// The class of an upstream known by name is that of the address it was reached
// at, and never becomes less public.
func TestNamedUpstreamsNeverBecomeLessPublic(t *testing.T) {
	g := newTestGuard(t, "http://reg.example", false)
	if g.limit() != public {
		t.Errorf("before it was reached: %s", g.limit())
	}
	for _, step := range []struct {
		addr string
		want class
	}{{"127.0.0.1:80", loopback}, {"10.0.0.1:80", private}, {"127.0.0.1:80", private}, {"93.184.216.34:80", public},
		{"10.0.0.1:80", public}, {"169.254.169.254:80", public}} {
		g.note(netip.MustParseAddrPort(step.addr))
		if g.limit() != step.want {
			t.Errorf("after %s: %s, want %s", step.addr, g.limit(), step.want)
		}
	}
	// The name itself may resolve to any address that the operator could have
	// meant, but not to a metadata service.
	if err := g.checkAddr(true, netip.MustParseAddrPort("10.0.0.1:80")); err != nil {
		t.Error(err)
	}
	if g.checkAddr(true, netip.MustParseAddrPort("169.254.169.254:80")) == nil {
		t.Error("a named upstream became a metadata service")
	}
	if err := newTestGuard(t, "http://169.254.1.1", false).checkAddr(true, netip.MustParseAddrPort("169.254.1.1:80")); err != nil {
		t.Errorf("a link-local address that the operator wrote: %v", err)
	}
}

func TestOtherRegistriesArePublicOnly(t *testing.T) {
	g := newTestGuard(t, "https://reg.example", true)
	for _, a := range []string{"10.0.0.1:443", "127.0.0.1:443", "169.254.169.254:443"} {
		g.note(netip.MustParseAddrPort(a))
		for _, own := range []bool{true, false} {
			if g.checkAddr(own, netip.MustParseAddrPort(a)) == nil {
				t.Errorf("%s passed (own %v)", a, own)
			}
		}
	}
	if err := g.checkAddr(true, netip.MustParseAddrPort("93.184.216.34:443")); err != nil {
		t.Error(err)
	}
	for _, host := range []string{"10.0.0.1", "localhost", "127.0.0.1:8443"} {
		if newTestGuard(t, "https://"+host, true).checkURL(&url.URL{Scheme: "https", Host: host}) == nil {
			t.Errorf("%s passed", host)
		}
	}
}

func FuzzGuardURL(f *testing.F) {
	for _, seed := range []string{"http://x.example/", "https://127.0.0.1:1/", "http://[::1]", "file:///x", "http://0x7f.1", "http://[::ffff:a00:1%25x]:1/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := url.Parse(raw)
		if err != nil {
			return
		}
		g := newGuard(&url.URL{Scheme: "https", Host: "93.184.216.34"}, false, func(a netip.AddrPort) class { return classOf(a.Addr()) })
		if g.checkURL(u) != nil {
			return
		}
		if u.Scheme != "https" || u.User != nil || u.Hostname() == "" {
			t.Fatalf("%q passed", raw)
		}
		if a, err := netip.ParseAddr(u.Hostname()); err == nil && classOf(a) != public {
			t.Fatalf("%q passed, a %s address", raw, classOf(a))
		}
	})
}
