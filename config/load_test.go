package config

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestSmoke(t *testing.T) {
	d := t.TempDir()
	os.WriteFile(filepath.Join(d, "policy.json"), nil, 0o600)
	os.Mkdir(filepath.Join(d, "registries.d"), 0o700)
	f := filepath.Join(d, "p.yaml")
	os.WriteFile(f, []byte("policy: policy.json\nregistries_d: registries.d\nupstreams:\n  - {registry: docker.io}\n  - {registry: registry.example.com:5000, prefix: corp, endpoint: http://127.0.0.1:5010}\n"), 0o600)
	c, err := Load(LoadOptions{File: f, Environ: []string{"PULLGATE_VERDICTS_ALLOWED_TTL=2h"}, Flags: map[string]string{"listen": ":7000"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", c)
	if c.Verdicts.AllowedTTL != 2*time.Hour {
		t.Error(c.Verdicts)
	}
	os.WriteFile(f, []byte("Policy: policy.json\nregistries_d: registries.dd\nupstreams:\n  - {registy: docker.io}\n  - {registry: registry.example.com:5000, prefix: Corp, endpoint: http://127.0.0.1:5010/s}\nverdicts:\n  size: abc\n  allowed_ttl: 30\n  size: 3\n"), 0o600)
	_, err = Load(LoadOptions{File: f, Environ: []string{"PULLGATE_TAGS_TTL=2"}, Flags: map[string]string{"listen": "7000", "lisen": ""}})
	t.Log(err)
}
