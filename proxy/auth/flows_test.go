package auth

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"oras.land/oras-go/v2/registry/remote/auth"
)

func TestDockerLoginAndPull(t *testing.T) {
	w := newWorld(t, withTokens)
	ping := w.get("/v2/")
	realm, service := challenged(t, ping, "realm"), challenged(t, ping, "service")
	if realm != w.srv.URL+"/token" || service != "pullgate" || challenged(t, ping, "scope") != "" || challenged(t, ping, "error") != "" {
		t.Fatalf("challenge of /v2/: %s", ping.challenge)
	}
	// docker login
	login := w.token(w.get("/token?account=alice&client_id=docker&offline_token=true&service="+service, basic("alice", "wonderland")))
	if login.Scope != "" || login.RefreshToken == "" || login.ExpiresIn != 300 {
		t.Errorf("login: %+v", login)
	}
	if issued, err := time.Parse(time.RFC3339, login.IssuedAt); err != nil || w.now().Sub(issued) > time.Minute {
		t.Errorf("issued_at %q: %v", login.IssuedAt, err)
	}
	w.want(w.get("/v2/", bearer(login.Token)), http.StatusOK, "user:alice")
	w.want(w.get(nginx, bearer(login.Token)), http.StatusUnauthorized, `error="insufficient_scope"`)
	w.want(w.get("/token?account=alice&service="+service, basic("alice", "wrong")), http.StatusUnauthorized, "is wrong")
	// docker pull, with the identity token that login stored
	resource := w.get(nginx)
	scope := challenged(t, resource, "scope")
	if scope != "repository:docker.io/library/nginx:pull" {
		t.Fatalf("challenge of a manifest: %s", resource.challenge)
	}
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {login.RefreshToken}, "service": {service}, "client_id": {"docker"}, "scope": {scope}}
	pull := w.token(w.post("/token", form))
	if pull.Scope != scope || pull.RefreshToken != "" {
		t.Errorf("pull: %+v", pull)
	}
	w.want(w.get(nginx, bearer(pull.Token)), http.StatusOK, "user:alice")
	// docker pull with a password
	plain := w.token(w.get("/token?account=alice&scope="+url.QueryEscape(scope)+"&service="+service, basic("alice", "wonderland")))
	w.want(w.get(nginx, bearer(plain.Token)), http.StatusOK, "user:alice")
	if plain.RefreshToken != "" {
		t.Error("a refresh token that nobody asked for")
	}
	// and with the password on the resource itself
	w.want(w.get(nginx, basic("bob", "builder")), http.StatusOK, "user:bob")
}

func TestContainerdPost(t *testing.T) {
	w := newWorld(t, withTokens)
	form := url.Values{"grant_type": {"password"}, "username": {"bob"}, "password": {"builder"}, "service": {"pullgate"},
		"client_id": {"containerd-client"}, "scope": {"repository:docker.io/team/app:pull repository:docker.io/library/nginx:pull"}}
	got := w.token(w.post("/token", form))
	if got.Scope != form.Get("scope") || got.RefreshToken != "" {
		t.Errorf("%+v", got)
	}
	for _, path := range []string{team, nginx} {
		w.want(w.get(path, bearer(got.Token)), http.StatusOK, "user:bob")
	}
	form.Set("access_type", "offline")
	if w.token(w.post("/token", form)).RefreshToken == "" {
		t.Error("no refresh token with access_type=offline")
	}
	form.Set("password", "wrong")
	w.want(w.post("/token", form), http.StatusUnauthorized, `"invalid_grant"`)
	form.Set("username", "nobody")
	w.want(w.post("/token", form), http.StatusUnauthorized, `"invalid_grant"`)
	form.Set("grant_type", "client_credentials")
	w.want(w.post("/token", form), http.StatusBadRequest, `"unsupported_grant_type"`)
}

// A kept client, with Docker's GET and with OAuth's POST.
func TestLibraryClient(t *testing.T) {
	for _, oauth := range []bool{false, true} {
		w := newWorld(t, withTokens)
		c := &auth.Client{Cache: auth.NewCache(), ForceAttemptOAuth2: oauth, Credential: func(context.Context, string) (auth.Credential, error) {
			return auth.Credential{Username: "alice", Password: "wonderland"}, nil
		}}
		for _, path := range []string{"/v2/", nginx, team, nginx} {
			req, _ := http.NewRequest(http.MethodGet, w.srv.URL+path, nil)
			resp, err := c.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Errorf("oauth %v %s: %d", oauth, path, resp.StatusCode)
			}
		}
	}
}

// podman login and a pull by a name that the place gives the registry of.
func TestPlaceWithRegistry(t *testing.T) {
	w := newWorld(t, withTokens)
	at := header("Registry", "registry.example.com:5000")
	ping := w.get("/v2/", at)
	if realm := challenged(t, ping, "realm"); realm != w.srv.URL+"/token/registry.example.com:5000" {
		t.Fatalf("realm %s", realm)
	}
	path := "/v2/team/app/manifests/1"
	if scope := challenged(t, w.get(path, at), "scope"); scope != "repository:team/app:pull" {
		t.Fatalf("scope %s", scope)
	}
	got := w.token(w.get("/token/registry.example.com:5000?account=alice&scope=repository:team/app:pull", basic("alice", "wonderland")))
	w.want(w.get(path, at, bearer(got.Token)), http.StatusOK, "user:alice")
	c, err := w.a.current().key.read(got.Token, useAccess)
	if err != nil || c.repositories()[0] != "registry.example.com:5000/team/app" {
		t.Errorf("%+v %v", c, err)
	}
	// The same path elsewhere is another repository.
	w.want(w.get(path, header("Registry", "quay.io"), bearer(got.Token)), http.StatusUnauthorized, "insufficient_scope")
}

func TestRealm(t *testing.T) {
	for _, c := range []struct{ realm, want string }{
		{"https://gate.example", "https://gate.example/token"},
		{"https://gate.example/", "https://gate.example/token"},
		{"https://gate.example:8443/auth/token/", "https://gate.example:8443/auth/token"},
		{"http://[::1]:5000/token", "http://[::1]:5000/token"},
	} {
		w := newWorld(t, func(o *Options) { withTokens(o); o.Token.Realm = c.realm; o.Token.Service = "my gate" })
		if got := challenged(t, w.get("/v2/"), "realm"); got != c.want {
			t.Errorf("%s: %s", c.realm, got)
		}
		if got := challenged(t, w.get("/v2/", header("Registry", "docker.io")), "realm"); got != c.want+"/docker.io" {
			t.Errorf("%s: %s", c.realm, got)
		}
	}
	w := newWorld(t, func(o *Options) { withTokens(o); o.TrustedProxies = prefixes("127.0.0.1/32") })
	if got := challenged(t, w.get("/v2/", header("X-Forwarded-Proto", "https")), "realm"); !strings.HasPrefix(got, "https://") {
		t.Errorf("behind a proxy with TLS the realm is %s", got)
	}
	w = newWorld(t, withTokens)
	if got := challenged(t, w.get("/v2/", header("X-Forwarded-Proto", "https")), "realm"); !strings.HasPrefix(got, "http://") {
		t.Errorf("a client chose the scheme of the realm: %s", got)
	}
}

func TestBasicOnly(t *testing.T) {
	w := newWorld(t, nil)
	w.want(w.get("/v2/"), http.StatusUnauthorized, `Basic realm="pullgate"`)
	w.want(w.get(nginx, basic("alice", "wonderland")), http.StatusOK, "user:alice")
	for _, c := range [][2]string{{"alice", "builder"}, {"nobody", "wonderland"}, {"", "wonderland"}, {"alice", ""}} {
		w.want(w.get(nginx, basic(c[0], c[1])), http.StatusUnauthorized, `Basic realm="pullgate"`)
	}
	w.want(w.get("/token", basic("alice", "wonderland")), http.StatusNotFound, "no tokens")
	w.want(w.get(nginx, bearer("a.b.c")), http.StatusUnauthorized, "issues no tokens")
}

func TestOff(t *testing.T) {
	w := newWorld(t, func(o *Options) { *o = Options{TrustedProxies: prefixes("192.0.2.0/24")} })
	if w.a.Enabled() {
		t.Error("enabled by trusted proxies alone")
	}
	w.want(w.get(nginx, basic("whoever", "whatever")), http.StatusOK, "")
	id, err := w.a.IdentifyProxy(&http.Request{})
	if err != nil || id.Kind != Anonymous || id.String() != "" {
		t.Errorf("%+v %v", id, err)
	}
}

// The zero value and nobody get nothing.
func TestZeroDenies(t *testing.T) {
	repo := named(t, "docker.io/library/nginx")
	for _, a := range []*Authority{nil, {}} {
		r := &http.Request{RemoteAddr: "127.0.0.1:1", Header: http.Header{}, URL: &url.URL{Path: "/token"}, Method: http.MethodGet}
		r.SetBasicAuth("alice", "wonderland")
		if id, err := a.Identify(r, Place{}); err == nil || id.Kind != "" || !a.Enabled() {
			t.Errorf("identified %+v", id)
		}
		if id, err := a.IdentifyProxy(r); err == nil || id.Kind != "" {
			t.Errorf("identified %+v", id)
		}
		for _, k := range []Kind{"", User, Certificate, Network, Anonymous} {
			if a.May(Identity{Kind: k, Name: "alice"}, repo) == nil {
				t.Errorf("kind %q may pull", k)
			}
		}
	}
	w := newWorld(t, nil)
	for _, id := range []Identity{{}, {Kind: Anonymous}, {Name: "alice"}, {Kind: "root", Name: "alice"}} {
		if w.a.May(id, repo) == nil {
			t.Errorf("%+v may pull", id)
		}
	}
	if w.a.May(Identity{Kind: User, Name: "alice"}, nil) == nil {
		t.Error("a repository without a name may be pulled")
	}
}

func TestMirrorIsNotChallenged(t *testing.T) {
	w := newWorld(t, withTokens)
	mirror := header("Mirror", "1")
	for _, o := range []option{header("X", "y"), basic("alice", "wrong"), bearer("a.b.c"), bearer(w.tokenFor("repository:docker.io/team/app:pull"))} {
		if got := w.get(nginx, mirror, o); got.status != http.StatusForbidden || got.challenge != "" {
			t.Errorf("%+v", got)
		}
	}
}

func TestAuthorizationOfTheUpstream(t *testing.T) {
	w := newWorld(t, func(o *Options) { withTokens(o); o.TrustedNetworks = prefixes("127.0.0.0/8") })
	w.want(w.get(nginx, header("Pass-Through", "1"), basic("their", "own")), http.StatusOK, "network:127.0.0.1")
	w = newWorld(t, withTokens)
	if got := w.get(nginx, header("Pass-Through", "1"), basic("alice", "wonderland")); got.status != http.StatusForbidden || got.challenge != "" {
		t.Errorf("%+v", got)
	}
}

func TestTrustedNetworks(t *testing.T) {
	w := newWorld(t, func(o *Options) { withTokens(o); o.TrustedNetworks = prefixes("127.0.0.0/8") })
	w.want(w.get(nginx), http.StatusOK, "network:127.0.0.1")
	w.want(w.get(nginx, basic("bob", "builder")), http.StatusOK, "user:bob")
	w.want(w.get(nginx, basic("bob", "wrong")), http.StatusUnauthorized, "is wrong")
	w.want(w.get("/token", basic("bob", "wrong")), http.StatusUnauthorized, "is wrong")
	got := w.token(w.get("/token?offline_token=true&scope=repository:docker.io/library/nginx:pull"))
	if got.RefreshToken != "" {
		t.Error("a network got a refresh token")
	}
	w.want(w.get(nginx, bearer(got.Token)), http.StatusOK, "network:127.0.0.1")
	w.want(w.get(team, bearer(got.Token)), http.StatusUnauthorized, "insufficient_scope")
	// Carried out of the network the token is worth nothing.
	w.a.opts.TrustedNetworks = prefixes("192.0.2.0/24")
	w.want(w.get(nginx, bearer(got.Token)), http.StatusUnauthorized, "invalid_token")
	w.want(w.get("/token"), http.StatusUnauthorized, "trusted network")
}

func TestNetworksOnly(t *testing.T) {
	w := newWorld(t, func(o *Options) { *o = Options{TrustedNetworks: prefixes("127.0.0.0/8")} })
	w.want(w.get(nginx, basic("any", "thing")), http.StatusOK, "network:127.0.0.1")
	w = newWorld(t, func(o *Options) { *o = Options{TrustedNetworks: prefixes("192.0.2.0/24")} })
	if got := w.get(nginx); got.status != http.StatusForbidden || got.challenge != "" {
		t.Errorf("nothing can be asked for: %+v", got)
	}
	r := &http.Request{RemoteAddr: "127.0.0.1:1"}
	if _, err := w.a.IdentifyProxy(r); refusalOf(err).Status != http.StatusForbidden {
		t.Errorf("%v", err)
	}
}

func TestProxyAuthorization(t *testing.T) {
	w := newWorld(t, func(o *Options) { withTokens(o); o.TrustedNetworks = prefixes("192.0.2.0/24") })
	ask := func(remote string, values ...string) (Identity, *Refusal) {
		r := &http.Request{RemoteAddr: remote, Header: http.Header{}}
		r.Header["Proxy-Authorization"] = values
		if values == nil {
			r.Header.Del("Proxy-Authorization")
		}
		r.Header.Set("Authorization", "Basic never:looked-at")
		id, err := w.a.IdentifyProxy(r)
		return id, refusalOf(err)
	}
	encoded := func(user, password string) string {
		r := &http.Request{Header: http.Header{}}
		r.SetBasicAuth(user, password)
		return r.Header.Get("Authorization")
	}
	if id, _ := ask("10.0.0.1:1", encoded("alice", "wonderland")); id.String() != "user:alice" {
		t.Errorf("%+v", id)
	}
	if id, _ := ask("192.0.2.1:1"); id.String() != "network:192.0.2.1" {
		t.Errorf("%+v", id)
	}
	for name, values := range map[string][]string{
		"none": nil, "wrong": {encoded("alice", "x")}, "twice": {encoded("alice", "wonderland"), encoded("alice", "wonderland")},
		"token": {"Bearer " + w.tokenFor()}, "garbage": {"Basic %%%"}, "empty": {""},
	} {
		if _, e := ask("10.0.0.1:1", values...); e.Status != http.StatusProxyAuthRequired || e.Challenge != `Basic realm="pullgate"` {
			t.Errorf("%s: %+v", name, e)
		}
	}
	if _, e := ask("192.0.2.1:1", encoded("alice", "x")); e.Status != http.StatusProxyAuthRequired {
		t.Errorf("a wrong password from a trusted network: %+v", e)
	}
}
