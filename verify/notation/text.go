package notation

import (
	"crypto/x509"
	"fmt"
	"strings"
	"unicode"
)

// maxText bounds what is repeated of an envelope, in bytes.
const maxText = 500

// clean makes text of an envelope, or of a library that repeats it, safe for logs
// and terminals: one line, printable, bounded.
func clean(s string) string {
	cut := len(s) > maxText
	if cut {
		s = s[:maxText]
	}
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if cut {
		s += "…"
	}
	return s
}

// subjectOf names a certificate for people.
func subjectOf(c *x509.Certificate) string {
	return fmt.Sprintf("certificate %.200q", c.Subject.String())
}
