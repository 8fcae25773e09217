package verify

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/verify/discover"
)

// Bounds of signedBaseLayer.
const (
	maxBaseDepth = 4                // bases of bases
	maxBaseTries = 32               // bases looked at for one image, with those of its bases
	baseTimeout  = 60 * time.Second // for one image's base, with the bases of that
)

// baseLayer is signedBaseLayer (containers-policy.json(5)): the image starts with
// the layers of a base image that the policy accepts because somebody signed it. The
// image's annotations, or without them its provenance, may say which image of a
// repository is the base, and nothing else: that it is, is seen by its layers, and
// that it may be, by judging it.
type baseLayer struct {
	match matcher
	exact reference.Named // exactReference: the base
	repo  reference.Named // exactRepository: its repository; nil with matchRepository
}

// newBaseLayer reads a baseLayerIdentity. Those by which no base can be found deny
// every image, as they do in other programs: denies says why.
func newBaseLayer(m matcher) (x extension, denies string) {
	b := &baseLayer{match: m}
	switch m.Type {
	case "exactReference":
		ref, err := reference.ParseNormalizedNamed(m.DockerReference)
		if err != nil {
			return nil, "signedBaseLayer denies every image: dockerReference: " + clean(err.Error())
		}
		_, tagged := ref.(reference.Tagged)
		_, digested := ref.(reference.Digested)
		if tagged == digested {
			return nil, "signedBaseLayer denies every image: dockerReference needs either a tag or a digest, found " + clean(m.DockerReference)
		}
		b.exact = ref
	case "exactRepository":
		ref, err := reference.ParseNormalizedNamed(m.DockerRepository)
		if err != nil {
			return nil, "signedBaseLayer denies every image: dockerRepository: " + clean(err.Error())
		}
		b.repo = reference.TrimNamed(ref)
	case "matchRepository":
	default:
		return nil, fmt.Sprintf("signedBaseLayer denies every image: baseLayerIdentity %s compares the base with the image itself; "+
			"exactReference, exactRepository and matchRepository name a base", clean(m.Type))
	}
	return b, ""
}

// wants asks for provenance where nothing else says which image is the base. What
// counts is signed beside the base, and looked for when that is judged.
func (x *baseLayer) wants(q *discover.Query, image *judged) {
	if x.exact != nil {
		return
	}
	img, err := readLayered(image.subject.Manifest)
	if err != nil || img.index || img.namesBase() {
		return
	}
	q.Referrers, q.Attestations, q.Statements, q.Index = true, true, true, image.subject.Index
}

// namesBase tells whether the annotations say what the base is. When they do, they
// decide.
func (l *layered) namesBase() bool {
	return l.annotations[ocispec.AnnotationBaseImageName] != "" || l.annotations[ocispec.AnnotationBaseImageDigest] != ""
}

func (x *baseLayer) required() string {
	switch {
	case x.exact != nil:
		return "built on the signed image " + x.exact.String()
	case x.repo != nil:
		return "built on a signed image of " + x.repo.Name()
	}
	return "built on a signed image of its own repository"
}

func (x *baseLayer) wouldPass(ref reference.Named, _ time.Time) string {
	const layers = "whose first layers are those of the base, unchanged; the scope of the base has to accept it by a signature"
	if x.exact != nil {
		return fmt.Sprintf("an image built on %s, %s", x.exact, layers)
	}
	return fmt.Sprintf("an image with the annotation %s naming an image of %s by tag or digest, or %s its digest, or without both with SLSA provenance that has it among its materials, %s",
		ocispec.AnnotationBaseImageName, x.repository(ref).Name(), ocispec.AnnotationBaseImageDigest, layers)
}

// repository is where the base of ref has to be.
func (x *baseLayer) repository(ref reference.Named) reference.Named {
	switch {
	case x.exact != nil:
		return reference.TrimNamed(x.exact)
	case x.repo != nil:
		return x.repo
	}
	return reference.TrimNamed(ref)
}

// notBased is why an image does not meet signedBaseLayer. Every other error means
// that nobody can tell.
type notBased struct{ whys []string }

func (e *notBased) Error() string { return strings.Join(e.whys, "; ") }

func notBasedf(format string, args ...any) error {
	return &notBased{[]string{fmt.Sprintf(format, args...)}}
}

func (x *baseLayer) judge(ctx context.Context, in *judging) (outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, baseTimeout)
	defer cancel()
	o, err := x.based(ctx, in)
	if no := (*notBased)(nil); errors.As(err, &no) {
		return outcome{Result: Result{Found: no.whys}}, nil
	}
	if err != nil {
		return outcome{}, err
	}
	return o, nil
}

// based judges the image: which base it is, whether its layers come first, whether
// the policy accepts it. An error is *notBased, or says that nobody can tell.
func (x *baseLayer) based(ctx context.Context, in *judging) (outcome, error) {
	img, err := readLayered(in.image.subject.Manifest)
	if err != nil {
		return outcome{}, notBasedf("the image cannot be compared with a base: %v", err)
	}
	if img.index {
		return outcome{}, notBasedf("it is an index, which has no layers: its images are judged one by one")
	}
	hints, err := x.hints(ctx, in, img)
	if err != nil {
		return outcome{}, err
	}
	below, err := in.image.below()
	if err != nil {
		return outcome{}, err
	}
	own, err := in.content(ctx, "the image", in.image.ref(), img)
	if err != nil {
		return outcome{}, err
	}
	return x.basedOnAny(ctx, in, &candidate{img, own, below}, hints)
}

// candidate is an image whose base is looked for.
type candidate struct {
	*layered
	own   *content
	below *descent // as its base sees it
}

// hints lists what the base may be: what the policy or an annotation names, or else
// what provenance does.
func (x *baseLayer) hints(ctx context.Context, in *judging, img *layered) ([]hint, error) {
	if x.exact == nil && !img.namesBase() {
		return x.fromProvenance(ctx, in, x.repository(in.image.ref()))
	}
	c, err := x.claim(img, in.image.ref())
	return []hint{{claim: c}}, err
}

// basedOnAny looks for a base among hints: one that is contained and accepted is
// enough. When none is and one could not be looked at, nobody can tell.
func (x *baseLayer) basedOnAny(ctx context.Context, in *judging, img *candidate, hints []hint) (outcome, error) {
	var whys []string
	var doubt error
	for _, h := range hints {
		o, err := x.basedOn(ctx, in, img, h.claim)
		no := (*notBased)(nil)
		switch {
		case err == nil:
			if h.source != "" {
				o.Evidence = append(o.Evidence, h.source.String())
			}
			return o, nil
		case ctx.Err() != nil:
			return outcome{}, err
		case !errors.As(err, &no):
			doubt = err
		case h.source != "":
			whys = append(whys, fmt.Sprintf("%s, which provenance %s names: %s", h.name(), h.source, no))
		default:
			whys = append(whys, no.whys...)
		}
	}
	if doubt != nil {
		return outcome{}, doubt
	}
	return outcome{}, &notBased{whys}
}

// basedOn judges one image that may be the base.
func (x *baseLayer) basedOn(ctx context.Context, in *judging, img *candidate, c claim) (outcome, error) {
	if err := img.below.try(); err != nil {
		return outcome{}, err
	}
	b, err := in.fetchBase(ctx, c, img.own.platform)
	if err != nil {
		return outcome{}, c.explain(err)
	}
	if err := b.cycle(img.below); err != nil {
		return outcome{}, err
	}
	if err := startsWith(img.own, b.content, c.name()); err != nil {
		return outcome{}, c.explain(x.explain(err, img.layered, b))
	}
	return in.accept(ctx, b, img.below)
}

// claim is the base that an image has to have.
type claim struct {
	ref    reference.Named // by tag or digest: what it is judged as
	digest digest.Digest   // which image that was when it was built on; empty: what ref is now
	said   string          // the image's name for it, when that is of another repository
}

// name is the base in messages.
func (c claim) name() string {
	if c.digest == "" {
		return c.ref.String()
	}
	if _, ok := c.ref.(reference.Digested); ok {
		return c.ref.String()
	}
	return fmt.Sprintf("%s (%s)", c.ref, c.digest)
}

// explain adds the image's own name for the base to the reason why that is none.
func (c claim) explain(err error) error {
	if no := (*notBased)(nil); c.said == "" || !errors.As(err, &no) {
		return err
	}
	return notBasedf("%v; the image says that it is built on %s, whose digest alone was looked for in %s", err, c.said, c.ref.Name())
}

// claim says which image has to be the base: the one that the policy names, or the
// image of the policy's repository that the annotations name (image-spec,
// "Pre-Defined Annotation Keys"). The digest is that of the image at the time of
// build: by now the tag may be another one.
//
// Builders write the name by which they pulled: that of a mirror, or of this gate. So
// with a digest another repository's name does no harm, and is not used: the digest is
// looked for in the policy's repository, as without a name, and what is found there is
// judged as an image of that repository.
func (x *baseLayer) claim(img *layered, ref reference.Named) (claim, error) {
	if x.exact != nil {
		return claim{ref: x.exact}, nil
	}
	repo := x.repository(ref)
	name, dgst := img.annotations[ocispec.AnnotationBaseImageName], digest.Digest(img.annotations[ocispec.AnnotationBaseImageDigest])
	if dgst != "" && dgst.Validate() != nil {
		return claim{}, notBasedf("annotation %s: expected a digest, found %s", ocispec.AnnotationBaseImageDigest, clean(string(dgst)))
	}
	if name == "" {
		return newClaim(repo, "", dgst)
	}
	named, err := reference.ParseNamed(name)
	if err != nil {
		return claim{}, notBasedf("annotation %s: expected a full name like %s:TAG, found %s", ocispec.AnnotationBaseImageName, repo.Name(), clean(name))
	}
	if d, ok := named.(reference.Digested); ok {
		if dgst != "" && dgst != d.Digest() {
			return claim{}, notBasedf("the annotations %s and %s name two digests: %s and %s",
				ocispec.AnnotationBaseImageName, ocispec.AnnotationBaseImageDigest, d.Digest(), dgst)
		}
		dgst = d.Digest()
	}
	if named.Name() != repo.Name() {
		if dgst == "" {
			return claim{}, notBasedf("the image says that it is built on %s, which is not of %s (annotation %s): expected a name of that, or the digest of an image of it in the annotation %s",
				clean(name), repo.Name(), ocispec.AnnotationBaseImageName, ocispec.AnnotationBaseImageDigest)
		}
		c, err := newClaim(repo, "", dgst)
		c.said = clean(name)
		return c, err
	}
	tag := ""
	if t, ok := named.(reference.Tagged); ok {
		tag = t.Tag()
	}
	return newClaim(repo, tag, dgst)
}

// newClaim names an image of repo by tag or by digest.
func newClaim(repo reference.Named, tag string, dgst digest.Digest) (claim, error) {
	var ref reference.Named
	var err error
	switch {
	case tag != "":
		ref, err = reference.WithTag(repo, tag)
	case dgst != "":
		ref, err = reference.WithDigest(repo, dgst)
	default:
		return claim{}, notBasedf("annotation %s: expected a tag or a digest behind %s, or the annotation %s",
			ocispec.AnnotationBaseImageName, repo.Name(), ocispec.AnnotationBaseImageDigest)
	}
	if err != nil {
		return claim{}, notBasedf("the base cannot be named: %s", clean(err.Error()))
	}
	return claim{ref: ref, digest: dgst}, nil
}

// explain adds what the image says of its base, when that is another one than the
// policy names: a tag that has moved since is the usual reason.
func (x *baseLayer) explain(err error, img *layered, b *base) error {
	said := img.annotations[ocispec.AnnotationBaseImageDigest]
	if x.exact == nil || said == "" || said == b.top.digest.String() || said == b.instance.digest.String() {
		return err
	}
	return notBasedf("%v; the image says that it is built on %s, and %s is %s now", err, clean(said), x.exact, b.top.digest)
}
