package intercept

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	leafLife  = 3 * 24 * time.Hour // how long an issued certificate is valid
	leafRenew = 24 * time.Hour     // how long before its end it is issued anew
	maxLeaves = 1024               // certificates that are kept
	maxCN     = 64                 // characters of a common name (RFC 5280, appendix A.1)
)

// leaves issues the certificates of terminated connections and keeps them.
type leaves struct {
	ca  *CA
	now func() time.Time

	mu   sync.Mutex
	kept map[string]*leaf
}

type leaf struct {
	cert *tls.Certificate
	// renew is when it is issued anew.
	renew time.Time
}

func newLeaves(ca *CA, now func() time.Time) *leaves {
	return &leaves{ca: ca, now: now, kept: map[string]*leaf{}}
}

// get returns a certificate for the target's host. It fails when the CA is not
// valid any more.
func (l *leaves) get(t target) (*tls.Certificate, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if known := l.kept[t.host]; known != nil && now.Before(known.renew) {
		return known.cert, nil
	}
	cert, err := l.ca.issue(t.host, t.addr, now)
	if err != nil {
		return nil, err
	}
	if len(l.kept) >= maxLeaves {
		for host := range l.kept { // any: it is issued again when it is asked for
			delete(l.kept, host)
			break
		}
	}
	l.kept[t.host] = &leaf{cert: cert, renew: cert.Leaf.NotAfter.Add(-leafRenew)}
	return cert, nil
}

// issue signs a certificate for a name or, when addr is valid, an address, with a
// key of its own.
func (c *CA) issue(host string, addr netip.Addr, now time.Time) (*tls.Certificate, error) {
	if err := checkAuthority(c.cert, now); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: newSerial(),
		NotBefore:    now.Add(-backlog),
		NotAfter:     earlier(now.Add(leafLife), c.cert.NotAfter),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if len(host) <= maxCN {
		tmpl.Subject = pkix.Name{CommonName: host}
	}
	if addr.IsValid() {
		tmpl.IPAddresses = []net.IP{addr.AsSlice()}
	} else {
		tmpl.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, c.cert, key.Public(), c.key)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: append([][]byte{der}, c.chain...), PrivateKey: key, Leaf: parsed}, nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
