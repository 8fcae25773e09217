package intercept

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/pullgate/pullgate/proxy/audit"
)

// connect answers a CONNECT request: registries are terminated, entries of the
// tunnel list are passed through to, and that is all there is.
func (h *Handler) connect(x *exchange) error {
	if x.r.ContentLength != 0 || len(x.r.TransferEncoding) > 0 {
		return refusef(http.StatusBadRequest, "expected CONNECT without a body, found one", "CONNECT host:port")
	}
	t, err := parseTarget(x.r.RequestURI)
	if err != nil {
		return refusef(http.StatusBadRequest, "CONNECT: "+err.Error(), "CONNECT host:port")
	}
	x.record.Reference = t.String()
	if registry, served := h.opts.Registry(t.authority(httpsPort)); served {
		return h.terminate(x, t, registry)
	}
	if h.tunnels.lists(t) {
		return h.tunnel(x, t)
	}
	if registry, served := h.opts.Others(t.authority(httpsPort)); served {
		return h.terminate(x, t, registry)
	}
	return refusef(http.StatusForbidden, t.String()+" is neither a registry that this gate serves nor in its tunnel list",
		"its operator can list a registry under upstreams, a token server or content store under intercept.tunnel")
}

// tunnel passes a connection through to a checked address.
func (h *Handler) tunnel(x *exchange, t target) error {
	s, err := h.slots.acquire(x.client)
	if err != nil {
		return err
	}
	defer s.release()
	ctx, cancel := context.WithTimeout(x.r.Context(), reachWait)
	defer cancel()
	defer context.AfterFunc(h.ctx, cancel)()

	far, err := h.reach(ctx, x, t)
	if err != nil {
		return err
	}
	defer far.Close()
	near, err := x.takeOver(s, func() {})
	if err != nil {
		return err
	}
	defer near.Close() // the slot is given back after both are closed
	if !s.hold(far) {
		return nil
	}
	hello, err := h.openingOf(near, t)
	if err != nil {
		x.lateRefusal(audit.Denied, err)
		return nil
	}
	// Nothing passes without a record.
	x.record.Kind = audit.KindTunnel
	if x.write(audit.Allowed, http.StatusOK, "tunnel to "+far.RemoteAddr().String()) != nil {
		return nil
	}
	h.pass(x, t, near, far, hello)
	return nil
}

// pass copies until both sides have ended, hello first.
func (h *Handler) pass(x *exchange, t target, near, far net.Conn, hello []byte) {
	start := time.Now()
	p := newPipe(h.opts.IdleTimeout)
	sent, received, err := p.run(near, far, hello)
	took := time.Since(start)
	h.opts.Observe(t.host, sent, received, took)
	h.opts.Logger.Debug("tunnel ended", "request_id", x.record.RequestID, "to", t.String(),
		"sent", sent, "received", received, "seconds", took.Seconds(), "error", err)
}

// lateRefusal records a refusal after the connection was taken over, when there is
// no HTTP left to answer in: what follows is the end of the connection.
func (x *exchange) lateRefusal(decision string, err error) {
	_ = x.write(decision, http.StatusOK, err.Error()) // it ends all the same
	x.h.opts.Logger.Debug("connection ended", "request_id", x.record.RequestID, "to", x.record.Reference, "error", err)
}

// established is the answer to CONNECT. What follows it is the tunnel's (RFC 9110,
// section 9.3.6).
const established = "HTTP/1.1 200 Connection established\r\n\r\n"

// takeOver answers the CONNECT request and returns its connection, which calls
// after when it is closed.
func (x *exchange) takeOver(s *slot, after func()) (*conn, error) {
	raw, buffered, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		return nil, &refusal{status: http.StatusServiceUnavailable, reason: "the connection cannot be taken over",
			pass: "connect by plain HTTP/1.1", cause: err}
	}
	c := &conn{Conn: raw, after: after}
	if n := buffered.Reader.Buffered(); n > 0 { // sent without waiting for the answer
		early, _ := buffered.Reader.Peek(n)
		c.early = bytes.NewReader(bytes.Clone(early))
	}
	if !s.hold(c) {
		return nil, errGone
	}
	_ = raw.SetDeadline(time.Now().Add(answerWait))
	if _, err := io.WriteString(raw, established); err != nil {
		c.Close()
		return nil, errGone
	}
	_ = raw.SetDeadline(time.Time{})
	return c, nil
}

// errGone is a client that went away, or a handler that ended, before anything was
// decided.
var errGone = errors.New("the connection is gone")

// conn is a client's connection after CONNECT.
type conn struct {
	net.Conn
	early *bytes.Reader // what arrived with the request; nil when nothing is left
	inner *inner        // of terminated ones
	once  sync.Once
	after func() // called when it is closed
}

func (c *conn) Read(p []byte) (int, error) {
	if c.early != nil {
		n, err := c.early.Read(p)
		if c.early.Len() == 0 {
			c.early = nil
		}
		return n, err
	}
	return c.Conn.Read(p)
}

// CloseWrite ends one direction.
func (c *conn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return c.Close()
}

// Close ends the connection. Only the first call counts.
func (c *conn) Close() error {
	err := net.ErrClosed
	c.once.Do(func() {
		err = c.Conn.Close()
		c.after()
	})
	return err
}
