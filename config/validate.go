package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Bounds of the settings that bound something, and of lists.
const (
	maxVerdicts = 10_000_000
	maxTTL      = 7 * 24 * time.Hour
	maxPEM      = 1 << 20
	maxItems    = 1000
)

// Validate checks everything that can be told without network: addresses, names,
// bounds, and that files exist and can be read. What is in the policy is checked
// where it is loaded. It returns every fault; none means that the configuration
// can be used.
func (c *Config) Validate() Faults {
	v := &validator{c: c}
	v.addresses()
	v.tls()
	v.hosts()
	v.listeners()
	v.intercept()
	v.auth()
	v.certificates()
	v.state()
	v.registries()
	v.reportOnly()
	v.bounds()
	v.files()
	v.trustRoots()
	v.signatureRepositories()
	v.audit()
	v.words()
	return v.faults
}

// validator gathers faults, each placed at the origin of its key.
type validator struct {
	c      *Config
	faults Faults
}

func (v *validator) fault(key, problem, fix string) {
	v.faults = append(v.faults, v.c.origins.fault(key, problem, fix))
}

// few bounds a list.
func (v *validator) few(key string, n, most int) bool {
	if n > most {
		v.fault(key, fmt.Sprintf("expected at most %d, found %d", most, n), "run a gate for each group of them")
		return false
	}
	return true
}

func (v *validator) bounds() {
	if n := v.c.Verdicts.Size; n < 1 || n > maxVerdicts {
		v.fault("verdicts.size", fmt.Sprintf("expected a number from 1 to %d, found %d", maxVerdicts, n), "write 100000 when in doubt")
	}
	ttls := []struct {
		key string
		ttl time.Duration
	}{
		{"verdicts.allowed_ttl", v.c.Verdicts.AllowedTTL},
		{"verdicts.denied_ttl", v.c.Verdicts.DeniedTTL},
		{"tags.ttl", v.c.Tags.TTL},
	}
	for _, t := range ttls {
		if t.ttl < 0 || t.ttl > maxTTL {
			v.fault(t.key, fmt.Sprintf("expected a duration from 0s to 168h, found %s", t.ttl), `write it like "30s" or "1h"`)
		}
	}
}

func (v *validator) files() {
	if v.c.Policy == "" {
		v.fault("policy", "is not set, and nothing is allowed without a policy", "name a policy.json, see containers-policy.json(5)")
	} else {
		v.file("policy", v.c.Policy, "name a policy.json that the gate may read")
	}
	if v.c.AuthFile != "" {
		v.file("auth_file", v.c.AuthFile, "name an auth.json that the gate may read, or leave it empty")
	}
	if v.c.RegistriesD != "" {
		v.dir("registries_d", v.c.RegistriesD, "name a directory of YAML files, or leave it empty")
	}
	for i, dir := range v.c.CertsD {
		if _, err := os.Stat(dir); os.IsNotExist(err) && slices.Contains(defaultCertsD(), dir) {
			continue // the defaults need not exist
		}
		v.dir(fmt.Sprintf("certs_d[%d]", i), dir, "name a directory that holds one directory for each registry, or leave the item out")
	}
}

// file checks that a path is a file of at most maxPEM bytes that can be opened.
func (v *validator) file(key, path, fix string) bool {
	info, err := os.Stat(path) // before opening: a pipe would block
	switch {
	case err != nil:
		v.fault(key, fmt.Sprintf("%s cannot be read: %v", quote(path), cause(err)), fix)
		return false
	case !info.Mode().IsRegular():
		v.fault(key, fmt.Sprintf("%s is not a file", quote(path)), fix)
		return false
	case key != "policy" && info.Size() > maxPEM:
		v.fault(key, fmt.Sprintf("%s is larger than %d bytes", quote(path), maxPEM), fix)
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		v.fault(key, fmt.Sprintf("%s cannot be read: %v", quote(path), cause(err)), fix)
		return false
	}
	f.Close()
	return true
}

// dir checks that a path is a directory that can be listed.
func (v *validator) dir(key, path, fix string) {
	if path == "" {
		v.fault(key, "is empty", fix)
		return
	}
	info, err := os.Stat(path)
	if err == nil && !info.IsDir() {
		v.fault(key, fmt.Sprintf("%s is not a directory", quote(path)), fix)
		return
	}
	var f *os.File
	if err == nil {
		f, err = os.Open(path)
	}
	if err != nil {
		v.fault(key, fmt.Sprintf("%s cannot be read: %v", quote(path), cause(err)), fix)
		return
	}
	f.Close()
}

// audit checks that the file could be created; it is opened only when serving.
func (v *validator) audit() {
	path := v.c.Audit.File
	const fix = `name a file in a directory that exists, or "-" for standard output`
	switch path {
	case "":
		v.fault("audit.file", "is empty, and decisions are always recorded", fix)
		return
	case AuditStdout:
		return
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		v.fault("audit.file", fmt.Sprintf("%s is a directory", quote(path)), fix)
		return
	}
	v.dir("audit.file", filepath.Dir(path), fix)
}

// words checks the settings that take one of a few words.
func (v *validator) words() {
	v.word("other_registries", v.c.OtherRegistries, OthersDeny, OthersAllow)
	v.word("log.level", v.c.Log.Level, "debug", "info", "warn", "error")
	v.word("log.format", v.c.Log.Format, LogText, LogJSON)
}

func (v *validator) word(key, value string, known ...string) {
	if !slices.Contains(known, value) {
		words := strings.Join(known, ", ")
		v.fault(key, fmt.Sprintf("expected one of %s, found %s", words, quote(value)), "write one of "+words)
	}
}
