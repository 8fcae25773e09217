package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"

	"github.com/pullgate/pullgate/cmd/pullgate/clients"
	"github.com/pullgate/pullgate/config"
)

// gateOf describes a gate to its clients by its configuration. Given is the URL
// that clients are told, empty when the configuration is to say it.
func gateOf(cfg *config.Config, given string) (clients.Gate, error) {
	g := clients.Gate{
		URL:          given,
		Registries:   cfg.Registries(),
		Paths:        map[string]string{},
		Passwords:    cfg.Auth.Htpasswd != "",
		Certificates: cfg.TLS.ClientCA != "",
	}
	for _, u := range cfg.Upstreams {
		if u.Prefix != "" {
			g.Paths[u.Registry] = u.Prefix
		}
	}
	if g.URL == "" {
		host, port, err := reachable("listen", cfg.Listen)
		if err != nil {
			return g, err
		}
		g.URL = gateURL(cfg.TLS.Enabled(), host, port)
	}
	u, err := url.Parse(g.URL)
	if err != nil || u.Hostname() == "" {
		return g, errors.New("--gate: expected https://host:port, found no URL")
	}
	for _, l := range cfg.Listeners {
		if l.Mirror {
			g.Mirror = alongside(u, cfg.TLS.Enabled() && !l.PlainHTTP, l.Listen)
		}
	}
	if cfg.Intercept.Listen == "" {
		return g, nil
	}
	g.Proxy = alongside(u, false, cfg.Intercept.Listen)
	cert, _ := cfg.CAFiles()
	if g.InterceptCA, err = readCertificates("intercept.ca", cert); err != nil {
		return g, fmt.Errorf("%w; the gate makes it at its first start, so start it once, or give --intercept-ca", err)
	}
	return g, nil
}

// reachable is a listener's address when it says under which name clients reach
// it, which one on all addresses does not.
func reachable(key, listen string) (host, port string, err error) {
	host, port, err = net.SplitHostPort(listen)
	if err != nil {
		return "", "", fmt.Errorf("%s: %w", key, err)
	}
	if a, err := netip.ParseAddr(host); host == "" || err == nil && a.IsUnspecified() {
		return "", "", fmt.Errorf("%s: %s does not say by which name clients reach the gate; give it with --gate, as in its certificate", key, listen)
	}
	return host, port, nil
}

// alongside is a listener on all addresses under the name of the gate, and any
// other one under its own.
func alongside(gate *url.URL, tls bool, listen string) string {
	host, port, err := reachable("listen", listen)
	if err != nil {
		if _, port, err = net.SplitHostPort(listen); err != nil {
			return "" // refused by the configuration already
		}
		host = gate.Hostname()
	}
	return gateURL(tls, host, port)
}

func gateURL(tls bool, host, port string) string {
	if tls {
		return "https://" + net.JoinHostPort(host, port)
	}
	return "http://" + net.JoinHostPort(host, port)
}
