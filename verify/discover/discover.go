// Package discover finds the evidence about a manifest: signatures, sigstore
// bundles, notation's signatures, attestations.
//
// It knows the places (signature servers configured by registries.d, a registry's
// signature extension API, cosign's .sig and .att tags, manifests that refer to the
// judged one), asks those that a query names, in the judged repository or in a
// signature repository elsewhere, and returns everything found, or an error when one
// of them could not be asked. Only a plain "not found" means that there is no
// (further) evidence: any other failure is an error, so that an outage can never
// look like an unsigned image.
//
// It never verifies a signature. It promises of what it returns that the bytes have
// their digest, and of a referrer that it names the judged manifest as its subject;
// what a list says about its entries is not believed. Every list, size and fan-out
// is bounded, and what exceeds a bound is an error.
package discover

import (
	"context"
	"io"

	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Registry is what discovery asks of the registry that holds an image. A thing
// that does not exist is reported by an error that matches [io/fs.ErrNotExist];
// every other error is inconclusive.
type Registry interface {
	// ManifestBytes returns a manifest by tag or digest. Bytes asked for by digest
	// have been checked against it.
	ManifestBytes(ctx context.Context, ref reference.Named) ([]byte, error)
	// BlobBytes returns a whole blob, checked against its digest, and an error when
	// it is larger than limit bytes.
	BlobBytes(ctx context.Context, ref reference.Canonical, limit int64) ([]byte, error)
	// ExtensionSignatures asks the X-Registry-Supports-Signatures API; supported is
	// false when the registry does not announce it.
	ExtensionSignatures(ctx context.Context, ref reference.Canonical) (sigs [][]byte, supported bool, err error)
	// Referrers lists the manifests that say they are about subject, of every
	// artifact type (OCI distribution-spec 1.1, "Listing Referrers": the API, or the
	// fallback tag where there is none). No referrers are an empty list. The list is
	// whole: one that is too long is an error.
	Referrers(ctx context.Context, subject reference.Canonical) ([]ocispec.Descriptor, error)
}

// viaReferrers is a [Registry] that says for people how it looks for referrers: by the
// API, or by which tag.
type viaReferrers interface {
	ReferrersVia(ctx context.Context, subject reference.Canonical) (list []ocispec.Descriptor, via string, err error)
}

// Web fetches one file of a signature server by http(s), bounded and guarded
// against redirects to elsewhere. A 404 is an error that matches
// [io/fs.ErrNotExist]; every other failure is inconclusive.
type Web interface {
	Get(ctx context.Context, url string) (io.ReadCloser, error)
}
