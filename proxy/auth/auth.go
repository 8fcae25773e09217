// Package auth finds out who a client of the gate is and what it may pull.
//
// Clients are known by a verified TLS certificate, by name and password (an
// htpasswd file), by a bearer token that the gate issued for one of these, or by
// their address. Rules say which of them may pull from which repositories.
//
// It promises: once anything is configured, whoever is not known gets nothing; a
// certificate counts only when TLS has verified it, an X-Forwarded-For header only
// when a listed proxy sent it, a token only for the repositories it names, and only
// while its user exists with the same password. The work of checking passwords is
// bounded, and takes as long for users that do not exist as for those that do.
//
// It never issues a token for anything but pulling, never takes the answer "could
// not tell" for a yes, and never writes a password, token or hash into a log line,
// a message or an error.
package auth

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Authority knows who may pull what. Its zero value refuses everybody. Methods may
// be called from several goroutines.
type Authority struct {
	off      bool // nothing is configured: everybody may pull
	opts     Options
	rules    []rule
	turns    *turns
	patience time.Duration // how long a check waits for its turn

	reloading sync.Mutex
	state     atomic.Pointer[state]
}

// state is what was read from files.
type state struct {
	users *passwords // nil without a password file
	key   *signer    // nil without tokens
}

// patience is how long a password waits to be checked when others are before it.
const patience = 3 * time.Second

// New checks the options and reads the files they name. The key file of tokens is
// made when it is absent.
func New(o Options) (*Authority, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	identifies := o.HtpasswdFile != "" || o.Certificates || len(o.TrustedNetworks) > 0
	a := &Authority{off: !identifies && !o.Token.Enabled && len(o.Rules) == 0, turns: newTurns(runtime.GOMAXPROCS(0) / 2), patience: patience}
	if !a.off && !identifies {
		return nil, errors.New("rules and tokens need a way to know clients: expected an htpasswd file, client certificates or trusted networks besides")
	}
	if err := errors.Join(checkPrefixes("trusted_networks", o.TrustedNetworks), checkPrefixes("trusted_proxies", o.TrustedProxies), checkProxies(o.TrustedProxies), o.checkToken()); err != nil {
		return nil, err
	}
	rules, err := compile(o)
	if err != nil {
		return nil, err
	}
	o.TrustedNetworks, o.TrustedProxies = slices.Clone(o.TrustedNetworks), slices.Clone(o.TrustedProxies)
	a.opts, a.rules = o, rules
	if o.Token.Enabled {
		if err := makeKey(o.Token.KeyFile); err != nil {
			return nil, err
		}
	}
	if err := a.Reload(); err != nil {
		return nil, err
	}
	return a, nil
}

// Enabled says whether anything is configured. When not, everybody may pull.
// Trusted proxies alone do not count: they say how addresses are read, not who may
// pull.
func (a *Authority) Enabled() bool { return a == nil || !a.off }

// Files returns the files that Reload reads.
func (a *Authority) Files() []string {
	var files []string
	if a.opts.HtpasswdFile != "" {
		files = append(files, a.opts.HtpasswdFile)
	}
	if a.opts.Token.Enabled {
		files = append(files, a.opts.Token.KeyFile)
	}
	return files
}

// Reload reads the files again. When one of them is bad, all of the last good state
// stays in force and the error says what is wrong. Passwords that were found right
// before are checked anew.
func (a *Authority) Reload() error {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	var s state
	var err error
	if a.opts.HtpasswdFile != "" {
		if s.users, err = loadPasswords(a.opts.HtpasswdFile, a.opts.Logger); err != nil {
			return err
		}
	}
	if a.opts.Token.Enabled {
		if s.key, err = loadSigner(a.opts.Token.KeyFile, a.opts.Token.Service, a.opts.Now); err != nil {
			return err
		}
	}
	a.state.Store(&s)
	return nil
}

// current returns the state in force; a zero Authority has an empty one.
func (a *Authority) current() *state {
	if a == nil || a.state.Load() == nil {
		return &state{}
	}
	return a.state.Load()
}

// checkPrefixes refuses prefixes that would match nothing.
func checkPrefixes(what string, prefixes []netip.Prefix) error {
	for _, p := range prefixes {
		switch {
		case !p.IsValid():
			return fmt.Errorf("%s: %s is not a network: expected an address and a length, as in 10.0.0.0/8", what, p)
		case p.Addr().Is4In6():
			return fmt.Errorf("%s: %s is an IPv4 network written as IPv6: expected it in IPv4 notation, as in 10.0.0.0/8", what, p)
		}
	}
	return nil
}

// checkProxies refuses to believe everybody about X-Forwarded-For: then every
// client could choose its address.
func checkProxies(prefixes []netip.Prefix) error {
	for _, p := range prefixes {
		if p.Bits() == 0 {
			return fmt.Errorf("trusted_proxies: %s lets every client claim any address: expected the addresses of the proxies in front of the gate", p)
		}
	}
	return nil
}

// randomKey returns a key that only this process knows.
func randomKey() []byte {
	key := make([]byte, 32)
	rand.Read(key) // never returns an error
	return key
}
