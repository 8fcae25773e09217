package harness

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// NodeDocker is dockerd on a node, with /etc/docker/daemon.json as the mode
// wrote it.
type NodeDocker struct {
	// Containerd says that dockerd keeps images in containerd's store; the
	// daemon.json has to say the same.
	Containerd bool
}

// Kind implements NodeClient.
func (d *NodeDocker) Kind() ClientKind {
	if d.Containerd {
		return DockerContainerd
	}
	return DockerGraph
}

// Version implements NodeClient with dockerd's.
func (d *NodeDocker) Version(t testing.TB, n *Node) string {
	t.Helper()
	return versionOf(t, n.Run(t, "dockerd", "--version"))
}

// Start implements NodeClient.
func (d *NodeDocker) Start(t testing.TB, n *Node) {
	t.Helper()
	args := []string{"dockerd", "--iptables=false", "--ip6tables=false", "--bridge=none",
		"--data-root", filepath.Join(n.Dir, "d"), "--exec-root", filepath.Join(n.Dir, "e"), "--pidfile", filepath.Join(n.Dir, "p"),
		"--host", d.host(n), "--log-level=info"}
	if d.Containerd {
		args = append(args, "--storage-driver=native")
	} else {
		args = append(args, "--storage-driver=vfs")
	}
	p := n.Start(t, nil, args...)
	p.WaitUntil(t, "docker version", func() bool { return n.Run(t, d.cli(n, "version")...).ExitCode == 0 })
}

func (d *NodeDocker) host(n *Node) string { return "unix://" + filepath.Join(n.Dir, "s") }

func (d *NodeDocker) cli(n *Node, args ...string) []string {
	return append([]string{"docker", "--host", d.host(n)}, args...)
}

// Pull implements NodeClient with docker pull.
func (d *NodeDocker) Pull(t testing.TB, n *Node, image string) Result {
	t.Helper()
	return n.Run(t, d.cli(n, "pull", image)...)
}

// PullByAPI pulls as programs do that talk to dockerd themselves. docker pull does
// not do for every name: it sends docker.io/pullgate.invalid/… without docker.io,
// which dockerd takes for a registry pullgate.invalid.
func (d *NodeDocker) PullByAPI(t testing.TB, n *Node, image string) Result {
	t.Helper()
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", strings.TrimPrefix(d.host(n), "unix://"))
	}}
	defer tr.CloseIdleConnections()
	client := &http.Client{Transport: tr, Timeout: commandTimeout}
	resp, err := client.Post("http://docker/images/create?fromImage="+url.QueryEscape(image), "", nil)
	if err != nil {
		t.Fatalf("pull %s: %v", image, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("pull %s: %v", image, err)
	}
	r := Result{Args: []string{"POST", "/images/create", image}, Output: string(b)}
	if resp.StatusCode != http.StatusOK || strings.Contains(r.Output, `"error":`) { // errors come in the stream
		r.ExitCode = 1
	}
	return r
}

var versionNumber = regexp.MustCompile(`\d+\.\d+`)

// versionOf finds major and minor version in what a program says of itself.
func versionOf(t testing.TB, r Result) string {
	t.Helper()
	v := versionNumber.FindString(r.Stdout)
	if r.ExitCode != 0 || v == "" {
		t.Fatalf("%v: exit status %d, expected a version: %s", r.Args, r.ExitCode, r.Output)
	}
	return v
}
