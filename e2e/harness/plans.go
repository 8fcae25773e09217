package harness

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Plan is what `pullgate client CLIENT --json` prints.
type Plan struct {
	Client, Mode string
	Files        []PlanFile
	Commands     []PlanStep
	Notes        []string
	Bypass       []string
}

// PlanFile is a file of a plan, and PlanStep a command.
type (
	PlanFile struct {
		Path, Mode, Kind, Content string
		Why                       []string
	}
	PlanStep struct{ Run, Why string }
)

// PrintPlan is the plan for a client of this world's gate. The gate is described
// by its own configuration; args are more flags, and win.
func (w *World) PrintPlan(t testing.TB, client string, args ...string) Plan {
	t.Helper()
	var p Plan
	decode(t, w.client(t, client, append(w.ByConfiguration(t), append(args, "--json")...)...), &p)
	return p
}

// ByConfiguration are the flags that describe the gate by its configuration, which
// says neither its name nor who issued its certificate.
func (w *World) ByConfiguration(t testing.TB) []string {
	t.Helper()
	return []string{"--config", w.Gate.Config, "--gate", w.Gate.URL, "--ca", w.caFiles(t)[0]}
}

// ByFlags are the flags that say the same without the configuration.
func (w *World) ByFlags(t testing.TB) []string {
	t.Helper()
	files := w.caFiles(t)
	return []string{"--gate", w.Gate.URL, "--ca", files[0], "--registry", "docker.io", "--registry", ExampleRegistry,
		"--proxy", fmt.Sprintf("http://%s:%d", w.GateAddr, interceptPort), "--intercept-ca", files[1]}
}

// caFiles are the authorities of the gate's own certificate and of those that it
// shows for registries.
func (w *World) caFiles(t testing.TB) [2]string {
	t.Helper()
	own := filepath.Join(w.GateMachine.Dir, "authority.crt")
	writeFile(t, own, w.GateCA.Certificate)
	return [2]string{own, filepath.Join(w.stateDir(), "intercept-ca.crt")}
}

// client runs `pullgate client`, which must succeed.
func (w *World) client(t testing.TB, client string, args ...string) string {
	t.Helper()
	return MustRun(t, nil, w.Gate.binary, append([]string{"client", client}, args...)...).Stdout
}

func decode(t testing.TB, text string, to any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), to); err != nil {
		t.Fatalf("expected JSON: %v\n%s", err, text)
	}
}

// written is what `pullgate client --write --json` says of a file.
type written struct{ Path, Action string }

// WritePlan lets pullgate client write a plan's files below root and checks that
// they are those that it printed, that nothing is left to the operator, and that
// a second run has nothing to do.
func (w *World) WritePlan(t testing.TB, plan Plan, root string, args ...string) {
	t.Helper()
	args = append(args, "--write", "--root", root, "--json")
	var report struct {
		Changes []written
		Left    []PlanStep
	}
	decode(t, w.client(t, plan.Client, args...), &report)
	if len(report.Left) > 0 || len(report.Changes) != len(plan.Files) {
		t.Fatalf("%s: expected %d files and nothing left to do, found %+v", plan.Client, len(plan.Files), report)
	}
	for _, f := range plan.Files {
		path := filepath.Join(root, f.Path)
		// What was there before is merged with, or another file takes its place.
		if got := string(readFile(t, path)); f.Kind == "" && unmarked(got) != unmarked(f.Content) {
			t.Errorf("%s: %s has\n%s\nand what was printed is\n%s", plan.Client, f.Path, got, f.Content)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if mode := fmt.Sprintf("%04o", info.Mode().Perm()); mode != f.Mode {
			t.Errorf("%s: %s has mode %s, expected %s", plan.Client, f.Path, mode, f.Mode)
		}
	}
	decode(t, w.client(t, plan.Client, args...), &report)
	for _, c := range report.Changes {
		if c.Action != "unchanged" {
			t.Errorf("%s: the second run changed %s: %s", plan.Client, c.Path, c.Action)
		}
	}
}

// unmarked is a file without its first line, which says which plan wrote it.
func unmarked(text string) string {
	_, rest, _ := strings.Cut(text, "\n")
	return rest
}
