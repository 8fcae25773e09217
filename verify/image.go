package verify

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/docker/policyconfiguration"
	podman "go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/image"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"
)

// judged is what is judged, checked and in the words of containers/image.
type judged struct {
	subject Subject
	named   podman.Named
	// canonical is the manifest's sha256 digest, under which signatures are stored.
	canonical digest.Digest
	// at is the time of the judgement: evidence is looked for and judged by one clock
	// reading, so that nothing counts that was not looked for.
	at time.Time
	// above are the images whose base this is said to be; nil for one that is judged
	// for itself.
	above *descent
}

// newJudged checks a subject: a name with either a tag or a digest, and manifest
// bytes that have the digest they are said to have. At is the time of the judgement.
func newJudged(s Subject, at time.Time) (*judged, error) {
	if at.IsZero() {
		return nil, errors.New("judgement without a time")
	}
	if s.Ref == nil {
		return nil, errors.New("subject has no reference")
	}
	named, err := podman.ParseNamed(s.Ref.String())
	if err != nil {
		return nil, fmt.Errorf("reference of the subject: %w", err)
	}
	if _, err := policyconfiguration.DockerReferenceIdentity(named); err != nil {
		return nil, fmt.Errorf("reference %s: expected either a tag or a digest", s.Ref)
	}
	if err := s.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("digest of %s: %w", s.Ref, err)
	}
	actual, err := ManifestDigest(s.Manifest, s.Digest.Algorithm())
	if err != nil {
		return nil, fmt.Errorf("manifest of %s: %w", s.Ref, err)
	}
	if actual != s.Digest {
		return nil, fmt.Errorf("manifest of %s: expected digest %s, found %s", s.Ref, s.Digest, actual)
	}
	canonical := actual
	if actual.Algorithm() != digest.Canonical {
		if canonical, err = ManifestDigest(s.Manifest, digest.Canonical); err != nil {
			return nil, fmt.Errorf("manifest of %s: %w", s.Ref, err)
		}
	}
	switch s.Transport {
	case "":
		s.Transport = TransportDocker
	case TransportDocker, TransportAtomic:
	default:
		return nil, fmt.Errorf("transport %q: expected %s or %s", s.Transport, TransportDocker, TransportAtomic)
	}
	return &judged{subject: s, named: named, canonical: canonical, at: at}, nil
}

// imageReference names an image towards containers/image: it only carries the
// name, and cannot be opened. All other methods panic.
type imageReference struct {
	types.ImageReference // nil: whatever is not overridden must never be called
	named                podman.Named
	transport            imageTransport
}

// imageTransport carries a transport's name.
type imageTransport struct {
	types.ImageTransport // nil
	name                 string
}

func (t imageTransport) Name() string                            { return t.name }
func (r imageReference) Transport() types.ImageTransport         { return r.transport }
func (r imageReference) StringWithinTransport() string           { return "//" + r.named.String() }
func (r imageReference) DockerReference() podman.Named           { return r.named }
func (r imageReference) PolicyConfigurationIdentity() string     { return r.named.String() }
func (r imageReference) PolicyConfigurationNamespaces() []string { return nil }

// Reference, Manifest and Signatures make *judged an image without signatures
// (types.UnparsedImage).
func (j *judged) Reference() types.ImageReference {
	return imageReference{named: j.named, transport: imageTransport{name: j.subject.Transport}}
}

// Manifest returns the bytes that are judged. Their digest was checked against
// Subject.Digest, which is what the interface asks for.
func (j *judged) Manifest(context.Context) ([]byte, string, error) {
	return j.subject.Manifest, manifest.GuessMIMEType(j.subject.Manifest), nil
}

func (j *judged) Signatures(context.Context) ([][]byte, error) { return nil, nil }

// withSimple is the image with one simple signing signature.
type withSimple struct {
	*judged
	blob []byte
}

func (i withSimple) Signatures(context.Context) ([][]byte, error) { return [][]byte{i.blob}, nil }

// withSigstore is the image with sigstore signatures. S is the library's own
// signature type, which cannot be named here and is inferred instead: with it the
// library recognizes the image as one that keeps sigstore signatures apart. If it
// ever stops doing so, they count as malformed simple signing, which denies, and
// the self-test of NewEngine fails.
type withSigstore[S any] struct {
	*judged
	signatures []S
}

func (i withSigstore[S]) UntrustedSignatures(context.Context) ([]S, error) { return i.signatures, nil }

// evaluate asks containers/image about one image and one requirement.
func evaluate(ctx context.Context, p *signature.Policy, img types.UnparsedImage) (bool, error) {
	pc, err := signature.NewPolicyContext(p) // cheap, and must not be shared between goroutines
	if err != nil {
		return false, err
	}
	allowed, err := pc.IsRunningImageAllowed(ctx, img)
	if derr := pc.Destroy(); derr != nil {
		return false, derr
	}
	return allowed && err == nil, err
}

// localError is a failure of this machine rather than of a signature.
type localError struct{ err error }

func (e *localError) Error() string { return "decode sigstore signature: " + e.err.Error() }
func (e *localError) Unwrap() error { return e.err }

// evaluateSigstore asks containers/image about an image that carries one sigstore
// signature, given in its stored form.
func evaluateSigstore(ctx context.Context, dirs []string, p *signature.Policy, j *judged, blob []byte) (bool, error) {
	return evaluateAs(ctx, (*image.UnparsedImage).UntrustedSignatures, dirs, p, j, blob)
}

// evaluateAs is evaluateSigstore with the library's signature type inferred from
// the method that returns it.
func evaluateAs[S any](ctx context.Context, read func(*image.UnparsedImage, context.Context) ([]S, error),
	dirs []string, p *signature.Policy, j *judged, blob []byte) (bool, error) {
	signatures, err := decode(ctx, read, dirs, blob)
	if err != nil {
		return false, &localError{err}
	}
	return evaluate(ctx, p, withSigstore[S]{j, signatures})
}

// decode turns a stored sigstore signature into the library's form. The library
// offers that for images in directories only, so the blob passes through a
// temporary one; dirs are tried in order.
func decode[S any](ctx context.Context, read func(*image.UnparsedImage, context.Context) ([]S, error),
	dirs []string, blob []byte) (out []S, err error) {
	var errs []error
	for _, parent := range dirs {
		if out, err = decodeIn(ctx, read, parent, blob); err == nil {
			return out, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func decodeIn[S any](ctx context.Context, read func(*image.UnparsedImage, context.Context) ([]S, error),
	parent string, blob []byte) ([]S, error) {
	dir, err := os.MkdirTemp(parent, "pullgate-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "signature-1"), blob, 0o600); err != nil {
		return nil, err
	}
	ref, err := directory.NewReference(dir)
	if err != nil {
		return nil, err
	}
	src, err := ref.NewImageSource(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	out, err := read(image.UnparsedInstance(src, nil), ctx)
	if err == nil && len(out) != 1 {
		err = fmt.Errorf("expected one signature, found %d", len(out))
	}
	return out, err
}

// sameImage tells whether the signed digest is the one of the manifest.
func (j *judged) sameImage(signed digest.Digest) bool {
	ok, err := manifest.MatchesDigest(j.subject.Manifest, signed)
	return err == nil && ok
}

// ref is the reference as it was asked for.
func (j *judged) ref() reference.Named { return j.subject.Ref }
