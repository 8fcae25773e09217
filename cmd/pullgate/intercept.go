package main

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/pullgate/pullgate/proxy"
	"github.com/pullgate/pullgate/proxy/audit"
	"github.com/pullgate/pullgate/proxy/auth"
	"github.com/pullgate/pullgate/proxy/intercept"
)

// openIntercept listens for clients that use the gate as their HTTP proxy.
func (g *gate) openIntercept(records audit.Sink) error {
	certFile, keyFile := g.cfg.CAFiles()
	ca, err := intercept.LoadOrCreateCA(certFile, keyFile)
	if err != nil {
		return fmt.Errorf("intercept.ca: %w", err)
	}
	g.intercept, err = intercept.New(intercept.Options{
		Registry: func(host string) (string, bool) {
			registry, err := g.names.Canonical(host)
			return registry, err == nil
		},
		PlainHTTP: g.plainHTTP,
		Serve: func(registry string, id auth.Identity) http.Handler {
			return at(g.handler, proxy.Entry{Registry: registry, Only: true, Identity: &id})
		},
		Identify: g.access.IdentifyProxy,
		Tunnel:   g.cfg.Intercept.Tunnel,
		Fronts:   g.fronts(),
		Own:      g.own(),
		CA:       ca,
		Audit:    records,
		Logger:   g.logger,
	})
	if err != nil {
		return fmt.Errorf("intercept: %w", err)
	}
	return g.listen("intercept.listen", g.cfg.Intercept.Listen, newServer(g.intercept, g.logger))
}

// plainHTTP tells whether a registry's own endpoint is plain HTTP.
func (g *gate) plainHTTP(registry string) bool {
	u, listed := g.cfg.Upstream(registry)
	return listed && strings.HasPrefix(u.Endpoint, "http://")
}

// fronts are hosts of registries that must not be reachable through a tunnel that
// was opened for another host.
func (g *gate) fronts() []string {
	const most = 4
	var hosts []string
	for _, u := range g.cfg.Upstreams {
		if h := endpointHost(u.Endpoint); h != "" && len(hosts) < most {
			hosts = append(hosts, h)
		}
	}
	return hosts
}

// own are the addresses that the gate itself listens on.
func (g *gate) own() []netip.AddrPort {
	var all []netip.AddrPort
	for _, e := range g.endpoints {
		if a, ok := e.listener.Addr().(*net.TCPAddr); ok {
			all = append(all, a.AddrPort())
		}
	}
	return all
}
