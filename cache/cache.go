// Package cache keeps what the gate has learned: verdicts, which manifest lists
// what, which digest a tag had, and small content by digest.
//
// Everything here is bounded, lives in memory and may be forgotten at any time:
// a miss costs a question upstream, never a wrong answer. Nothing is kept past
// its expiry, an inconclusive judgement is never kept at all, and facts of one
// repository never answer for another.
package cache

import (
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// expiring is an LRU whose entries carry their own end. It stores the expiry
// with the value instead of sweeping in the background, so that it owns no
// goroutine.
type expiring[K comparable, V any] struct {
	lru *lru.Cache[K, entry[V]]
	now func() time.Time
}

type entry[V any] struct {
	value   V
	expires time.Time
}

func newExpiring[K comparable, V any](size int, now func() time.Time) (*expiring[K, V], error) {
	c, err := lru.New[K, entry[V]](size)
	if err != nil {
		return nil, err
	}
	if now == nil {
		now = time.Now
	}
	return &expiring[K, V]{lru: c, now: now}, nil
}

// get returns the value, its end, and whether it is still within its time. An
// expired value is returned with fresh false.
func (c *expiring[K, V]) get(k K) (v V, expires time.Time, fresh bool) {
	e, ok := c.lru.Get(k)
	return e.value, e.expires, ok && c.now().Before(e.expires)
}

func (c *expiring[K, V]) put(k K, v V, expires time.Time) {
	c.lru.Add(k, entry[V]{v, expires})
}
