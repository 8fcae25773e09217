package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/distribution/reference"
)

// Bounds of a token's life: shorter ones end before a pull does, longer ones
// outlive a change of the rules for too long.
const (
	minTokenTTL = time.Minute
	maxTokenTTL = time.Hour
)

// auth checks who may pull.
func (v *validator) auth() {
	a := v.c.Auth
	if a.Htpasswd != "" {
		v.file("auth.htpasswd", a.Htpasswd, "name a file of user:bcrypt lines that the gate may read, or leave it empty")
	}
	v.token(a.Token)
	v.networks("auth.trusted_networks", a.TrustedNetworks)
	for i, p := range v.networks("auth.trusted_proxies", a.TrustedProxies) {
		if p.IsValid() && p.Bits() == 0 {
			v.fault(fmt.Sprintf("auth.trusted_proxies[%d]", i), fmt.Sprintf("%s would believe everybody's X-Forwarded-For", quote(a.TrustedProxies[i])),
				"name the addresses of the proxies")
		}
	}
	if !v.few("auth.rules", len(a.Rules), maxItems) {
		return
	}
	if len(a.Rules) > 0 && !v.identifies() {
		v.fault("auth.rules", "no client can be known, so none could pull", "write auth.htpasswd, auth.trusted_networks or tls.client_ca as well")
	}
	for i, r := range a.Rules {
		v.rule(fmt.Sprintf("auth.rules[%d]", i), r)
	}
}

// networks reads a list of addresses and CIDRs. Items with a fault are the zero
// Prefix.
func (v *validator) networks(key string, texts []string) []netip.Prefix {
	if !v.few(key, len(texts), maxItems) {
		return nil
	}
	out := make([]netip.Prefix, len(texts))
	seen := map[netip.Prefix]bool{}
	for i, text := range texts {
		at := fmt.Sprintf("%s[%d]", key, i)
		p, err := parsePrefix(text)
		switch {
		case err != nil:
			v.fault(at, err.Error(), "write an address like 192.0.2.7 or a CIDR like 10.1.0.0/16")
			continue
		case seen[p]:
			v.fault(at, fmt.Sprintf("%s stands here a second time", quote(text)), "list each network once")
		}
		seen[p], out[i] = true, p
	}
	return out
}

// service is what can stand in a quoted parameter of a challenge (RFC 9110,
// section 11.2) and in a query without being escaped.
var service = regexp.MustCompile(`^[A-Za-z0-9._:/-]{1,255}$`)

func (v *validator) token(t Token) {
	const at = "auth.token"
	v.tokenSwitch(t)
	if !service.MatchString(t.Service) {
		v.fault(at+".service", fmt.Sprintf("expected a name, found %s", quote(t.Service)), "write letters, digits and . _ : / -, like pullgate")
	}
	if t.TTL < minTokenTTL || t.TTL > maxTokenTTL {
		v.fault(at+".ttl", fmt.Sprintf("expected a duration from %s to %s, found %s", minTokenTTL, maxTokenTTL, t.TTL), `write "5m" when in doubt`)
	}
	v.tokenKey(at+".key", t.Key)
	if t.Realm != "" {
		v.realm(at+".realm", t.Realm)
	}
}

// identifies reports whether clients can be known at all. Tokens and rules rest on
// it.
func (v *validator) identifies() bool {
	a := v.c.Auth
	return a.Htpasswd != "" || len(a.TrustedNetworks) > 0 || v.c.TLS.ClientCA != ""
}

// tokenSwitch checks that the endpoint is on when it is described, and that there
// is somebody to issue tokens to.
func (v *validator) tokenSwitch(t Token) {
	described := t.Key != "" || t.Realm != "" || t.Service != defaultService || t.TTL != defaultTokenTTL
	if described && !t.Enabled && !v.c.origins.has("auth.token.enabled") {
		v.fault("auth.token", "does nothing, as the endpoint is off", "write enabled: true, or enabled: false to keep the rest for later")
	}
	if t.Enabled && !v.identifies() {
		v.fault("auth.token.enabled", "there is nobody to issue tokens to", "write auth.htpasswd, auth.trusted_networks or tls.client_ca as well")
	}
}

func (v *validator) tokenKey(at, path string) {
	key := v.pem(at, path)
	if key == nil {
		return
	}
	if !holdsECKey(key) {
		v.fault(at, fmt.Sprintf("expected one private EC key on P-256 in %s, found none", quote(path)), "name a PEM file with one, or leave it out and the gate makes one")
		return
	}
	v.secret(at, path, 0o037) // a group may read it
}

// holdsECKey reports whether a PEM file is one private EC key on P-256, which
// openssl may have written its parameters before.
func holdsECKey(data []byte) bool {
	block, rest := pem.Decode(data)
	if block != nil && block.Type == "EC PARAMETERS" {
		block, rest = pem.Decode(rest)
	}
	if block == nil {
		return false
	}
	if more, _ := pem.Decode(rest); more != nil {
		return false
	}
	var key any
	var err error
	switch block.Type {
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	return err == nil && ok && ec.Curve == elliptic.P256()
}

// realm checks the URL that challenges send clients to. Faults never repeat it, as
// people write passwords into URLs.
func (v *validator) realm(at, realm string) {
	const fix = "write the URL of the token endpoint as clients reach it, like https://gate.example/token, or leave it out"
	u, err := url.Parse(realm)
	switch {
	case err != nil || strings.ContainsAny(realm, `"\ `):
		v.fault(at, "is not a URL", fix)
	case u.Scheme != "https" && u.Scheme != "http":
		v.fault(at, "expected a URL that starts with https:// or http://", fix)
	case u.User != nil:
		v.fault(at, "holds a user name or password", fix)
	case u.Hostname() == "" || u.Opaque != "" || strings.HasSuffix(u.Host, ":") || u.Port() != "" && !goodPort(u.Host):
		v.fault(at, "names no host, or a port that is none", fix)
	case strings.ContainsAny(realm, "?#"):
		v.fault(at, "holds a query or fragment", fix)
	}
}

// rule checks one rule. What it names must be able to match, as a rule that never
// does is a mistake that nobody would notice.
func (v *validator) rule(at string, r Rule) {
	if len(r.Users)+len(r.Certificates)+len(r.Networks) == 0 {
		v.fault(at, "names nobody", "add users, certificates or networks")
	}
	if len(r.Scopes) == 0 {
		v.fault(at, "has no scopes", `add scopes, like [docker.io/library], or ["*"] for everything`)
	}
	if len(r.Users) > 0 && v.c.Auth.Htpasswd == "" {
		v.fault(at+".users", "nobody has a password", "write auth.htpasswd, or leave users out")
	}
	if len(r.Certificates) > 0 && v.c.TLS.ClientCA == "" {
		v.fault(at+".certificates", "no certificate is believed", "write tls.client_ca, or leave certificates out")
	}
	v.networks(at+".networks", r.Networks)
	v.each(at+".users", r.Users, userName, `write a name of the htpasswd file, or "*" for every user`)
	v.each(at+".certificates", r.Certificates, certificateName,
		`write a name in the certificate (common name, DNS, email or URI), *.domain, or "*" for every certificate`)
	v.each(at+".scopes", r.Scopes, ruleScope,
		`write a registry, registry/namespace or registry/namespace/repository, without tag, as in docker.io/library; *.domain; or "*"`)
}

// each checks the texts of a list one by one.
func (v *validator) each(key string, texts []string, good func(string) bool, fix string) {
	if !v.few(key, len(texts), maxItems) {
		return
	}
	seen := map[string]bool{}
	for i, text := range texts {
		at := fmt.Sprintf("%s[%d]", key, i)
		switch {
		case !good(text):
			v.fault(at, fmt.Sprintf("%s cannot match anything", quote(text)), fix)
		case seen[text]:
			v.fault(at, fmt.Sprintf("%s stands here a second time", quote(text)), "list each once")
		}
		seen[text] = true
	}
}

const maxName = 255

// userName reports whether a name can stand in an htpasswd file, or is the word
// for every user.
func userName(name string) bool {
	return name == "*" || printable(name) && !strings.ContainsAny(name, ":*")
}

// certificateName reports whether a certificate can hold a name, or it is *.domain
// or the word for every certificate.
func certificateName(name string) bool {
	if domain, wild := strings.CutPrefix(name, "*."); wild {
		return dnsName(domain)
	}
	return name == "*" || printable(name) && !strings.Contains(name, "*")
}

func printable(name string) bool {
	odd := func(r rune) bool { return r != ' ' && !strconv.IsPrint(r) }
	return name != "" && len(name) <= maxName && strings.TrimSpace(name) == name && !strings.ContainsFunc(name, odd)
}

// ruleScope reports whether repositories can be in a scope: those of a registry, a
// namespace, one repository, the registries below a domain, or all.
func ruleScope(scope string) bool {
	if scope == "*" {
		return true
	}
	if domain, wild := strings.CutPrefix(scope, "*."); wild {
		return dnsName(domain)
	}
	registry, _, _ := strings.Cut(scope, "/")
	for _, other := range hubNames {
		if bareHost(registry) == other {
			return false // images are judged under docker.io only
		}
	}
	below := scope + "/x/x" // registries and namespaces are no names by themselves; docker.io/x is library/x
	named, err := reference.ParseNamed(below)
	return err == nil && named.String() == below && registry == strings.ToLower(registry) && goodPort(registry)
}
