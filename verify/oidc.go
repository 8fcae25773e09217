package verify

import (
	"crypto/x509"
	"encoding/asn1"
)

// Extensions in which Fulcio records the OIDC issuer (sigstore, fulcio
// oid-info.md): the older one holds the bare text, the newer one a UTF8String.
var (
	oidIssuer   = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1}
	oidIssuerV2 = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8}
)

// oidcIssuer returns the OIDC issuer of a Fulcio certificate, for people; empty
// when it has none.
func oidcIssuer(c *x509.Certificate) string {
	for _, ext := range c.Extensions {
		switch {
		case ext.Id.Equal(oidIssuer):
			return string(ext.Value)
		case ext.Id.Equal(oidIssuerV2):
			var s string
			if rest, err := asn1.Unmarshal(ext.Value, &s); err == nil && len(rest) == 0 {
				return s
			}
		}
	}
	return ""
}
