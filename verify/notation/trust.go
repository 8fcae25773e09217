package notation

import (
	"crypto/x509"
	"errors"
	"time"
)

// ErrLocal marks a failure of this machine: nothing was found out about the
// signature, and asking again may give another answer. Every other error of
// this package is the reason why a signature does not satisfy a trust.
var ErrLocal = errors.New("could not be checked here")

// Options say what is trusted. [NewTrust] checks them.
type Options struct {
	// CA holds the certificates that signatures of the signing scheme
	// notary.x509 have to chain up to.
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
	// EnforceRevocation demands a valid, current CRL for every certificate but
	// the root, of the signer's chain and of the timestamp authority's.
	EnforceRevocation bool
	// CRLs are the lists that EnforceRevocation uses. Nothing is downloaded.
	CRLs []*x509.RevocationList
	// Now is the clock; nil means [time.Now].
	Now func() time.Time
}

// Trust is what a signature is judged by. Only [NewTrust] makes one that
// accepts anything; it is safe for concurrent use.
type Trust struct {
	opts Options
}

// NewTrust checks options and returns the trust that they describe.
func NewTrust(o Options) (*Trust, error) {
	return nil, errors.New("not trusted")
}

// Verified is what a good signature proves.
type Verified struct {
	// Signers names the signing certificate: "x509.subject: CN=…,O=…,ST=…,C=…".
	Signers []string
	// Times are the times of signing that a timestamp authority or a signing
	// authority vouches for, sorted; empty when there are none.
	Times []time.Time
	// Expires is when this answer ends by itself: the earliest of the signature's
	// own expiry, the end of the chain's certificates (when no timestamp proves
	// that they were valid), and the next update of the CRLs that were used.
	// Zero: nothing of the evidence ends.
	Expires time.Time
}
