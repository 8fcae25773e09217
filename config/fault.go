package config

import (
	"regexp"
	"strconv"
	"strings"
)

// Fault is one thing that is wrong with the configuration.
type Fault struct {
	// File is where the value comes from: a path, "environment" or "flags"; empty
	// when the value was set by nobody and there is no file.
	File string
	// Line is the line in File, from 1; 0 when it is not known.
	Line int
	// Key is the key in the file (verdicts.size, upstreams[0].endpoint), the name
	// of the variable or the flag; empty when the fault is the file's as a whole.
	Key string
	// Problem says what was found and what was expected.
	Problem string
	// Fix says what to write instead.
	Fix string
}

// Error is "file:line: key: problem; fix" on one line.
func (f Fault) Error() string {
	var b strings.Builder
	if f.File != "" {
		b.WriteString(oneLine(f.File))
		if f.Line > 0 {
			b.WriteString(":" + strconv.Itoa(f.Line))
		}
		b.WriteString(": ")
	}
	if f.Key != "" {
		b.WriteString(oneLine(f.Key) + ": ")
	}
	b.WriteString(oneLine(f.Problem))
	if f.Fix != "" {
		b.WriteString("; " + oneLine(f.Fix))
	}
	return b.String()
}

// Faults is every fault found. As an error it is one line for each.
type Faults []Fault

// Error lists the faults, one a line, without a trailing line end.
func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// Has reports whether a key, a key that it is part of, or a part of it has a fault
// already: what was faulty there was left out, and would be missed a second time.
func (fs Faults) Has(key string) bool {
	for _, f := range fs {
		if f.Key == key || within(key, f.Key) || within(f.Key, key) {
			return true
		}
	}
	return false
}

// within reports whether a key is part of another.
func within(key, other string) bool {
	return strings.HasPrefix(key, other+".") || strings.HasPrefix(key, other+"[")
}

// maxQuoted bounds how much of a value a fault repeats, in bytes.
const maxQuoted = 120

// userinfo is the part of a URL that can hold a password.
var userinfo = regexp.MustCompile(`//[^/?#]*@`)

// quote writes a value for a fault: quoted, on one line, shortened, without a
// password.
func quote(s string) string {
	s = userinfo.ReplaceAllString(s, "//…@")
	if len(s) > maxQuoted {
		return strconv.Quote(s[:maxQuoted]) + "…"
	}
	return strconv.Quote(s)
}

// shorten bounds a key that is not ours.
func shorten(s string) string {
	if len(s) > maxQuoted {
		return s[:maxQuoted] + "…"
	}
	return s
}

// oneLine keeps text from outside from starting a line of its own, or from
// sending control characters to a terminal.
func oneLine(s string) string {
	clean := func(r rune) rune {
		if r != ' ' && !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}
	return strings.Map(clean, s)
}
