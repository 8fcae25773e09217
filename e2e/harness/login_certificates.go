package harness

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// IssueClient returns a client certificate with a common name and DNS names.
func (a *Authority) IssueClient(t testing.TB, commonName string, names ...string) tls.Certificate {
	t.Helper()
	key := newECKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: commonName}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(12 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	return tls.Certificate{Certificate: [][]byte{issue(t, template, a.cert, key, a.key)}, PrivateKey: key}
}

// File is a file with the authority's certificate.
func (a *Authority) File(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.crt")
	writeFile(t, path, a.Certificate)
	return path
}

// CertFiles are the files of a directory in certs.d (containers-certs.d(5)):
// what clients trust a registry by, and the certificate that they show to it.
func CertFiles(t testing.TB, ca []byte, client *tls.Certificate) map[string][]byte {
	t.Helper()
	files := map[string][]byte{"ca.crt": ca}
	if client != nil {
		der, err := x509.MarshalPKCS8PrivateKey(client.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		files["client.cert"] = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: client.Certificate[0]})
		files["client.key"] = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	return files
}

// CertDir is a directory with CertFiles, for options like --cert-dir.
func CertDir(t testing.TB, ca []byte, client *tls.Certificate) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range CertFiles(t, ca, client) {
		writeFile(t, filepath.Join(dir, name), content)
	}
	return dir
}

// Trusting is the configuration of a TLS client that trusts the authority of a
// server's certificates, and shows a certificate when one is given.
func (p *PKI) Trusting(client *tls.Certificate) *tls.Config {
	c := &tls.Config{RootCAs: p.Pool}
	if client != nil {
		c.Certificates = []tls.Certificate{*client}
	}
	return c
}

// HTTPS returns an HTTP client with a configuration of TLS. It speaks HTTP/2 or
// HTTP/1.1 only, and opens a connection for each request.
func HTTPS(t testing.TB, c *tls.Config, http2 bool) *http.Client {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: c, Protocols: new(http.Protocols), DisableKeepAlives: true}
	tr.Protocols.SetHTTP1(!http2)
	tr.Protocols.SetHTTP2(http2)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: commandTimeout}
}

// Has tells whether there is a file.
func Has(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
