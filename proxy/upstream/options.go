package upstream

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/distribution/reference"
)

// Docker Hub is reached at another host than its name.
const (
	hubName     = "docker.io"
	hubEndpoint = "https://registry-1.docker.io"
	hubHost     = "registry-1.docker.io"
)

// maxOthers bounds how many registries that are not configured are kept open.
const maxOthers = 128

// seams are replaced by tests; their zero value is the real thing.
type seams struct {
	resolver *net.Resolver                         // nil: the system's
	class    func(netip.AddrPort) class            // nil: classOf
	proxy    func(*http.Request) (*url.URL, error) // nil: http.ProxyFromEnvironment
	backoff  time.Duration                         // first wait between tries
	send     http.RoundTripper                     // nil: real connections
	now      func() time.Time                      // nil: time.Now
}

// setDefaults fills in what is zero and refuses what makes no sense.
func (o *Options) setDefaults() error {
	if o.ManifestLimit < 0 || o.ConnectTimeout < 0 || o.HeaderTimeout < 0 ||
		o.BodyTimeout < 0 || o.IdleTimeout < 0 || o.MaxRedirects < 0 {
		return errors.New("upstream limits: expected zero (the default) or more")
	}
	if len(o.Via) > 256 || !printable(o.Via) {
		return errors.New("via: expected at most 256 bytes of printable ASCII")
	}
	orElse(&o.ManifestLimit, 4<<20)
	orElse(&o.ConnectTimeout, 10*time.Second)
	orElse(&o.HeaderTimeout, 30*time.Second)
	orElse(&o.BodyTimeout, 30*time.Second)
	orElse(&o.IdleTimeout, time.Minute)
	orElse(&o.MaxRedirects, 5)
	orElse(&o.UserAgent, "pullgate")
	orElse(&o.seams.backoff, 100*time.Millisecond)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Observe == nil {
		o.Observe = func(string, string, int, time.Duration) {}
	}
	if o.seams.class == nil {
		o.seams.class = func(a netip.AddrPort) class { return classOf(a.Addr()) }
	}
	if o.seams.now == nil {
		o.seams.now = time.Now
	}
	if o.seams.proxy == nil {
		o.seams.proxy = http.ProxyFromEnvironment
	}
	return nil
}

// orElse sets *p when it is zero.
func orElse[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// others holds the registries that are reached under their own name without
// being configured. It keeps a bounded number: clients choose the names.
type others struct {
	opt  *Options
	mu   sync.Mutex
	open map[string]*served
	used []string // least recently used first
}

// get returns the registry of that name. A [localFault] is trouble with our own
// files, any other error a name that is not served.
func (o *others) get(name string) (*served, error) {
	if strings.ToLower(name) != name {
		return nil, errors.New("expected a registry name in lower case: policy scopes are case-sensitive")
	}
	if bareHost(name) == hubHost {
		return nil, fmt.Errorf("the registry is served under the name %s", hubName)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if s := o.open[name]; s != nil {
		o.touch(name)
		return s, nil
	}
	endpoint := "https://" + name
	if name == hubName {
		endpoint = hubEndpoint
	}
	b, err := newRemote(o.opt, name, "other", endpoint, true)
	if err != nil {
		return nil, &localFault{err}
	}
	s := &served{name: name, backend: b}
	o.open[name] = s
	o.touch(name)
	if len(o.used) > maxOthers {
		o.open[o.used[0]].close()
		delete(o.open, o.used[0])
		o.used = o.used[1:]
	}
	return s, nil
}

// touch moves name to the end of the line.
func (o *others) touch(name string) {
	for i, n := range o.used {
		if n == name {
			o.used = append(o.used[:i], o.used[i+1:]...)
			break
		}
	}
	o.used = append(o.used, name)
}

// close closes the idle connections of all of them.
func (o *others) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.open {
		s.close()
	}
}

// bareHost is a registry's host without a port that https or http imply, in
// lower case: two names with the same bare host reach the same registry.
func bareHost(name string) string {
	name = strings.ToLower(name)
	for _, port := range []string{":443", ":80"} {
		if h, ok := strings.CutSuffix(name, port); ok {
			return h
		}
	}
	return name
}

// domainOf returns what references parse as the registry of name/x.
func domainOf(name string) string {
	ref, err := reference.ParseNamed(name + "/x")
	if err != nil {
		// docker.io/x is written docker.io/library/x when it is canonical.
		ref, err = reference.ParseNamed(name + "/x/x")
	}
	if err != nil {
		return ""
	}
	return reference.Domain(ref)
}
