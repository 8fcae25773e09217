package harness

import (
	"path/filepath"
	"strconv"
	"testing"
)

// NodePodman, NodeBuildah and NodeSkopeo read /etc/containers/registries.conf.
type (
	NodePodman  struct{}
	NodeBuildah struct{}
	NodeSkopeo  struct{ pulls int }
)

// storage are the options of podman and buildah that keep everything in the
// node's directory.
func storage(n *Node) []string {
	return []string{"--root", filepath.Join(n.Dir, "root"), "--runroot", filepath.Join(n.Dir, "runroot"), "--storage-driver", "vfs"}
}

// Kind implements NodeClient.
func (*NodePodman) Kind() ClientKind { return PodmanKind }

// Version implements NodeClient.
func (*NodePodman) Version(t testing.TB, n *Node) string {
	t.Helper()
	return versionOf(t, n.Run(t, "podman", "--version"))
}

// Start implements NodeClient.
func (*NodePodman) Start(testing.TB, *Node) {}

// Pull implements NodeClient with podman pull.
func (*NodePodman) Pull(t testing.TB, n *Node, image string) Result {
	t.Helper()
	args := append([]string{"podman"}, storage(n)...)
	return n.Run(t, append(args, "--cgroup-manager", "cgroupfs", "--events-backend", "file", "pull", image)...)
}

// Kind implements NodeClient.
func (*NodeBuildah) Kind() ClientKind { return BuildahKind }

// Version implements NodeClient.
func (*NodeBuildah) Version(t testing.TB, n *Node) string {
	t.Helper()
	return versionOf(t, n.Run(t, "buildah", "--version"))
}

// Start implements NodeClient.
func (*NodeBuildah) Start(testing.TB, *Node) {}

// Pull implements NodeClient with buildah from, the first line of a
// Containerfile.
func (*NodeBuildah) Pull(t testing.TB, n *Node, image string) Result {
	t.Helper()
	args := append([]string{"buildah"}, storage(n)...)
	return n.Run(t, append(args, "from", "--pull-always", image)...)
}

// Kind implements NodeClient.
func (*NodeSkopeo) Kind() ClientKind { return SkopeoKind }

// Version implements NodeClient.
func (*NodeSkopeo) Version(t testing.TB, n *Node) string {
	t.Helper()
	return versionOf(t, n.Run(t, "skopeo", "--version"))
}

// Start implements NodeClient.
func (*NodeSkopeo) Start(testing.TB, *Node) {}

// Pull implements NodeClient with skopeo copy into a new directory.
func (s *NodeSkopeo) Pull(t testing.TB, n *Node, image string) Result {
	t.Helper()
	s.pulls++
	return n.Run(t, "skopeo", "copy", "docker://"+image, "dir:"+filepath.Join(n.Dir, "image-"+strconv.Itoa(s.pulls)))
}
