package config

import (
	"errors"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// served is a file with registries of several shapes, and this.
func served(content string) string {
	return "policy: policy.json\nupstreams: [{registry: docker.io}, {registry: 'a.example:5000'}, {registry: quay.io, endpoint: 'https://mirror.example/quay'}, {registry: c.example, endpoint: 'http://10.0.0.7'}]\n" + content
}

func TestFaultsOfHosts(t *testing.T) {
	host := func(h string) string { return served("hosts: [{host: '" + h + "', registry: docker.io}]") }
	runAll(t, []faulty{
		{"unknown key", served("hosts: [{host: b.example, registry: docker.io, registy: x}]"), "hosts[0].registy", 3, []string{"did you mean registry?"}},
		{"no host", served("hosts: [{registry: docker.io}]"), "hosts[0].host", 3, []string{"hub.gate.example"}},
		{"capitals", host("Hub.gate.example"), "hosts[0].host", 3, []string{"lower case"}},
		{"a URL", host("https://hub.gate.example"), "hosts[0].host", 3, nil},
		{"an address", host("10.0.0.1"), "hosts[0].host", 3, nil},
		{"an address in hex", host("0x7f000001"), "hosts[0].host", 3, nil},
		{"a dot at the end", host("hub.gate.example."), "hosts[0].host", 3, nil},
		{"a label too long", host(strings.Repeat("a", 64) + ".example"), "hosts[0].host", 3, nil},
		{"a star inside", host("hub.*.example"), "hosts[0].host", 3, nil},
		{"only a star", host("*"), "hosts[0].host", 3, nil},
		{"everything", host("*."), "hosts[0].host", 3, nil},
		{"underscore", host("a_b.example"), "hosts[0].host", 3, nil},
		{"port that is none", host("hub.gate.example:0"), "hosts[0].host", 3, []string{"1 to 65535"}},
		{"port with a zero before it", host("hub.gate.example:05000"), "hosts[0].host", 3, nil},
		{"port that nobody shows", host("hub.gate.example:443"), "hosts[0].host", 3, []string{"write hub.gate.example"}},
		{"port of plain HTTP", host("hub.gate.example:80"), "hosts[0].host", 3, nil},
		{"twice", served("hosts:\n- {host: b.example, registry: docker.io}\n- {host: b.example, registry: quay.io}"), "hosts[1].host", 5, []string{"hosts[0].host"}},
		{"no registry", served("hosts: [{host: b.example}]"), "hosts[0].registry", 3, []string{"only *.domain can do without"}},
		{"registry not served", served("hosts: [{host: b.example, registry: ghcr.io}]"), "hosts[0].registry", 3, []string{"docker.io, a.example:5000, quay.io"}},
		{"registry by another name", served("hosts: [{host: b.example, registry: index.docker.io}]"), "hosts[0].registry", 3, []string{"write docker.io"}},
		{"registry with the usual port", served("other_registries: allow\nhosts: [{host: b.example, registry: 'ghcr.io:443'}]"), "hosts[0].registry", 4, []string{"write ghcr.io"}},
		{"registry of a wildcard not served", served("hosts: [{host: '*.b.example', registry: ghcr.io}]"), "hosts[0].registry", 3, nil},

		{"name of another registry", host("quay.io"), "hosts[0].registry", 3, []string{`"quay.io" is a host of quay.io itself`, "write registry: quay.io"}},
		{"name of another registry with its port", host("a.example:5000"), "hosts[0].registry", 3, []string{"write registry: a.example:5000"}},
		{"endpoint of another registry", host("mirror.example"), "hosts[0].registry", 3, []string{"write registry: quay.io"}},
		{"docker hub for another registry", served("hosts: [{host: registry-1.docker.io, registry: quay.io}]"), "hosts[0].registry", 3, []string{"write registry: docker.io"}},
		{"another registry in a wildcard", host("*.io"), "hosts[0].registry", 3, []string{"quay.io"}},
		{"labels that clash", "policy: policy.json\nupstreams: [{registry: docker.io}, {registry: a-b.example}, {registry: a.b.example}]\nhosts: [{host: '*.gate.example'}]",
			"hosts[0].host", 3, []string{`"a-b-example"`, `"a-b.example"`, `"a.b.example"`}},
		{"labels of nothing", "policy: policy.json\nother_registries: allow\nhosts: [{host: '*.gate.example'}]", "hosts[0].host", 3, []string{"there are none"}},
	})
}

func TestGoodHosts(t *testing.T) {
	for _, hosts := range []string{
		"{host: docker-io.gate.example, registry: docker.io}, {host: '*.gate.example'}",
		"{host: '*.hub.gate.example:5443', registry: docker.io}",
		"{host: hub, registry: docker.io}, {host: 'hub:5000', registry: quay.io}",
		"{host: registry-1.docker.io, registry: docker.io}, {host: quay.io, registry: quay.io}, {host: '*.io', registry: docker.io}",
		"{host: a.example, registry: docker.io}", // the registry is at another port
		"{host: xn--bcher-kva.example, registry: c.example}",
		"{host: b.example, registry: ghcr.io}",
	} {
		others := ""
		if strings.Contains(hosts, "ghcr.io") {
			others = "other_registries: allow\n"
		}
		newSite(t).good(served(others+"hosts: ["+hosts+"]"), LoadOptions{})
	}
}

func TestFaultsOfListeners(t *testing.T) {
	listener := func(l string) string { return served("listeners:\n  - {" + l + "}") }
	runAll(t, []faulty{
		{"unknown key", listener("listen: ':1', registry: docker.io, miror: true"), "listeners[0].miror", 4, []string{"did you mean mirror?"}},
		{"no boolean", listener("listen: ':1', registry: docker.io, mirror: yes"), "listeners[0].mirror", 4, []string{"true or false"}},
		{"no address", listener("registry: docker.io"), "listeners[0].listen", 4, []string{"host:port"}},
		{"only a port", listener("listen: 5002, registry: docker.io"), "listeners[0].listen", 4, nil},
		{"no registry", listener("listen: ':1'"), "listeners[0].registry", 4, []string{"is empty"}},
		{"registry not served", listener("listen: ':1', registry: ghcr.io"), "listeners[0].registry", 4, nil},
		{"mirror of what docker mirrors not", listener("listen: ':1', registry: quay.io, mirror: true"), "listeners[0].mirror", 4, []string{"docker.io only", `"quay.io"`}},
		{"the main address", listener("listen: '127.0.0.1:5000', registry: docker.io"), "listeners[0].listen", 4, []string{"taken by listen ("}},
		{"the main address by name", listener("listen: 'localhost:5000', registry: docker.io"), "listeners[0].listen", 4, []string{"taken by listen ("}},
		{"the main address in long form", served("listen: '[::1]:5000'\nlisteners: [{listen: '[0:0::1]:5000', registry: docker.io}]"), "listeners[0].listen", 4, []string{"taken by listen ("}},
		{"the admin address", listener("listen: ':5001', registry: docker.io"), "listeners[0].listen", 4, []string{"taken by admin.listen ("}},
		{"each other's", served("listeners:\n- {listen: ':1', registry: docker.io}\n- {listen: '10.0.0.1:1', registry: quay.io}"), "listeners[1].listen", 5, []string{"taken by listeners[0].listen ("}},
		{"the proxy's", served("state_dir: .\nlisteners: [{listen: ':1', registry: docker.io}]\nintercept: {listen: ':1'}"), "intercept.listen", 5, []string{"taken by listeners[0].listen ("}},
	})
	newSite(t).good(served("listeners: [{listen: ':0', registry: docker.io}, {listen: ':0', registry: quay.io}, {listen: '10.0.0.1:5000', registry: quay.io}]"), LoadOptions{})
}

func TestFaultsOfInterception(t *testing.T) {
	tunnel := func(entry string) string {
		return served("state_dir: .\nintercept:\n  listen: ':3128'\n  tunnel: [ok.example, '" + entry + "']")
	}
	const at, line = "intercept.tunnel[1]", 6
	faults := []faulty{
		{"unknown key", served("intercept: {tunnels: []}"), "intercept.tunnels", 3, []string{"did you mean tunnel?"}},
		{"unknown key of the authority", served("intercept: {ca: {crt: x}}"), "intercept.ca.crt", 3, []string{"did you mean cert?"}},
		{"bad address", served("state_dir: .\nintercept: {listen: 3128}"), "intercept.listen", 4, nil},
		{"tunnels without a proxy", served("intercept: {tunnel: [auth.docker.io]}"), "intercept.tunnel", 3, []string{"intercept.listen"}},
		{"everything", tunnel("*"), at, line, []string{"*.cdn.example.com"}},
		{"a whole domain", tunnel("*.com"), at, line, []string{"top-level", "*.example.com"}},
		{"wildcard with a port", tunnel("*.example.com:443"), at, line, nil},
		{"wildcard inside", tunnel("a.*.example.com"), at, line, nil},
		{"wildcard of part of a label", tunnel("*a.example.com"), at, line, nil},
		{"wildcard of an address", tunnel("*.0.0.1"), at, line, nil},
		{"a URL", tunnel("https://auth.docker.io"), at, line, nil},
		{"a path", tunnel("auth.docker.io/token"), at, line, nil},
		{"capitals", tunnel("Auth.docker.io"), at, line, nil},
		{"a dot at the end", tunnel("auth.docker.io."), at, line, nil},
		{"empty", tunnel(""), at, line, nil},
		{"no port", tunnel("auth.docker.io:"), at, line, nil},
		{"port zero", tunnel("auth.docker.io:0"), at, line, nil},
		{"port with zeros", tunnel("auth.docker.io:0443"), at, line, nil},
		{"port of an address is zero", tunnel("192.0.2.1:0"), at, line, nil},
		{"port of an address with zeros", tunnel("192.0.2.1:0443"), at, line, nil},
		{"twice", tunnel("ok.example"), at, line, []string{"second time"}},
		{"twice with a port", tunnel("ok.example:443"), at, line, []string{"second time"}},
		{"every network", tunnel("0.0.0.0/0"), at, line, []string{"every address"}},
		{"every network of IPv6", tunnel("::/0"), at, line, nil},
		{"network with host bits", tunnel("10.0.0.1/8"), at, line, []string{"10.0.0.0/8"}},
		{"IPv4 in IPv6", tunnel("::ffff:192.0.2.1"), at, line, nil},
		{"IPv6 in brackets", tunnel("[2001:db8::1]"), at, line, nil},
		{"IPv6 in long form", tunnel("2001:DB8::1"), at, line, []string{"usual form"}},
	}
	for _, a := range []string{"2130706433", "0x7f000001", "0177.0.0.1", "127.1", "127.0.0.0x1", "1.2.3.4.5"} {
		faults = append(faults, faulty{"address in another form " + a, tunnel(a), at, line, nil})
	}
	for _, a := range []string{"0.0.0.0", "0.1.2.3", "::", "169.254.169.254", "169.254.169.254:80", "169.254.0.0/24", "fe80::1", "fe80::/64", "224.0.0.1", "255.255.255.255",
		"ff02::1", "[ff02::1]:443", "100.100.100.200", "168.63.129.16", "fd00:ec2::254", "fd20:ce::254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::"} {
		faults = append(faults, faulty{"forbidden " + a, tunnel(a), at, line, []string{"no tunnel leads to"}})
	}
	for _, h := range []string{"docker.io", "registry-1.docker.io", "index.docker.io", "registry-1.docker.io:80", "a.example:5000", "quay.io", "quay.io:443", "mirror.example", "c.example:80", "10.0.0.7:80"} {
		faults = append(faults, faulty{"registry " + h, tunnel(h), at, line, []string{"is a host of the registry", "never tunnelled"}})
	}
	runAll(t, faults)
}

func TestGoodTunnels(t *testing.T) {
	s := newSite(t)
	c := s.good(served(`state_dir: .
intercept:
  listen: ':3128'
  tunnel: [auth.docker.io, production.cloudflare.docker.com, "*.docker.io", "*.r2.cloudflarestorage.com", "a.example:5001", a.example, localhost,
    192.0.2.1, "192.0.2.1:8443", "2001:db8::1", "[2001:db8::1]:8443", 10.0.0.0/8, "fd00::/8", 127.0.0.1, 100.64.0.0/10]`), LoadOptions{})
	if len(c.Intercept.Tunnel) != 15 {
		t.Errorf("got %q", c.Intercept.Tunnel)
	}
	// Docker Hub is a host like any other when it is not served.
	s.good("policy: policy.json\nupstreams: [{registry: quay.io}]\ndefault_registry: quay.io\nstate_dir: .\nintercept: {listen: ':3128', tunnel: [registry-1.docker.io]}", LoadOptions{})
}

func TestFaultsOfTheAuthority(t *testing.T) {
	s := newSite(t)
	s.authority("one", time.Hour)
	s.authority("two", time.Hour)
	s.authority("old", -time.Hour)
	s.pair("leaf")
	for name, test := range map[string]struct{ ca, key, want string }{
		"no key":                {"cert: one.crt", "intercept.ca.key", "missing beside intercept.ca.cert"},
		"no certificate":        {"key: one.key", "intercept.ca.cert", "missing beside intercept.ca.key"},
		"of another pair":       {"cert: one.crt, key: two.key", "intercept.ca.cert", "does not match"},
		"no authority":          {"cert: leaf.crt, key: leaf.key", "intercept.ca.cert", "CA:TRUE"},
		"expired":               {"cert: old.crt, key: old.key", "intercept.ca.cert", "not valid now"},
		"key is not there":      {"cert: one.crt, key: new.key", "intercept.ca.key", "no such file"},
		"only the key is there": {"cert: new.crt, key: one.key", "intercept.ca.cert", "no such file"},
		"one file for both":     {"cert: new, key: new", "intercept.ca.key", "same file"},
	} {
		_, err := s.load(served("intercept: {listen: ':3128', ca: {"+test.ca+"}}"), LoadOptions{})
		var faults Faults
		if !errors.As(err, &faults) || len(faults) != 1 || faults[0].Key != test.key || faults[0].Line != 3 || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: expected %q at %s, got: %v", name, test.want, test.key, err)
		}
	}
	_, err := s.load(served("intercept: {listen: ':3128', ca: {cert: no/new.crt, key: no/new.key}}"), LoadOptions{})
	if err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("a directory that is not there: %v", err)
	}
	s.good(served("intercept: {listen: ':3128', ca: {cert: one.crt, key: one.key}}\nstate_dir: /no/where"), LoadOptions{})
}

func TestFaultsOfTheStateDirectory(t *testing.T) {
	const proxy = "\nintercept: {listen: ':3128'}"
	runAll(t, []faulty{
		{"nowhere", minimal + "state_dir: no/where" + proxy, "state_dir", 3, []string{"no such file"}},
		{"empty", minimal + "state_dir: ''" + proxy, "state_dir", 3, []string{"is empty"}},
		{"a file", minimal + "state_dir: policy.json" + proxy, "state_dir", 3, []string{"not a directory"}},
		{"below a file", minimal + "state_dir: policy.json/x" + proxy, "state_dir", 3, []string{"not a directory"}},
	})
	s := newSite(t)
	for _, content := range []string{"state_dir: made" + proxy, "state_dir: registries.d" + proxy, "state_dir: no/where", "state_dir: ''"} {
		s.good(minimal+content, LoadOptions{})
	}
}

func TestFaultsOfCredentials(t *testing.T) {
	const at = "upstreams[1].credentials"
	runAll(t, []faulty{
		{"another word", upstream("registry: a.example, credentials: shared"), at, 4, []string{"gate, client", `"shared"`}},
		{"of a layout", upstream("registry: a.example, endpoint: 'oci:layout', credentials: client"), at, 4, []string{"local disk"}},
		{"of a directory", upstream("registry: a.example, endpoint: 'dir:layout', credentials: client"), at, 4, []string{"local disk"}},
	})
	newSite(t).good(upstream("registry: a.example, endpoint: 'dir:layout', credentials: gate"), LoadOptions{})
}

func TestListsOfTheEnvironment(t *testing.T) {
	s := newSite(t)
	s.write("users", "")
	t.Chdir(s.dir)
	c := s.good(served("hosts: [{host: x.example, registry: docker.io}]\nstate_dir: ."), LoadOptions{Environ: []string{
		"PULLGATE_HOSTS=hub.example=docker.io, *.gate.example",
		"PULLGATE_LISTENERS=127.0.0.1:5002=docker.io,[::1]:5003=quay.io",
		"PULLGATE_INTERCEPT_LISTEN=127.0.0.1:3128",
		"PULLGATE_INTERCEPT_TUNNEL=auth.docker.io, 10.0.0.0/8",
		"PULLGATE_AUTH_HTPASSWD=users",
		"PULLGATE_AUTH_TOKEN_ENABLED=true",
		"PULLGATE_AUTH_TOKEN_TTL=2m",
		"PULLGATE_AUTH_TRUSTED_NETWORKS=10.0.0.0/8,10.0.0.1",
		"PULLGATE_AUTH_TRUSTED_PROXIES=",
	}})
	if want := []Host{{"hub.example", "docker.io"}, {"*.gate.example", ""}}; !reflect.DeepEqual(c.Hosts, want) {
		t.Errorf("hosts %+v", c.Hosts)
	}
	if want := []Listener{{Listen: "127.0.0.1:5002", Registry: "docker.io"}, {Listen: "[::1]:5003", Registry: "quay.io"}}; !reflect.DeepEqual(c.Listeners, want) {
		t.Errorf("listeners %+v", c.Listeners)
	}
	if want := []string{"auth.docker.io", "10.0.0.0/8"}; !reflect.DeepEqual(c.Intercept.Tunnel, want) {
		t.Errorf("tunnel %q", c.Intercept.Tunnel)
	}
	if !c.Auth.Token.Enabled || c.Auth.Token.TTL.Minutes() != 2 || len(c.Auth.TrustedNetworks) != 2 || filepath.Base(c.Auth.Htpasswd) != "users" {
		t.Errorf("auth %+v", c.Auth)
	}
}

// Rules that a variable would replace or drop never leave more allowed than the
// file says.
func TestRulesComeFromTheFileOnly(t *testing.T) {
	s := newSite(t)
	for _, value := range []string{"", "[]", "alice=docker.io"} {
		_, err := s.load(minimal+"auth: {trusted_networks: [10.0.0.1], rules: [{networks: [10.0.0.1], scopes: ['*']}]}", LoadOptions{Environ: []string{"PULLGATE_AUTH_RULES=" + value}})
		if err == nil || !strings.HasPrefix(err.Error(), "environment: PULLGATE_AUTH_RULES: ") || !strings.Contains(err.Error(), "into the file") {
			t.Errorf("%q: %v", value, err)
		}
	}
	for env, want := range map[string]string{
		"PULLGATE_HOSTS=b.example":           "environment: PULLGATE_HOSTS[0].registry: is empty",
		"PULLGATE_HOSTS==docker.io":          "environment: PULLGATE_HOSTS: an item has no host",
		"PULLGATE_LISTENERS=:1":              "environment: PULLGATE_LISTENERS[0].registry: is empty",
		"PULLGATE_LISTENERS=:1=docker.io,":   "environment: PULLGATE_LISTENERS: an item has no listen",
		"PULLGATE_AUTH_TRUSTED_PROXIES=::/0": "environment: PULLGATE_AUTH_TRUSTED_PROXIES[0]: ",
		"PULLGATE_INTERCEPT_TUNNEL=x,":       "environment: PULLGATE_INTERCEPT_TUNNEL: does nothing",
	} {
		if _, err := s.load(minimal, LoadOptions{Environ: []string{env}}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: expected %q, got: %v", env, want, err)
		}
	}
}
