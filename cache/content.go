package cache

import (
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/opencontainers/go-digest"
)

// Content keeps values made of bytes whose digest the caller has checked, by
// repository and digest, within a bound on the sum of their sizes. Values handed
// out are shared: nobody may change them.
//
// The repository is part of the key because a repository must never answer for
// what only another one holds.
type Content[V any] struct {
	mu    sync.Mutex
	max   int64
	bytes int64
	size  func(V) int64
	lru   *simplelru.LRU[node, V]
}

// NewContent keeps values whose sizes, in bytes, add up to at most maxBytes.
func NewContent[V any](maxBytes int64, size func(V) int64) (*Content[V], error) {
	if maxBytes <= 0 || size == nil {
		return nil, fmt.Errorf("content cache of %d bytes: expected more than 0, and a way to measure values", maxBytes)
	}
	c := &Content[V]{max: maxBytes, size: size}
	l, err := simplelru.NewLRU(math.MaxInt32, func(_ node, v V) { c.bytes -= c.cost(v) })
	if err != nil {
		return nil, err
	}
	c.lru = l
	return c, nil
}

// Get returns the value, or false.
func (c *Content[V]) Get(repo string, d digest.Digest) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lru.Get(node{repo, d})
}

// Put keeps v, dropping what was used longest ago to make room. What is larger
// than a quarter of the bound is not kept.
func (c *Content[V]) Put(repo string, d digest.Digest, v V) {
	if c.cost(v) > c.max/4 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	k := node{repo, d}
	c.lru.Remove(k)
	c.lru.Add(k, v)
	c.bytes += c.cost(v)
	for c.bytes > c.max {
		c.lru.RemoveOldest()
	}
}

// cost counts the value and what keeping an entry takes besides it.
func (c *Content[V]) cost(v V) int64 { return c.size(v) + 256 }

// Tags remembers which digest a tag had, for a while.
type Tags struct {
	cache *expiring[tag, digest.Digest]
	ttl   time.Duration
}

type tag struct{ repo, name string }

// NewTags keeps at most size tags, each fresh for ttl. A ttl of 0 keeps none
// fresh.
func NewTags(size int, ttl time.Duration, now func() time.Time) (*Tags, error) {
	c, err := newExpiring[tag, digest.Digest](size, now)
	if err != nil {
		return nil, fmt.Errorf("tag cache of size %d: %w", size, err)
	}
	return &Tags{cache: c, ttl: ttl}, nil
}

// Get returns the digest that the tag had when it was last asked for, and
// whether that is recent enough to rely on.
func (t *Tags) Get(repo, name string) (d digest.Digest, fresh bool) {
	d, _, fresh = t.cache.get(tag{repo, name})
	return d, fresh
}

// Put records the digest that the upstream has just given for the tag.
func (t *Tags) Put(repo, name string, d digest.Digest) {
	t.cache.put(tag{repo, name}, d, t.cache.now().Add(t.ttl))
}
