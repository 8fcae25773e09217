package harness

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Machine is what programs in a Namespace take for their machine: an /etc of
// its own (hosts, CA certificates, nothing of this machine's settings for
// containers) and, when it has a root directory of its own, another system's
// programs.
type Machine struct {
	// Dir is an empty directory with a short path, the same inside and outside.
	Dir string
	// Root is the root directory, "/" for that of this machine.
	Root string
	// Env is added to the environment of everything that runs on the machine.
	Env []string

	net    *Namespace
	holder *Process
	etc    string
	hosts  map[string]netip.Addr
	trust  [][]byte
}

// sharedFiles of /etc are those that programs need in order to run at all.
var sharedFiles = []string{"passwd", "group", "nsswitch.conf", "ld.so.cache", "protocols", "services", "subuid", "subgid", "os-release"}

// NewMachine makes a machine in the network; root "" or "/" gives it the
// programs of this one, another directory those of the system in there.
func (n *Namespace) NewMachine(t testing.TB, root string) *Machine {
	t.Helper()
	if root == "" {
		root = "/"
	}
	m := &Machine{Dir: ShortDir(t), Root: root, net: n, hosts: map[string]netip.Addr{}}
	m.etc = filepath.Join(m.Dir, "etc")
	for _, name := range sharedFiles {
		if b, err := os.ReadFile(filepath.Join(root, "etc", name)); err == nil { // not every system has all
			m.WriteFile(t, "/etc/"+name, b)
		}
	}
	m.WriteFile(t, "/etc/resolv.conf", []byte("nameserver 127.0.0.1\n")) // where nobody answers: /etc/hosts is all there is
	m.WriteFile(t, "/etc/containers/policy.json", Policy{Default: []Requirement{AcceptAnything()}}.JSON(t))
	m.WriteFile(t, "/etc/containers/registries.conf", nil)
	home := filepath.Join(m.Dir, "home")
	if err := os.MkdirAll(home, 0o700); err != nil {
		t.Fatal(err)
	}
	m.Env = []string{"HOME=" + home, "XDG_RUNTIME_DIR=" + home, "XDG_CONFIG_HOME=" + home + "/.config", "DOCKER_CONFIG=" + home + "/.docker", "REGISTRY_AUTH_FILE=" + home + "/auth.json"}
	m.WriteFile(t, filepath.Join(home, "auth.json"), []byte("{}\n"))
	m.writeHosts(t)
	m.writeTrust(t)
	m.hold(t)
	return m
}

// hold starts the process that holds the machine's mounts.
func (m *Machine) hold(t testing.TB) {
	t.Helper()
	script := fmt.Sprintf("mount --bind '%s' '%s'\n", m.etc, filepath.Join(m.Root, "etc"))
	if m.Root != "/" {
		for _, dir := range []string{"/proc", "/sys", "/dev", "/tmp"} {
			script += fmt.Sprintf("mount --rbind '%s' '%s'\n", dir, filepath.Join(m.Root, dir))
		}
	}
	m.holder = StartProcess(t, nil, "nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", m.net.holder.PID()),
		"unshare", "--mount", "sh", "-ec", script+"echo ready\nexec sleep infinity")
	m.holder.WaitUntil(t, "mounts of a machine", m.holder.ready)
}

// Command is the command line that runs a program on this machine; its process
// ID is the program's.
func (m *Machine) Command(args ...string) []string {
	enter := []string{"nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", m.holder.PID()), fmt.Sprintf("--mount=/proc/%d/ns/mnt", m.holder.PID())}
	if m.Root != "/" {
		enter = append(enter, "chroot", m.Root)
	}
	return append(enter, args...)
}

// Start is [StartProcess] on this machine.
func (m *Machine) Start(t testing.TB, env []string, args ...string) *Process {
	t.Helper()
	line := m.Command(args...)
	p := StartProcess(t, append(slices.Clone(m.Env), env...), line[0], line[1:]...)
	p.name = filepath.Base(args[0])
	return p
}

// Run is [Run] on this machine.
func (m *Machine) Run(t testing.TB, args ...string) Result {
	t.Helper()
	line := m.Command(args...)
	return Run(t, m.Env, line[0], line[1:]...)
}

// WriteFile writes a file below the machine's /etc or Dir, and the directories
// above it.
func (m *Machine) WriteFile(t testing.TB, path string, content []byte) {
	t.Helper()
	writeFile(t, m.Path(t, path), content)
	if err := os.Chmod(m.Path(t, path), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Path is where a file below the machine's /etc or Dir is for this process.
func (m *Machine) Path(t testing.TB, path string) string {
	t.Helper()
	if rest, ok := strings.CutPrefix(path, "/etc/"); ok {
		return filepath.Join(m.etc, rest)
	}
	if !strings.HasPrefix(path, m.Dir+"/") {
		t.Fatalf("%s is not the machine's own: expected a path below /etc or %s", path, m.Dir)
	}
	return path
}

// Resolve makes names resolve to an address on this machine, from its programs'
// next look into /etc/hosts on. (Go programs look again after five seconds.)
func (m *Machine) Resolve(t testing.TB, addr netip.Addr, names ...string) {
	t.Helper()
	for _, name := range names {
		m.hosts[name] = addr
	}
	m.writeHosts(t)
}

// Unresolve makes names unknown on this machine.
func (m *Machine) Unresolve(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		delete(m.hosts, name)
	}
	m.writeHosts(t)
}

func (m *Machine) writeHosts(t testing.TB) {
	t.Helper()
	text := "127.0.0.1 localhost\n"
	for name, addr := range m.hosts {
		text += addr.String() + " " + name + "\n"
	}
	m.WriteFile(t, "/etc/hosts", []byte(text))
}

// Trust adds a CA certificate (PEM) to those that programs started from now on
// trust: nobody else's at first.
func (m *Machine) Trust(t testing.TB, certificate []byte) {
	t.Helper()
	m.trust = append(m.trust, certificate)
	m.writeTrust(t)
}

func (m *Machine) writeTrust(t testing.TB) {
	t.Helper()
	var all []byte
	for _, c := range m.trust {
		all = append(all, c...)
	}
	m.WriteFile(t, "/etc/ssl/certs/ca-certificates.crt", all)
}
