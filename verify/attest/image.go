package attest

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	packageurl "github.com/package-url/packageurl-go"
)

// maxImageURI bounds the URI of an image, in bytes: a name has at most 255, a tag
// 128, and the rest is escapes, a digest and a platform.
const maxImageURI = 2048

// ErrNoImage says that a URI is of something else than an image.
var ErrNoImage = errors.New("not an image")

// Image is an image as provenance names it. Tag, Digest or both may be empty.
type Image struct {
	Repository reference.Named // fully qualified, docker.io/library/debian
	Tag        string
	Digest     digest.Digest // of an image or an index
}

// Image reads the image that m names. The error is [ErrNoImage] when m is something
// else, and another one when it is an image that cannot be told for sure.
func (m Material) Image() (Image, error) {
	img, err := ParseImageURI(m.URI)
	if err != nil || len(m.Digest) == 0 {
		return img, err
	}
	if img.Digest == "" {
		img.Digest = m.Digest[0]
		return img, nil
	}
	for _, d := range m.Digest {
		if d.Algorithm() == img.Digest.Algorithm() && d != img.Digest {
			return Image{}, fmt.Errorf("two digests for one image: %s beside %s", d, plain(m.URI))
		}
	}
	return img, nil
}

// schemes of URIs that are an image's name behind them. Tekton writes oci, BuildKit's
// inputs are docker-image.
var schemes = []string{"docker", "oci", "docker-image"}

// ParseImageURI reads an image's name as build tools write it into provenance: a
// package URL of type docker (BuildKit) or oci (with repository_url), a name behind
// docker://, oci:// or docker-image://, or a name with its registry alone. The error is
// [ErrNoImage] for URIs of other things, and another one for an image's name that
// cannot be read (package-url specification, types docker and oci;
// [reference.ParseNormalizedNamed]).
func ParseImageURI(uri string) (Image, error) {
	scheme, rest, hasScheme := strings.Cut(uri, "://")
	kind := purlType(uri)
	known := hasScheme && slices.Contains(schemes, strings.ToLower(scheme))
	switch {
	case kind == "" && hasScheme && !known:
		return Image{}, ErrNoImage
	case len(uri) > maxImageURI:
		return Image{}, fmt.Errorf("the URI has %d bytes, expected at most %d", len(uri), maxImageURI)
	case kind == packageurl.TypeDocker, kind == packageurl.TypeOCI:
		return parsePURL(uri)
	case kind != "":
		return Image{}, ErrNoImage
	case known:
		return parseName(uri, rest)
	}
	if host, _, _ := strings.Cut(uri, "/"); host == uri || !strings.ContainsAny(host, ".:") && host != "localhost" {
		return Image{}, ErrNoImage // a file's name, an id; or a short name, who knows
	}
	named, err := reference.ParseNormalizedNamed(uri)
	if err != nil {
		return Image{}, ErrNoImage
	}
	return imageOf(named), nil
}

// purlType is the type of a package URL, empty for other URIs.
func purlType(uri string) string {
	if len(uri) < 4 || !strings.EqualFold(uri[:4], "pkg:") {
		return ""
	}
	kind, _, _ := strings.Cut(strings.TrimLeft(uri[4:], "/"), "/")
	return strings.ToLower(kind)
}

// parsePURL reads a package URL of type docker or oci.
func parsePURL(uri string) (Image, error) {
	p, err := packageurl.FromString(uri)
	if err != nil {
		return Image{}, fmt.Errorf("%s is no package URL", plain(uri))
	}
	with := p.Qualifiers.Map()
	if with["ref_type"] != "" {
		return Image{}, ErrNoImage // a blob or a bundle of sources in a registry (BuildKit)
	}
	name := strings.TrimPrefix(p.Namespace+"/"+p.Name, "/")
	switch at := strings.TrimSuffix(with["repository_url"], "/"); {
	case p.Type == packageurl.TypeDocker && at == "":
	case at == "":
		return Image{}, ErrNoImage // a local one: no registry has it
	case p.Type == packageurl.TypeOCI && (at == name || strings.HasSuffix(at, "/"+name)):
		name = at // the specification's way: the whole name
	default:
		name = at + "/" + name
	}
	img, err := parseName(uri, name)
	if err != nil {
		return Image{}, err
	}
	for _, version := range []string{p.Version, with["digest"], with["tag"]} {
		if err := img.add(version); err != nil {
			return Image{}, fmt.Errorf("%s: %w", plain(uri), err)
		}
	}
	return img, nil
}

// add takes over a version of a package URL: a digest or a tag. What is there
// already may not be said to be something else.
func (i *Image) add(version string) error {
	if version == "" {
		return nil
	}
	if strings.ContainsRune(version, ':') {
		d, err := digest.Parse(version)
		switch {
		case err != nil:
			return fmt.Errorf("expected a digest, found %s", plain(version))
		case i.Digest != "" && i.Digest != d:
			return fmt.Errorf("names two digests, %s and %s", i.Digest, d)
		}
		i.Digest = d
		return nil
	}
	if _, err := reference.WithTag(i.Repository, version); err != nil {
		return fmt.Errorf("expected a tag, found %s", plain(version))
	}
	if i.Tag != "" && i.Tag != version {
		return fmt.Errorf("names two tags, %s and %s", plain(i.Tag), plain(version))
	}
	i.Tag = version
	return nil
}

// parseName reads a name, which may be docker.io's short form.
func parseName(uri, name string) (Image, error) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return Image{}, fmt.Errorf("%s names no image", plain(uri))
	}
	return imageOf(named), nil
}

func imageOf(named reference.Named) Image {
	img := Image{Repository: reference.TrimNamed(named)}
	if t, ok := named.(reference.Tagged); ok {
		img.Tag = t.Tag()
	}
	if d, ok := named.(reference.Digested); ok {
		img.Digest = d.Digest()
	}
	return img
}
