package proxy

import (
	"context"
	"sync"
)

// Bounds of what is fetched and held in memory at a time.
const (
	maxFetches         = 256 // manifests and small blobs, each of at most 4 MiB
	maxFetchesRegistry = 48  // of them from one listed registry
	maxFetchesOthers   = 64  // of them from all registries that are not listed
)

// slots bounds how much is fetched into memory at a time, and how much of that from
// one registry: one that is slow or hostile must not keep the gate from the others.
type slots struct {
	all    chan struct{}
	listed func(registry string) bool

	mu   sync.Mutex
	of   map[string]chan struct{} // listed registries
	rest chan struct{}
}

func newSlots(listed func(registry string) bool) *slots {
	return &slots{all: make(chan struct{}, maxFetches), listed: listed, of: map[string]chan struct{}{}, rest: make(chan struct{}, maxFetchesOthers)}
}

// take waits for a slot, the registry's own first, and returns what gives it back.
func (s *slots) take(ctx context.Context, registry string) (giveBack func(), err error) {
	own := s.pool(registry)
	if err := enter(ctx, own); err != nil {
		return nil, err
	}
	if err := enter(ctx, s.all); err != nil {
		<-own
		return nil, err
	}
	return func() { <-s.all; <-own }, nil
}

func enter(ctx context.Context, pool chan struct{}) error {
	select {
	case pool <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *slots) pool(registry string) chan struct{} {
	if !s.listed(registry) {
		return s.rest
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.of[registry]
	if p == nil {
		p = make(chan struct{}, maxFetchesRegistry)
		s.of[registry] = p
	}
	return p
}

// turns lets one at a time do what has the same key: the second finds in memory what
// the first has fetched.
type turns struct {
	mu  sync.Mutex
	now map[string]*turn
}

type turn struct {
	busy    chan struct{} // one place
	waiting int
}

// take waits for the turn and returns what gives it back.
func (t *turns) take(ctx context.Context, key string) (giveBack func(), err error) {
	t.mu.Lock()
	if t.now == nil {
		t.now = map[string]*turn{}
	}
	one := t.now[key]
	if one == nil {
		one = &turn{busy: make(chan struct{}, 1)}
		t.now[key] = one
	}
	one.waiting++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if one.waiting--; one.waiting == 0 {
			delete(t.now, key)
		}
	}
	if err := enter(ctx, one.busy); err != nil {
		leave()
		return nil, err
	}
	return func() { <-one.busy; leave() }, nil
}
