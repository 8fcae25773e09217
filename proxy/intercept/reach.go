package intercept

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/pullgate/pullgate/proxy/internal/address"
)

// Bounds of the way to a tunnel's far end.
const (
	reachWait = 20 * time.Second // all of it, before the client gets its answer
	dialWait  = 5 * time.Second  // one address
	maxTries  = 4                // addresses that are tried
	maxAddrs  = 64               // addresses that a name may have
)

// reach connects to a target of the tunnel list. The name is looked up once, every
// address is checked, and a checked address itself is dialled: between check and
// connection nothing can turn a name into another place.
func (h *Handler) reach(ctx context.Context, x *exchange, t target) (net.Conn, error) {
	addrs, err := h.lookUp(ctx, t)
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if err := h.checkAddr(x, t, a); err != nil {
			return nil, err
		}
	}
	var last error
	for _, a := range addrs[:min(len(addrs), maxTries)] {
		err := h.probes.check(ctx, t, a)
		var registry *registryFound
		if errors.As(err, &registry) {
			return nil, refusef(http.StatusForbidden, fmt.Sprintf("%s answers as a registry (%s), which a tunnel must not reach", t, registry.how),
				"its operator can list it under upstreams instead of intercept.tunnel, to have its images judged")
		}
		if err == nil {
			var c net.Conn
			if c, err = h.dial(ctx, a); err == nil {
				return c, nil
			}
		}
		last = err
	}
	return nil, &refusal{status: http.StatusBadGateway, cause: last, reason: fmt.Sprintf("%s cannot be reached, or does not answer by HTTPS", t),
		pass: "ask again later; the gate looks at each place before it opens a tunnel to it"}
}

func (h *Handler) dial(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialWait)
	defer cancel()
	return h.opts.seams.dial(ctx, a)
}

func (h *Handler) lookUp(ctx context.Context, t target) ([]netip.AddrPort, error) {
	if t.addr.IsValid() {
		return []netip.AddrPort{netip.AddrPortFrom(t.addr, t.port)}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, dialWait)
	defer cancel()
	found, err := h.opts.seams.resolve(ctx, t.host)
	if err == nil && len(found) == 0 {
		err = errors.New("it has no address")
	}
	if err == nil && len(found) > maxAddrs {
		err = fmt.Errorf("it has %d addresses, at most %d are looked at", len(found), maxAddrs)
	}
	if err != nil {
		return nil, &refusal{status: http.StatusBadGateway, cause: err, reason: t.host + " cannot be looked up",
			pass: "a name that the gate's own resolver knows"}
	}
	out := make([]netip.AddrPort, len(found))
	for i, a := range found {
		out[i] = netip.AddrPortFrom(a.Unmap(), t.port)
	}
	return out, nil
}

// checkAddr judges one address of a target.
func (h *Handler) checkAddr(x *exchange, t target, a netip.AddrPort) error {
	refuse := func(what, pass string) error {
		where := t.String()
		if !t.addr.IsValid() {
			where += " is at " + a.Addr().String() + ","
		} else {
			where += " is"
		}
		return refusef(http.StatusForbidden, where+" "+what, pass)
	}
	class := h.opts.seams.class(a.Addr())
	if class != address.Public && class != address.Private && class != address.Loopback {
		return refuse("a "+address.Forbidden.String()+" address", "nothing: such addresses are never reached through the gate")
	}
	own, err := h.isOwn(x, a, class)
	switch {
	case err != nil:
		return &refusal{status: http.StatusServiceUnavailable, reason: "the gate cannot tell its own addresses", cause: err,
			pass: "ask again later; the gate's log says why"}
	case own:
		return refuse("the gate itself", "connecting to the gate without a proxy")
	case class != address.Public && !h.tunnels.covers(a):
		return refuse("a "+class.String()+" address", "its operator can list the address or its network under intercept.tunnel")
	}
	return nil
}

// isOwn tells whether an address leads back to the gate: one of its ports at any
// address of this machine.
func (h *Handler) isOwn(x *exchange, a netip.AddrPort, class address.Class) (bool, error) {
	own := slices.Clone(h.opts.Own)
	if l, ok := x.r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		own = append(own, l.AddrPort()) // where this request came in
	}
	port := false
	for _, o := range own {
		if o.Port() != a.Port() {
			continue
		}
		if port = true; o.Addr().Unmap() == a.Addr() {
			return true, nil
		}
	}
	if !port {
		return false, nil
	}
	if class == address.Loopback {
		return true, nil
	}
	locals, err := h.opts.seams.interfaces()
	if err != nil {
		return false, err
	}
	for _, l := range locals {
		if p, err := netip.ParsePrefix(l.String()); err == nil && p.Addr().Unmap().WithZone("") == a.Addr().WithZone("") {
			return true, nil
		}
	}
	return false, nil
}
