//go:build e2e

package e2e

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/e2e/harness"
)

// everything is a node with docker, containerd and podman's family.
type everything struct {
	*harness.Planned // docker
	containerd       *harness.Planned
	podman           *harness.Planned
}

// newEverything holds each client by its plan, but those of which open says another
// configuration, by one of the modes of the harness.
func newEverything(t *testing.T, w *harness.World, open map[string]string) everything {
	t.Helper()
	n := everything{Planned: w.NewPlanned(t, "node of the doctor", "", &harness.NodeDocker{})}
	n.containerd, n.podman = n.Beside(t, &harness.NodeContainerd{}), n.Beside(t, &harness.NodePodman{})
	for _, c := range n.plans("") {
		if mode := open[c.plan[0]]; mode != "" {
			c.node.Misconfigure(t, mode)
		} else {
			c.node.ApplyPlan(t, c.plan[0], c.plan[1:]...)
		}
	}
	return n
}

// plans are the clients' plans in one mode; docker 20.10 has one alone.
func (n everything) plans(mode string) []clientPlan {
	args := []string{"--mode", cmp.Or(mode, "auto")}
	return []clientPlan{
		{n.Planned, []string{"docker", "--mode", "environment"}},
		{n.containerd, append([]string{"containerd"}, args...)},
		{n.podman, append([]string{"podman"}, args...)},
	}
}

type clientPlan struct {
	node *harness.Planned
	plan []string
}

func (n everything) doctor(t *testing.T) harness.DoctorReport {
	t.Helper()
	return n.Doctor(t, "--docker-host", "unix://"+n.Dir+"/s", "--containerd-address", n.containerd.Dir+"/s")
}

// doctored are the clients that the doctor finds on such a node.
var doctored = []string{"docker", "containerd", "podman", "buildah", "skopeo"}

// What the plans say is closed, the doctor finds closed and proves.
func TestDoctorOfPlans(t *testing.T) {
	w := harness.NewWorld(t, nil)
	n := newEverything(t, w, nil)
	r := n.doctor(t)
	expectClosed(t, r, doctored...)
	if r.Summary.Exit != 0 || !r.Gate.Refuses {
		t.Errorf("exit status %d: %s\n%s", r.Summary.Exit, r.Summary.Message, r.Text)
	}
	if around := n.Around(); around.Connections > 0 {
		t.Errorf("around the gate:\n%s", around)
	}
}

// expectClosed holds that the doctor calls clients closed, has nothing to say of
// their configuration and tried every registry.
func expectClosed(t *testing.T, r harness.DoctorReport, clients ...string) {
	t.Helper()
	for _, client := range clients {
		if c := r.Of(t, client); c.Result != "closed-proven" || len(c.Findings) > 0 || len(c.Proofs) != len(bothRegistries) {
			t.Errorf("%s: %s, expected closed-proven without findings: %+v", client, c.Result, c)
		}
	}
}

// The same where the gate is the proxy of every client. skopeo, which does not
// read containers.conf, is open until everybody's environment has the proxy.
func TestDoctorOfProxies(t *testing.T) {
	w := harness.NewWorld(t, nil)
	n := everything{Planned: w.NewPlanned(t, "node of proxies", "", &harness.NodeDocker{})}
	n.containerd, n.podman = n.Beside(t, &harness.NodeContainerd{}), n.Beside(t, &harness.NodePodman{})
	var podman harness.Plan
	for _, c := range n.plans("proxy") {
		podman = c.node.ApplyPlan(t, c.plan[0], c.plan[1:]...).Plan
	}
	r := n.doctor(t)
	expectClosed(t, r, "docker", "containerd", "podman", "buildah")
	if c := r.Of(t, "skopeo"); c.Result != "open" || r.Summary.Exit != 1 {
		t.Errorf("exit status %d, expected skopeo to be open: %+v", r.Summary.Exit, c)
	}
	n.LogIn(t, podman)
	before := n.Around()
	if r = n.doctor(t); r.Summary.Exit != 0 {
		t.Errorf("exit status %d: %s\n%s", r.Summary.Exit, r.Summary.Message, r.Text)
	}
	expectClosed(t, r, doctored...)
	if around := n.AroundSince(before); around.Connections > 0 {
		t.Errorf("around the gate:\n%s", around)
	}
}

// One client that falls back, among others that are held, is found: by what is
// configured, and because the canary really arrives.
func TestDoctorOfFallbacks(t *testing.T) {
	w := harness.NewWorld(t, nil)
	for _, tt := range []struct {
		plan, mode string
		open       []string // as the doctor names clients
	}{
		{"docker", "registry-mirrors", []string{"docker"}},
		{"containerd", "hosts.toml: [host] gate, server the registry", []string{"containerd"}},
		{"containerd", "hosts.toml: server gate, no [host]", []string{"containerd"}},
		{"podman", "registries.conf: mirror", []string{"podman", "buildah", "skopeo"}},
	} {
		t.Run(tt.plan+"/"+tt.mode, func(t *testing.T) {
			n := newEverything(t, w, map[string]string{tt.plan: tt.mode})
			r := n.doctor(t)
			for _, client := range doctored {
				c, arrived := r.Of(t, client), 0
				for _, p := range c.Proofs {
					if p.Verdict == "arrived" {
						arrived++
					}
				}
				found := slices.ContainsFunc(c.Findings, func(f harness.DoctorFinding) bool { return f.Severity == "open" })
				if open := slices.Contains(tt.open, client); open != (c.Result == "open") || open != (arrived > 0) || open != found || !open && c.Result != "closed-proven" {
					t.Errorf("%s: %s, %d canaries arrived; expected open: %v\n%+v", client, c.Result, arrived, open, c)
				}
			}
			if r.Summary.Exit != 1 {
				t.Errorf("exit status %d: %s", r.Summary.Exit, r.Summary.Message)
			}
			canaries := 0
			for _, q := range n.Around().Requests {
				if strings.Contains(q.Path, harness.CanaryRepository+"/manifests/") {
					canaries++
				}
			}
			if canaries == 0 {
				t.Errorf("no canary was fetched around the gate:\n%s", n.Around())
			}
		})
	}
}
