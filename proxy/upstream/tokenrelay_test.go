package upstream

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// tokenRequest is a client's request as the gate receives it.
func tokenRequest(t *testing.T, method, target, header string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, nil)
	if header != "" {
		r.Header.Set("Authorization", header)
	}
	r.Header.Set("Cookie", "a=b")
	r.Header.Set("X-Forwarded-For", "10.0.0.1")
	return r
}

// relayable is a registry that hands out tokens at path itself.
func relayable(t *testing.T, path string, tokens http.HandlerFunc) *server {
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s%s",service="reg"`, r.Host, path))
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		tokens(w, r)
	})
}

func TestTokenRelay(t *testing.T) {
	var form string
	reg := relayable(t, "/v2/auth", func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		form = string(b)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Set-Cookie", "session=1")
		w.WriteHeader(map[bool]int{true: 401, false: 200}[r.Header.Get("Authorization") == ""])
		io.WriteString(w, `{"token":"t"}`)
	})
	clk := &clock{}
	o := clientOptions(t, reg.URL)
	o.seams.now = clk.now
	c := open(t, o)
	if !c.RelaysToken(t.Context(), "r.example", "/v2/auth") {
		t.Fatal("the registry's own realm is not relayed to")
	}
	get := tokenRequest(t, "GET", "/v2/auth?service=reg&scope=repository:a/b:pull&scope=repository:c:pull&account=ann", basic("ann", "pw"))
	a, err := c.Token(t.Context(), "r.example", get)
	if err != nil {
		t.Fatal(err)
	}
	if a.Status != 200 || a.ContentType != "application/json" || string(a.Body) != `{"token":"t"}` {
		t.Errorf("answer %+v", a)
	}
	post := tokenRequest(t, "POST", "/v2/auth", "")
	post.Header.Set("Content-Type", formType+"; charset=utf-8")
	post.Body = io.NopCloser(strings.NewReader("grant_type=password&username=ann&password=pw"))
	if a, err = c.Token(as(t, "Bearer not-for-this"), "r.example", post); err != nil || a.Status != 401 {
		t.Errorf("got %+v, %v", a, err)
	}
	if form != "grant_type=password&username=ann&password=pw" {
		t.Errorf("form %q", form)
	}
	reg.wantRequests(t, "GET /v2/", "GET /v2/auth", "POST /v2/auth")
	if got := reg.headers("Authorization"); !slices.Equal(got, []string{"", basic("ann", "pw"), ""}) {
		t.Errorf("Authorization %q", got)
	}
	if got := reg.seen[1].URL.Query(); !slices.Equal(got["scope"], []string{"repository:a/b:pull", "repository:c:pull"}) || got.Get("account") != "ann" {
		t.Errorf("query %v", got)
	}
	for _, name := range []string{"Cookie", "X-Forwarded-For"} {
		if got := strings.Join(reg.headers(name), ""); got != "" {
			t.Errorf("%s was passed on: %q", name, got)
		}
	}
	// The realm is asked for again when its time is over.
	clk.forward(realmLife - 1)
	c.RelaysToken(t.Context(), "r.example", "/v2/auth")
	if n := len(reg.requests()); n != 3 {
		t.Errorf("%d requests, want 3", n)
	}
	clk.forward(1)
	c.RelaysToken(t.Context(), "r.example", "/v2/auth")
	if n := len(reg.requests()); n != 4 {
		t.Errorf("%d requests, want 4", n)
	}
}

// Nothing but the very path is relayed to, and never a path of content, though a
// registry says that its tokens are there.
func TestTokenRelayGoesNowhereElse(t *testing.T) {
	tests := map[string]struct{ realm, ask string }{
		"another path":        {"/v2/auth", "/v2/auth2"},
		"below":               {"/v2/auth", "/v2/auth/x"},
		"above":               {"/v2/auth", "/v2"},
		"dots":                {"/v2/auth", "/v2/x/../auth"},
		"escaped":             {"/v2/auth", "/v2%2fauth"},
		"escaped as it is":    {"/v2/auth", "/v2/%61uth"},
		"upper case":          {"/v2/auth", "/V2/AUTH"},
		"dots in the realm":   {"/a/../token", "/a/../token"},
		"doubled":             {"/v2/auth", "//v2/auth"},
		"slash":               {"/v2/auth", "/v2/auth/"},
		"the base":            {"/v2/", "/v2/"},
		"a manifest":          {"/v2/x/manifests/v1", "/v2/x/manifests/v1"},
		"a manifest, oddly":   {"/v2/x/Manifests/v1", "/v2/x/Manifests/v1"},
		"a manifest, escaped": {"/v2/x/manifest%73/v1", "/v2/x/manifest%73/v1"},
		"a manifest by dots":  {"/token/../v2/x/manifests/v1", "/token/../v2/x/manifests/v1"},
		"a blob":              {"/v2/x/blobs/sha256:0", "/v2/x/blobs/sha256:0"},
		"another content":     {"/v2/auth", "/v2/x/manifests/v1"},
		"tags":                {"/v2/x/tags/list", "/v2/x/tags/list"},
		"a root":              {"/", "/"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			reg := relayable(t, tt.realm, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "{}") })
			c := open(t, clientOptions(t, reg.URL))
			r := tokenRequest(t, "GET", "http://r.example"+tt.ask, "")
			if c.RelaysToken(t.Context(), "r.example", r.URL.Path) && r.URL.RawPath == "" && r.URL.EscapedPath() == tt.ask {
				t.Error("a path is relayed to that must not be")
			}
			if tt.ask == "/v2/%61uth" { // the same path, written otherwise
				return
			}
			_, err := c.Token(t.Context(), "r.example", r)
			wantKind(t, err, NotServed)
			for _, asked := range reg.requests() {
				if asked != "GET /v2/" {
					t.Errorf("the registry was asked %q", asked)
				}
			}
		})
	}
}

// Realms elsewhere are not the gate's to go to: clients reach them themselves.
func TestTokenRelayIsForOwnRealmsOnly(t *testing.T) {
	thief := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token"`, r.URL.Query().Get("at")))
		w.WriteHeader(http.StatusUnauthorized)
	})
	answers := map[string]http.HandlerFunc{
		"another port": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+thief.URL+`/token"`)
			w.WriteHeader(401)
		},
		"another scheme": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="https://`+r.Host+`/token"`)
			w.WriteHeader(401)
		},
		"another host's challenge": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, thief.URL+"/?at="+r.Host, http.StatusFound)
		},
		"no challenge": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(401) },
		"basic": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("WWW-Authenticate", `Basic realm="http://`+r.Host+`/token"`)
			w.WriteHeader(401)
		},
		"no login": func(w http.ResponseWriter, r *http.Request) {},
		"down":     func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(503) },
	}
	for name, h := range answers {
		t.Run(name, func(t *testing.T) {
			reg := serve(t, h)
			c := open(t, clientOptions(t, reg.URL))
			if c.RelaysToken(t.Context(), "r.example", "/token") {
				t.Error("relayed")
			}
			if _, err := c.Token(t.Context(), "r.example", tokenRequest(t, "GET", "/token", basic("ann", "pw"))); err == nil {
				t.Error("relayed")
			}
			for _, s := range []*server{reg, thief} {
				if strings.Join(s.headers("Authorization"), "") != "" {
					t.Error("the client's password was passed on")
				}
			}
		})
	}
	// Neither are registries that the gate has its own credentials for.
	reg := relayable(t, "/token", func(w http.ResponseWriter, r *http.Request) {})
	c := open(t, options(reg.URL))
	if c.RelaysToken(t.Context(), "r.example", "/token") {
		t.Error("relayed")
	}
	_, err := c.Token(t.Context(), "r.example", tokenRequest(t, "GET", "/token", ""))
	wantKind(t, err, NotServed)
	reg.wantRequests(t)
}

func TestTokenRequestsThatAreRefused(t *testing.T) {
	reg := relayable(t, "/token", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "{}") })
	c := open(t, clientOptions(t, reg.URL))
	post := func(kind string, size int) func(*http.Request) {
		return func(r *http.Request) {
			r.Method = "POST"
			r.Header.Set("Content-Type", kind)
			r.Body = io.NopCloser(strings.NewReader(strings.Repeat("s", size)))
		}
	}
	tests := map[string]struct {
		change func(*http.Request)
		ok     bool
	}{
		"as it is":       {func(r *http.Request) {}, true},
		"a form":         {post(formType, maxTokenForm), true},
		"a longer form":  {post(formType, maxTokenForm+1), false},
		"no form":        {post("application/json", 2), false},
		"another method": {func(r *http.Request) { r.Method = "PUT" }, false},
		"HEAD":           {func(r *http.Request) { r.Method = "HEAD" }, false},
		"two logins":     {func(r *http.Request) { r.Header.Add("Authorization", "Basic x") }, false},
		"another scheme": {func(r *http.Request) { r.Header.Set("Authorization", "Negotiate s3cr3t") }, false},
		"two lines":      {func(r *http.Request) { r.Header.Set("Authorization", "Basic s3cr3t\r\nX: y") }, false},
		"a long query":   {func(r *http.Request) { r.URL.RawQuery = strings.Repeat("s", maxTokenQuery+1) }, false},
		"a bad query":    {func(r *http.Request) { r.URL.RawQuery = "a=%zz" }, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := tokenRequest(t, "GET", "/token", "Basic s3cr3t")
			tt.change(r)
			before := len(reg.requests())
			_, err := c.Token(t.Context(), "r.example", r)
			if tt.ok {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if wantKind(t, err, Forbidden); strings.Contains(err.Error(), "s3cr3t") {
				t.Error(err)
			}
			for _, asked := range reg.requests()[before:] {
				if asked != "GET /v2/" {
					t.Errorf("the registry was asked %q", asked)
				}
			}
		})
	}
}

func TestTokenAnswersThatAreRefused(t *testing.T) {
	elsewhere := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "{}") })
	tests := map[string]struct {
		h    http.HandlerFunc
		want Kind // -1: passed on
	}{
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}, Refused},
		"a long answer": {func(w http.ResponseWriter, r *http.Request) { w.Write(make([]byte, maxTokenAnswer+1)) }, Invalid},
		"the longest":   {func(w http.ResponseWriter, r *http.Request) { w.Write(make([]byte, maxTokenAnswer)) }, -1},
		"encoded":       {func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Content-Encoding", "gzip") }, Invalid},
		"slow": {func(w http.ResponseWriter, r *http.Request) {
			w.Write([]byte("x"))
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, Unavailable},
		"a refusal":        {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(403) }, -1},
		"an outage":        {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) }, -1},
		"a long type":      {func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Content-Type", strings.Repeat("x", 300)) }, -1},
		"a type not ASCII": {func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Content-Type", "\xff") }, -1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			reg := relayable(t, "/token", tt.h)
			o := clientOptions(t, reg.URL)
			if name == "slow" { // the others must not be cut off on a busy machine
				o.BodyTimeout = 100 * time.Millisecond
			}
			a, err := open(t, o).Token(t.Context(), "r.example", tokenRequest(t, "GET", "/token", basic("ann", "pw")))
			if tt.want >= 0 {
				wantKind(t, err, tt.want)
			} else if err != nil {
				t.Error(err)
			} else if strings.Contains(name, "type") && a.ContentType != "" {
				t.Errorf("type %.20q", a.ContentType)
			}
		})
	}
	elsewhere.wantRequests(t)
}
