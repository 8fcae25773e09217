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

// checkIdentity refuses a subject that no certificate can match. What else the
// specification demands (C, ST and O; no attribute twice) the library checks.
func checkIdentity(id string) error {
	dn, ok := strings.CutPrefix(id, subjectIdentity)
	if !ok {
		return errors.New(`expected "x509.subject: C=…, ST=…, O=…" or "*"`)
	}
	parsed, err := ldap.ParseDN(dn)
	if err != nil {
		return fmt.Errorf("expected a distinguished name (RFC 4514): %w", err)
	}
	for _, rdn := range parsed.RDNs {
		for _, a := range rdn.Attributes {
			if !slices.Contains(attributeTypes, a.Type) {
				return fmt.Errorf("expected attributes of the types %s, found %.50q", strings.Join(attributeTypes, ", "), a.Type)
			}
			if a.Value == "" {
				return fmt.Errorf("expected a value of %s, found none", a.Type)
			}
		}
	}
	return nil
}
