package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
)

// TestLintOfAHostilePolicy: a policy that somebody else wrote is linted before it is
// trusted. What it holds must not steer the terminal, nor write lines of the answer.
func TestLintOfAHostilePolicy(t *testing.T) {
	const evil = `\u001b[31m\u202ex\nresult      ok\npodman      yes`
	for name, policy := range map[string]string{
		"trust root":  `{"default":[{"type":"bundleSigned","trustRoot":"EVIL","identities":[{"issuer":"i","subject":"s"}]}]}`,
		"key":         `{"default":[{"type":"bundleSigned","keyPath":"EVIL"}]}`,
		"GPG key":     `{"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"EVIL"}]}`,
		"other path":  `{"default":[{"type":"reject"}],"transports":{"dir":{"":[{"type":"signedBy","keyType":"X509Certificates","keyPath":"EVIL"}]}}}`,
		"CA":          `{"default":[{"type":"notationSigned","trustStores":{"ca":["EVIL"]},"trustedIdentities":["*"],"revocation":"skip"}]}`,
		"expression":  `{"default":[{"type":"bundleSigned","trustRoot":"r","identities":[{"issuer":"i","subjectRegExp":"(EVIL"}]}]}`,
		"condition":   `{"default":[{"type":"attested","predicateType":"t","signedBy":{"trustRoot":"r","identities":[{"issuer":"i","subject":"s"}]},"condition":"EVIL("}]}`,
		"transport":   `{"default":[{"type":"reject"}],"transports":{"EVIL":{"x":[]}}}`,
		"scope":       `{"default":[{"type":"reject"}],"transports":{"docker":{"EVIL":[]}}}`,
		"member":      `{"default":[{"type":"bundleSigned","EVIL":1}]}`,
		"twice":       `{"default":[{"type":"bundleSigned","EVIL":1,"EVIL":1}]}`,
		"requirement": `{"default":[{"type":"EVIL"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "policy.json")
			if err := os.WriteFile(file, []byte(strings.ReplaceAll(policy, "EVIL", evil)), 0o600); err != nil {
				t.Fatal(err)
			}
			code, out := command(t, "policy", "lint", file)
			for line := range strings.Lines(out) {
				line = strings.TrimSuffix(line, "\n")
				if strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) || strings.HasPrefix(line, "podman      yes") {
					t.Errorf("%q", line)
				}
			}
			if n := strings.Count("\n"+out, "\nresult "); n != 1 || (code == 0) != strings.HasSuffix(out, "\nresult      ok\n") {
				t.Errorf("exit code %d, %d results:\n%s", code, n, out)
			}
		})
	}
}
