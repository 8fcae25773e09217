package proxy

import (
	"context"
	"errors"
	"strings"

	"github.com/distribution/reference"
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
