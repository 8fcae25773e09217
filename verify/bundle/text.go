package bundle

import (
	"errors"
	"strings"
	"unicode"
)

// maxReason bounds a reason: documents choose a part of the text.
const maxReason = 600

// clean makes text of strangers fit for a log line: printable, one line, short.
func clean(s string) string {
	s = strings.ReplaceAll(s, "\n", "; ")
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '�'
	}, s)
	if r := []rune(s); len(r) > maxReason {
		return string(r[:maxReason]) + "…"
	}
	return s
}

// refused is a reason, cleaned.
type refused struct {
	text  string
	cause error
}

func (r *refused) Error() string { return r.text }

// Unwrap returns the cause, so that [ErrLocal] is found.
func (r *refused) Unwrap() error { return r.cause }

// reason makes err fit for people. Nothing of its chain but [ErrLocal] is anybody's
// business.
func reason(err error) error {
	// The library wraps the errors of what it tried, and there are none when there was
	// nothing to try.
	text := strings.ReplaceAll(err.Error(), "; error: %!w(<nil>)", ": there is none")
	r := &refused{text: clean(text)}
	if errors.Is(err, ErrLocal) {
		r.cause = ErrLocal
	}
	return r
}
