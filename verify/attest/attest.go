// Package attest reads in-toto statements and decides whether one satisfies a
// condition, an expression of the Common Expression Language (CEL,
// https://cel.dev) that the policy's "attested" requirement holds.
//
// It promises that a statement is read in one way only: repeated members, members
// that another reader would take for a known one, and sizes or depths out of
// bounds are errors. It promises that a condition is typed and bounded when it is
// compiled, that its evaluation ends, and that whatever is not a plain true is a
// no: a missing key, a wrong type, an exhausted budget.
//
// It never looks at signatures: a statement is worth what the envelope around it
// was verified to be. It never dials, and an expression cannot reach anything but
// its variables:
//
//	predicate        what the statement says, of any type; null when it says nothing
//	statement        the whole statement: _type, subject, predicateType, predicate
//	image.reference  string, registry/repository:tag as it was asked for
//	image.digest     string, sha256:… of the judged manifest
//	now              timestamp of the judgement
//
// JSON comes to expressions as Kubernetes hands it to CEL: a number written
// without point and exponent that fits 64 bits is an int, every other one a
// double; objects are maps with string keys; times stay strings until
// timestamp(…) reads them.
package attest

import (
	"errors"
	"time"

	"github.com/opencontainers/go-digest"
)

// ErrLocal marks an evaluation that this machine broke off: the caller's context
// ended or [MaxTime] passed. It says nothing about the statement.
var ErrLocal = errors.New("the condition was not evaluated to its end")

// Input is what a condition is asked about.
type Input struct {
	Statement []byte        // in-toto statement, JSON, of a verified envelope
	Reference string        // registry/repository:tag of the judged image
	Digest    digest.Digest // of the judged manifest; the statement must be about it
	Now       time.Time     // must not be zero
}
