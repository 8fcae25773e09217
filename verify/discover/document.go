package discover

import "github.com/opencontainers/go-digest"

// Kind says how a document is to be read.
type Kind string

// Kinds of documents.
const (
	KindBundle   Kind = "bundle"   // a sigstore bundle, v0.1 to v0.3
	KindNotation Kind = "notation" // a notation signature envelope, JWS or COSE
	KindDSSE     Kind = "dsse"     // a DSSE envelope
)

// Document is one piece of evidence as it is stored. Nothing in it is verified but
// its digest.
type Document struct {
	// Source is where it was found, without credentials.
	Source string
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
