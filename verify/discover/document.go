package discover

import "github.com/opencontainers/go-digest"

// Kind says how a document is to be read.
type Kind string

// Kinds of documents.
const (
	KindBundle   Kind = "bundle"   // a sigstore bundle, v0.1 to v0.3
	KindNotation Kind = "notation" // a notation signature envelope, JWS or COSE
	KindDSSE     Kind = "dsse"     // a DSSE envelope
	// KindStatement is an in-toto statement that nobody signed, as BuildKit stores
	// it: good for hints, proof of nothing.
	KindStatement Kind = "statement"
)

// Origin is a kind of place.
type Origin string

// Origins of evidence. containers/image knows the first two only, so what comes
// from the others is not for requirements that must mean the same as there.
const (
	OriginStored       Origin = "stored"       // the registry's signature API or a lookaside
	OriginAttachments  Origin = "attachments"  // the .sig tag
	OriginAttestations Origin = "attestations" // the .att tag
	OriginReferrers    Origin = "referrers"    // manifests that refer to the judged one
	OriginIndex        Origin = "index"        // attestation manifests in the index that lists it
)

// Document is one piece of evidence as it is stored. Nothing in it is verified but
// its digest.
type Document struct {
	// Source is where it was found, without credentials.
	Source string
	Origin Origin // the kind of place
	Kind   Kind
	// MediaType is the one of the layer: application/vnd.dev.sigstore.bundle.v0.3+json,
	// application/jose+json, application/cose, application/vnd.dsse.envelope.v1+json.
	MediaType string
	// ArtifactType is what the document's manifest says that it is (not what a list
	// of referrers says): its artifactType, or its config's media type without one.
	ArtifactType string
	Bytes        []byte
	Digest       digest.Digest // of Bytes
	// Annotations are those of the layer. Beside a DSSE envelope they carry its
	// certificate, chain and log entry (cosign, SIGNATURE_SPEC.md).
	Annotations map[string]string
}
