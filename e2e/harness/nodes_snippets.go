package harness

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// snippetModes are what `pullgate client` writes, applied as it says.
func snippetModes() []Mode {
	mode := func(client string, every bool, kinds ...ClientKind) Mode {
		return Mode{
			Name: "pullgate client " + client, Kinds: kinds, Closed: true, Example: true, Every: every,
			Configure: func(t testing.TB, n *Node) { n.applySnippet(t, client) },
		}
	}
	return []Mode{
		mode("docker", true, DockerGraph),
		mode("docker-containerd", true, DockerContainerd),
		mode("containerd", true, ContainerdCRI),
		mode("podman", false, containersKinds...),
		mode("buildkit", true, BuildKitKind),
	}
}

// applySnippet lets pullgate client write into the node's files, and does what
// it tells people to do next. The gate's authority is trusted only where the
// files say so.
func (n *Node) applySnippet(t testing.TB, client string) {
	t.Helper()
	n.trust = nil
	n.Trust(t, n.World.Hub.CA.Certificate)
	gateCA, interceptCA := filepath.Join(n.Dir, "gate-ca.pem"), filepath.Join(n.Dir, "intercept-ca.pem")
	writeFile(t, gateCA, n.World.GateCA.Certificate)
	writeFile(t, interceptCA, n.World.InterceptCA(t))
	args := []string{"client", client, "--write", "--root", n.Dir, "--registry", "docker.io", "--registry", ExampleRegistry,
		"--gate", "https://" + GateName, "--ca", gateCA, "--proxy", proxyURL(), "--intercept-ca", interceptCA}
	if old := (Mode{Since: 23}); n.Client.Kind() == DockerGraph && !old.Knows(t, n.Client.Version(t, n)) {
		args = append(args, "--mode", "environment")
	}
	MustRun(t, nil, n.World.Gate.binary, args...)
	n.updateCertificates(t)
	n.readDropIns(t)
}

// updateCertificates does what update-ca-certificates(8) does.
func (n *Node) updateCertificates(t testing.TB) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(n.Dir, "usr/local/share/ca-certificates/*.crt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		n.Trust(t, readFile(t, f))
	}
}

// environmentLine is a line of systemd.exec(5) as pullgate client writes it.
var environmentLine = regexp.MustCompile(`(?m)^Environment="([^"]+)"$`)

// readDropIns gives the node's programs what systemd would give to services.
// There is one service on a node.
func (n *Node) readDropIns(t testing.TB) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(n.etc, "systemd/system/*.service.d/*.conf"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		for _, m := range environmentLine.FindAllStringSubmatch(string(readFile(t, f)), -1) {
			n.Env = append(n.Env, m[1])
		}
	}
}

// has says whether a file was written on the machine.
func (m *Machine) has(t testing.TB, path string) bool {
	t.Helper()
	_, err := os.Stat(m.Path(t, path))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

func proxyURL() string { return fmt.Sprintf("http://%s:%d", GateName, interceptPort) }
