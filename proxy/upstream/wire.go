package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"syscall"
	"time"
)

// wire sends the requests of one upstream: it is the http.RoundTripper below
// redirects and authentication, so it sees every request that leaves, those to
// redirect targets and token servers too, and holds each to the guard.
type wire struct {
	opt   *Options
	guard *guard
	hosts []string // names of the upstream's own directory in certs.d
	certs certs    // the upstream's own

	mu    sync.Mutex
	pools map[poolKey]http.RoundTripper
}

// poolKey tells apart connections that must not be mixed.
type poolKey struct {
	own     bool   // to the upstream itself, with its client certificates
	proxied bool   // through the environment's proxy
	caHost  string // target with authorities of its own in certs.d
}

// newWire reads the certificates of the endpoint's host; names are further
// directory names to look for.
func newWire(o *Options, endpoint *url.URL, other bool, names ...string) (*wire, error) {
	w := &wire{opt: o, guard: newGuard(endpoint, other, o.seams.class), pools: map[poolKey]http.RoundTripper{}}
	w.hosts = append([]string{endpoint.Host, hostPort(endpoint)}, names...)
	var err error
	if w.certs, err = loadCerts(o.CertsDirs, w.hosts...); err != nil {
		return nil, err
	}
	return w, nil
}

// client returns an http.Client that follows guarded redirects over the wire.
func (w *wire) client() *http.Client {
	return &http.Client{Transport: w, CheckRedirect: w.checkRedirect}
}

// checkRedirect lets a redirect pass, without what the next host must not see.
func (w *wire) checkRedirect(req *http.Request, via []*http.Request) error {
	prev := via[len(via)-1]
	req.URL.User = nil
	// The referrer would tell the next host the query of this URL, which in
	// presigned URLs is a secret.
	req.Header.Del("Referer")
	for _, r := range via {
		if r.URL.Scheme != req.URL.Scheme || hostPort(r.URL) != hostPort(req.URL) {
			req.Header.Del("Authorization")
		}
	}
	target := req.URL.Scheme + "://" + req.URL.Host
	if len(via) > w.opt.MaxRedirects {
		return &refusal{target: target, why: fmt.Sprintf("more than %d redirects", w.opt.MaxRedirects)}
	}
	if prev.URL.Scheme == "https" && req.URL.Scheme != "https" {
		return &refusal{target: target, why: "a redirect from https must lead to https"}
	}
	return w.guard.checkURL(req.URL)
}

// maxTries bounds how often a request is sent when connections fail.
const maxTries = 3

// RoundTrip sends one request. A GET or HEAD whose connection fails before there
// is an answer is tried again, three times in all; an answer of any kind is final.
func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := w.guard.checkURL(req.URL); err != nil {
		closeBody(req)
		return nil, err
	}
	out := new(http.Request)
	*out = *req
	out.Header = req.Header.Clone()
	out.Header.Set("Accept-Encoding", "identity")
	out.Header.Set("User-Agent", w.opt.UserAgent)
	if w.opt.Via != "" {
		out.Header.Set("Via", w.opt.Via)
	}

	wait := w.opt.seams.backoff
	for try := 1; ; try++ {
		resp, err := w.send(out)
		if err == nil {
			noteRetryAfter(req.Context(), resp)
			preferChallenge(resp.Header)
			return resp, nil
		}
		if try == maxTries || !retriable(out, err) {
			return nil, err
		}
		select {
		case <-time.After(wait/2 + rand.N(wait)):
		case <-req.Context().Done():
			return nil, req.Context().Err()
		}
		wait *= 2
	}
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		req.Body.Close()
	}
}

// retriable reports whether nothing speaks against sending the request again:
// it has no effect and no body, and the connection failed under it.
func retriable(req *http.Request, err error) bool {
	if req.Method != http.MethodGet && req.Method != http.MethodHead || req.Body != nil && req.Body != http.NoBody {
		return false
	}
	var refused *refusal
	if errors.As(err, &refused) {
		return false
	}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return !dns.IsNotFound
	}
	var op *net.OpError
	if errors.As(err, &op) && (op.Op == "dial" || op.Op == "proxyconnect" || !op.Timeout()) {
		return true
	}
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || isEOF(err)
}

// send picks the connections that fit the target.
func (w *wire) send(req *http.Request) (*http.Response, error) {
	if w.opt.seams.send != nil {
		return w.opt.seams.send.RoundTrip(req)
	}
	via, err := w.opt.seams.proxy(req)
	if err != nil {
		closeBody(req)
		return nil, errors.New("the environment's proxy setting is unusable")
	}
	t, err := w.pool(poolKey{own: w.guard.own(req.URL), proxied: via != nil}, req.URL)
	if err != nil {
		closeBody(req)
		return nil, &localFault{err}
	}
	return t.RoundTrip(req)
}

// pool returns the connections for a key, making them on first use.
func (w *wire) pool(k poolKey, target *url.URL) (http.RoundTripper, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	// The upstream's authorities count for the hosts it names too (its token
	// server is mostly signed by the same one). Its client certificate is for
	// itself alone; nor do those hosts get one of their own, for it is the
	// upstream that sends us there.
	authorities, pairs := w.certs.authorities, w.certs.pairs
	if !k.own {
		pairs = nil
		k.caHost = hostPort(target)
		if t := w.pools[k]; t != nil {
			return t, nil
		}
		c, err := loadCerts(w.opt.CertsDirs, target.Host, hostPort(target))
		if err != nil {
			return nil, err
		}
		if authorities = slices.Concat(authorities, c.authorities); len(c.authorities) == 0 {
			k.caHost = "" // the upstream names hosts without end: one pool for them
		}
	}
	if t := w.pools[k]; t != nil {
		return t, nil
	}
	cfg, err := tlsConfig(pairs, authorities...)
	if err != nil {
		return nil, err
	}
	t := w.newTransport(k, cfg)
	w.pools[k] = t
	return t, nil
}

// newTransport makes a connection pool sized for a gate under load. It speaks
// HTTP/1.1, which moves large blobs faster than Go's HTTP/2 does.
func (w *wire) newTransport(k poolKey, cfg *tls.Config) *http.Transport {
	t := &http.Transport{
		DialContext:            w.dial(k),
		TLSClientConfig:        cfg,
		TLSHandshakeTimeout:    w.opt.ConnectTimeout,
		ResponseHeaderTimeout:  w.opt.HeaderTimeout,
		IdleConnTimeout:        90 * time.Second,
		MaxIdleConns:           256,
		MaxIdleConnsPerHost:    64,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true,
		TLSNextProto:           map[string]func(string, *tls.Conn) http.RoundTripper{},
	}
	if k.proxied {
		t.Proxy = w.opt.seams.proxy
	}
	return t
}

// dial connects, with the guard between the look-up and the connection, so that
// a name cannot resolve to one address for the check and to another for the
// connection. A proxy is the operator's own choice and is dialled unchecked.
func (w *wire) dial(k poolKey) func(context.Context, string, string) (net.Conn, error) {
	d := net.Dialer{Timeout: w.opt.ConnectTimeout, KeepAlive: 30 * time.Second, Resolver: w.opt.seams.resolver}
	if k.proxied {
		return d.DialContext
	}
	d.Control = func(_, address string, _ syscall.RawConn) error {
		a, err := netip.ParseAddrPort(address)
		if err != nil {
			return &refusal{target: address, why: "expected an address and a port", first: k.own}
		}
		return w.guard.checkAddr(k.own, a)
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := d.DialContext(ctx, network, address)
		if err == nil && k.own {
			if a, err := netip.ParseAddrPort(conn.RemoteAddr().String()); err == nil {
				w.guard.note(a)
			}
		}
		return conn, err
	}
}

// close closes connections that nobody uses.
func (w *wire) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range w.pools {
		if c, ok := t.(interface{ CloseIdleConnections() }); ok {
			c.CloseIdleConnections()
		}
	}
}
