package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pullgate/pullgate/config"
	"github.com/pullgate/pullgate/proxy"
	"github.com/pullgate/pullgate/proxy/audit"
	"github.com/pullgate/pullgate/verify"
)

// Exit statuses of check besides 0, allowed.
const (
	exitDenied       = 1
	exitInconclusive = 2
)

// checkTimeout bounds one check.
const checkTimeout = 2 * time.Minute

func checkCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "check IMAGE",
		Short: "Say how a pull of IMAGE would be answered, and why",
		Long: `Say how a pull of IMAGE would be answered, and why, by the same code as the gate.

IMAGE is written with its registry (registry.example.com:5000/app:v1), or as a client
would ask the gate for it. Exit status: 0 allowed (or forwarded by a report-only scope),
1 denied, 2 could not decide, which includes a configuration that cannot be used.

A registry with credentials: client is asked without any, or with those of --auth-file
when the flag is given: name the auth.json of somebody who may pull there.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return &exitError{exitInconclusive, "expected one IMAGE, like registry.example.com/app:v1; see pullgate check --help"}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			r := check(c, args[0])
			print := r.print
			if asJSON {
				print = r.printJSON
			}
			if err := print(c.OutOrStdout()); err != nil {
				return err
			}
			return r.exit()
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	addConfigFlags(c.Flags())
	return c
}

// check wires a gate as serve does and judges one image.
func check(c *cobra.Command, image string) report {
	cfg, policy, err := loadConfig(c.Flags())
	var g *gate
	if err == nil {
		asClient(cfg, c.Flags())
		g, err = newGate(cfg, policy, slog.New(slog.DiscardHandler), noRecords{}, everybody)
	}
	if err != nil {
		return report{Image: image, Decision: "inconclusive", Error: err.Error()}
	}
	defer g.upstream.Close()
	ctx, cancel := context.WithTimeout(c.Context(), checkTimeout)
	defer cancel()
	return judgeImage(ctx, g, image)
}

// asClient has registries that are asked with their clients' own credentials asked
// with those of --auth-file. They are somebody's own then only when the flag names
// them: the gate's account is not for these registries.
func asClient(cfg *config.Config, flags *pflag.FlagSet) {
	if !flags.Changed("auth-file") {
		return
	}
	for i := range cfg.Upstreams {
		cfg.Upstreams[i].Credentials = config.CredentialsGate
	}
}

// noRecords is the audit log of a check, which is no pull.
type noRecords struct{}

func (noRecords) Write(audit.Record) error { return nil }
func (noRecords) Close() error             { return nil }

// report is what check prints.
type report struct {
	Image     string          `json:"image"`
	Reference string          `json:"reference,omitempty"`
	Digest    string          `json:"digest,omitempty"`
	Decision  string          `json:"decision"` // allowed, denied, report-only, inconclusive
	Via       string          `json:"via,omitempty"`
	Error     string          `json:"error,omitempty"`
	Verdict   *verify.Verdict `json:"verdict,omitempty"`
}

func judgeImage(ctx context.Context, g *gate, image string) report {
	r := report{Image: image}
	ref, err := g.handler.Reference(image)
	var out proxy.Outcome
	if err == nil {
		r.Reference = ref.String()
		out, err = g.handler.Judge(ctx, ref)
	}
	r.Digest = out.Digest.String()
	if err != nil {
		r.Decision, r.Error = proxy.DecisionOf(err), err.Error()
		if ref != nil && g.upstream.ClientCredentials(reference.Domain(ref)) {
			r.Error += " (asked without credentials, as its clients have their own: --auth-file FILE asks with those of an auth.json)"
		}
		return r
	}
	r.Decision, r.Via, r.Verdict = out.Word(), out.Via, &out.Verdict
	return r
}

func (r report) exit() error {
	switch r.Decision {
	case "allowed", "report-only":
		return nil
	case "denied":
		return &exitError{exitDenied, ""}
	}
	return &exitError{exitInconclusive, ""}
}

func (r report) printJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(r)
}

// print writes the report for people.
func (r report) print(w io.Writer) error {
	var b strings.Builder
	line := func(label, text string) {
		if text != "" {
			fmt.Fprintf(&b, "%-11s %s\n", label, text)
		}
	}
	line("image", r.Reference)
	line("digest", r.Digest)
	if v := r.Verdict; v != nil {
		line("scope", v.Scope)
		line("revision", v.Revision)
		line("via", r.Via)
		if !v.Expires.IsZero() {
			line("until", v.Expires.UTC().Format(time.RFC3339))
		}
		for _, q := range v.Requirements {
			printRequirement(&b, q)
		}
		for _, p := range v.Looked {
			line("looked at", p)
		}
		for _, s := range v.Signatures {
			printSignature(&b, s)
		}
		if len(v.Signatures) == 0 && len(v.Looked) > 0 {
			line("signatures", "none")
		}
	}
	line("error", r.Error)
	line("verdict", strings.ToUpper(r.Decision))
	_, err := io.WriteString(w, b.String())
	return err
}

// printRequirement says what one requirement asks for, what it rests on when it is
// met, and otherwise why each piece of evidence does not count and what would.
func printRequirement(b *strings.Builder, q verify.Result) {
	mark := "not met"
	if q.Allowed {
		mark = "met"
	}
	fmt.Fprintf(b, "requirement %s (%s)\n", q.Required, mark)
	for _, s := range q.Signers {
		fmt.Fprintf(b, "            signed by %s\n", s)
	}
	for _, e := range q.Evidence {
		fmt.Fprintf(b, "            by evidence %s\n", e)
	}
	for _, f := range q.Found {
		fmt.Fprintf(b, "            found: %s\n", f)
	}
	switch {
	case q.Allowed:
	case q.WouldPass != "":
		fmt.Fprintf(b, "            would pass: %s\n", q.WouldPass)
	default:
		fmt.Fprintf(b, "            would pass: nothing\n")
	}
}

func printSignature(b *strings.Builder, s verify.Signature) {
	fmt.Fprintf(b, "signature   %s at %s\n", s.Kind, s.Source)
	for _, d := range []struct{ label, text string }{
		{"signer", s.Signer}, {"identity", s.Identity}, {"digest", s.Digest}, {"problem", s.Problem},
	} {
		if d.text != "" {
			fmt.Fprintf(b, "            %s: %s\n", d.label, d.text)
		}
	}
}
