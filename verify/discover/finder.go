package discover

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/distribution/reference"
	"golang.org/x/sync/errgroup"
)

// Limits of one place. A place that exceeds one is in error: nothing is cut off.
const (
	MaxSignatures     = 127      // signatures and documents
	MaxSignatureBytes = 4 << 20  // bytes of one signature or document
	MaxPlaceBytes     = 16 << 20 // bytes of all of one place together, with the manifests of referrers
	MaxReferrers      = 64       // manifests that refer to one
	maxManifestBytes  = 4 << 20  // bytes of the manifest of an attachment or a referrer
	fetches           = 4        // manifests or layers of one place fetched at once
)

// Inconclusive says that a place could not be asked, so nobody can tell whether
// it holds a signature.
type Inconclusive struct {
	Place string // where, without credentials
	Err   error
}

// Error names the place and the cause.
func (e *Inconclusive) Error() string {
	return fmt.Sprintf("signatures of %s could not be read: %v", e.Place, e.Err)
}

// Unwrap returns the cause.
func (e *Inconclusive) Unwrap() error { return e.Err }

// inconclusive wraps err for place. A "does not exist" that was no answer to
// "is there a signature?" loses its identity, lest somebody takes it for one.
func inconclusive(place string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		err = errors.New(err.Error())
	}
	return &Inconclusive{Place: place, Err: err}
}

// Finder asks the places where signatures are stored.
type Finder struct {
	Registry Registry
	Web      Web
}

// Find asks the places of q, all at once, and returns what they hold: the
// registry's signature API or, where the registry does not have it, the lookaside;
// the .sig tag, with bundles too where q asks for referrers; the .att tag; the
// referrers; the attestation manifests of the index. Evidence that is the same in two places is returned once. Any failure
// other than "does not exist" is an [*Inconclusive] error, and nothing but Looked is
// returned beside it. So is that nothing exists in a signature repository which may be
// hidden from the client that the registry is asked for.
func (f Finder) Find(ctx context.Context, q Query) (Found, error) {
	if err := q.check(); err != nil {
		return Found{}, err
	}
	places := f.places(q)
	parts := make([]Found, len(places))
	g, gctx := errgroup.WithContext(ctx)
	for i, p := range places {
		g.Go(func() (err error) {
			parts[i], err = p.ask(gctx)
			return err
		})
	}
	err := g.Wait()
	var found Found
	seen := map[string]bool{}
	visible := false
	for i, part := range parts {
		for _, place := range part.Looked {
			found.Looked, found.origins = append(found.Looked, place), append(found.origins, places[i].origin)
		}
		visible = visible || places[i].elsewhere() && len(part.Signatures)+len(part.Documents) > 0
		if err == nil {
			found.add(part, places[i].origin, seen)
		}
	}
	if err == nil && !visible && f.mayBeHidden(q) {
		return Found{Looked: found.Looked}, &Inconclusive{Place: q.repository().Name(), Err: errHidden}
	}
	return found, err
}

// errHidden is "there are no signatures", said to somebody who may not be told.
var errHidden = errors.New("the registry shows none to the client whose credentials it was asked with, " +
	"which may mean that the client may not read them; give the clients leave to pull from there")

// mayBeHidden tells whether a registry that is asked with a client's own credentials
// may hide the signature repository from that client alone. What is found is the same
// for all clients, so that nothing is found is no answer then.
func (f Finder) mayBeHidden(q Query) bool {
	c, ok := f.Registry.(interface{ ClientCredentials(registry string) bool })
	asked := q.Attachments || q.Attestations || q.Referrers
	at := q.repository()
	return ok && asked && at.Name() != q.Ref.Name() && c.ClientCredentials(reference.Domain(at))
}

// place is one place to ask.
type place struct {
	origin Origin
	ask    func(context.Context) (Found, error)
}

// elsewhere tells whether the place is in the signature repository, where there is one.
func (p place) elsewhere() bool { return p.origin != OriginStored && p.origin != OriginIndex }

// places lists what q asks for, in the order of the answer.
func (f Finder) places(q Query) []place {
	var out []place
	if q.Stored {
		out = append(out, place{OriginStored, func(ctx context.Context) (Found, error) { return f.stored(ctx, q) }})
	}
	if q.Attachments {
		kinds := []Kind{kindSigning}
		if q.Referrers { // whoever can use a bundle there can use it here
			kinds = append(kinds, KindBundle)
		}
		out = append(out, place{OriginAttachments, func(ctx context.Context) (Found, error) { return f.tagged(ctx, q, ".sig", kinds...) }})
	}
	if q.Attestations {
		out = append(out, place{OriginAttestations, func(ctx context.Context) (Found, error) {
			return f.tagged(ctx, q, ".att", KindDSSE, KindBundle)
		}})
	}
	if q.Referrers {
		out = append(out, place{OriginReferrers, func(ctx context.Context) (Found, error) { return f.referrers(ctx, q) }})
	}
	if q.Statements && len(q.Index) > 0 {
		out = append(out, place{OriginIndex, func(ctx context.Context) (Found, error) { return f.inIndex(ctx, q) }})
	}
	return out
}

// errTooMuch is a place that holds more than can be looked at.
var errTooMuch = errors.New("signatures are larger than allowed")
