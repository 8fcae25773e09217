package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// settings are the answers that the gate's configuration needs.
type settings struct {
	dir                  string
	listen, admin        string
	registry, signatures string // base URLs
	trusted              []byte // public key
}

// write puts configuration, policy, registries.d and key into dir and returns
// the path of the configuration.
func (s settings) write() (string, error) {
	keyFile := filepath.Join(s.dir, "release-key.asc")
	policy, err := json.MarshalIndent(policyFor(keyFile), "", "  ")
	if err != nil {
		return "", fmt.Errorf("policy: %w", err)
	}
	config := filepath.Join(s.dir, "pullgate.yaml")
	if err := os.Mkdir(filepath.Join(s.dir, "registries.d"), 0o700); err != nil {
		return "", err
	}
	for path, content := range map[string][]byte{
		config:                              s.config(),
		keyFile:                             s.trusted,
		filepath.Join(s.dir, "policy.json"): append(policy, '\n'),
		filepath.Join(s.dir, "registries.d/demo.yaml"): fmt.Appendf(nil, "docker:\n  %s:\n    lookaside: %s\n", registryName, s.signatures),
	} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return "", err
		}
	}
	return config, nil
}

// config asks for decisions on standard output, where the demonstration reads
// them.
func (s settings) config() []byte {
	return fmt.Appendf(nil, `# Written by pullgate-demo, removed when it ends.
listen: %q
admin: {listen: %q}
policy: policy.json
registries_d: registries.d
default_registry: %s
upstreams:
  - {registry: %s, endpoint: %q}
other_registries: deny
audit: {file: "-"}
`, s.listen, s.admin, registryName, registryName, s.registry)
}

// policyFor rejects everything but what the key signed in the demo's registry
// (containers-policy.json(5)).
func policyFor(keyFile string) any {
	type requirement struct {
		Type    string `json:"type"`
		KeyType string `json:"keyType,omitempty"`
		KeyPath string `json:"keyPath,omitempty"`
	}
	type scopes map[string][]requirement
	return struct {
		Default    []requirement     `json:"default"`
		Transports map[string]scopes `json:"transports"`
	}{
		Default: []requirement{{Type: "reject"}},
		Transports: map[string]scopes{
			"docker": {registryName: {{Type: "signedBy", KeyType: "GPGKeys", KeyPath: keyFile}}},
		},
	}
}
