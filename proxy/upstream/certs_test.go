package upstream

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// certsFor makes a certs.d directory that trusts a server.
func certsFor(t *testing.T, servers ...*server) string {
	t.Helper()
	dir := t.TempDir()
	for _, s := range servers {
		write(t, filepath.Join(dir, s.Listener.Addr().String(), "ca.crt"),
			pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	}
	return dir
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// clientPair makes a self-signed client certificate.
func clientPair(t *testing.T) (cert, key []byte) {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "gate"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, priv.Public(), priv)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

func TestCertificateAuthorities(t *testing.T) {
	reg := serveTLS(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "{}") })
	o := options(reg.URL)
	_, err := open(t, o).Manifest(t.Context(), named(t, "r.example/x:v1"))
	if wantKind(t, err, Unavailable); !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an untrusted registry: %v", err)
	}
	if n := len(reg.requests()); n != 0 {
		t.Errorf("%d requests to an untrusted registry", n)
	}
	// The first directory that has the host wins; other hosts' do not count.
	trusting, empty := certsFor(t, reg), t.TempDir()
	write(t, filepath.Join(empty, "127.0.0.1:1", "ca.crt"), []byte("not looked at"))
	o.CertsDirs = []string{empty, filepath.Join(empty, "missing"), trusting}
	if _, err := open(t, o).Manifest(t.Context(), named(t, "r.example/x:v1")); err != nil {
		t.Error(err)
	}
	if err := os.MkdirAll(filepath.Join(empty, reg.Listener.Addr().String()), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, o).Manifest(t.Context(), named(t, "r.example/x:v1")); err == nil {
		t.Error("the second directory was read though the first has the host")
	}
}

// The client certificate is for the upstream alone, not for the hosts that it
// sends us to, though those may be signed by the same authority.
func TestClientCertificates(t *testing.T) {
	presented := map[string]int{}
	record := func(name string, then http.HandlerFunc) *server {
		return startAsking(t, func(w http.ResponseWriter, r *http.Request) {
			presented[name] = len(r.TLS.PeerCertificates)
			then(w, r)
		})
	}
	cdn := record("cdn", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "{}") })
	reg := record("registry", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, cdn.URL, http.StatusFound) })
	dir := certsFor(t, reg, cdn)
	cert, key := clientPair(t)
	for _, s := range []*server{reg, cdn} {
		write(t, filepath.Join(dir, s.Listener.Addr().String(), "client.cert"), cert)
		write(t, filepath.Join(dir, s.Listener.Addr().String(), "client.key"), key)
	}
	o := options(reg.URL)
	o.CertsDirs = []string{dir}
	c := open(t, o)
	for range 2 {
		if _, err := c.Manifest(t.Context(), named(t, "r.example/x:v1")); err != nil {
			t.Fatal(err)
		}
	}
	if presented["registry"] != 1 || presented["cdn"] != 0 {
		t.Errorf("certificates presented: %v", presented)
	}
}

// startAsking starts a TLS server that asks for client certificates.
func startAsking(t *testing.T, h http.HandlerFunc) *server {
	s := serveTLS(t, h)
	s.TLS.ClientAuth = tls.RequestClientCert
	return s
}

func TestBrokenCertificatesAreReported(t *testing.T) {
	cert, key := clientPair(t)
	_, otherKey := clientPair(t)
	tests := map[string]map[string][]byte{
		"ca.crt":      {"ca.crt": []byte("no PEM")},
		"a.key":       {"a.cert": cert},
		"b.cert":      {"b.key": key},
		"c.cert":      {"c.cert": cert, "c.key": otherKey},
		"d.cert":      {"d.cert": []byte("no PEM"), "d.key": key},
		"subdirs.crt": {"subdirs.crt/x": nil},
	}
	for want, files := range tests {
		dir := t.TempDir()
		for name, content := range files {
			write(t, filepath.Join(dir, "reg.example:8443", name), content)
		}
		o := options("https://reg.example:8443")
		o.CertsDirs = []string{dir}
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "r.example") {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestDefaultPortsAndRegistryNamesFindCertificates(t *testing.T) {
	for _, host := range []string{"reg.example", "reg.example:443", "r.example"} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, host, "ca.crt"), []byte("no PEM"))
		o := options("https://reg.example")
		o.CertsDirs = []string{dir}
		if _, err := New(o); err == nil {
			t.Errorf("%s was not read", host)
		}
	}
}

func TestHostNamesDoNotWalkAbout(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "ca.crt"), []byte("no PEM"))
	for _, host := range []string{"..", ".", "", "a/../..", "/", "-", ".hidden"} {
		if c, err := loadCerts([]string{filepath.Join(dir, "sub")}, host); err != nil || len(c.authorities) > 0 {
			t.Errorf("host %q: %v, %v", host, c, err)
		}
	}
}

func TestOtherRegistriesWithBrokenCertificatesAreUnavailable(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "o.example", "ca.crt"), []byte("no PEM"))
	o := Options{Others: true, CertsDirs: []string{dir}}
	o.seams.send = nobody{t}
	_, err := open(t, o).Manifest(t.Context(), named(t, "o.example/x:v1"))
	if wantKind(t, err, Unavailable); !strings.Contains(err.Error(), "ca.crt") {
		t.Error(err)
	}
}

// Redirects to hosts without end share one pool of connections.
func TestPoolsAreBounded(t *testing.T) {
	var n int
	reg := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/end" {
			n++
			http.Redirect(w, r, fmt.Sprintf("http://h%d.test:%s/end", n, r.Host[strings.LastIndexByte(r.Host, ':')+1:]), http.StatusFound)
			return
		}
		io.WriteString(w, "{}")
	})
	o := options(reg.URL)
	dns := &names{addrs: map[string][]string{}}
	for i := range 21 {
		dns.addrs[fmt.Sprintf("h%d.test.", i)] = []string{"127.0.0.1"}
	}
	o.seams.resolver = dns.resolver()
	c := open(t, o)
	for range 20 {
		if _, err := c.Manifest(t.Context(), named(t, "r.example/x:v1")); err != nil {
			t.Fatal(err)
		}
	}
	if pools := c.fixed["r.example"].backend.(*remote).wire.pools; len(pools) != 2 {
		t.Errorf("%d pools, want 2", len(pools))
	}
}
