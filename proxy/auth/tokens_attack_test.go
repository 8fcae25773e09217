package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// good returns claims of a token that passes for nginx.
func (w *world) good() claims {
	s := w.a.current()
	return claims{
		RegisteredClaims: jwt.RegisteredClaims{Issuer: issuer, Subject: "alice", Audience: jwt.ClaimStrings{"pullgate"},
			ExpiresAt: jwt.NewNumericDate(w.now().Add(time.Minute)), NotBefore: jwt.NewNumericDate(w.now().Add(-time.Second)), IssuedAt: jwt.NewNumericDate(w.now())},
		Use: useAccess, Kind: User, Bind: s.key.bind("alice", s.users.hashes["alice"]),
		Access: []access{{"repository", "docker.io/library/nginx", []string{"pull"}}},
	}
}

func sign(t *testing.T, method jwt.SigningMethod, key any, c claims) string {
	t.Helper()
	s, err := jwt.NewWithClaims(method, &c).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// es384 signs as ES384 does, with the key that is for ES256.
func (w *world) es384(c claims) string {
	w.t.Helper()
	text, err := jwt.NewWithClaims(jwt.SigningMethodES384, &c).SigningString()
	if err != nil {
		w.t.Fatal(err)
	}
	sum := sha512.Sum384([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, w.key(), sum[:])
	if err != nil {
		w.t.Fatal(err)
	}
	sig := make([]byte, 96)
	r.FillBytes(sig[:48])
	s.FillBytes(sig[48:])
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func ecKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestForgedTokens(t *testing.T) {
	w := newWorld(t, withTokens)
	es256, own := jwt.SigningMethodES256, w.key()
	w.want(w.get(nginx, bearer(sign(t, es256, own, w.good()))), http.StatusOK, "user:alice")

	public, err := x509.MarshalPKIXPublicKey(&own.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	signed := sign(t, es256, own, w.good())
	parts := strings.Split(signed, ".")
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + parts[1] + "."
	edited := func(edit func(*claims)) string {
		c := w.good()
		edit(&c)
		return sign(t, es256, own, c)
	}
	for name, token := range map[string]string{
		"alg none":                sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, w.good()),
		"alg none, own claims":    none,
		"no signature":            parts[0] + "." + parts[1] + ".",
		"HS256 with public key":   sign(t, jwt.SigningMethodHS256, publicPEM, w.good()),
		"HS256 with DER":          sign(t, jwt.SigningMethodHS256, public, w.good()),
		"another key":             sign(t, es256, ecKey(t, elliptic.P256()), w.good()),
		"another curve":           sign(t, jwt.SigningMethodES384, ecKey(t, elliptic.P384()), w.good()),
		"ES384 with this key":     w.es384(w.good()),
		"trailing bits":           signed[:len(signed)-1] + string(rune(signed[len(signed)-1])+1),
		"another service":         edited(func(c *claims) { c.Audience = jwt.ClaimStrings{"other"} }),
		"several services":        edited(func(c *claims) { c.Audience = jwt.ClaimStrings{"other", "pullgate"} }),
		"no service":              edited(func(c *claims) { c.Audience = nil }),
		"another issuer":          edited(func(c *claims) { c.Issuer = "else" }),
		"expired":                 edited(func(c *claims) { c.ExpiresAt = jwt.NewNumericDate(w.now().Add(-time.Second)) }),
		"without expiry":          edited(func(c *claims) { c.ExpiresAt = nil }),
		"not yet":                 edited(func(c *claims) { c.NotBefore = jwt.NewNumericDate(w.now().Add(2 * time.Second)) }),
		"without nbf":             edited(func(c *claims) { c.NotBefore = nil }),
		"refresh token":           edited(func(c *claims) { c.Use = useRefresh }),
		"without use":             edited(func(c *claims) { c.Use = "" }),
		"another user":            edited(func(c *claims) { c.Subject = "bob" }),
		"unknown user":            edited(func(c *claims) { c.Subject = "mallory" }),
		"no user":                 edited(func(c *claims) { c.Subject = "" }),
		"another password":        edited(func(c *claims) { c.Bind = w.a.current().key.bind("alice", "$2y$05$other") }),
		"no binding":              edited(func(c *claims) { c.Bind = "" }),
		"certificate, none shown": edited(func(c *claims) { c.Kind = Certificate }),
		"network, in none":        edited(func(c *claims) { c.Kind = Network }),
		"anonymous":               edited(func(c *claims) { c.Kind = Anonymous }),
		"kind of nobody":          edited(func(c *claims) { c.Kind = "" }),
		"not a token":             "x",
		"padding":                 signed + "=",
	} {
		got := w.get(nginx, bearer(token))
		if challenged(t, got, "error") != "invalid_token" {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for name, c := range map[string]access{
		"push":          {"repository", "docker.io/library/nginx", []string{"push"}},
		"pull and push": {"repository", "docker.io/library/nginx", []string{"pull", "push"}},
		"every action":  {"repository", "docker.io/library/nginx", []string{"*"}},
		"registry":      {"registry", "docker.io/library/nginx", []string{"pull"}},
		"beginning":     {"repository", "docker.io/library/ngin", []string{"pull"}},
		"parent":        {"repository", "docker.io/library", []string{"pull"}},
		"star":          {"repository", "*", []string{"pull"}},
	} {
		got := w.get(nginx, bearer(edited(func(cl *claims) { cl.Access = []access{c} })))
		if challenged(t, got, "error") != "insufficient_scope" {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestTokenForAnotherRepository(t *testing.T) {
	w := newWorld(t, withTokens)
	token := w.tokenFor("repository:docker.io/team/app:pull")
	w.want(w.get(team, bearer(token)), http.StatusOK, "user:alice")
	for _, path := range []string{quay, nginx, "/v2/docker.io/team/app2/manifests/1", "/v2/docker.io/team/manifests/1", "/v2/docker.io/team/app/sub/manifests/1"} {
		got := w.get(path, bearer(token))
		name := strings.TrimSuffix(strings.TrimPrefix(path, "/v2/"), "/manifests/1")
		if challenged(t, got, "error") != "insufficient_scope" || challenged(t, got, "scope") != "repository:"+name+":pull" {
			t.Errorf("%s: %+v", path, got)
		}
	}
}

func TestRefreshTokens(t *testing.T) {
	w := newWorld(t, withTokens)
	login := func() string {
		return w.token(w.get("/token?offline_token=true", basic("alice", "wonderland"))).RefreshToken
	}
	form := func(token string) url.Values {
		return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}, "scope": {"repository:docker.io/library/nginx:pull"}}
	}
	first := login()
	access := w.token(w.post("/token", form(first))).Token
	w.want(w.get(nginx, bearer(access)), http.StatusOK, "user:alice")
	w.want(w.get(nginx, bearer(first)), http.StatusUnauthorized, "invalid_token")
	w.want(w.post("/token", form(access)), http.StatusUnauthorized, "log in again")
	w.want(w.post("/token", form("")), http.StatusUnauthorized, "log in again")

	w.pass(refreshLife - time.Second)
	w.want(w.post("/token", form(first)), http.StatusOK, "access_token")
	w.pass(2 * time.Second)
	w.want(w.post("/token", form(first)), http.StatusUnauthorized, "expired")

	second := login()
	access = w.token(w.post("/token", form(second))).Token
	w.write("htpasswd", hashed(t, "alice", "wonderland")+hashed(t, "bob", "builder")) // set again: another salt
	if err := w.a.Reload(); err != nil {
		t.Fatal(err)
	}
	w.want(w.post("/token", form(second)), http.StatusUnauthorized, "no longer has")
	w.want(w.get(nginx, bearer(access)), http.StatusUnauthorized, "invalid_token")

	third := login()
	w.write("htpasswd", hashed(t, "bob", "builder"))
	if err := w.a.Reload(); err != nil {
		t.Fatal(err)
	}
	w.want(w.post("/token", form(third)), http.StatusUnauthorized, "no longer has")
}

func TestScopeEscalation(t *testing.T) {
	w := newWorld(t, func(o *Options) {
		withTokens(o)
		o.Rules = []Rule{{Users: []string{"alice"}, Scopes: []string{"docker.io/team", "quay.io"}}}
	})
	for scope, want := range map[string][]string{
		"repository:docker.io/team/app:pull,push,delete":  {"docker.io/team/app"},
		"repository:docker.io/team/app:*":                 nil,
		"repository:docker.io/team/app:push":              nil,
		"repository:docker.io/team/app:":                  nil,
		"repository:docker.io/team/app:PULL":              nil,
		"repository:*:pull":                               nil,
		"repository:docker.io/*:pull":                     nil,
		"repository:docker.io/library/nginx:pull":         nil,
		"repository:docker.io/team/../library/nginx:pull": nil,
		"repository:docker.io/team/app@x:pull":            nil,
		"repository:docker.io/team/app:latest:pull":       nil,
		"repository(plugin):docker.io/team/app:pull":      nil,
		"registry:catalog:*":                              nil,
		"registry:docker.io/team/app:pull":                nil,
		"":                                                nil,
		"repository:docker.io/team/app:pull repository:quay.io/x/y:pull repository:docker.io/team/app:pull": {"docker.io/team/app", "quay.io/x/y"},
	} {
		got := w.tokenFor(scope)
		c, err := w.a.current().key.read(got, useAccess)
		if err != nil || strings.Join(c.repositories(), " ") != strings.Join(want, " ") {
			t.Errorf("%s: %+v %v, expected %v", scope, c.Access, err, want)
		}
	}
	w.want(w.get(nginx, bearer(w.tokenFor("repository:docker.io/library/nginx:pull"))), http.StatusForbidden, "user:alice may not pull from docker.io/library/nginx")
	bob := w.token(w.get("/token?scope=repository:docker.io/team/app:pull", basic("bob", "builder")))
	if bob.Scope != "" {
		t.Errorf("bob got %s", bob.Scope)
	}
	w.want(w.get(team, bearer(bob.Token)), http.StatusForbidden, "user:bob may not pull")
	for name, query := range map[string]string{
		"too many":          strings.Repeat("scope=repository:a:pull&", 17),
		"too many, in one":  "scope=" + strings.Repeat("repository:a:pull+", 17),
		"not a scope":       "scope=everything",
		"no name":           "scope=repository::pull",
		"long":              "scope=repository:" + strings.Repeat("a", maxScope) + ":pull",
		"service twice":     "service=pullgate&service=other",
		"another service":   "service=other",
		"account twice":     "account=a&account=b",
		"large":             "x=" + strings.Repeat("a", maxForm),
		"not a query":       "scope=%zz",
		"semicolon":         "service=pullgate;service=other",
		"large, with space": "scope=" + strings.Repeat("+", maxForm),
	} {
		if got := w.get("/token?"+query, basic("alice", "wonderland")); got.status != http.StatusBadRequest {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestTokenForms(t *testing.T) {
	w := newWorld(t, withTokens)
	good := func() url.Values {
		return url.Values{"grant_type": {"password"}, "username": {"alice"}, "password": {"wonderland"}}
	}
	w.want(w.post("/token", good()), http.StatusOK, "access_token")
	twice := good()
	twice["username"] = []string{"alice", "bob"}
	large := good()
	large.Set("x", strings.Repeat("a", maxForm))
	for name, got := range map[string]answer{
		"twice":         w.post("/token", twice),
		"large":         w.post("/token", large),
		"query as well": w.post("/token?scope=repository:a:pull", good()),
		"secret in URL": w.post("/token?"+good().Encode(), nil),
		"both":          w.post("/token", good(), basic("bob", "builder")),
		"JSON":          w.post("/token", good(), func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }),
		"no type":       w.post("/token", good(), func(r *http.Request) { r.Header.Del("Content-Type") }),
	} {
		if got.status != http.StatusBadRequest {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for _, path := range []string{"/token/", "/token/a/b", "/token/a%22b", "/token/%0d%0a", "/token/../x", "/token/docker.io/"} {
		if got := w.post(path, good()); got.status != http.StatusNotFound {
			t.Errorf("%s: %+v", path, got)
		}
	}
	w.want(w.get("/token", func(r *http.Request) { r.Method = http.MethodPut }), http.StatusMethodNotAllowed, "GET or POST")
	w.want(w.get("/token", bearer(w.tokenFor())), http.StatusUnauthorized, "expected Basic")
	w.want(w.get("/token"), http.StatusUnauthorized, `Basic realm="pullgate"`)
	w.want(w.get("/token", header("Authorization", "Basic YTpi", "Basic YWxpY2U6d29uZGVybGFuZA==")), http.StatusUnauthorized, "several")
}

// endless is a body that never ends.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	if e.read > 1<<20 {
		return 0, io.EOF
	}
	e.read += len(p)
	for i := range p {
		p[i] = 'a'
	}
	return len(p), nil
}

func TestEndlessForm(t *testing.T) {
	w := newWorld(t, withTokens)
	body := new(endless)
	r := httptest.NewRequest(http.MethodPost, "/token", body)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	rec := httptest.NewRecorder()
	w.a.ServeToken(rec, r)
	if rec.Code != http.StatusBadRequest || body.read > 4*maxForm {
		t.Errorf("%d after %d bytes", rec.Code, body.read)
	}
}

func TestGatesShareAKey(t *testing.T) {
	one := newWorld(t, withTokens)
	two := newWorld(t, func(o *Options) {
		o.HtpasswdFile = filepath.Join(one.dir, "htpasswd")
		withTokens(o)
	})
	two.want(two.get(nginx, bearer(one.tokenFor("repository:docker.io/library/nginx:pull"))), http.StatusOK, "user:alice")
	three := newWorld(t, func(o *Options) {
		o.HtpasswdFile = filepath.Join(one.dir, "htpasswd")
		withTokens(o)
		o.Token.Service = "other"
	})
	three.want(three.get(nginx, bearer(one.tokenFor("repository:docker.io/library/nginx:pull"))), http.StatusUnauthorized, "invalid_token")
}

// Nothing that a client sends may leave the parameter of the challenge it stands in.
func TestChallengeInjection(t *testing.T) {
	w := newWorld(t, withTokens)
	for _, host := range []string{`x",realm="http://evil.example`, "x\r\nSet-Cookie: a=b", "x\"", "a b", "", "x/y", "user@x", "x\\", "x,y", strings.Repeat("a", 300), "[::1", "x:1:2", "é"} {
		r := &http.Request{Host: host, URL: &url.URL{Path: "/v2/"}, Header: http.Header{}, RemoteAddr: "10.0.0.1:1"}
		_, err := w.a.Identify(r, Place{})
		if e := refusalOf(err); e.Status != http.StatusBadRequest || e.Challenge != "" {
			t.Errorf("Host %q: %+v", host, e)
		}
		r.Header.Set("Authorization", "Bearer "+w.tokenFor())
		if _, err := w.a.Identify(r, Place{}); refusalOf(err).Status != http.StatusBadRequest {
			t.Errorf("Host %q with a token: %v", host, err)
		}
	}
	for _, evil := range []string{`a",error="x`, "a\r\nb", `a\`, "a b", "é", "/", strings.Repeat("a", 300)} {
		r := &http.Request{Host: "gate.example", URL: &url.URL{Path: "/v2/"}, Header: http.Header{}, RemoteAddr: "10.0.0.1:1"}
		_, err := w.a.Identify(r, Place{Registry: evil, Name: evil})
		c := refusalOf(err).Challenge
		if strings.Count(c, `"`) != 4 || strings.Count(c, " ") != 1 || strings.ContainsAny(c, "\r\n\\") {
			t.Errorf("%q: %s", evil, c)
		}
		if !strings.HasPrefix(c, `Bearer realm="http://gate.example/token/`) || !strings.HasSuffix(c, `",service="pullgate"`) {
			t.Errorf("%q: %s", evil, c)
		}
	}
}
