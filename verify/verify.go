// Package verify judges one manifest against a signature policy.
//
// It answers a single question: does this policy.json accept these bytes under
// this name? The answer is a [Verdict], which says what was required, what was
// found and what would pass. When the question cannot be answered (a signature
// server is down, a blob cannot be read), the answer is an error, never a
// verdict: "could not tell" is neither "unsigned" nor "allowed".
//
// The package never dials on its own: what it needs from a registry or a
// signature server is declared in package discover and handed in. It never
// caches a verdict, and it never fetches the manifest: it judges the bytes it is
// given, which are the bytes that are sent.
//
// A signature counts only when containers/image accepts it and this package's own,
// stricter reading does too: weak hashes and keys are refused unless
// [Options].InsecureAllowWeak is set. All keys are read when a policy is loaded, so
// judging reads nothing from disk; sigstore signatures pass through a file in
// /dev/shm or, where there is none, the directory for temporary files.
package verify

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/manifest"

	"github.com/pullgate/pullgate/verify/discover"
)

// Transports of policy.json under which an image can be judged.
const (
	TransportDocker = "docker" // registry/repository:tag or @digest; the default
	TransportAtomic = "atomic" // the same names, as OpenShift's registry writes its scopes
)

// Subject is one manifest under the name it was asked for.
type Subject struct {
	// Ref is the logical reference as asked: name:tag or name@digest, fully
	// qualified (docker.io/library/nginx:1.27). For a child of an index it is the
	// reference of the index, so Ref's digest may differ from Digest.
	Ref reference.Named
	// Digest is the digest of Manifest by [ManifestDigest]'s rule. The caller has
	// checked it.
	Digest digest.Digest
	// MediaType is derived from Manifest's bytes, never from a header.
	MediaType string
	// Manifest holds the very bytes that are sent when the verdict allows it.
	Manifest []byte
	// Index holds the bytes of the index through which Manifest was reached; nil when
	// there is none or nobody knows. It is a hint: attestations beside the image in
	// its index, and about that index, may name the image's base. No verdict rests on
	// it, so caches may leave it out of account.
	Index []byte
	// Transport is the section of policy.json: TransportDocker when empty.
	Transport string
	// Asker tells apart whose credentials evidence is fetched with, any bytes; empty:
	// the gate's own. A verdict is the same for all, but that nobody can tell may be
	// so for one asker only.
	Asker string
}

// Decision of a verdict. The zero value denies.
type Decision int

// The two decisions there are. An inconclusive judgement is an error.
const (
	Denied Decision = iota
	Allowed
)

// String returns "denied" or "allowed".
func (d Decision) String() string {
	if d == Allowed {
		return "allowed"
	}
	return "denied"
}

// MarshalJSON writes the decision as its word.
func (d Decision) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON reads the decision's word; anything unknown is an error.
func (d *Decision) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	switch s {
	case "allowed":
		*d = Allowed
	case "denied":
		*d = Denied
	default:
		return fmt.Errorf("decision %q: expected allowed or denied", s)
	}
	return nil
}

// Result says how one requirement of the scope fared.
type Result struct {
	// Type is the requirement's "type" in policy.json, for example "signedBy".
	Type string `json:"type"`
	// Required says for people what the requirement asks for.
	Required string `json:"required"`
	// Allowed is true when the requirement is met.
	Allowed bool `json:"allowed"`
	// Found lists what was found instead, a reason for each signature looked at.
	Found []string `json:"found,omitempty"`
	// WouldPass says what would satisfy the requirement; empty when nothing could.
	WouldPass string `json:"wouldPass,omitempty"`
	// Signers identifies who signed what was accepted.
	Signers []string `json:"signers,omitempty"`
	// Evidence lists the digests of the documents that met the requirement, where
	// they are stored under one.
	Evidence []string `json:"evidence,omitempty"`
}

// Signature is one piece of evidence that was found, as it describes itself.
// Nothing in it is verified; whether it counted is in [Result].
type Signature struct {
	Kind     string `json:"kind"`               // "simple signing" or "sigstore"
	Source   string `json:"source"`             // where it was found; no credentials
	Signer   string `json:"signer,omitempty"`   // key ID, certificate identity
	Identity string `json:"identity,omitempty"` // the reference it claims (signed identity)
	Digest   string `json:"digest,omitempty"`   // the manifest digest it claims
	Problem  string `json:"problem,omitempty"`  // why it cannot be used by any requirement
}

// Verdict is the answer for one subject. Its zero value denies.
type Verdict struct {
	Decision     Decision    `json:"decision"`
	Scope        string      `json:"scope"`        // key in policy.json, "default" for the default list
	Requirements []Result    `json:"requirements"` // in the policy's order
	Signatures   []Signature `json:"signatures,omitempty"`
	Looked       []string    `json:"looked,omitempty"` // places where signatures were looked for, the base's of signedBaseLayer too
	Revision     string      `json:"revision"`         // policy and key bytes that judged
	// Basis names the part of the policy that judged: the scope's requirements with
	// their keys and trust roots, and where evidence is looked for. Under another
	// revision with the same basis the verdict would be the same.
	Basis string `json:"-"`
	// Expires is when evidence that this verdict rests on runs out (a key's or a
	// signature's end of validity); zero when nothing limits it. Caches may keep
	// the verdict for a shorter time, never for longer.
	Expires time.Time `json:"expires,omitzero"`
	// Cached is set by caches on verdicts that were not made for this request.
	Cached bool `json:"-"`
}

// Signers returns who signed what was accepted, without repetition.
func (v Verdict) Signers() []string {
	var out []string
	seen := map[string]bool{}
	for _, r := range v.Requirements {
		for _, s := range r.Signers {
			if !seen[s] {
				seen[s] = true
				out = append(out, s)
			}
		}
	}
	return out
}

// Evidence returns the digests of the documents that were accepted, without
// repetition.
func (v Verdict) Evidence() []string {
	var out []string
	for _, r := range v.Requirements {
		for _, d := range r.Evidence {
			if !slices.Contains(out, d) {
				out = append(out, d)
			}
		}
	}
	return out
}

// Verifier judges subjects. An error means that the judgement is inconclusive.
type Verifier interface {
	Verify(ctx context.Context, s Subject) (Verdict, error)
	// Revision names the policy in force. Verdicts of another revision are stale,
	// unless Basis says that nothing was changed that they rest on.
	Revision() string
	// Basis returns the revision in force and the [Verdict.Basis] that a verdict about
	// s has under it; empty when that is not known.
	Basis(s Subject) (revision, basis string)
}

// ManifestDigest computes the digest of a manifest with the algorithm given,
// leaving out the signatures of Docker schema 1 manifests as their digests do
// (manifest.Digest of containers/image). The zero algorithm is sha256. More values
// than [discover.MaxValues] are an error: its reader would build all of them.
func ManifestDigest(b []byte, alg digest.Algorithm) (d digest.Digest, err error) {
	// The reader of schema 1 signatures trips over some malformed ones.
	defer func() {
		if r := recover(); r != nil {
			d, err = "", fmt.Errorf("the manifest's signatures cannot be read: %v", r)
		}
	}()
	if err := discover.CheckValues(b); err != nil {
		return "", fmt.Errorf("the manifest cannot be read: %w", err)
	}
	if alg == "" || alg == digest.SHA256 {
		return manifest.Digest(b)
	}
	if !alg.Available() {
		return "", fmt.Errorf("digest algorithm %q is not supported", alg)
	}
	return alg.FromBytes(b), nil
}
