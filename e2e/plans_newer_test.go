//go:build e2e && clients

package e2e

import (
	"testing"

	"github.com/pullgate/pullgate/e2e/harness"
)

// newerPlans are the plans for the clients of a newer Debian release.
func newerPlans(release string) []planned {
	trust := map[string]string{"update-ca-certificates": "1 added"}
	config := map[string]string{"containerd config dump": "/etc/containerd/certs.d'"}
	if release == "trixie" { // containerd 1.7
		config = map[string]string{"containerd config dump": `"/etc/containerd/certs.d"`}
	}
	server := map[string]string{"grep -r server": `server = "https://` + harness.GateName + `/v2"`}
	locations := map[string]string{"podman info": "docker.io:{docker.io {" + harness.GateName + "/docker.io"}
	proxy, environment := []string{"--mode", "proxy"}, []string{"--mode", "environment"}
	plans := []planned{
		{"docker", "docker", nil, &harness.NodeDocker{}, trust, nil},
		{"docker build", "docker", nil, &harness.NodeDockerBuild{NodeClient: &harness.NodeDocker{}}, trust, nil},
		{"docker environment", "docker", environment, &harness.NodeDocker{}, trust, nil},
		{"docker-containerd proxy", "docker-containerd", proxy, harness.NewNodeDockerStore(), trust, nil},
		{"docker-containerd environment", "docker-containerd", environment, harness.NewNodeDockerStore(), trust, nil},
		{"containerd", "containerd", nil, &harness.NodeContainerd{}, config, nil},
		{"containerd proxy", "containerd", proxy, &harness.NodeContainerd{}, trust, nil},
		{"k3s as containerd", "k3s", nil, &harness.NodeK3s{}, server, nil},
		{"podman", "podman", nil, &harness.NodePodman{}, locations, nil},
		{"buildah", "podman", nil, &harness.NodeBuildah{}, locations, nil},
		{"skopeo", "podman", nil, &harness.NodeSkopeo{}, locations, nil},
		{"podman proxy", "podman", proxy, &harness.NodePodman{}, nil, nil},
		{"buildah proxy", "podman", proxy, &harness.NodeBuildah{}, nil, nil},
		{"skopeo proxy", "podman", proxy, &harness.NodeSkopeo{}, nil, nil},
	}
	if release == "trixie" { // docker 26, whose image stores read no hosts.toml
		return plans
	}
	store := map[string]string{"docker info": "io.containerd.snapshotter.v1"}
	return append(plans,
		planned{"docker-containerd", "docker-containerd", nil, harness.NewNodeDockerStore(), store, nil},
		planned{"docker-containerd build", "docker-containerd", nil, &harness.NodeDockerBuild{NodeClient: harness.NewNodeDockerStore()}, store, nil},
		planned{"talos as containerd", "talos", nil, &harness.NodeTalos{}, map[string]string{"talosctl get": "skipFallback: true"}, nil},
		planned{"buildkit", "buildkit", nil, &harness.NodeBuildKit{}, trust, nil},
	)
}

// What TestPlans shows of this machine's clients, for those of newer releases.
func TestNewerPlans(t *testing.T) {
	w := harness.NewWorld(t, nil)
	for _, release := range harness.Releases {
		for _, p := range newerPlans(release) {
			p.name += " " + release
			t.Run(p.name, func(t *testing.T) { p.run(t, w, harness.Chroot(t, release)) })
		}
	}
}

// The same beside a config.toml of containerd 2, and of the layout before it.
func TestNewerPlansBesideContainerdConfig(t *testing.T) {
	w := harness.NewWorld(t, nil)
	for _, layout := range []int{2, 3} {
		besideContainerdConfig(t, w, layout, harness.Chroot(t, "forky"))
	}
}
