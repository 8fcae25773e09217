package harness

import (
	"slices"
	"strings"
	"testing"
)

// ModesOf are the modes of a client of a newer release: those of [Modes] that its
// version knows, with what this version does differently, and those of clients
// that this machine's own release does not have.
func ModesOf(t testing.TB, kind ClientKind, version string) []Mode {
	t.Helper()
	modes := Modes()
	for _, m := range slices.Concat(dockerStoreModes(), buildKitModes()) {
		modes = append(modes, m)
		if m.Fallback {
			modes = append(modes, m.unreachable())
		}
	}
	var out []Mode
	for _, m := range modes {
		if m.For(settingsOf(kind)) || kind == BuildKitKind && m.Image != nil { // a name is a name to it as well
			if m.Knows(t, version) {
				out = append(out, m.of(t, kind, version)...)
			}
		}
	}
	return out
}

// settingsOf is the kind of client that a kind shares its settings with.
func settingsOf(kind ClientKind) ClientKind {
	switch kind {
	case DockerBuild:
		return DockerGraph
	case DockerStoreBuild:
		return DockerContainerd
	default:
		return kind
	}
}

// of is the mode as a version of a client has it.
func (m Mode) of(t testing.TB, kind ClientKind, version string) []Mode {
	t.Helper()
	readsHosts := Mode{Since: 28}.Knows(t, version)
	switch {
	case m.Name == modeServerOnly && !strings.HasPrefix(version, "1."):
		m.Closed = true // containerd 1 does not read such a file
	case settingsOf(kind) == DockerContainerd && !readsHosts && (strings.HasPrefix(m.Name, storeHosts) || m.Name == modeStorePlan):
		m.Closed, m.Example, m.Every = false, false, false // nor do older dockers read any hosts.toml
	case m.Name == modeMirrorListener && kind == DockerBuild:
		// What stops the fallback of docker pull does not stop that of BuildKit.
		m.Closed, m.Fallback = false, true
		return []Mode{m, m.unreachable()}
	}
	return []Mode{m}
}

// Names of modes that are not the same for all versions and clients.
const (
	modeServerOnly     = "hosts.toml: server gate, no [host]"
	modeStorePlan      = "pullgate client docker-containerd"
	modeMirrorListener = "registry-mirrors, a listener with mirror: true"
	storeHosts         = "certs.d/" // how the names of dockerStoreModes begin
)

// dockerStoreModes are those of dockerd with the containerd store, which reads
// hosts.toml below /etc/docker/certs.d from docker 28 on.
func dockerStoreModes() []Mode {
	kinds := []ClientKind{DockerContainerd}
	const gate = "https://" + GateName
	server := "server = \"" + gate + "\"\n"
	both := server + "[host.\"" + gate + "\"]\n  capabilities = [\"pull\", \"resolve\"]\n"
	file := func(registry, text string) func(testing.TB, *Node) {
		return func(t testing.TB, n *Node) {
			t.Helper()
			n.WriteFile(t, "/etc/docker/certs.d/"+registry+"/hosts.toml", []byte(text))
		}
	}
	return []Mode{{
		Name: storeHosts + "_default/hosts.toml: server gate", Kinds: kinds, Closed: true, Example: true, Every: true,
		Configure: file("_default", server),
	}, {
		Name: storeHosts + "_default/hosts.toml: server and [host] gate", Kinds: kinds, Closed: true, Example: true, Every: true,
		Configure: file("_default", both),
	}, {
		Name: storeHosts + "docker.io/hosts.toml: server gate", Kinds: kinds, Closed: true,
		Configure: file("docker.io", server),
	}, {
		Name: storeHosts + "_default/hosts.toml: server gate, beside a directory certs.d/docker.io without hosts.toml", Kinds: kinds,
		Configure: func(t testing.TB, n *Node) {
			t.Helper()
			file("_default", server)(t, n)
			n.WriteFile(t, "/etc/docker/certs.d/docker.io/ca.crt", n.World.Hub.CA.Certificate)
		},
	}}
}

// buildKitModes are those of buildkitd.toml.
func buildKitModes() []Mode {
	return []Mode{{
		Name: "buildkitd.toml: mirrors", Kinds: []ClientKind{BuildKitKind}, Fallback: true,
		Configure: func(t testing.TB, n *Node) {
			t.Helper()
			n.WriteFile(t, "/etc/buildkit/buildkitd.toml", []byte("[registry.\"docker.io\"]\n  mirrors = [\""+GateName+"\"]\n"))
		},
	}}
}
