package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Planned is a node that plans are applied to.
type Planned struct {
	*Node
	started bool // its daemon runs
}

// NewPlanned is [World.NewNode] without any trust in the gate, and with a trust
// store and a place for images of its own.
func (w *World) NewPlanned(t testing.TB, name, root string, client NodeClient) *Planned {
	t.Helper()
	n := &Planned{Node: w.NewNode(t, name, root, client)}
	n.ownTrustStore(t)
	n.ownStorage(t)
	return n
}

// Applied is what came of a plan's commands.
type Applied struct {
	Plan    Plan
	Left    []PlanStep        // to people, and done for them
	Outputs map[string]string // by command line
}

// ApplyPlan makes a node what a plan says: it writes the files to where the node's
// client reads them and runs the commands in their order. Nothing but the plan
// makes the node trust the gate. A command that it does not know fails the test.
func (n *Planned) ApplyPlan(t testing.TB, client string, args ...string) Applied {
	t.Helper()
	flags := append(n.World.ByConfiguration(t), args...)
	plan := n.World.PrintPlan(t, client, args...)
	starts := slices.ContainsFunc(plan.Commands, func(s PlanStep) bool { return strings.HasPrefix(s.Run, "systemctl restart ") })
	if !starts && !n.started { // what is written is read at each pull, as the plan says
		n.startWith(t, nil)
	}
	done := Applied{Plan: plan, Outputs: map[string]string{}, Left: n.World.WritePlan(t, plan, n.root(), flags...)}
	for _, s := range done.Left {
		n.addLeft(t, s)
	}
	for _, s := range plan.Commands {
		done.Outputs[s.Run] = n.follow(t, s)
	}
	return done
}

// root is the directory that stands for the node's / as far as it is its own.
func (n *Planned) root() string { return filepath.Dir(n.etc) }

// addLeft adds the lines that a step shows, after its first one, to the file that
// it begins with.
func (n *Planned) addLeft(t testing.TB, s PlanStep) {
	t.Helper()
	path, _, named := strings.Cut(s.Why, ": ")
	_, lines, shown := strings.Cut(s.Why, "\n")
	if !named || !shown {
		t.Fatalf("what is left names no file or shows no lines: %s", s.Why)
	}
	n.Append(t, path, lines+"\n")
}

// Append adds to a file of the node.
func (n *Planned) Append(t testing.TB, path, text string) {
	t.Helper()
	n.WriteFile(t, path, append(readFile(t, n.Path(t, path)), text...))
}

// standIn is a client that is not run itself: it does what the client does on the
// steps that only that one knows. ok is false for every other step.
type standIn interface {
	follow(t testing.TB, n *Planned, s PlanStep) (output string, ok bool)
}

// follow does what a step of a plan says. There is no systemd on a node: its part
// is done here.
func (n *Planned) follow(t testing.TB, s PlanStep) string {
	t.Helper()
	if c, ok := n.Client.(standIn); ok {
		if output, ok := c.follow(t, n, s); ok {
			return output
		}
	}
	if unit, ok := strings.CutPrefix(s.Run, "systemctl restart "); ok {
		n.startWith(t, n.serviceEnvironment(t, unit))
		return ""
	}
	if exports, ok := strings.CutPrefix(s.Run, "export "); ok {
		if !strings.HasPrefix(s.Why, "for skopeo") || n.Client.Kind() == SkopeoKind {
			n.Env = append(n.Env, strings.Fields(exports)...)
		}
		return ""
	}
	switch program, _, _ := strings.Cut(s.Run, " "); {
	case s.Run == "systemctl daemon-reload", // drop-ins are read when a service is started
		s.Run == "systemctl reload crio": // another program stands for CRI-O, which reads files at each pull
		return ""
	case slices.Contains([]string{"update-ca-certificates", "docker", "podman", "containerd"}, program):
		r := n.Run(t, "env", "DOCKER_HOST="+new(NodeDocker).host(n.Node), "sh", "-c", s.Run)
		if r.ExitCode != 0 {
			t.Fatalf("%s: exit status %d\n%s", s.Run, r.ExitCode, r.Output)
		}
		return r.Output
	}
	t.Fatalf("the plan has a command that this test does not know: %s", s.Run)
	return ""
}

// Again follows once more the plan's step whose command begins with run.
func (n *Planned) Again(t testing.TB, plan Plan, run string) string {
	t.Helper()
	for _, s := range plan.Commands {
		if strings.HasPrefix(s.Run, run) {
			return n.follow(t, s)
		}
	}
	t.Fatalf("the plan has no command %s", run)
	return ""
}

// startWith starts the client's daemon with more environment, which its command
// line tools do not have. A program without a daemon is the service itself.
func (n *Planned) startWith(t testing.TB, env []string) {
	t.Helper()
	own := n.Env
	n.Env = append(slices.Clone(own), env...)
	n.Client.Start(t, n.Node)
	n.started = true
	if !slices.Contains(containersKinds, n.Client.Kind()) {
		n.Env = own
	}
}

// dropInLine is a line of a drop-in (systemd.exec(5)) as pullgate client writes it.
var dropInLine = regexp.MustCompile(`^(?:#.*|\[Service\]|Environment="([A-Z_]+=[^"]*)"|)$`)

// serviceEnvironment is what systemd gives to a service by the node's drop-ins.
// What it would not understand, or this does not, fails the test.
func (n *Planned) serviceEnvironment(t testing.TB, unit string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(n.etc, "systemd/system", unit+".service.d/*.conf"))
	if err != nil {
		t.Fatal(err)
	}
	var env []string
	for _, f := range files {
		for line := range strings.Lines(string(readFile(t, f))) {
			m := dropInLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
			switch {
			case m == nil:
				t.Fatalf("%s: expected a comment, [Service] or Environment=, found %q", f, line)
			case m[1] != "":
				env = append(env, m[1])
			}
		}
	}
	return env
}

// localAuthorities is where update-ca-certificates(8) looks for more authorities.
const localAuthorities = "/usr/local/share/ca-certificates"

// ownTrustStore gives the node a trust store of its own with the authority of the
// public internet in it and nobody else's, for update-ca-certificates to work on.
func (n *Planned) ownTrustStore(t testing.TB) {
	t.Helper()
	own := filepath.Join(n.root(), localAuthorities)
	n.WriteFile(t, "/etc/ca-certificates.conf", []byte("# none of the authorities that come with the system\n"))
	writeFile(t, filepath.Join(own, "public-internet.crt"), n.World.Hub.CA.Certificate)
	there := filepath.Join(n.Root, localAuthorities)
	if _, err := os.Stat(there); err != nil {
		t.Fatalf("%v: the package ca-certificates makes it", err)
	}
	MustRun(t, nil, "nsenter", fmt.Sprintf("--mount=/proc/%d/ns/mnt", n.holder.PID()), "mount", "--bind", own, there)
	if r := n.Run(t, "update-ca-certificates"); r.ExitCode != 0 {
		t.Fatalf("update-ca-certificates: exit status %d\n%s", r.ExitCode, r.Output)
	}
}

// ownStorage keeps podman and its like, run as a plan says, out of this machine's
// storage.
func (n *Planned) ownStorage(t testing.TB) {
	t.Helper()
	n.WriteFile(t, "/etc/containers/storage.conf", fmt.Appendf(nil, "[storage]\ndriver = \"vfs\"\ngraphroot = %q\nrunroot = %q\n",
		filepath.Join(n.Dir, "root"), filepath.Join(n.Dir, "runroot")))
}

// Beside is another client on the same machine, with a directory of its own.
func (n *Planned) Beside(t testing.TB, client NodeClient) *Planned {
	t.Helper()
	m := *n.Machine
	m.Dir = filepath.Join(n.Dir, slug(string(client.Kind())))
	if err := os.Mkdir(m.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return &Planned{Node: &Node{Machine: &m, World: n.World, Client: client, vantage: n.vantage}}
}

// copyIn makes a file readable on the node, whose root may be another one, and
// returns its path there.
func (n *Planned) copyIn(t testing.TB, path string) string {
	t.Helper()
	to := filepath.Join(n.Dir, "copy-"+filepath.Base(path))
	writeFile(t, to, readFile(t, path))
	return to
}

// program is the gate's program on the node.
func (n *Planned) program(t testing.TB) string {
	t.Helper()
	to := n.copyIn(t, n.World.Gate.binary)
	if err := os.Chmod(to, 0o755); err != nil {
		t.Fatal(err)
	}
	return to
}

// Misconfigure makes the node what one of [Modes] says instead of a plan, with the
// gate trusted by the whole system, and starts the client.
func (n *Planned) Misconfigure(t testing.TB, mode string) {
	t.Helper()
	for _, m := range Modes() {
		if m.Name == mode && m.For(n.Client.Kind()) {
			writeFile(t, filepath.Join(n.root(), localAuthorities, "gate.crt"), n.World.GateCA.Certificate)
			n.follow(t, PlanStep{Run: "update-ca-certificates"})
			m.Configure(t, n.Node)
			n.startWith(t, nil)
			return
		}
	}
	t.Fatalf("there is no mode %q for %s", mode, n.Client.Kind())
}

// LogIn is what everybody who logs in to the node has from then on, when a plan's
// export stands in /etc/environment, as the plan says.
func (n *Planned) LogIn(t testing.TB, plan Plan) {
	t.Helper()
	for _, s := range plan.Commands {
		if exports, ok := strings.CutPrefix(s.Run, "export "); ok {
			n.WriteFile(t, "/etc/environment", []byte(strings.Join(strings.Fields(exports), "\n")+"\n"))
			n.Env = append(n.Env, strings.Fields(exports)...)
			return
		}
	}
	t.Fatal("the plan exports nothing")
}

// HideDefault leaves a registry's directory below docker's certs.d without the
// hosts.toml in it, as somebody does who only removes what he does not know.
func (n *Planned) HideDefault(t testing.TB, registry string) {
	t.Helper()
	if err := os.Remove(n.Path(t, "/etc/docker/certs.d/"+registry+"/hosts.toml")); err != nil {
		t.Fatal(err)
	}
}
