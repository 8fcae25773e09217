package harness

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// Outcomes of a pull, as the table in docs/clients.md has them.
const (
	Pulled       = "pulled"  // through the gate, which allowed it
	Refused      = "refused" // the client failed, and the gate's audit log says that the gate denied it
	PulledAround = "pulled around the gate"
)

// Case is a pull of the matrix.
type Case struct {
	Name   string // "signed, tag"
	Signed bool
	image  func(t testing.TB, text string) Image
	digest bool
}

// Cases are the pulls that every mode is tried with.
func Cases() []Case {
	single := func(t testing.TB, text string) Image { return NewImage(t, text) }
	multi := func(t testing.TB, text string) Image { return NewMultiArch(t, text) }
	return []Case{
		{"signed, tag", true, single, false}, {"signed, digest", true, single, true}, {"signed, multi-arch", true, multi, false},
		{"unsigned, tag", false, single, false}, {"unsigned, digest", false, single, true}, {"unsigned, multi-arch", false, multi, false},
	}
}

// Row is what a client did in a mode.
type Row struct {
	Client  string // program
	Version string // of it, major and minor
	Mode    string
	Closed  bool
	Cells   []Cell // in the order of Cases
}

// Cell is the outcome of a case.
type Cell struct {
	Outcome string
	Around  int // requests that reached a registry, its token server or its CDN, not through the gate
}

// RunMode pulls every case with a client on a node of its own, which it makes
// and configures. It ends the test when a pull has an outcome that is none of
// the three: that would be a fault of the test or of the client.
func (w *World) RunMode(t testing.TB, mode Mode, client NodeClient, root string) Row {
	t.Helper()
	name := slug(string(client.Kind()) + " " + mode.Name)
	n := w.NewNode(t, name, root, client)
	mode.Configure(t, n)
	row := Row{Client: string(client.Kind()), Version: client.Version(t, n), Mode: mode.Name, Closed: mode.Closed}
	client.Start(t, n)
	for i, c := range Cases() {
		ref := w.prepare(t, "docker.io", fmt.Sprintf("%s/app%d", name, i), c)
		row.Cells = append(row.Cells, w.pull(t, n, mode, c, ref))
	}
	if mode.Closed && mode.Example {
		for _, c := range Cases()[:len(Cases())/2+1] { // all signed ones and one that is not
			w.pull(t, n, mode, c, w.prepare(t, ExampleRegistry, name+"/"+slug(c.Name), c))
		}
	}
	w.pullCanary(t, n, mode)
	if all := n.Around(); mode.Closed && all.Connections > 0 {
		t.Errorf("connections around the gate:\n%s", all)
	}
	return row
}

// prepare puts the image of a case into a registry and returns the name to pull.
func (w *World) prepare(t testing.TB, registry, repository string, c Case) Ref {
	t.Helper()
	img := c.image(t, registry+"/"+repository)
	ref := w.Push(t, registry, repository, "v1", img, c.Signed)
	if c.digest {
		return Digested(registry, repository, img.Digest)
	}
	return ref
}

// pullCanary pulls the image that no gate hands out. It arrives in open modes,
// and in closed ones the audit log says that it was asked for.
func (w *World) pullCanary(t testing.TB, n *Node, mode Mode) {
	t.Helper()
	pull := n.Client.Pull
	if d, ok := n.Client.(interface {
		PullByAPI(testing.TB, *Node, string) Result
	}); ok && slices.Contains(dockerKinds, n.Client.Kind()) {
		pull = d.PullByAPI
	}
	tag := "of-" + slug(mode.Name)
	refs := []Ref{Tagged("docker.io", CanaryRepository, tag)}
	if mode.Every {
		refs = append(refs, Tagged(CanaryRegistry, strings.TrimPrefix(CanaryRepository, CanaryRegistry+"/"), tag))
	}
	for _, ref := range refs {
		mark := w.Gate.Mark(t)
		r := pull(t, n, mode.ImageName(ref))
		if arrived := r.ExitCode == 0; arrived == mode.Closed {
			t.Errorf("canary: arrived: %v, expected %v\n%s\naudit log:\n%s", arrived, !mode.Closed, r.Output, w.Gate.Since(t, mark))
		}
		if mode.Closed || mode.Fallback {
			w.Gate.expectCanary(t, mark, ref)
		}
	}
}

// expectCanary waits a moment for the audit record of a canary. The record has
// the name as it was asked for: the registry may be in the path, or be left out.
func (g *Gate) expectCanary(t testing.TB, mark Mark, ref Ref) {
	t.Helper()
	seen := func(r Record) bool {
		name := strings.TrimPrefix(r.Registry+"/"+r.Repository, "/")
		whole := strings.HasSuffix(ref.Registry+"/"+ref.Repository, name) && strings.HasSuffix(name, "canary/unsigned")
		return r.Kind == "canary" && r.Decision == Denied && whole && r.Reference == ref.Tag
	}
	for end := time.Now().Add(3 * time.Second); !slices.ContainsFunc(g.Since(t, mark), seen); time.Sleep(pollInterval) {
		if time.Now().After(end) {
			t.Errorf("no audit record of the canary %s; there are:\n%s", ref, g.Since(t, mark))
			return
		}
	}
}

// slug makes a text fit for a repository's name.
func slug(s string) string {
	words := strings.FieldsFunc(strings.ToLower(s), func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
	return strings.Join(words, "-")
}

// pull makes one pull and finds out what happened.
func (w *World) pull(t testing.TB, n *Node, mode Mode, c Case, ref Ref) Cell {
	t.Helper()
	before, mark := n.Around(), w.Gate.Mark(t)
	r := n.Client.Pull(t, n, mode.ImageName(ref))
	around := n.AroundSince(before)
	if mode.Closed && around.Connections > 0 {
		t.Errorf("%s, %s: connections around the gate:\n%s", c.Name, ref, around)
	}
	cell := Cell{Around: len(around.Requests)}
	switch {
	case r.ExitCode == 0 && cell.Around > 0:
		cell.Outcome = PulledAround
	case r.ExitCode == 0:
		w.Gate.Expect(t, mark, Allowed, ref)
		cell.Outcome = Pulled
	case w.denied(t, mark, ref):
		cell.Outcome = Refused
	default:
		t.Fatalf("%s, %s: the client failed and the gate did not refuse: exit status %d\n%s\naround the gate: %s\naudit log:\n%s",
			c.Name, ref, r.ExitCode, r.Output, around, w.Gate.Since(t, mark))
	}
	if mode.Closed && (cell.Outcome == PulledAround || (cell.Outcome == Pulled) != c.Signed) {
		t.Errorf("%s, %s: %s\n%s\naround the gate: %s\naudit log:\n%s", c.Name, ref, cell.Outcome, r.Output, around, w.Gate.Since(t, mark))
	}
	return cell
}

// denied says whether the audit log has a denial of the image, now or in a
// moment.
func (w *World) denied(t testing.TB, mark Mark, ref Ref) bool {
	t.Helper()
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(pollInterval) {
		if _, ok := w.Gate.Since(t, mark).Find(Denied, ref); ok {
			return true
		}
	}
	return false
}
