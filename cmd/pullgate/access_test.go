package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/pullgate/pullgate/config"
	"github.com/pullgate/pullgate/proxy"
)

// The directory for what the gate makes itself need not exist.
func TestTokenKeyIsMadeInANewDirectory(t *testing.T) {
	cfg := &config.Config{StateDir: filepath.Join(t.TempDir(), "new"),
		Auth: config.Auth{TrustedNetworks: []string{"127.0.0.1"}, Token: config.Token{Enabled: true}}}
	if _, err := newAccess(cfg, proxy.Names{Default: "registry.example"}, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{cfg.StateDir: 0o700 | os.ModeDir, cfg.TokenKeyFile(): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v %v, expected %v", path, info, err, mode)
		}
	}
}
