package main

import (
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/distribution/reference"
	"github.com/spf13/cobra"

	"github.com/pullgate/pullgate/config"
	"github.com/pullgate/pullgate/verify"
)

func policyExplainCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "explain IMAGE",
		Short: "Say which scope decides about IMAGE, why, and what would pass",
		Long: `Say which scope decides about IMAGE, why, and what would pass.

Nothing is asked for: the image need not exist. IMAGE is written as for check. Exit
status: 0 when it was said, 1 when the configuration cannot be used or IMAGE is no image
of this gate.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			x, err := explain(c, args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(c.OutOrStdout(), x)
			}
			return x.print(c.OutOrStdout())
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	addConfigFlags(c.Flags())
	return c
}

// unrootedGate is a gate that verifies nothing, so it needs no trust root: one that
// would have to be fetched is not.
func unrootedGate(cfg *config.Config, policy *verify.Policy) (*gate, error) {
	without := *cfg
	without.TrustRoots = nil
	return newGate(&without, policy, slog.New(slog.DiscardHandler), noRecords{}, everybody)
}

// explained is an explanation with what the configuration makes of it.
type explained struct {
	verify.Explanation
	ReportOnly bool     `json:"reportOnly"`
	Revision   string   `json:"revision"`
	Notes      []string `json:"notes,omitempty"` // about the revision
}

func explain(c *cobra.Command, image string) (explained, error) {
	cfg, policy, err := loadConfig(c.Flags())
	if err != nil {
		return explained{}, err
	}
	g, err := unrootedGate(cfg, policy)
	if err != nil {
		return explained{}, err
	}
	defer g.upstream.Close()
	ref, err := g.handler.Reference(image)
	if err != nil {
		return explained{}, err
	}
	x := explained{Explanation: policy.Explain(g.upstream.Transport(reference.Domain(ref)), ref)}
	r, err := withRoots(cfg, policy)
	if err != nil {
		return explained{}, err
	}
	x.Revision, x.Notes = r.revision, r.notes
	x.ReportOnly = g.handler.ReportOnly(ref, x.Scope)
	return x, nil
}

func (x explained) print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "image       %s\ntransport   %s\n", x.Reference, x.Transport)
	decided := false
	for _, c := range x.Candidates {
		state := "not in the policy"
		switch {
		case c.Decides:
			state, decided = "decides: the most specific that the policy has", true
		case c.Present && decided:
			state = "in the policy, not asked: a more specific one decides alone"
		case decided:
			state = "not in the policy, not asked"
		}
		fmt.Fprintf(&b, "candidate   %s: %s\n", c.Scope, state)
	}
	fmt.Fprintf(&b, "scope       %s (all of its requirements must be met)\n", x.Scope)
	for _, r := range x.Requirements {
		printInfo(&b, "  ", r)
		if r.WouldPass == "" && r.Type != "insecureAcceptAnything" {
			fmt.Fprintf(&b, "            would pass: nothing\n")
		}
	}
	if x.SignatureRepository != "" {
		fmt.Fprintf(&b, "signatures  bundles, attachments and referrers are looked for in %s (signature_repositories)\n", x.SignatureRepository)
	}
	if x.ReportOnly {
		fmt.Fprintf(&b, "report only what is denied is recorded and forwarded all the same (report_only)\n")
	} else {
		fmt.Fprintf(&b, "enforced    what is denied is not forwarded\n")
	}
	printRevision(&b, x.Revision, x.Notes)
	_, err := io.WriteString(w, b.String())
	return err
}
