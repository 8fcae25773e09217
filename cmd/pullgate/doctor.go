package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/pullgate/pullgate/cmd/pullgate/doctor"
)

func doctorCommand() *cobra.Command {
	var o doctor.Options
	var noPull, asJSON bool
	c := &cobra.Command{
		Use:   "doctor (--gate URL | --proxy URL)",
		Short: "Say whether this node's clients can step around the gate, and prove it",
		Long: `Say whether this node's clients can step around the gate, and prove it.

doctor reads what docker, containerd, k3s, podman, buildah, skopeo, CRI-O and BuildKit are
configured with, and has each of them pull a canary, which every gate refuses. Nothing on
the node is changed. Exit status: 0 every client that was found is closed and proved it,
1 something is open, 2 it could not be proven, which includes wrong flags.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 0 {
				return &exitError{doctor.ExitNotProven, "expected no arguments; see pullgate doctor --help"}
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error {
			o.Pull = !noPull
			r, err := doctor.Run(c.Context(), o)
			if err != nil {
				return &exitError{doctor.ExitNotProven, err.Error()}
			}
			print := r.Text
			if asJSON {
				print = r.JSON
			}
			if err := print(c.OutOrStdout()); err != nil {
				return &exitError{doctor.ExitNotProven, err.Error()}
			}
			if r.Summary.Exit != doctor.ExitClosed {
				return &exitError{r.Summary.Exit, ""}
			}
			return nil
		},
	}
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return &exitError{doctor.ExitNotProven, err.Error()}
	})
	f := c.Flags()
	f.StringArrayVar(&o.Gates, "gate", nil, "`URL` by which clients ask the gate; again for further names and listeners")
	f.StringVar(&o.Proxy, "proxy", "", "`URL` of the gate's proxy")
	f.StringVar(&o.CA, "ca", "", "`file` with the gate's certificate authority")
	f.StringVar(&o.InterceptCA, "intercept-ca", "", "`file` with the authority of intercepted hosts")
	f.StringArrayVar(&o.Registries, "registry", []string{"docker.io"}, "`name` of a registry that is to be closed; again for more")
	f.StringVar(&o.Root, "root", "/", "`directory` with the node's file system")
	f.StringArrayVar(&o.Users, "user", nil, "`name` of a user whose own configuration is looked at, besides root's; again for more")
	f.BoolVar(&noPull, "no-pull", false, "look only, and pull nothing")
	f.DurationVar(&o.Timeout, "timeout", time.Minute, "how long one pull may take")
	f.StringVar(&o.DockerHost, "docker-host", "", "`address` of docker's daemon, unix:// or tcp://")
	f.StringVar(&o.ContainerdAddress, "containerd-address", "", "`path` of containerd's socket")
	f.BoolVar(&asJSON, "json", false, "print one JSON object")
	return c
}
