package proxy

import (
	"context"
	"errors"
	"io/fs"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// admitBlob is rule 5: blob d of repo may be sent when a manifest of repo that is
// allowed or admitted now lists it. Manifests are never served as blobs, whoever
// lists them.
func (g *gate) admitBlob(ctx context.Context, repo reference.Named, d digest.Digest) (Outcome, error) {
	if g.graph.IsManifest(repo.Name(), d) {
		return Outcome{}, errBlobDenied("manifest " + d.String() + " is not served as a blob; ask for it under /manifests/")
	}
	holders := g.graph.Holders(repo.Name(), d)
	var doubt error
	var denied Outcome
	for _, h := range holders[:min(len(holders), maxHolders)] {
		out, err := g.admitHolder(ctx, repo, h)
		if errors.Is(err, fs.ErrNotExist) {
			continue // what is gone vouches for nothing
		}
		if err != nil {
			doubt = errors.Join(doubt, err)
			continue
		}
		if out.Forward() {
			return out, nil
		}
		denied = out
	}
	switch {
	case doubt != nil:
		return Outcome{}, doubt
	case len(denied.Verdict.Requirements) > 0:
		return denied, nil
	}
	return Outcome{}, errBlobDenied("blob " + d.String() + " is not listed by any image of " + repo.Name() +
		" that was pulled through this gate and is allowed; pull the image first")
}

// admitHolder asks whether the manifest that lists a blob may be sent now.
func (g *gate) admitHolder(ctx context.Context, repo reference.Named, d digest.Digest) (Outcome, error) {
	m, err := g.byDigest(ctx, repo, d)
	if err != nil {
		return Outcome{}, err
	}
	if evidenceShaped(m) {
		out, err := g.admitEvidence(ctx, m)
		if err != nil || out.Forward() {
			return out, err
		}
	}
	ref, err := reference.WithDigest(reference.TrimNamed(repo), d)
	if err != nil {
		return Outcome{}, err
	}
	return g.admitDigest(ctx, ref, m)
}
