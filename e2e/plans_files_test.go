//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/pullgate/pullgate/e2e/harness"
)

// everyPlan is every client in every mode that it has.
var everyPlan = [][]string{
	{"docker"}, {"docker", "--mode", "environment"}, {"docker", "--mode", "name"},
	{"docker-containerd"}, {"docker-containerd", "--mode", "proxy"}, {"docker-containerd", "--mode", "environment"},
	{"containerd"}, {"containerd", "--mode", "proxy"},
	{"podman"}, {"podman", "--mode", "proxy"},
	{"cri-o"}, {"cri-o", "--mode", "proxy"},
	{"buildkit"}, {"k3s"}, {"talos"},
	{"kubernetes"}, {"kubernetes", "--runtime", "cri-o"}, {"kubernetes", "--mode", "proxy"},
}

// A gate that flags describe is the same as one that its configuration describes:
// the same files are written, and they are those that are printed.
func TestPlansByFlagsAndConfiguration(t *testing.T) {
	w := harness.NewWorld(t, nil)
	for _, p := range everyPlan {
		t.Run(filepath.Join(p...), func(t *testing.T) {
			plan := w.PrintPlan(t, p[0], p[1:]...)
			var trees [2]map[string]string
			for i, flags := range [][]string{w.ByConfiguration(t), w.ByFlags(t)} {
				root := t.TempDir()
				w.WritePlan(t, plan, root, append(flags, p[1:]...)...)
				trees[i] = treeOf(t, root)
			}
			for path, text := range trees[0] {
				if trees[1][path] != text {
					t.Errorf("%s: by the configuration\n%s\nby flags\n%s", path, text, trees[1][path])
				}
			}
			if len(trees[0]) != len(plan.Files) || len(trees[1]) != len(plan.Files) {
				t.Errorf("expected the %d files of the plan, found %d and %d", len(plan.Files), len(trees[0]), len(trees[1]))
			}
		})
	}
}

// treeOf is every file below a directory.
func treeOf(t *testing.T, root string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		files[path[len(root):]] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
