package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test program play the gate: run as "serve --config FILE"
// with FAKE_GATE set, it behaves as that variable says.
func TestMain(m *testing.M) {
	if mode := os.Getenv("FAKE_GATE"); mode != "" && len(os.Args) == 4 && os.Args[1] == "serve" {
		os.Exit(fakeGate(mode, os.Args[3]))
	}
	os.Exit(m.Run())
}

func fakeGate(mode, config string) int {
	if mode == "dies" {
		fmt.Fprintln(os.Stderr, "policy.json: nothing good")
		return 3
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	b, err := os.ReadFile(config)
	if err != nil {
		return 4
	}
	for _, key := range []string{"listen", "admin: {listen"} {
		m := regexp.MustCompile(regexp.QuoteMeta(key) + `: "([^"]+)"`).FindSubmatch(b)
		if m == nil {
			return 5
		}
		go func() {
			_ = http.ListenAndServe(string(m[1]), http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		}()
	}
	fmt.Println(`{"decision":"denied","status":403,"method":"GET","repository":"demo/x","reference":"v1","reasons":["no signatures found"]}`)
	if mode == "dies later" {
		time.Sleep(300 * time.Millisecond)
		fmt.Fprintln(os.Stderr, "out of luck")
		return 6
	}
	<-ctx.Done()
	return 0
}

// output collects what the demonstration prints; the gate's decisions come from
// another goroutine.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// start runs the demonstration over a fake gate, with temporary directories
// below one that the test can look into.
func start(t *testing.T, ctx context.Context, mode, listen string) (out *output, done chan error, tmp string) {
	t.Helper()
	tmp = t.TempDir()
	t.Setenv("TMPDIR", tmp)
	t.Setenv("FAKE_GATE", mode)
	out, done = &output{}, make(chan error, 1)
	go func() { done <- run(ctx, []string{"--pullgate", os.Args[0]}, listen, out) }()
	return out, done, tmp
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("%s: not within 10 s", what)
}

func finished(t *testing.T, done chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(15 * time.Second):
		t.Fatal("the demonstration does not end")
		return nil
	}
}

func expectEmpty(t *testing.T, dir string) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestInterruptEndsEverything(t *testing.T) {
	ctx, interrupt := context.WithCancel(context.Background())
	out, done, tmp := start(t, ctx, "serves", "127.0.0.1:0")
	await(t, "guide and decision", func() bool {
		return strings.Contains(out.String(), "docker pull localhost:") && strings.Contains(out.String(), "DENIED")
	})
	if want := "DENIED   403 GET demo/x:v1: no signatures found"; !strings.Contains(out.String(), want) {
		t.Errorf("no line %q in:\n%s", want, out)
	}
	m := regexp.MustCompile(`Pullgate listens on (\S+),`).FindStringSubmatch(out.String())
	if m == nil {
		t.Fatalf("no address in:\n%s", out)
	}
	interrupt()
	if err := finished(t, done); err != nil {
		t.Errorf("after an interrupt: %v", err)
	}
	expectEmpty(t, tmp)
	if c, err := net.Dial("tcp", m[1]); err == nil {
		_ = c.Close()
		t.Error("the gate still listens")
	}
}

func TestInterruptBeforeReady(t *testing.T) {
	ctx, interrupt := context.WithCancel(context.Background())
	interrupt()
	_, done, tmp := start(t, ctx, "serves", "127.0.0.1:0")
	if err := finished(t, done); err != nil {
		t.Errorf("after an early interrupt: %v", err)
	}
	expectEmpty(t, tmp)
}

func TestFaultsAreSaidPlainly(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct{ name, mode, listen, want string }{
		{"address taken", "serves", taken.Addr().String(), "is taken by another program"},
		{"no such address", "serves", "nonsense", "DEMO_LISTEN takes host:port"},
		{"the gate does not start", "dies", "127.0.0.1:0", "(exit status 3); its log ends with:\npolicy.json: nothing good"},
		{"the gate dies", "dies later", "127.0.0.1:0", "(exit status 6); its log ends with:\nout of luck"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, done, tmp := start(t, context.Background(), c.mode, c.listen)
			if err := finished(t, done); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, expected one with %q", err, c.want)
			}
			expectEmpty(t, tmp)
		})
	}
}

func TestArguments(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--pullgate", "/nonexistent/pullgate"}, "no pullgate at /nonexistent/pullgate: build it first"},
		{[]string{"serve"}, `argument "serve": expected none`},
	} {
		if err := run(context.Background(), c.args, "", &output{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: error %v, expected one with %q", c.args, err, c.want)
		}
	}
}

func TestSettingsOfTheUserDoNotReachTheGate(t *testing.T) {
	got := cleanEnvironment([]string{"HOME=/root", "PULLGATE_POLICY=/etc/other.json", "PATH=/bin"})
	if len(got) != 2 || got[0] != "HOME=/root" || got[1] != "PATH=/bin" {
		t.Errorf("environment %v", got)
	}
}

func TestDecisionsForPeople(t *testing.T) {
	out := &output{}
	d := &decisionPrinter{out: out}
	for _, part := range []string{`{"decision":"allowed","status":200,"method":"HEAD","repository":"a/b","refer`,
		`ence":"sha256:12","signers":["0xAB"]}` + "\nplain text\n" + `{"unfinished`} {
		if n, err := d.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	if want := "ALLOWED  200 HEAD a/b@sha256:12: 0xAB\nplain text\n"; out.String() != want {
		t.Errorf("printed %q, expected %q", out, want)
	}
}

func TestPublicHost(t *testing.T) {
	for listen, want := range map[string]string{
		"127.0.0.1:5000": "localhost:5000",
		"[::1]:5000":     "localhost:5000",
		"0.0.0.0:81":     "localhost:81",
		":81":            "localhost:81",
		"192.0.2.1:5000": "192.0.2.1:5000",
	} {
		if got := publicHost(listen); got != want {
			t.Errorf("%s: %s, expected %s", listen, got, want)
		}
	}
}
