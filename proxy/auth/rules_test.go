package auth

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

func TestRules(t *testing.T) {
	w := newWorld(t, func(o *Options) {
		o.Certificates = true
		o.Rules = []Rule{
			{Users: []string{"alice"}, Scopes: []string{"docker.io/team", "quay.io"}},
			{Users: []string{"*"}, Scopes: []string{"docker.io/library/nginx"}},
			{Certificates: []string{"node1.example", "*.nodes.example"}, Scopes: []string{"*.corp.example"}},
			{Certificates: []string{"*"}, Scopes: []string{"registry.example:5000"}},
			{Networks: prefixes("192.0.2.0/24"), Scopes: []string{"*"}},
			{Users: []string{"carol"}, Certificates: []string{"carol@corp.example"}, Scopes: []string{"docker.io/carol/app"}},
		}
	})
	user := func(n string) Identity { return Identity{Kind: User, Name: n} }
	cert := func(n ...string) Identity { return Identity{Kind: Certificate, Name: n[0], Names: n} }
	inside := netip.MustParseAddr("192.0.2.9")
	for _, c := range []struct {
		id   Identity
		repo string
		ok   bool
	}{
		{user("alice"), "docker.io/team/app", true},
		{user("alice"), "docker.io/team", true},
		{user("alice"), "docker.io/team/app/sub", true},
		{user("alice"), "docker.io/team2/app", false},
		{user("alice"), "docker.io/tea", false},
		{user("alice"), "quay.io/any/thing", true},
		{user("alice"), "quay.io:5000/any/thing", false},
		{user("alice"), "quay.io.evil.example/any", false},
		{user("alice"), "evil.example/quay.io/any", false},
		{user("alice"), "docker.io/library/nginx", true},
		{user("alice"), "docker.io/library/nginx2", false},
		{user("bob"), "docker.io/library/nginx", true},
		{user("bob"), "docker.io/team/app", false},
		{user("Alice"), "docker.io/team/app", false},
		{user("alice2"), "docker.io/team/app", false},
		{user("*"), "docker.io/team/app", false},
		{user("node1.example"), "a.corp.example/x", false},
		{cert("alice"), "docker.io/team/app", false},
		{cert("alice"), "docker.io/library/nginx", false},
		{cert("node1.example"), "a.corp.example/x", true},
		{cert("other", "x.nodes.example"), "a.corp.example:8443/x", true},
		{cert("X.Nodes.Example"), "a.b.corp.example/x", true},
		{cert("node1.example"), "corp.example/x", false},
		{cert("node1.example"), "acorp.example/x", false},
		{cert("node1.example"), "a.corp.example.evil.example/x", false},
		{cert("nodes.example"), "a.corp.example/x", false},
		{cert("evilnodes.example"), "a.corp.example/x", false},
		{cert("mallory@x.nodes.example"), "a.corp.example/x", false},
		{cert("https://x.nodes.example"), "a.corp.example/x", false},
		{cert("a b.nodes.example"), "a.corp.example/x", false},
		{cert("*.nodes.example"), "a.corp.example/x", false},
		{cert(".nodes.example"), "a.corp.example/x", false},
		{cert("whoever"), "registry.example:5000/x", true},
		{cert("whoever"), "registry.example/x", false},
		{cert("carol@corp.example"), "docker.io/carol/app", true},
		{user("carol"), "docker.io/carol/app", true},
		{user("carol@corp.example"), "docker.io/carol/app", false},
		{Identity{Kind: Network, Addr: inside}, "docker.io/team/app", true},
		{Identity{Kind: Network, Addr: netip.MustParseAddr("198.51.100.1")}, "docker.io/library/nginx", false},
		{Identity{Kind: User, Name: "bob", Addr: inside}, "docker.io/team/app", true},
		{Identity{Kind: Network}, "docker.io/team/app", false},
		{Identity{Addr: inside}, "docker.io/team/app", false},
		{Identity{Kind: Anonymous, Addr: inside}, "docker.io/team/app", false},
	} {
		repo, err := resolve(nil, "", c.repo)
		if c.repo == "docker.io/team" || c.repo == "docker.io/tea" { // as a registry of that name would have it
			repo, err = bare(c.repo), nil
		}
		if err != nil {
			t.Fatal(err)
		}
		err = w.a.May(c.id, repo)
		if (err == nil) != c.ok {
			t.Errorf("%+v %s: %v, expected %v", c.id, c.repo, err, c.ok)
		}
		if e := refusalOf(err); err != nil && (e.Status != http.StatusForbidden || e.Challenge != "") {
			t.Errorf("%+v", e)
		}
	}
	err := w.a.May(user("bob"), named(t, "docker.io/team/app"))
	if err == nil || !strings.Contains(err.Error(), "user:bob may not pull from docker.io/team/app") {
		t.Errorf("the refusal does not say who and what: %v", err)
	}
}

// bare is a repository name in a form that image names cannot have.
type bare string

func (b bare) Name() string   { return string(b) }
func (b bare) String() string { return string(b) }

func TestWithoutRulesWhoeverIsKnownMay(t *testing.T) {
	w := newWorld(t, nil)
	for _, k := range []Kind{User, Certificate, Network} {
		if err := w.a.May(Identity{Kind: k}, named(t, "docker.io/team/app")); err != nil {
			t.Errorf("%s: %v", k, err)
		}
	}
}

func TestBadOptions(t *testing.T) {
	base := func(edit func(*Options)) Options {
		w := newWorld(t, nil)
		o := w.a.opts
		o.Certificates = true
		withTokens(&o)
		edit(&o)
		return o
	}
	rule := func(r Rule) func(*Options) { return func(o *Options) { o.Rules = []Rule{r} } }
	everybody := []string{"*"}
	scope := func(s string) func(*Options) { return rule(Rule{Users: everybody, Scopes: []string{s}}) }
	if _, err := New(base(func(*Options) {})); err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(*Options){
		"rule of nobody":       rule(Rule{Scopes: everybody}),
		"rule of nothing":      rule(Rule{Users: everybody}),
		"empty rule":           rule(Rule{}),
		"empty user":           rule(Rule{Users: []string{""}, Scopes: everybody}),
		"user pattern":         rule(Rule{Users: []string{"a*"}, Scopes: everybody}),
		"empty certificate":    rule(Rule{Certificates: []string{""}, Scopes: everybody}),
		"certificate pattern":  rule(Rule{Certificates: []string{"node*.example"}, Scopes: everybody}),
		"certificate of all":   rule(Rule{Certificates: []string{"*."}, Scopes: everybody}),
		"two stars":            rule(Rule{Certificates: []string{"*.*"}, Scopes: everybody}),
		"no network":           rule(Rule{Networks: []netip.Prefix{{}}, Scopes: everybody}),
		"mapped network":       rule(Rule{Networks: prefixes("::ffff:10.0.0.0/104"), Scopes: everybody}),
		"no scope":             scope(""),
		"star in scope":        scope("docker.io/*"),
		"tag":                  scope("docker.io/library/nginx:1"),
		"digest":               scope("docker.io/library/nginx@sha256:" + strings.Repeat("a", 64)),
		"slash at end":         scope("docker.io/"),
		"upper case":           scope("docker.io/Library"),
		"upper case registry":  scope("Docker.io"),
		"URL":                  scope("https://docker.io"),
		"short name":           scope("nginx"),
		"no registry":          scope("library/nginx"),
		"dots":                 scope("docker.io/../quay.io"),
		"alias":                scope("index.docker.io/library"),
		"wildcard with path":   scope("*.example.com/team"),
		"wildcard upper case":  scope("*.Example.com"),
		"space":                scope("docker.io "),
		"port zero":            scope("a.example:0"),
		"rules, nobody known":  func(o *Options) { *o = Options{Rules: []Rule{{Networks: prefixes("10.0.0.0/8"), Scopes: everybody}}} },
		"tokens, nobody known": func(o *Options) { o.HtpasswdFile, o.Certificates = "", false },
		"users, no file":       func(o *Options) { o.HtpasswdFile = ""; o.Rules = []Rule{{Users: everybody, Scopes: everybody}} },
		"certificates, not asked": func(o *Options) {
			o.Certificates = false
			o.Rules = []Rule{{Certificates: everybody, Scopes: everybody}}
		},
		"everybody is a proxy":     func(o *Options) { o.TrustedProxies = prefixes("0.0.0.0/0") },
		"everybody is an IPv6 one": func(o *Options) { o.TrustedProxies = prefixes("::/0") },
		"mapped proxy":             func(o *Options) { o.TrustedProxies = prefixes("::ffff:10.0.0.1/128") },
		"no trusted network":       func(o *Options) { o.TrustedNetworks = []netip.Prefix{{}} },
		"no key file":              func(o *Options) { o.Token.KeyFile = "" },
		"key file in no directory": func(o *Options) { o.Token.KeyFile += "/no/such" },
		"no resolver":              func(o *Options) { o.Resolve = nil },
		"ttl short":                func(o *Options) { o.Token.TTL = minTTL - 1 },
		"ttl long":                 func(o *Options) { o.Token.TTL = maxTTL + 1 },
		"service with quote":       func(o *Options) { o.Token.Service = `a"` },
		"service with line":        func(o *Options) { o.Token.Service = "a\nb" },
		"realm relative":           func(o *Options) { o.Token.Realm = "/token" },
		"realm without scheme":     func(o *Options) { o.Token.Realm = "gate.example/token" },
		"realm of another scheme":  func(o *Options) { o.Token.Realm = "ftp://gate.example/token" },
		"realm with user":          func(o *Options) { o.Token.Realm = "https://a:b@gate.example/token" },
		"realm with query":         func(o *Options) { o.Token.Realm = "https://gate.example/token?a=b" },
		"realm with empty query":   func(o *Options) { o.Token.Realm = "https://gate.example/token?" },
		"realm with fragment":      func(o *Options) { o.Token.Realm = "https://gate.example/token#" },
		"realm with quote in host": func(o *Options) { o.Token.Realm = `https://gate".example/token` },
		"realm with a line":        func(o *Options) { o.Token.Realm = "https://gate.example/\r\n" },
	} {
		a, err := New(base(edit))
		if err == nil || a != nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		if strings.Contains(err.Error(), "a:b@") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, s := range []string{"*", "docker.io", "docker.io/library", "docker.io/library/nginx", "docker.io/a/b/c/d", "localhost", "localhost/x", "localhost:5000/x", "registry:5000", "registry:5000/x", "*.example.com", "[::1]:5000/x", "10.0.0.1/x"} {
		if _, err := New(base(scope(s))); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
}

func TestIdentityString(t *testing.T) {
	for _, c := range []struct {
		id   Identity
		want string
	}{
		{Identity{}, ""},
		{Identity{Kind: Anonymous, Name: "x"}, ""},
		{Identity{Kind: "root", Name: "x"}, ""},
		{Identity{Kind: User, Name: "alice"}, "user:alice"},
		{Identity{Kind: User, Name: "a@b.c+d_e-f"}, "user:a@b.c+d_e-f"},
		{Identity{Kind: User}, `user:""`},
		{Identity{Kind: User, Name: "a b"}, `user:"a b"`},
		{Identity{Kind: User, Name: "x, user:root"}, `user:"x, user:root"`},
		{Identity{Kind: User, Name: `a"b\`}, `user:"a\"b\\"`},
		{Identity{Kind: User, Name: "a\r\nSet-Cookie: x"}, `user:"a\r\nSet-Cookie: x"`},
		{Identity{Kind: User, Name: "\x1b[31m"}, `user:"\x1b[31m"`},
		{Identity{Kind: User, Name: "аlice\u202e"}, `user:"\u0430lice\u202e"`},
		{Identity{Kind: User, Name: "\xff"}, `user:"\xff"`},
		{Identity{Kind: Certificate, Name: "spiffe://corp.example/node"}, "certificate:spiffe://corp.example/node"},
		{Identity{Kind: Certificate, Name: "CN with space"}, `certificate:"CN with space"`},
		{Identity{Kind: Network, Addr: netip.MustParseAddr("10.0.0.7")}, "network:10.0.0.7"},
		{Identity{Kind: User, Name: strings.Repeat("a", 300)}, "user:" + strings.Repeat("a", 255) + "..."},
	} {
		if got := c.id.String(); got != c.want {
			t.Errorf("%+v: %s, expected %s", c.id, got, c.want)
		}
	}
}
