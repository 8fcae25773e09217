package verify

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/pullgate/pullgate/verify/bundle"
)

// lintExtension warns about extension requirements that accept or deny more than
// their author may think.
func (l *loader) lintExtension(at string, r *requirement) {
	switch x := r.ext.(type) {
	case *bundleSigned:
		l.lintTrust(at, x.trust)
	case *attested:
		l.lintTrust(at+".signedBy", x.trust)
		if u, err := url.Parse(x.predicateType); err != nil || u.Scheme == "" || u.Host == "" && u.Opaque == "" {
			l.warn(at+".predicateType", fmt.Sprintf("%q is no URI, and types of attestations are: it denies what the usual tools make", clean(x.predicateType)),
				"write the whole type, like https://slsa.dev/provenance/v1; pullgate policy suggest prints those that an image carries")
		}
	case *notationSigned:
		if slices.Contains(x.identities, "*") {
			l.warn(at+".trustedIdentities", `"*" trusts every certificate that the authorities in trustStores have issued, to whomever`,
				`name the signer, like "x509.subject: C=US, ST=WA, O=acme.example, CN=build"`)
		}
	case *anyOf:
		for i, alt := range x.of {
			if alt.before.IsZero() {
				continue
			}
			for n, r := range alt.all {
				if reason := timeless(r); reason != "" {
					l.warn(fmt.Sprintf("%s.signedBefore", alternativeKey(at, i, false)),
						fmt.Sprintf("this alternative can never be met: nothing proves when its %s, of[%d], was made: %s", r.kind, n, reason),
						"give it something that proves times, or leave signedBefore out")
				}
			}
		}
	}
}

// lintTrust warns about whom a requirement trusts.
func (l *loader) lintTrust(at string, t *bundleTrust) {
	for i, id := range t.named {
		l.lintIdentity(fmt.Sprintf("%s.identities[%d]", at, i), id)
	}
	if len(t.Identities) > 0 && t.TLog == bundle.None && t.SCT == bundle.None && t.Timestamps == bundle.None {
		l.warn(at+".thresholds", "are all 0, and one proof of the time is needed all the same: what has neither a log entry nor a timestamp that the trust root can verify is denied",
			`write which there has to be, like {"tlog": 1, "sct": 0, "timestamps": 0}`)
	}
}

// timeless says why nothing can prove when the evidence of a requirement was made;
// empty when something can, or when it looks at none.
func timeless(r *requirement) string {
	const keys = "it names keys and no trustRoot, whose logs or timestamp authorities would prove it"
	switch x := r.ext.(type) {
	case *bundleSigned:
		if x.trust.root == "" {
			return keys
		}
	case *attested:
		if x.trust.root == "" {
			return keys
		}
	case *notationSigned:
		if !slices.ContainsFunc(x.anchors, func(a anchor) bool { return a.store != "ca" }) {
			return "its trustStores have neither tsa nor signingAuthority"
		}
	}
	return ""
}

// anchor is a certificate that a requirement trusts to issue others.
type anchor struct {
	store string // where it stands: ca, signingAuthority, tsa, caRoots
	cert  *x509.Certificate
}

func anchors(store string, certs []*x509.Certificate) []anchor {
	out := make([]anchor, len(certs))
	for i, c := range certs {
		out[i] = anchor{store, c}
	}
	return out
}

// String names the certificate by its SHA-256 fingerprint and its subject.
func (a anchor) String() string {
	return fmt.Sprintf("%s sha256:%x, %s", a.store, sha256.Sum256(a.cert.Raw), clean(strings.TrimSpace(a.cert.Subject.String())))
}
