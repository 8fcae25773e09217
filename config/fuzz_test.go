package config

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Whatever the file holds: Load returns, faults are printable lines, and what it
// accepts is checked, complete and never without a policy.
func FuzzLoad(f *testing.F) {
	for _, seed := range []string{
		"", minimal, minimal + "lisen: x", minimal + "tls: {cert: a, key: b}", "policy: [", "- a", "a: &a [*a]", "? {a: b}\n: c",
		minimal + "verdicts: {size: 1e9, allowed_ttl: 1h}\nreport_only: [default, '*.example.com', \"\\e\"]\nother_registries: allow",
		"policy: policy.json\nupstreams:\n  - {registry: '[::1]:5000', prefix: corp, endpoint: oci:layout, transport: atomic}\n",
		minimal + "hosts: [{host: hub.gate.example, registry: docker.io}, {host: '*.gate.example:5443'}]\nlisteners: [{listen: ':0', registry: docker.io, mirror: true, plain_http: true}]",
		minimal + "state_dir: .\nintercept: {listen: ':0', ca: {}, tunnel: [auth.docker.io, '*.cdn.example', 10.0.0.0/8, '[2001:db8::1]:443', 2130706433]}",
		minimal + "auth:\n  trusted_networks: [10.0.0.0/8, '::1']\n  trusted_proxies: [10.0.0.1]\n  token: {enabled: true, realm: 'https://x/', ttl: 1h}\n  rules: [{networks: [10.0.0.1], scopes: ['*', docker.io/x]}]\nstate_dir: .",
		"\xff\xfep\x00", "%YAML 1.2\n---\npolicy: !!null x\n...\n---\n", "<<: {<<: {}}", "policy: policy.json\r\nlisten: \":\"\r\n",
	} {
		f.Add([]byte(seed))
	}
	dir := f.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "policy.json"), nil, 0o600); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(dir, "pullgate.yaml")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Load(LoadOptions{File: path})
		if err != nil {
			var faults Faults
			if c != nil || !errors.As(err, &faults) || len(faults) == 0 || len(strings.Split(err.Error(), "\n")) != len(faults) {
				t.Fatalf("%+v with error %q", c, err)
			}
			return
		}
		if !filepath.IsAbs(c.Policy) || c.Listen == "" || c.Verdicts.Size < 1 || len(c.Validate()) > 0 {
			t.Fatalf("accepted %+v", c)
		}
		for _, u := range c.Upstreams {
			if u.Registry == "" || u.Endpoint == "" || u.Transport == "" || u.Credentials == "" {
				t.Fatalf("accepted %+v", u)
			}
		}
		checkAccess(t, c)
	})
}

// checkAccess holds what other packages rest on when they read who may pull.
func checkAccess(t *testing.T, c *Config) {
	t.Helper()
	for _, r := range c.Auth.Rules {
		if len(r.Users)+len(r.Certificates)+len(r.Networks) == 0 || len(r.Scopes) == 0 {
			t.Fatalf("accepted %+v", r)
		}
		if _, err := Prefixes(r.Networks); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Prefixes(c.Auth.TrustedNetworks); err != nil {
		t.Fatal(err)
	}
	proxies, err := Prefixes(c.Auth.TrustedProxies)
	if err != nil || slices.ContainsFunc(proxies, func(p netip.Prefix) bool { return p.Bits() == 0 }) {
		t.Fatalf("accepted the proxies %v, %v", proxies, err)
	}
	for _, l := range c.Listeners {
		if _, served := c.Upstream(l.Registry); !served {
			t.Fatalf("accepted %+v", l)
		}
	}
	for _, h := range c.Hosts {
		if _, served := c.Upstream(h.Registry); !served && !(h.Registry == "" && strings.HasPrefix(h.Host, "*.")) {
			t.Fatalf("accepted %+v", h)
		}
	}
	for _, entry := range c.Intercept.Tunnel {
		if strings.ContainsAny(entry, " @?#") || entry == "*" || entry == "" {
			t.Fatalf("accepted the tunnel %q", entry)
		}
	}
}

// Whatever an entry of the tunnels is: no entry names an address in another form
// than the usual one, and none leads to what is never tunnelled.
func FuzzReadTunnel(f *testing.F) {
	for _, seed := range []string{"auth.docker.io", "a:1", "*.b.example", "*.com", "*", "192.0.2.1", "[::1]:443", "::1", "10.0.0.0/8", "0x7f.1", "169.254.169.254:80", "::ffff:1.2.3.4", "a@b", "1.2.3.4:08"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, entry string) {
		got, problem, fix := readTunnel(entry)
		if problem != "" {
			if fix == "" {
				t.Fatalf("%q: %s, without a fix", entry, problem)
			}
			return
		}
		if got.network.IsValid() {
			if got.network.String() != entry || got.network.Bits() == 0 {
				t.Fatalf("%q is read as %s", entry, got.network)
			}
			return
		}
		host := strings.TrimPrefix(got.host, "*.")
		if !plainPort(got.port) || !strings.Contains(entry, host) {
			t.Fatalf("%q is read as %+v", entry, got)
		}
		if a, err := netip.ParseAddr(host); err == nil && (a.String() != host || neverTunnelled(netip.PrefixFrom(a, a.BitLen()))) || err != nil && !dnsName(host) {
			t.Fatalf("%q is read as %+v", entry, got)
		}
	})
}
