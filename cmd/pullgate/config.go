package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pullgate/pullgate/config"
	"github.com/pullgate/pullgate/proxy"
	"github.com/pullgate/pullgate/proxy/auth"
	"github.com/pullgate/pullgate/verify"
	"github.com/pullgate/pullgate/verify/authfile"
)

// flagKeys are the settings that have a flag of their own. Everything else is set
// in the file or by PULLGATE_… variables.
var flagKeys = map[string]string{
	"listen":           "address of the registry API, host:port",
	"admin.listen":     "address of /healthz, /readyz and /metrics, host:port",
	"policy":           "policy.json",
	"registries_d":     "directory of registries.d files",
	"default_registry": "registry of names that name none",
	"other_registries": "deny or allow registries that are not listed",
	"auth_file":        "auth.json with credentials for upstreams",
	"audit.file":       "audit log, - for standard output",
	"log.level":        "debug, info, warn or error",
}

func flagName(key string) string { return strings.NewReplacer(".", "-", "_", "-").Replace(key) }

// addConfigFlags declares --config and the flags of settings.
func addConfigFlags(f *pflag.FlagSet) {
	f.StringP("config", "c", "", "configuration file (default: PULLGATE_CONFIG, else pullgate.yaml)")
	for key, usage := range flagKeys {
		f.String(flagName(key), "", usage)
	}
}

// loadConfig reads the configuration and what it names: the policy, the auth file and
// the trust roots. It reports the faults of all of them at once.
func loadConfig(f *pflag.FlagSet) (*config.Config, *verify.Policy, error) {
	l, err := inspectConfig(f)
	if err == nil {
		err = l.err()
	}
	if err != nil {
		return nil, nil, err
	}
	return l.cfg, l.policy, nil
}

// inspected is a configuration that may have faults.
type inspected struct {
	cfg    *config.Config // nil when it could not be read
	policy *verify.Policy
	whole  bool // the settings have no fault, whatever the files have that they name
	faults []string
}

func (l *inspected) err() error {
	if len(l.faults) == 0 {
		return nil
	}
	return fmt.Errorf("the configuration cannot be used:\n%s", strings.Join(l.faults, "\n"))
}

func (l *inspected) fault(err error) {
	if err != nil {
		l.faults = append(l.faults, err.Error())
	}
}

// configFile is the file that the flags or the environment name, or the usual one.
func configFile(f *pflag.FlagSet) (file string, named bool, err error) {
	if file, err = f.GetString("config"); err != nil || file != "" {
		return file, true, err
	}
	if file = os.Getenv("PULLGATE_CONFIG"); file != "" {
		return file, true, nil
	}
	return "pullgate.yaml", false, nil
}

// givenFlags are the settings that flags set.
func givenFlags(f *pflag.FlagSet) map[string]string {
	set := map[string]string{}
	for key := range flagKeys {
		if fl := f.Lookup(flagName(key)); fl.Changed {
			set[key] = fl.Value.String()
		}
	}
	return set
}

// inspectConfig looks at everything that can be told without dialling. An error is
// one of the flags.
func inspectConfig(f *pflag.FlagSet) (*inspected, error) {
	file, _, err := configFile(f)
	if err != nil {
		return nil, err
	}
	l := &inspected{}
	l.cfg, err = config.Inspect(config.LoadOptions{File: file, Environ: os.Environ(), Flags: givenFlags(f)})
	l.fault(err)
	l.whole = err == nil
	if l.cfg == nil {
		return l, nil
	}
	var known config.Faults
	errors.As(err, &known)
	if l.cfg.Policy != "" {
		if l.policy, err = verify.LoadPolicy(policyOptions(l.cfg)); err != nil && !missing(l.cfg.Policy) {
			l.fault(err)
		}
	}
	if l.cfg.AuthFile != "" && !missing(l.cfg.AuthFile) {
		l.fault(authfile.Check(l.cfg.AuthFile))
	}
	for _, x := range rootFaults(l.cfg, known) {
		l.fault(x)
	}
	return l, nil
}

// missing reports whether a file is not there, which the configuration's own
// faults say already.
func missing(file string) bool {
	_, err := os.Stat(file)
	return err != nil
}

func policyOptions(cfg *config.Config) verify.Options {
	return verify.Options{PolicyFile: cfg.Policy, RegistriesDir: cfg.RegistriesD, InsecureAllowWeak: cfg.InsecureWeakSignatures,
		TrustRoots: rootNames(cfg), SignatureRepositories: cfg.RepositoriesByScope()}
}

func configCommand() *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "Look at the configuration"}
	check := &cobra.Command{
		Use:   "check",
		Short: "Report every fault of the configuration and its policy",
		Long:  "Report every fault of the configuration, the policy, its keys, registries.d and the trust roots, each with file, key and fix.\nNothing is dialled. Warnings do not fail. Exit status 0 when the gate would start, 1 otherwise.",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			l, err := inspectConfig(c.Flags())
			if err != nil {
				return err
			}
			return checkConfig(l, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	addConfigFlags(check.Flags())
	c.AddCommand(check)
	return c
}

// checkConfig says what is wrong with a configuration, or that nothing is.
func checkConfig(l *inspected, stdout, stderr io.Writer) error {
	var access *auth.Authority
	if l.whole { // what faulty settings say of access and certificates may not be what is meant
		var err error
		access, err = checkAccess(l.cfg, namesOf(l.cfg), newLogger(l.cfg, stderr))
		l.fault(err)
		l.fault(checkServing(l.cfg))
	}
	if err := l.err(); err != nil {
		return err
	}
	g, err := newGate(l.cfg, l.policy, slog.New(slog.DiscardHandler), noRecords{}, func(proxy.Names) (*auth.Authority, error) {
		return access, nil
	})
	if err != nil {
		return err
	}
	g.upstream.Close()
	if _, err := g.fronts(); err != nil {
		return err
	}
	for _, w := range warnings(l.cfg, l.policy, g.roots) {
		fmt.Fprintln(stdout, "warning: "+w)
	}
	for _, n := range rootNotes(g.roots) {
		fmt.Fprintln(stdout, "note: "+n)
	}
	_, err = fmt.Fprintf(stdout, "ok: policy revision %s\n", g.engine.Revision())
	return err
}
