package main

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/pullgate/pullgate/config"
	"github.com/pullgate/pullgate/proxy"
	"github.com/pullgate/pullgate/proxy/audit"
	"github.com/pullgate/pullgate/proxy/auth"
	"github.com/pullgate/pullgate/proxy/intercept"
)

// openIntercept listens for clients that use the gate as their HTTP proxy.
func (g *gate) openIntercept(records audit.Sink) error {
	fronts, err := g.fronts()
	if err != nil {
		return err
	}
	certFile, keyFile := g.cfg.CAFiles()
	ca, err := intercept.LoadOrCreateCA(certFile, keyFile)
	if err != nil {
		return fmt.Errorf("intercept.ca: %w", err)
	}
	g.intercept, err = intercept.New(intercept.Options{
		Registry:  g.terminated,
		Others:    g.served,
		PlainHTTP: g.plainHTTP,
		Serve: func(registry string, id auth.Identity) http.Handler {
			return at(g.handler, proxy.Entry{Registry: registry, Only: true, Identity: &id})
		},
		Identify: g.access.IdentifyProxy,
		Tunnel:   g.cfg.Intercept.Tunnel,
		Fronts:   fronts,
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

// terminated tells which registry a host is that is never tunnelled, whatever the
// list says: one that the configuration names, Docker Hub, and the canary's.
func (g *gate) terminated(host string) (string, bool) {
	if registry, listed := g.names.Listed(host); listed {
		return registry, true
	}
	registry, served := g.served(host)
	return registry, served && slices.Contains([]string{g.cfg.DefaultRegistry, "docker.io", "pullgate.invalid"}, registry)
}

// served tells which registry a host is that may be asked for.
func (g *gate) served(host string) (string, bool) {
	registry, err := g.names.Canonical(host)
	return registry, err == nil
}

// plainHTTP tells whether a registry's own endpoint is plain HTTP.
func (g *gate) plainHTTP(registry string) bool {
	u, listed := g.cfg.Upstream(registry)
	return listed && strings.HasPrefix(u.Endpoint, "http://")
}

// fronts are hosts of registries that must not be reachable through a tunnel that
// was opened for another host. More of them than can be looked for are an error.
func (g *gate) fronts() ([]string, error) {
	if len(g.cfg.Intercept.Tunnel) == 0 {
		return nil, nil // nothing is tunnelled
	}
	var hosts []string
	if hub, served := g.served("docker.io"); served {
		hosts = append(hosts, endpointHost(config.DefaultEndpoint(hub)))
	}
	for _, u := range g.cfg.Upstreams {
		for _, h := range []string{u.Registry, endpointHost(u.Endpoint)} {
			if h != "" && !slices.Contains(hosts, h) {
				hosts = append(hosts, h)
			}
		}
	}
	if len(hosts) > intercept.MaxFronts {
		return nil, fmt.Errorf("intercept.tunnel: expected none, or at most %d hosts of upstreams, names and endpoints: each is looked for behind every tunnel; found %d",
			intercept.MaxFronts, len(hosts))
	}
	return hosts, nil
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
