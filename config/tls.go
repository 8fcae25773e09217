package config

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

func (v *validator) tls() {
	t := v.c.TLS
	v.pair("tls.cert", t.Cert, "tls.key", t.Key)
	if t.Cert == "" && t.Key == "" && t.ClientCA != "" {
		v.fault("tls.client_ca", "needs tls.cert and tls.key", "name a certificate and its key, or leave client_ca out")
	}
	if ca := v.pem("tls.client_ca", t.ClientCA); ca != nil && !x509.NewCertPool().AppendCertsFromPEM(ca) {
		v.fault("tls.client_ca", fmt.Sprintf("%s holds no certificate", quote(t.ClientCA)), "name a file of PEM certificates")
	}
}

// pair loads a certificate and its key, so that a key of another certificate is
// found here and not at the first handshake. It is nil when there is none, or a
// faulty one.
func (v *validator) pair(certAt, cert, keyAt, key string) *tls.Certificate {
	switch {
	case cert != "" && key == "":
		v.fault(keyAt, "is missing beside "+certAt, "name the private key of the certificate")
	case key != "" && cert == "":
		v.fault(certAt, "is missing beside "+keyAt, "name the certificate chain of the key")
	}
	certPEM, keyPEM := v.pem(certAt, cert), v.pem(keyAt, key)
	if certPEM == nil || keyPEM == nil {
		return nil
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		v.fault(certAt, fmt.Sprintf("%s and %s %s cannot be used together: %s", quote(cert), keyAt, quote(key),
			strings.TrimPrefix(err.Error(), "tls: ")), "name a PEM certificate chain, leaf first, and the PEM key of its leaf")
		return nil
	}
	return &pair
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

// authority checks the files of the intercepting authority. When neither is there,
// they are made at the first start, as those in the state directory are.
func (v *validator) authority() {
	const certAt, keyAt = "intercept.ca.cert", "intercept.ca.key"
	ca := v.c.Intercept.CA
	if ca.Cert != "" && ca.Key != "" && absent(ca.Cert) && absent(ca.Key) {
		const fix = "name a file in a directory that exists"
		v.dir(certAt, filepath.Dir(ca.Cert), fix)
		v.dir(keyAt, filepath.Dir(ca.Key), fix)
		if ca.Cert == ca.Key {
			v.fault(keyAt, "is the same file as "+certAt, "name a file for each")
		}
		return
	}
	pair := v.pair(certAt, ca.Cert, keyAt, ca.Key)
	if pair == nil {
		return
	}
	const fix = "name one that is, or leave intercept.ca out and the gate makes one"
	now := time.Now()
	switch leaf := pair.Leaf; {
	case leaf == nil || !leaf.IsCA:
		v.fault(certAt, fmt.Sprintf("%s is not the certificate of an authority (CA:TRUE)", quote(ca.Cert)), fix)
	case now.Before(leaf.NotBefore) || now.After(leaf.NotAfter):
		v.fault(certAt, fmt.Sprintf("%s is not valid now, but from %s to %s", quote(ca.Cert), leaf.NotBefore.Format(time.DateOnly), leaf.NotAfter.Format(time.DateOnly)), fix)
	}
	v.secret(keyAt, ca.Key, 0o077)
}

// secret checks that a private key is kept from others: who has it can pose as
// registries or users.
func (v *validator) secret(at, path string, others os.FileMode) {
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&others != 0 {
		v.fault(at, fmt.Sprintf("%s can be read by others, mode %04o", quote(path), info.Mode().Perm()), "run chmod 600 on it")
	}
}

func absent(path string) bool {
	_, err := os.Stat(path)
	return os.IsNotExist(err)
}

// certificates checks that a certificate that is required of every client is not
// left out on one of the ways in: where there is no TLS, there is none.
func (v *validator) certificates() {
	if !v.c.CertificateRequired() {
		return
	}
	const fix = "write under auth who may pull (htpasswd, trusted_networks or rules), which makes certificates one way of several"
	for i, l := range v.c.Listeners {
		if l.PlainHTTP {
			v.fault(fmt.Sprintf("listeners[%d].plain_http", i), "lets in clients without the certificate that tls.client_ca requires of every client",
				"leave it out, or "+fix)
		}
	}
	if v.c.Intercept.Listen != "" {
		v.fault("intercept.listen", "lets in clients without the certificate that tls.client_ca requires of every client: a proxy asks for none", fix)
	}
}
