package main

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/pullgate/pullgate/config"
	"github.com/pullgate/pullgate/verify"
	"github.com/pullgate/pullgate/verify/trustroot"
)

// warnings says what is allowed but weakens the gate, or will surprise: a line each.
func warnings(cfg *config.Config, policy *verify.Policy, roots *trustroot.Set) []string {
	out := append([]string(nil), cfg.Warnings...)
	for _, w := range policy.Warnings() {
		out = append(out, w.Error())
	}
	out = append(out, rootWarnings(policy, roots)...)
	out = append(out, unserved(cfg, policy)...)
	add := func(key, format string, args ...any) { out = append(out, key+": "+fmt.Sprintf(format, args...)) }
	if policy.AcceptsAnything() {
		add("policy", "the default accepts anything: an image whose name no scope matches needs no signature; make the default reject")
	}
	for _, u := range cfg.Upstreams {
		if u.Transport == config.TransportAtomic && len(policy.Scopes(verify.TransportAtomic)) == 0 {
			add("upstreams", "%s is judged by the policy's atomic scopes, but the policy has none: the default applies to all its images", u.Registry)
		}
		if u.Credentials == config.CredentialsClient && cfg.Auth.Htpasswd != "" && len(cfg.Auth.TrustedNetworks) == 0 && cfg.TLS.ClientCA == "" && cfg.Intercept.Listen == "" {
			add("upstreams", "clients cannot show %s their own password and the gate another one: they need auth.trusted_networks, tls.client_ca or intercept", u.Registry)
		}
		if cfg.AuthFile != "" && strings.HasPrefix(u.Endpoint, "http://") && !local(endpointHost(u.Endpoint)) {
			add("upstreams", "credentials for %s would go over plain HTTP; use an https endpoint", u.Registry)
		}
	}
	for i, r := range cfg.Auth.Rules {
		for _, scope := range r.Scopes {
			if !servesAny(cfg, scope) {
				add(fmt.Sprintf("auth.rules[%d].scopes", i), "%q names no registry of upstreams: nobody can pull anything by it", scope)
			}
		}
		for _, user := range r.Users {
			if users := usersOf(cfg.Auth.Htpasswd); user != "*" && !slices.Contains(users, user) {
				add(fmt.Sprintf("auth.rules[%d].users", i), "%q is not in %s", user, cfg.Auth.Htpasswd)
			}
		}
	}
	for _, entry := range cfg.Intercept.Tunnel {
		if domain, wild := strings.CutPrefix(entry, "*."); wild && rented(domain) {
			add("intercept.tunnel", "%s: anybody can have a name below %s, and serve images there that nobody judges; name the hosts that clients need", entry, domain)
		}
	}
	if len(cfg.ReportOnly) > 0 {
		add("report_only", "not enforced, only recorded: %s", strings.Join(cfg.ReportOnly, ", "))
	}
	if cfg.InsecureWeakSignatures {
		add("insecure_weak_signatures", "SHA-1 signatures and RSA keys under 2048 bits are accepted")
	}
	if !cfg.TLS.Enabled() && !local(cfg.Listen) {
		add("listen", "%s is reached without TLS: clients cannot tell the gate from somebody in between; set tls.cert and tls.key, or put TLS in front", cfg.Listen)
	}
	return out
}

// rented tells whether names below a domain are given to anybody who asks, as those of
// most content stores are (publicsuffix.org).
func rented(domain string) bool {
	suffix, _ := publicsuffix.PublicSuffix("x." + domain)
	return suffix == domain
}

// unserved names the scopes by which no image is judged, because the gate does not
// serve their registry: a name is misspelt, or the policy is for other programs too.
func unserved(cfg *config.Config, policy *verify.Policy) []string {
	var names []string
	for _, transport := range []string{verify.TransportDocker, verify.TransportAtomic} {
		for _, scope := range policy.Scopes(transport) {
			if scope != "" && !servesAny(cfg, scope) && !slices.Contains(names, scope) {
				names = append(names, scope)
			}
		}
	}
	if len(names) == 0 {
		return nil
	}
	shown := names[:min(len(names), maxShown)]
	more := ""
	if n := len(names) - len(shown); n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	return []string{fmt.Sprintf("policy: no image is judged by these scopes, whose registries are not among upstreams: %q%s", shown, more)}
}

// maxShown bounds a list in a warning.
const maxShown = 10

// servesAny tells whether a rule's scope is about a registry that is served.
func servesAny(cfg *config.Config, scope string) bool {
	registry, _, _ := strings.Cut(scope, "/")
	domain, wild := strings.CutPrefix(registry, "*")
	if registry == "*" || cfg.OtherRegistries == config.OthersAllow {
		return true
	}
	for _, r := range cfg.Registries() {
		host, _, _ := strings.Cut(r, ":")
		if r == registry || wild && strings.HasSuffix(host, domain) {
			return true
		}
	}
	return false
}

// usersOf lists the names in a file of users. What is wrong with the file is told
// where it is read for good.
func usersOf(htpasswd string) []string {
	b, err := os.ReadFile(htpasswd)
	if err != nil {
		return nil
	}
	var names []string
	for line := range strings.Lines(string(b)) {
		if name, _, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			names = append(names, name)
		}
	}
	return names
}

// local reports whether an address is of this machine only.
func local(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = addr
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
