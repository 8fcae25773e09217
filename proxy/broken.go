package proxy

import (
	"fmt"
	"sync"
	"time"

	"github.com/distribution/reference"

	"github.com/pullgate/pullgate/proxy/upstream"
)

// Bounds of the memory of blobs that broke off.
const (
	brokenFor = 3 * time.Minute // longer than dockerd tries again
	maxBroken = 1024
)

// broken remembers blobs that broke off after their first bytes were sent, where
// nothing could be said but the end of the connection. dockerd tries again, and then
// asks the registry that is mirrored: on that route its next try is told to stop.
type broken struct {
	mu    sync.Mutex
	until map[string]time.Time
}

func (b *broken) add(ref reference.Canonical) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.until == nil {
		b.until = map[string]time.Time{}
	}
	now := time.Now()
	for k, until := range b.until {
		if len(b.until) < maxBroken && now.Before(until) {
			continue
		}
		delete(b.until, k)
	}
	b.until[ref.String()] = now.Add(brokenFor)
}

func (b *broken) has(ref reference.Canonical) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Now().Before(b.until[ref.String()])
}

func errBroken(ref reference.Canonical) error {
	return &upstream.Error{Kind: upstream.Unavailable, Registry: reference.Domain(ref), Op: "blob " + ref.Digest().String(),
		Err: fmt.Errorf("the upstream sent it wrong or broke off less than %s ago", brokenFor)}
}
