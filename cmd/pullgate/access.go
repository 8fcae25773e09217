package main

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/pullgate/pullgate/config"
	"github.com/pullgate/pullgate/proxy"
	"github.com/pullgate/pullgate/proxy/auth"
	"github.com/pullgate/pullgate/proxy/intercept"
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

// checkAccess is newAccess for a configuration that is only looked at: the key of
// tokens is not made.
func checkAccess(cfg *config.Config, names proxy.Names, logger *slog.Logger) (*auth.Authority, error) {
	look := *cfg
	if _, err := os.Stat(cfg.TokenKeyFile()); err != nil {
		look.Auth.Token.Enabled = false
	}
	return newAccess(&look, names, logger)
}

// checkServing reads what serve would read besides, where it is there already: the
// certificates, the authority of interception, and where tunnels may lead.
func checkServing(cfg *config.Config) error {
	if cfg.TLS.Enabled() {
		if _, err := loadCertificates(cfg.TLS, !cfg.CertificateRequired()); err != nil {
			return err
		}
	}
	if cfg.Intercept.Listen == "" {
		return nil
	}
	if _, err := intercept.ParseTunnel(cfg.Intercept.Tunnel); err != nil {
		return fmt.Errorf("intercept.tunnel: %w", err)
	}
	certFile, keyFile := cfg.CAFiles()
	if missing(certFile) || missing(keyFile) {
		return nil // it is made at the first start
	}
	if _, err := intercept.LoadOrCreateCA(certFile, keyFile); err != nil {
		return fmt.Errorf("intercept.ca: %w", err)
	}
	return nil
}

// everybody is the access of commands that pull nothing for anybody.
func everybody(proxy.Names) (*auth.Authority, error) { return auth.New(auth.Options{}) }
