package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/verify/discover"
)

// Bounds of a list of referrers.
const (
	maxReferrerPages = 16
	maxReferrers     = 1000
)

func (r *remote) referrers(ctx context.Context, subject reference.Canonical) ([]ocispec.Descriptor, string, error) {
	list, err := r.referrersByAPI(ctx, subject)
	if e := new(Error); errors.As(err, &e) && e.Kind == NotFound {
		via := "no referrers API"
		if ref, err := fallbackRef(subject); err == nil {
			via = "no referrers API, so tag " + ref.Tag()
		}
		list, err := r.referrersByTag(ctx, subject)
		return list, via, err
	}
	return list, "referrers API", err
}

// referrersByAPI reads all pages of the referrers API, which together may be as large
// as one manifest. They are asked for unfiltered: what registries report as
// artifactType is unreliable.
func (r *remote) referrersByAPI(ctx context.Context, subject reference.Canonical) ([]ocispec.Descriptor, error) {
	c := call{kind: "referrers", op: opName("referrers", subject), method: http.MethodGet,
		path:   repoPath(subject, "referrers", subject.Digest().String()),
		accept: ocispec.MediaTypeImageIndex, repo: reference.TrimNamed(subject)}
	all := []ocispec.Descriptor{}
	left := r.opt.ManifestLimit
	for page := 1; ; page++ {
		a, err := r.do(ctx, c)
		if err != nil {
			if e := new(Error); page > 1 && errors.As(err, &e) && e.Kind == NotFound {
				e.Kind = Invalid // the list has begun, so it must not end in "no such thing"
			}
			return nil, err
		}
		if t, _, _ := mime.ParseMediaType(a.Header.Get("Content-Type")); t != ocispec.MediaTypeImageIndex {
			a.close()
			return nil, a.invalid("expected referrers of type %s, found %.100q", ocispec.MediaTypeImageIndex, t)
		}
		b, err := a.bytes(left)
		if err != nil {
			return nil, err
		}
		left -= int64(len(b))
		if all, err = addReferrers(all, b); err != nil {
			return nil, a.invalid("%w", err)
		}
		if c.query, err = r.nextReferrers(a); err != nil {
			return nil, a.invalid("%w", err)
		}
		if c.query == nil {
			return all, nil
		}
		if page == maxReferrerPages {
			return nil, a.invalid("expected at most %d pages of referrers, found more", maxReferrerPages)
		}
	}
}

// nextReferrers returns the query of the next page, nil at the end. Only the
// query is taken: the page is asked for at the same host and path.
func (r *remote) nextReferrers(a *answer) (url.Values, error) {
	link, err := nextLink(a.Header)
	if link == nil || err != nil {
		return nil, err
	}
	here := r.base.JoinPath(a.call.path)
	there := here.ResolveReference(link)
	if there.Scheme != here.Scheme || hostPort(there) != hostPort(here) || !strings.HasSuffix(there.Path, a.call.path) {
		return nil, errors.New("expected the next page at the same host and path, found a link to elsewhere")
	}
	q, err := url.ParseQuery(there.RawQuery)
	if err != nil || len(there.RawQuery) > maxCursor {
		return nil, fmt.Errorf("expected a link to the next page with a query of at most %d bytes, found a malformed or longer one", maxCursor)
	}
	return q, nil
}

// referrersByTag reads the index that clients keep at the fallback tag where
// there is no referrers API.
func (r *remote) referrersByTag(ctx context.Context, subject reference.Canonical) ([]ocispec.Descriptor, error) {
	ref, err := fallbackRef(subject)
	if err != nil {
		return nil, unexpected(r.name, opName("referrers", subject), "%w", err)
	}
	m, err := r.manifest(ctx, ref)
	if e := new(Error); errors.As(err, &e) && e.Kind == NotFound {
		return []ocispec.Descriptor{}, nil
	}
	if err != nil {
		return nil, err
	}
	if subject.Digest().Algorithm().Available() && subject.Digest().Algorithm().FromBytes(m.Bytes) == subject.Digest() {
		return []ocispec.Descriptor{}, nil // some registries answer a tag that looks like a digest by the digest's manifest
	}
	list, err := addReferrers([]ocispec.Descriptor{}, m.Bytes)
	if err != nil {
		return nil, unexpected(r.name, opName("referrers", ref), "%w", err)
	}
	return list, nil
}

// fallbackRef is the tag schema of the distribution-spec: algorithm and hex,
// the first cut at 32 characters and the second at 64.
func fallbackRef(subject reference.Canonical) (reference.NamedTagged, error) {
	d := subject.Digest()
	if err := d.Validate(); err != nil {
		return nil, errors.New("expected a valid digest")
	}
	alg, hex := d.Algorithm().String(), d.Encoded()
	tag := alg[:min(len(alg), 32)] + "-" + hex[:min(len(hex), 64)]
	return reference.WithTag(reference.TrimNamed(subject), tag)
}

// addReferrers reads one image index of referrers and appends its descriptors.
func addReferrers(all []ocispec.Descriptor, index []byte) ([]ocispec.Descriptor, error) {
	var page struct {
		SchemaVersion int                   `json:"schemaVersion"`
		MediaType     string                `json:"mediaType"`
		Manifests     *[]ocispec.Descriptor `json:"manifests"`
	}
	if err := discover.CheckValues(index); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(index, &page); err != nil {
		return nil, fmt.Errorf("expected an image index: %w", errJSON(err))
	}
	if page.MediaType != "" && page.MediaType != ocispec.MediaTypeImageIndex || page.SchemaVersion != 2 {
		return nil, fmt.Errorf("expected an image index, found schema %d, type %.100q", page.SchemaVersion, page.MediaType)
	}
	if page.Manifests == nil {
		return all, nil
	}
	for _, d := range *page.Manifests {
		if len(all) == maxReferrers {
			return nil, fmt.Errorf("expected at most %d referrers, found more", maxReferrers)
		}
		if err := checkDescriptor(d); err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}

// checkDescriptor makes sure that a descriptor can be followed safely.
func checkDescriptor(d ocispec.Descriptor) error {
	if err := digest.Digest(d.Digest).Validate(); err != nil || d.Size < 0 {
		return fmt.Errorf("expected a descriptor with a digest and a size, found %.100q and %d", string(d.Digest), d.Size)
	}
	return nil
}
