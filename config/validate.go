package config

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds of the settings that bound something.
const (
	maxVerdicts = 10_000_000
	maxTTL      = 7 * 24 * time.Hour
	maxPEM      = 1 << 20
)

// Validate checks everything that can be told without network: addresses, names,
// bounds, and that files exist and can be read. What is in the policy is checked
// where it is loaded. It returns every fault; none means that the configuration
// can be used.
func (c *Config) Validate() Faults {
	v := &validator{c: c}
	v.listeners()
	v.tls()
	v.registries()
	v.reportOnly()
	v.bounds()
	v.files()
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

func (v *validator) listeners() {
	host, port, good := v.address("listen", v.c.Listen)
	adminHost, adminPort, adminGood := v.address("admin.listen", v.c.Admin.Listen)
	if !good || !adminGood || port == 0 || port != adminPort {
		return
	}
	if host == adminHost || everyAddress(host) || everyAddress(adminHost) {
		v.fault("admin.listen", fmt.Sprintf("%s is taken by listen (%s)", quote(v.c.Admin.Listen), v.c.Listen), "use another port")
	}
}

// address checks host:port. A service's name is refused, as it would depend on
// the machine which port it is.
func (v *validator) address(key, value string) (host string, port int, good bool) {
	const fix = `write host:port, like 127.0.0.1:5000, or :5000 for every address`
	host, digits, err := net.SplitHostPort(value)
	if err != nil {
		v.fault(key, fmt.Sprintf("expected an address, found %s", quote(value)), fix)
		return "", 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil {
		v.fault(key, fmt.Sprintf("expected a port from 0 to 65535, found %s", quote(digits)), fix)
		return "", 0, false
	}
	if strings.ContainsAny(host, "/@?# ") {
		v.fault(key, fmt.Sprintf("expected a host, found %s", quote(host)), fix)
		return "", 0, false
	}
	return host, int(n), true
}

func everyAddress(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}

// tls loads the pair, so that a key of another certificate is found here and not
// at the first handshake.
func (v *validator) tls() {
	t := v.c.TLS
	switch {
	case t.Cert != "" && t.Key == "":
		v.fault("tls.key", "is missing beside tls.cert", "name the private key of the certificate")
	case t.Key != "" && t.Cert == "":
		v.fault("tls.cert", "is missing beside tls.key", "name the certificate chain of the key")
	case t.Cert == "" && t.ClientCA != "":
		v.fault("tls.client_ca", "needs tls.cert and tls.key", "name a certificate and its key, or leave client_ca out")
	}
	cert := v.pem("tls.cert", t.Cert)
	key := v.pem("tls.key", t.Key)
	if cert != nil && key != nil {
		if _, err := tls.X509KeyPair(cert, key); err != nil {
			v.fault("tls.cert", fmt.Sprintf("%s and tls.key %s cannot be used together: %s", quote(t.Cert), quote(t.Key),
				strings.TrimPrefix(err.Error(), "tls: ")), "name a PEM certificate chain, leaf first, and the PEM key of its leaf")
		}
	}
	if ca := v.pem("tls.client_ca", t.ClientCA); ca != nil && !x509.NewCertPool().AppendCertsFromPEM(ca) {
		v.fault("tls.client_ca", fmt.Sprintf("%s holds no certificate", quote(t.ClientCA)), "name a file of PEM certificates")
	}
}

// pem reads a small file; nil when the setting is empty or the file faulty.
func (v *validator) pem(key, path string) []byte {
	if path == "" || !v.file(key, path, "name a PEM file that the gate may read") {
		return nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		v.fault(key, fmt.Sprintf("%s cannot be read: %v", quote(path), cause(err)), "name a PEM file that the gate may read")
		return nil
	}
	return data
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
