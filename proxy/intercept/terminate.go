package intercept

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pullgate/pullgate/proxy/audit"
	"github.com/pullgate/pullgate/proxy/auth"
)

// Waits and limits of the server inside terminated connections. Downloads have no
// overall limit: they may be long.
const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10
	bodyWait          = 10 * time.Second // for a request body, which no pull has
)

// inner is what is known about the requests inside one terminated connection.
type inner struct {
	target target
	id     auth.Identity
	client string // address that X-Forwarded-For says, "" when it is the connection's
	serve  http.Handler
	// again asks once more who connected: a user who is gone must not go on over a
	// connection that is still open.
	again func() (auth.Identity, error)
}

type innerKey struct{}

// newInner makes the server for the requests inside terminated connections.
func (h *Handler) newInner() *http.Server {
	return &http.Server{
		Handler:           http.HandlerFunc(h.serveInner),
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		TLSNextProto:      map[string]func(*http.Server, *tls.Conn, http.Handler){}, // HTTP/1.1 only
		ErrorLog:          slog.NewLogLogger(h.opts.Logger.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return h.ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, innerKey{}, c.(*tls.Conn).NetConn().(*conn).inner)
		},
	}
}

// terminate answers CONNECT to a registry: the client speaks TLS with the gate.
func (h *Handler) terminate(x *exchange, t target, registry string) error {
	api := h.opts.Serve(registry, x.id)
	if api == nil {
		return errors.New("nothing serves " + registry)
	}
	s, err := h.slots.acquire(x.client)
	if err != nil {
		return err
	}
	c, err := x.takeOver(s, s.release)
	if err != nil {
		s.release()
		return err
	}
	// The server is done with the request; what it said is not changed any more.
	connect := x.r.Clone(context.WithoutCancel(x.r.Context()))
	c.inner = &inner{target: t, id: x.id, serve: api, again: func() (auth.Identity, error) { return h.opts.Identify(connect) }}
	if x.client != peer(c.RemoteAddr().String()) && x.client.IsValid() {
		c.inner.client = x.client.String()
	}
	secure, err := h.handshake(c, t)
	if err != nil {
		decision := audit.Error // a client that hangs up or distrusts was not judged
		if errors.As(err, new(*nameFault)) {
			decision = audit.Denied
		}
		x.lateRefusal(decision, err)
		c.Close()
		return nil
	}
	// Serve starts the connection's own goroutine, finds no second connection and
	// returns, or refuses when the handler has ended.
	if err := h.inner.Serve(&single{conn: secure}); !errors.Is(err, io.EOF) {
		c.Close()
	}
	return nil
}

// nameFault is a ClientHello for another name than that of CONNECT.
type nameFault struct{ error }

// handshake speaks TLS with a client that connected to a registry.
func (h *Handler) handshake(c *conn, t target) (*tls.Conn, error) {
	var fault error
	config := &tls.Config{
		MinVersion:             tls.VersionTLS12,
		NextProtos:             []string{"http/1.1"},
		SessionTicketsDisabled: true, // the name is checked in every handshake
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if err := sniFault(t, hello.ServerName, true); err != nil {
				fault = &nameFault{err}
				return nil, nil // without a certificate the alert is unrecognized_name
			}
			return h.leaves.get(t)
		},
	}
	secure := tls.Server(c, config)
	_ = c.SetDeadline(time.Now().Add(h.opts.seams.helloWait))
	err := secure.HandshakeContext(h.ctx)
	_ = c.SetDeadline(time.Time{})
	switch {
	case fault != nil:
		return nil, fault
	case err == nil:
		return secure, nil
	}
	var header tls.RecordHeaderError
	if errors.As(err, &header) {
		return nil, errors.New("expected a TLS ClientHello, found something else; what would pass: HTTPS, as registries speak it")
	}
	text := fmt.Sprintf("TLS with the client was not established: %v", err)
	if strings.Contains(err.Error(), "remote error: tls: ") && strings.Contains(err.Error(), "certificate") {
		text += "; what would pass: a client that trusts the interception CA of this gate"
	}
	return nil, errors.New(text)
}

// single is a listener with one connection.
type single struct {
	conn net.Conn
	used atomic.Bool
}

// Accept returns the connection, and io.EOF from the second call on.
func (l *single) Accept() (net.Conn, error) {
	if l.used.Swap(true) {
		return nil, io.EOF
	}
	return l.conn, nil
}

// Close does nothing: the connection is not the listener's.
func (l *single) Close() error { return nil }

// Addr is the connection's own.
func (l *single) Addr() net.Addr { return l.conn.LocalAddr() }

// serveInner answers one request inside a terminated connection.
func (h *Handler) serveInner(w http.ResponseWriter, r *http.Request) {
	in := r.Context().Value(innerKey{}).(*inner)
	if err := in.check(r); err != nil {
		x := h.newExchange(w, r)
		x.identified(in.id)
		x.record.Reference = in.target.String()
		x.refuse(err)
		return
	}
	endAfterBody(w, r)
	dropProxyHeaders(r.Header)
	// What the client says inside was not said by a proxy. The proxies before the
	// gate spoke with the CONNECT request.
	for _, k := range []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "Forwarded"} {
		r.Header.Del(k)
	}
	if in.client != "" {
		r.Header.Set("X-Forwarded-For", in.client)
	}
	in.serve.ServeHTTP(w, r)
}

// check holds a request to the place that the client connected to.
func (in *inner) check(r *http.Request) error {
	switch id, err := in.again(); {
	case err != nil:
		return refusef(http.StatusForbidden, "whoever connected is not known any more", "a new connection with credentials that are good now")
	case id.String() != in.id.String():
		return refusef(http.StatusForbidden, "whoever connected is known as somebody else now", "a new connection")
	}
	if !strings.HasPrefix(r.RequestURI, "/") {
		return refusef(http.StatusBadRequest, "expected a path as the request's target inside a connection to "+in.target.String(),
			"a request as to the registry itself")
	}
	if host := strings.ToLower(r.Host); host != in.target.authority(httpsPort) && host != in.target.String() {
		return refusef(http.StatusMisdirectedRequest, fmt.Sprintf("expected Host %s, as in CONNECT, found %s", in.target.authority(httpsPort), quote(r.Host)),
			"a connection of its own for each registry")
	}
	return nil
}

// endAfterBody ends the connection after a request with a body, or one of
// HTTP/1.0, where Transfer-Encoding means nothing: no request of a pull has a
// body, and where one ends must not be a matter of opinion.
func endAfterBody(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength == 0 && r.ProtoAtLeast(1, 1) {
		return
	}
	w.Header().Set("Connection", "close")
	if r.ContentLength != 0 { // -1 when it is chunked
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyWait))
	}
}

// dropProxyHeaders removes what is meant for the proxy alone.
func dropProxyHeaders(h http.Header) {
	h.Del("Proxy-Authorization")
	h.Del("Proxy-Connection")
}
