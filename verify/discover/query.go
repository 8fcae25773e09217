package discover

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Query says whose signatures to look for, and where. A place that is not asked
// for is not asked.
type Query struct {
	// Ref names the repository; its tag or digest is not used.
	Ref reference.Named
	// Digest is the manifest's canonical (sha256) digest: signatures are stored
	// under it whatever digest was asked for.
	Digest digest.Digest
	// Subject is the judged manifest: media type, digest (the same as Digest) and
	// size in bytes. It may be left out.
	Subject imgspec.Descriptor
	// Lookaside is the address from [Lookasides.Base]; Stored needs it.
	Lookaside *url.URL
	// Stored asks for the registry's signature API or the lookaside.
	Stored bool
	// Attachments asks for the .sig tag.
	Attachments bool
	// Attestations asks for the .att tag.
	Attestations bool
	// Referrers asks for the manifests that refer to the judged one.
	Referrers bool
	// Statements asks for SLSA provenance that nobody signed, too: in Index, and with
	// Referrers among those.
	Statements bool
	// Index holds the bytes of the index through which the judged manifest was
	// reached; empty when there is none. It is in Ref's repository.
	Index []byte
	// Repository is the signature repository: where .sig, .att and referrers are
	// looked for, in another registry if it says so. Nil is Ref's own. Its tag or
	// digest is not used.
	Repository reference.Named
}

// Found is what the places hold.
type Found struct {
	Signatures []Signature
	Documents  []Document
	Looked     []string // the places that were asked, also when one failed

	origins []Origin // of Looked, one for one
}

// LookedFor lists the places that were asked and that q asks for too: where the
// evidence that q wants would have been found.
func (f Found) LookedFor(q Query) []string {
	wanted := map[Origin]bool{OriginStored: q.Stored, OriginAttachments: q.Attachments,
		OriginAttestations: q.Attestations, OriginReferrers: q.Referrers, OriginIndex: q.Statements && len(q.Index) > 0}
	var out []string
	for i, place := range f.Looked {
		if i < len(f.origins) && wanted[f.origins[i]] {
			out = append(out, place)
		}
	}
	return out
}

// check refuses a query that cannot be meant.
func (q Query) check() error {
	if err := q.Digest.Validate(); err != nil {
		return fmt.Errorf("digest of the manifest: %w", err)
	}
	if q.Ref == nil {
		return errors.New("query: a repository is needed")
	}
	if d := q.Subject.Digest; d != "" && d != q.Digest {
		return fmt.Errorf("query: expected a subject of digest %s, found %s", q.Digest, d)
	}
	if q.Stored && q.Lookaside == nil {
		return errors.New("query: stored signatures need the address of a lookaside")
	}
	return nil
}

// repository is where .sig, .att and referrers are.
func (q Query) repository() reference.Named {
	if q.Repository != nil {
		return reference.TrimNamed(q.Repository)
	}
	return reference.TrimNamed(q.Ref)
}

// add takes over what the place of origin holds. Evidence that seen knows already is
// left out; stored signatures and attachments are all kept, as containers/image
// keeps them.
func (f *Found) add(part Found, origin Origin, seen map[string]bool) {
	for _, s := range part.Signatures {
		s.Origin = origin
		if s.Sigstore != nil {
			key := s.Sigstore.key()
			if origin == OriginReferrers && seen[key] {
				continue
			}
			seen[key] = true
		}
		f.Signatures = append(f.Signatures, s)
	}
	for _, d := range part.Documents {
		d.Origin = origin
		if key := d.key(); !seen[key] {
			seen[key] = true
			f.Documents = append(f.Documents, d)
		}
	}
}

// key is equal for documents that say the same. Annotations count where they are
// part of the evidence: a copy of a DSSE envelope without its certificate must not
// hide the one that has it.
func (d *Document) key() string {
	key := fmt.Sprintf("%s %s %s", d.Kind, d.MediaType, d.Digest)
	if d.Kind == KindDSSE {
		key += " " + annotationsKey(d.Annotations)
	}
	return key
}

// key is equal for attachments that say the same.
func (s *Sigstore) key() string {
	return fmt.Sprintf("%s %s %s", s.MIMEType, digest.FromBytes(s.Payload), annotationsKey(s.Annotations))
}

// annotationsKey is equal for equal annotations.
func annotationsKey(a map[string]string) string {
	if len(a) == 0 {
		return ""
	}
	b, err := json.Marshal(a) // sorted by name; strings always encode
	if err != nil {
		return err.Error()
	}
	return digest.FromBytes(b).String()
}
