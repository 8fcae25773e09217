package harness

import (
	"path/filepath"
	"testing"
)

// Docker is a docker CLI with a dockerd of its own (graph driver vfs, no
// network set up for containers). It treats the gate on loopback as a registry
// that needs no TLS.
type Docker struct {
	daemon  *Process
	host    string // unix:///…
	program string
}

// NewDocker starts dockerd, which needs root.
func NewDocker(t testing.TB) *Docker {
	t.Helper()
	dockerd := Require(t, "dockerd", "docker", "containerd")
	RequireRoot(t)
	dir := ShortDir(t)
	d := &Docker{host: "unix://" + dir + "/s", program: Require(t, "docker")}
	d.daemon = StartProcess(t, nil, dockerd, "--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=vfs",
		"--data-root", filepath.Join(dir, "d"), "--exec-root", filepath.Join(dir, "e"), "--pidfile", filepath.Join(dir, "p"),
		"--host", d.host, "--config-file", emptyJSON(t, dir), "--log-level=warn")
	d.daemon.WaitUntil(t, "docker version", func() bool { return d.Docker(t, "version").ExitCode == 0 })
	return d
}

// emptyJSON keeps daemons away from the machine's own settings.
func emptyJSON(t testing.TB, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "empty.json")
	writeFile(t, path, []byte("{}\n"))
	return path
}

// Name implements Client.
func (d *Docker) Name() string { return "docker" }

// Docker runs the CLI against this daemon.
func (d *Docker) Docker(t testing.TB, args ...string) Result {
	t.Helper()
	return Run(t, []string{"DOCKER_HOST=" + d.host, "DOCKER_CONFIG=" + filepath.Join(t.TempDir(), "docker")}, d.program, args...)
}

// Pull implements Client with docker pull.
func (d *Docker) Pull(t testing.TB, g *Gate, r Ref) Result {
	t.Helper()
	return d.Docker(t, "pull", g.Through(r))
}
