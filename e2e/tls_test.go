//go:build e2e

package e2e

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pullgate/pullgate/e2e/harness"
)

// certificatesWithin bounds how long a replaced certificate may take to be shown.
const certificatesWithin = 3 * time.Second

// TestTLS serves the registry API by HTTPS, to clients with a certificate only,
// and refuses over HTTP/2, which has no reason phrase, with a whole answer.
func TestTLS(t *testing.T) {
	reg := harness.NewGoRegistry(t)
	reg.Push(t, "team/app", "v1", harness.NewImage(t, "secret"))
	pki := harness.NewPKI(t)
	g := harness.StartGate(t, harness.GateConfig{
		Upstreams: []harness.Upstream{{Registry: accessRegistry, Endpoint: reg.URL}},
		TLS:       pki,
	})
	url := "https://" + g.Addr + "/v2/team/app/manifests/v1"
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		mark := g.Mark(t)
		a := accessGet(t, pki.Client(t, proto == "HTTP/2.0"), url)
		if a.Proto != proto || a.Code != http.StatusForbidden || !strings.Contains(a.Body, `"DENIED"`) {
			t.Errorf("%s: found %+v", proto, a)
		}
		if proto == "HTTP/1.1" && !strings.Contains(a.Status, "Denied by image policy default") {
			t.Errorf("expected the reason in the status line, found %q", a.Status)
		}
		g.Expect(t, mark, harness.Denied, teamImage)
	}
	if resp, err := harness.HTTPS(t, pki.Trusting(nil), false).Get(url); err == nil {
		resp.Body.Close()
		t.Error("a client without a certificate was answered")
	}
}

// TestTLSVersions refuses what is older than TLS 1.2.
func TestTLSVersions(t *testing.T) {
	reg, _ := newAccessRegistry(t)
	g, pki := startTLSGate(t, reg, "")
	for version, want := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		c := pki.Trusting(nil)
		c.MinVersion, c.MaxVersion = version, version
		conn, err := tls.Dial("tcp", g.Addr, c)
		if err == nil {
			conn.Close()
		}
		if (err == nil) != want {
			t.Errorf("%s: found %v, expected success %t", tls.VersionName(version), err, want)
		}
	}
}

// startTLSGate starts a gate with HTTPS before the registry. Its certificate files
// are its own, so that a test may replace them.
func startTLSGate(t *testing.T, reg *harness.Registry, extra string) (*harness.Gate, *harness.PKI) {
	t.Helper()
	pki := harness.NewPKI(t)
	g := startAccessGate(t, reg, fmt.Sprintf("tls: {cert: %q, key: %q}\n%s", pki.Cert, pki.Key, extra))
	g.URL = "https://" + g.Addr
	return g, pki
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// New connections are shown new certificates within seconds, open ones go on, and
// files that cannot be used leave the certificates before them in force.
func TestCertificatesChangeWhileServing(t *testing.T) {
	t.Parallel()
	reg, _ := newAccessRegistry(t)
	g, pki := startTLSGate(t, reg, "")
	next := harness.NewPKI(t)
	shows := func(p *harness.PKI, http2 bool) bool {
		resp, err := harness.HTTPS(t, p.Trusting(nil), http2).Get(g.URL + "/v2/")
		if err == nil {
			resp.Body.Close()
		}
		return err == nil
	}
	open := map[string]*http.Client{"HTTP/1.1": pki.Client(t, false), "HTTP/2.0": pki.Client(t, true)}
	for proto, c := range open {
		if a := accessGet(t, c, g.URL+"/v2/"); a.Proto != proto || a.Code != http.StatusOK {
			t.Fatalf("%s: %+v", proto, a)
		}
	}
	// Certificate and key are two files: in between they do not fit.
	harness.Replace(t, pki.Cert, read(t, next.Cert))
	harness.Replace(t, pki.Key, read(t, next.Key))
	for _, http2 := range []bool{false, true} {
		harness.WaitFor(t, "the new certificate", certificatesWithin, func() bool { return shows(next, http2) })
		if shows(pki, http2) {
			t.Error("a new connection is shown the old certificate")
		}
	}
	for proto, c := range open {
		if a := accessGet(t, c, g.URL+"/v2/"); a.Proto != proto || a.Code != http.StatusOK {
			t.Errorf("%s: an open connection: %+v", proto, a)
		}
	}
	const kept = "the new certificates cannot be used; the old ones stay in force"
	said := func() int { return strings.Count(g.Log(), kept) }
	for what, content := range map[string][]byte{"no certificate": []byte("# nothing\n"), "of another key": read(t, harness.NewPKI(t).Cert), "": nil} {
		before := said()
		if content == nil {
			if err := os.Remove(pki.Cert); err != nil {
				t.Fatal(err)
			}
		} else {
			harness.Replace(t, pki.Cert, content)
		}
		harness.WaitFor(t, "the log about a file "+what, certificatesWithin, func() bool { return said() > before })
		if !shows(next, true) || !shows(next, false) {
			t.Errorf("a certificate file with %q took the old one away", what)
		}
		harness.Replace(t, pki.Cert, read(t, next.Cert))
		before = strings.Count(g.Log(), "certificates reloaded")
		harness.WaitFor(t, "the good file", certificatesWithin, func() bool { return strings.Count(g.Log(), "certificates reloaded") > before })
	}
}

// When the authority of clients changes, certificates of the old one end, for
// clients that resume sessions, too.
func TestClientAuthorityChangesWhileServing(t *testing.T) {
	t.Parallel()
	reg, _ := newAccessRegistry(t)
	was, is := harness.NewAuthority(t, "old"), harness.NewAuthority(t, "new")
	pki := harness.NewPKI(t)
	authority := filepath.Join(t.TempDir(), "clients.crt")
	put(t, authority, was.Certificate)
	g := startAccessGate(t, reg, fmt.Sprintf("tls: {cert: %q, key: %q, client_ca: %q}", pki.Cert, pki.Key, authority))
	g.URL = "https://" + g.Addr
	client := func(a *harness.Authority, http2 bool) func() error {
		cert := a.IssueClient(t, "node", "node.example")
		c := pki.Trusting(&cert)
		c.ClientSessionCache = tls.NewLRUClientSessionCache(8)
		h := harness.HTTPS(t, c, http2)
		return func() error {
			resp, err := h.Get(manifestURL(g, teamImage))
			if err == nil {
				resp.Body.Close()
			}
			return err
		}
	}
	for _, http2 := range []bool{false, true} {
		old, new := client(was, http2), client(is, http2)
		if err := old(); err != nil {
			t.Fatal(err)
		}
		if err := new(); err == nil {
			t.Error("a certificate of a strange authority was good enough")
		}
		harness.Replace(t, authority, is.Certificate)
		harness.WaitFor(t, "the new authority", certificatesWithin, func() bool { return new() == nil })
		if err := old(); err == nil {
			t.Error("a certificate of the old authority is still good")
		}
		was, is = is, was
	}
	harness.Replace(t, authority, []byte("# nobody\n"))
	awaitLog(t, g, "tls.client_ca: no certificate in")
	if err := client(was, true)(); err != nil {
		t.Errorf("a broken file took the authority away: %v", err)
	}
	if err := client(is, true)(); err == nil {
		t.Error("with a broken file any certificate is good")
	}
}
