package harness

import (
	"fmt"
	"slices"
	"testing"
)

// Mode is a way to point a client at the gate.
type Mode struct {
	Name  string
	Kinds []ClientKind // that it is for
	// Closed says that the client cannot be made to fall back by a refusal: no
	// request of it reaches a registry but through the gate.
	Closed bool
	// Configure prepares the node before its client starts.
	Configure func(t testing.TB, n *Node)
	// Image is the name that a person writes for an image; nil: the image's own.
	Image func(r Ref) string
}

// For says whether the mode is for a kind of client.
func (m Mode) For(kind ClientKind) bool { return slices.Contains(m.Kinds, kind) }

// ImageName is the name to pull.
func (m Mode) ImageName(r Ref) string {
	if m.Image == nil {
		return r.String()
	}
	return m.Image(r)
}

var (
	dockerKinds     = []ClientKind{DockerGraph, DockerContainerd}
	containersKinds = []ClientKind{PodmanKind, BuildahKind, SkopeoKind}
	allKinds        = slices.Concat(dockerKinds, []ClientKind{ContainerdCRI}, containersKinds)
)

// Modes are the ways that docs/clients.md tells of, in its order.
func Modes() []Mode {
	return slices.Concat(nameModes(), dockerModes(), containerdModes(), containersModes())
}

// nameModes work by the image's name alone; nothing is configured.
func nameModes() []Mode {
	return []Mode{{
		Name: "gate.example/docker.io/…", Kinds: allKinds, Closed: true,
		Configure: func(testing.TB, *Node) {},
		Image:     func(r Ref) string { return GateName + "/" + r.String() },
	}}
}

func dockerModes() []Mode {
	return []Mode{{
		Name: "registry-mirrors", Kinds: dockerKinds,
		Configure: func(t testing.TB, n *Node) {
			n.WriteFile(t, "/etc/docker/daemon.json", []byte(`{"registry-mirrors": ["https://`+GateName+`"]}`))
		},
	}}
}

// hostsTOML writes containerd's settings for a registry, or for all ("_default").
func hostsTOML(t testing.TB, n *Node, registry, server string, host bool) {
	t.Helper()
	text := ""
	if server != "" {
		text = fmt.Sprintf("server = %q\n", server)
	}
	if host {
		text += fmt.Sprintf("[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", "https://"+GateName)
	}
	n.WriteFile(t, "/etc/containerd/certs.d/"+registry+"/hosts.toml", []byte(text))
}

func containerdModes() []Mode {
	kinds := []ClientKind{ContainerdCRI}
	return []Mode{{
		Name: "hosts.toml: [host] gate, server the registry", Kinds: kinds,
		Configure: func(t testing.TB, n *Node) { hostsTOML(t, n, "docker.io", "https://"+HubRegistry, true) },
	}, {
		Name: "hosts.toml: [host] gate, no server", Kinds: kinds,
		Configure: func(t testing.TB, n *Node) { hostsTOML(t, n, "docker.io", "", true) },
	}, {
		Name: "hosts.toml: server gate, no [host]", Kinds: kinds,
		Configure: func(t testing.TB, n *Node) { hostsTOML(t, n, "docker.io", "https://"+GateName, false) },
	}, {
		Name: "hosts.toml: server and [host] gate", Kinds: kinds, Closed: true,
		Configure: func(t testing.TB, n *Node) { hostsTOML(t, n, "docker.io", "https://"+GateName, true) },
	}, {
		Name: "_default/hosts.toml: server and [host] gate", Kinds: kinds, Closed: true,
		Configure: func(t testing.TB, n *Node) { hostsTOML(t, n, "_default", "https://"+GateName, true) },
	}}
}

// registriesConf is the settings of podman, buildah, skopeo and CRI-O.
func registriesConf(text string) func(testing.TB, *Node) {
	return func(t testing.TB, n *Node) {
		t.Helper()
		n.WriteFile(t, "/etc/containers/registries.conf", []byte(text))
	}
}

func containersModes() []Mode {
	const mirror = "[[registry.mirror]]\nlocation = \"" + GateName + "/docker.io\"\n"
	return []Mode{{
		Name: "registries.conf: mirror", Kinds: containersKinds,
		Configure: registriesConf("[[registry]]\nprefix = \"docker.io\"\nlocation = \"docker.io\"\n" + mirror),
	}, {
		Name: "registries.conf: mirror, blocked", Kinds: containersKinds, Closed: true,
		Configure: registriesConf("[[registry]]\nprefix = \"docker.io\"\nlocation = \"docker.io\"\nblocked = true\n" + mirror),
	}, {
		Name: "registries.conf: location gate", Kinds: containersKinds, Closed: true,
		Configure: registriesConf("[[registry]]\nprefix = \"docker.io\"\nlocation = \"" + GateName + "/docker.io\"\n"),
	}}
}
