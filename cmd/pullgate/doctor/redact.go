package doctor

import (
	"net/url"
	"regexp"
	"strings"
	"unicode"
)

// What could be a user and a password in front of a host, with and without a
// scheme. Too much is taken out rather than too little.
var (
	userinfo     = regexp.MustCompile(`(://)[^/\s"'<>]*@`)
	userinfoBare = regexp.MustCompile(`(^|[\s"'=(\[])[^\s/:"'@=(\[]+:[^\s/"'@]*@`)
	authHeader   = regexp.MustCompile(`(?i)\b((?:proxy-)?authorization:\s*\w+|bearer|basic)\s+[A-Za-z0-9+/._~=-]{8,}`)
)

// placeholder stands in advice where a user name and password are to be written.
const placeholder = "user:password"

// redact takes credentials out of text that is shown. Advice that is about them is
// kept.
func redact(s string) string {
	for _, pattern := range []*regexp.Regexp{userinfo, userinfoBare} {
		s = pattern.ReplaceAllStringFunc(s, func(found string) string {
			before := pattern.FindStringSubmatch(found)[1]
			if found == before+placeholder+"@" {
				return found
			}
			return before + "***@"
		})
	}
	return authHeader.ReplaceAllString(s, "${1} ***")
}

// clean makes a client's output fit for a report: no credentials, no control
// characters that a terminal would obey.
func clean(s string) string {
	return redact(strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || r >= ' ' && r != 0x7f && (r < 0x80 || r > 0x9f) {
			return r
		}
		return -1
	}, strings.ToValidUTF8(s, "")))
}

// oneLine makes text fit for a line of a report. Users of the node choose names of
// files: they must not write lines of their own, nor what a terminal obeys.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r == ' ' || unicode.IsGraphic(r) {
			return r
		}
		return '\uFFFD'
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// shown is a URL without credentials, path or query.
func shown(u *url.URL) string { return u.Scheme + "://" + u.Host }
