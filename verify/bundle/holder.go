package bundle

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"

	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
)

// checkHolder refuses a certificate that names two holders, or two issuers of who the
// holder is. The library looks at one of them, and which one is a matter of kind and
// order; another reader may look at another one. Fulcio's certificates have one
// subject alternative name, and the same issuer in both of its fields (fulcio,
// docs/certificate-specification.md and docs/oid-info.md). It is asked before anything
// is verified: nothing of the certificate is trusted.
func checkHolder(e *evidence) error {
	leaf, err := e.leaf()
	if err != nil {
		return err
	}
	if err := checkOneName(leaf); err != nil {
		return fmt.Errorf("its certificate: %w", err)
	}
	if err := checkOneIssuer(leaf); err != nil {
		return fmt.Errorf("its certificate: %w", err)
	}
	return nil
}

// leaf is the signer's certificate.
func (e *evidence) leaf() (*x509.Certificate, error) {
	content, err := e.entity.VerificationContent()
	if err != nil {
		return nil, err
	}
	leaf := content.Certificate()
	if leaf == nil {
		return nil, errKeySigned
	}
	return leaf, nil
}

// checkOneName wants one name, of whatever kind (RFC 5280, 4.2.1.6).
func checkOneName(leaf *x509.Certificate) error {
	n := 0
	for _, x := range leaf.Extensions {
		if !x.Id.Equal(cryptoutils.SANOID) {
			continue
		}
		var names []asn1.RawValue
		if rest, err := asn1.Unmarshal(x.Value, &names); err != nil || len(rest) > 0 {
			return errors.New("expected a list of subject alternative names, found something else")
		}
		n += len(names)
	}
	if n != 1 {
		return fmt.Errorf("expected exactly one subject alternative name, found %d: which of them signed is not clear", n)
	}
	return nil
}

// checkOneIssuer wants Fulcio's two fields for the issuer to agree where both are there.
func checkOneIssuer(leaf *x509.Certificate) error {
	oldIssuer := asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1}
	var issuers []string
	for _, x := range leaf.Extensions {
		switch {
		case x.Id.Equal(oldIssuer): // the text as it is
			issuers = append(issuers, string(x.Value))
		case x.Id.Equal(certificate.OIDIssuerV2):
			var s string
			if err := certificate.ParseDERString(x.Value, &s); err != nil {
				return fmt.Errorf("issuer: %w", err)
			}
			issuers = append(issuers, s)
		}
	}
	for _, s := range issuers {
		if s != issuers[0] {
			return fmt.Errorf("expected one issuer, found %.200q and %.200q", issuers[0], s)
		}
	}
	return nil
}
