package upstream

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"sync"
)

// maxSites bounds how many signature servers are kept open.
const maxSites = 64

// SignatureServers is the name of all signature servers together towards
// [Options].Observe.
const SignatureServers = "signatures"

// Web fetches files from signature servers (containers-registries.d(5),
// "lookaside"). It never sends credentials other than those that the operator
// wrote into the URL itself, and those to that URL's host alone. Use [NewWeb].
type Web struct {
	opt   *Options
	fault error // in the options
	mu    sync.Mutex
	sites map[string]*remote
}

// NewWeb returns a Web with the options' certificates, limits and observer
// ("signatures" is the registry's name there); registries and credentials mean
// nothing to it. Limits that make no sense are an error of every Get.
func NewWeb(o Options) *Web {
	err := o.setDefaults()
	return &Web{opt: &o, fault: err, sites: map[string]*remote{}}
}

// Get fetches one file. rawURL is the operator's: its host may be anywhere,
// redirects are held to the class of address of that host. A 404 matches
// [io/fs.ErrNotExist]; everything but a 200 is an error.
// What kind of file it is said to be is not looked at: only its bytes tell.
// The body ends with an error when it stalls or takes longer than the body
// timeout; its size is the caller's to limit. Errors are of type [*Error], with
// the host in place of the registry.
func (w *Web) Get(ctx context.Context, rawURL string) (io.ReadCloser, error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return nil, unexpected("signature server", "get", "expected an http or https URL")
	}
	if w.fault != nil {
		return nil, &Error{Registry: u.Host, Op: "get " + u.Path, Err: w.fault}
	}
	site, err := w.site(u)
	if err != nil {
		return nil, &Error{Registry: u.Host, Op: "get " + u.Path, Err: err}
	}
	// TLS handshakes and redirects have their own limits; this one is on the whole.
	ctx, cancel := context.WithTimeoutCause(ctx, w.opt.HeaderTimeout+w.opt.BodyTimeout, errSlowBody)
	body, err := site.file(ctx, u)
	if err != nil {
		cancel()
		return nil, err
	}
	return &closer{ReadCloser: body, also: cancel}, nil
}

// site returns the connections to the URL's host.
func (w *Web) site(u *url.URL) (*remote, error) {
	key := u.Scheme + "://" + hostPort(u)
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.sites[key]; s != nil {
		return s, nil
	}
	s, err := newRemote(w.opt, u.Host, SignatureServers, key, false)
	if err != nil {
		return nil, err
	}
	for old, o := range w.sites {
		if len(w.sites) < maxSites {
			break
		}
		o.close()
		delete(w.sites, old)
	}
	w.sites[key] = s
	return s, nil
}

// file opens the file at u, which is on this site.
func (r *remote) file(ctx context.Context, u *url.URL) (io.ReadCloser, error) {
	a, err := r.do(ctx, call{kind: "file", op: "get " + u.Path, method: http.MethodGet, url: u, accept: "*/*"})
	if err != nil {
		return nil, err
	}
	return a.stream().Body, nil
}

// Close closes connections that nobody uses.
func (w *Web) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.sites {
		s.close()
	}
}

// closer also releases what belongs to a body.
type closer struct {
	io.ReadCloser
	also context.CancelFunc
}

// Close closes the body.
func (c *closer) Close() error {
	err := c.ReadCloser.Close()
	c.also()
	return err
}
