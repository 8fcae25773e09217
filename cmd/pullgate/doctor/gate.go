package doctor

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
)

// canary is the repository that a gate refuses under every registry.
const canary = "pullgate.invalid/canary/unsigned"

// canaryWord is in every refusal of the canary.
const canaryWord = "pullgate canary"

// gateTimeout bounds one question to the gate.
const gateTimeout = 10 * time.Second

// gate is how clients are to reach the gate.
type gate struct {
	urls                  []*url.URL
	labels                []string // of names below them that stand for registries
	proxy                 *url.URL
	ca, intercepted       *x509.Certificate // nil when none was given
	caFile, interceptFile string
	caPool                *x509.CertPool
}

func newGate(o Options) (*gate, error) {
	g := &gate{caFile: o.CA, interceptFile: o.InterceptCA}
	for _, r := range o.Registries {
		g.labels = append(g.labels, strings.NewReplacer(".", "-", ":", "-").Replace(r))
	}
	for _, raw := range o.Gates {
		u, err := parseURL("--gate", raw)
		if err != nil {
			return nil, err
		}
		g.urls = append(g.urls, u)
	}
	if o.Proxy != "" {
		u, err := parseURL("--proxy", o.Proxy)
		if err != nil {
			return nil, err
		}
		g.proxy = u
	}
	if len(g.urls) == 0 && g.proxy == nil {
		return nil, errors.New("expected --gate URL, --proxy URL or both: where the gate is")
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	g.caPool = pool
	if g.ca, err = g.trust("--ca", o.CA); err != nil {
		return nil, err
	}
	g.intercepted, err = g.trust("--intercept-ca", o.InterceptCA)
	return g, err
}

// parseURL reads a URL with a host and without a path. Its text is in no error, as
// it may hold a password.
func parseURL(flag, raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return nil, fmt.Errorf("%s: expected a URL like https://gate.example:5000, without a path", flag)
	}
	return u, nil
}

// trust reads the first certificate of a file and trusts it in questions to the gate.
func (g *gate) trust(flag, file string) (*x509.Certificate, error) {
	if file == "" {
		return nil, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("%s: %s is larger than %d bytes", flag, file, maxFile)
	}
	certs := certificates(b)
	if len(certs) == 0 {
		return nil, fmt.Errorf("%s: expected a certificate in PEM, found none in %s", flag, file)
	}
	for _, c := range certs {
		g.caPool.AddCert(c)
	}
	return certs[0], nil
}

// certificates are those in a PEM file; what is none is passed over, as the clients
// do.
func certificates(b []byte) []*x509.Certificate {
	var out []*x509.Certificate
	for {
		var block *pem.Block
		block, b = pem.Decode(b)
		if block == nil {
			return out
		}
		if c, err := x509.ParseCertificate(block.Bytes); err == nil && block.Type == "CERTIFICATE" {
			out = append(out, c)
		}
	}
}

// is reports whether a URL, or host with an optional path, leads to the gate: to a
// host and port that was given, or to the name of a registry below one
// (docker-io.gate.example). Other names below it may be anybody's.
func (g *gate) is(raw string) bool {
	if !strings.Contains(raw, "://") {
		raw = "https://" + raw
	}
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" {
		return false
	}
	for _, own := range g.urls {
		// Clients write a host with no scheme: a gate without TLS is meant by it too.
		if port(u) != port(own) && u.Port() != own.Port() {
			continue
		}
		host, mine := strings.ToLower(u.Hostname()), strings.ToLower(own.Hostname())
		if label, below := strings.CutSuffix(host, "."+mine); host == mine || below && slices.Contains(g.labels, label) {
			return true
		}
	}
	return false
}

// plain reports whether the gate is asked without TLS by one of its names.
func (g *gate) plain() bool {
	return slices.ContainsFunc(g.urls, func(u *url.URL) bool { return u.Scheme == "http" })
}

// isProxy reports whether a proxy's address, with or without a scheme, is the gate's.
func (g *gate) isProxy(u *url.URL) bool {
	return g.proxy != nil && u != nil &&
		strings.EqualFold(u.Hostname(), g.proxy.Hostname()) && port(u) == port(g.proxy)
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if u.Scheme == "http" {
		return "80"
	}
	return "443"
}

// apiHost is the host that answers for a registry's name.
func apiHost(registry string) string {
	if registry == "docker.io" {
		return "registry-1.docker.io"
	}
	return registry
}

// check asks the gate itself for the canary, under each of its names and through
// its proxy. An answer that is not the refusal, or none, is a finding.
func (g *gate) check(ctx context.Context, registries []string, tag string) Gate {
	out := Gate{URLs: []string{}, Checks: []GateCheck{}}
	for _, u := range g.urls {
		out.URLs = append(out.URLs, shown(u))
		for _, r := range registries {
			out.Checks = append(out.Checks, g.askGate(ctx, u, r, tag))
		}
	}
	if g.proxy != nil {
		out.Proxy = shown(g.proxy)
		for _, r := range registries {
			if !g.is(r) {
				out.Checks = append(out.Checks, g.ask(ctx, "https://"+apiHost(r)+manifestPath(canary, tag), nil, g.proxy))
			}
		}
	}
	out.Refuses = len(out.Checks) > 0
	for _, c := range out.Checks {
		if c.Verdict == VerdictRefused {
			continue
		}
		out.Refuses = false
		if out.Finding == nil {
			out.Finding = gateFinding(c)
		}
	}
	return out
}

// askGate asks by prefix, and when that is not refused, as on a listener or a name
// that stands for one registry.
func (g *gate) askGate(ctx context.Context, u *url.URL, registry, tag string) GateCheck {
	base := shown(u)
	bare := g.ask(ctx, base+manifestPath(canary, tag), u.User, nil)
	if g.is(registry) {
		return bare
	}
	prefixed := g.ask(ctx, base+manifestPath(registry+"/"+canary, tag), u.User, nil)
	if prefixed.Verdict != VerdictRefused && bare.Verdict == VerdictRefused {
		return bare
	}
	return prefixed
}

func manifestPath(name, tag string) string { return "/v2/" + name + "/manifests/" + tag }

// ask makes one request and tells whether the answer is the refusal of the canary.
func (g *gate) ask(ctx context.Context, target string, user *url.Userinfo, proxy *url.URL) GateCheck {
	out := GateCheck{URL: target, Verdict: VerdictNotRun}
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: g.caPool}, DisableKeepAlives: true}
	if proxy != nil {
		tr.Proxy, out.Via = http.ProxyURL(proxy), shown(proxy)
	}
	client := &http.Client{Transport: tr, Timeout: gateTimeout, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		out.Detail = clean(err.Error())
		return out
	}
	req.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json")
	if user != nil {
		password, _ := user.Password()
		req.SetBasicAuth(user.Username(), password)
	}
	tr.OnProxyConnectResponse = func(_ context.Context, _ *url.URL, _ *http.Request, r *http.Response) error {
		if r.StatusCode != http.StatusOK {
			out.Status = r.StatusCode
		}
		return nil
	}
	resp, err := client.Do(req)
	if err != nil {
		out.Detail = clean(err.Error())
		return out
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	out.Status, out.Verdict, out.Detail = resp.StatusCode, VerdictNotAsked, clip(clean(resp.Status), 256)
	if resp.StatusCode >= 400 && (strings.Contains(resp.Status, canaryWord) || bytes.Contains(body, []byte(canaryWord))) {
		out.Verdict = VerdictRefused
	}
	return out
}

// proxyPassword is how doctor and clients say who they are to the gate's proxy.
const proxyPassword = "give a user name and password with --proxy http://" + placeholder + "@host:port, here (they are not printed) and to pullgate client, " +
	"or list this node in auth.trusted_networks of the gate"

func gateFinding(c GateCheck) *Finding {
	f := &Finding{
		Client: "gate", Severity: SeverityWarning,
		Problem:     "the gate cannot be asked for the canary: " + c.Detail,
		Consequence: "a client that fails now proves nothing",
		Fix:         "check --gate, --proxy and --ca, and that the gate is running: GET " + c.URL,
	}
	switch {
	case c.Status == http.StatusProxyAuthRequired:
		f.Problem = "the gate's proxy wants a user name and password for the canary: " + c.Detail
		f.Fix = proxyPassword
	case c.Status == http.StatusUnauthorized:
		f.Problem = "the gate wants credentials for the canary: " + c.Detail
		f.Fix = "give them with --gate https://" + placeholder + "@host:port (they are not printed), or list this node in auth.trusted_networks of the gate"
	case c.Verdict == VerdictNotAsked:
		f.Problem = "what answers is not a gate, or one that does not know the canary: " + c.Detail
		f.Fix = "expected 403 with `" + canaryWord + "` from GET " + c.URL + ": check --gate and --proxy, and update the gate"
	}
	return f
}
