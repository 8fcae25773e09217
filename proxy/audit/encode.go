package audit

import (
	"math"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"
)

// Bounds of one record, before escaping.
const (
	maxText  = 512 // bytes of a text; longer ones end in cutMark
	maxItems = 32  // items of a list; of longer ones the last item counts the rest
	cutMark  = "…[cut]"
)

// appendRecord appends the record as one line of JSON. It writes what
// encoding/json makes of the bounded record, without its reflection: the line is
// written while a client waits for a cached answer.
func appendRecord(b []byte, r *Record) []byte {
	b = append(b, `{"time":"`...)
	b = r.Time.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, `","request_id":`...)
	b = appendText(b, r.RequestID)
	b = appendField(b, `,"kind":`, r.Kind)
	b = appendField(b, `,"client":`, r.Client)
	b = appendField(b, `,"identity":`, r.Identity)
	b = appendField(b, `,"login":`, r.Login)
	b = appendField(b, `,"mode":`, r.Mode)
	b = appendField(b, `,"user_agent":`, r.UserAgent)
	b = appendField(b, `,"method":`, r.Method)
	b = appendField(b, `,"registry":`, r.Registry)
	b = appendField(b, `,"repository":`, r.Repository)
	b = appendField(b, `,"reference":`, r.Reference)
	b = appendField(b, `,"digest":`, r.Digest)
	b = appendField(b, `,"scope":`, r.Scope)
	b = append(b, `,"decision":`...)
	if r.Decision == "" {
		b = appendText(b, Denied)
	} else {
		b = appendText(b, r.Decision)
	}
	b = appendList(b, `,"reasons":[`, r.Reasons)
	b = appendList(b, `,"signers":[`, r.Signers)
	b = appendList(b, `,"evidence":[`, r.Evidence)
	b = append(b, `,"status":`...)
	b = strconv.AppendInt(b, int64(r.Status), 10)
	b = append(b, `,"duration_ms":`...)
	b = strconv.AppendFloat(b, milliseconds(r.DurationMS), 'f', -1, 64)
	b = append(b, `,"cached":`...)
	b = strconv.AppendBool(b, r.Cached)
	b = appendField(b, `,"revision":`, r.Revision)
	return append(b, "}\n"...)
}

// milliseconds rounds to the microsecond. What is no duration, and has no form in
// JSON, becomes 0.
func milliseconds(f float64) float64 {
	if !(f > 0 && f < 1e12) {
		return 0
	}
	return math.Round(f*1000) / 1000
}

func appendField(b []byte, name, s string) []byte {
	if s == "" {
		return b
	}
	return appendText(append(b, name...), s)
}

func appendList(b []byte, name string, list []string) []byte {
	if len(list) == 0 {
		return b
	}
	b = append(b, name...)
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		if i == maxItems-1 && len(list) > maxItems {
			b = append(b, `"…[`...)
			b = strconv.AppendInt(b, int64(len(list)-i), 10)
			b = append(b, ` more]"`...)
			break
		}
		b = appendText(b, s)
	}
	return append(b, ']')
}

// appendText appends a JSON string. Texts over maxText are cut at a character's
// edge and marked.
func appendText(b []byte, s string) []byte {
	cut := len(s) > maxText
	if cut {
		end := maxText
		for end > maxText-utf8.UTFMax && !utf8.RuneStart(s[end]) {
			end--
		}
		s = s[:end]
	}
	b = append(b, '"')
	b = appendEscaped(b, s)
	if cut {
		b = append(b, cutMark...)
	}
	return append(b, '"')
}

const hex = "0123456789abcdef"

// appendEscaped escapes what JSON requires (RFC 8259, section 7) and everything
// else that does not print: control characters of every kind, line separators,
// marks that reverse the order of text. Bytes that are no UTF-8 become U+FFFD.
func appendEscaped(b []byte, s string) []byte {
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c < 0x7f && c != '"' && c != '\\' {
			i++
			continue
		}
		r, size := rune(c), 1
		if c >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(s[i:])
			if !(r == utf8.RuneError && size == 1) && unicode.IsPrint(r) {
				i += size
				continue
			}
		}
		b = append(b, s[start:i]...)
		b = appendEscape(b, r)
		i += size
		start = i
	}
	return append(b, s[start:]...)
}

func appendEscape(b []byte, r rune) []byte {
	switch {
	case r == '"' || r == '\\':
		return append(b, '\\', byte(r))
	case r > 0xffff: // a surrogate pair
		r -= 0x10000
		b = appendUnit(b, 0xd800+r>>10)
		return appendUnit(b, 0xdc00+r&0x3ff)
	}
	return appendUnit(b, r)
}

func appendUnit(b []byte, r rune) []byte {
	return append(b, '\\', 'u', hex[r>>12&0xf], hex[r>>8&0xf], hex[r>>4&0xf], hex[r&0xf])
}
