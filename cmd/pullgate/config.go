package main

import (
	"fmt"
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

// loadConfig reads the configuration and the policy that it names, and reports
// the faults of both at once.
func loadConfig(f *pflag.FlagSet) (*config.Config, *verify.Policy, error) {
	file, err := f.GetString("config")
	if err != nil {
		return nil, nil, err
	}
	if file == "" && os.Getenv("PULLGATE_CONFIG") == "" {
		file = "pullgate.yaml"
	}
	set := map[string]string{}
	for key := range flagKeys {
		if fl := f.Lookup(flagName(key)); fl.Changed {
			set[key] = fl.Value.String()
		}
	}
	cfg, err := config.Inspect(config.LoadOptions{File: file, Environ: os.Environ(), Flags: set})
	var faults []string
	if err != nil {
		faults = append(faults, err.Error())
	}
	var policy *verify.Policy
	if cfg != nil && cfg.Policy != "" {
		if policy, err = verify.LoadPolicy(policyOptions(cfg)); err != nil && !missing(cfg.Policy) {
			faults = append(faults, err.Error())
		}
		if cfg.AuthFile != "" && !missing(cfg.AuthFile) {
			if err := authfile.Check(cfg.AuthFile); err != nil {
				faults = append(faults, err.Error())
			}
		}
	}
	if len(faults) > 0 {
		return nil, nil, fmt.Errorf("the configuration cannot be used:\n%s", strings.Join(faults, "\n"))
	}
	return cfg, policy, nil
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
		Long:  "Report every fault of the configuration, the policy, its keys and registries.d, each with file, key and fix.\nWarnings do not fail. Exit status 0 when the gate would start, 1 otherwise.",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, policy, err := loadConfig(c.Flags())
			if err != nil {
				return err
			}
			logger := newLogger(cfg, c.ErrOrStderr())
			g, err := newGate(cfg, policy, slog.New(slog.DiscardHandler), noRecords{}, func(names proxy.Names) (*auth.Authority, error) {
				return checkAccess(cfg, names, logger)
			})
			if err != nil {
				return err
			}
			g.upstream.Close()
			if err := checkServing(cfg); err != nil {
				return err
			}
			if _, err := g.fronts(); err != nil {
				return err
			}
			for _, w := range warnings(cfg, policy) {
				fmt.Fprintln(c.OutOrStdout(), "warning: "+w)
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "ok: policy revision %s\n", policy.Revision())
			return err
		},
	}
	addConfigFlags(check.Flags())
	c.AddCommand(check)
	return c
}
