package discover

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// Limits of one place. A place that exceeds one is in error: nothing is cut off.
const (
	MaxSignatures     = 127      // signatures
	MaxSignatureBytes = 4 << 20  // bytes of one signature
	MaxPlaceBytes     = 16 << 20 // bytes of all signatures of one place together
	maxManifestBytes  = 4 << 20  // bytes of an attachment manifest
	attachmentFetches = 4        // payloads fetched at once
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

// Query says whose signatures to look for, and where. A place that is not asked
// for is not asked.
type Query struct {
	// Ref names the repository; its tag or digest is not used.
	Ref reference.Named
	// Digest is the manifest's canonical (sha256) digest: signatures are stored
	// under it whatever digest was asked for.
	Digest digest.Digest
	// Subject is the judged manifest: media type, digest (the same as Digest) and
	// size in bytes. It may be left out.
	Subject imgspec.Descriptor
	// Lookaside is the address from [Lookasides.Base]; Stored needs it.
	Lookaside *url.URL
	// Stored asks for the registry's signature API or the lookaside.
	Stored bool
	// Attachments asks for the .sig tag.
	Attachments bool
	// Attestations asks for the .att tag.
	Attestations bool
	// Referrers asks for the manifests that refer to the judged one.
	Referrers bool
	// Repository is the signature repository: where .sig, .att and referrers are
	// looked for, in another registry if it says so. Nil is Ref's own. Its tag or
	// digest is not used.
	Repository reference.Named
}

// Found is what the places hold.
type Found struct {
	Signatures []Signature
	Documents  []Document
	Looked     []string // the places that were asked, also when one failed
}

// Find asks every place and returns all signatures: the registry's signature API
// or, where the registry does not have it, the lookaside; and beside it the .sig
// tag. Any failure other than "does not exist" is an [*Inconclusive] error.
func (f Finder) Find(ctx context.Context, q Query) (Found, error) {
	if err := q.Digest.Validate(); err != nil {
		return Found{}, fmt.Errorf("digest of the manifest: %w", err)
	}
	var stored, attached Found
	g, gctx := errgroup.WithContext(ctx)
	if q.Stored {
		g.Go(func() (err error) {
			stored, err = f.stored(gctx, q)
			return err
		})
	}
	if q.Attachments {
		g.Go(func() (err error) {
			attached, err = f.attachments(gctx, q)
			return err
		})
	}
	err := g.Wait()
	found := Found{
		Signatures: append(stored.Signatures, attached.Signatures...),
		Looked:     append(stored.Looked, attached.Looked...),
	}
	if err != nil {
		found.Signatures = nil
		return found, err
	}
	return found, nil
}

// stored asks the registry's signature API, and the lookaside when there is none.
func (f Finder) stored(ctx context.Context, q Query) (Found, error) {
	place := "the signature API of " + reference.Domain(q.Ref)
	ref, err := reference.WithDigest(reference.TrimNamed(q.Ref), q.Digest)
	if err != nil {
		return Found{}, fmt.Errorf("reference of the signatures: %w", err)
	}
	sigs, supported, err := f.Registry.ExtensionSignatures(ctx, ref)
	if err != nil {
		return Found{Looked: []string{place}}, inconclusive(place, err)
	}
	if !supported {
		return f.lookaside(ctx, q)
	}
	found := Found{Looked: []string{place}}
	if len(sigs) > MaxSignatures {
		return found, inconclusive(place, fmt.Errorf("expected at most %d signatures, found %d", MaxSignatures, len(sigs)))
	}
	total := 0
	for i, s := range sigs {
		if total += len(s); len(s) > MaxSignatureBytes || total > MaxPlaceBytes {
			return found, inconclusive(place, errTooMuch)
		}
		// The API carries simple signing signatures only, so the bytes are not
		// sniffed: what is no OpenPGP message counts as a malformed signature.
		found.Signatures = append(found.Signatures, Signature{Source: fmt.Sprintf("%s (%d)", place, i+1), Simple: s})
	}
	return found, nil
}

// errTooMuch is a place that holds more than can be looked at.
var errTooMuch = errors.New("signatures are larger than allowed")
