package main

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/pullgate/pullgate/config"
	"github.com/pullgate/pullgate/proxy"
	"github.com/pullgate/pullgate/proxy/auth"
)

// newAccess makes of the configuration who may pull what.
func newAccess(cfg *config.Config, names proxy.Names, logger *slog.Logger) (*auth.Authority, error) {
	o := auth.Options{
		HtpasswdFile: cfg.Auth.Htpasswd,
		Token: auth.TokenOptions{Enabled: cfg.Auth.Token.Enabled, KeyFile: cfg.TokenKeyFile(),
			Realm: cfg.Auth.Token.Realm, Service: cfg.Auth.Token.Service, TTL: cfg.Auth.Token.TTL},
		Resolve: names.Repository,
		Logger:  logger,
	}
	var err error
	if o.TrustedNetworks, err = config.Prefixes(cfg.Auth.TrustedNetworks); err != nil {
		return nil, fmt.Errorf("auth.trusted_networks: %w", err)
	}
	if o.TrustedProxies, err = config.Prefixes(cfg.Auth.TrustedProxies); err != nil {
		return nil, fmt.Errorf("auth.trusted_proxies: %w", err)
	}
	for i, r := range cfg.Auth.Rules {
		networks, err := config.Prefixes(r.Networks)
		if err != nil {
			return nil, fmt.Errorf("auth.rules[%d].networks: %w", i, err)
		}
		o.Rules = append(o.Rules, auth.Rule{Users: r.Users, Certificates: r.Certificates, Networks: networks, Scopes: r.Scopes})
	}
	o.Certificates = cfg.TLS.ClientCA != ""
	if cfg.Auth.Token.Enabled && cfg.Auth.Token.Key == "" {
		if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
			return nil, fmt.Errorf("state_dir: %w", err)
		}
	}
	a, err := auth.New(o)
	if err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	return a, nil
}

// everybody is the access of commands that pull nothing for anybody.
func everybody(proxy.Names) (*auth.Authority, error) { return auth.New(auth.Options{}) }
