package harness

import (
	"testing"

	"github.com/opencontainers/go-digest"
)

// Ref is an image by its logical name: what policy judges.
type Ref struct {
	Registry   string
	Repository string
	Tag        string        // or
	Digest     digest.Digest // this
}

// Tagged is an image by tag.
func Tagged(registry, repository, tag string) Ref {
	return Ref{Registry: registry, Repository: repository, Tag: tag}
}

// Digested is an image by digest.
func Digested(registry, repository string, d digest.Digest) Ref {
	return Ref{Registry: registry, Repository: repository, Digest: d}
}

// Reference is the tag or digest, as paths and audit records have it.
func (r Ref) Reference() string {
	if r.Digest != "" {
		return r.Digest.String()
	}
	return r.Tag
}

// Path is the name without the registry: app:v1 or app@sha256:….
func (r Ref) Path() string {
	if r.Digest != "" {
		return r.Repository + "@" + r.Digest.String()
	}
	return r.Repository + ":" + r.Tag
}

// String is the whole name.
func (r Ref) String() string { return r.Registry + "/" + r.Path() }

// Through is the image's name at the gate with the registry as the first path
// element: 127.0.0.1:5000/registry.example/app:v1.
func (g *Gate) Through(r Ref) string { return g.Addr + "/" + r.String() }

// Client is a real client with storage of its own, which starts empty.
type Client interface {
	// Name of the program and, where it matters, of its mode.
	Name() string
	// Pull pulls an image through the gate. It ends the test only when the client
	// cannot be run; a refused pull is a result.
	Pull(t testing.TB, g *Gate, r Ref) Result
}

// Clients are the constructors of all clients. Each starts what its client needs
// and fails the test when that is not installed.
var Clients = []struct {
	Name string
	New  func(t testing.TB) Client
}{
	{"docker", func(t testing.TB) Client { return NewDocker(t) }},
	{"containerd", func(t testing.TB) Client { return NewContainerd(t) }},
	{"podman", func(t testing.TB) Client { return NewPodman(t) }},
	{"buildah", func(t testing.TB) Client { return NewBuildah(t) }},
	{"skopeo", func(t testing.TB) Client { return NewSkopeo(t) }},
	{"curl", func(t testing.TB) Client { return NewCurl(t) }},
}
