package notation

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"
)

const (
	anyIdentity     = "*"
	subjectIdentity = "x509.subject:"
)

// checkIdentities refuses identities that could match nothing, or more than they
// say. The library itself skips those with an unknown prefix without a word.
func checkIdentities(identities []string) error {
	if len(identities) == 0 {
		return errors.New(`trusted identities: expected "x509.subject: C=…, ST=…, O=…" or "*", found none`)
	}
	if len(identities) > maxIdentities {
		return fmt.Errorf("trusted identities: expected at most %d, found %d", maxIdentities, len(identities))
	}
	if slices.Contains(identities, anyIdentity) {
		if len(identities) > 1 {
			return errors.New(`trusted identities: expected "*" alone, found others beside it`)
		}
		return nil
	}
	for _, id := range identities {
		if err := checkIdentity(id); err != nil {
			return fmt.Errorf("trusted identity %.200q: %w", id, err)
		}
	}
	return nil
}

// attributeTypes are those that a certificate's subject is compared by (RFC 4514,
// section 3, and what crypto/x509/pkix adds). Any other would never match.
var attributeTypes = []string{"C", "ST", "S", "O", "OU", "CN", "L", "STREET", "POSTALCODE", "SERIALNUMBER"}

// checkIdentity refuses a subject that no certificate can match, or that lacks what
// the specification demands of each (Notary Project,
// trust-store-trust-policy.md). That no attribute stands twice the library checks.
func checkIdentity(id string) error {
	dn, ok := strings.CutPrefix(id, subjectIdentity)
	if !ok {
		return errors.New(`expected "x509.subject: C=…, ST=…, O=…" or "*"`)
	}
	parsed, err := ldap.ParseDN(dn)
	if err != nil {
		return fmt.Errorf("expected a distinguished name (RFC 4514): %w", err)
	}
	there := map[string]bool{}
	for _, rdn := range parsed.RDNs {
		for _, a := range rdn.Attributes {
			if !slices.Contains(attributeTypes, a.Type) {
				return fmt.Errorf("expected attributes of the types %s, found %.50q", strings.Join(attributeTypes, ", "), a.Type)
			}
			if a.Value == "" {
				return fmt.Errorf("expected a value of %s, found none", a.Type)
			}
			there[a.Type] = true
		}
	}
	there["ST"] = there["ST"] || there["S"]
	var missing []string
	for _, attribute := range []string{"C", "ST", "O"} {
		if !there[attribute] {
			missing = append(missing, "no "+attribute)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf(`expected C, ST (or S) and O, which every identity needs, like "x509.subject: C=US, ST=WA, O=acme.example, CN=build"; found %s`, strings.Join(missing, ", "))
	}
	return nil
}
