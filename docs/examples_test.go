// Package docs_test holds the documentation against the code: examples load,
// settings are documented as they are, links lead somewhere.
package docs_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/pullgate/pullgate/config"
	"github.com/pullgate/pullgate/verify"
)

// namespaceHint is what the policy's lint says about every organisation of Docker
// Hub: it cannot know that no official image is meant.
const namespaceHint = "not the official image"

// placeHint is what it says about signatures on a disk that is not there, as it is
// not where the examples are tested.
const placeHint = "GPG signatures are looked for in file:///"

// Every example is a configuration that the gate would start with, and that it
// would not warn about.
func TestExamplesLoad(t *testing.T) {
	files, err := filepath.Glob("examples/*/pullgate.yaml")
	if err != nil || len(files) < 4 {
		t.Fatalf("found %d examples (%v), expected at least 4", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(filepath.Dir(file)), func(t *testing.T) {
			cfg, err := config.Load(config.LoadOptions{File: file})
			if err != nil {
				t.Fatal(err)
			}
			var roots []string
			for _, r := range cfg.TrustRoots {
				roots = append(roots, r.Name)
			}
			p, err := verify.LoadPolicy(verify.Options{PolicyFile: cfg.Policy, RegistriesDir: cfg.RegistriesD, TrustRoots: roots})
			if err != nil {
				t.Fatal(err)
			}
			noWarnings(t, p)
			for _, scope := range p.Scopes(verify.TransportDocker) {
				if !servedByAny(cfg, scope) {
					t.Errorf("scope %s is of no upstream of the example", scope)
				}
			}
		})
	}
}

func noWarnings(t *testing.T, p *verify.Policy) {
	t.Helper()
	for _, w := range p.Warnings() {
		if !strings.Contains(w.Problem, namespaceHint) && !strings.Contains(w.Problem, placeHint) {
			t.Errorf("warning: %v", w)
		}
	}
}

func servedByAny(cfg *config.Config, scope string) bool {
	registry, _, _ := strings.Cut(scope, "/")
	_, served := cfg.Upstream(registry)
	return served
}

// Every policy and every registries.d on a page is one that loads.
func TestSnippetsLoad(t *testing.T) {
	for _, page := range pages(t) {
		for i, s := range snippets(read(t, page)) {
			t.Run(fmt.Sprintf("%s/%d", filepath.Base(page), i), func(t *testing.T) {
				switch {
				case s.language == "json" && strings.Contains(s.text, `"default": [`):
					loadSnippet(t, s.text, "")
				case s.language == "yaml" && strings.Contains(s.text, "docker:\n"):
					loadSnippet(t, `{"default": [{"type": "reject"}]}`, s.text)
				case s.language == "yaml" && !strings.Contains(s.text, "endpoint: \""): // local endpoints must exist
					loadSettings(t, s.text)
				}
			})
		}
	}
}

// loadSnippet loads a policy and a file of registries.d beside all keys of the
// examples.
func loadSnippet(t *testing.T, policy, registries string) {
	t.Helper()
	dir := t.TempDir()
	keys, err := filepath.Glob("examples/*/keys/*")
	if err != nil || len(keys) == 0 {
		t.Fatalf("no keys among the examples: %v", err)
	}
	for _, key := range keys {
		write(t, filepath.Join(dir, "keys", filepath.Base(key)), read(t, key))
	}
	write(t, filepath.Join(dir, "policy.json"), policy)
	write(t, filepath.Join(dir, "registries.d", "page.yaml"), registries)
	p, err := verify.LoadPolicy(verify.Options{PolicyFile: filepath.Join(dir, "policy.json"), RegistriesDir: filepath.Join(dir, "registries.d"), TrustRoots: []string{"public-good", "github"}})
	if err != nil {
		t.Fatal(err)
	}
	noWarnings(t, p)
}

// loadSettings loads a part of a pullgate.yaml, completed by what is required.
func loadSettings(t *testing.T, text string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pullgate.yaml")
	if !strings.Contains(text, "upstreams:") {
		text += "\nupstreams: [{registry: docker.io}]\n"
	}
	write(t, file, text)
	writeKeys(t, filepath.Dir(file))
	opts := config.LoadOptions{File: file, Flags: map[string]string{"policy": "examples/air-gap/policy.json", "other_registries": "allow"}}
	if _, err := config.Load(opts); err != nil {
		t.Error(err)
	}
}

// writeKeys writes the files that the pages' settings name: a certificate and its
// key, which is an authority too, and a file of users.
func writeKeys(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, DNSNames: []string{"gate.example"}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}))
	write(t, filepath.Join(dir, "gate.crt"), public)
	write(t, filepath.Join(dir, "nodes-ca.crt"), public)
	write(t, filepath.Join(dir, "gate.key"), string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})))
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "htpasswd"), "alice:"+string(hash)+"\n")
}

// snippet is one fenced block of a page.
type snippet struct{ language, text string }

var fence = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")

func snippets(page string) []snippet {
	var out []snippet
	for _, m := range fence.FindAllStringSubmatch(page, -1) {
		out = append(out, snippet{m[1], m[2]})
	}
	return out
}

// pages lists all pages, the README included.
func pages(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, pattern := range []string{"../README.md", "../docs/*.md", "../docs/*/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, found...)
	}
	if len(out) < 10 {
		t.Fatalf("found %d pages, expected more", len(out))
	}
	return out
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
