package proxy

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/distribution/reference"

	"github.com/pullgate/pullgate/verify"
)

// Judge answers for a logical reference (a full name with a tag or a digest)
// exactly as a pull of it would be answered. [DecisionOf] tells what an error
// means.
func (h *Handler) Judge(ctx context.Context, ref reference.Named) (Outcome, error) {
	m, out, err := h.judged(ctx, ref)
	if m != nil {
		out.Digest = m.digest
	}
	return out, err
}

// Subjects returns what is judged when ref is pulled, without judging it: the
// manifest that ref names, and, when that is an index, every image that it lists
// itself, each under ref. What an index lists that is evidence about another of its
// manifests, or another index, is left out. Errors are those of [Handler.Judge].
func (h *Handler) Subjects(ctx context.Context, ref reference.Named) ([]verify.Subject, error) {
	m, err := h.gate.manifest(ctx, ref)
	if err != nil {
		return nil, err
	}
	out := []verify.Subject{h.gate.subject(ctx, ref, m, nil)}
	if len(m.doc.children) > maxJudgedEntries {
		return nil, fmt.Errorf("the index %s lists more than %d manifests", ref, maxJudgedEntries)
	}
	for _, c := range m.doc.children {
		child, err := h.gate.byDigest(ctx, m.repo, c.Digest)
		if err != nil {
			return nil, fmt.Errorf("%s, which index %s lists: %w", c.Digest, m.digest, err)
		}
		if !evidenceShaped(child) && !child.doc.index {
			out = append(out, h.gate.subject(ctx, ref, child, m))
		}
	}
	return out, nil
}

// subject is m as it is judged for somebody who asked for ref, and reached it through
// index, nil for none.
func (g *gate) subject(ctx context.Context, ref reference.Named, m, index *Manifest) verify.Subject {
	s := verify.Subject{Ref: ref, Digest: m.digest, MediaType: m.doc.mediaType, Manifest: m.bytes,
		Transport: g.upstream.Transport(reference.Domain(ref)), Asker: owner(ctx)}
	if index != nil {
		s.Index = index.bytes
	}
	return s
}

// ReportOnly reports whether what scope denies of ref is forwarded all the same.
func (h *Handler) ReportOnly(ref reference.Named, scope string) bool {
	return h.gate.isReportOnly(ref, scope)
}

// DecisionOf says what an error of [Handler.Judge] or [Handler.Reference] decides:
// "denied" when content was refused, else "inconclusive".
func DecisionOf(err error) string {
	var e *apiError
	if !errors.As(err, &e) {
		e = toAPIError(err)
	}
	if e.decision == decisionDenied {
		return decisionDenied
	}
	return decisionInconclusive
}

// Reference reads an image's name as a person writes it: with its registry (whose
// port may be given), or as a client would ask the gate for it. The tag is latest
// when none is given.
func (h *Handler) Reference(image string) (reference.Named, error) {
	image = strings.TrimPrefix(image, "docker://") // as skopeo and podman write it
	name, ref := image, "latest"
	if n, d, ok := strings.Cut(image, "@"); ok {
		name, ref = n, d
		if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
			name = name[:i] // a digest says more than the tag before it
		}
	} else if i := strings.LastIndexByte(image, ':'); i > strings.LastIndexByte(image, '/') {
		name, ref = image[:i], image[i+1:]
	}
	if isCanary("", name) {
		return nil, errCanary(ref)
	}
	repo, err := h.opts.Names.named(name)
	if err != nil {
		return nil, err
	}
	return withReference(repo, ref)
}

// named is repository for names outside of requests, in which a registry may have
// a port.
func (n Names) named(name string) (reference.Named, error) {
	if first, rest, ok := strings.Cut(name, "/"); ok && strings.Contains(first, ":") {
		return n.inRegistry(first, rest)
	}
	return n.repository(name, nil, "")
}
