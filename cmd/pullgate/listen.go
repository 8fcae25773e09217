package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/pullgate/pullgate/proxy"
	"github.com/pullgate/pullgate/proxy/admin"
)

// Waits of the servers. Downloads have no overall limit: they may be long. Each
// write has a deadline of its own instead, which a client that reads nothing meets.
const (
	readHeaderTimeout = 10 * time.Second // also of the TLS handshake
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10
	maxStreams        = 250 // requests at a time on one HTTP/2 connection
	pingAfter         = 30 * time.Second
	pingTimeout       = 15 * time.Second
)

// endpoint is an address with what is served there.
type endpoint struct {
	name     string // the key of its setting
	listener net.Listener
	server   *http.Server
}

func (e *endpoint) serve() error {
	if e.server.TLSConfig != nil {
		return e.server.ServeTLS(e.listener, "", "")
	}
	return e.server.Serve(e.listener)
}

func newServer(h http.Handler, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams, SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
}

// open listens on every address that the configuration names. Nothing is answered
// before all of them are open.
func (g *gate) open(records *watchedSink) error {
	if g.cfg.TLS.Enabled() {
		var err error
		if g.certs, err = loadCertificates(g.cfg.TLS, !g.cfg.CertificateRequired()); err != nil {
			return err
		}
	}
	if err := g.listen("listen", g.cfg.Listen, g.apiServer(g.handler, false, false)); err != nil {
		return err
	}
	for i, l := range g.cfg.Listeners {
		place := proxy.Entry{Registry: l.Registry, Mirror: l.Mirror}
		server := g.apiServer(at(g.handler, place), l.PlainHTTP, l.Mirror)
		if err := g.listen(fmt.Sprintf("listeners[%d].listen", i), l.Listen, server); err != nil {
			return err
		}
	}
	side := admin.NewHandler(g.registry, func() admin.Status { return g.status(records) })
	if err := g.listen("admin.listen", g.cfg.Admin.Listen, newServer(side, g.logger)); err != nil {
		return err
	}
	if g.cfg.Intercept.Listen == "" {
		return nil
	}
	return g.openIntercept(records)
}

func (g *gate) listen(name, address string, server *http.Server) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	g.endpoints = append(g.endpoints, &endpoint{name: name, listener: l, server: server})
	return nil
}

// apiServer serves the registry API. On docker's mirror route it speaks HTTP/1.1
// only: what stops dockerd's fallback stands in the status line.
func (g *gate) apiServer(h http.Handler, plain, mirror bool) *http.Server {
	s := newServer(h, g.logger)
	if g.certs != nil && !plain {
		s.TLSConfig = g.certs.serverConfig(mirror)
	}
	return s
}

// at tells the handler where requests came in.
func at(h http.Handler, place proxy.Entry) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r.WithContext(proxy.WithEntry(r.Context(), place)))
	})
}

// where lists the addresses for the log.
func (g *gate) where() []any {
	var out []any
	for _, e := range g.endpoints {
		out = append(out, e.name, e.listener.Addr().String())
	}
	return append(out, "tls", g.certs != nil)
}

// closeListeners gives up addresses that nothing is served on yet.
func (g *gate) closeListeners() {
	for _, e := range g.endpoints {
		e.listener.Close()
	}
}

// shutdown ends all servers, within ctx for what is being sent.
func (g *gate) shutdown(ctx context.Context) {
	var all sync.WaitGroup
	for _, e := range g.endpoints {
		all.Go(func() {
			if err := e.server.Shutdown(ctx); err != nil && !errors.Is(err, net.ErrClosed) {
				e.server.Close()
			}
		})
	}
	if g.intercept != nil {
		_ = g.intercept.Shutdown(ctx) // what did not end in time was ended
	}
	all.Wait()
}
