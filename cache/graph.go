package cache

import (
	"fmt"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/opencontainers/go-digest"
)

// perNode bounds how many facts of one kind are kept about one digest; the
// newest win. A digest that more indexes, tags or manifests point at is still
// answered for by the newest ones.
const perNode = 64

// Graph remembers facts about manifests, never decisions: index I in R lists D;
// manifest M in R lists blob B; R was asked for as T and T was D. Whoever uses a
// fact asks for the verdict anew.
//
// Safe for concurrent use. Facts are kept apart by repository.
type Graph struct {
	mu    sync.Mutex
	nodes *simplelru.LRU[node, *facts]
}

type node struct {
	repo   string
	digest digest.Digest
}

type facts struct {
	manifest bool            // has been seen as a manifest
	parents  []digest.Digest // indexes that list it
	holders  []digest.Digest // manifests that list it as a blob
	roots    []string        // references it was asked for as, ":tag" or "@digest"
	subject  digest.Digest   // it is evidence about this manifest
}

// NewGraph keeps facts about at most size digests.
func NewGraph(size int) (*Graph, error) {
	c, err := simplelru.NewLRU[node, *facts](size, nil)
	if err != nil {
		return nil, fmt.Errorf("graph of size %d: %w", size, err)
	}
	return &Graph{nodes: c}, nil
}

// Manifest records that d is a manifest in repo that lists these children and
// blobs.
func (g *Graph) Manifest(repo string, d digest.Digest, children, blobs []digest.Digest) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.at(repo, d).manifest = true
	for _, c := range children {
		f := g.at(repo, c)
		f.parents = newest(f.parents, d)
	}
	for _, b := range blobs {
		f := g.at(repo, b)
		f.holders = newest(f.holders, d)
	}
}

// Root records that repo was asked for as ref (":tag" or "@digest") and that it
// was d.
func (g *Graph) Root(repo, ref string, d digest.Digest) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f := g.at(repo, d)
	f.roots = newest(f.roots, ref)
}

// Evidence records that d's content was checked to be evidence about subject.
func (g *Graph) Evidence(repo string, d, subject digest.Digest) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.at(repo, d).subject = subject
}

// IsManifest reports whether d was seen as a manifest in repo.
func (g *Graph) IsManifest(repo string, d digest.Digest) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	f, ok := g.nodes.Get(node{repo, d})
	return ok && f.manifest
}

// Parents returns the indexes in repo that list d, the newest fact first.
func (g *Graph) Parents(repo string, d digest.Digest) []digest.Digest {
	return read(g, repo, d, func(f *facts) []digest.Digest { return f.parents })
}

// Holders returns the manifests in repo that list d as a blob, the newest fact
// first.
func (g *Graph) Holders(repo string, d digest.Digest) []digest.Digest {
	return read(g, repo, d, func(f *facts) []digest.Digest { return f.holders })
}

// Roots returns the references that d was asked for as, the newest first.
func (g *Graph) Roots(repo string, d digest.Digest) []string {
	return read(g, repo, d, func(f *facts) []string { return f.roots })
}

// Subject returns what d was found to be evidence about, empty when nothing is
// known.
func (g *Graph) Subject(repo string, d digest.Digest) digest.Digest {
	g.mu.Lock()
	defer g.mu.Unlock()
	if f, ok := g.nodes.Get(node{repo, d}); ok {
		return f.subject
	}
	return ""
}

func (g *Graph) at(repo string, d digest.Digest) *facts {
	k := node{repo, d}
	if f, ok := g.nodes.Get(k); ok {
		return f
	}
	f := &facts{}
	g.nodes.Add(k, f)
	return f
}

func read[T any](g *Graph, repo string, d digest.Digest, pick func(*facts) []T) []T {
	g.mu.Lock()
	defer g.mu.Unlock()
	f, ok := g.nodes.Get(node{repo, d})
	if !ok {
		return nil
	}
	list := pick(f)
	out := make([]T, len(list))
	for i, v := range list { // facts are appended: the last is the newest
		out[len(list)-1-i] = v
	}
	return out
}

// newest moves v to the end of list and drops the oldest fact beyond the bound.
func newest[T comparable](list []T, v T) []T {
	if n := len(list); n > 0 && list[n-1] == v {
		return list
	}
	for i, have := range list {
		if have == v {
			return append(append(list[:i:i], list[i+1:]...), v)
		}
	}
	if len(list) >= perNode {
		list = list[1:]
	}
	return append(list[:len(list):len(list)], v)
}
