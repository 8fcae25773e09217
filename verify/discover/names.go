package discover

import (
	"github.com/distribution/reference"
	"go.podman.io/image/v5/docker/policyconfiguration"
	podman "go.podman.io/image/v5/docker/reference"
)

// Candidates lists the names under which policy.json and registries.d may
// configure ref, most specific first: name:tag or name@digest (left out when ref
// has neither or both), then the repository, its parents, host[:port], and
// *.domain wildcards. The empty scope and "default" are not part of it.
// (containers-policy.json(5), "docker:"; containers-registries.d(5).)
func Candidates(ref reference.Named) []string {
	named, err := podman.ParseNamed(ref.String())
	if err != nil {
		return nil
	}
	var out []string
	if identity, err := policyconfiguration.DockerReferenceIdentity(named); err == nil {
		out = append(out, identity)
	}
	return append(out, policyconfiguration.DockerReferenceNamespaces(named)...)
}
