package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/pullgate/pullgate/config"
)

// certificates holds what the listeners show to clients, read again when a file
// changes. What cannot be read leaves the certificates before it in force.
type certificates struct {
	files    config.TLS
	optional bool // a client may say in another way who it is
	current  atomic.Pointer[tlsConfigs]
	seen     string // what the files looked like when they were tried last
}

// tlsConfigs are made of one reading of the files.
type tlsConfigs struct{ all, http1 *tls.Config }

// loadCertificates reads the files of a configuration with TLS. Optional makes
// client certificates one of several ways to be known.
func loadCertificates(files config.TLS, optional bool) (*certificates, error) {
	c := &certificates{files: files, optional: optional}
	c.seen = fingerprintOf(c.paths())
	return c, c.load()
}

func (c *certificates) paths() []string {
	paths := []string{c.files.Cert, c.files.Key}
	if c.files.ClientCA != "" {
		paths = append(paths, c.files.ClientCA)
	}
	return paths
}

// load reads the files and puts them in force.
func (c *certificates) load() error {
	pair, err := tls.LoadX509KeyPair(c.files.Cert, c.files.Key)
	if err != nil {
		return fmt.Errorf("tls.cert and tls.key: %w", err)
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"},
		// A resumed session would show the certificate of before a change, and believe
		// the client's.
		SessionTicketsDisabled: true}
	if file := c.files.ClientCA; file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("tls.client_ca: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return fmt.Errorf("tls.client_ca: no certificate in %s", file)
		}
		cfg.ClientCAs, cfg.ClientAuth = pool, tls.RequireAndVerifyClientCert
		if c.optional {
			cfg.ClientAuth = tls.VerifyClientCertIfGiven
		}
	}
	http1 := cfg.Clone()
	http1.NextProtos = []string{"http/1.1"}
	c.current.Store(&tlsConfigs{cfg, http1})
	return nil
}

// reload reads the files again when they have changed, or when asked. It reports
// whether it tried.
func (c *certificates) reload(asked bool) (tried bool, err error) {
	now := fingerprintOf(c.paths())
	if now == c.seen && !asked {
		return false, nil
	}
	c.seen = now
	return true, c.load()
}

// serverConfig is for one listener. Each connection gets what is in force when it
// begins.
func (c *certificates) serverConfig(http1 bool) *tls.Config {
	pick := func(*tls.ClientHelloInfo) (*tls.Config, error) {
		if http1 {
			return c.current.Load().http1, nil
		}
		return c.current.Load().all, nil
	}
	first, _ := pick(nil)
	cfg := first.Clone()
	cfg.GetConfigForClient = pick
	return cfg
}
