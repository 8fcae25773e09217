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
