package discover

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"

	"github.com/distribution/reference"
)

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

// lookaside reads signature-1, signature-2, … below q.Lookaside until one does
// not exist (containers/image, docs/signature-protocols.md).
func (f Finder) lookaside(ctx context.Context, q Query) (Found, error) {
	dir := *q.Lookaside
	dir.Path = fmt.Sprintf("%s@%s=%s", dir.Path, q.Digest.Algorithm(), q.Digest.Encoded())
	dir.RawPath = ""
	place := redacted(dir)
	found := Found{Looked: []string{place}}
	total := 0
	for i := 1; ; i++ {
		u := dir
		u.Path = fmt.Sprintf("%s/signature-%d", dir.Path, i)
		blob, err := f.one(ctx, u)
		if errors.Is(err, fs.ErrNotExist) {
			return found, nil
		}
		if err != nil {
			return found, inconclusive(place, err)
		}
		if i > MaxSignatures {
			return found, inconclusive(place, fmt.Errorf("expected at most %d signatures, found more", MaxSignatures))
		}
		if total += len(blob); total > MaxPlaceBytes {
			return found, inconclusive(place, errTooMuch)
		}
		s, err := ParseStored(redacted(u), blob)
		if err != nil {
			// Not a signature: an error page, or a server that answers everything
			// with 200. What else it would hold nobody can tell.
			return found, inconclusive(place, fmt.Errorf("signature-%d: %w", i, err))
		}
		found.Signatures = append(found.Signatures, s)
	}
}

// one reads one file of a lookaside; fs.ErrNotExist ends the list.
func (f Finder) one(ctx context.Context, u url.URL) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	switch u.Scheme {
	case "file":
		return ReadRegular(u.Path, MaxSignatureBytes)
	case "http", "https":
		r, err := f.Web.Get(ctx, u.String())
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return readAtMost(r, MaxSignatureBytes, "signature")
	}
	return nil, fmt.Errorf("unsupported URL scheme %q", u.Scheme)
}

// redacted is u for people: without user, password, query and fragment.
func redacted(u url.URL) string {
	u.User, u.RawQuery, u.ForceQuery, u.Fragment, u.RawFragment = nil, "", false, "", ""
	return u.String()
}
