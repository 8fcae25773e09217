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

// exitLeft is the exit status of client --write when a step is left to people.
const exitLeft = 3

// write runs `pullgate client --write`, whose exit status has to fit its report.
func (w *World) write(t testing.TB, client string, args ...string) (report writeReport) {
	t.Helper()
	r := Run(t, nil, w.Gate.binary, append([]string{"client", client}, args...)...)
	if r.ExitCode != 0 && r.ExitCode != exitLeft {
		t.Fatalf("%v: exit status %d\n%s", r.Args, r.ExitCode, r.Output)
	}
	decode(t, r.Stdout, &report)
	if (r.ExitCode == exitLeft) != (len(report.Left) > 0) {
		t.Errorf("%v: exit status %d, and left is %+v", r.Args, r.ExitCode, report.Left)
	}
	return report
}

func decode(t testing.TB, text string, to any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), to); err != nil {
		t.Fatalf("expected JSON: %v\n%s", err, text)
	}
}

// writeReport is what `pullgate client --write --json` prints.
type writeReport struct {
	Changes []struct{ Path, Action string }
	Left    []PlanStep
}

// WritePlan lets pullgate client write a plan's files below root and checks that
// they are those that it printed, and that a second run has nothing to do. It
// returns what is left to people.
func (w *World) WritePlan(t testing.TB, plan Plan, root string, args ...string) (left []PlanStep) {
	t.Helper()
	args = append(args, "--write", "--root", root, "--json")
	report := w.write(t, plan.Client, args...)
	if len(report.Changes)+len(report.Left) != len(plan.Files) {
		t.Fatalf("%s: expected %d files, found %+v", plan.Client, len(plan.Files), report)
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
	for _, c := range w.write(t, plan.Client, args...).Changes {
		if c.Action != "unchanged" {
			t.Errorf("%s: the second run changed %s: %s", plan.Client, c.Path, c.Action)
		}
	}
	return report.Left
}

// unmarked is a file without its first line, which says which plan wrote it.
func unmarked(text string) string {
	_, rest, _ := strings.Cut(text, "\n")
	return rest
}
