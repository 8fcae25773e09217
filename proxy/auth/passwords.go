package auth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// What a password check can end with, besides a yes.
var (
	errWrong = errors.New("user name or password is wrong")
	errBusy  = errors.New("too many passwords are being checked: try again in a moment")
)

// passwords are the users of one state of the htpasswd file. What was found right is
// remembered with them, so it is forgotten when the file is read again.
type passwords struct {
	hashes map[string]string
	names  []string // sorted
	key    []byte   // of keyed hashes, never leaves the process

	mu       sync.Mutex
	verified map[[sha256.Size]byte]time.Time // until when
}

// Right passwords are remembered, so that a pull of many layers costs one check.
const (
	rememberFor = time.Minute
	maxVerified = 10_000
)

func newPasswords(hashes map[string]string) *passwords {
	return &passwords{hashes: hashes, names: slices.Sorted(maps.Keys(hashes)), key: randomKey(), verified: map[[sha256.Size]byte]time.Time{}}
}

// checkPassword returns nil when the user has this password, errWrong when not, and
// errBusy when it could not be checked in time.
func (a *Authority) checkPassword(ctx context.Context, p *passwords, client netip.Addr, user, password string) error {
	if checkCredentials(user, password) != nil {
		return errWrong
	}
	key := p.keyed(user, password)
	if p.remembers(key, a.opts.Now()) {
		return nil
	}
	// Many requests of one pull come with the same password at once: one check is
	// for all of them, and goes on when the client that came first goes away.
	done := a.turns.flight.DoChan(string(key[:]), func() (any, error) {
		giveBack, err := a.turns.take(context.WithoutCancel(ctx), client, a.patience)
		if err != nil {
			return nil, err
		}
		defer giveBack()
		return nil, a.compare(p, key, user, password)
	})
	select {
	case r := <-done:
		return r.Err
	case <-ctx.Done():
		return errBusy
	}
}

// compare is the expensive part of checkPassword.
func (a *Authority) compare(p *passwords, key [sha256.Size]byte, user, password string) error {
	if p.remembers(key, a.opts.Now()) { // somebody else checked it meanwhile
		return nil
	}
	hash, known := p.hashes[user]
	if !known {
		hash = p.standIn(user)
	}
	err := bcrypt.CompareHashAndPassword([]byte(hash), []byte(password))
	if err != nil || !known {
		return errWrong
	}
	p.remember(key, a.opts.Now())
	return nil
}

// standIn returns the hash that a password of an unknown user is compared with, so
// that it takes as long as for a known one: that of a user chosen by the name, as
// costs may differ between users.
func (p *passwords) standIn(user string) string {
	sum := p.keyed(user, "")
	return p.hashes[p.names[binary.BigEndian.Uint64(sum[:8])%uint64(len(p.names))]]
}

func (p *passwords) keyed(user, password string) [sha256.Size]byte {
	mac := hmac.New(sha256.New, p.key)
	mac.Write(binary.BigEndian.AppendUint32(nil, uint32(len(user))))
	mac.Write([]byte(user))
	mac.Write([]byte(password))
	return [sha256.Size]byte(mac.Sum(nil))
}

func (p *passwords) remembers(key [sha256.Size]byte, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	until, ok := p.verified[key]
	return ok && now.Before(until)
}

func (p *passwords) remember(key [sha256.Size]byte, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.verified) >= maxVerified {
		maps.DeleteFunc(p.verified, func(_ [sha256.Size]byte, until time.Time) bool { return !now.Before(until) })
	}
	if len(p.verified) >= maxVerified {
		clear(p.verified)
	}
	p.verified[key] = now.Add(rememberFor)
}
