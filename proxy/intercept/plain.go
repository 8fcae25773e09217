package intercept

import (
	"net/http"
	"net/url"
	"strings"
)

// httpPort is the port that http implies.
const httpPort = 80

// plain answers a request with an absolute URL (RFC 9112, section 3.2.2), which is
// how clients ask a proxy for plain HTTP: only for registries whose own endpoint
// is plain HTTP. A Host header beside the URL means nothing and is dropped by
// net/http, as that section demands.
func (h *Handler) plain(x *exchange) error {
	t, path, err := splitURL(x.r)
	if err != nil {
		return err
	}
	x.record.Reference = t.String()
	registry, served := h.opts.Registry(t.authority(httpPort))
	if !served || !h.opts.PlainHTTP(registry) {
		return refusef(http.StatusForbidden, "plain HTTP to "+t.String()+" does not pass: it is not a registry with an http endpoint that this gate serves",
			"HTTPS by CONNECT; or its operator can list the registry under upstreams with an http endpoint")
	}
	u, err := url.ParseRequestURI(path)
	if err != nil {
		return refusef(http.StatusBadRequest, "the path of the URL cannot be read", "a path as registries have them")
	}
	api := h.opts.Serve(registry, x.id)
	if api == nil {
		return refusef(http.StatusServiceUnavailable, "nothing serves "+registry, "ask again later")
	}
	r := x.r.Clone(x.r.Context())
	r.URL, r.RequestURI, r.Host = u, path, t.authority(httpPort)
	dropProxyHeaders(r.Header)
	endAfterBody(x.w, r)
	api.ServeHTTP(x.w, r)
	return nil
}

// splitURL takes an absolute http URL apart as it was spelt.
func splitURL(r *http.Request) (target, string, error) {
	rest, ok := strings.CutPrefix(r.RequestURI, "http://")
	if !ok {
		return target{}, "", refusef(http.StatusForbidden, "expected a URL that starts with http://, found "+quote(r.URL.Scheme), "HTTPS by CONNECT")
	}
	slash := strings.IndexByte(rest, '/')
	if slash < 0 {
		slash = len(rest)
	}
	t, err := parseAuthority(rest[:slash], httpPort)
	if err != nil {
		return target{}, "", refusef(http.StatusBadRequest, "the URL: "+err.Error(), "http://host[:port]/path")
	}
	if slash == len(rest) {
		return target{}, "", refusef(http.StatusBadRequest, "the URL has no path", "http://host[:port]/path")
	}
	return t, rest[slash:], nil
}
