package harness

import (
	"cmp"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// NodeContainerd is containerd on a node, asked by the API that the kubelet
// uses (CRI). Registries are configured in /etc/containerd/certs.d.
type NodeContainerd struct {
	hosts string // where hosts.toml files are when not in /etc/containerd/certs.d
}

// Kind implements NodeClient.
func (c *NodeContainerd) Kind() ClientKind { return ContainerdCRI }

// Version implements NodeClient.
func (c *NodeContainerd) Version(t testing.TB, n *Node) string {
	t.Helper()
	return versionOf(t, n.Run(t, "containerd", "--version"))
}

func (c *NodeContainerd) socket(n *Node) string { return filepath.Join(n.Dir, "s") }

// Start implements NodeClient. A config.toml that the mode wrote stays as it is.
func (c *NodeContainerd) Start(t testing.TB, n *Node) {
	t.Helper()
	const config = "/etc/containerd/config.toml"
	if !n.has(t, config) {
		n.WriteFile(t, config, []byte(c.config(t, n)))
	}
	p := n.Start(t, nil, "containerd", "--config", config,
		"--address", c.socket(n), "--root", filepath.Join(n.Dir, "root"), "--state", filepath.Join(n.Dir, "state"))
	p.WaitUntil(t, "an answer by the kubelet's API", func() bool {
		_, err := criCall(c.socket(n), "/runtime.v1.ImageService/ListImages", nil)
		return err == nil
	})
}

// config lets containerd read hosts.toml files.
func (c *NodeContainerd) config(t testing.TB, n *Node) string {
	t.Helper()
	format, plugin := 2, "io.containerd.grpc.v1.cri"
	if !strings.HasPrefix(c.Version(t, n), "1.") {
		format, plugin = 3, "io.containerd.cri.v1.images"
	}
	return fmt.Sprintf("version = %d\n[plugins.%q.registry]\n  config_path = %q\n", format, plugin, cmp.Or(c.hosts, "/etc/containerd/certs.d"))
}

// Pull implements NodeClient with the call of a kubelet.
func (c *NodeContainerd) Pull(t testing.TB, n *Node, image string) Result {
	t.Helper()
	return c.PullAs(t, n, image, "", "")
}

// PullAs is Pull with a user and password, as from a pod's imagePullSecrets.
func (c *NodeContainerd) PullAs(t testing.TB, n *Node, image, user, password string) Result {
	t.Helper()
	// PullImageRequest{image: ImageSpec{image}, auth: AuthConfig{username, password}}
	request := protoField(1, protoField(1, []byte(image)))
	if user != "" {
		request = append(request, protoField(2, append(protoField(1, []byte(user)), protoField(2, []byte(password))...))...)
	}
	answer, err := criCall(c.socket(n), "/runtime.v1.ImageService/PullImage", request)
	r := Result{Args: []string{"PullImage", image}, Stdout: string(answer)}
	if err != nil {
		r.ExitCode, r.Output = 1, err.Error()
	}
	return r
}
