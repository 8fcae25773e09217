package auth

import (
	"errors"
	"net/http"
	"net/netip"
)

// Identify returns who sent a request: by the client's certificate, else by the
// Authorization header when there is one, else by address. Credentials that are
// wrong are refused even where the address alone would do. Errors are *Refusal.
func (a *Authority) Identify(r *http.Request, p Place) (Identity, error) {
	if !a.Enabled() {
		return Identity{Kind: Anonymous, Addr: a.Client(r)}, nil
	}
	addr := a.address(r)
	if id, ok := a.byCertificate(r, addr); ok {
		return id, nil
	}
	header := r.Header.Values("Authorization")
	if len(header) > 0 && !p.IgnoreAuthorization && a.takesCredentials() {
		return a.byAuthorization(r, p, header, addr)
	}
	if id, ok := a.byNetwork(addr); ok {
		return id, nil
	}
	text := notKnown(addr)
	if a.takesCredentials() && !p.NoChallenge && !p.IgnoreAuthorization {
		text += "; log in with a user name and password"
	}
	return Identity{}, a.ask(r, p, "", text)
}

// IdentifyProxy returns who sent a request to the proxy listener: by the client's
// certificate, else by Proxy-Authorization (Basic) when there is one, else by
// address. Errors are *Refusal, with 407 where a password would help.
func (a *Authority) IdentifyProxy(r *http.Request) (Identity, error) {
	if !a.Enabled() {
		return Identity{Kind: Anonymous, Addr: a.Client(r)}, nil
	}
	addr := a.address(r)
	if id, ok := a.byCertificate(r, addr); ok {
		return id, nil
	}
	users := a.current().users
	if header := r.Header.Values("Proxy-Authorization"); len(header) > 0 && users != nil {
		c, err := parseAuthorization(header)
		switch {
		case err != nil:
			return Identity{}, askProxy(err.Error())
		case c.bearer != "":
			return Identity{}, askProxy("a proxy is asked with a password: expected Basic")
		}
		switch err := a.checkPassword(r.Context(), users, a.Client(r), c.user, c.password); {
		case errors.Is(err, errBusy):
			return Identity{}, busy()
		case err != nil:
			return Identity{}, askProxy(err.Error())
		}
		return Identity{Kind: User, Name: c.user, Addr: addr}, nil
	}
	if id, ok := a.byNetwork(addr); ok {
		return id, nil
	}
	if users == nil {
		return Identity{}, &Refusal{Status: http.StatusForbidden, Message: notKnown(addr)}
	}
	return Identity{}, askProxy(notKnown(addr))
}

// address returns the client's address for decisions: the zero Addr, which is in no
// network, when it cannot be told.
func (a *Authority) address(r *http.Request) netip.Addr {
	addr, ok := a.forwarded(r)
	if !ok {
		return netip.Addr{}
	}
	return addr
}

// takesCredentials tells whether an Authorization header can mean anything here.
func (a *Authority) takesCredentials() bool {
	s := a.current()
	return s.users != nil || s.key != nil
}

func (a *Authority) byCertificate(r *http.Request, addr netip.Addr) (Identity, bool) {
	if a == nil || !a.opts.Certificates {
		return Identity{}, false
	}
	names := certificateNames(r)
	if len(names) == 0 {
		return Identity{}, false
	}
	return Identity{Kind: Certificate, Name: names[0], Names: names, Addr: addr}, true
}

func (a *Authority) byNetwork(addr netip.Addr) (Identity, bool) {
	if a == nil || !within(a.opts.TrustedNetworks, addr) {
		return Identity{}, false
	}
	return Identity{Kind: Network, Addr: addr}, true
}

// byAuthorization identifies by the header alone: it never falls back to what the
// client would be without.
func (a *Authority) byAuthorization(r *http.Request, p Place, header []string, addr netip.Addr) (Identity, error) {
	c, err := parseAuthorization(header)
	if err != nil {
		return Identity{}, a.ask(r, p, "", err.Error())
	}
	s := a.current()
	if c.bearer != "" {
		return a.byToken(r, p, s, c.bearer, addr)
	}
	if s.users == nil {
		return Identity{}, a.ask(r, p, "", "this gate knows no passwords")
	}
	switch err := a.checkPassword(r.Context(), s.users, a.Client(r), c.user, c.password); {
	case errors.Is(err, errBusy):
		return Identity{}, busy()
	case err != nil:
		return Identity{}, a.ask(r, p, "", err.Error())
	}
	return Identity{Kind: User, Name: c.user, Addr: addr}, nil
}

// byToken identifies by a token. A token adds nothing to what its holder is: the
// user must still have the password, the address must still be in a trusted
// network, and a certificate must be shown itself.
func (a *Authority) byToken(r *http.Request, p Place, s *state, token string, addr netip.Addr) (Identity, error) {
	if s.key == nil {
		return Identity{}, a.ask(r, p, "", "this gate issues no tokens: expected a password")
	}
	c, err := s.key.read(token, useAccess)
	if err != nil {
		return Identity{}, a.ask(r, p, "invalid_token", err.Error())
	}
	id := Identity{Kind: c.Kind, Addr: addr, bearer: true, access: c.repositories()}
	switch {
	case s.holds(c):
		id.Name = c.Subject
	case c.Kind == Network && within(a.opts.TrustedNetworks, addr):
	case c.Kind == Certificate:
		return Identity{}, a.ask(r, p, "invalid_token", "the token was issued for a client certificate, and none is shown")
	case c.Kind == Network:
		return Identity{}, a.ask(r, p, "invalid_token", "the token was issued for a trusted network, and the client is in none")
	default:
		return Identity{}, a.ask(r, p, "invalid_token", errToken.Error())
	}
	more, err := a.challenge(r, p, "insufficient_scope")
	if err != nil {
		return Identity{}, err
	}
	id.challenge = more
	return id, nil
}

// notKnown is the message to a client that shows nothing and is in no network.
func notKnown(addr netip.Addr) string {
	if !addr.IsValid() {
		return "this gate only serves clients that it knows, and cannot tell the address of this one"
	}
	return "this gate only serves clients that it knows, and " + plain(addr.String()) + " is in no trusted network"
}

func busy() *Refusal {
	return &Refusal{Status: http.StatusServiceUnavailable, Message: errBusy.Error()}
}

// ask refuses with a challenge, where there is one that the client can meet.
func (a *Authority) ask(r *http.Request, p Place, code, message string) error {
	c, err := a.challenge(r, p, code)
	switch {
	case err != nil:
		return err
	case c == "":
		return &Refusal{Status: http.StatusForbidden, Message: message}
	}
	return &Refusal{Status: http.StatusUnauthorized, Challenge: c, Message: message}
}

func askProxy(message string) *Refusal {
	return &Refusal{Status: http.StatusProxyAuthRequired, Challenge: basicChallenge, Message: message}
}
