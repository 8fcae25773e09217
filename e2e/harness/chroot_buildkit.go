package harness

import (
	"path/filepath"
	"strconv"
	"testing"
)

// BuildKitKind is buildkitd with its own worker.
const BuildKitKind ClientKind = "buildkit"

// NodeBuildKit is buildkitd on a node, with /etc/buildkit/buildkitd.toml as the
// mode wrote it.
type NodeBuildKit struct{ builds int }

// Kind implements NodeClient.
func (*NodeBuildKit) Kind() ClientKind { return BuildKitKind }

// Version implements NodeClient.
func (*NodeBuildKit) Version(t testing.TB, n *Node) string {
	t.Helper()
	return versionOf(t, n.Run(t, "buildkitd", "--version"))
}

func (*NodeBuildKit) address(n *Node) string { return "unix://" + filepath.Join(n.Dir, "s") }

// Start implements NodeClient.
func (b *NodeBuildKit) Start(t testing.TB, n *Node) {
	t.Helper()
	p := n.Start(t, nil, "buildkitd", "--addr", b.address(n), "--root", filepath.Join(n.Dir, "b"),
		"--containerd-worker=false", "--oci-worker=true", "--oci-worker-snapshotter=native", "--oci-worker-net=host")
	p.WaitUntil(t, "buildctl debug workers", func() bool {
		return n.Run(t, "buildctl", "--addr", b.address(n), "debug", "workers").ExitCode == 0
	})
}

// Pull implements NodeClient with a build.
func (b *NodeBuildKit) Pull(t testing.TB, n *Node, image string) Result {
	t.Helper()
	b.builds++
	dir := writeBuild(t, n, b.builds, image)
	return n.Run(t, "buildctl", "--addr", b.address(n), "build", "--progress=plain", "--no-cache", "--frontend=dockerfile.v0",
		"--local", "context="+dir, "--local", "dockerfile="+dir, "--output", "type=oci,dest="+filepath.Join(dir, "image.tar"))
}

// writeBuild writes what a build needs into a new directory of the node. It adds
// a file to the image: a build that only names a base would not fetch its layers.
func writeBuild(t testing.TB, n *Node, number int, base string) (dir string) {
	t.Helper()
	dir = filepath.Join(n.Dir, "build-"+strconv.Itoa(number))
	n.WriteFile(t, filepath.Join(dir, "Dockerfile"), []byte("FROM "+base+"\nCOPY Dockerfile /added\n"))
	return dir
}
