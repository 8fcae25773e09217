package main

import (
	"strings"

	"github.com/distribution/reference"

	"github.com/pullgate/pullgate/verify"
	"github.com/pullgate/pullgate/verify/bundle"
)

// offer is what a requirement would have to name to accept one piece of evidence. It
// is comparable: equal offers of two images are met by one requirement.
type offer struct {
	requirement string // its type in policy.json
	predicate   string // of attested
	// issuer and subject are a certificate's; without them it is a key.
	issuer, subject string
	// signer says which key or notation identity, as the evidence does; empty when
	// nothing says it.
	signer string
	match  identityMatch
	// authority issued the certificate of an identity or of a notation signer.
	authority string
	// byAuthority is of notation signers that signingAuthority trusts.
	byAuthority bool
}

// identityMatch is a signedIdentity.
type identityMatch struct {
	Type             string `json:"type"`
	DockerRepository string `json:"dockerRepository,omitempty"`
	Prefix           string `json:"prefix,omitempty"`
	SignedPrefix     string `json:"signedPrefix,omitempty"`
}

// Requirement types that are proposed.
const (
	typeSignedBy = "signedBy"
	typeSigstore = "sigstoreSigned"
	typeBundle   = "bundleSigned"
	typeNotation = "notationSigned"
	typeAttested = "attested"
)

// signedIdentities from the tightest to the widest.
var widths = []string{"", "remapIdentity", "matchRepository", "exactRepository"}

// isSignature tells whether evidence says that somebody stands for the image, rather
// than something about it.
func isSignature(e verify.Evidence) bool {
	switch e.Kind {
	case verify.KindSimple, verify.KindSigstore, verify.KindNotation:
		return true
	}
	return e.Kind == verify.KindBundle && e.PredicateType == bundle.SignType
}

// offersOf lists what would accept one of the pieces of evidence about ref.
func offersOf(ref reference.Named, evidence []verify.Evidence) map[offer][]verify.Evidence {
	out := map[offer][]verify.Evidence{}
	for _, e := range evidence {
		if !e.About || e.Problem != "" {
			continue
		}
		for _, o := range offers(ref, e) {
			out[o] = append(out[o], e)
		}
	}
	return out
}

func offers(ref reference.Named, e verify.Evidence) []offer {
	if strings.ContainsAny(e.PredicateType, "…\ufffd") {
		return nil // it cannot be shown as it is
	}
	switch {
	case e.Kind == verify.KindNotation:
		if notationIdentity(e.Signer) {
			return []offer{{requirement: typeNotation, signer: e.Signer, authority: e.Authority, byAuthority: e.SigningAuthority}}
		}
		return nil
	case e.Kind == verify.KindSimple:
		return matching(ref, e.Identity, offer{requirement: typeSignedBy, signer: e.Signer})
	case e.Subject != "":
		return certified(e)
	case e.Kind == verify.KindSigstore:
		return matching(ref, e.Identity, offer{requirement: typeSigstore})
	case isSignature(e):
		return []offer{{requirement: typeBundle, signer: e.Hint}}
	case e.PredicateType != "" && e.PredicateType != bundle.SignType:
		return []offer{{requirement: typeAttested, predicate: e.PredicateType, signer: e.Hint}}
	}
	return nil
}

// certified offers a certificate's identity, exactly as it is. Without a proof of time
// nothing can accept it.
func certified(e verify.Evidence) []offer {
	switch {
	case !e.Logged && !e.Timestamped:
		return nil
	case isSignature(e):
		return []offer{{requirement: typeBundle, issuer: e.Issuer, subject: e.Subject, authority: e.Authority}}
	case e.PredicateType != "" && e.PredicateType != bundle.SignType:
		return []offer{{requirement: typeAttested, predicate: e.PredicateType, issuer: e.Issuer, subject: e.Subject, authority: e.Authority}}
	}
	return nil
}

// notationIdentity tells whether a signer can stand in trustedIdentities as it is: not
// cut off, with the attributes that are mandatory there.
func notationIdentity(s string) bool {
	name, ok := strings.CutPrefix(s, "x509.subject: ")
	return ok && !strings.ContainsAny(name, "…?") && has(name, "C") && has(name, "ST") && has(name, "O")
}

func has(name, attribute string) bool {
	return strings.HasPrefix(name, attribute+"=") || strings.Contains(name, ","+attribute+"=")
}

// matching completes o with each signedIdentity that accepts a signature for signed of
// an image that is asked for as ref.
func matching(ref reference.Named, signed string, o offer) []offer {
	s, err := reference.ParseNormalizedNamed(signed)
	if err != nil {
		return nil
	}
	_, byDigest := ref.(reference.Canonical)
	tagged, hasTag := s.(reference.NamedTagged)
	exact := byDigest && !reference.IsNameOnly(s)
	if asked, ok := ref.(reference.NamedTagged); ok && !byDigest {
		exact = hasTag && tagged.Tag() == asked.Tag()
	}
	with := func(m identityMatch) offer { x := o; x.match = m; return x }
	var out []offer
	if s.Name() == ref.Name() {
		if exact {
			out = append(out, with(identityMatch{}))
		}
		return append(out, with(identityMatch{Type: "matchRepository"}))
	}
	if exact {
		out = append(out, with(identityMatch{Type: "remapIdentity", Prefix: ref.Name(), SignedPrefix: s.Name()}))
	}
	return append(out, with(identityMatch{Type: "exactRepository", DockerRepository: s.Name()}))
}
