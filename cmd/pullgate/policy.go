package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pullgate/pullgate/config"
	"github.com/pullgate/pullgate/verify"
	"github.com/pullgate/pullgate/verify/discover"
)

func policyCommand() *cobra.Command {
	c := &cobra.Command{Use: "policy", Short: "Look at the policy, and propose one"}
	c.AddCommand(policyLintCommand(), policyShowCommand(), policyExplainCommand(), policySuggestCommand())
	return c
}

func policyLintCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "lint [FILE]",
		Short: "Report faults and warnings of a policy.json, and whether it stays one for podman",
		Long: `Report faults and warnings of a policy.json, and whether it stays one for podman.

Without FILE it is the policy that the configuration names. FILE is looked at as if the
configuration named it, with its registries_d, trust_roots and signature_repositories;
trust roots that it has not count as configured, and it is said which. Without a
configuration, registries.d is read where --registries-d says so. Exit status: 0 the
policy can be used, 1 it has faults. Warnings do not fail.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			l, err := lintPolicy(c, args)
			if err != nil {
				return err
			}
			if err := l.print(c.OutOrStdout()); err != nil {
				return err
			}
			if l.fault != nil {
				return &exitError{1, ""}
			}
			return nil
		},
	}
	addConfigFlags(c.Flags())
	return c
}

// lint is what is said about one policy.json.
type lint struct {
	file     string
	policy   *verify.Policy // nil with a fault
	fault    error
	named    []string // trust roots that the policy names and no configuration has
	paths    []string // relative key files
	config   string   // the configuration that applies; empty: none
	ignored  string   // a configuration that has faults, so that none applies
	places   string   // registries.d, empty: none
	revision string
	notes    []string
	warnings []string // of what the configuration has beside the policy
}

// lintPolicy loads FILE or the configured policy. An error is one of the
// configuration, not of the policy.
func lintPolicy(c *cobra.Command, args []string) (*lint, error) {
	if len(args) == 0 {
		cfg, policy, err := loadConfig(c.Flags())
		if err != nil {
			return nil, err
		}
		l := &lint{file: cfg.Policy, policy: policy, places: cfg.RegistriesD}
		if l.config, _, err = configFile(c.Flags()); err != nil {
			return nil, err
		}
		_, l.paths = scanPolicy(cfg.Policy)
		err = l.look(cfg)
		return l, err
	}
	l := &lint{file: args[0]}
	l.named, l.paths = scanPolicy(l.file)
	cfg, err := l.configure(c.Flags())
	if err != nil {
		return nil, err
	}
	if cfg == nil {
		if l.places, err = c.Flags().GetString(flagName("registries_d")); err != nil {
			return nil, err
		}
		l.policy, l.fault = verify.LoadPolicy(verify.Options{PolicyFile: l.file, RegistriesDir: l.places, TrustRoots: l.named})
		if l.fault == nil {
			l.revision = l.policy.Revision()
		}
		return l, nil
	}
	l.places = cfg.RegistriesD
	o := policyOptions(cfg)
	l.named = slices.DeleteFunc(l.named, func(name string) bool { return slices.Contains(o.TrustRoots, name) })
	o.PolicyFile, o.TrustRoots = l.file, append(o.TrustRoots, l.named...)
	if l.policy, l.fault = verify.LoadPolicy(o); l.fault == nil {
		err = l.look(cfg)
	}
	return l, err
}

// look says what becomes of the policy under a configuration.
func (l *lint) look(cfg *config.Config) error {
	r, err := withRoots(cfg, l.policy)
	l.revision, l.notes, l.warnings = r.revision, r.notes, append(r.warnings, unserved(cfg, l.policy)...)
	return err
}

// configure finds the configuration that applies to FILE; nil when there is none. One
// that nobody named and that has faults is not used, and said not to be.
func (l *lint) configure(f *pflag.FlagSet) (*config.Config, error) {
	file, named, err := configFile(f)
	if err != nil || !named && missing(file) {
		return nil, err
	}
	set := givenFlags(f)
	set["policy"] = l.file
	cfg, err := config.Inspect(config.LoadOptions{File: file, Environ: os.Environ(), Flags: set})
	var faults config.Faults
	errors.As(err, &faults)
	// Whether FILE can be read is said where it is read.
	faults = slices.DeleteFunc(faults, func(x config.Fault) bool { return x.Key == "policy" })
	if cfg != nil {
		for _, x := range rootFaults(cfg, faults) {
			faults = append(faults, config.Fault{Problem: x.Error()})
		}
	}
	switch {
	case len(faults) == 0 && cfg != nil:
		l.config = file
		return cfg, nil
	case named:
		return nil, fmt.Errorf("the configuration cannot be used:\n%w", faults)
	}
	l.ignored = file
	return nil, nil
}

// maxScanned bounds the policy.json that is scanned, in bytes.
const maxScanned = 16 << 20

// scanPolicy finds the trust roots and the relative paths that a policy.json names. A
// file that cannot be read names none: loading it says why.
func scanPolicy(file string) (roots, relative []string) {
	b, err := readBounded(file)
	var doc any
	if err != nil || json.Unmarshal(b, &doc) != nil {
		return nil, nil
	}
	found, paths := map[string]bool{}, map[string]bool{}
	walkPolicy(doc, "", func(key, value string) {
		switch {
		case key == "trustRoot":
			found[value] = true
		case (strings.HasSuffix(key, "Path") || strings.HasSuffix(key, "Paths")) && !filepath.IsAbs(value):
			paths[value] = true
		}
	})
	return slices.Sorted(maps.Keys(found)), slices.Sorted(maps.Keys(paths))
}

func readBounded(file string) ([]byte, error) {
	if info, err := os.Stat(file); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, errors.New("expected a regular file"))
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxScanned+1))
	if err == nil && len(b) > maxScanned {
		err = fmt.Errorf("%s: expected at most %d bytes", file, maxScanned)
	}
	return b, err
}

// walkPolicy calls visit for every text in v with the key that it stands under.
// encoding/json has bounded how deep v nests.
func walkPolicy(v any, key string, visit func(key, value string)) {
	switch v := v.(type) {
	case string:
		visit(key, v)
	case []any:
		for _, x := range v {
			walkPolicy(x, key, visit)
		}
	case map[string]any:
		for k, x := range v {
			walkPolicy(x, k, visit)
		}
	}
}

func (l *lint) print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "policy      %s\n", l.file)
	l.printConfig(&b)
	if l.fault != nil {
		for line := range strings.Lines(l.fault.Error()) {
			fmt.Fprintf(&b, "fault       %s\n", strings.TrimRight(line, "\n"))
		}
		fmt.Fprintf(&b, "result      cannot be used\n")
		_, err := io.WriteString(w, b.String())
		return err
	}
	for _, x := range l.policy.Warnings() {
		fmt.Fprintf(&b, "warning     %s\n", x.Error())
	}
	for _, x := range l.warnings {
		fmt.Fprintf(&b, "warning     %s\n", x)
	}
	switch {
	case len(l.named) > 0 && l.config != "":
		fmt.Fprintf(&b, "warning     not in trust_roots of %s, without which the gate does not take this policy: %s\n", l.config, shown(l.named))
	case len(l.named) > 0:
		fmt.Fprintf(&b, "note        taken to be in trust_roots of the configuration: %s\n", shown(l.named))
	}
	l.printPodman(&b)
	printRevision(&b, l.revision, l.notes)
	fmt.Fprintf(&b, "result      ok\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// printConfig says what besides the file was used.
func (l *lint) printConfig(b *strings.Builder) {
	switch {
	case l.config != "":
		fmt.Fprintf(b, "config      %s: its registries_d, trust_roots and signature_repositories apply\n", l.config)
	case l.ignored != "":
		fmt.Fprintf(b, "config      none: %s has faults, see pullgate config check\n", l.ignored)
	default:
		fmt.Fprintf(b, "config      none\n")
	}
	places := l.places
	if places == "" {
		places = "none: GPG signatures are looked for in " + discover.DefaultLookaside
	}
	fmt.Fprintf(b, "registries  %s\n", places)
}

// shown joins names that a file gave, so that they can neither steer a terminal nor
// look like further lines.
func shown(names []string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.Join(names, ", "))
}

// printPodman says whether other programs can read the file.
func (l *lint) printPodman(b *strings.Builder) {
	extensions := l.policy.Extensions()
	for _, x := range extensions {
		fmt.Fprintf(b, "extension   %s: %s\n", x.At, x.Type)
	}
	if len(extensions) > 0 {
		fmt.Fprintf(b, "podman      no: podman, skopeo and CRI-O refuse the whole file for its extension requirements (%d)\n", len(extensions))
		return
	}
	fmt.Fprintf(b, "podman      yes: it has no extension requirement, so podman, skopeo and CRI-O read it too\n")
	if len(l.paths) > 0 {
		fmt.Fprintf(b, "note        podman counts relative paths from where it is started: write %s with the whole path\n", shown(l.paths))
	}
}

func policyShowCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "show",
		Short: "Print the scopes as the gate reads them, without key material",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, policy, err := loadConfig(c.Flags())
			if err != nil {
				return err
			}
			r, err := withRoots(cfg, policy)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(c.OutOrStdout(), struct {
					Revision string             `json:"revision"`
					Notes    []string           `json:"notes,omitempty"`
					Scopes   []verify.ScopeInfo `json:"scopes"`
				}{r.revision, r.notes, policy.Show()})
			}
			return showPolicy(c.OutOrStdout(), policy, r.revision, r.notes)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	addConfigFlags(c.Flags())
	return c
}

func showPolicy(w io.Writer, policy *verify.Policy, revision string, notes []string) error {
	var b strings.Builder
	for _, s := range policy.Show() {
		name := s.Scope
		if s.Transport != "" {
			name = s.Transport + " " + name
		}
		fmt.Fprintf(&b, "scope       %s\n", name)
		for _, r := range s.Requirements {
			printInfo(&b, "  ", r)
		}
	}
	printRevision(&b, revision, notes)
	_, err := io.WriteString(w, b.String())
	return err
}

func printRevision(b *strings.Builder, revision string, notes []string) {
	for _, n := range notes {
		fmt.Fprintf(b, "note        %s\n", n)
	}
	fmt.Fprintf(b, "revision    %s\n", revision)
}

// printInfo says what one requirement is, each line after indent.
func printInfo(b *strings.Builder, indent string, r verify.RequirementInfo) {
	extension := ""
	if r.Extension {
		extension = " [extension]"
	}
	fmt.Fprintf(b, "%srequires  %s%s\n", indent, r.Required, extension)
	line := func(label, text string) {
		if text != "" {
			fmt.Fprintf(b, "%s          %s: %s\n", indent, label, text)
		}
	}
	for _, k := range r.Keys {
		line("key", k)
	}
	for _, id := range r.Identities {
		line("identity", id)
	}
	for _, a := range r.Authorities {
		line("authority", a)
	}
	line("trust root", r.TrustRoot)
	line("would pass", r.WouldPass)
	line("denies", r.Denies)
	for i, alt := range r.Alternatives {
		line("alternative", fmt.Sprintf("%d%s", i+1, dates(alt)))
		for _, inner := range alt.Of {
			printInfo(b, indent+"          ", inner)
		}
	}
}

// dates says in which time an alternative counts.
func dates(a verify.AlternativeInfo) string {
	out := ""
	if !a.Until.IsZero() {
		out += ", until " + a.Until.Format(time.RFC3339)
		if !time.Now().Before(a.Until) {
			out += " (it has ended)"
		}
	}
	if !a.SignedBefore.IsZero() {
		out += ", signed before " + a.SignedBefore.Format(time.RFC3339)
	}
	return out
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
