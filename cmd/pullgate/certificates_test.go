package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pullgate/pullgate/config"
)

// testAuthority issues certificates.
type testAuthority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newTestAuthority(t *testing.T) *testAuthority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &testAuthority{key: key}
	a.cert = &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, a.cert, a.cert, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *testAuthority) issue(t *testing.T, name string, usage x509.ExtKeyUsage) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{usage}}, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a *testAuthority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

func writePair(t *testing.T, files config.TLS, c tls.Certificate) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	writeTestFile(t, files.Cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}))
	writeTestFile(t, files.Key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
}

func writeTestFile(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A client that offers the session of an earlier connection is looked at anew, and
// sees the certificate that is in force now.
func TestSessionsAreNotResumed(t *testing.T) {
	authority := newTestAuthority(t)
	dir := t.TempDir()
	files := config.TLS{Cert: filepath.Join(dir, "crt"), Key: filepath.Join(dir, "key"), ClientCA: filepath.Join(dir, "ca")}
	writeTestFile(t, files.ClientCA, authority.pem())
	writePair(t, files, authority.issue(t, "gate.example", x509.ExtKeyUsageServerAuth))
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		certs, err := loadCertificates(files, true)
		if err != nil {
			t.Fatal(err)
		}
		address := serveTLS(t, certs.serverConfig(true))
		roots := x509.NewCertPool()
		roots.AddCert(authority.cert)
		client := &tls.Config{RootCAs: roots, ServerName: "gate.example", ClientSessionCache: tls.NewLRUClientSessionCache(8), MaxVersion: version,
			Certificates: []tls.Certificate{authority.issue(t, "node.example", x509.ExtKeyUsageClientAuth)}}
		for range 2 {
			before := handshake(t, address, client)
			next := authority.issue(t, "gate.example", x509.ExtKeyUsageServerAuth)
			writePair(t, files, next)
			if _, err := certs.reload(true); err != nil {
				t.Fatal(err)
			}
			after := handshake(t, address, client)
			if before.DidResume || after.DidResume || string(after.PeerCertificates[0].Raw) != string(next.Certificate[0]) {
				t.Errorf("TLS %x: a session of before the change was resumed", version)
			}
		}
	}
}

// serveTLS says one byte on each connection.
func serveTLS(t *testing.T, cfg *tls.Config) string {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func(c net.Conn) {
				defer c.Close()
				_, _ = c.Write([]byte("x")) // the handshake fails with it
			}(c)
		}
	}()
	return l.Addr().String()
}

func handshake(t *testing.T, address string, cfg *tls.Config) tls.ConnectionState {
	t.Helper()
	c, err := tls.Dial("tcp", address, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.ReadAll(c); err != nil { // with TLS 1.3, tickets come after the handshake
		t.Fatal(err)
	}
	return c.ConnectionState()
}
