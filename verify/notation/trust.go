package notation

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	"github.com/notaryproject/notation-go/verifier/truststore"
)

const (
	maxTrusted    = 256 // certificates in a trust store
	maxIdentities = 256
	storeName     = "trusted"
)

// Options say what is trusted. [NewTrust] checks them.
type Options struct {
	// CA holds the certificates that signatures of the signing scheme
	// notary.x509 have to chain up to: CAs, or self-signed signing certificates.
	CA []*x509.Certificate
	// SigningAuthority is the same for the scheme notary.x509.signingAuthority,
	// whose signers also vouch for the time of signing.
	SigningAuthority []*x509.Certificate
	// TSA holds the roots of timestamp authorities (RFC 3161). With any, each
	// notary.x509 signature needs a timestamp by one of them; with none,
	// timestamps are not looked at and certificates have to be valid now.
	TSA []*x509.Certificate
	// Identities are "x509.subject: C=…, ST=…, O=…[, …]": the leaf's subject has
	// to hold every one of these attributes; one of the identities has to match.
	// "*", alone, accepts every leaf under the trusted certificates.
	Identities []string
	// EnforceRevocation demands a current CRL for every certificate but the root,
	// of the signer's chain and of the timestamp authority's.
	EnforceRevocation bool
	// CRLs are the lists that EnforceRevocation uses. Nothing is downloaded.
	CRLs []*x509.RevocationList
	// Now is the clock; nil means [time.Now]. The library below reads the
	// machine's clock as well: another clock can only make the answer stricter.
	Now func() time.Time
}

// Trust is what a signature is judged by. Only [NewTrust] makes one that
// accepts anything; it is safe for concurrent use.
type Trust struct {
	stores     stores
	policy     *trustpolicy.Document
	identities []string
	enforce    bool
	crls       []crl
	now        func() time.Time
}

// NewTrust checks options and returns the trust that they describe. It refuses
// what could never accept a signature, what would silently not be used, and weak
// keys. It does not refuse what has expired: that is for each verification.
func NewTrust(o Options) (*Trust, error) {
	if len(o.CA)+len(o.SigningAuthority) == 0 {
		return nil, errors.New("trust stores: expected certificates in ca or signingAuthority, found none")
	}
	if len(o.TSA) > 0 && len(o.CA) == 0 {
		return nil, errors.New("trust store tsa: expected certificates in ca, found none: timestamps count for signatures under ca only")
	}
	if o.EnforceRevocation && len(o.CRLs) == 0 {
		return nil, errors.New("revocation: expected CRLs to enforce it with, found none: nothing could pass")
	}
	if !o.EnforceRevocation && len(o.CRLs) > 0 {
		return nil, errors.New("revocation: expected no CRLs when it is skipped: they would not be used; enforce it or remove them")
	}
	t := &Trust{enforce: o.EnforceRevocation, identities: slices.Clone(o.Identities), now: o.Now}
	if t.now == nil {
		t.now = time.Now
	}
	var err error
	if t.stores, err = newStores(o); err != nil {
		return nil, err
	}
	if err := checkIdentities(o.Identities); err != nil {
		return nil, err
	}
	if t.crls, err = indexCRLs(o.CRLs); err != nil {
		return nil, err
	}
	t.policy = policyOf(t.stores, t.identities)
	if err := t.policy.Validate(); err != nil {
		return nil, fmt.Errorf("trusted identities: %s", clean(err.Error()))
	}
	return t, nil
}

// policyOf is the one statement that everything is verified under. Which images
// a requirement is for has been decided before: its scope is "*".
func policyOf(s stores, identities []string) *trustpolicy.Document {
	var names []string
	for _, kind := range truststore.Types {
		// A store that is named but empty would be an error of the library's for
		// signatures that do not need it.
		if len(s[kind]) > 0 {
			names = append(names, string(kind)+":"+storeName)
		}
	}
	return &trustpolicy.Document{Version: "1.0", TrustPolicies: []trustpolicy.TrustPolicy{{
		Name:           "requirement",
		RegistryScopes: []string{"*"},
		SignatureVerification: trustpolicy.SignatureVerification{
			VerificationLevel: trustpolicy.LevelStrict.Name,
			VerifyTimestamp:   trustpolicy.OptionAlways,
		},
		TrustStores:       names,
		TrustedIdentities: identities,
	}}}
}

// stores are trust stores in memory, one of each type.
type stores map[truststore.Type][]*x509.Certificate

// GetCertificates implements [truststore.X509TrustStore].
func (s stores) GetCertificates(_ context.Context, kind truststore.Type, name string) ([]*x509.Certificate, error) {
	if name != storeName || len(s[kind]) == 0 {
		return nil, fmt.Errorf("trust store %s is empty", kind)
	}
	return s[kind], nil
}

// newStores checks the certificates of every store.
func newStores(o Options) (stores, error) {
	s := stores{
		truststore.TypeCA:               slices.Clone(o.CA),
		truststore.TypeSigningAuthority: slices.Clone(o.SigningAuthority),
		truststore.TypeTSA:              slices.Clone(o.TSA),
	}
	for kind, certs := range s {
		if len(certs) > maxTrusted {
			return nil, fmt.Errorf("trust store %s: expected at most %d certificates, found %d", kind, maxTrusted, len(certs))
		}
		for i, c := range certs {
			if err := checkTrusted(kind, c); err != nil {
				return nil, fmt.Errorf("trust store %s: certificate %d: %w", kind, i+1, err)
			}
		}
	}
	return s, nil
}

// checkTrusted holds a certificate against what notation demands of trust stores
// (trust-store-trust-policy.md): a CA or self-signed, of a TSA the root.
func checkTrusted(kind truststore.Type, c *x509.Certificate) error {
	if c == nil {
		return errors.New("expected a certificate, found nothing")
	}
	if err := checkKey(c); err != nil {
		return err
	}
	if err := truststore.ValidateCertificates([]*x509.Certificate{c}); err != nil {
		return fmt.Errorf("expected a CA or a self-signed signing certificate, found %s", subjectOf(c))
	}
	if kind != truststore.TypeTSA {
		return nil
	}
	if !bytes.Equal(c.RawSubject, c.RawIssuer) || c.CheckSignatureFrom(c) != nil {
		return fmt.Errorf("expected a self-signed root of a timestamp authority, found %s issued by %.200q", subjectOf(c), c.Issuer)
	}
	return nil
}

// Verified is what a good signature proves.
type Verified struct {
	// Signers names the signing certificate: "x509.subject: CN=…,O=…,ST=…,C=…".
	Signers []string
	// Times are the times of signing that a timestamp authority or a signing
	// authority vouches for, sorted; empty when there are none.
	Times []time.Time
	// Expires is when this answer ends by itself: the earliest of the signature's
	// own expiry, the end of the chain's certificates (when nobody vouches for
	// the time of signing), and the next update of the CRLs that were used.
	// Zero: nothing of the evidence ends.
	Expires time.Time
}

// ErrLocal marks a failure of this machine: nothing was found out about the
// signature, and asking again may give another answer. Every other error of
// [Verify] is the reason why a signature does not satisfy a trust.
var ErrLocal = errors.New("the signature could not be checked")
