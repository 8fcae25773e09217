package auth

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func FuzzHtpasswd(f *testing.F) {
	line := hashed(f, "alice", "wonderland")
	for _, s := range []string{"", line, line + line, "# c\n\n" + line, "a:$apr1$x$y", "a", ":", "a:" + line, "\xff:" + line, strings.Replace(line, "$04$", "$31$", 1), line + "\r"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		hashes, err := parseHtpasswd("file", text)
		if (err == nil) != (len(hashes) > 0) {
			t.Fatalf("%d users and %v", len(hashes), err)
		}
		for user, hash := range hashes {
			if !validUser(user) || checkHash(hash) != nil || !strings.Contains(text, user+":"+hash) {
				t.Fatalf("user %q %q", user, hash)
			}
		}
	})
}

func FuzzAuthorization(f *testing.F) {
	for _, s := range []string{"", "Basic YTpi", "basic  YTpi", "BASIC YTpi=", "Basic YTpi\n", "Basic OmI=", "Basic YTo=", "Basic YTpiOmM=", "Bearer a.b.c", "Bearer ", "Bearer a b", "bearer a,b", "Negotiate x", "Basic " + strings.Repeat("YWFh", 100)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		c, err := parseAuthorization([]string{value})
		if _, twice := parseAuthorization([]string{value, value}); twice == nil {
			t.Fatal("two sets of credentials were read")
		}
		if err != nil {
			if c != (credentials{}) {
				t.Fatalf("credentials %+v with an error", c)
			}
			if len(value) > 20 && strings.Contains(err.Error(), value) {
				t.Fatalf("the error repeats the credentials: %v", err)
			}
			return
		}
		if (c.bearer == "") == (c.user == "") {
			t.Fatalf("neither or both schemes: %+v", c)
		}
		if c.user != "" && (c.password == "" || len(c.password) > maxPassword || len(c.user) > maxUser || !utf8.ValidString(c.user) || strings.ContainsFunc(c.user, unicode.IsControl)) {
			t.Fatalf("user %q", c.user)
		}
		r := &http.Request{Header: http.Header{"Authorization": {value}}}
		if u, p, ok := r.BasicAuth(); c.user != "" && strings.HasPrefix(strings.ToLower(value), "basic ") && ok && (u != c.user || p != c.password) {
			t.Fatalf("net/http reads %q %q, we %q %q", u, p, c.user, c.password)
		}
	})
}

func FuzzShown(f *testing.F) {
	for _, s := range []string{"", "Basic YWxpY2U6cw==", "Basic c2VjcmV0Og==", "basic YTpiOmM=", "Bearer x", "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9.", "Bearer ", "Negotiate x",
		"Basic YeKArmI6c2VjcmV0", "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJh4oCuYiJ9.", "Basic dG9rZW4tc2VjcmV0OnRva2VuLXNlY3JldA=="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		got := Shown(header)
		if (got == "") != (header == "") || len(got) > 10*maxPrinted || strings.ContainsFunc(got, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Fatalf("%q", got)
		}
		r := &http.Request{Header: http.Header{"Authorization": {header}}}
		if user, password, ok := r.BasicAuth(); ok && len(password) > 8 && (user == password || !strings.Contains(user, password)) && strings.Contains(got, password) {
			t.Fatalf("%q holds the password", got)
		}
	})
}

func FuzzScope(f *testing.F) {
	for _, s := range []string{"", "repository:a:pull", "repository:h:5000/a:pull,push", "registry:catalog:*", "a", "::", "a::b", ":a:b", strings.Repeat("a:b:c ", 17), "repository:a:pull  repository:b:pull", "repository:a:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		scopes, err := parseScopes([]string{text})
		if err != nil && scopes != nil {
			t.Fatal("scopes with an error")
		}
		if len(scopes) > maxScopes {
			t.Fatalf("%d scopes", len(scopes))
		}
		for _, s := range scopes {
			if s.kind == "" || s.name == "" || strings.Contains(s.kind, ":") || strings.Contains(s.name, " ") || !strings.Contains(text, s.kind+":"+s.name+":") {
				t.Fatalf("%+v", s)
			}
			if s.pull && !strings.Contains(text, "pull") {
				t.Fatalf("%+v", s)
			}
		}
	})
}

func FuzzForwardedFor(f *testing.F) {
	for _, s := range [][2]string{{"", ""}, {"192.0.2.1", ""}, {"192.0.2.1, 10.0.0.1", "198.51.100.1"}, {"::ffff:1.2.3.4", "x"}, {"fe80::1%a", "1.2.3.4:5"}, {",", " "}, {strings.Repeat("1.1.1.1,", 40), "1.1.1.1"}} {
		f.Add(s[0], s[1])
	}
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	a := &Authority{opts: Options{TrustedProxies: proxies}}
	f.Fuzz(func(t *testing.T, first, second string) {
		lines := []string{first, second}
		r := &http.Request{RemoteAddr: "203.0.113.1:1", Header: http.Header{"X-Forwarded-For": lines}}
		if a.Client(r).String() != "203.0.113.1" {
			t.Fatal("a client that is no proxy chose its address")
		}
		// What the trusted proxy appends decides, when it is no proxy itself.
		r = &http.Request{RemoteAddr: "10.0.0.1:1", Header: http.Header{"X-Forwarded-For": {first, second, "198.51.100.9"}}}
		if addr, ok := a.forwarded(r); ok && addr.String() != "198.51.100.9" {
			t.Fatalf("%s was prepended and believed", addr)
		}
		chain, ok := parseForwarded(lines)
		if ok == (len(chain) == 0) || len(chain) > maxForwarded {
			t.Fatalf("%v %v", chain, ok)
		}
		for _, c := range chain {
			if !c.IsValid() || c.Zone() != "" || c.Is4In6() {
				t.Fatalf("address %v", c)
			}
		}
	})
}
