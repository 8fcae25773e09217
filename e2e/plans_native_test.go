//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"github.com/pullgate/pullgate/e2e/harness"
)

// bothRegistries are those of the gate of a World.
var bothRegistries = []string{"docker.io", harness.ExampleRegistry}

// planned is a plan with a client that it is for.
type planned struct {
	name   string // of the test
	plan   string
	args   []string
	client harness.NodeClient
	// says is what commands of the plan print, by a part of the command line.
	says map[string]string
	// image is the name that a person writes; nil: the image's own.
	image func(harness.Ref) string
}

// run applies the plan to a node of its own and pulls.
func (p planned) run(t *testing.T, w *harness.World, root string) {
	n := w.NewPlanned(t, p.name, root, p.client)
	done := n.ApplyPlan(t, p.plan, p.args...)
	if len(done.Left) > 0 {
		t.Errorf("left to people on a new node: %+v", done.Left)
	}
	for line, output := range done.Outputs {
		for part, want := range p.says {
			if strings.Contains(line, part) && !strings.Contains(output, want) {
				t.Errorf("%s: expected %q, found\n%s", line, want, output)
			}
		}
	}
	n.PullAll(t, p.name, harness.Covered{Registries: bothRegistries, Image: p.image})
}

// byGateName is how images are named when the client is only told to trust the
// gate.
func byGateName(r harness.Ref) string { return harness.GateName + "/" + r.String() }

// nativePlans are the plans for this machine's own clients. CRI-O is no Debian
// package: podman reads the same files by the same library, and stands for it. k3s is none
// either: containerd gets the files that k3s makes.
func nativePlans() []planned {
	trust := map[string]string{"update-ca-certificates": "1 added"}
	config := map[string]string{"containerd config dump": `config_path = "/etc/containerd/certs.d"`}
	server := map[string]string{"grep -r server": `server = "https://` + harness.GateName + `/v2"`}
	locations := map[string]string{"podman info": "docker.io:{docker.io {" + harness.GateName + "/docker.io"}
	return []planned{
		{"docker environment", "docker", []string{"--mode", "environment"}, &harness.NodeDocker{}, trust, nil},
		{"docker name", "docker", []string{"--mode", "name"}, &harness.NodeDocker{}, nil, byGateName},
		{"containerd", "containerd", nil, &harness.NodeContainerd{}, config, nil},
		{"containerd proxy", "containerd", []string{"--mode", "proxy"}, &harness.NodeContainerd{}, trust, nil},
		{"kubernetes", "kubernetes", nil, &harness.NodeContainerd{}, config, nil},
		{"k3s as containerd", "k3s", nil, &harness.NodeK3s{}, server, nil},
		{"podman", "podman", nil, &harness.NodePodman{}, locations, nil},
		{"buildah", "podman", nil, &harness.NodeBuildah{}, locations, nil},
		{"skopeo", "podman", nil, &harness.NodeSkopeo{}, locations, nil},
		{"podman proxy", "podman", []string{"--mode", "proxy"}, &harness.NodePodman{}, nil, nil},
		{"buildah proxy", "podman", []string{"--mode", "proxy"}, &harness.NodeBuildah{}, nil, nil},
		{"skopeo proxy", "podman", []string{"--mode", "proxy"}, &harness.NodeSkopeo{}, nil, nil},
		{"cri-o as podman", "cri-o", nil, &harness.NodePodman{}, nil, nil},
		{"cri-o proxy as podman", "cri-o", []string{"--mode", "proxy"}, &harness.NodePodman{}, trust, nil},
	}
}

// What `pullgate client` writes, put where the client reads it and with the
// commands that it lists, is closed.
func TestPlans(t *testing.T) {
	w := harness.NewWorld(t, nil)
	for _, p := range nativePlans() {
		t.Run(p.name, func(t *testing.T) { p.run(t, w, "") })
	}
}
