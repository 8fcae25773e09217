package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Whatever the file holds: Load returns, faults are printable lines, and what it
// accepts is checked, complete and never without a policy.
func FuzzLoad(f *testing.F) {
	for _, seed := range []string{
		"", minimal, minimal + "lisen: x", minimal + "tls: {cert: a, key: b}", "policy: [", "- a", "a: &a [*a]", "? {a: b}\n: c",
		minimal + "verdicts: {size: 1e9, allowed_ttl: 1h}\nreport_only: [default, '*.example.com', \"\\e\"]\nother_registries: allow",
		"policy: policy.json\nupstreams:\n  - {registry: '[::1]:5000', prefix: corp, endpoint: oci:layout, transport: atomic}\n",
		"\xff\xfep\x00", "%YAML 1.2\n---\npolicy: !!null x\n...\n---\n", "<<: {<<: {}}", "policy: policy.json\r\nlisten: \":\"\r\n",
	} {
		f.Add([]byte(seed))
	}
	dir := f.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "policy.json"), nil, 0o600); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(dir, "pullgate.yaml")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Load(LoadOptions{File: path})
		if err != nil {
			var faults Faults
			if c != nil || !errors.As(err, &faults) || len(faults) == 0 || len(strings.Split(err.Error(), "\n")) != len(faults) {
				t.Fatalf("%+v with error %q", c, err)
			}
			return
		}
		if !filepath.IsAbs(c.Policy) || c.Listen == "" || c.Verdicts.Size < 1 || len(c.Validate()) > 0 {
			t.Fatalf("accepted %+v", c)
		}
		for _, u := range c.Upstreams {
			if u.Registry == "" || u.Endpoint == "" || u.Transport == "" {
				t.Fatalf("accepted %+v", u)
			}
		}
	})
}
