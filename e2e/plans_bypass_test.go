//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"github.com/pullgate/pullgate/e2e/harness"
)

// What podman's plan by proxy says of who is not held by it: a user's own
// environment wins, and skopeo reads another one.
func TestPlansBypass(t *testing.T) {
	w := harness.NewWorld(t, nil)
	for _, tt := range []struct {
		client harness.NodeClient
		env    []string
		says   string // a part of the plan's line about it
	}{
		{&harness.NodePodman{}, []string{"NO_PROXY=" + harness.HubRegistry}, "HTTPS_PROXY and NO_PROXY of a user's own environment win"},
		{&harness.NodeBuildah{}, []string{"HTTPS_PROXY="}, "HTTPS_PROXY and NO_PROXY of a user's own environment win"},
		{&harness.NodePodman{}, []string{"CONTAINERS_CONF=/dev/null"}, "CONTAINERS_CONF"},
		{&harness.NodeSkopeo{}, []string{"HTTPS_PROXY="}, "skopeo without that environment asks registries themselves"},
	} {
		name := string(tt.client.Kind()) + " " + strings.Join(tt.env, " ")
		t.Run(name, func(t *testing.T) {
			n := w.NewPlanned(t, name, "", tt.client)
			plan := n.ApplyPlan(t, "podman", "--mode", "proxy").Plan
			if !strings.Contains(strings.Join(plan.Bypass, "\n"), tt.says) {
				t.Errorf("the plan does not say %q:\n%s", tt.says, strings.Join(plan.Bypass, "\n"))
			}
			ref := w.Push(t, "docker.io", "bypass/unsigned", "v1", harness.NewImage(t, "bypass"), false)
			if r := n.Client.Pull(t, n.Node, ref.String()); r.ExitCode == 0 || n.Around().Connections > 0 {
				t.Errorf("held by the plan, %s came:\n%s\n%s", ref, r.Output, n.Around())
			}
			n.Env = append(n.Env, tt.env...)
			if r := n.Client.Pull(t, n.Node, ref.String()); r.ExitCode != 0 || len(n.Around().Requests) == 0 {
				t.Errorf("%s did not come around the gate; the plan has to say so then:\n%s\n%s", ref, r.Output, n.Around())
			}
		})
	}
}

// Containers do not get the proxy that podman itself has.
func TestPlansProxyStaysOutOfContainers(t *testing.T) {
	w := harness.NewWorld(t, nil)
	n := w.NewPlanned(t, "containers", "", &harness.NodePodman{})
	n.ApplyPlan(t, "podman", "--mode", "proxy")
	ref := w.Push(t, "docker.io", "containers/signed", "v1", harness.NewImage(t, "containers"), true)
	podman := []string{"podman", "--cgroup-manager", "cgroupfs", "--events-backend", "file"}
	if r := n.Run(t, append(podman, "create", "--name", "c", "--network", "none", ref.String(), "/none")...); r.ExitCode != 0 {
		t.Fatalf("%s", r.Output)
	}
	r := n.Run(t, append(podman, "inspect", "c", "--format", "{{ .Config.Env }}")...)
	if r.ExitCode != 0 || !strings.Contains(r.Stdout, "PATH=") || strings.Contains(strings.ToLower(r.Stdout), "proxy") {
		t.Errorf("exit status %d, expected an environment without a proxy: %s", r.ExitCode, r.Output)
	}
}
