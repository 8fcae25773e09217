package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pullgate/pullgate/cmd/pullgate/clients"
	"github.com/pullgate/pullgate/config"
)

// exitLeft is the exit status of client --write when a step is left to the operator.
const exitLeft = 3

// clientFlags are what client is told of the gate, and what to do with it.
type clientFlags struct {
	gate, proxy, ca, interceptCA   string
	config                         string
	registries                     []string
	mode, runtime, trustStore      string
	root                           string
	passwords, write, json, rooted bool
}

func clientCommand() *cobra.Command {
	var f clientFlags
	c := &cobra.Command{
		Use:   "client CLIENT",
		Short: "Print or write what points a client at this gate, without a fallback",
		Long: `Print the files and commands that point a client at the gate so that a refused image
is not fetched from the registry itself, with the reason for each line; or write the
files with --write.

CLIENT is ` + strings.Join(clients.Names(), ", ") + `.

The gate is described by --gate, --proxy, --ca and --intercept-ca, or by its
configuration with --config where it is at hand; flags win.

--write looks at everything below --root first. daemon.json is merged; any other file
that is there and was not written by this command is an error, and nothing is changed
then. What is replaced is kept as FILE.pullgate-backup-TIME. Where --root is / it
asks docker for its version first: one before 23 gets its proxy by the environment.
Exit status: 0 done, 1 an error, 3 the files were written and a step is left to you.`,
		Args:      cobra.ExactArgs(1),
		ValidArgs: clients.Names(),
		RunE: func(c *cobra.Command, args []string) error {
			f.rooted = c.Flags().Changed("root")
			return f.run(c.Context(), c.OutOrStdout(), args[0])
		},
	}
	fl := c.Flags()
	fl.StringVar(&f.gate, "gate", "", "registry API of the gate, https://host[:port]")
	fl.StringVar(&f.proxy, "proxy", "", "interception listener of the gate, http://[user:password@]host:port; the password is written, never printed")
	fl.StringVar(&f.ca, "ca", "", "PEM file with the authority of the gate's certificate (default: the node trusts it already)")
	fl.StringVar(&f.interceptCA, "intercept-ca", "", "PEM file with the authority that the gate intercepts with")
	fl.StringArrayVar(&f.registries, "registry", nil, "registry that images are pulled from, NAME or NAME=PATH with its prefix at the gate; repeatable (default: the upstreams of --config, else docker.io)")
	fl.StringVarP(&f.config, "config", "c", "", "configuration file of the gate")
	fl.StringVar(&f.mode, "mode", string(clients.ModeAuto), "auto, proxy, environment (docker before 23) or name")
	fl.StringVar(&f.runtime, "runtime", clients.Containerd, "of kubernetes nodes: containerd or cri-o")
	fl.StringVar(&f.trustStore, "trust-store", "", "where the system keeps authorities: debian or rhel (default: with --write what is below --root, else debian)")
	fl.BoolVar(&f.passwords, "passwords", false, "the gate asks clients for passwords (default with --config: what it says)")
	fl.BoolVar(&f.write, "write", false, "write the files")
	fl.StringVar(&f.root, "root", "/", "directory that stands for the node's / with --write")
	fl.BoolVar(&f.json, "json", false, "print one JSON object: the plan, or with --write what was done")
	return c
}

func (f clientFlags) run(ctx context.Context, w io.Writer, client string) error {
	g, err := f.describe()
	if err != nil {
		return err
	}
	old := ""
	if f.write && filepath.Clean(f.root) == "/" && client == clients.Docker && (g.Mode == "" || g.Mode == clients.ModeAuto) {
		if old = dockerBefore23(ctx); old != "" {
			g.Mode = clients.ModeEnvironment
		}
	}
	plan, err := clients.For(client, g)
	if err != nil {
		return err
	}
	if old != "" {
		plan.Notes = append([]string{"docker on this node is " + old + ", which does not start with proxies in daemon.json: --mode environment was chosen."}, plan.Notes...)
	}
	if f.write {
		return f.apply(w, plan)
	}
	if f.rooted {
		return errors.New("--root is for --write; without it nothing is looked at")
	}
	if f.json {
		return printJSON(w, plan)
	}
	return plan.Print(w)
}

// apply writes the plan and says what was done.
func (f clientFlags) apply(w io.Writer, plan clients.Plan) error {
	if plan.Client == clients.Talos && !f.rooted {
		return errors.New("the patch for Talos is for talosctl, not for this machine; name the directory to write it to with --root")
	}
	root, err := os.OpenRoot(f.root)
	if err != nil {
		return fmt.Errorf("--root: %w", err)
	}
	defer root.Close()
	report, err := plan.Write(root, time.Now())
	if f.json {
		err = errors.Join(err, printJSON(w, struct {
			Client string       `json:"client"`
			Mode   clients.Mode `json:"mode"`
			Root   string       `json:"root"`
			clients.Report
			Commands []clients.Step `json:"commands,omitempty"`
			Notes    []string       `json:"notes,omitempty"`
			Bypass   []string       `json:"bypass,omitempty"`
		}{plan.Client, plan.Mode, f.root, report, plan.Commands, plan.Notes, plan.Bypass}))
	} else if err == nil || len(report.Changes) > 0 {
		err = errors.Join(err, report.Print(w, plan, f.root))
	}
	if err == nil && len(report.Left) > 0 {
		return &exitError{exitLeft, "a step is left to you, and nothing is enforced until then"}
	}
	return err
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// describe puts together what is known of the gate.
func (f clientFlags) describe() (clients.Gate, error) {
	var g clients.Gate
	if f.config != "" {
		cfg, err := config.Load(config.LoadOptions{File: f.config, Environ: os.Environ()})
		if err != nil {
			return g, fmt.Errorf("--config: %w", err)
		}
		if g, err = gateOf(cfg, f.gate); err != nil {
			return g, err
		}
	}
	set := func(to *string, flag string) {
		if flag != "" {
			*to = flag
		}
	}
	set(&g.URL, f.gate)
	set(&g.Proxy, f.proxy)
	g.Mode, g.Runtime, g.Anchors = clients.Mode(f.mode), f.runtime, f.anchors()
	g.Passwords = g.Passwords || f.passwords
	if len(f.registries) > 0 {
		g.Registries = nil
	}
	for _, r := range f.registries {
		name, path, mapped := strings.Cut(r, "=")
		g.Registries = append(g.Registries, name)
		if mapped {
			if g.Paths == nil {
				g.Paths = map[string]string{}
			}
			g.Paths[name] = path
		}
	}
	if len(g.Registries) == 0 {
		g.Registries = []string{"docker.io"}
	}
	return g, f.authorities(&g)
}

// authorities reads the certificate files that flags name; they win over those of
// the configuration.
func (f clientFlags) authorities(g *clients.Gate) error {
	var err error
	if f.ca != "" {
		g.CAFile = f.ca
		if g.CA, err = readCertificates("--ca", f.ca); err != nil {
			return err
		}
	}
	if f.interceptCA != "" {
		g.InterceptCA, err = readCertificates("--intercept-ca", f.interceptCA)
	}
	return err
}

// maxCertificates bounds a file of certificates.
const maxCertificates = 1 << 20

func readCertificates(flag, name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, maxCertificates+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", flag, err)
	case len(b) == 0:
		return nil, fmt.Errorf("%s: expected PEM certificates, found an empty file", flag)
	case len(b) > maxCertificates:
		return nil, fmt.Errorf("%s: expected at most 1 MiB of PEM, found more", flag)
	}
	return b, nil
}

// anchors is the trust store that is meant, or the one that the root has.
func (f clientFlags) anchors() clients.Anchors {
	if f.trustStore == "" && f.write {
		if info, err := os.Stat(filepath.Join(f.root, "etc/pki/ca-trust/source/anchors")); err == nil && info.IsDir() {
			return clients.AnchorsRHEL
		}
	}
	return clients.Anchors(f.trustStore)
}
