package harness

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"testing"
)

// NodeDockerStore is dockerd with the containerd image store, which docker 24 to
// 28 have when daemon.json says so, and new installations from 29 on by default.
type NodeDockerStore struct{ NodeDocker }

// NewNodeDockerStore is a dockerd that is not started yet.
func NewNodeDockerStore() *NodeDockerStore {
	return &NodeDockerStore{NodeDocker{Containerd: true}}
}

// Start implements NodeClient. It adds the store to what a mode has written into
// daemon.json.
func (d *NodeDockerStore) Start(t testing.TB, n *Node) {
	t.Helper()
	const path = "/etc/docker/daemon.json"
	settings := map[string]any{}
	b, err := os.ReadFile(n.Path(t, path))
	if err == nil {
		err = json.Unmarshal(b, &settings)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("%s: %v", path, err)
	}
	settings["features"] = map[string]bool{"containerd-snapshotter": true}
	b, err = json.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	n.WriteFile(t, path, b)
	d.NodeDocker.Start(t, n)
}

// Kinds of `docker build`, whose base images are fetched by the BuildKit that is
// a part of dockerd and of the command line.
const (
	DockerBuild      ClientKind = "docker build"
	DockerStoreBuild ClientKind = "docker build, containerd store"
)

// NodeDockerBuild is a dockerd that builds.
type NodeDockerBuild struct {
	NodeClient // a NodeDocker or NodeDockerStore, which runs dockerd
	builds     int
}

// Kind implements NodeClient.
func (d *NodeDockerBuild) Kind() ClientKind {
	if d.NodeClient.Kind() == DockerContainerd {
		return DockerStoreBuild
	}
	return DockerBuild
}

// Pull implements NodeClient with docker build.
func (d *NodeDockerBuild) Pull(t testing.TB, n *Node, image string) Result {
	t.Helper()
	d.builds++
	dir := writeBuild(t, n, d.builds, image)
	return n.Run(t, new(NodeDocker).cli(n, "build", "--progress=plain", "--no-cache", "--pull", dir)...)
}
