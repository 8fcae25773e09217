package harness

import (
	"fmt"
	"strings"
	"testing"
)

// Why an unsigned image is refused, as every client has to print it: the gate's
// own words.
const unsignedReason = "no signatures found"

// Covered says what a plan is for.
type Covered struct {
	// Registries go by the gate.
	Registries []string
	// Image is the name that a person writes for an image; nil: the image's own.
	Image func(r Ref) string
}

// PullAll pulls every case from every registry that a plan covers: what is signed
// arrives, what is not is refused by the gate and the client says why, and nothing
// at all reaches a registry around the gate.
func (n *Planned) PullAll(t testing.TB, name string, covered Covered) {
	t.Helper()
	mode := Mode{Name: name, Closed: true, Image: covered.Image}
	for _, registry := range covered.Registries {
		for _, c := range Cases() {
			repository := slug(name) + "/" + slug(c.Name)
			n.World.pull(t, n.Node, mode, c, n.World.prepare(t, registry, repository, c))
		}
		n.refusalSaysWhy(t, registry, name, mode)
	}
	if all := n.Around(); all.Connections > 0 {
		t.Errorf("%s: connections around the gate:\n%s", name, all)
	}
}

// refusalSaysWhy pulls an unsigned image and looks at what the client prints.
func (n *Planned) refusalSaysWhy(t testing.TB, registry, name string, mode Mode) {
	t.Helper()
	ref := n.World.Push(t, registry, slug(name)+"/why", "v1", NewImage(t, name), false)
	mark := n.World.Gate.Mark(t)
	r := n.Client.Pull(t, n.Node, mode.ImageName(ref))
	n.World.Gate.Expect(t, mark, Denied, ref)
	if r.ExitCode == 0 || !strings.Contains(strings.ToLower(r.Output), "denied by image policy") || !strings.Contains(r.Output, unsignedReason) {
		t.Errorf("%s: %s: exit status %d, expected the client to say that the image is denied by image policy, and %q:\n%s",
			name, ref, r.ExitCode, unsignedReason, r.Output)
	}
}

// DoctorReport is what `pullgate doctor --json` prints.
type DoctorReport struct {
	Gate struct {
		Refuses bool
		Checks  []struct{ URL, Via, Verdict, Detail string }
	}
	Clients []DoctorClient
	Summary struct {
		Exit    int
		Message string
	}
	Text string `json:"-"` // the JSON, for messages
}

// DoctorClient is a client in a [DoctorReport].
type DoctorClient struct {
	Client, Version, Store, Result string
	Findings                       []DoctorFinding
	Proofs                         []DoctorProof
}

// DoctorFinding is what the doctor read, and DoctorProof what it tried.
type (
	DoctorFinding struct{ Severity, File, Problem, Consequence string }
	DoctorProof   struct{ Reference, Registry, Command, Output, Verdict, Reason string }
)

// Of is the part about one client.
func (r DoctorReport) Of(t testing.TB, client string) DoctorClient {
	t.Helper()
	for _, c := range r.Clients {
		if c.Client == client {
			return c
		}
	}
	t.Fatalf("doctor says nothing of %s:\n%s", client, r.Text)
	return DoctorClient{}
}

// Doctor runs `pullgate doctor` on the node for both registries; args are more
// flags. Its exit status must be the one that it reports.
func (n *Planned) Doctor(t testing.TB, args ...string) DoctorReport {
	t.Helper()
	files := n.World.caFiles(t)
	line := []string{n.program(t), "doctor", "--json", "--gate", n.World.Gate.URL, "--ca", n.copyIn(t, files[0]),
		"--proxy", fmt.Sprintf("http://%s:%d", n.World.GateAddr, interceptPort), "--intercept-ca", n.copyIn(t, files[1]),
		"--registry", "docker.io", "--registry", ExampleRegistry, "--timeout", "20s"}
	r := n.Run(t, append(line, args...)...)
	report := DoctorReport{Text: r.Stdout}
	decode(t, r.Stdout, &report)
	if r.ExitCode != report.Summary.Exit {
		t.Errorf("doctor: exit status %d, and it reports %d", r.ExitCode, report.Summary.Exit)
	}
	return report
}
