package doctor

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority is a new certificate authority in PEM.
func authority(t *testing.T, name string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// Where each client finds the authority of the gate and of intercepted hosts, and
// what is said when it is not there.
func TestTrust(t *testing.T) {
	const bundle, hashed = "etc/ssl/certs/ca-certificates.crt", "etc/ssl/certs/gate.pem"
	ca, other := authority(t, "gate"), authority(t, "other")
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, []byte(ca), 0o600); err != nil {
		t.Fatal(err)
	}
	docker := files{dockerd: proxied}
	with := func(f files, name, content string) files {
		out := files{name: content}
		for k, v := range f {
			if k != name {
				out[k] = v
			}
		}
		return out
	}
	containerd := files{cdConf: goodCRI, cdHosts: goodHosts}
	podman := files{regs: rewrite}
	k3s := files{k3sRegs: mirrorsOf, k3sConf: "disable-default-registry-endpoint: true\n"}
	for _, test := range []struct {
		name, client string
		files        files
		trusted      bool
	}{
		{"interception, nowhere", "docker", docker, false},
		{"interception, another authority", "docker", with(docker, bundle, other), false},
		{"interception, in the bundle", "docker", with(docker, bundle, other+ca), true},
		{"interception, in the directory", "docker", with(docker, hashed, ca), true},
		{"interception, in a bundle that is not read", "docker", with(with(docker, bundle, other), "etc/pki/tls/cacert.pem", ca), false},
		{"interception, for the host", "docker", with(docker, "etc/docker/certs.d/registry-1.docker.io/ca.crt", ca), true},
		{"interception, for another host", "docker", with(docker, "etc/docker/certs.d/quay.io/ca.crt", ca), false},
		{"the gate, nowhere", "containerd", containerd, false},
		{"the gate, in the system's store", "containerd", with(containerd, bundle, ca), true},
		{"the gate, named relatively", "containerd", with(with(containerd, cdHosts, "server = \"https://gate.example\"\nca = \"ca.pem\"\n[host.\"https://gate.example\"]\nca = [\"ca.pem\"]\n"), filepath.Dir(cdHosts)+"/ca.pem", ca), true},
		{"the gate, named and another", "containerd", with(with(containerd, cdHosts, goodHosts+"ca = \"/c.pem\"\n"), "c.pem", other), false},
		{"the gate, nowhere", "podman", podman, false},
		{"the gate, for its host", "podman", with(podman, "etc/containers/certs.d/gate.example/ca.crt", ca), true},
		{"the gate, nowhere", "k3s", k3s, false},
		{"the gate, named", "k3s", with(with(k3s, k3sRegs, mirrorsOf+"configs:\n  gate.example:\n    tls:\n      ca_file: /c.pem\n"), "c.pem", ca), true},
	} {
		t.Run(test.client+": "+test.name, func(t *testing.T) {
			c := look(t, plant(t, test.files), test.client, func(o *Options) { o.CA, o.InterceptCA = file, file })
			said := false
			for _, f := range c.Findings {
				said = said || strings.Contains(f.Problem, "is in no store") && f.Severity == SeverityWarning
			}
			if said == test.trusted {
				t.Errorf("%+v", c.Findings)
			}
		})
	}
}
