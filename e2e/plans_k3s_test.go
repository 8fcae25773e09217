//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"github.com/pullgate/pullgate/e2e/harness"
)

// What the plan for k3s says of settings beside it: they have k3s ask the registry
// itself again, and the command that the plan ends with shows it.
func TestPlansK3sReopened(t *testing.T) {
	w := harness.NewWorld(t, nil)
	const registries, dropIns = "/etc/rancher/k3s/registries.yaml", "/etc/rancher/k3s/config.yaml.d/"
	for _, tt := range []struct {
		name string
		undo func(t *testing.T, n *harness.Planned)
	}{
		{"the default endpoint", func(t *testing.T, n *harness.Planned) {
			n.WriteFile(t, dropIns+"zz.yaml", []byte("disable-default-registry-endpoint: false\n"))
		}},
		{"settings of the registry", func(t *testing.T, n *harness.Planned) {
			n.Append(t, registries, "  \"docker.io\":\n    auth: {username: somebody, password: secret}\n")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k3s := &harness.NodeK3s{}
			n := w.NewPlanned(t, tt.name, "", k3s)
			plan := n.ApplyPlan(t, "k3s").Plan
			ref := w.Push(t, "docker.io", "k3s/unsigned", "v1", harness.NewImage(t, tt.name), false)
			pull := func() bool {
				return n.Client.Pull(t, n.Node, ref.String()).ExitCode == 0
			}
			if pull() || n.Around().Connections > 0 {
				t.Errorf("held by the plan, %s came:\n%s", ref, n.Around())
			}
			tt.undo(t, n)
			k3s.Render(t, n.Node)
			if !pull() || len(n.Around().Requests) == 0 {
				t.Errorf("%s did not come around the gate; the plan has to say so then:\n%s", ref, n.Around())
			}
			if out := n.Again(t, plan, "grep -r server"); !strings.Contains(out, harness.HubRegistry) {
				t.Errorf("expected the registry to be named, found\n%s", out)
			}
		})
	}
}
