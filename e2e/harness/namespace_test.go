//go:build e2e

package harness

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// What runs in a namespace sees nothing of this machine's network and settings,
// and this machine nothing of theirs.
func TestNamespaceIsApart(t *testing.T) {
	outside := NewUpstream(t, http.NotFoundHandler())
	n := NewNamespace(t)
	m := n.NewMachine(t, "")
	inside := n.Listen(t, "127.0.0.1:0")
	curl := func(url string) Result { return m.Run(t, "curl", "--silent", "--show-error", "--max-time", "5", url) }

	if r := curl(outside.URL); r.ExitCode == 0 {
		t.Error("this machine's loopback was reached")
	}
	if r := curl("http://192.88.99.1/"); r.ExitCode != 7 { // curl(1): failed to connect
		t.Errorf("exit status %d, expected no route to the internet:\n%s", r.ExitCode, r.Output)
	}
	if c, err := net.Dial("tcp", inside.Addr().String()); err == nil {
		c.Close()
		t.Error("a listener of the namespace is reached from outside")
	}
	if c, err := n.Dial(t.Context(), "tcp", inside.Addr().String()); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
	if _, err := n.Dial(t.Context(), "tcp", "registry-1.docker.io:443"); err == nil || !strings.Contains(err.Error(), "expected address:port") {
		t.Errorf("dialling a name: %v", err)
	}

	m.WriteFile(t, "/etc/pullgate-was-here", []byte("inside\n"))
	if r := m.Run(t, "cat", "/etc/pullgate-was-here"); r.Stdout != "inside\n" {
		t.Errorf("the machine does not see its own /etc:\n%s", r.Output)
	}
	if _, err := os.Stat("/etc/pullgate-was-here"); err == nil {
		t.Error("a machine's file is on this machine")
	}
	for _, path := range []string{"/usr/x", "/etc", m.Dir + "x/y"} {
		r := &recorder{TB: t}
		func() {
			defer func() { _ = recover() }() // recorder's Fatalf
			m.Path(r, path)
		}()
		if len(r.errors) == 0 {
			t.Errorf("%s passes for a path of the machine's own", path)
		}
	}
}

// A machine trusts whom it is told to, and resolves what it is told.
func TestMachineTrustsAndResolves(t *testing.T) {
	n := NewNamespace(t)
	h := NewHub(t, n)
	v := h.NewVantage(t, "machine")
	m := n.NewMachine(t, "")
	ask := func() Result { return m.Run(t, "curl", "--silent", "--show-error", "https://"+ExampleRegistry+"/v2/") }
	if r := ask(); r.ExitCode != 6 { // curl(1): could not resolve host
		t.Errorf("exit status %d, expected 6: the name is unknown\n%s", r.ExitCode, r.Output)
	}
	m.Resolve(t, v.Addrs[ExampleRegistry], ExampleRegistry)
	m.Trust(t, NewAuthority(t, "somebody else").Certificate)
	if r := ask(); r.ExitCode != 60 { // certificate problem
		t.Errorf("exit status %d, expected 60: somebody else is trusted\n%s", r.ExitCode, r.Output)
	}
	if got := v.Traffic(); got.Connections != 1 || len(got.Requests) != 0 {
		t.Errorf("a connection that came to nothing counts as %s", got)
	}
	m.Trust(t, h.CA.Certificate)
	if r := ask(); r.ExitCode != 0 {
		t.Errorf("exit status %d\n%s", r.ExitCode, r.Output)
	}
	m.Unresolve(t, ExampleRegistry)
	if r := ask(); r.ExitCode != 6 {
		t.Errorf("exit status %d, expected 6 again", r.ExitCode)
	}
}

// Nothing outlives a test: no process, no mount, no directory.
func TestNamespaceLeavesNothing(t *testing.T) {
	var dir, ns string
	t.Run("in here", func(t *testing.T) {
		n := NewNamespace(t)
		m := n.NewMachine(t, "")
		m.Start(t, nil, "sleep", "infinity")
		dir, ns = m.Dir, filepath.Join("/proc", strconv.Itoa(m.holder.PID()), "ns", "net")
		if _, err := os.Stat(ns); err != nil {
			t.Fatal(err)
		}
	})
	for _, path := range []string{dir, ns} {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s is still there", path)
		}
	}
	mounts := readFile(t, "/proc/self/mountinfo")
	if strings.Contains(string(mounts), dir) {
		t.Errorf("something is mounted at %s", dir)
	}
}
