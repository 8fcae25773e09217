// Package attest reads in-toto statements and decides whether one satisfies a
// condition, an expression of the Common Expression Language (CEL,
// https://cel.dev) that the policy's "attested" requirement holds.
//
// It promises that a statement is read in one way only: repeated members, members
// that another reader would take for a known one, and sizes or depths out of
// bounds are errors. It promises that a condition is typed and bounded when it is
// compiled, that its evaluation ends, and that whatever is not a plain true is a
// no: a missing member, a wrong type, an exhausted budget.
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
// # Values
//
// JSON comes to expressions as Kubernetes hands it to CEL. A number written
// without point and exponent that fits 64 bits is an int, every other one a
// double; the two compare by value (predicate.count == 3 holds for 3 and 3.0).
// Arithmetic does not mix them: write double(predicate.count) * 1.5. Objects are
// maps with string keys, times stay strings until timestamp(…) reads them.
//
// # Language
//
// CEL's standard functions and macros (has, all, exists, exists_one, map, filter)
// and of the strings extension those of which one call is bounded by what it is
// given: lowerAscii, upperAscii, substring, trim. The pattern of matches must be
// written out in the expression.
package attest

import (
	"errors"
	"strconv"
	"strings"
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

// maxReason bounds what a reason repeats of a statement or an expression, in bytes.
const maxReason = 300

// plain makes text that can come from a statement fit for a reason: one line,
// printable, short.
func plain(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " ")
	s = strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
	if len(s) <= maxReason {
		return s
	}
	return strings.ToValidUTF8(s[:maxReason], "") + "…"
}
