package intercept

import (
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
)

// slots bounds how many connections are terminated or tunnelled at a time, in all
// and for each client, and knows them all, so that they can be ended.
type slots struct {
	most, perClient int

	mu      sync.Mutex
	refused bool // no new ones
	closed  bool // and those that there are end
	used    map[*slot]struct{}
	clients map[netip.Prefix]int
	wg      sync.WaitGroup
}

// slot is one connection's place, from before it is taken over until it is closed.
type slot struct {
	all    *slots
	client netip.Prefix
	conns  []net.Conn // guarded by all.mu
	once   sync.Once
}

func newSlots(most, perClient int) *slots {
	return &slots{most: most, perClient: perClient, used: map[*slot]struct{}{}, clients: map[netip.Prefix]int{}}
}

// clientKey is what counts as one client: an IPv4 address, or the /64 that a
// single IPv6 machine chooses its addresses from.
func clientKey(a netip.Addr) netip.Prefix {
	bits := 64
	if a = a.Unmap(); a.Is4() {
		bits = 32
	}
	p, _ := a.WithZone("").Prefix(bits) // no address at all: one key for all of those
	return p
}

// acquire takes a slot or says why there is none.
func (s *slots) acquire(client netip.Addr) (*slot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := clientKey(client)
	switch {
	case s.refused:
		return nil, refusef(http.StatusServiceUnavailable, "the gate is shutting down", "ask again when it is back")
	case len(s.used) >= s.most:
		return nil, refusef(http.StatusServiceUnavailable,
			"all of the "+strconv.Itoa(s.most)+" connections that this proxy keeps are in use", "ask again when some have ended")
	case s.clients[key] >= s.perClient:
		return nil, refusef(http.StatusServiceUnavailable,
			"this client has all of the "+strconv.Itoa(s.perClient)+" connections that one may have", "ask again when some have ended")
	}
	out := &slot{all: s, client: key}
	s.used[out] = struct{}{}
	s.clients[key]++
	s.wg.Add(1)
	return out, nil
}

// hold ties a connection to the slot: it ends with the handler. It is closed at
// once and hold returns false when the handler has ended already.
func (s *slot) hold(c net.Conn) bool {
	s.all.mu.Lock()
	closed := s.all.closed
	if !closed {
		s.conns = append(s.conns, c)
	}
	s.all.mu.Unlock()
	if closed {
		c.Close()
	}
	return !closed
}

// release gives the slot back; only the first call counts.
func (s *slot) release() {
	s.once.Do(func() {
		s.all.mu.Lock()
		defer s.all.mu.Unlock()
		delete(s.all.used, s)
		if s.all.clients[s.client]--; s.all.clients[s.client] == 0 {
			delete(s.all.clients, s.client)
		}
		s.all.wg.Done()
	})
}

// refuse lets no new connections in.
func (s *slots) refuse() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = true
}

// close ends all connections.
func (s *slots) close() {
	s.mu.Lock()
	s.refused, s.closed = true, true
	var all []net.Conn
	for u := range s.used {
		all = append(all, u.conns...)
	}
	s.mu.Unlock()
	for _, c := range all { // closing one may release its slot
		c.Close()
	}
}

// wait waits until the last slot is given back.
func (s *slots) wait() { s.wg.Wait() }

// idle is closed when the last slot is given back.
func (s *slots) idle() <-chan struct{} {
	done := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(done)
	}()
	return done
}
