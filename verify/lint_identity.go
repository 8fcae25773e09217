package verify

import (
	"fmt"
	"regexp"
	resyntax "regexp/syntax"
	"strings"
)

// identityText is an identity as policy.json has it.
type identityText struct {
	issuer, issuerRegExp, subject, subjectRegExp string
	fields                                       string // ", name value" for each field of the certificate
}

// String tells texts that are compared from expressions that are matched.
func (t identityText) String() string {
	subject, issuer := t.subject, "issuer "+t.issuer
	if t.subjectRegExp != "" {
		subject = "subjectRegExp " + t.subjectRegExp
	}
	if t.issuerRegExp != "" {
		issuer = "issuerRegExp " + t.issuerRegExp
	}
	return clean(fmt.Sprintf("%s (%s%s)", subject, issuer, t.fields))
}

// lintIdentity warns about regular expressions that match more than they seem to.
func (l *loader) lintIdentity(at string, t identityText) {
	for _, x := range []struct{ key, expr, anything, fix string }{
		{"issuerRegExp", t.issuerRegExp, "a certificate of every issuer that the trust root vouches for will do",
			`name the issuer: "issuer": "https://token.actions.githubusercontent.com"`},
		{"subjectRegExp", t.subjectRegExp, "everybody who can log in at the issuer can sign",
			`say who signs: "subjectRegExp": "https://github\\.com/acme/.+"`},
	} {
		switch {
		case x.expr == "":
		case matchesAnything(x.expr):
			if x.key == "issuerRegExp" || t.fields == "" { // other fields can say who signs
				l.warn(at+"."+x.key, fmt.Sprintf("%s matches anything: %s", clean(x.expr), x.anything), x.fix)
			}
		default:
			if problem := hostProblem(x.expr); problem != "" {
				l.warn(at+"."+x.key, clean(x.expr)+" "+problem,
					`write hosts out, with each dot escaped: "https://github\\.com/acme/.+" (in JSON a backslash is written twice)`)
			}
		}
	}
}

// strangers are names that have nothing in common.
var strangers = []string{"https://anything.invalid/x/y@z", "anybody@else.invalid", "1"}

// matchesAnything tells whether an expression that is matched whole matches strangers.
func matchesAnything(expr string) bool {
	re, err := regexp.Compile("^(?:" + expr + ")$")
	if err != nil {
		return false // it was refused
	}
	for _, s := range strangers {
		if !re.MatchString(s) {
			return false
		}
	}
	return true
}

// hostProblem says how the host of the URLs or addresses that an expression describes
// is another one than it seems to; empty when it is not.
func hostProblem(expr string) string {
	re, err := resyntax.Parse(expr, resyntax.Perl)
	if err != nil {
		return ""
	}
	w := &hostWalk{}
	w.walk(re, place{})
	switch {
	case w.open:
		return "lets something else stand where its host is, another host and a path, too"
	case w.dot:
		return "has a dot in its host that is not escaped, and matches any character"
	}
	return ""
}

// place is where in a URL or an address an expression has come to.
type place struct {
	text   string // the last three literal characters
	scheme bool   // "://" was seen
	host   bool   // within the host
}

// hostWalk follows an expression from left to right. Depth is bounded by what the
// parser takes.
type hostWalk struct{ dot, open bool }

func (w *hostWalk) walk(re *resyntax.Regexp, p place) place {
	switch re.Op {
	case resyntax.OpLiteral:
		for _, r := range re.Rune {
			p = p.after(r)
		}
	case resyntax.OpAnyChar, resyntax.OpAnyCharNotNL:
		w.dot = w.dot || p.host
		p.text = ""
	case resyntax.OpCharClass:
		p.text = ""
	case resyntax.OpStar, resyntax.OpPlus, resyntax.OpRepeat, resyntax.OpQuest:
		sub := re.Sub[0]
		if re.Op != resyntax.OpQuest && matchesSlash(sub) {
			w.open = w.open || p.host
			p.text = ""
			return p
		}
		p = w.walk(sub, p)
	case resyntax.OpConcat, resyntax.OpCapture:
		for _, sub := range re.Sub {
			p = w.walk(sub, p)
		}
	case resyntax.OpAlternate:
		end := p
		for _, sub := range re.Sub {
			end = w.walk(sub, p)
		}
		return end
	}
	return p
}

// after is the place behind one more literal character.
func (p place) after(r rune) place {
	p.text += string(r)
	if len(p.text) > 3 {
		p.text = p.text[len(p.text)-3:]
	}
	switch {
	case strings.HasSuffix(p.text, "://"):
		p.scheme, p.host = true, true
	case r == '/' && p.host:
		p.host = false
	case r == '@' && !p.scheme:
		p.host = true
	}
	return p
}

// matchesSlash tells whether one character that re stands for can be a slash.
func matchesSlash(re *resyntax.Regexp) bool {
	switch re.Op {
	case resyntax.OpAnyChar, resyntax.OpAnyCharNotNL:
		return true
	case resyntax.OpCapture:
		return matchesSlash(re.Sub[0])
	case resyntax.OpCharClass:
		for i := 0; i+1 < len(re.Rune); i += 2 {
			if re.Rune[i] <= '/' && '/' <= re.Rune[i+1] {
				return true
			}
		}
	}
	return false
}
