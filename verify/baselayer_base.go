package verify

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/manifest"
)

// base is the base image of one that is judged.
type base struct {
	claim    claim
	top      fetched // what the reference names: an image, or an index
	instance fetched // the image for the platform; top, when that is one
	content  *content
}

// fetched is a manifest with the digest that it was checked against.
type fetched struct {
	bytes     []byte
	digest    digest.Digest
	canonical digest.Digest // sha256
}

// unread says that something of a base could not be read: nobody can tell whether
// the image is built on it. It is an [*Inconclusive] for errors.As.
type unread struct {
	what  string
	cause *Inconclusive
}

func (e *unread) Error() string { return e.what + " could not be read: " + e.cause.Err.Error() }
func (e *unread) Unwrap() error { return e.cause }

// index is the index that lists the base, nil when it was named without one.
func (b *base) index() []byte {
	if b.top.digest == b.instance.digest {
		return nil
	}
	return b.top.bytes
}

// fetchBase fetches the image that c names: of an index, the one for p.
func (in *judging) fetchBase(ctx context.Context, c claim, p ocispec.Platform) (*base, error) {
	b := &base{claim: c}
	what := "base " + c.name()
	var err error
	if b.top, err = in.fetch(ctx, what, c.ref, c.digest); err != nil {
		return nil, err
	}
	b.instance = b.top
	img, err := readLayered(b.top.bytes)
	if err != nil {
		return nil, notBasedf("%s cannot be used: %v", what, err)
	}
	if img.index {
		entry, ok := img.forPlatform(p)
		if !ok {
			return nil, notBasedf("%s is an index without an image for %s", what, platformName(p))
		}
		what += " for " + platformName(p)
		if b.instance, err = in.fetch(ctx, what, c.ref, entry.Digest); err != nil {
			return nil, err
		}
		if img, err = readLayered(b.instance.bytes); err != nil {
			return nil, notBasedf("%s cannot be used: %v", what, err)
		}
		if img.index {
			return nil, notBasedf("%s is an index in an index: expected an image", what)
		}
	}
	b.content, err = in.content(ctx, what, c.ref, img)
	return b, err
}

// fetch fetches a manifest of ref's repository: the one of digest d, or without it
// the one that ref names.
func (in *judging) fetch(ctx context.Context, what string, ref reference.Named, d digest.Digest) (fetched, error) {
	if d != "" {
		byDigest, err := reference.WithDigest(reference.TrimNamed(ref), d)
		if err != nil {
			return fetched{}, notBasedf("%s: %s", what, clean(err.Error()))
		}
		ref = byDigest
	} else if c, ok := ref.(reference.Digested); ok {
		d = c.Digest()
	}
	b, err := in.engine.finder.Registry.ManifestBytes(ctx, ref)
	switch {
	case ctx.Err() != nil:
		return fetched{}, fmt.Errorf("%s: %w", what, ctx.Err())
	case errors.Is(err, fs.ErrNotExist) && in.mayBeHidden(ref):
		return fetched{}, &unread{what, &Inconclusive{Place: ref.String(), Err: errHidden}}
	case errors.Is(err, fs.ErrNotExist):
		return fetched{}, notBasedf("%s does not exist: there is no %s", what, ref)
	case err != nil:
		return fetched{}, &unread{what, &Inconclusive{Place: ref.String(), Err: err}}
	}
	f := fetched{bytes: b, digest: d}
	if f.canonical, err = ManifestDigest(b, digest.Canonical); err == nil && d == "" {
		f.digest = f.canonical
	}
	if err == nil && d != "" {
		var actual digest.Digest
		if actual, err = ManifestDigest(b, d.Algorithm()); err == nil && actual != d {
			err = fmt.Errorf("expected bytes of %s, found %s", d, actual)
		}
	}
	if err != nil {
		return fetched{}, &unread{what, &Inconclusive{Place: ref.String(), Err: err}}
	}
	return f, nil
}

// errHidden is "does not exist", said to somebody who may not be told.
var errHidden = errors.New("the registry says that there is none to the client whose credentials it was asked with, " +
	"which may mean that the client may not read it; give the clients leave to pull the base")

// mayBeHidden tells whether the answer that ref does not exist may be for one client
// only: where the registry is asked with the client's own credentials, many say so of
// what that client may not read. A verdict is for all clients, so that is none. What
// the client may read is the judged image's own repository.
func (in *judging) mayBeHidden(ref reference.Named) bool {
	c, ok := in.engine.finder.Registry.(interface{ ClientCredentials(registry string) bool })
	return ok && ref.Name() != in.image.ref().Name() && c.ClientCredentials(reference.Domain(ref))
}

// content fetches the config of an image of ref's repository, and says what the
// image is made of.
func (in *judging) content(ctx context.Context, what string, ref reference.Named, img *layered) (*content, error) {
	d := img.config
	if d.Size > maxBaseConfig {
		return nil, notBasedf("the config of %s says to have %d bytes: expected at most %d", what, d.Size, maxBaseConfig)
	}
	at, err := reference.WithDigest(reference.TrimNamed(ref), d.Digest)
	if err != nil {
		return nil, notBasedf("the config of %s: %s", what, clean(err.Error()))
	}
	b, err := in.engine.finder.Registry.BlobBytes(ctx, at, maxBaseConfig)
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("the config of %s: %w", what, ctx.Err())
	case errors.Is(err, fs.ErrNotExist) && in.mayBeHidden(at):
		return nil, &unread{"the config of " + what, &Inconclusive{Place: at.String(), Err: errHidden}}
	case errors.Is(err, fs.ErrNotExist):
		return nil, notBasedf("the config of %s does not exist: there is no %s", what, at)
	case err == nil && d.Digest.Algorithm().FromBytes(b) != d.Digest:
		err = fmt.Errorf("expected bytes of %s, found others", d.Digest)
	}
	if err != nil {
		return nil, &unread{"the config of " + what, &Inconclusive{Place: at.String(), Err: err}}
	}
	c, err := readContent(b, img.layers)
	if err != nil {
		return nil, notBasedf("the config of %s %v", what, err)
	}
	return c, nil
}

// cycle refuses a base that is one of the images whose base is looked for.
func (b *base) cycle(below *descent) error {
	if below.has(b.claim.ref, b.instance.canonical) {
		return notBasedf("base %s is the image itself, or built on it: give the base a scope that asks for its own signature", b.claim.name())
	}
	return nil
}

// accept judges the base by the policy, as every image is judged. Of an index,
// either the index has to be accepted or the image in it; a scope for the very digest
// of the image decides alone, so that a base can be banned.
func (in *judging) accept(ctx context.Context, b *base, below *descent) (outcome, error) {
	inherited := in.scoped(b.claim.ref, b.top.canonical)
	own := in.scoped(inherited, b.instance.canonical)
	type try struct {
		ref reference.Named
		fetched
		index []byte
	}
	tries := []try{{inherited, b.top, nil}, {own, b.instance, b.index()}}
	if b.top.canonical == b.instance.canonical || own.String() != inherited.String() {
		tries = tries[1:]
	}
	var reasons []string
	for _, t := range tries {
		v, err := in.engine.verify(ctx, in.policy, Subject{Ref: t.ref, Digest: t.digest, Manifest: t.bytes,
			MediaType: manifest.GuessMIMEType(t.bytes), Transport: in.transport(t.ref), Index: t.index}, below)
		in.looked = append(in.looked, v.Looked...)
		if err != nil {
			return outcome{}, fmt.Errorf("base %s: %w", b.claim.name(), err)
		}
		if why := refusalOfBase(v); why != "" {
			reasons = append(reasons, fmt.Sprintf("base %s, %s: %s", t.ref, t.digest, why))
			continue
		}
		return vouched(v, b, t.ref), nil
	}
	return outcome{}, notBasedf("%s", strings.Join(reasons, "; and "))
}

// scoped is the reference by which an image is judged: the digest when the policy
// has a scope for that very digest, ref otherwise.
func (in *judging) scoped(ref reference.Named, d digest.Digest) reference.Named {
	byDigest, err := reference.WithDigest(reference.TrimNamed(ref), d)
	if err != nil {
		return ref
	}
	transport := in.transport(ref)
	if transport == "" {
		transport = TransportDocker
	}
	if _, ok := in.policy.scopes[transport][byDigest.String()]; ok {
		return byDigest
	}
	return ref
}

// transport is the section of policy.json that is about ref's registry: as the
// registry's client says, which knows the configuration, else the image's own when
// the base is in the same registry.
func (in *judging) transport(ref reference.Named) string {
	if c, ok := in.engine.finder.Registry.(interface{ Transport(registry string) string }); ok {
		return c.Transport(reference.Domain(ref))
	}
	if reference.Domain(ref) == reference.Domain(in.image.ref()) {
		return in.image.subject.Transport
	}
	return TransportDocker
}

// refusalOfBase says why a base with this verdict proves nothing; empty when it does.
func refusalOfBase(v Verdict) string {
	if v.Decision == Allowed {
		if len(v.Signers()) > 0 {
			return ""
		}
		return fmt.Sprintf("scope %s accepts it without a signature, and a base that nobody vouches for proves nothing; "+
			"give the base a scope that asks for a signature", clean(v.Scope))
	}
	var why []string
	for _, r := range v.Requirements {
		if !r.Allowed {
			why = append(why, r.Type+": "+strings.Join(r.Found[:min(len(r.Found), 2)], ", "))
		}
	}
	return fmt.Sprintf("scope %s denies it: %s", clean(v.Scope), strings.Join(why[:min(len(why), 2)], "; "))
}

// vouched is the outcome of an image whose base was accepted as ref: it rests on
// what the base's verdict rests on.
func vouched(v Verdict, b *base, ref reference.Named) outcome {
	o := outcome{Result: Result{Allowed: true}, expires: v.Expires}
	for _, s := range v.Signers() {
		o.Signers = append(o.Signers, fmt.Sprintf("%s (base %s)", s, ref))
	}
	o.Evidence = []string{b.top.digest.String()}
	if b.instance.digest != b.top.digest {
		o.Evidence = append(o.Evidence, b.instance.digest.String())
	}
	for _, r := range v.Requirements {
		o.Evidence = append(o.Evidence, r.Evidence...)
	}
	return o
}
