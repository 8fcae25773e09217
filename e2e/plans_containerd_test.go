//go:build e2e

package e2e

import (
	"fmt"
	"testing"

	"github.com/pullgate/pullgate/e2e/harness"
)

// A config.toml that is there is completed, by a drop-in or by the lines that are
// left to people to add, and closed then.
func TestPlansBesideContainerdConfig(t *testing.T) {
	besideContainerdConfig(t, harness.NewWorld(t, nil), 2, "")
}

// besideContainerdConfig applies the plan to nodes that have a config.toml of a
// layout, with and without a place for drop-ins.
func besideContainerdConfig(t *testing.T, w *harness.World, layout int, root string) {
	for _, tt := range []struct {
		name, config string
		left         int
	}{
		{"imports", "version = %d\nimports = [\"/etc/containerd/conf.d/*.toml\"]\n", 0},
		{"no imports", "version = %d\n\n[debug]\n  level = \"info\"\n", 1},
	} {
		name := fmt.Sprintf("config.toml of version %d, %s", layout, tt.name)
		t.Run(name, func(t *testing.T) {
			n := w.NewPlanned(t, name, root, &harness.NodeContainerd{})
			n.WriteFile(t, "/etc/containerd/config.toml", fmt.Appendf(nil, tt.config, layout))
			if done := n.ApplyPlan(t, "containerd"); len(done.Left) != tt.left {
				t.Errorf("expected %d steps that are left, found %+v", tt.left, done.Left)
			}
			n.PullAll(t, name, harness.Covered{Registries: bothRegistries})
		})
	}
}
