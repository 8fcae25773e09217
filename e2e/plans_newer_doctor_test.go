//go:build e2e && clients

package e2e

import (
	"strings"
	"testing"

	"github.com/pullgate/pullgate/e2e/harness"
)

// newEverythingNewer is a node with all clients of a newer release, docker with
// the containerd image store, each held by its plan.
func newEverythingNewer(t *testing.T, w *harness.World) everything {
	t.Helper()
	n := everything{Planned: w.NewPlanned(t, "newer node", harness.Chroot(t, "forky"), harness.NewNodeDockerStore())}
	n.containerd, n.podman = n.Beside(t, &harness.NodeContainerd{}), n.Beside(t, &harness.NodePodman{})
	buildkit := n.Beside(t, &harness.NodeBuildKit{})
	// Debian has no package of BuildKit, and so no unit that the drop-in is for.
	n.WriteFile(t, "/etc/systemd/system/buildkit.service", []byte("[Service]\nExecStart=/usr/local/bin/buildkitd\n"))
	n.ApplyPlan(t, "docker-containerd")
	n.containerd.ApplyPlan(t, "containerd")
	n.podman.ApplyPlan(t, "podman")
	buildkit.ApplyPlan(t, "buildkit")
	n.Env = append(n.Env, "BUILDKIT_HOST=unix://"+buildkit.Dir+"/s")
	return n
}

// What TestDoctorOfPlans shows of this machine's clients, for newer ones; and that
// one directory is enough to open docker.
func TestNewerDoctor(t *testing.T) {
	w := harness.NewWorld(t, nil)
	n := newEverythingNewer(t, w)
	r := n.doctor(t)
	expectClosed(t, r, append([]string{"buildx", "buildkit"}, doctored...)...)
	if around := n.Around(); around.Connections > 0 || r.Summary.Exit != 0 {
		t.Errorf("exit status %d: %s\naround the gate:\n%s", r.Summary.Exit, r.Summary.Message, around)
	}
	n.HideDefault(t, "docker.io")
	r = n.doctor(t)
	if c := r.Of(t, "docker"); c.Result != "open" || len(c.Findings) == 0 {
		t.Errorf("docker: %s, expected open: %+v", c.Result, c)
	}
	// BuildKit remembers for a while where it asked: only the files say it then.
	if c := r.Of(t, "buildx"); !strings.HasPrefix(c.Result, "open") || len(c.Findings) == 0 {
		t.Errorf("buildx: %s, expected open: %+v", c.Result, c)
	}
	expectClosed(t, r, "buildkit", "containerd", "podman", "buildah", "skopeo")
	if around := n.Around(); len(around.Requests) == 0 || r.Summary.Exit != 1 {
		t.Errorf("exit status %d: %s\naround the gate:\n%s", r.Summary.Exit, r.Summary.Message, around)
	}
}
