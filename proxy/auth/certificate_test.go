package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// authority issues client certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key := ecKey(t, elliptic.P256())
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{t, cert, key}
}

func (c *authority) issue(tmpl *x509.Certificate) *tls.Certificate {
	c.t.Helper()
	key := ecKey(c.t, elliptic.P256())
	tmpl.SerialNumber, tmpl.NotBefore, tmpl.NotAfter = big.NewInt(2), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, c.cert, &key.PublicKey, c.key)
	if err != nil {
		c.t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// serveTLS serves the world with a way of asking for certificates and returns what
// asks it with one.
func (w *world) serveTLS(how tls.ClientAuthType, ca *authority) func(path string, cert *tls.Certificate, opts ...option) answer {
	w.t.Helper()
	srv := httptest.NewUnstartedServer(w)
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	srv.TLS = &tls.Config{ClientAuth: how, ClientCAs: pool}
	srv.StartTLS()
	w.t.Cleanup(srv.Close)
	return func(path string, cert *tls.Certificate, opts ...option) answer {
		w.t.Helper()
		tr := srv.Client().Transport.(*http.Transport).Clone()
		defer tr.CloseIdleConnections()
		if cert != nil {
			tr.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
		}
		req, err := http.NewRequest(http.MethodGet, srv.URL+path, nil)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, o := range opts {
			o(req)
		}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			w.t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return answer{resp.StatusCode, resp.Header.Get("WWW-Authenticate"), string(b)}
	}
}

func TestCertificates(t *testing.T) {
	w := newWorld(t, func(o *Options) { withTokens(o); o.Certificates = true })
	ca := newAuthority(t)
	uri, _ := url.Parse("spiffe://corp.example/node1")
	node := ca.issue(&x509.Certificate{Subject: pkix.Name{CommonName: "node1"}, DNSNames: []string{"node1.example", "node1"}, EmailAddresses: []string{"ops@corp.example"}, URIs: []*url.URL{uri}})
	get := w.serveTLS(tls.VerifyClientCertIfGiven, ca)
	w.want(get(nginx, node), http.StatusOK, "certificate:node1")
	// The certificate comes first, whatever else is said.
	w.want(get(nginx, node, basic("alice", "wrong")), http.StatusOK, "certificate:node1")
	w.want(get(nginx, nil), http.StatusUnauthorized, `Bearer realm="https://`)
	w.want(get(nginx, nil, basic("alice", "wonderland")), http.StatusOK, "user:alice")
	// One without names is nobody's.
	w.want(get(nginx, ca.issue(&x509.Certificate{})), http.StatusUnauthorized, "Bearer")
	leaf, _ := x509.ParseCertificate(node.Certificate[0])
	if got := namesOf(leaf); !slices.Equal(got, []string{"node1", "node1.example", "ops@corp.example", "spiffe://corp.example/node1"}) {
		t.Errorf("names %q", got)
	}
	// A token for a certificate is of no use without it.
	got := w.token(get("/token?offline_token=true&scope=repository:docker.io/library/nginx:pull", node))
	if got.RefreshToken != "" || got.Scope == "" {
		t.Errorf("%+v", got)
	}
	w.want(get(nginx, node, bearer(got.Token)), http.StatusOK, "certificate:node1")
	w.want(get(nginx, nil, bearer(got.Token)), http.StatusUnauthorized, "client certificate")
	w.want(w.get(nginx, bearer(got.Token)), http.StatusUnauthorized, "client certificate")
}

// What a client presents counts only when TLS has verified it.
func TestUnverifiedCertificates(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Certificates = true })
	ca, other := newAuthority(t), newAuthority(t)
	forged := other.issue(&x509.Certificate{Subject: pkix.Name{CommonName: "node1"}})
	for _, how := range []tls.ClientAuthType{tls.RequestClientCert, tls.RequireAnyClientCert} {
		w.want(w.serveTLS(how, ca)(nginx, forged), http.StatusUnauthorized, "Basic")
	}
	leaf, _ := x509.ParseCertificate(forged.Certificate[0])
	for _, state := range []*tls.ConnectionState{
		nil, {PeerCertificates: []*x509.Certificate{leaf}}, {PeerCertificates: []*x509.Certificate{leaf}, VerifiedChains: [][]*x509.Certificate{}},
		{PeerCertificates: []*x509.Certificate{leaf}, VerifiedChains: [][]*x509.Certificate{{}}},
	} {
		r := &http.Request{TLS: state, Header: http.Header{}, Host: "gate.example", RemoteAddr: "10.0.0.1:1"}
		if id, err := w.a.Identify(r, Place{}); err == nil {
			t.Errorf("%+v", id)
		}
		if id, err := w.a.IdentifyProxy(r); err == nil {
			t.Errorf("%+v", id)
		}
	}
	r := &http.Request{TLS: &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{leaf}}}, Header: http.Header{}, RemoteAddr: "10.0.0.1:1"}
	if id, err := w.a.IdentifyProxy(r); err != nil || id.String() != "certificate:node1" {
		t.Errorf("%v %v", id, err)
	}
	// Not asked for, not counted.
	w = newWorld(t, nil)
	if id, err := w.a.IdentifyProxy(r); err == nil || !strings.Contains(err.Error(), "trusted network") {
		t.Errorf("%v %v", id, err)
	}
}
