package config

import (
	"fmt"
	"path/filepath"
	"slices"
)

// Names of what the gate makes itself, in StateDir.
const (
	caCertName   = "intercept-ca.crt"
	caKeyName    = "intercept-ca.key"
	tokenKeyName = "token.key"
)

// CAFiles returns the paths of the intercepting authority's certificate and key:
// those of Intercept.CA, or else those in StateDir, which are made at the first
// start.
func (c *Config) CAFiles() (cert, key string) {
	if c.Intercept.CA.Cert != "" || c.Intercept.CA.Key != "" {
		return c.Intercept.CA.Cert, c.Intercept.CA.Key
	}
	return filepath.Join(c.StateDir, caCertName), filepath.Join(c.StateDir, caKeyName)
}

// TokenKeyFile returns the path of the key that signs tokens: Auth.Token.Key, or
// else the one in StateDir, which is made at the first start.
func (c *Config) TokenKeyFile() string {
	if c.Auth.Token.Key != "" {
		return c.Auth.Token.Key
	}
	return filepath.Join(c.StateDir, tokenKeyName)
}

// keepsState reports whether anything is kept in StateDir.
func (c *Config) keepsState() bool {
	ca := c.Intercept.Listen != "" && c.Intercept.CA == CA{}
	token := c.Auth.Token.Enabled && c.Auth.Token.Key == ""
	tuf := slices.ContainsFunc(c.TrustRoots, func(r TrustRoot) bool { return r.TUF != TrustRootTUF{} })
	return ca || token || tuf
}

// Enabled reports whether clients are asked who they are: any of htpasswd, token,
// trusted_networks and rules is configured. Otherwise everybody may pull.
// TrustedProxies alone asks nobody.
func (a Auth) Enabled() bool {
	return a.Htpasswd != "" || a.Token.Enabled || len(a.TrustedNetworks) > 0 || len(a.Rules) > 0
}

// CertificateRequired reports whether every client must show a certificate of
// TLS.ClientCA, since there is no other way to say who it is.
func (c *Config) CertificateRequired() bool { return c.TLS.ClientCA != "" && !c.Auth.Enabled() }

// state checks the state directory when something is kept there. It is made at the
// first start when its parent is there.
func (v *validator) state() {
	if !v.c.keepsState() {
		return
	}
	const fix = "name a directory that exists, or one in a directory that does"
	dir := v.c.StateDir
	switch {
	case dir == "":
		v.fault("state_dir", "is empty, and keys that the gate makes and trust roots are kept there", fix)
	case !filepath.IsAbs(dir):
		v.fault("state_dir", fmt.Sprintf("expected an absolute path, found %s", quote(dir)), fix)
	case absent(dir):
		v.dir("state_dir", filepath.Dir(dir), fix)
	default:
		v.dir("state_dir", dir, fix)
	}
}
