package discover

import "fmt"

// MaxValues is how many values JSON of an upstream may have, lists, objects and what
// is in them. A manifest of a thousand layers has some ten thousand.
const MaxValues = 200_000

// CheckValues refuses JSON with more than [MaxValues] values, before a decoder makes
// of each two bytes a structure of hundreds: 4 MiB of "{}," take a gigabyte. Nothing
// is built for the count. It never counts too few values of well-formed JSON, and of
// lists of empty lists up to twice as many; what is malformed is for the decoder to say.
func CheckValues(b []byte) error {
	if len(b) <= MaxValues { // each value has a byte at least
		return nil
	}
	n := 1
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			for i++; i < len(b) && b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
		case ',', '[', '{': // one before each value but the outermost
			if n++; n > MaxValues {
				return fmt.Errorf("expected JSON of at most %d values, found more", MaxValues)
			}
		}
	}
	return nil
}
