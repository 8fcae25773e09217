package verify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/opencontainers/go-digest"
)

// maxPayload bounds the signed content of a simple signing message, also after
// decompression: a few hundred bytes are usual.
const maxPayload = 1 << 20

// claims is what a signature says about itself: a reference and a digest.
type claims struct {
	identity string
	digest   string
}

// parseClaims reads a simple signing payload (containers-signature(5)), for
// messages only: the verdict rests on the library's strict reading of it.
func parseClaims(payload []byte) (c claims, ok bool) {
	var p struct {
		Critical struct {
			Identity struct {
				Ref string `json:"docker-reference"`
			} `json:"identity"`
			Image struct {
				Digest string `json:"docker-manifest-digest"`
			} `json:"image"`
		} `json:"critical"`
	}
	if json.Unmarshal(payload, &p) != nil {
		return c, false
	}
	return claims{p.Critical.Identity.Ref, p.Critical.Image.Digest}, true
}

// simpleFinding is what one simple signing message holds, seen with one keyring.
type simpleFinding struct {
	claims
	signer  string // key ID for people; empty when the message is not signed
	signers []string
	expires time.Time // when the signature stops to be valid; zero: never
	problem string    // why it does not count; empty when it is cryptographically good
}

// inspectSimple verifies a simple signing message against a keyring, strictly: the
// same way as containers/image does, plus bounds on its content and the refusal of
// weak hashes and keys. Whether identity and digest are right is not looked at.
func inspectSimple(blob []byte, ring openpgp.EntityList, allowWeak bool, now func() time.Time) (f simpleFinding) {
	limit := int64(maxPayload)
	md, err := openpgp.ReadMessage(bytes.NewReader(blob), ring, nil,
		&packet.Config{MaxDecompressedMessageSize: &limit, Time: now})
	if err != nil {
		f.problem = "malformed signature: " + clean(err.Error())
		return f
	}
	if !md.IsSigned {
		f.problem = "malformed signature: the OpenPGP message is not signed"
		return f
	}
	content, err := io.ReadAll(io.LimitReader(md.UnverifiedBody, limit+1))
	if err != nil {
		f.problem = "malformed signature: " + clean(err.Error())
		return f
	}
	if int64(len(content)) > limit {
		f.problem = fmt.Sprintf("malformed signature: its content is larger than %d bytes", limit)
		return f
	}
	f.signer = keyName(md.SignedByKeyId)
	f.claims, _ = parseClaims(content)
	if f.problem = signatureProblem(md, ring, allowWeak); f.problem == "" {
		f.signers = []string{"gpg:" + fingerprint(md.SignedBy.Entity)}
		f.expires = endOfValidity(md.SignedBy, md.Signature)
	}
	return f
}

// signatureProblem says why a message that was read to its end is not validly
// signed by a key of the ring; empty when it is.
func signatureProblem(md *openpgp.MessageDetails, ring openpgp.EntityList, allowWeak bool) string {
	name := keyName(md.SignedByKeyId)
	if md.SignedBy == nil {
		if len(ring.KeysById(md.SignedByKeyId)) > 0 {
			return fmt.Sprintf("signed by key %s, which is not a signing key", name)
		}
		return fmt.Sprintf("signed by key %s, which this scope does not trust", name)
	}
	switch err := md.SignatureError; {
	case err == nil:
	case errors.Is(err, pgperrors.ErrKeyExpired):
		return fmt.Sprintf("signed by key %s, which is expired", name)
	case errors.Is(err, pgperrors.ErrSignatureExpired):
		return fmt.Sprintf("the signature by key %s is expired", name)
	case errors.Is(err, pgperrors.ErrKeyRevoked):
		return fmt.Sprintf("signed by key %s, which is revoked", name)
	default:
		return fmt.Sprintf("the signature said to be by key %s does not verify: %s", name, clean(err.Error()))
	}
	if md.Signature == nil { // cannot be without an error; what else there is must not count
		return "malformed signature: no signature packet"
	}
	if allowWeak {
		return ""
	}
	if h := weakHash(md.Signature.Hash); h != "" {
		return fmt.Sprintf("signed by key %s with %s, which is refused", name, h)
	}
	if w := weakKey(md.SignedBy.PublicKey); w != "" {
		return fmt.Sprintf("signed with %s key %s, which is refused (under %d bits)", w, name, minRSABits)
	}
	return ""
}

// endOfValidity is the earliest end among everything that a message signature
// rests on: itself, the key, and the self-signatures of key and subkey.
func endOfValidity(key *openpgp.Key, sig *packet.Signature) time.Time {
	var end time.Time
	limit := func(from time.Time, seconds *uint32) {
		if seconds == nil || *seconds == 0 {
			return
		}
		if t := from.Add(time.Duration(*seconds) * time.Second); end.IsZero() || t.Before(end) {
			end = t
		}
	}
	self, _ := key.Entity.PrimarySelfSignature()
	if self != nil {
		limit(key.Entity.PrimaryKey.CreationTime, self.KeyLifetimeSecs)
	}
	sigs := []*packet.Signature{sig, self}
	if key.PublicKey != key.Entity.PrimaryKey && key.SelfSignature != nil {
		limit(key.PublicKey.CreationTime, key.SelfSignature.KeyLifetimeSecs)
		sigs = append(sigs, key.SelfSignature, key.SelfSignature.EmbeddedSignature)
	}
	for _, s := range sigs {
		if s != nil {
			limit(s.CreationTime, s.SigLifetimeSecs)
		}
	}
	return end
}

// judgeSimple judges one simple signing message by one signedBy requirement: it
// has to be good by inspectSimple and accepted by containers/image.
func (p *Policy) judgeSimple(ctx context.Context, r *requirement, j *judged, blob []byte, now func() time.Time) (simpleFinding, error) {
	f := inspectSimple(blob, r.gpg.entities, p.allowWeak, now)
	if f.problem != "" {
		return f, nil
	}
	allowed, err := evaluate(ctx, r.native, withSimple{j, blob})
	if ctx.Err() != nil {
		return f, ctx.Err()
	}
	if !allowed {
		f.problem = refusal(f.claims, r, j, err)
	}
	return f, nil
}

// refusal words why containers/image refused a signature that is
// cryptographically good: it is for something else, its payload is malformed, or, of
// an attachment, what vouches for its signer is not what the requirement trusts.
func refusal(c claims, r *requirement, j *judged, err error) string {
	if d, perr := digest.Parse(c.digest); perr == nil && !j.sameImage(d) {
		return fmt.Sprintf("signature is for digest %s, this manifest is %s", clean(c.digest), j.subject.Digest)
	}
	var notAccepted = fmt.Sprintf("Signature for identity %q is not accepted", c.identity)
	if err != nil && err.Error() == notAccepted {
		return fmt.Sprintf("signature is for %s, asked for %s (%s)", clean(c.identity), j.ref(), clean(r.match.String()))
	}
	switch {
	case err == nil:
		return "refused without a reason"
	case r.trust != nil: // a certificate of somebody else, an unknown log: nothing malformed
		return "signature is not accepted: " + clean(err.Error())
	}
	return "malformed signature: " + clean(err.Error())
}
