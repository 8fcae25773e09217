package verify

import (
	"fmt"
	"strings"
	"time"

	"github.com/distribution/reference"
	"go.podman.io/image/v5/signature"

	"github.com/pullgate/pullgate/verify/discover"
)

// Requirement types of policy.json (containers-policy.json(5)).
const (
	typeAccept    = "insecureAcceptAnything"
	typeReject    = "reject"
	typeSignedBy  = "signedBy"
	typeBaseLayer = "signedBaseLayer"
	typeSigstore  = "sigstoreSigned"
)

// requirement is one requirement of a scope, ready to be evaluated. It is only
// read after it is made. Exactly one of gpg and trust is set for the types that
// look at signatures, unless denies is set.
type requirement struct {
	kind   string
	native *signature.Policy // this requirement alone, as the default of a policy
	match  matcher
	gpg    *keyring       // signedBy
	trust  *sigstoreTrust // sigstoreSigned
	ext    extension      // signedBaseLayer and the types that only this package knows
	// denies says why no image can pass; empty for requirements that can be met.
	denies string
}

// needsSignatures tells whether signatures have to be fetched to evaluate r.
func (r *requirement) needsSignatures() bool { return r.gpg != nil || r.trust != nil || r.ext != nil }

// wants says which evidence has to be looked for to judge an image.
func (r *requirement) wants(q *discover.Query, image *judged) {
	switch {
	case r.ext != nil:
		r.ext.wants(q, image)
	case r.gpg != nil:
		q.Stored = true
	case r.trust != nil:
		q.Stored, q.Attachments = true, true
	}
}

// required says for people what the requirement asks for.
func (r *requirement) required() string {
	switch {
	case r.kind == typeAccept:
		return r.kind + ": nothing"
	case r.kind == typeReject:
		return r.kind + ": every image is refused"
	case r.gpg != nil:
		return fmt.Sprintf("%s: one of the GPG keys %s, %s", r.kind, someOf(r.gpg.names(true), ", "), clean(r.match.String()))
	case r.ext != nil:
		return r.kind + ": " + r.ext.required()
	case r.trust != nil:
		return fmt.Sprintf("%s: %s, %s", r.kind, r.trust.who(), clean(r.match.String()))
	}
	return r.kind + ": cannot be met"
}

// wouldPass says what evidence for ref would meet the requirement at a time.
func (r *requirement) wouldPass(ref reference.Named, at time.Time) string {
	switch {
	case r.denies != "":
		return ""
	case r.gpg != nil:
		return fmt.Sprintf("a simple signing signature for %s by one of the keys %s",
			clean(r.match.wants(ref)), someOf(r.gpg.names(false), ", "))
	case r.ext != nil:
		return r.ext.wouldPass(ref, at)
	case r.trust != nil:
		return fmt.Sprintf("a cosign signature (.sig attachment) for %s by %s; a bundle, as cosign 3 writes it by default, is for bundleSigned", clean(r.match.wants(ref)), r.trust.who())
	}
	return ""
}

// who says for people whom a sigstoreSigned requirement trusts.
func (t *sigstoreTrust) who() string {
	log := ""
	if t.logged {
		log = ", recorded in the transparency log"
	}
	switch {
	case t.fulcio:
		return fmt.Sprintf("a Fulcio certificate for %s issued by %s%s", clean(t.email), clean(t.issuer), log)
	case t.pki:
		var subjects []string
		if t.email != "" {
			subjects = append(subjects, clean(t.email))
		}
		if t.hostname != "" {
			subjects = append(subjects, clean(t.hostname))
		}
		return "a certificate of the configured CA for " + strings.Join(subjects, " and ")
	case len(t.keys) == 1:
		return "the sigstore key " + t.names()[0]
	}
	return "one of the sigstore keys " + someOf(t.names(), ", ")
}
