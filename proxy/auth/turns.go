package auth

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// maxTurns bounds how many passwords one address (IPv6: one /64) may have waiting to
// be checked. Whoever floods the gate with wrong ones waits for itself.
const maxTurns = 4

// turns hands out the turns of checking a password. bcrypt is expensive on purpose:
// without a bound, wrong passwords alone would keep the machine busy.
type turns struct {
	slots  chan struct{} // one for each password that is checked at a time
	flight singleflight.Group

	mu      sync.Mutex
	waiting map[netip.Prefix]int
}

func newTurns(most int) *turns {
	return &turns{slots: make(chan struct{}, max(1, most)), waiting: map[netip.Prefix]int{}}
}

// take waits for a turn of a client and returns what gives it back, or errBusy.
func (t *turns) take(ctx context.Context, client netip.Addr, patience time.Duration) (giveBack func(), err error) {
	from := block(client)
	if !t.join(from) {
		return nil, errBusy
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case t.slots <- struct{}{}:
		return func() { <-t.slots; t.leave(from) }, nil
	case <-timer.C:
	case <-ctx.Done():
	}
	t.leave(from)
	return nil, errBusy
}

func (t *turns) join(from netip.Prefix) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waiting[from] >= maxTurns {
		return false
	}
	t.waiting[from]++
	return true
}

func (t *turns) leave(from netip.Prefix) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waiting[from]--; t.waiting[from] == 0 {
		delete(t.waiting, from)
	}
}

// block is what counts as one client: an IPv4 address, an IPv6 /64.
func block(a netip.Addr) netip.Prefix {
	bits := 32
	if a = a.Unmap(); a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // those whose address cannot be told are one
	}
	return p
}
