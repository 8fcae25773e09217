package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/verify/attest"
	"github.com/pullgate/pullgate/verify/bundle"
	"github.com/pullgate/pullgate/verify/discover"
)

// maxBaseCandidates bounds the images of the policy's repository that provenance may
// name as materials: each stage of a build has one.
const maxBaseCandidates = 8

// hint is a base that an image may have.
type hint struct {
	claim
	source digest.Digest // the provenance that names it; empty: the policy or an annotation does
}

// provenance collects what SLSA provenance says about the base of an image. It is not
// verified who signed it: anybody may write it, as anybody may write annotations. It
// chooses among images of one repository, which still have to be accepted by the
// policy and contained in the image.
type provenance struct {
	repo    reference.Named // where the base has to be
	found   int             // documents that are provenance of the image
	hints   []hint
	others  []string // what else the provenance names
	skipped []string // why documents and materials were left out
}

// fromProvenance lists the images of repo that the image's provenance names as
// materials: what lies in the image's index, which its publisher wrote; when that names
// none, what lies beside the image, where others may add to it; when that names none,
// the provenance of the index.
func (x *baseLayer) fromProvenance(ctx context.Context, in *judging, repo reference.Named) ([]hint, error) {
	p := &provenance{repo: repo}
	inIndex, beside := byPublisher(in.found.Documents)
	if err := p.read(ctx, inIndex, in.image.canonical); err != nil {
		return nil, err
	}
	if len(p.hints) == 0 {
		if err := p.read(ctx, beside, in.image.canonical); err != nil {
			return nil, err
		}
	}
	var own discover.Query
	x.wants(&own, in.image)
	looked := in.found.LookedFor(own)
	if index := in.image.index(); len(p.hints) == 0 && index != "" {
		q, err := in.policy.query(in.image, index)
		if err != nil {
			return nil, err
		}
		q.Referrers, q.Attestations, q.Statements = true, true, true
		above, err := in.engine.finder.Find(ctx, q)
		in.looked = append(in.looked, above.Looked...)
		if err != nil {
			return nil, fmt.Errorf("provenance of index %s: %w", index, err)
		}
		if err := p.read(ctx, above.Documents, index); err != nil {
			return nil, err
		}
		looked = slices.Concat(looked, above.Looked)
	}
	switch {
	case len(p.hints) > maxBaseCandidates:
		return nil, notBasedf("provenance names more than %d images of %s among the materials: expected the annotation %s, which says which of them is the base",
			maxBaseCandidates, repo.Name(), ocispec.AnnotationBaseImageName)
	case len(p.hints) == 0:
		return nil, p.none(looked)
	}
	return p.hints, nil
}

// index is the digest of the index through which the image was reached, empty when
// there is none that lists it.
func (j *judged) index() digest.Digest {
	if len(j.subject.Index) == 0 {
		return ""
	}
	x, err := readLayered(j.subject.Index)
	if err != nil || !slices.ContainsFunc(x.entries, func(d ocispec.Descriptor) bool { return j.sameImage(d.Digest) }) {
		return ""
	}
	return digest.FromBytes(j.subject.Index)
}

// byPublisher tells what is part of the image's index from what lies beside the image.
func byPublisher(documents []discover.Document) (inIndex, beside []discover.Document) {
	for _, d := range documents {
		if d.Origin == discover.OriginIndex {
			inIndex = append(inIndex, d)
		} else {
			beside = append(beside, d)
		}
	}
	return inIndex, beside
}

// read takes over what documents about an image, or about its index, say. It fails only
// when ctx ends: strangers say how much there is to read.
func (p *provenance) read(ctx context.Context, documents []discover.Document, about digest.Digest) error {
	for _, d := range documents {
		if ctx.Err() != nil {
			return fmt.Errorf("reading provenance: %w", ctx.Err())
		}
		s, err := untrustedStatement(d)
		if err != nil {
			p.skip(d.Digest, err)
			continue
		}
		if !s.IsProvenance() {
			continue
		}
		if !s.About(about) {
			p.skip(d.Digest, errors.New("it is about another image"))
			continue
		}
		p.found++
		materials, err := s.Materials()
		if err != nil {
			p.skip(d.Digest, err)
		}
		for _, m := range materials {
			p.add(m, d.Digest)
		}
	}
	return nil
}

// untrustedStatement is the statement in a document; the zero statement when it holds
// none.
func untrustedStatement(d discover.Document) (attest.Statement, error) {
	b := d.Bytes
	switch d.Kind {
	case discover.KindStatement:
	case discover.KindBundle, discover.KindDSSE:
		var err error
		if b, err = bundle.UntrustedStatement(d); err != nil {
			return attest.Statement{}, err
		}
	default:
		b = nil
	}
	if b == nil {
		return attest.Statement{}, nil
	}
	return parseUntrusted(b)
}

// parseUntrusted reads a statement that anybody can have written: before a signature is
// seen, no more is built of it than of other things of an upstream.
func parseUntrusted(b []byte) (attest.Statement, error) {
	if err := discover.CheckValues(b); err != nil {
		return attest.Statement{}, fmt.Errorf("the statement: %w", err)
	}
	return attest.ParseStatement(b)
}

// add takes over a material, as a hint when it is an image of the repository.
func (p *provenance) add(m attest.Material, source digest.Digest) {
	img, err := m.Image()
	switch {
	case errors.Is(err, attest.ErrNoImage), err == nil && img.Repository.Name() != p.repo.Name():
		if m.URI != "" && len(p.others) < maxReasons {
			p.others = append(p.others, clean(m.URI))
		}
		return
	case err != nil:
		p.skip(source, err)
		return
	case img.Tag == "" && img.Digest == "":
		p.skip(source, fmt.Errorf("%s has neither tag nor digest", clean(m.URI)))
		return
	}
	c, err := newClaim(p.repo, img.Tag, img.Digest)
	if err != nil {
		p.skip(source, err)
		return
	}
	same := func(h hint) bool { return h.name() == c.name() }
	// One more than may be is enough to see that they are too many.
	if len(p.hints) <= maxBaseCandidates && !slices.ContainsFunc(p.hints, same) {
		p.hints = append(p.hints, hint{claim: c, source: source})
	}
}

// skip notes why something of a document was left out.
func (p *provenance) skip(document digest.Digest, err error) {
	if len(p.skipped) < maxReasons {
		p.skipped = append(p.skipped, fmt.Sprintf("document %s was left out: %s", document, clean(err.Error())))
	}
}

// none says why no base is known, and what was found instead.
func (p *provenance) none(looked []string) error {
	why := fmt.Sprintf("the image's manifest has no annotation %s or %s, which would say what image of %s it is built on, ",
		ocispec.AnnotationBaseImageName, ocispec.AnnotationBaseImageDigest, p.repo.Name())
	switch {
	case p.found == 0:
		why += "and no SLSA provenance found at " + strings.Join(looked, " and ")
	case len(p.others) == 0 && len(p.skipped) > 0:
		why += "and nothing in its SLSA provenance can be used"
	case len(p.others) == 0:
		why += "and its SLSA provenance names no materials"
	default:
		why += "and its SLSA provenance names none either, but " + someOf(p.others, ", ")
	}
	return &notBased{append([]string{why}, p.skipped...)}
}
