package intercept

import (
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/proxy/auth"
)

func TestOnlySoManyConnectionsAtATime(t *testing.T) {
	w, _, target := cdn(t, store, func(_ *world, o *Options) { o.MaxConnections = 2 })
	first, second := w.open(target), w.open(registryHost+":443")
	w.wantSlots(2)
	for _, to := range []string{target, registryHost + ":443"} {
		w.wantRefused(to, http.StatusServiceUnavailable, "all of the 2 connections")
	}
	first.Close()
	w.wantSlots(1)
	w.open(registryHost + ":443")
	second.Close()
	w.wantSlots(1)
	w.open(target)
}

func TestOnlySoManyConnectionsForEachClient(t *testing.T) {
	w := newWorld(t, func(_ *world, o *Options) {
		o.MaxPerClient = 1
		o.Identify = func(r *http.Request) (auth.Identity, error) {
			return auth.Identity{Kind: auth.Anonymous, Addr: netip.MustParseAddr(r.Header.Get("X"))}, nil
		}
	})
	as := func(client string) int {
		return send(t, w.dial(), http.MethodConnect, "CONNECT registry.example:443 HTTP/1.1\r\nHost: x\r\nX: "+client+"\r\n\r\n").status
	}
	for i, step := range []struct {
		client string
		want   int
	}{{"192.0.2.1", 200}, {"192.0.2.1", 503}, {"::ffff:192.0.2.1", 503}, {"192.0.2.2", 200}, {"2001:db8::1", 200}, {"2001:db8::ffff", 503}, {"2001:db8:0:1::1", 200}} {
		if got := as(step.client); got != step.want {
			t.Errorf("step %d: %s got %d, want %d", i, step.client, got, step.want)
		}
	}
}

func TestOptionsThatAreMissingOrWrong(t *testing.T) {
	good := newWorld(t, nil).opts
	for name, spoil := range map[string]func(*Options){
		"Registry": func(o *Options) { o.Registry = nil }, "Serve": func(o *Options) { o.Serve = nil }, "Identify": func(o *Options) { o.Identify = nil },
		"CA": func(o *Options) { o.CA = nil }, "Audit": func(o *Options) { o.Audit = nil }, "Logger": func(o *Options) { o.Logger = nil },
		"tunnel: [0]":       func(o *Options) { o.Tunnel = []string{"169.254.169.254"} },
		"at most 64 fronts": func(o *Options) { o.Fronts = slices.Repeat([]string{"a.example"}, 65) },
		"fronts: expected":  func(o *Options) { o.Fronts = []string{"https://a.example"} },
		"limits":            func(o *Options) { o.MaxConnections = -1 },
	} {
		o := good
		spoil(&o)
		if h, err := New(o); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
			if h != nil {
				h.Close()
			}
		}
	}
	if _, err := New(Options{Logger: slog.New(slog.DiscardHandler)}); err == nil {
		t.Error("nothing at all passed")
	}
}
