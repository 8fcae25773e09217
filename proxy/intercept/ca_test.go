package intercept

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestTheCAIsMadeOnceAndKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	cert, key := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key")
	before := time.Now()
	ca, err := LoadOrCreateCA(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{dir: 0o700, key: 0o600, cert: 0o644} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: mode %o, %v, want %o", name, info.Mode().Perm(), err, mode)
		}
	}
	if files, _ := os.ReadDir(dir); len(files) != 2 {
		t.Errorf("left behind: %v", files)
	}
	c := ca.cert
	pub, ecdsaKey := c.PublicKey.(*ecdsa.PublicKey)
	if !ecdsaKey || pub.Curve != elliptic.P256() || c.Subject.CommonName != "Pullgate interception CA" || !c.IsCA || !c.BasicConstraintsValid ||
		!c.MaxPathLenZero || c.KeyUsage != x509.KeyUsageCertSign || len(c.SubjectKeyId) == 0 {
		t.Errorf("certificate %+v", c)
	}
	if years := c.NotAfter.Sub(before).Hours() / 24 / 365; years < 9.9 || years > 10.1 || !ca.NotAfter().Equal(c.NotAfter) {
		t.Errorf("valid for %.1f years", years)
	}
	again, err := LoadOrCreateCA(cert, key)
	if err != nil || !bytes.Equal(again.PEM(), ca.PEM()) {
		t.Errorf("the second time another one: %v", err)
	}
	if b, _ := os.ReadFile(cert); !bytes.Equal(b, ca.PEM()) || bytes.Contains(ca.PEM(), []byte("PRIVATE")) {
		t.Error("PEM is not the certificate's file")
	}
}

// pairOf makes a certificate, changed by a test, signed by parent (itself when nil).
func pairOf(t *testing.T, change func(*x509.Certificate), parent *CA) (certPEM, keyPEM []byte) {
	t.Helper()
	certPEM, keyPEM, err := newCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := *pair.Leaf
	tmpl.MaxPathLen, tmpl.MaxPathLenZero = 0, false
	if change != nil {
		change(&tmpl)
	}
	by, signer := &tmpl, any(pair.PrivateKey)
	if parent != nil {
		by, signer = parent.cert, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, &tmpl, by, tmpl.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), keyPEM
}

func TestCAsThatDoNotServe(t *testing.T) {
	good, goodKey := pairOf(t, nil, nil)
	other, otherKey := pairOf(t, nil, nil)
	leaf, leafKey := pairOf(t, func(c *x509.Certificate) { c.IsCA, c.MaxPathLen = false, -1 }, nil)
	usage, usageKey := pairOf(t, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }, nil)
	old, oldKey := pairOf(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, nil)
	future, futureKey := pairOf(t, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }, nil)
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := *mustParse(t, good)
	tmpl.PublicKey, tmpl.SignatureAlgorithm = nil, 0
	weakCert, err := x509.CreateCertificate(rand.Reader, &tmpl, &tmpl, weak.Public(), weak)
	if err != nil {
		t.Fatal(err)
	}
	const none = "\x00"
	for name, test := range map[string]struct {
		cert, key string
		mode      os.FileMode
		says      string
	}{
		"no certificate":     {none, string(goodKey), 0o600, "ca.crt is missing, but its key"},
		"no key":             {string(good), none, 0o600, "ca.key is missing, but its certificate"},
		"another's key":      {string(good), string(otherKey), 0o600, "expected a certificate and its own private key"},
		"swapped":            {string(goodKey), string(good), 0o600, "expected a certificate and its own private key"},
		"empty":              {"", "", 0o600, "expected a certificate and its own private key"},
		"readable by group":  {string(good), string(goodKey), 0o640, "found mode 0640; run: chmod 600 "},
		"readable by others": {string(good), string(goodKey), 0o604, "found mode 0604; run: chmod 600 "},
		"no CA":              {string(leaf), string(leafKey), 0o600, "expected a certificate authority"},
		"may not sign":       {string(usage), string(usageKey), 0o600, "expected the key usage keyCertSign"},
		"expired":            {string(old), string(oldKey), 0o600, "found one that ended 2"},
		"not yet valid":      {string(future), string(futureKey), 0o600, "found one that starts 2"},
		"short RSA key": {string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: weakCert})),
			string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(weak)})), 0o600, "expected an RSA key of at least 2048 bits, found 1024"},
		"chain of strangers": {string(good) + string(other), string(goodKey), 0o600, "expected certificate 1 to be signed by the next one"},
		"too large":          {strings.Repeat("x", maxPEM+1), string(goodKey), 0o600, "expected at most"},
	} {
		dir := t.TempDir()
		files := map[string]string{"ca.crt": test.cert, "ca.key": test.key}
		for name, content := range files {
			if content != none {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
				os.Chmod(filepath.Join(dir, name), test.mode)
			}
		}
		_, err := LoadOrCreateCA(filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key"))
		if err == nil || !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v, want %q", name, err, test.says)
		}
		for name, content := range files {
			if b, _ := os.ReadFile(filepath.Join(dir, name)); content != none && string(b) != content || content == none && b != nil {
				t.Errorf("%s was changed", name)
			}
		}
	}
	if _, err := LoadOrCreateCA("", ""); err == nil {
		t.Error("no names passed")
	}
	if _, err := LoadOrCreateCA(t.TempDir(), t.TempDir()); err == nil {
		t.Error("folders passed")
	}
}

func mustParse(t *testing.T, certPEM []byte) *x509.Certificate {
	t.Helper()
	b, _ := pem.Decode(certPEM)
	c, err := x509.ParseCertificate(b.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// An authority that another one signed: clients trust the one above.
func TestACAThatAnotherOneSigned(t *testing.T) {
	rootPEM, rootKey := pairOf(t, func(c *x509.Certificate) { c.MaxPathLen = -1 }, nil)
	root, err := parseCA(rootPEM, rootKey, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	subPEM, subKey := pairOf(t, func(c *x509.Certificate) {
		c.Subject.CommonName, c.SubjectKeyId, c.AuthorityKeyId = "sub", []byte{1}, nil
	}, root)
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "c"), filepath.Join(dir, "k")
	os.WriteFile(certFile, append(subPEM, rootPEM...), 0o644)
	os.WriteFile(keyFile, subKey, 0o600)
	ca, err := LoadOrCreateCA(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	to, _ := parseTarget("registry.example:443")
	cert, err := newLeaves(ca, time.Now).get(to)
	if err != nil {
		t.Fatal(err)
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(root.cert)
	for _, der := range cert.Certificate[1:] {
		c, _ := x509.ParseCertificate(der)
		between.AddCert(c)
	}
	if _, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: "registry.example"}); err != nil {
		t.Error(err)
	}
}

func TestIssuedCertificates(t *testing.T) {
	certPEM, keyPEM, _ := newCA(time.Now())
	ca, err := parseCA(certPEM, keyPEM, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	l := newLeaves(ca, func() time.Time { return now })
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.PEM())
	long := strings.Repeat("a.", 60) + "example"
	for _, to := range []string{"registry.example:443", "10.0.0.1:443", "[2001:db8::1]:443", long + ":443"} {
		at, err := parseTarget(to)
		if err != nil {
			t.Fatal(err)
		}
		c, err := l.get(at)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: at.host}); err != nil {
			t.Errorf("%s: %v", to, err)
		}
		if life := c.Leaf.NotAfter.Sub(now); life > 7*24*time.Hour || !c.Leaf.NotBefore.Before(now) || c.Leaf.IsCA || len(c.Leaf.DNSNames)+len(c.Leaf.IPAddresses) != 1 {
			t.Errorf("%s: %+v", to, c.Leaf)
		}
	}
	to, _ := parseTarget("registry.example:443")
	first, _ := l.get(to)
	now = now.Add(leafLife - leafRenew - time.Minute)
	if c, _ := l.get(to); c != first {
		t.Error("issued anew although long valid")
	}
	now = now.Add(2 * time.Minute)
	if c, _ := l.get(to); c == first || !c.Leaf.NotAfter.After(first.Leaf.NotAfter) {
		t.Error("not issued anew before its end")
	}
	now = ca.NotAfter().Add(-time.Hour)
	if c, err := l.get(to); err != nil || c.Leaf.NotAfter.After(ca.NotAfter()) {
		t.Errorf("outlives its CA: %v", err)
	}
	now = ca.NotAfter().Add(time.Second)
	if _, err := l.get(to); err == nil {
		t.Error("a CA that ended signs")
	}
	now = time.Now()
	for i := range maxLeaves + 10 {
		if _, err := l.get(target{host: "h" + string(rune('a'+i%26)) + strings.Repeat("x", i/26) + ".example", port: 443}); err != nil {
			break // names that are too long do not matter here
		}
	}
	if len(l.kept) > maxLeaves {
		t.Errorf("%d certificates are kept", len(l.kept))
	}
}
