package discover

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
)

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
