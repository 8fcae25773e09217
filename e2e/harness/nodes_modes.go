package harness

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Mode is a way to point a client at the gate.
type Mode struct {
	Name  string
	Kinds []ClientKind // that it is for
	// Closed says that the client cannot be made to fall back by a refusal: no
	// request of it reaches a registry but through the gate.
	Closed bool
	// Fallback says that the gate is asked first; a mode that is neither that nor
	// closed does not get to the gate at all.
	Fallback bool
	// Example says that registry.example.com goes by the gate as well as docker.io.
	Example bool
	// Every says that whatever registry is named goes by the gate.
	Every bool
	// Since is the first version (major) of the client that knows the setting; 0
	// for all.
	Since int
	// Configure prepares the node before its client starts.
	Configure func(t testing.TB, n *Node)
	// Image is the name that a person writes for an image; nil: the image's own.
	Image func(r Ref) string
}

// For says whether the mode is for a kind of client.
func (m Mode) For(kind ClientKind) bool { return slices.Contains(m.Kinds, kind) }

// Knows says whether a client of this version ("20.10") knows the setting.
func (m Mode) Knows(t testing.TB, version string) bool {
	t.Helper()
	major, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(major)
	if err != nil {
		t.Fatalf("version %q: expected a number before the first dot", version)
	}
	return n >= m.Since
}

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
	modes := slices.Concat(nameModes(), proxyModes(), dockerModes(), containerdModes(), containersModes(), snippetModes())
	for _, m := range modes {
		if !m.Closed && m.Fallback {
			modes = append(modes, m.unreachable())
		}
	}
	return modes
}

// unreachable is a mode in which clients fall back, on a node that knows no
// address but the gate's.
func (m Mode) unreachable() Mode {
	configure := m.Configure
	m.Name += "; no name but the gate's resolves"
	m.Closed, m.Fallback = true, false
	m.Configure = func(t testing.TB, n *Node) {
		configure(t, n)
		n.Unresolve(t, hubNames...)
	}
	return m
}

// nameModes work by the image's name, or by that of the registry, alone.
func nameModes() []Mode {
	nothing := func(testing.TB, *Node) {}
	return []Mode{{
		Name: "gate.example/docker.io/…", Kinds: allKinds, Closed: true, Example: true, Configure: nothing,
		Image: func(r Ref) string { return GateName + "/" + r.String() },
	}, {
		Name: "docker-io.gate.example/…", Kinds: allKinds, Closed: true, Example: true, Configure: nothing,
		Image: func(r Ref) string { return label(r.Registry) + "/" + r.Path() },
	}, {
		Name: "gate.example:5003/…, a listener of its own", Kinds: allKinds, Closed: true, Configure: nothing,
		Image: func(r Ref) string { return fmt.Sprintf("%s:%d/%s", GateName, listenerPort, r.Path()) },
	}, {
		Name: "DNS: the registry's name is the gate's address", Kinds: append(slices.Clone(allKinds), BuildKitKind), Closed: true, Example: true,
		Configure: func(t testing.TB, n *Node) { n.Resolve(t, n.World.GateAddr, HubRegistry, ExampleRegistry) },
	}}
}

// label is the name below the gate's own that stands for a registry.
func label(registry string) string {
	return strings.ReplaceAll(registry, ".", "-") + "." + GateName
}

// proxyModes send everything through the gate as HTTP proxy.
func proxyModes() []Mode {
	url := proxyURL()
	return []Mode{{
		Name: "HTTPS_PROXY", Kinds: append(slices.Clone(allKinds), BuildKitKind), Closed: true, Example: true, Every: true,
		Configure: func(t testing.TB, n *Node) {
			n.Env = append(n.Env, "HTTPS_PROXY="+url)
			n.Trust(t, n.World.InterceptCA(t))
		},
	}, {
		Name: "daemon.json: proxies", Kinds: dockerKinds, Closed: true, Example: true, Every: true, Since: 23,
		Configure: func(t testing.TB, n *Node) {
			n.WriteFile(t, "/etc/docker/daemon.json", []byte(`{"proxies": {"https-proxy": "`+url+`"}}`))
			n.Trust(t, n.World.InterceptCA(t))
		},
	}}
}

func dockerModes() []Mode {
	mirror := func(url string) func(testing.TB, *Node) {
		return func(t testing.TB, n *Node) {
			n.WriteFile(t, "/etc/docker/daemon.json", []byte(`{"registry-mirrors": ["`+url+`"]}`))
		}
	}
	special := fmt.Sprintf("https://%s:%d", GateName, mirrorPort)
	return []Mode{{
		Name: "registry-mirrors", Kinds: dockerKinds, Fallback: true, Configure: mirror("https://" + GateName),
	}, {
		Name: "registry-mirrors, a listener with mirror: true", Kinds: []ClientKind{DockerGraph}, Closed: true, Configure: mirror(special),
	}, {
		Name: "registry-mirrors, a listener with mirror: true", Kinds: []ClientKind{DockerContainerd}, Fallback: true, Configure: mirror(special),
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
		Name: "hosts.toml: [host] gate, server the registry", Kinds: kinds, Fallback: true,
		Configure: func(t testing.TB, n *Node) { hostsTOML(t, n, "docker.io", "https://"+HubRegistry, true) },
	}, {
		Name: "hosts.toml: [host] gate, no server", Kinds: kinds, Fallback: true,
		Configure: func(t testing.TB, n *Node) { hostsTOML(t, n, "docker.io", "", true) },
	}, {
		Name: "hosts.toml: server gate, no [host]", Kinds: kinds,
		Configure: func(t testing.TB, n *Node) { hostsTOML(t, n, "docker.io", "https://"+GateName, false) },
	}, {
		Name: "hosts.toml: server and [host] gate", Kinds: kinds, Closed: true,
		Configure: func(t testing.TB, n *Node) { hostsTOML(t, n, "docker.io", "https://"+GateName, true) },
	}, {
		Name: "_default/hosts.toml: server and [host] gate", Kinds: kinds, Closed: true, Example: true, Every: true,
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
		Name: "registries.conf: mirror", Kinds: containersKinds, Fallback: true,
		Configure: registriesConf("[[registry]]\nprefix = \"docker.io\"\nlocation = \"docker.io\"\n" + mirror),
	}, {
		Name: "registries.conf: mirror, blocked", Kinds: containersKinds, Closed: true,
		Configure: registriesConf("[[registry]]\nprefix = \"docker.io\"\nlocation = \"docker.io\"\nblocked = true\n" + mirror),
	}, {
		Name: "registries.conf: location gate", Kinds: containersKinds, Closed: true,
		Configure: registriesConf("[[registry]]\nprefix = \"docker.io\"\nlocation = \"" + GateName + "/docker.io\"\n"),
	}}
}
