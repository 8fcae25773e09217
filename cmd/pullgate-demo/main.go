// Command pullgate-demo shows Pullgate at work on one machine, without a
// network and without root.
//
// It serves a registry and a signature server out of its own memory, holding
// images that a signature policy must judge differently (signed, signed index,
// unsigned, signed by an untrusted key, altered after signing), writes a
// configuration for them into a temporary directory and starts the real
// pullgate in front. Then it prints what to try and what each command will say,
// and one line for each decision the gate makes, until it is interrupted.
//
//	pullgate-demo --pullgate bin/pullgate
//
// DEMO_LISTEN sets the gate's address (127.0.0.1:5000 by default). The keys are
// made for each run and never leave the process; the directory with the public
// key and the configuration is removed at the end. Exit status: 0 after an
// interrupt, 1 when something went wrong.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
)

const defaultListen = "127.0.0.1:5000"

func main() {
	runtime.LockOSThread() // the gate ends when the thread that started it does, so that thread must stay
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Getenv("DEMO_LISTEN"), os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "pullgate-demo:", err)
		os.Exit(1)
	}
}

// run is the whole demonstration. It returns nil when ctx ended it.
func run(ctx context.Context, args []string, listen string, stdout io.Writer) (err error) {
	flags := flag.NewFlagSet("pullgate-demo", flag.ContinueOnError)
	binary := flags.String("pullgate", filepath.Join("bin", "pullgate"), "path of the pullgate program")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("argument %q: expected none but --pullgate", flags.Arg(0))
	}
	if _, err := os.Stat(*binary); err != nil {
		return fmt.Errorf("no pullgate at %s: build it first (make build) or name it with --pullgate", *binary)
	}
	if listen == "" {
		listen = defaultListen
	}
	if listen, err = freeAddress(listen); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "pullgate-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	return demonstrate(ctx, *binary, listen, dir, stdout)
}

// demonstrate builds the images, serves them, and runs the gate over them until
// ctx ends or the gate dies.
func demonstrate(ctx context.Context, binary, listen, dir string, stdout io.Writer) error {
	w, err := buildWorld(hostArchitecture())
	if err != nil {
		return err
	}
	servers, err := serveWorld(w)
	if err != nil {
		return err
	}
	defer servers.close()
	admin, err := freeAddress("127.0.0.1:0")
	if err != nil {
		return err
	}
	s := settings{dir: dir, listen: listen, admin: admin, registry: servers.registry, signatures: servers.signatures, trusted: w.trusted}
	config, err := s.write()
	if err != nil {
		return err
	}
	gate, err := startGate(binary, config, dir, stdout)
	if err != nil {
		return err
	}
	if err := gate.waitReady(ctx, admin, listen); err != nil {
		if ctx.Err() != nil {
			err = nil // interrupted before it was ready: a clean end as well
		}
		return errors.Join(err, gate.stop())
	}
	if _, err := fmt.Fprint(stdout, guide(w, binary, config, listen, admin)); err != nil {
		return errors.Join(err, gate.stop())
	}
	select {
	case <-ctx.Done():
		return gate.stop()
	case <-gate.dead:
		return gate.obituary()
	}
}

// freeAddress checks that addr can be listened on; port 0 is replaced by a free
// one. The gate binds it a moment later, and says so itself when it lost a race.
func freeAddress(addr string) (string, error) {
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return "", fmt.Errorf("%s is taken by another program: stop that one, or choose another address with DEMO_LISTEN=127.0.0.1:PORT", addr)
	}
	if err != nil {
		return "", fmt.Errorf("cannot listen on %q: %w; DEMO_LISTEN takes host:port", addr, err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}
