// Package auth finds out who a client is and what it may pull.
package auth

import (
	"errors"
	"net/http"
	"net/netip"

	"github.com/distribution/reference"
)

// Authority knows who may pull what. Its zero value refuses everybody.
type Authority struct{ off bool }

var errUnfinished = errors.New("not there yet")

// New checks the options and reads the files they name.
func New(Options) (*Authority, error) { return nil, errUnfinished }

// Enabled says whether anything is configured; when not, everybody may pull.
func (a *Authority) Enabled() bool { return a == nil || !a.off }

// Client returns the address of the client.
func (a *Authority) Client(r *http.Request) netip.Addr { return netip.Addr{} }

// Identify returns who sent a request. Its errors are *Refusal.
func (a *Authority) Identify(r *http.Request, p Place) (Identity, error) {
	return Identity{}, errUnfinished
}

// IdentifyProxy returns who sent a request to the proxy listener. Its errors are *Refusal.
func (a *Authority) IdentifyProxy(r *http.Request) (Identity, error) {
	return Identity{}, errUnfinished
}

// May returns nil when the identity may pull from the repository, else a *Refusal.
func (a *Authority) May(id Identity, repo reference.Named) error { return errUnfinished }

// ServeToken is the token endpoint: GET and POST of /token and /token/<registry>.
func (a *Authority) ServeToken(w http.ResponseWriter, r *http.Request) {
	http.Error(w, errUnfinished.Error(), http.StatusServiceUnavailable)
}

// Files returns the files that Reload reads.
func (a *Authority) Files() []string { return nil }

// Reload reads the files again and keeps the last good state when one is bad.
func (a *Authority) Reload() error { return errUnfinished }
