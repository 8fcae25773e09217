package intercept

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// Bounds of probes.
const (
	probeKeep    = 10 * time.Minute // how long an answer counts
	probeRetry   = 5 * time.Second  // how long it counts that there was none
	maxProbes    = 4096             // answers that are kept
	probeBody    = 64 << 10         // bytes read of one body
	probeHeaders = 64 << 10         // bytes read of one header
	probeHops    = 4                // redirects followed at the same place
)

// probeAgent is what a probe says it is: what a client of a tunnel could say. A
// place must not be able to answer its probes otherwise than its clients.
const probeAgent = "containerd/2.1.4"

// probeName is a repository that cannot be known beforehand.
func probeName() string {
	return "library/" + strings.ToLower(rand.Text()[:12])
}

// probes finds out whether a place answers as a registry before a tunnel opens to
// it, and remembers the answers by place and address.
type probes struct {
	ctx    context.Context // of the handler: one probe serves all who wait for it
	wait   time.Duration
	fronts []string
	dial   func(ctx context.Context, to netip.AddrPort) (net.Conn, error)
	now    func() time.Time
	flight singleflight.Group

	mu    sync.Mutex
	known map[probeKey]probeResult
}

type probeKey struct {
	target string
	addr   netip.Addr
}

type probeResult struct {
	err   error
	until time.Time
}

// registryFound is a place that answers as a registry.
type registryFound struct{ how string }

func (e *registryFound) Error() string { return "answers as a registry: " + e.how }

func newProbes(ctx context.Context, o Options) *probes {
	return &probes{ctx: ctx, wait: o.seams.probeWait, fronts: o.Fronts, dial: o.seams.dial, now: o.seams.now, known: map[probeKey]probeResult{}}
}

// check returns nil when the place was found not to be a registry, a
// *registryFound when it is one, and any other error when it could not be told.
func (p *probes) check(ctx context.Context, t target, a netip.AddrPort) error {
	key := probeKey{target: t.String(), addr: a.Addr()}
	if r, ok := p.recall(key); ok {
		return r.err
	}
	done := p.flight.DoChan(key.target+" "+key.addr.String(), func() (any, error) {
		if r, ok := p.recall(key); ok {
			return nil, r.err
		}
		err := p.probe(t, a)
		p.remember(key, err)
		return nil, err
	})
	select {
	case r := <-done:
		return r.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *probes) recall(key probeKey) (probeResult, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r, ok := p.known[key]
	return r, ok && p.now().Before(r.until)
}

func (p *probes) remember(key probeKey, err error) {
	keep := probeKeep
	var registry *registryFound
	if err != nil && !errors.As(err, &registry) {
		keep = probeRetry
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.known) >= maxProbes {
		p.forget()
	}
	p.known[key] = probeResult{err: err, until: p.now().Add(keep)}
}

// forget makes room: what is out of date goes, and when that is nothing, anything.
func (p *probes) forget() {
	now := p.now()
	for k, r := range p.known {
		if !now.Before(r.until) {
			delete(p.known, k)
		}
	}
	for k := range p.known {
		if len(p.known) < maxProbes {
			return
		}
		delete(p.known, k)
	}
}

// probe asks as a client would that looks for a registry: for the API's root and
// for a manifest under the place's own name, and for the root under the names of
// registries that the gate serves. Nothing secret is sent and nothing that is
// answered is used, so certificates do not matter.
func (p *probes) probe(t target, a netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(p.ctx, p.wait)
	defer cancel()
	transport := &http.Transport{
		DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return p.dial(ctx, a) },
		TLSClientConfig:        &tls.Config{ServerName: t.host, MinVersion: tls.VersionTLS12, InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}},
		MaxResponseHeaderBytes: probeHeaders,
		DisableCompression:     true,
		TLSNextProto:           map[string]func(string, *tls.Conn) http.RoundTripper{},
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, CheckRedirect: stayThere}

	own := t.authority(httpsPort)
	if err := probeOwn(ctx, client, t, http.MethodGet, "/v2/"); err != nil {
		return err
	}
	if err := probeOwn(ctx, client, t, http.MethodHead, "/v2/"+probeName()+"/manifests/latest"); err != nil {
		return err
	}
	for _, front := range p.fronts {
		if front == own {
			continue
		}
		a, err := ask(ctx, client, t, http.MethodGet, "/v2/", front)
		switch {
		case err == nil && a.registry != "":
			return &registryFound{how: "under the name " + front + ", " + a.registry}
		case ctx.Err() != nil:
			return ctx.Err()
		}
		// A server that hangs up on a name that is not its own does not serve it.
	}
	return nil
}

// probeOwn asks under the place's own name, where an answer is needed: one that
// tells of trouble does not tell what the place is.
func probeOwn(ctx context.Context, c *http.Client, t target, method, path string) error {
	a, err := ask(ctx, c, t, method, path, t.authority(httpsPort))
	switch {
	case err != nil:
		return err
	case a.registry != "":
		return &registryFound{how: method + " " + path + ": " + a.registry}
	case a.status >= 500 || a.status == http.StatusTooManyRequests:
		return fmt.Errorf("%s %s was answered with status %d, which does not tell what is there", method, path, a.status)
	}
	return nil
}

// stayThere follows redirects that stay at the same place, as clients of a tunnel
// do; others lead to a CONNECT of their own.
func stayThere(next *http.Request, via []*http.Request) error {
	if next.URL.Scheme == "https" && placeOf(next.URL) == placeOf(via[0].URL) && len(via) <= probeHops {
		return nil
	}
	return http.ErrUseLastResponse
}

func placeOf(u *url.URL) string {
	if port := u.Port(); port != "" && port != "443" {
		return strings.ToLower(u.Host)
	}
	return strings.ToLower(u.Hostname())
}

// probeAnswer is what a probe learnt.
type probeAnswer struct {
	status   int
	registry string // what gives it away as a registry, "" when nothing does
}

func ask(ctx context.Context, c *http.Client, t target, method, path, host string) (probeAnswer, error) {
	r, err := http.NewRequestWithContext(ctx, method, "https://"+t.String()+path, nil)
	if err != nil {
		return probeAnswer{}, err
	}
	r.Host = host
	r.Header.Set("User-Agent", probeAgent)
	resp, err := c.Do(r)
	if err != nil {
		return probeAnswer{}, err
	}
	defer resp.Body.Close()
	out := probeAnswer{status: resp.StatusCode}
	body, err := io.ReadAll(io.LimitReader(resp.Body, probeBody+1))
	out.registry = registrySign(resp, body)
	if out.registry != "" {
		return out, nil
	}
	return out, err
}

// registrySign says what of an answer is a registry's (OCI distribution-spec 1.1,
// "Determining Support" and "Error Codes"), "" when nothing is.
func registrySign(resp *http.Response, body []byte) string {
	switch {
	case resp.StatusCode >= 200 && resp.StatusCode < 300, resp.StatusCode == http.StatusUnauthorized:
		return fmt.Sprintf("status %d", resp.StatusCode)
	case resp.Header.Get("Docker-Distribution-Api-Version") != "":
		return "a Docker-Distribution-Api-Version header"
	case resp.Header.Get("Docker-Content-Digest") != "":
		return "a Docker-Content-Digest header"
	}
	text := bytes.TrimLeft(body, " \t\r\n\ufeff")
	if len(body) > probeBody {
		if bytes.HasPrefix(text, []byte("{")) {
			return "JSON that is too long to read"
		}
		return ""
	}
	var e struct {
		Errors []struct {
			Code *json.RawMessage `json:"code"`
		} `json:"errors"`
	}
	if json.Unmarshal(text, &e) == nil && len(e.Errors) > 0 && e.Errors[0].Code != nil {
		return "the JSON of a registry's error"
	}
	return ""
}
