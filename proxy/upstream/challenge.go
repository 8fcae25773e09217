package upstream

import (
	"net/http"
	"net/url"
	"strings"
)

// Schemes that clients know and that are passed on, as they are written
// (RFC 7617, RFC 6750).
const (
	schemeBasic  = "Basic"
	schemeBearer = "Bearer"
)

// maxChallengeParams bounds the parameters of one challenge.
const maxChallengeParams = 16

// challenge is one challenge of a WWW-Authenticate header (RFC 9110, section
// 11.6.1), read by its grammar so that it can be written anew.
type challenge struct {
	scheme string
	params [][2]string // names in lower case, values without quotes
}

// usableChallenge returns the challenge to pass on to a client: Bearer before
// Basic before none. That of an https registry must not lead clients to send
// their passwords by http.
func usableChallenge(h http.Header, https bool) challenge {
	var basic challenge
	for _, line := range h.Values("Www-Authenticate") {
		all, ok := parseChallenges(line)
		if !ok {
			continue
		}
		for _, c := range all {
			switch {
			case strings.EqualFold(c.scheme, schemeBearer) && c.realmURL(https) != nil:
				c.scheme = schemeBearer
				return c
			case strings.EqualFold(c.scheme, schemeBasic) && basic.scheme == "":
				c.scheme = schemeBasic
				basic = c
			}
		}
	}
	return basic
}

// realmURL is where a Bearer challenge sends clients; nil when it is no place
// that they should go to.
func (c challenge) realmURL(https bool) *url.URL {
	for _, p := range c.params {
		if p[0] != "realm" {
			continue
		}
		u, err := url.Parse(p[1])
		if err != nil || u.Hostname() == "" || u.User != nil || u.Fragment != "" || u.Opaque != "" ||
			u.Scheme != "https" && (u.Scheme != "http" || https) {
			return nil
		}
		return u
	}
	return nil
}

// String writes the challenge as a header's value, "" for none and for one that
// gets too long by that.
func (c challenge) String() string {
	var b strings.Builder
	b.WriteString(c.scheme)
	for i, p := range c.params {
		b.WriteString([]string{" ", ","}[min(i, 1)] + p[0] + `="`)
		b.WriteString(strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(p[1]) + `"`)
	}
	if b.Len() > maxChallenge {
		return ""
	}
	return b.String()
}

// parseChallenges reads one WWW-Authenticate header of printable ASCII. It fails
// on everything that the grammar does not know, on repeated parameters and on
// headers that are too long, as readers could differ about their meaning.
func parseChallenges(s string) ([]challenge, bool) {
	if len(s) > maxChallenge || !printable(s) {
		return nil, false
	}
	var all []challenge
	for s = skip(s, " ,"); s != ""; s = skip(s, " ,") {
		word, rest := cutToken(s)
		if !strings.HasPrefix(skip(rest, " "), "=") {
			if word == "" || rest != "" && rest[0] != ' ' && rest[0] != ',' {
				return nil, false
			}
			all = append(all, challenge{scheme: word})
			if s = skip(rest, " "); s == "" || s[0] == ',' {
				continue
			}
			// Schemes that are not passed on may have a token68 in place of parameters.
			if tail, ok := skipToken68(s); ok {
				s = tail
				continue
			}
			word, rest = cutToken(s)
		}
		after, equals := strings.CutPrefix(skip(rest, " "), "=")
		value, tail, ok := cutValue(skip(after, " "))
		if !equals || !ok || word == "" || len(all) == 0 || !all[len(all)-1].add(word, value) {
			return nil, false
		}
		if s = skip(tail, " "); s != "" && s[0] != ',' {
			return nil, false
		}
	}
	return all, true
}

// add adds a parameter unless there is one of that name.
func (c *challenge) add(name, value string) bool {
	name = strings.ToLower(name)
	for _, p := range c.params {
		if p[0] == name {
			return false
		}
	}
	c.params = append(c.params, [2]string{name, value})
	return len(c.params) <= maxChallengeParams
}

func skip(s, chars string) string { return strings.TrimLeft(s, chars) }

// tokenChars are those of a token (RFC 9110, section 5.6.2).
const tokenChars = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

func cutToken(s string) (token, rest string) {
	rest = strings.TrimLeft(s, tokenChars)
	return s[:len(s)-len(rest)], rest
}

// skipToken68 skips a token68, which ends its challenge.
func skipToken68(s string) (rest string, ok bool) {
	rest = strings.TrimLeft(s, "-._~+/0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
	ok = rest != s
	rest = skip(strings.TrimLeft(rest, "="), " ")
	return rest, ok && (rest == "" || rest[0] == ',')
}

// cutValue splits off a parameter's value, a token or a quoted string.
func cutValue(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		value, rest = cutToken(s)
		return value, rest, value != ""
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], true
		case '\\':
			if i++; i == len(s) {
				return "", "", false
			}
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}
