package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// JSON writes the report for programs.
func (r *Report) JSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(r)
}

// headlines say a result in words.
var headlines = map[string]string{
	ResultOpen:                "OPEN",
	ResultOpenByConfiguration: "OPEN BY CONFIGURATION",
	ResultNotProven:           "not proven",
	ResultClosedProven:        "closed and proven",
}

// Text writes the report for people: the worst first, each line with its fix. What
// several clients have in common is written once.
func (r *Report) Text(w io.Writer) error {
	var b strings.Builder
	r.gateText(&b)
	told := map[string]bool{}
	var notFound []string
	for _, c := range r.Clients {
		if c.Result == ResultNotFound {
			notFound = append(notFound, c.Client)
			continue
		}
		c.text(&b, told)
	}
	if len(notFound) > 0 {
		fmt.Fprintf(&b, "not found: %s\n", strings.Join(notFound, ", "))
	}
	fmt.Fprintf(&b, "%s\n", r.Summary.Message)
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Report) gateText(b *strings.Builder) {
	names := slices.Clone(r.Gate.URLs)
	if r.Gate.Proxy != "" {
		names = append(names, "proxy "+r.Gate.Proxy)
	}
	state := "refuses the canary"
	if f := r.Gate.Finding; f != nil {
		state = "NOT PROVEN: " + f.Problem + "\n  fix: " + f.Fix
	}
	fmt.Fprintf(b, "gate %s: %s\n", strings.Join(names, ", "), state)
}

func (c Client) text(b *strings.Builder, told map[string]bool) {
	fmt.Fprintf(b, "%s", strings.TrimSpace(c.Client+" "+c.Version))
	if c.Store != "" {
		fmt.Fprintf(b, " (image store: %s)", c.Store)
	}
	fmt.Fprintf(b, ": %s\n", headlines[c.Result])
	for _, p := range c.Proofs {
		if p.Verdict != VerdictRefused || c.Result != ResultClosedProven {
			fmt.Fprintf(b, "  %s %s: %s\n", strings.ToUpper(p.Verdict), p.Reference, p.Reason)
			fmt.Fprintf(b, "    fix: %s\n", proofFix(p))
		}
	}
	if c.Result == ResultNotProven && len(c.Proofs) == 0 {
		fmt.Fprintf(b, "  nothing open was found, and nothing was pulled\n    fix: run doctor on the node, without --no-pull\n")
	}
	for _, f := range c.Findings {
		key := strings.Join([]string{f.Severity, f.File, fmt.Sprint(f.Line), f.Problem}, "\x00")
		if f.File != "" && told[key] {
			fmt.Fprintf(b, "  %s: as above, %s\n", f.Severity, f.place())
			continue
		}
		told[key] = true
		fmt.Fprintf(b, "  %s: %s%s: %s\n    fix: %s\n", f.Severity, prefix(f.place()), f.Problem, f.Consequence, f.Fix)
	}
}

func prefix(place string) string {
	if place == "" {
		return ""
	}
	return place + " "
}

// place is where a finding is: file:line, file or nothing.
func (f Finding) place() string {
	if f.Line > 0 {
		return fmt.Sprintf("%s:%d", f.File, f.Line)
	}
	return f.File
}

// proofFix says what to do about a pull that did not show the gate's refusal.
func proofFix(p Proof) string {
	switch p.Verdict {
	case VerdictRefused, VerdictBlocked:
		return "nothing: this is as it should be"
	case VerdictArrived, VerdictFellBack:
		return "close what is found below, and keep nodes from reaching registries on the network"
	case VerdictNotRun:
		return "make it run, or take the client off the node"
	}
	if strings.Contains(p.Reason, wantsCredentials) {
		return "does the gate ask for passwords? By proxy: " + proxyPassword + ". By name: pullgate client … --passwords says where this client keeps them"
	}
	return "correct what is found below, and run doctor again; the client's own words are in --json"
}
