package doctor

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// maxOutput bounds what is kept of a client's output; its end, where the error is.
const maxOutput = 64 << 10

// ran is how a command ended.
type ran struct {
	output string
	exit   int   // -1 when it did not end by itself
	err    error // it could not be started, or not ended in time
}

// runCommand runs a program without a shell, with this process's environment and
// env, and with nothing to read, so that a client which asks for a login goes on.
func runCommand(ctx context.Context, timeout time.Duration, env []string, argv ...string) ran {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var out tail
	c := exec.CommandContext(ctx, argv[0], argv[1:]...)
	c.Env = append(os.Environ(), env...)
	c.Stdout, c.Stderr = &out, &out
	// The whole group ends, and a grandchild that keeps the pipe open is not waited
	// for.
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = 2 * time.Second
	err := c.Run()
	r := ran{output: string(out), exit: -1}
	var exit *exec.ExitError
	switch {
	case err == nil:
		r.exit = 0
	case errors.Is(err, exec.ErrWaitDelay):
		r.exit = c.ProcessState.ExitCode()
	case ctx.Err() != nil:
		r.err = ctx.Err()
	case errors.As(err, &exit):
		r.exit = exit.ExitCode()
	default:
		r.err = err
	}
	return r
}

// tail keeps the last maxOutput bytes that are written to it.
type tail []byte

func (t *tail) Write(p []byte) (int, error) {
	*t = append(*t, p...)
	if over := len(*t) - maxOutput; over > 0 {
		*t = append((*t)[:0], (*t)[over:]...)
	}
	return len(p), nil
}
