// Package intercept is the transparent mode: an HTTP proxy that clients are
// pointed at (dockerd's "proxies", HTTPS_PROXY), so that every registry is asked
// through the gate with image names unchanged.
//
// What it promises:
//   - Nothing passes that is not named: CONNECT to anywhere but a registry that is
//     served or an entry of the tunnel list is refused, with the reason in the
//     status line, where clients show it, and in the audit log.
//   - Connections to registries are terminated with certificates of the gate's own
//     authority. The name in the TLS handshake and the Host of every request must
//     be the one that the client connected to.
//   - Tunnels lead to an address that was looked up once and checked, never to the
//     gate itself, link-local addresses or metadata services, and to private
//     networks only where an entry of the list covers the address. They carry TLS
//     for the name that the client connected to, and that name in the clear.
//   - A tunnel does not open to a place that answers as a registry, under its own
//     name or under one of those in [Options.Fronts].
//
// What it never does: judge images (that is done by what [Options.Serve] returns),
// read what passes through a tunnel after the first handshake message, or send
// credentials anywhere. It cannot know every name that a server answers to: list
// only token servers and content stores.
//
// The HTTP is net/http's server, outside and inside. Libraries for intercepting
// proxies (elazarl/goproxy and its like) dial by name after the checks were made,
// and read the requests inside a terminated connection with http.ReadRequest in a
// loop of their own: no limit on headers, no deadlines, no end of the connection
// after an ambiguous body. net/http's server has all of that, is kept with the
// language, and lets refusals take the connection over. The inner connections are
// HTTP/1.1 by ALPN, because HTTP/2 has no reason phrases.
package intercept

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/pullgate/pullgate/proxy/audit"
	"github.com/pullgate/pullgate/proxy/auth"
	"github.com/pullgate/pullgate/proxy/internal/address"
)

// MaxFronts bounds Options.Fronts: each is one more request of a probe.
const MaxFronts = 64

// Options wire a [Handler]. Registry, Serve, Identify, CA, Audit and Logger are
// needed.
type Options struct {
	// Registry returns the policy's name of the registry at host[:port], and whether
	// it is served. The port is left out when the scheme implies it.
	Registry func(host string) (registry string, served bool)
	// Others is Registry for hosts that may be tunnelled: it is asked about those that
	// are not in Tunnel. nil: there are none.
	Others func(host string) (registry string, served bool)
	// PlainHTTP tells whether a served registry's own endpoint is plain HTTP, so that
	// its clients may ask for it in the clear. nil: none is.
	PlainHTTP func(registry string) bool
	// Serve returns the registry API for one client of a served registry.
	Serve func(registry string, id auth.Identity) http.Handler
	// Identify says who asks, by Proxy-Authorization or address. An error that is an
	// *auth.Refusal is answered as it says, any other by 503.
	Identify func(r *http.Request) (auth.Identity, error)

	Tunnel []string         // see [Tunnels]
	Fronts []string         // host[:port] of at most 64 registries that must not answer in a tunnel
	Own    []netip.AddrPort // where the gate listens; the proxy's own listener need not be among them
	CA     *CA

	Audit  audit.Sink
	Logger *slog.Logger
	// Observe is told about each tunnel that ended: where to, bytes from and to the
	// client. nil: nobody is.
	Observe func(host string, sent, received int64, took time.Duration)

	MaxConnections int           // terminated and tunnelled at a time; 0: 1024
	MaxPerClient   int           // of them by one address (IPv6: one /64); 0: 256
	IdleTimeout    time.Duration // of a tunnel without a byte; 0: 5m

	seams seams
}

// seams are replaced by tests; their zero value is the real thing.
type seams struct {
	resolve    func(ctx context.Context, host string) ([]netip.Addr, error)
	dial       func(ctx context.Context, to netip.AddrPort) (net.Conn, error)
	class      func(netip.Addr) address.Class
	interfaces func() ([]net.Addr, error)
	now        func() time.Time
	helloWait  time.Duration // for the first handshake message, and for a whole handshake
	probeWait  time.Duration // for one probe
}

// Handler serves the proxy listener. It must be closed.
type Handler struct {
	opts    Options
	tunnels Tunnels
	leaves  *leaves
	slots   *slots
	probes  *probes
	inner   *http.Server
	ctx     context.Context // ends with the handler
	stop    context.CancelFunc
}

// New returns a handler, or an error that names what is missing or wrong.
func New(o Options) (*Handler, error) {
	for name, missing := range map[string]bool{
		"Registry": o.Registry == nil, "Serve": o.Serve == nil, "Identify": o.Identify == nil,
		"CA": o.CA == nil, "Audit": o.Audit == nil, "Logger": o.Logger == nil,
	} {
		if missing {
			return nil, fmt.Errorf("intercept: option %s is missing", name)
		}
	}
	if len(o.Fronts) > MaxFronts {
		return nil, fmt.Errorf("intercept: expected at most %d fronts, found %d", MaxFronts, len(o.Fronts))
	}
	for _, f := range o.Fronts {
		if _, err := parseAuthority(strings.ToLower(f), httpsPort); err != nil {
			return nil, fmt.Errorf("intercept: fronts: %w", err)
		}
	}
	if o.MaxConnections < 0 || o.MaxPerClient < 0 || o.IdleTimeout < 0 {
		return nil, errors.New("intercept: limits: expected zero (the default) or more")
	}
	tunnels, err := ParseTunnel(o.Tunnel)
	if err != nil {
		return nil, fmt.Errorf("tunnel: %w", err)
	}
	o.setDefaults()
	h := &Handler{opts: o, tunnels: tunnels}
	h.ctx, h.stop = context.WithCancel(context.Background())
	h.leaves = newLeaves(o.CA, o.seams.now)
	h.slots = newSlots(o.MaxConnections, o.MaxPerClient)
	h.probes = newProbes(h.ctx, o)
	h.inner = h.newInner()
	return h, nil
}

func (o *Options) setDefaults() {
	orElse(&o.MaxConnections, 1024)
	orElse(&o.MaxPerClient, 256)
	orElse(&o.IdleTimeout, 5*time.Minute)
	orElse(&o.seams.helloWait, 10*time.Second)
	orElse(&o.seams.probeWait, 5*time.Second)
	if o.Others == nil {
		o.Others = func(string) (string, bool) { return "", false }
	}
	if o.PlainHTTP == nil {
		o.PlainHTTP = func(string) bool { return false }
	}
	if o.Observe == nil {
		o.Observe = func(string, int64, int64, time.Duration) {}
	}
	s := &o.seams
	if s.resolve == nil {
		s.resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if s.dial == nil {
		d := net.Dialer{KeepAlive: 30 * time.Second}
		s.dial = func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
			return d.DialContext(ctx, "tcp", to.String())
		}
	}
	if s.class == nil {
		s.class = address.ClassOf
	}
	if s.interfaces == nil {
		s.interfaces = net.InterfaceAddrs
	}
	if s.now == nil {
		s.now = time.Now
	}
}

// orElse sets *p when it is zero.
func orElse[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// ServeHTTP answers one request to the proxy. A connection that is taken over is
// the handler's until it ends.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := h.newExchange(w, r)
	if err := h.dispatch(x); err != nil && !errors.Is(err, errGone) {
		x.refuse(err)
	}
}

func (h *Handler) dispatch(x *exchange) error {
	connect := x.r.Method == http.MethodConnect
	switch {
	case x.r.ProtoMajor != 1:
		return refusef(http.StatusHTTPVersionNotSupported, "this proxy speaks HTTP/1.1, found "+x.r.Proto,
			"connect without HTTP/2")
	case !connect && x.r.URL.Host == "":
		return refusef(http.StatusBadRequest, "this is an HTTP proxy, found a request as to a server",
			"set the address as the client's HTTPS proxy; image names stay as they are")
	}
	id, err := h.opts.Identify(x.r)
	if err != nil {
		return fromAuth(err)
	}
	x.identified(id)
	if connect {
		return h.connect(x)
	}
	return h.plain(x)
}

// Close ends every connection and waits until the last one is gone. Requests that
// come later are refused. It always returns nil.
func (h *Handler) Close() error {
	h.stop()
	h.slots.close()
	_ = h.inner.Close() // its listeners have nothing to close
	h.slots.wait()
	return nil
}

// Shutdown refuses new connections, lets running requests and tunnels end within
// ctx, and closes the handler.
func (h *Handler) Shutdown(ctx context.Context) error {
	h.slots.refuse()
	err := h.inner.Shutdown(ctx)
	select {
	case <-h.slots.idle():
	case <-ctx.Done():
		err = ctx.Err()
	}
	_ = h.Close()
	return err
}
