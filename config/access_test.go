package config

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// authority writes an intercepting authority and its key.
func (s site) authority(name string, life time.Duration) (cert, key string) {
	s.t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(life), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		s.t.Fatal(err)
	}
	kder, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		s.t.Fatal(err)
	}
	block := func(typ string, b []byte) string { return string(pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: b})) }
	return s.write(name+".crt", block("CERTIFICATE", der)), s.write(name+".key", block("PRIVATE KEY", kder))
}

// The documented example of all ways in, as it stands.
func TestAllWaysIn(t *testing.T) {
	s := newSite(t)
	s.pair("gate")
	s.authority("ca", time.Hour)
	for name, state := range map[string]string{"given": "", "not yet made": "given"} {
		if state != "" { // another directory, without the authority
			s = newSite(t)
			s.pair("gate")
		}
		t.Run(name, func(t *testing.T) {
			c := site{t, s.dir}.good(`
policy: policy.json
upstreams: [{registry: docker.io}]
tls: {cert: gate.crt, key: gate.key, client_ca: ""}
hosts: [{host: docker-io.gate.example, registry: docker.io}]        # Host or SNI
listeners: [{listen: 127.0.0.1:5002, registry: docker.io, mirror: true}]
intercept:
  listen: 127.0.0.1:3128
  ca: {cert: ca.crt, key: ca.key}
  tunnel: [auth.docker.io, production.cloudflare.docker.com]
state_dir: /var/lib/pullgate
auth: {htpasswd: "", token: {}, trusted_networks: [], trusted_proxies: [], rules: []}
`, LoadOptions{})
			if c.Auth.Enabled() || c.CertificateRequired() || len(c.Warnings) != 0 {
				t.Errorf("enabled %v, certificate required %v, warnings %q", c.Auth.Enabled(), c.CertificateRequired(), c.Warnings)
			}
			cert, key := c.CAFiles()
			if cert != filepath.Join(s.dir, "ca.crt") || key != filepath.Join(s.dir, "ca.key") {
				t.Errorf("authority %s %s", cert, key)
			}
		})
	}
}

func TestWhatTheGateMakesIsInTheStateDirectory(t *testing.T) {
	s := newSite(t)
	s.write("users", "")
	c := s.good(minimal+"state_dir: state\nintercept: {listen: ':3128'}\nauth: {htpasswd: users, token: {enabled: true}}", LoadOptions{})
	in := func(name string) string { return filepath.Join(s.dir, "state", name) }
	cert, key := c.CAFiles()
	if cert != in("intercept-ca.crt") || key != in("intercept-ca.key") || c.TokenKeyFile() != in("token.key") {
		t.Errorf("found %s %s %s", cert, key, c.TokenKeyFile())
	}
	c.Auth.Token.Key, c.Intercept.CA = "/k", CA{"/c", "/k"}
	if cert, key := c.CAFiles(); cert != "/c" || key != "/k" || c.TokenKeyFile() != "/k" {
		t.Errorf("given files: %s %s %s", cert, key, c.TokenKeyFile())
	}
	// Half a setting never becomes half of the default.
	c.Intercept.CA = CA{Cert: "/c"}
	if cert, key := c.CAFiles(); cert != "/c" || key != "" {
		t.Errorf("half given: %s %s", cert, key)
	}
}

func TestWhenClientsAreAsked(t *testing.T) {
	for name, test := range map[string]struct {
		auth     Auth
		enabled  bool
		required bool // with tls.client_ca
	}{
		"nothing":         {Auth{}, false, true},
		"only proxies":    {Auth{TrustedProxies: []string{"10.0.0.1"}}, false, true},
		"htpasswd":        {Auth{Htpasswd: "users"}, true, false},
		"token":           {Auth{Token: Token{Enabled: true}}, true, false},
		"networks":        {Auth{TrustedNetworks: []string{"10.0.0.1"}}, true, false},
		"rules":           {Auth{Rules: []Rule{{}}}, true, false},
		"token described": {Auth{Token: Token{Key: "k"}}, false, true},
	} {
		c := Config{Auth: test.auth, TLS: TLS{ClientCA: "ca"}}
		if test.auth.Enabled() != test.enabled || c.CertificateRequired() != test.required {
			t.Errorf("%s: enabled %v, required %v", name, test.auth.Enabled(), c.CertificateRequired())
		}
		c.TLS.ClientCA = ""
		if c.CertificateRequired() {
			t.Errorf("%s: a certificate is required and none is believed", name)
		}
	}
}

func TestFaultsOfAccess(t *testing.T) {
	in := func(auth string) string { return minimal + "auth:\n  " + auth }
	rule := func(r string) string { return in("trusted_networks: [10.0.0.0/8]\n  rules:\n    - " + r) }
	runAll(t, []faulty{
		{"unknown key", in("htpaswd: x"), "auth.htpaswd", 4, []string{"did you mean htpasswd?"}},
		{"unknown key of token", in("token: {realms: x}"), "auth.token.realms", 4, []string{"did you mean realm?"}},
		{"token is a word", in("token: true"), "auth.token", 4, []string{"enabled, key, realm, service, ttl"}},
		{"users are missing", in("htpasswd: users"), "auth.htpasswd", 4, []string{"no such file", "bcrypt"}},
		{"users are a directory", in("htpasswd: ."), "auth.htpasswd", 4, []string{"is not a file"}},

		{"token for nobody", in("token: {enabled: true}\nstate_dir: ."), "auth.token.enabled", 4, nil},
		{"token described and off", in("token: {realm: 'https://x/token'}"), "auth.token", 4, []string{"enabled: true"}},
		{"service with a quote", in("token: {enabled: false, service: 'a\"b'}"), "auth.token.service", 4, nil},
		{"service is empty", in("token: {enabled: false, service: ''}"), "auth.token.service", 4, nil},
		{"token ends too soon", in("token: {enabled: false, ttl: 59s}"), "auth.token.ttl", 4, []string{"1m0s to 1h0m0s"}},
		{"token ends too late", in("token: {enabled: false, ttl: 61m}"), "auth.token.ttl", 4, nil},
		{"token ends never", in("token: {enabled: false, ttl: 0s}"), "auth.token.ttl", 4, nil},
		{"key is none", in("token: {enabled: false, key: policy.json}"), "auth.token.key", 4, []string{"EC key on P-256"}},
		{"key is missing", in("token: {enabled: false, key: x.key}"), "auth.token.key", 4, []string{"no such file"}},
		{"realm without a scheme", in("token: {enabled: false, realm: gate.example/token}"), "auth.token.realm", 4, []string{"https://"}},
		{"realm of another scheme", in("token: {enabled: false, realm: 'ftp://gate.example'}"), "auth.token.realm", 4, nil},
		{"realm without a host", in("token: {enabled: false, realm: 'https:///token'}"), "auth.token.realm", 4, []string{"no host"}},
		{"realm with a bad port", in("token: {enabled: false, realm: 'https://a:0/token'}"), "auth.token.realm", 4, []string{"port"}},
		{"realm with a query", in("token: {enabled: false, realm: 'https://a/token?x'}"), "auth.token.realm", 4, []string{"query"}},
		{"realm with a fragment", in("token: {enabled: false, realm: 'https://a/token#'}"), "auth.token.realm", 4, []string{"fragment"}},
		{"realm with a user", in("token: {enabled: false, realm: 'https://bob@a/token'}"), "auth.token.realm", 4, []string{"user name"}},
		{"realm that ends a quotation", in(`token: {enabled: false, realm: 'https://a/",x="'}`), "auth.token.realm", 4, []string{"not a URL"}},

		{"network by name", in("trusted_networks: [corp]"), "auth.trusted_networks[0]", 4, []string{`"corp"`, "10.1.0.0/16"}},
		{"network with host bits", in("trusted_networks:\n    - 10.0.0.1\n    - 10.1.2.3/16"), "auth.trusted_networks[1]", 6, []string{"10.1.0.0/16"}},
		{"network in octal", in("trusted_networks: [010.0.0.1]"), "auth.trusted_networks[0]", 4, nil},
		{"network of IPv4 in IPv6", in("trusted_networks: ['::ffff:10.0.0.0/104']"), "auth.trusted_networks[0]", 4, nil},
		{"network with a zone", in("trusted_networks: ['fe80::1%eth0']"), "auth.trusted_networks[0]", 4, nil},
		{"network in long form", in("trusted_networks: ['2001:0db8::/32']"), "auth.trusted_networks[0]", 4, []string{"2001:db8::/32"}},
		{"network twice", in("trusted_networks: [10.0.0.1, 10.0.0.1/32]"), "auth.trusted_networks[1]", 4, []string{"second time"}},
		{"networks are a value", in("trusted_networks: 10.0.0.1"), "auth.trusted_networks", 4, []string{"expected a list"}},
		{"every proxy", in("trusted_proxies: [0.0.0.0/0]"), "auth.trusted_proxies[0]", 4, []string{"believe everybody"}},
		{"every proxy of IPv6", in("trusted_proxies: [10.0.0.1, '::/0']"), "auth.trusted_proxies[1]", 4, []string{"believe everybody"}},
		{"proxy by name", in("trusted_proxies: [proxy.example]"), "auth.trusted_proxies[0]", 4, nil},

		{"rules for nobody", in("rules: [{networks: [10.0.0.1], scopes: ['*']}]"), "auth.rules", 4, []string{"no client can be known", "auth.trusted_networks"}},
		{"rules are keys", in("rules: {users: [x]}"), "auth.rules", 4, []string{"expected a list"}},
		{"rule is a word", rule("everybody"), "auth.rules[0]", 6, []string{"users, certificates, networks, scopes"}},
		{"unknown key of a rule", rule("{networks: [10.0.0.2], scopes: ['*'], scope: ['*']}"), "auth.rules[0].scope", 6, []string{"did you mean scopes?"}},
		{"key of a rule twice", rule("{networks: [10.0.0.2], scopes: ['*'], scopes: [docker.io]}"), "auth.rules[0].scopes", 6, []string{"second time"}},
		{"scopes are a word", rule("{networks: [10.0.0.2], scopes: docker.io}"), "auth.rules[0].scopes", 6, []string{"expected a list"}},
		{"scope is a list", rule("{networks: [10.0.0.2], scopes: [[docker.io]]}"), "auth.rules[0].scopes[0]", 6, []string{"found a list"}},
		{"rule for nobody", rule("{scopes: ['*']}"), "auth.rules[0]", 6, []string{"names nobody"}},
		{"rule for nothing", rule("{networks: [10.0.0.2]}"), "auth.rules[0]", 6, []string{"no scopes"}},
		{"rule for users without passwords", rule("{users: [bob], scopes: ['*']}"), "auth.rules[0].users", 6, []string{"auth.htpasswd"}},
		{"rule for certificates of nobody", rule("{certificates: [bob], scopes: ['*']}"), "auth.rules[0].certificates", 6, []string{"tls.client_ca"}},
		{"rule with a bad network", rule("{networks: [10.0.0.2/8], scopes: ['*']}"), "auth.rules[0].networks[0]", 6, nil},
		{"scope on a line of its own", rule("networks: [10.0.0.2]\n      scopes:\n        - docker.io\n        - hub"), "auth.rules[0].scopes[1]", 9, []string{`"hub"`}},
		{"scope twice", rule("{networks: [10.0.0.2], scopes: [docker.io, docker.io]}"), "auth.rules[0].scopes[1]", 6, []string{"second time"}},
	})
}

func TestScopesOfRules(t *testing.T) {
	for _, scope := range []string{"*", "*.example.com", "docker.io", "docker.io/library", "docker.io/nginx", "docker.io/library/nginx",
		"localhost:5000", "registry.example.com:5000/a/b/c", "[::1]:5000/team", "localhost/x"} {
		if !ruleScope(scope) {
			t.Errorf("%s is refused", scope)
		}
	}
	for _, scope := range []string{"", "default", "library/nginx", "nginx", "docker.io/", "docker.io/library/nginx:1.27", "Docker.io", "docker.io/Library",
		"index.docker.io/library", "registry-1.docker.io:443", "*.", "*", "**", "*.example.com/x", "*.example.com:5000", "docker.io/*", "https://docker.io",
		"docker.io/library/nginx@sha256:" + strings.Repeat("0", 64), "a.example:0/x", "a.example:99999", " docker.io", "*example.com"} {
		if scope != "*" && ruleScope(scope) {
			t.Errorf("%s is accepted", scope)
		}
	}
}

func TestNamesOfRules(t *testing.T) {
	for _, name := range []string{"*", "alice", "alice@example.com", "Álvaro", "a b"} {
		if !userName(name) {
			t.Errorf("user %q is refused", name)
		}
	}
	for _, name := range []string{"", "a:b", "al*", "**", " alice", "a\nb", strings.Repeat("a", 256)} {
		if userName(name) {
			t.Errorf("user %q is accepted", name)
		}
	}
	for _, name := range []string{"*", "*.nodes.example", "node1.example", "spiffe://example/node", "bob@example.com", "Bob Smith"} {
		if !certificateName(name) {
			t.Errorf("certificate %q is refused", name)
		}
	}
	for _, name := range []string{"", "*.", "*node", "a.*.example", "*.Example", "\x1b", "*.*.example"} {
		if certificateName(name) {
			t.Errorf("certificate %q is accepted", name)
		}
	}
}

func TestKeysThatSignTokens(t *testing.T) {
	key := func(block string, k any) string {
		der, err := x509.MarshalPKCS8PrivateKey(k)
		if ec, is := k.(*ecdsa.PrivateKey); is && block == "EC PRIVATE KEY" {
			der, err = x509.MarshalECPrivateKey(ec)
		}
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: block, Bytes: der}))
	}
	ec := func(c elliptic.Curve) *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(c, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := key("PRIVATE KEY", ec(elliptic.P256()))
	parameters := string(pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 0}}))
	for name, test := range map[string]struct {
		text string
		good bool
	}{
		"PKCS 8":          {good, true},
		"SEC 1":           {key("EC PRIVATE KEY", ec(elliptic.P256())), true},
		"parameters":      {parameters + key("EC PRIVATE KEY", ec(elliptic.P256())), true},
		"another curve":   {key("PRIVATE KEY", ec(elliptic.P384())), false},
		"another kind":    {key("PRIVATE KEY", ed), false},
		"two":             {good + good, false},
		"a certificate":   {strings.ReplaceAll(good, "PRIVATE KEY", "CERTIFICATE"), false},
		"cut off":         {good[:80], false},
		"parameters only": {parameters, false},
		"nothing":         {"", false},
	} {
		if holdsECKey([]byte(test.text)) != test.good {
			t.Errorf("%s: expected %v", name, test.good)
		}
	}
}

// Who can read these keys can pose as every registry, or every user.
func TestKeysThatOthersCanRead(t *testing.T) {
	s := newSite(t)
	s.authority("ca", time.Hour)
	s.write("token.key", string(pemKey(t)))
	const content = minimal + "intercept: {ca: {cert: ca.crt, key: ca.key}}\nauth: {token: {enabled: false, key: token.key}}"
	for _, test := range []struct {
		file string
		mode os.FileMode
		key  string // of the fault, "" when there is none
	}{
		{"ca.key", 0o400, ""}, {"ca.key", 0o640, ":3: intercept.ca.key: "}, {"ca.key", 0o604, ":3: intercept.ca.key: "}, {"ca.key", 0o600, ""},
		{"token.key", 0o640, ""}, {"token.key", 0o644, ":4: auth.token.key: "}, {"token.key", 0o620, ":4: auth.token.key: "},
	} {
		if err := os.Chmod(filepath.Join(s.dir, test.file), test.mode); err != nil {
			t.Fatal(err)
		}
		_, err := s.load(content, LoadOptions{})
		if (err == nil) != (test.key == "") || err != nil && (!strings.Contains(err.Error(), test.key) || !strings.Contains(err.Error(), "chmod 600")) {
			t.Errorf("%s with mode %04o: %v", test.file, test.mode, err)
		}
	}
}

func TestNobodyGetsInWithoutTheRequiredCertificate(t *testing.T) {
	s := newSite(t)
	s.pair("gate")
	const tls = minimal + "tls: {cert: gate.crt, key: gate.key, client_ca: gate.crt}\n"
	ways := map[string]string{
		"listeners[0].plain_http": "listeners: [{listen: ':5002', registry: docker.io, plain_http: true}]\n",
		"intercept.listen":        "state_dir: .\nintercept: {listen: ':3128'}\n",
	}
	for key, way := range ways {
		_, err := s.load(tls+way, LoadOptions{})
		if err == nil || strings.Count(err.Error(), "\n") != 0 || !strings.Contains(err.Error(), ": "+key+": lets in clients without the certificate") {
			t.Errorf("%s: %v", key, err)
		}
		s.good(tls+way+"auth: {trusted_networks: [10.0.0.0/8]}", LoadOptions{})
	}
	s.good(tls+"listeners: [{listen: ':5002', registry: docker.io}]\n", LoadOptions{})
}

func TestWarningsOfExposedSettings(t *testing.T) {
	s := newSite(t)
	s.pair("gate")
	s.write("users", "")
	const tls = "tls: {cert: gate.crt, key: gate.key}\n"
	const users = "auth: {htpasswd: users}\n"
	for name, test := range map[string]struct {
		content string
		want    []string // how the warnings start after the file's name
	}{
		"nothing":                     {"", nil},
		"everybody is trusted":        {"auth: {trusted_networks: [10.0.0.0/8, 0.0.0.0/0, '::/0']}", []string{":3: auth.trusted_networks[1]: 0.0.0.0/0 is every client", ":3: auth.trusted_networks[2]: "}},
		"a rule for everybody":        {"auth: {trusted_networks: [10.0.0.1], rules: [{networks: ['0.0.0.0/0'], scopes: ['*']}]}", []string{":3: auth.rules[0].networks[0]: "}},
		"passwords here":              {users, nil},
		"passwords on the network":    {users + "listen: ':5000'", []string{":4: listen: :5000 is reached without TLS: passwords"}},
		"no passwords on the network": {"listen: ':5000'", nil},
		"passwords over TLS":          {users + tls + "listen: ':5000'", nil},
		"passwords on a plain listener": {users + tls + "listeners: [{listen: ':5002', registry: docker.io, plain_http: true}]",
			[]string{":5: listeners[0].listen: "}},
		"passwords to the proxy": {users + tls + "state_dir: .\nintercept: {listen: ':3128'}", []string{":6: intercept.listen: "}},
		"tokens over plain HTTP": {"auth: {htpasswd: users, token: {enabled: true, realm: 'http://gate.example/token'}}\nstate_dir: .",
			[]string{":3: auth.token.realm: "}},
		"mirror for nobody": {users + "listeners: [{listen: '127.0.0.1:5002', registry: docker.io, mirror: true}]",
			[]string{":4: listeners[0].mirror: nobody can pull there"}},
		"mirror for networks": {"auth: {htpasswd: users, trusted_networks: [10.0.0.1]}\nlisteners: [{listen: '127.0.0.1:5002', registry: docker.io, mirror: true}]", nil},
	} {
		c := s.good(minimal+test.content, LoadOptions{})
		if len(c.Warnings) != len(test.want) {
			t.Errorf("%s: got %q", name, c.Warnings)
			continue
		}
		for i, want := range test.want {
			if !strings.HasPrefix(c.Warnings[i], filepath.Join(s.dir, "pullgate.yaml")+want) {
				t.Errorf("%s: expected %q, got %q", name, want, c.Warnings[i])
			}
		}
	}
	c := s.good(upstream("registry: a.example, endpoint: 'http://a.example', credentials: client"), LoadOptions{})
	if len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], ":4: upstreams[1].credentials: clients' passwords") {
		t.Errorf("got %q", c.Warnings)
	}
}

func TestNetworksAreRead(t *testing.T) {
	got, err := Prefixes([]string{"10.0.0.0/8", "10.0.0.1", "2001:db8::1", "::/0"})
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, p := range got {
		texts = append(texts, p.String())
	}
	if want := []string{"10.0.0.0/8", "10.0.0.1/32", "2001:db8::1/128", "::/0"}; !reflect.DeepEqual(texts, want) {
		t.Errorf("got %q", texts)
	}
	for _, bad := range []string{"", "x", "10.0.0.0/33", "10.0.0.0/08", "10.0.0.1/8", "::ffff:10.0.0.1", "fe80::1%eth0", "10.0.0.1:80", "0x7f.0.0.1", "2130706433", "127.1"} {
		if p, err := Prefixes([]string{"10.0.0.1", bad}); err == nil || p != nil {
			t.Errorf("%q is read as %v", bad, p)
		}
	}
}
