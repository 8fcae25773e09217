package verify

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxText      = 200 // runes of untrusted text in a message
	maxReason    = 600 // runes of a reason that one piece of evidence does not count
	maxKeysShown = 8   // keys named in one message
)

// clean makes untrusted text fit to be shown: nothing that is not printable
// (control characters, line breaks, bidirectional overrides), bounded length.
func clean(s string) string { return cleaned(s, maxText) }

// cleaned is clean with a bound of its own, in runes.
func cleaned(s string, most int) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n == most {
			b.WriteRune('…')
			break
		}
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			r = '?'
		}
		b.WriteRune(r)
		n++
	}
	return b.String()
}

// someOf joins names, leaving out what is too much for one message.
func someOf(names []string, sep string) string {
	if len(names) <= maxKeysShown {
		return strings.Join(names, sep)
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:maxKeysShown], sep), len(names)-maxKeysShown)
}
