package config

import (
	"fmt"
	"net/url"
)

// exposures returns a warning for each setting that is good in some places and
// opens the gate in others.
func (c *Config) exposures() []string {
	w := &warner{c: c}
	w.everybody("auth.trusted_networks", c.Auth.TrustedNetworks)
	for i, r := range c.Auth.Rules {
		w.everybody(fmt.Sprintf("auth.rules[%d].networks", i), r.Networks)
	}
	if c.Auth.Htpasswd != "" || c.Auth.Token.Enabled {
		w.readable()
	}
	w.mirrors()
	for i, u := range c.Upstreams {
		if e, err := url.Parse(u.Endpoint); err == nil && e.Scheme == "http" && u.Credentials == CredentialsClient && !onlyHere(e.Hostname()) {
			w.add(fmt.Sprintf("upstreams[%d].credentials", i), "clients' passwords for "+u.Registry+" go over plain HTTP", "use an https endpoint")
		}
	}
	return w.lines
}

type warner struct {
	c     *Config
	lines []string
}

func (w *warner) add(key, problem, fix string) {
	w.lines = append(w.lines, w.c.origins.fault(key, problem, fix).Error())
}

// everybody warns of networks that are all addresses.
func (w *warner) everybody(key string, networks []string) {
	for i, text := range networks {
		if p, err := parsePrefix(text); err == nil && p.Bits() == 0 {
			w.add(fmt.Sprintf("%s[%d]", key, i), text+" is every client, whoever it is", "name the networks of the clients")
		}
	}
}

// readable warns of addresses at which passwords and tokens arrive unencrypted.
func (w *warner) readable() {
	const problem = " is reached without TLS: passwords and tokens cross the network readable"
	const fix = "set tls.cert and tls.key, listen on a loopback address, or put TLS in front"
	plain := func(key, address string) {
		if !onlyHere(address) {
			w.add(key, address+problem, fix)
		}
	}
	if !w.c.TLS.Enabled() {
		plain("listen", w.c.Listen)
	}
	for i, l := range w.c.Listeners {
		if !w.c.TLS.Enabled() || l.PlainHTTP {
			plain(fmt.Sprintf("listeners[%d].listen", i), l.Listen)
		}
	}
	if address := w.c.Intercept.Listen; address != "" && w.c.Auth.Htpasswd != "" && !onlyHere(address) {
		w.add("intercept.listen", address+problem, "let clients be known by auth.trusted_networks, or listen on a loopback address of each of them")
	}
	if u, err := url.Parse(w.c.Auth.Token.Realm); err == nil && u.Scheme == "http" && !onlyHere(u.Hostname()) {
		w.add("auth.token.realm", "clients send their passwords there over plain HTTP", "use an https URL")
	}
}

// mirrors warns of mirrors at which nobody can be known: they ask for nothing, as
// docker would answer with the password for Docker Hub.
func (w *warner) mirrors() {
	a := w.c.Auth
	if !a.Enabled() || len(a.TrustedNetworks) > 0 {
		return
	}
	for i, l := range w.c.Listeners {
		certificates := w.c.TLS.ClientCA != "" && !l.PlainHTTP
		if l.Mirror && !certificates {
			fix := "add auth.trusted_networks or tls.client_ca"
			if w.c.TLS.ClientCA != "" {
				fix = "add auth.trusted_networks, or take out plain_http so that clients can show certificates"
			}
			w.add(fmt.Sprintf("listeners[%d].mirror", i), "nobody can pull there: mirrors ask for no passwords, and clients are known by nothing else", fix)
		}
	}
}
