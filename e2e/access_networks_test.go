//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/pullgate/pullgate/e2e/harness"
)

// Addresses of loopback that play networks: clients in one are trusted, the
// proxies are listed.
const (
	trustedClient = "127.1.2.3" // in 127.1.0.0/16
	strangeClient = "127.2.3.4"
	nginxAddress  = "127.0.0.9"
	innerAddress  = "127.0.0.8" // of a second proxy
)

// from is an HTTP client with an address.
func from(t *testing.T, address string) *http.Client {
	t.Helper()
	tr := &http.Transport{DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}).DialContext}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// A client's address is what its connection says, unless a listed proxy says
// more: what clients write into X-Forwarded-For themselves never counts.
func TestForwardedAddresses(t *testing.T) {
	reg, _ := newAccessRegistry(t)
	g := startAccessGate(t, reg, fmt.Sprintf("auth: {trusted_networks: [127.1.0.0/16], trusted_proxies: [%q, %q]}", nginxAddress, innerAddress))
	direct := g.URL
	behindNginx := "http://" + startNginx(t, g.Addr, nil)
	behindTwo := "http://" + startProxy(t, behindNginx)
	for name, c := range map[string]struct {
		client, forwarded, url string
		identity               string // "" is refused
	}{
		"trusted":                              {trustedClient, "", direct, "network:" + trustedClient},
		"trusted, header is not looked at":     {trustedClient, strangeClient, direct, "network:" + trustedClient},
		"stranger":                             {strangeClient, "", direct, ""},
		"forged":                               {strangeClient, trustedClient, direct, ""},
		"forged, chain with a proxy":           {strangeClient, trustedClient + ", " + nginxAddress, direct, ""},
		"trusted behind nginx":                 {trustedClient, "", behindNginx, "network:" + trustedClient},
		"trusted behind nginx, spoofs another": {trustedClient, "10.0.0.1", behindNginx, "network:" + trustedClient},
		"stranger behind nginx":                {strangeClient, "", behindNginx, ""},
		"stranger behind nginx, forged":        {strangeClient, trustedClient, behindNginx, ""},
		"stranger behind nginx, forged chain":  {strangeClient, trustedClient + ", " + innerAddress, behindNginx, ""},
		"stranger behind nginx, nonsense":      {strangeClient, "unknown", behindNginx, ""},
		"nonsense from a trusted client":       {trustedClient, "unknown", behindNginx, ""},
		"trusted behind two":                   {trustedClient, "", behindTwo, "network:" + trustedClient},
		"trusted behind two, spoofs another":   {trustedClient, "10.0.0.1", behindTwo, "network:" + trustedClient},
		"stranger behind two, forged":          {strangeClient, trustedClient, behindTwo, ""},
		"the proxy itself":                     {nginxAddress, "", direct, ""},
	} {
		t.Run(name, func(t *testing.T) {
			mark := g.Mark(t)
			a := accessGet(t, from(t, c.client), c.url+"/v2/team/app/manifests/v1", func(r *http.Request) {
				if c.forwarded != "" {
					r.Header.Set("X-Forwarded-For", c.forwarded)
				}
			})
			want, decision := http.StatusOK, harness.Allowed
			if c.identity == "" {
				want, decision = http.StatusForbidden, harness.Denied
			}
			rec := g.ExpectRecord(t, mark, "the request", func(r harness.Record) bool { return r.Decision == decision })
			if a.Code != want || rec.Status != want || rec.Identity != c.identity {
				t.Errorf("found %s for %q, expected %d for %q: %s", a.Status, rec.Identity, want, c.identity, a.Body)
			}
		})
	}
	t.Run("curl", func(t *testing.T) {
		curl, mark := harness.NewCurl(t), g.Mark(t)
		mustPull(t, g, mark, curl.Get(t, g, teamImage, "manifests/v1", "--interface", trustedClient), teamImage, "network:"+trustedClient)
		mark = g.Mark(t)
		r := curl.Get(t, g, teamImage, "manifests/v1", "--interface", strangeClient, "--header", "X-Forwarded-For: "+trustedClient)
		mustNotPull(t, g, mark, r, strangeClient+" is in no trusted network", refusedWith(http.StatusForbidden, ""))
	})
}

// Behind a proxy that ends TLS, clients are sent for tokens to the name and scheme
// that they know.
func TestLoginBehindAProxy(t *testing.T) {
	reg, _ := newAccessRegistry(t)
	passwords, pki := harness.NewHtpasswd(t, accessUsers), harness.NewPKI(t)
	g := startAccessGate(t, reg, fmt.Sprintf("auth:\n  htpasswd: %q\n  token: {enabled: true}\n  trusted_proxies: [%q]%s", passwords.Path, nginxAddress, accessRules))
	front := *g
	front.Addr = startNginx(t, g.Addr, pki)
	podman, account := harness.NewPodman(t), harness.NewAccount(t)
	ca, err := os.ReadFile(pki.CA)
	if err != nil {
		t.Fatal(err)
	}
	certs := harness.CertDir(t, ca, nil)
	login := podman.Podman(t, "login", "--authfile", account.File(), "--cert-dir", certs, "--username", "alice", "--password", accessUsers["alice"], front.Addr)
	if login.ExitCode != 0 {
		t.Fatalf("login: %s", login.Output)
	}
	mark := g.Mark(t)
	r := podman.Podman(t, "pull", "--authfile", account.File(), "--cert-dir", certs, front.Through(teamImage))
	mustPull(t, g, mark, r, teamImage, "user:alice")
	if rec := g.Expect(t, mark, harness.Allowed, teamImage); rec.Client != "127.0.0.1" {
		t.Errorf("the record names client %s, expected the one in front of the proxy", rec.Client)
	}
}

// startNginx starts nginx before the gate, with an address of its own towards it,
// and returns where it listens. With a PKI it speaks HTTPS.
func startNginx(t *testing.T, gate string, pki *harness.PKI) string {
	t.Helper()
	dir, addr := t.TempDir(), harness.FreeAddr(t)
	listen, proto := addr, "http"
	if pki != nil {
		listen, proto = fmt.Sprintf("%s ssl;\n  ssl_certificate %s;\n  ssl_certificate_key %s", addr, pki.Cert, pki.Key), "https"
	}
	put(t, filepath.Join(dir, "nginx.conf"), fmt.Appendf(nil, `daemon off;
user root;
worker_processes 1;
pid %[1]s/pid;
error_log stderr warn;
events {}
http {
 access_log off;
 client_body_temp_path %[1]s/body;
 proxy_temp_path %[1]s/proxy;
 fastcgi_temp_path %[1]s/fastcgi;
 uwsgi_temp_path %[1]s/uwsgi;
 scgi_temp_path %[1]s/scgi;
 server {
  listen %[2]s;
  location / {
   proxy_pass http://%[3]s;
   proxy_bind %[4]s;
   proxy_http_version 1.1;
   proxy_set_header Host $http_host;
   proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
   proxy_set_header X-Forwarded-Proto %[5]s;
  }
 }
}
`, dir, listen, gate, nginxAddress, proto))
	p := harness.StartProcess(t, nil, harness.Require(t, "nginx"), "-e", "stderr", "-c", filepath.Join(dir, "nginx.conf"))
	p.WaitUntil(t, "listening", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return addr
}

// startProxy starts a proxy before another server, with an address of its own
// towards it, and returns where it listens. It adds its client to the list.
func startProxy(t *testing.T, next string) string {
	t.Helper()
	u, err := url.Parse(next)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(u)
			r.Out.Host = r.In.Host
			r.Out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"]
			r.SetXForwarded()
		},
		Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(innerAddress)}}).DialContext(ctx, network, addr)
		}, DisableKeepAlives: true},
	}
	return harness.NewUpstream(t, proxy).Addr
}
