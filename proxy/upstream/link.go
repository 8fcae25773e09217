package upstream

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
)

// nextLink returns the target of the link with relation "next" (RFC 8288), nil
// when there is none. More than one is an error, as is a header that cannot be
// read: half a list must not pass for the whole.
func nextLink(h http.Header) (*url.URL, error) {
	var found *url.URL
	for _, line := range h.Values("Link") {
		for rest := strings.TrimLeft(line, " \t,"); rest != ""; rest = strings.TrimLeft(rest, " \t,") {
			target, params, tail, ok := cutLink(rest)
			if !ok {
				return nil, errors.New("expected a Link header of the form <target>; rel=\"next\", found another")
			}
			rest = tail
			if !relNext(params) {
				continue
			}
			u, err := url.Parse(target)
			if err != nil || found != nil {
				return nil, errors.New("expected one Link to the next page, found a malformed one or several")
			}
			found = u
		}
	}
	return found, nil
}

// cutLink splits the first <target> and its parameters off a Link header.
func cutLink(s string) (target, params, rest string, ok bool) {
	s, ok = strings.CutPrefix(s, "<")
	if !ok {
		return "", "", "", false
	}
	target, s, ok = strings.Cut(s, ">")
	if !ok {
		return "", "", "", false
	}
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quoted:
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == ',' && !quoted:
			return target, s[:i], s[i+1:], true
		}
	}
	return target, s, "", !quoted
}

// relNext reports whether the parameters of a link say that it leads to what
// follows. Only the first rel counts.
func relNext(params string) bool {
	for _, p := range strings.Split(params, ";") {
		name, value, _ := strings.Cut(p, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "rel") {
			continue
		}
		for _, rel := range strings.Fields(strings.Trim(strings.TrimSpace(value), `"`)) {
			if strings.EqualFold(rel, "next") {
				return true
			}
		}
		return false
	}
	return false
}
