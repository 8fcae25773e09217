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
		if kind == BuildKitKind && m.Image != nil {
			m.Kinds = append(slices.Clone(m.Kinds), BuildKitKind) // a name is a name to it as well
		}
		if !m.For(kind) || !m.Knows(t, version) {
			continue
		}
		if m.Name == modeServerOnly && !strings.HasPrefix(version, "1.") {
			m.Closed = true // containerd 1 ignores such a file
		}
		out = append(out, m)
	}
	return out
}

// modeServerOnly is the name of a mode of [Modes].
const modeServerOnly = "hosts.toml: server gate, no [host]"

// dockerStoreModes are those of dockerd with the containerd store, which reads
// hosts.toml below /etc/docker/certs.d. One with a server alone is ignored before
// docker 28, as by containerd 1.
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
		Name: "certs.d/_default/hosts.toml: server gate", Kinds: kinds, Closed: true, Example: true, Every: true, Since: 28,
		Configure: file("_default", server),
	}, {
		Name: "certs.d/_default/hosts.toml: server and [host] gate", Kinds: kinds, Closed: true, Example: true, Every: true, Since: 24,
		Configure: file("_default", both),
	}, {
		Name: "certs.d/docker.io/hosts.toml: server gate", Kinds: kinds, Closed: true, Since: 28,
		Configure: file("docker.io", server),
	}, {
		Name: "certs.d/_default/hosts.toml: server gate, beside a directory certs.d/docker.io without hosts.toml", Kinds: kinds, Since: 28,
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
