package proxy

import (
	"context"
	"net/http"
	"strings"

	"github.com/pullgate/pullgate/proxy/auth"
)

// Entry is what the place where a request came in says about it. The zero value is
// a listener that stands for no registry in particular.
type Entry struct {
	// Registry is what the place stands for: the host whose connection was
	// intercepted, or the registry of the listener. Empty when the request says it.
	Registry string
	// Only makes Registry the registry of every name that is asked for: on an
	// intercepted connection neither ?ns= nor the first path element may lead to
	// another one.
	Only bool
	// Mirror is the route of docker's registry-mirrors: refusals stop dockerd from
	// asking the registry itself, and nobody is asked for credentials, as docker
	// would send those of Docker Hub.
	Mirror bool
	// Identity is who asks, when the place knows already.
	Identity *auth.Identity
}

type entryKey struct{}

// WithEntry returns a context for requests that came in at a place. Without one
// they came in at a listener that says nothing.
func WithEntry(ctx context.Context, e Entry) context.Context {
	return context.WithValue(ctx, entryKey{}, e)
}

func entryOf(ctx context.Context) Entry {
	e, _ := ctx.Value(entryKey{}).(Entry)
	return e
}

// mode names the way in, for the audit log.
func (e Entry) mode() string {
	switch {
	case e.Only:
		return "intercept"
	case e.Mirror:
		return "mirror"
	}
	return ""
}

// HostName maps a Host header, or the name that TLS asked for, to a registry.
type HostName struct {
	// Host is a name in lower case, for every port that has no item of its own; a name
	// with a port, for that port; or *.domain for every name with one label more.
	Host string
	// Registry is what the name stands for. Empty with *.domain: the label says it,
	// as the name of a served registry with - for . and :.
	Registry string
}

// ofHost returns the registry that a Host header stands for, "" when it stands for
// none: one that is mapped, or the own name of a registry that is served (clients
// whose DNS leads there come to the gate in its place). A name below a wildcard
// whose label is no registry is an error: taking it for the gate's own would answer
// with images of the default registry.
func (n Names) ofHost(host string) (string, error) {
	host = plainName(host)
	bare := bareHost(host)
	if bare == canaryRegistry {
		return canaryRegistry, nil
	}
	for _, h := range n.Hosts {
		if h.Host == host || h.Host == bare {
			return h.Registry, nil
		}
	}
	bare = withoutPort(bare)
	for _, h := range n.Hosts {
		if h.Host == bare {
			return h.Registry, nil
		}
	}
	for _, h := range n.Hosts {
		domain, wild := strings.CutPrefix(h.Host, "*")
		label, below := strings.CutSuffix(bare, domain)
		if !wild || !below || label == "" || strings.Contains(label, ".") {
			continue
		}
		if h.Registry != "" {
			return h.Registry, nil
		}
		if r := n.ofLabel(label); r != "" {
			return r, nil
		}
		return "", errNoSuchHost(bare, h.Host)
	}
	return n.listed(host), nil
}

// ofLabel returns the served registry that a label of a host name stands for.
func (n Names) ofLabel(label string) string {
	for _, r := range n.Registries {
		if strings.NewReplacer(".", "-", ":", "-").Replace(r.Name) == label {
			return r.Name
		}
	}
	return ""
}

// plainName writes a host[:port] in lower case and without the dot that ends a
// name's path to the root (RFC 1034, section 3.1): it is the same name.
func plainName(host string) string {
	name, port, has := strings.Cut(strings.ToLower(host), ":")
	if strings.HasPrefix(name, "[") || strings.Contains(port, ":") {
		return strings.ToLower(host) // an IPv6 address
	}
	if name = strings.TrimSuffix(name, "."); has {
		return name + ":" + port
	}
	return name
}

// withoutPort is the name in host[:port].
func withoutPort(host string) string {
	name, _, _ := strings.Cut(host, ":")
	return name
}

// bareHost is a host without the ports that http and https imply.
func bareHost(host string) string {
	return strings.TrimSuffix(strings.TrimSuffix(host, ":443"), ":80")
}

// place finds the registry that a request's way in stands for: the intercepted
// host, else the Host, else the name in the TLS handshake, else the listener.
func (n Names) place(r *http.Request, e Entry) (string, error) {
	if e.Only {
		return e.Registry, nil
	}
	byHost, err := n.ofHost(r.Host)
	if err != nil {
		return "", err
	}
	if r.TLS != nil && r.TLS.ServerName != "" {
		bySNI, err := n.ofHost(r.TLS.ServerName)
		if err != nil {
			return "", err
		}
		if byHost != "" && bySNI != "" && byHost != bySNI {
			return "", errMisdirected(r.TLS.ServerName, r.Host)
		}
		if byHost == "" {
			byHost = bySNI
		}
	}
	if byHost == "" {
		byHost = e.Registry
	}
	return byHost, nil
}
