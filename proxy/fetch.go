package proxy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/singleflight"

	"github.com/pullgate/pullgate/proxy/upstream"
	"github.com/pullgate/pullgate/verify"
)

// fetchTimeout bounds one fetch of a manifest for everybody who waits for it.
const fetchTimeout = time.Minute

// Manifest is one manifest whose bytes have been hashed and read.
type Manifest struct {
	repo     reference.Named
	name     string // of repo
	digest   digest.Digest
	bytes    []byte
	doc      *document
	children []digest.Digest // manifests that it lists
	blobs    []digest.Digest // blobs that it lists
}

// Size is about how many bytes of memory the manifest takes.
func (m *Manifest) Size() int64 {
	const descriptor = 400
	return 2*int64(len(m.bytes)) + descriptor*int64(len(m.doc.blobs)+len(m.doc.children)+len(m.blobs)+len(m.children))
}

// fetcher gets manifests from memory or from the upstream, each once however many
// clients ask, and records what they list.
type fetcher struct {
	upstream Upstream
	blobs    Content[[]byte]
	content  Content[*Manifest]
	tags     Tags
	graph    Graph
	flight   singleflight.Group
	slots    *slots

	mu      sync.Mutex
	waiting map[string]*waiting // for the fetches that run
}

// waiting is how many clients wait for a fetch, and how to end it when none does.
type waiting struct {
	ctx     context.Context
	cancel  context.CancelFunc
	clients int
}

// join adds a client to those that wait for a fetch. The fetch ends neither with
// the client that came first nor later than the last one that waits.
func (f *fetcher) join(ctx context.Context, key string) *waiting {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := f.waiting[key]
	if w == nil {
		w = &waiting{}
		w.ctx, w.cancel = context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
		f.waiting[key] = w
	}
	w.clients++
	return w
}

func (f *fetcher) leave(key string, w *waiting) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if w.clients--; w.clients == 0 {
		w.cancel()
		delete(f.waiting, key)
		f.flight.Forget(key) // whoever comes now begins anew
	}
}

// manifest returns the bytes that ref names. Errors are *apiError for content
// that cannot be right and *upstream.Error for the rest.
func (f *fetcher) manifest(ctx context.Context, ref reference.Named) (*Manifest, error) {
	name := ref.Name()
	if c, ok := ref.(reference.Canonical); ok {
		if m, ok := f.content.Get(name, c.Digest()); ok {
			return m, nil
		}
	} else if t, ok := ref.(reference.NamedTagged); ok {
		if d, fresh := f.tags.Get(name, t.Tag()); fresh {
			if m, ok := f.content.Get(name, d); ok {
				return m, nil
			}
		}
	} else {
		return nil, fmt.Errorf("reference %s: expected a tag or a digest", ref)
	}
	return f.once(ctx, ref)
}

// once fetches ref for everybody who asks for it now.
func (f *fetcher) once(ctx context.Context, ref reference.Named) (*Manifest, error) {
	key := owner(ctx) + ref.String()
	w := f.join(ctx, key)
	defer f.leave(key, w)
	answer := f.flight.DoChan(key, func() (m any, err error) {
		// Nobody could recover from a panic in this goroutine: hostile bytes that
		// trip a parser must not take the gate down.
		defer func() {
			if r := recover(); r != nil {
				m, err = nil, fmt.Errorf("reading the manifest for %s panicked: %v", ref, r)
			}
		}()
		giveBack, err := f.slots.take(w.ctx, reference.Domain(ref))
		if err != nil {
			return nil, err
		}
		defer giveBack()
		return f.fetch(w.ctx, ref)
	})
	select {
	case r := <-answer:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*Manifest), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (f *fetcher) fetch(ctx context.Context, ref reference.Named) (*Manifest, error) {
	repo := reference.TrimNamed(ref)
	t, byTag := ref.(reference.NamedTagged)
	if byTag {
		if m, err := f.unmoved(ctx, t); m != nil || err != nil {
			return m, err
		}
	} else if c, ok := ref.(reference.Canonical); ok {
		if m, ok := f.content.Get(repo.Name(), c.Digest()); ok {
			return m, nil // came while this request was on its way here
		}
	}
	got, err := f.upstream.Manifest(ctx, ref)
	if err != nil {
		return nil, err
	}
	m, err := newManifest(repo, ref, got)
	if err != nil {
		return nil, err
	}
	f.content.Put(repo.Name(), m.digest, m)
	if byTag {
		f.tags.Put(repo.Name(), t.Tag(), m.digest)
	}
	return m, nil
}

// note records what m lists. Only what may be sent is noted: facts from what is
// denied would be of no use, and take the room of others.
func (f *fetcher) note(m *Manifest) {
	f.graph.Manifest(m.name, m.digest, m.children, m.blobs)
}

// unmoved answers for a tag that was known before, when a HEAD says that it still
// has the digest whose bytes are in memory. The answer decides which bytes are
// meant, not what they are: those were hashed when they came.
func (f *fetcher) unmoved(ctx context.Context, t reference.NamedTagged) (*Manifest, error) {
	repo := reference.TrimNamed(t)
	known, fresh := f.tags.Get(repo.Name(), t.Tag())
	if known == "" {
		return nil, nil
	}
	m, ok := f.content.Get(repo.Name(), known)
	if !ok || fresh {
		return m, nil
	}
	now, err := f.upstream.ResolveTag(ctx, t)
	var e *upstream.Error
	if errors.As(err, &e) && (e.Kind == upstream.NotFound || e.Kind == upstream.TooManyRequests) {
		return nil, err
	}
	if err != nil || now != known {
		return nil, nil // not every registry answers HEAD well: let GET decide
	}
	f.tags.Put(repo.Name(), t.Tag(), known)
	return m, nil
}

// newManifest hashes bytes before anything in them is believed, and reads them.
func newManifest(repo, ref reference.Named, got upstream.Manifest) (*Manifest, error) {
	var want digest.Digest
	if c, ok := ref.(reference.Canonical); ok {
		want = c.Digest()
	}
	algorithm := digest.SHA256
	if want != "" {
		algorithm = want.Algorithm()
	}
	found, err := verify.ManifestDigest(got.Bytes, algorithm)
	if err != nil {
		return nil, errMismatch("the upstream's manifest for %s cannot be hashed: %v", ref, err)
	}
	if want != "" && found != want {
		return nil, errMismatch("the upstream sent other bytes for %s: their digest is %s", ref, found)
	}
	// Of a signed schema 1 manifest some registries state the digest of all bytes.
	if h := got.Digest; h.Validate() == nil && h.Algorithm() == algorithm && h != found && h != algorithm.FromBytes(got.Bytes) {
		return nil, errMismatch("the upstream sent other bytes for %s than it says: expected %s, found %s", ref, h, found)
	}
	doc, err := parseDocument(got.Bytes)
	if err != nil {
		return nil, errMismatch("the upstream's manifest for %s (%s) cannot be used: %v", ref, found, err)
	}
	if doc.mediaType != mediaTypeSchema1Signed && algorithm.FromBytes(got.Bytes) != found {
		return nil, errMismatch("the upstream's manifest for %s is not of the kind that its digest is for", ref)
	}
	return &Manifest{repo: repo, name: repo.Name(), digest: found, bytes: got.Bytes, doc: doc,
		children: doc.childDigests(), blobs: doc.blobDigests()}, nil
}
