package harness

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

// Names that a Hub answers to.
const (
	HubRegistry     = "registry-1.docker.io"
	HubTokens       = "auth.docker.io"
	HubCDN          = "production.cloudflare.docker.com"
	ExampleRegistry = "registry.example.com" // without tokens and redirects
	CanaryRegistry  = "pullgate.invalid"
)

// CanaryRepository exists at every registry of a Hub, with an unsigned image
// under every tag: whoever goes around the gate really gets it.
const CanaryRepository = "pullgate.invalid/canary/unsigned"

// hubNames are all hosts that docker.io's clients may ask, and the others.
var hubNames = []string{HubRegistry, HubTokens, HubCDN, "docker.io", "index.docker.io", "registry.hub.docker.com", ExampleRegistry, CanaryRegistry}

// Hub plays Docker Hub (registry, token server and blob CDN, each under its own
// name), and two registries without tokens, in a Namespace, with certificates
// of one authority.
//
// It knows who asks by the address that was asked: each [Vantage] has addresses
// of its own that only it resolves the names to.
type Hub struct {
	CA *Authority
	// Docker holds the images of docker.io, Example those of registry.example.com.
	Docker, Example *Registry

	net    *Namespace
	server *http.Server
	certs  map[string]tls.Certificate
	tokens *hubTokens
	hosts  map[string]http.Handler

	mu       sync.Mutex
	vantages map[netip.Addr]*Vantage
}

// Vantage is a place that the Hub is asked from.
type Vantage struct {
	Name  string
	Addrs map[string]netip.Addr // of the Hub's names, as resolved here

	mu       sync.Mutex
	conns    int
	requests []HubRequest
}

// HubRequest is a request that reached the Hub.
type HubRequest struct{ Host, Method, Path, UserAgent string }

// String is the request on one line.
func (r HubRequest) String() string {
	return fmt.Sprintf("%s https://%s%s (%s)", r.Method, r.Host, r.Path, r.UserAgent)
}

// Traffic is what reached the Hub from one Vantage.
type Traffic struct {
	Connections int // whether or not TLS came about
	Requests    []HubRequest
}

// String is one line for each request.
func (t Traffic) String() string {
	lines := []string{fmt.Sprintf("%d connections, %d requests", t.Connections, len(t.Requests))}
	for _, r := range t.Requests {
		lines = append(lines, r.String())
	}
	return strings.Join(lines, "\n")
}

// NewHub starts a Hub in the namespace. A user "alice" with the password
// "secret of alice" may read the repositories below private/.
func NewHub(t testing.TB, n *Namespace) *Hub {
	t.Helper()
	h := &Hub{
		CA: NewAuthority(t, "authority of the public internet"), net: n,
		certs: map[string]tls.Certificate{}, vantages: map[netip.Addr]*Vantage{},
		tokens: newHubTokens(map[string]string{"alice": "secret of alice"}),
	}
	docker, example, canary := newImageStore(), newImageStore(), newImageStore()
	h.Docker, h.Example = NewUpstream(t, docker), NewUpstream(t, example)
	unsigned := NewImage(t, "the canary arrived")
	for _, r := range []*Registry{h.Docker, h.Example} {
		r.Push(t, CanaryRepository, "latest", unsigned)
	}
	NewUpstream(t, canary).Push(t, strings.TrimPrefix(CanaryRepository, CanaryRegistry+"/"), "latest", unsigned)
	h.hosts = map[string]http.Handler{
		HubRegistry: h.tokens.protect(redirectBlobs(anyCanaryTag(docker))), HubTokens: h.tokens, HubCDN: cdn(docker),
		ExampleRegistry: anyCanaryTag(example), CanaryRegistry: anyCanaryTag(canary),
	}
	for _, name := range hubNames {
		h.certs[name] = h.CA.Issue(t, name)
	}
	h.server = &http.Server{
		Handler: h, TLSConfig: &tls.Config{GetCertificate: h.certificate}, ConnContext: h.connected,
		ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: startTimeout,
	}
	t.Cleanup(func() { _ = h.server.Close() }) // listeners are closed already
	return h
}

func newImageStore() http.Handler {
	return registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true))
}

// anyCanaryTag gives the canary every tag.
func anyCanaryTag(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		dir, ref, ok := strings.Cut(r.URL.Path, "canary/unsigned/manifests/")
		if ok && !strings.Contains(ref, ":") {
			r = r.Clone(r.Context())
			r.URL.Path = dir + "canary/unsigned/manifests/latest"
		}
		next.ServeHTTP(w, r)
	})
}

func (h *Hub) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	c, ok := h.certs[hello.ServerName]
	if !ok {
		return nil, fmt.Errorf("no such host: %q", hello.ServerName)
	}
	return &c, nil
}

// NewVantage gives a place addresses of its own for all of the Hub's names.
func (h *Hub) NewVantage(t testing.TB, name string) *Vantage {
	t.Helper()
	v := &Vantage{Name: name, Addrs: map[string]netip.Addr{}}
	for _, host := range hubNames {
		addr := h.net.Addr(t)
		v.Addrs[host] = addr
		h.mu.Lock()
		h.vantages[addr] = v
		h.mu.Unlock()
		l := h.net.Listen(t, netip.AddrPortFrom(addr, 443).String())
		go func() { _ = h.server.ServeTLS(l, "", "") }() // ends with the listener
	}
	return v
}

type vantageKey struct{}

// connected counts a connection and notes where it comes from.
func (h *Hub) connected(ctx context.Context, c net.Conn) context.Context {
	local, err := netip.ParseAddrPort(c.LocalAddr().String())
	if err != nil {
		return ctx // ServeHTTP panics: nothing is served that is not counted
	}
	h.mu.Lock()
	v := h.vantages[local.Addr().Unmap()]
	h.mu.Unlock()
	v.mu.Lock()
	v.conns++
	v.mu.Unlock()
	return context.WithValue(ctx, vantageKey{}, v)
}

// ServeHTTP records the request and answers as the host that it names.
func (h *Hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v := r.Context().Value(vantageKey{}).(*Vantage)
	v.mu.Lock()
	v.requests = append(v.requests, HubRequest{r.Host, r.Method, r.URL.Path, r.UserAgent()})
	v.mu.Unlock()
	host, _, _ := strings.Cut(r.Host, ":")
	next, ok := h.hosts[host]
	if !ok || host != r.TLS.ServerName {
		http.NotFound(w, r)
		return
	}
	next.ServeHTTP(w, r)
}

// Since returns the traffic after the earlier state.
func (v *Vantage) Since(earlier Traffic) Traffic {
	now := v.Traffic()
	return Traffic{now.Connections - earlier.Connections, now.Requests[len(earlier.Requests):]}
}

// Traffic returns everything so far.
func (v *Vantage) Traffic() Traffic {
	v.mu.Lock()
	defer v.mu.Unlock()
	return Traffic{v.conns, slices.Clone(v.requests)}
}

// Settle waits until nothing has arrived for a moment: a client may end before
// its last request is counted.
func (v *Vantage) Settle() {
	for last := -1; ; time.Sleep(2 * pollInterval) {
		now := v.Traffic()
		if n := now.Connections + len(now.Requests); n != last {
			last = n
			continue
		}
		return
	}
}
