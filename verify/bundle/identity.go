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
	match verify.CertificateIdentity
	text  string
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
	return Identity{match: match, text: text.String()}, nil
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

func sortedKeys(m map[string]string) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
