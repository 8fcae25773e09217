package harness

import (
	"path/filepath"
	"testing"
)

// LoginClient is a NodeClient whose user can log in at a registry.
type LoginClient interface {
	NodeClient
	// Login keeps a user's password for a registry, when the registry accepts it.
	Login(t testing.TB, n *Node, registry, user, password string) Result
}

// Login implements LoginClient with docker login.
func (d *NodeDocker) Login(t testing.TB, n *Node, registry, user, password string) Result {
	t.Helper()
	return n.Run(t, d.cli(n, "login", "--username", user, "--password", password, registry)...)
}

// Login implements LoginClient with podman login.
func (*NodePodman) Login(t testing.TB, n *Node, registry, user, password string) Result {
	t.Helper()
	args := append([]string{"podman"}, storage(n)...)
	return n.Run(t, append(args, "login", "--username", user, "--password", password, registry)...)
}

// Login implements LoginClient with buildah login.
func (*NodeBuildah) Login(t testing.TB, n *Node, registry, user, password string) Result {
	t.Helper()
	return n.Run(t, "buildah", "login", "--username", user, "--password", password, registry)
}

// Login implements LoginClient with skopeo login.
func (*NodeSkopeo) Login(t testing.TB, n *Node, registry, user, password string) Result {
	t.Helper()
	return n.Run(t, "skopeo", "login", "--username", user, "--password", password, registry)
}

// NodeKubelet is containerd as the kubelet uses it for a pod with an
// imagePullSecret: the password comes with each pull, and nothing checks it
// before.
type NodeKubelet struct {
	NodeContainerd
	user, password string
}

// Login implements LoginClient.
func (k *NodeKubelet) Login(_ testing.TB, _ *Node, _, user, password string) Result {
	k.user, k.password = user, password
	return Result{}
}

// Pull implements NodeClient.
func (k *NodeKubelet) Pull(t testing.TB, n *Node, image string) Result {
	t.Helper()
	return k.PullAs(t, n, image, k.user, k.password)
}

// Forget ends all logins on the node.
func (n *Node) Forget(t testing.TB) {
	t.Helper()
	home := filepath.Join(n.Dir, "home")
	n.WriteFile(t, filepath.Join(home, "auth.json"), []byte("{}\n"))
	n.WriteFile(t, filepath.Join(home, ".docker/config.json"), []byte("{}\n"))
	if k, ok := n.Client.(*NodeKubelet); ok {
		k.user, k.password = "", ""
	}
}
