// Package notation judges Notary Project signatures: JWS and COSE envelopes that
// are stored as referrers of an image.
//
// The work is notation-go's, always at its level "strict", over trust stores in
// memory. Around it this package
//
//   - bounds what an envelope may cost (size, certificates, keys) before anything
//     is verified with keys that the envelope itself brings;
//   - refuses weak keys (RSA below 2048 bits, curves below 256) anywhere in a
//     chain, in trust stores and of timestamp authorities;
//   - refuses critical attributes that it does not know. An envelope that demands
//     a verification plugin is refused: plugins are never run;
//   - answers revocation from CRLs in memory. What no current CRL answers is
//     refused, never let pass;
//   - says until when its answer holds.
//
// It never opens a network connection or a file, and never accepts by default: the
// zero [Trust] accepts nothing.
//
// A notation signature names a digest, a size and a media type, not a repository:
// copied with its image to another repository it is still good. Which signer may
// sign for which repository is for the caller's policy to say.
//
// Specifications: Notary Project signature-specification.md, signing-scheme.md and
// trust-store-trust-policy.md; RFC 3161 (timestamps), RFC 5280 (certificates, CRLs).
package notation
