// Package bundle judges sigstore evidence: bundles v0.1 to v0.3 (message
// signature or DSSE envelope), cosign's .sig attachments with a key or keyless,
// and cosign's .att attachments. The cryptography is sigstore-go's.
//
// # What it promises
//
// A nil error means that the document was signed by what the [Trust] names, that
// the signature is over the very digest that was asked about (the artifact's own
// digest, the digest in a simple signing payload, or a subject of an in-toto
// statement), and that every threshold is met. Any other outcome is an error:
// the reason why the document does not satisfy the trust. An error that wraps
// [ErrLocal] is no decision about the document.
//
// Documents come from strangers. They are bounded in bytes and counts before they
// reach the library, JSON that two readers could read differently is refused, and
// a panic in the library is an [ErrLocal] error.
//
// # Time
//
// A certificate of Fulcio lives for minutes, so its validity is judged at a
// proven time: the integrated time of a log entry with a signed promise, or an
// RFC 3161 timestamp. With identities at least one such time is always needed,
// whatever the thresholds say; the machine's clock never takes its place. A time
// that lies in the future proves nothing. Every time that a trusted log or authority
// vouches for has to lie within the certificate's validity, not just one of them.
//
// # What it never does
//
// It dials nothing and reads no file. It does not look at the repository: bundles
// carry none, and the docker-reference of a .sig payload is not judged, so
// evidence copied to another repository still verifies there. What protects is
// the policy's scope, which says whose signature counts where. It does not judge
// the predicate of an attestation, and does not decide whether an attestation is
// wanted: the caller compares [Verified].PredicateType ([SignType] is a
// signature, all else is an attestation).
package bundle
