package harness

import (
	"fmt"
	"path/filepath"
	"testing"
)

// Containerd is a containerd of its own with ctr. Images keep their registry's
// name; a hosts.toml sends every request for it to the gate, as on Kubernetes
// nodes (the same resolver serves CRI pulls).
type Containerd struct {
	daemon  *Process
	dir     string
	program string
}

// NewContainerd starts containerd, which needs root.
func NewContainerd(t testing.TB) *Containerd {
	t.Helper()
	containerd := Require(t, "containerd", "ctr")
	RequireRoot(t)
	c := &Containerd{dir: ShortDir(t), program: Require(t, "ctr")}
	config := filepath.Join(c.dir, "config.toml")
	writeFile(t, config, fmt.Appendf(nil, `version = 2
root = %q
state = %q
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = %q
[debug]
  level = "warn"
`, filepath.Join(c.dir, "root"), filepath.Join(c.dir, "state"), c.socket()))
	c.daemon = StartProcess(t, nil, containerd, "--config", config)
	c.daemon.WaitUntil(t, "ctr version", func() bool { return c.Ctr(t, "version").ExitCode == 0 })
	return c
}

func (c *Containerd) socket() string { return filepath.Join(c.dir, "s") }

// Name implements Client.
func (c *Containerd) Name() string { return "containerd" }

// Ctr runs ctr against this containerd.
func (c *Containerd) Ctr(t testing.TB, args ...string) Result {
	t.Helper()
	return Run(t, nil, c.program, append([]string{"--address", c.socket()}, args...)...)
}

// Pull implements Client with ctr images pull.
func (c *Containerd) Pull(t testing.TB, g *Gate, r Ref) Result {
	t.Helper()
	hosts := t.TempDir()
	writeFile(t, filepath.Join(hosts, r.Registry, "hosts.toml"), fmt.Appendf(nil,
		"server = %q\n[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", g.URL, g.URL))
	return c.Ctr(t, "images", "pull", "--hosts-dir", hosts, "--snapshotter", "native", r.String())
}
