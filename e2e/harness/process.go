package harness

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Bounds on everything that is waited for.
const (
	startTimeout   = 20 * time.Second
	stopTimeout    = 10 * time.Second
	commandTimeout = 60 * time.Second
	pollInterval   = 10 * time.Millisecond
)

// Require looks the programs up and returns the path of the first. When one is
// missing the test fails, see gapsVariable.
func Require(t testing.TB, programs ...string) string {
	t.Helper()
	first := ""
	for _, p := range programs {
		path, err := exec.LookPath(p)
		if err != nil {
			missing(t, "program "+p+" is not installed")
		}
		if first == "" {
			first = path
		}
	}
	return first
}

// RequireRoot fails the test when it does not run as root, see gapsVariable.
func RequireRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, "not root")
	}
}

// gapsVariable, set to "allowed", leaves out the tests whose programs are missing, for
// work on a machine that cannot have them. Nobody else gets an "ok" for what did not
// run.
const gapsVariable = "TEST_GAPS"

func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv(gapsVariable) != "allowed" {
		t.Fatalf("%s; install it (make tools), or leave out what needs it with %s=allowed", what, gapsVariable)
	}
	t.Skipf("NOT TESTED: %s", what)
}

// FreeAddr returns a loopback address (host:port) that nothing listens on.
func FreeAddr(t testing.TB) string {
	t.Helper()
	for range 1000 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := l.Addr().String()
		l.Close()
		// The system gives a port again as soon as it is free; whoever got it here
		// may not listen on it yet.
		if _, given := givenAddrs.LoadOrStore(addr, true); !given {
			return addr
		}
	}
	t.Fatal("no free port")
	return ""
}

// givenAddrs are the addresses that FreeAddr returned in this process.
var givenAddrs sync.Map

// ShortDir is a temporary directory with a path short enough for the Unix
// sockets of daemons (108 bytes in all). What is mounted below it is unmounted
// before it is removed.
func ShortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unmountBelow(t, dir)
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	return dir
}

// unmountBelow detaches the mounts that a daemon left in dir, the innermost
// first.
func unmountBelow(t testing.TB, dir string) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return // not Linux: nothing is mounted
	}
	var points []string
	s := bufio.NewScanner(bytes.NewReader(b))
	for s.Scan() {
		if f := strings.Fields(s.Text()); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			points = append(points, f[4])
		}
	}
	for i := len(points) - 1; i >= 0; i-- {
		if err := unmount(points[i]); err != nil {
			t.Errorf("unmount %s: %v", points[i], err)
		}
	}
}

// WaitFor polls until ok, and ends the test when that takes longer than timeout.
func WaitFor(t testing.TB, what string, timeout time.Duration, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(timeout); ; time.Sleep(pollInterval) {
		if ok() {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, timeout)
		}
	}
}

// Buffer is a bytes.Buffer for several goroutines.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write appends p.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// String returns everything written so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Process is a daemon under test, or one that a test needs.
type Process struct {
	// Output is what it wrote to standard output and standard error.
	Output *Buffer

	name string
	cmd  *exec.Cmd
	dead chan struct{}
	exit error
}

// StartProcess runs a daemon until the test's cleanup. Env is added to the
// environment. When the test has failed, the end of its output is logged.
func StartProcess(t testing.TB, env []string, name string, args ...string) *Process {
	t.Helper()
	p := &Process{Output: &Buffer{}, name: filepath.Base(name), cmd: exec.Command(name, args...), dead: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.Output, p.Output
	p.cmd.SysProcAttr = processAttributes()
	p.cmd.WaitDelay = stopTimeout // a grandchild may hold the pipe
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", p.name, err)
	}
	go func() {
		p.exit = p.cmd.Wait()
		close(p.dead)
	}()
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Errorf("%v", err)
		}
		if t.Failed() {
			t.Logf("%s said at the end:\n%s", p.name, Tail(p.Output.String(), 8000))
		}
	})
	return p
}

// PID is the process ID.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends a signal to the process alone.
func (p *Process) Signal(t testing.TB, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatalf("signal %v to %s: %v", s, p.name, err)
	}
}

// Interrupt sends SIGINT to the process and everything in its process group, as
// Ctrl-C in its terminal does.
func (p *Process) Interrupt(t testing.TB) {
	t.Helper()
	if err := interruptGroup(p.PID()); err != nil {
		t.Fatalf("interrupt %s: %v", p.name, err)
	}
}

// Dead is closed when the process has ended.
func (p *Process) Dead() <-chan struct{} { return p.dead }

// Exit waits for the end of the process and returns its exit status, -1 when a
// signal ended it.
func (p *Process) Exit(t testing.TB) int {
	t.Helper()
	select {
	case <-p.dead:
	case <-time.After(stopTimeout):
		t.Fatalf("%s does not end within %v", p.name, stopTimeout)
	}
	return p.cmd.ProcessState.ExitCode()
}

// Stop asks the process to end with SIGTERM and waits; a process that has ended
// already is left alone. It is an error when the process must be killed.
func (p *Process) Stop() error {
	select {
	case <-p.dead:
		return nil
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.dead:
		return nil
	case <-time.After(stopTimeout):
		_ = p.cmd.Process.Kill()
		<-p.dead
		return errors.New(p.name + " did not end after SIGTERM and was killed")
	}
}

// WaitUntil polls until ok while the process lives; its death ends the test.
func (p *Process) WaitUntil(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(startTimeout); !ok(); time.Sleep(pollInterval) {
		select {
		case <-p.dead:
			t.Fatalf("%s ended (%v) before: %s", p.name, p.exit, what)
		default:
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %s: not within %v", p.name, what, startTimeout)
		}
	}
}

// Result is the outcome of a command.
type Result struct {
	Args     []string
	ExitCode int    // -1 when the command was killed
	Stdout   string //
	Output   string // standard output and standard error as a person sees them
	Took     time.Duration
}

// Run executes a command to its end, one minute at most; env is added to the
// environment. It fails the test only when the command cannot be started or
// does not end.
func Run(t testing.TB, env []string, name string, args ...string) Result {
	t.Helper()
	return RunInput(t, env, nil, name, args...)
}

// RunInput is Run with standard input.
func RunInput(t testing.TB, env []string, stdin []byte, name string, args ...string) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = processAttributes()
	cmd.WaitDelay = time.Second
	cmd.Stdin = bytes.NewReader(stdin)
	all, out := &Buffer{}, &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = &tee{all, out}, all
	begin := time.Now()
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, all)
	}
	return Result{
		Args: cmd.Args, ExitCode: cmd.ProcessState.ExitCode(),
		Stdout: out.String(), Output: all.String(), Took: time.Since(begin),
	}
}

// MustRun is Run for commands that only prepare a test: failing ends the test.
func MustRun(t testing.TB, env []string, name string, args ...string) Result {
	t.Helper()
	r := Run(t, env, name, args...)
	if r.ExitCode != 0 {
		t.Fatalf("%s: exit status %d\n%s", strings.Join(r.Args, " "), r.ExitCode, r.Output)
	}
	return r
}

// tee writes to both; unlike io.MultiWriter's, its parts cannot fail.
type tee struct {
	a, b interface{ Write([]byte) (int, error) }
}

func (w *tee) Write(p []byte) (int, error) {
	_, _ = w.a.Write(p)
	return w.b.Write(p)
}

// Tail returns the last n bytes of s.
func Tail(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

func writeFile(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
