// Command pullgate is a registry that only hands out what a signature policy
// accepts: it stands between unmodified clients and any upstream registry.
//
//	pullgate serve --config pullgate.yaml      run the gate
//	pullgate check IMAGE --config …            say how a pull of IMAGE would be answered, and why
//	pullgate config check --config …           report every fault of the configuration
//	pullgate policy lint|show|explain|suggest  look at the policy, and propose one
//	pullgate client CLIENT --gate URL          print or write what points a client at the gate
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	if os.Getenv("HOME") == "" {
		// containers/image asks for a home directory when it reads an auth file that
		// is named explicitly too; a container from scratch has no passwd to find one.
		_ = os.Setenv("HOME", "/")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// exitError ends the program with a code of its own. An empty message has been
// told already.
type exitError struct {
	code    int
	message string
}

func (e *exitError) Error() string { return e.message }

// run executes one command and returns the exit code: 0, or 1 for an error unless
// the command says otherwise.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:           "pullgate",
		Short:         "A registry that only hands out what your signature policy accepts",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.AddCommand(serveCommand(), checkCommand(), configCommand(), versionCommand(), clientCommand())
	root.AddCommand(doctorCommand(), policyCommand())
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	code := 1
	var exit *exitError
	if errors.As(err, &exit) {
		code = exit.code
	}
	if err.Error() != "" {
		fmt.Fprintln(stderr, "pullgate: "+err.Error())
	}
	return code
}
