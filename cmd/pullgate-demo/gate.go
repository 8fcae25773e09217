package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	startTimeout = 10 * time.Second
	stopTimeout  = 8 * time.Second
	logTail      = 4096 // bytes of the gate's log shown when it dies
)

// gate is the pullgate process.
type gate struct {
	cmd     *exec.Cmd
	logFile string
	dead    chan struct{} // closed when the process has ended
	exit    error         // how it ended; read after dead is closed
}

// startGate runs pullgate. Its decisions go to decisions as lines for people,
// its log to a file in dir.
func startGate(binary, config, dir string, decisions io.Writer) (*gate, error) {
	g := &gate{logFile: filepath.Join(dir, "pullgate.log"), dead: make(chan struct{})}
	log, err := os.Create(g.logFile)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process has its own copy
	g.cmd = exec.Command(binary, "serve", "--config", config)
	g.cmd.Env = cleanEnvironment(os.Environ())
	g.cmd.Stdout = &decisionPrinter{out: decisions}
	g.cmd.Stderr = log
	g.cmd.SysProcAttr = processAttributes()
	if err := g.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", binary, err)
	}
	go func() {
		g.exit = g.cmd.Wait()
		close(g.dead)
	}()
	return g, nil
}

// cleanEnvironment leaves out the variables that would change the gate's
// configuration.
func cleanEnvironment(env []string) []string {
	var out []string
	for _, e := range env {
		if !strings.HasPrefix(e, "PULLGATE_") {
			out = append(out, e)
		}
	}
	return out
}

// waitReady returns when the gate serves, and an error when it dies, takes too
// long, or ctx ends.
func (g *gate) waitReady(ctx context.Context, admin, listen string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for _, url := range []string{"http://" + admin + "/readyz", "http://" + dialable(listen) + "/v2/"} {
		for !answers(ctx, client, url) {
			select {
			case <-g.dead:
				return g.obituary()
			case <-ctx.Done():
				return fmt.Errorf("the gate did not answer at %s within %v; its log ends with:\n%s", url, startTimeout, g.tail())
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	return nil
}

func answers(ctx context.Context, client *http.Client, url string) bool {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	resp, err := client.Do(r)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// dialable replaces "all addresses" by the loopback address.
func dialable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// stop asks the gate to end and waits for it. It returns an error when the gate
// had to be killed or did not end well.
func (g *gate) stop() error {
	_ = g.cmd.Process.Signal(syscall.SIGTERM) // fails when it has ended already
	select {
	case <-g.dead:
	case <-time.After(stopTimeout):
		_ = g.cmd.Process.Kill()
		<-g.dead
		return fmt.Errorf("the gate did not stop within %v and was killed", stopTimeout)
	}
	if g.exit != nil && !terminated(g.exit) {
		return g.obituary()
	}
	return nil
}

// terminated says whether a process ended by the signal that stop sends: it was
// asked before it had begun to listen for signals.
func terminated(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGTERM
}

// obituary says how the gate ended and what it said last.
func (g *gate) obituary() error {
	end := "exit status 0"
	if g.exit != nil {
		end = g.exit.Error()
	}
	return errors.New("the gate ended by itself (" + end + "); its log ends with:\n" + g.tail())
}

func (g *gate) tail() string {
	b, err := os.ReadFile(g.logFile)
	if err != nil {
		return "(" + err.Error() + ")"
	}
	if len(b) > logTail {
		b = b[len(b)-logTail:]
	}
	return strings.TrimSpace(string(b))
}
