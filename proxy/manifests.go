package proxy

import (
	"context"

	"github.com/distribution/reference"
)

// getManifest answers GET and HEAD of a manifest by tag or digest ("Pulling
// manifests" of the OCI distribution specification). HEAD is judged exactly like
// GET: some clients resolve a tag by HEAD and never ask for the tag again.
func (h *Handler) getManifest(x *exchange) error {
	repo, err := x.repository(h.opts.Names)
	if err != nil {
		return err
	}
	ref, err := withReference(repo, x.what)
	if err != nil {
		return err
	}
	x.about("manifest", ref)
	if err := h.enter(x, ref, false); err != nil {
		return notFound(err, codeManifestUnknown)
	}
	m, out, err := h.judged(x.r.Context(), ref)
	if m != nil {
		x.record.Digest = m.digest.String()
	}
	if err != nil {
		return notFound(err, codeManifestUnknown)
	}
	x.decide(out, true)
	if !out.Forward() {
		return errDenied(ref, out)
	}
	if out.ReportOnly {
		x.warn(out)
	}
	x.w.Header().Set("Docker-Content-Digest", m.digest.String())
	return x.writeBytes(200, m.doc.mediaType, m.bytes)
}

// judged fetches what ref names and decides about it. The manifest is returned
// with an error as well when it was fetched.
func (h *Handler) judged(ctx context.Context, ref reference.Named) (*Manifest, Outcome, error) {
	m, err := h.gate.manifest(ctx, ref)
	if err != nil {
		return nil, Outcome{}, err
	}
	out, err := h.gate.admit(ctx, ref, m)
	return m, out, err
}
