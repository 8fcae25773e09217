package attest

import (
	"github.com/opencontainers/go-digest"
)

// Statement is an in-toto statement, v0.1 or v1.
type Statement struct {
	Type          string          // _type
	PredicateType string          // URI
	Subjects      []digest.Digest // sha256 and sha512 of all subjects, in their order

	document map[string]any // the whole of it, as conditions see it
}
