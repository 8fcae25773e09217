package bundle

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

// Identity is what a certificate must say about who signed. The zero value
// matches nobody.
type Identity struct {
	match   verify.CertificateIdentity
	issuer  string // exact or expression, as it was given
	subject string
	text    string
}

// String says what is expected, for people.
func (i Identity) String() string { return i.text }

// ParseIdentity reads an identity: the OpenID Connect issuer and the subject
// alternative name, each either exact or as a regular expression (RE2) that must
// match the whole value, and Fulcio's extension fields by name (see
// [ExtensionNames]), matched exactly.
func ParseIdentity(issuer, issuerRegExp, subject, subjectRegExp string, extensions map[string]string) (Identity, error) {
	var ext certificate.Extensions
	var text strings.Builder
	issuerRE, err := exactOrRegExp("issuer", issuer, issuerRegExp)
	if err != nil {
		return Identity{}, err
	}
	subjectRE, err := exactOrRegExp("subject", subject, subjectRegExp)
	if err != nil {
		return Identity{}, err
	}
	fmt.Fprintf(&text, "%s (issuer %s", subject+subjectRegExp, issuer+issuerRegExp)
	for _, name := range sortedKeys(extensions) {
		field := extensionField(&ext, name)
		if field == nil {
			return Identity{}, fmt.Errorf("extension %.100q is unknown; expected one of %s", name, strings.Join(ExtensionNames(), ", "))
		}
		// The library takes an empty value for "anything".
		if *field = extensions[name]; *field == "" {
			return Identity{}, fmt.Errorf("extension %s: expected a value, found an empty one", name)
		}
		fmt.Fprintf(&text, ", %s %s", name, *field)
	}
	text.WriteByte(')')
	san, err := verify.NewSANMatcher(subject, subjectRE)
	if err != nil {
		return Identity{}, fmt.Errorf("subjectRegExp: %w", err)
	}
	iss, err := verify.NewIssuerMatcher(issuer, issuerRE)
	if err != nil {
		return Identity{}, fmt.Errorf("issuerRegExp: %w", err)
	}
	match, err := verify.NewCertificateIdentity(san, iss, ext)
	if err != nil {
		return Identity{}, err
	}
	return Identity{match: match, issuer: issuer + issuerRegExp, subject: subject + subjectRegExp, text: text.String()}, nil
}

// differs says in which field a certificate is not what the identity expects: the
// first one that differs. It is empty when none does.
func (i Identity) differs(c certificate.Summary) string {
	switch {
	case i.subject == "" || i.issuer == "":
		return "nobody, as an identity is empty"
	case i.match.SubjectAlternativeName.Verify(c) != nil:
		return "subject " + i.subject
	case i.match.Issuer.Verify(c) != nil:
		return "issuer " + i.issuer
	}
	for _, name := range ExtensionNames() {
		want, got := *extensionField(&i.match.Extensions, name), *extensionField(&c.Extensions, name)
		switch {
		case want == "" || want == got:
		case got == "":
			return fmt.Sprintf("%s %s, found none", name, want)
		default:
			return fmt.Sprintf("%s %s, found %.200q", name, want, got)
		}
	}
	return ""
}

// exactOrRegExp checks that exactly one of both is given and returns the
// expression as it is to be matched: as a whole. The library does not anchor, so
// that github.com/acme/ would match https://evil.example/github.com/acme/.
func exactOrRegExp(name, exact, expr string) (string, error) {
	switch {
	case exact == "" && expr == "":
		return "", fmt.Errorf("expected %s or %sRegExp, found neither", name, name)
	case exact != "" && expr != "":
		return "", fmt.Errorf("expected %s or %sRegExp, found both", name, name)
	case exact != "":
		return "", nil
	}
	// By itself first: "a)|(b" is an error here and an escape from the group below.
	if _, err := regexp.Compile(expr); err != nil {
		return "", fmt.Errorf("%sRegExp: %w", name, err)
	}
	whole := "^(?:" + expr + ")$"
	if _, err := regexp.Compile(whole); err != nil {
		return "", errors.New(name + "RegExp: cannot be matched as a whole; close what it opens (\\Q needs \\E)")
	}
	return whole, nil
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
