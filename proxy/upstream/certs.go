package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// certs are the files of one host's certs.d directory (containers-certs.d(5)).
type certs struct {
	authorities [][]byte          // contents of *.crt: trusted besides the system's
	pairs       []tls.Certificate // *.cert with *.key: presented to the host
}

// certHost is what may name a directory in certs.d: nothing that walks about.
var certHost = regexp.MustCompile(`^[A-Za-z0-9\[][A-Za-z0-9.:\[\]_-]*$`)

// loadCerts reads the first directory found for any of the hosts, in order of
// the hosts and then of the directories. None is no error.
func loadCerts(dirs []string, hosts ...string) (certs, error) {
	for _, host := range hosts {
		if !certHost.MatchString(host) {
			continue
		}
		for _, dir := range dirs {
			path := filepath.Join(dir, host)
			c, err := readCertDir(path)
			if errors.Is(err, fs.ErrNotExist) {
				if _, serr := os.Stat(path); errors.Is(serr, fs.ErrNotExist) {
					continue
				}
			}
			return c, err
		}
	}
	return certs{}, nil
}

// readCertDir reads one host's directory. Every file with a meaning must have
// the content that it promises.
func readCertDir(dir string) (certs, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return certs{}, fmt.Errorf("certificates: %w", err)
	}
	var c certs
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		ext := filepath.Ext(path)
		base := strings.TrimSuffix(path, ext)
		switch ext {
		case ".crt":
			err = c.addAuthority(path)
		case ".cert":
			err = c.addPair(path, base+".key")
		case ".key":
			if _, serr := os.Stat(base + ".cert"); serr != nil {
				err = fmt.Errorf("key %s: expected its certificate in %s", path, base+".cert")
			}
		}
		if err != nil {
			return certs{}, err
		}
	}
	return c, nil
}

func (c *certs) addAuthority(path string) error {
	pem, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("certificate authority: %w", err)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(pem) {
		return fmt.Errorf("certificate authority %s: expected a PEM certificate, found none", path)
	}
	c.authorities = append(c.authorities, pem)
	return nil
}

func (c *certs) addPair(cert, key string) error {
	if _, err := os.Stat(key); err != nil {
		return fmt.Errorf("client certificate %s: expected its key in %s (certificate authorities are named *.crt)", cert, key)
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("client certificate %s: %w", cert, err)
	}
	c.pairs = append(c.pairs, pair)
	return nil
}

// config is the TLS configuration that trusts the system's authorities and
// those given.
func tlsConfig(pairs []tls.Certificate, authorities ...[]byte) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: pairs}
	if len(authorities) == 0 {
		return cfg, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("system's certificate authorities: %w", err)
	}
	for _, pem := range authorities {
		pool.AppendCertsFromPEM(pem)
	}
	cfg.RootCAs = pool
	return cfg, nil
}
