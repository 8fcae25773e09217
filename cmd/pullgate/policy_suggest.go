package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/distribution/reference"
	"github.com/spf13/cobra"

	"github.com/pullgate/pullgate/proxy"
	"github.com/pullgate/pullgate/verify"
)

// maxSuggestImages bounds the images of one proposal.
const maxSuggestImages = 64

func policySuggestCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "suggest IMAGE…",
		Short: "Propose the tightest requirements that accept what images carry, for a person to approve",
		Long: `Propose the tightest requirements that accept what images carry, for a person to approve.

Every place where evidence can be is asked, whatever the policy requires. Nothing is
verified: whoever may push an image can push evidence of his own. Compare what was found
with what the publisher says, put his keys where the proposal says REPLACE, and ask
pullgate check about each image. Exit status: 0 each image would be accepted, 1 some
image carries nothing that could be, 2 an image or a place could not be asked.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 || len(args) > maxSuggestImages {
				return &exitError{exitInconclusive, fmt.Sprintf("expected 1 to %d IMAGEs, like registry.example.com/app:v1", maxSuggestImages)}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return suggest(c, args) },
	}
	addConfigFlags(c.Flags())
	return c
}

func suggest(c *cobra.Command, images []string) error {
	cfg, policy, err := loadConfig(c.Flags())
	var g *gate
	if err == nil {
		asClient(cfg, c.Flags())
		g, err = unrootedGate(cfg, policy)
	}
	if err != nil {
		return &exitError{exitInconclusive, err.Error()}
	}
	defer g.upstream.Close()
	var all []carried
	code := 0
	for _, image := range images {
		one, err := carriedBy(c.Context(), g, image)
		if perr := one.print(c.OutOrStdout(), image, err); perr != nil {
			return perr
		}
		if err != nil {
			code = exitInconclusive
			continue
		}
		all = append(all, one)
	}
	root := ""
	if len(cfg.TrustRoots) == 1 {
		root = cfg.TrustRoots[0].Name
	}
	p := propose(all, root)
	if code == 0 && !p.acceptsAll() {
		code = 1
	}
	if err := p.print(c.OutOrStdout()); err != nil {
		return err
	}
	if code != 0 {
		return &exitError{code, ""}
	}
	return nil
}

// carried is what one image carries: the manifest that was asked for first, then, for
// an index, the images in it.
type carried struct {
	ref       reference.Named
	transport string
	manifests []manifestEvidence
}

type manifestEvidence struct {
	digest   string
	evidence []verify.Evidence
	looked   []string
}

// carriedBy looks at what an image carries, under the name that a pull would have.
func carriedBy(ctx context.Context, g *gate, image string) (carried, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	ref, err := g.handler.Reference(image)
	if err != nil {
		return carried{}, err
	}
	out := carried{ref: ref}
	subjects, err := g.handler.Subjects(ctx, ref)
	if err != nil {
		return out, err
	}
	out.transport = subjects[0].Transport
	if out.transport == "" {
		out.transport = verify.TransportDocker
	}
	for i, s := range subjects {
		if i == 1 && len(offersOf(ref, out.manifests[0].evidence)) > 0 {
			break // evidence about the index is enough for all that it lists
		}
		x, err := g.engine.Inspect(ctx, s)
		out.manifests = append(out.manifests, manifestEvidence{s.Digest.String(), x.Evidence, x.Looked})
		if err != nil {
			return out, err
		}
	}
	return out, nil
}

// print says what was found, with the reason when not all could be.
func (c carried) print(w io.Writer, image string, err error) error {
	var b strings.Builder
	if c.ref != nil {
		image = c.ref.String()
	}
	fmt.Fprintf(&b, "image       %s\n", image)
	for i, m := range c.manifests {
		label := "digest"
		if i > 0 {
			label = "lists"
		}
		fmt.Fprintf(&b, "%-11s %s\n", label, m.digest)
		for _, p := range m.looked {
			fmt.Fprintf(&b, "looked at   %s\n", p)
		}
		for _, e := range m.evidence {
			printEvidence(&b, e)
		}
		if len(m.evidence) == 0 && err == nil {
			fmt.Fprintf(&b, "found       nothing\n")
		}
	}
	if err != nil {
		fmt.Fprintf(&b, "error       %s (%s)\n", err, proxy.DecisionOf(err))
	}
	_, werr := io.WriteString(w, b.String())
	return werr
}

func printEvidence(b *strings.Builder, e verify.Evidence) {
	fmt.Fprintf(b, "found       %s at %s\n", e.Kind, e.Source)
	line := func(label, text string) {
		if text != "" {
			fmt.Fprintf(b, "            %s: %s\n", label, text)
		}
	}
	line("says to be by", e.Signer)
	line("for", e.Identity)
	if e.PredicateType != "" && !isSignature(e) {
		line("attestation of type", e.PredicateType)
	}
	line("problem", e.Problem)
	if e.Problem == "" && !e.About {
		line("problem", "it says to be about another image: "+e.Digest)
	}
}
