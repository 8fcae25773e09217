package upstream

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/distribution/reference"
)

func basic(user, pass string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+pass))
}

// login is a Credentials func for one user everywhere.
func login(user, pass, identity string) Credentials {
	return func(context.Context, reference.Named) (string, string, string, error) {
		return user, pass, identity, nil
	}
}

// bearerRegistry wants the token "for:<scope>" that its token server hands out.
func bearerRegistry(t *testing.T, realm func() string) *server {
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		name, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/manifests/")
		scope := "repository:" + name + ":pull"
		if r.Header.Get("Authorization") != "Bearer for:"+scope {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm=%q,service="reg",scope=%q`, realm(), scope))
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		io.WriteString(w, "{}")
	})
}

// tokenServer hands out tokens by the scope asked for.
func tokenServer(t *testing.T) *server {
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		token := "for:" + r.Form.Get("scope")
		fmt.Fprintf(w, `{"token":%q,"access_token":%q}`, token, token)
	})
}

func TestAnonymousBearer(t *testing.T) {
	tokens := tokenServer(t)
	reg := bearerRegistry(t, func() string { return tokens.URL + "/token" })
	c := open(t, options(reg.URL))
	for range 3 {
		if _, err := c.Manifest(t.Context(), named(t, "r.example/a/b:v1")); err != nil {
			t.Fatal(err)
		}
	}
	// One challenge, one token, which is then used at once.
	reg.wantRequests(t, slices.Repeat([]string{"GET /v2/a/b/manifests/v1"}, 4)...)
	tokens.wantRequests(t, "GET /token")
	if got := tokens.seen[0].URL.RawQuery; got != "scope=repository%3Aa%2Fb%3Apull&service=reg" {
		t.Errorf("token query %q", got)
	}
	if got := tokens.headers("Authorization"); got[0] != "" {
		t.Errorf("an anonymous client presented %q", got)
	}
	if got := tokens.headers("Accept-Encoding"); got[0] != "identity" {
		t.Errorf("Accept-Encoding of the token request: %q", got)
	}
}

func TestBearerWithPassword(t *testing.T) {
	tokens := tokenServer(t)
	reg := bearerRegistry(t, func() string { return tokens.URL + "/token" })
	o := options(reg.URL)
	o.Credentials = login("me", "secret", "")
	if _, err := open(t, o).Manifest(t.Context(), named(t, "r.example/x:v1")); err != nil {
		t.Fatal(err)
	}
	if got := tokens.headers("Authorization"); !slices.Equal(got, []string{basic("me", "secret")}) {
		t.Errorf("to the token server: %q", got)
	}
	if got := reg.headers("Authorization"); !slices.Equal(got, []string{"", "Bearer for:repository:x:pull"}) {
		t.Errorf("to the registry: %q", got)
	}
}

func TestBearerWithIdentityToken(t *testing.T) {
	var form string
	tokens := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		form = string(b)
		io.WriteString(w, `{"access_token":"for:repository:x:pull"}`)
	})
	reg := bearerRegistry(t, func() string { return tokens.URL + "/token" })
	o := options(reg.URL)
	o.Credentials = login("<token>", "", "refresh-me")
	if _, err := open(t, o).Manifest(t.Context(), named(t, "r.example/x:v1")); err != nil {
		t.Fatal(err)
	}
	tokens.wantRequests(t, "POST /token")
	if !strings.Contains(form, "grant_type=refresh_token") || !strings.Contains(form, "refresh_token=refresh-me") {
		t.Errorf("form %q", form)
	}
}

func TestBasic(t *testing.T) {
	reg := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != basic("me", "secret") {
			w.Header().Set("WWW-Authenticate", `Basic realm="reg"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		io.WriteString(w, "{}")
	})
	o := options(reg.URL)
	o.Credentials = login("me", "secret", "")
	c := open(t, o)
	for range 2 {
		if _, err := c.Manifest(t.Context(), named(t, "r.example/x:v1")); err != nil {
			t.Fatal(err)
		}
	}
	if got := reg.headers("Authorization"); !slices.Equal(got, []string{"", basic("me", "secret"), basic("me", "secret")}) {
		t.Errorf("presented %q", got)
	}

	o.Credentials = login("me", "wrong-secret", "")
	_, err := open(t, o).Manifest(t.Context(), named(t, "r.example/x:v1"))
	if e := wantKind(t, err, Refused); e.Status != 401 || strings.Contains(err.Error(), "wrong-secret") {
		t.Errorf("wrong password: %v", err)
	}
	o.Credentials = nil
	_, err = open(t, o).Manifest(t.Context(), named(t, "r.example/x:v1"))
	if e := wantKind(t, err, Refused); e.Status != 401 || !strings.Contains(err.Error(), "no credentials") {
		t.Errorf("no password: %v", err)
	}
}

// Credentials of auth.json can be for a part of a registry. What one repository
// was shown must never be presented in the name of another.
func TestCredentialsStayWithTheirRepository(t *testing.T) {
	reg := serve(t, func(w http.ResponseWriter, r *http.Request) {
		user := strings.Split(r.URL.Path, "/")[2]
		if r.Header.Get("Authorization") != basic(user, "pw") {
			w.Header().Set("WWW-Authenticate", `Basic realm="reg"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		io.WriteString(w, "{}")
	})
	o := options(reg.URL)
	o.Credentials = func(_ context.Context, repo reference.Named) (string, string, string, error) {
		time.Sleep(5 * time.Millisecond) // so that look-ups meet
		user, _, _ := strings.Cut(reference.Path(repo), "/")
		if user == "anon" {
			return "", "", "", nil
		}
		return user, "pw", "", nil
	}
	c := open(t, o)
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			user := []string{"ann", "bob"}[i%2]
			if _, err := c.Manifest(t.Context(), named(t, "r.example/"+user+"/x:v1")); err != nil {
				t.Error(err)
			}
			if _, err := c.Manifest(t.Context(), named(t, "r.example/anon/x:v1")); err == nil {
				t.Error("a repository without credentials was served")
			}
		})
	}
	wg.Wait()
	reg.mu.Lock()
	defer reg.mu.Unlock()
	for _, r := range reg.seen {
		user := strings.Split(r.URL.Path, "/")[2]
		if got := r.Header.Get("Authorization"); got != "" && got != basic(user, "pw") {
			t.Fatalf("%s: presented %q", r.URL.Path, got)
		}
	}
}

func TestTokensAreRenewed(t *testing.T) {
	var serial atomic.Int32
	tokens := serve(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"token":"t%d"}`, serial.Add(1))
	})
	reg := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != fmt.Sprintf("Bearer t%d", serial.Load()) || serial.Load() == 0 {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token"`, tokens.URL))
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		io.WriteString(w, "{}")
	})
	c := open(t, options(reg.URL))
	for range 2 {
		if _, err := c.Manifest(t.Context(), named(t, "r.example/x:v1")); err != nil {
			t.Fatal(err)
		}
		serial.Add(1) // the registry forgets the token
	}
	if n := len(tokens.requests()); n != 2 {
		t.Errorf("%d token requests, want 2", n)
	}
}

func TestOneTokenForManyClientsEvenIfTheFirstLeaves(t *testing.T) {
	arrived, answer := make(chan bool, 1), make(chan bool)
	tokens := serve(t, func(w http.ResponseWriter, r *http.Request) {
		arrived <- true
		<-answer
		fmt.Fprintf(w, `{"token":"for:%s"}`, r.FormValue("scope"))
	})
	reg := bearerRegistry(t, func() string { return tokens.URL })
	c := open(t, options(reg.URL))
	first, leave := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := c.Manifest(first, named(t, "r.example/x:v1"))
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the client that left: %v", err)
		}
	})
	<-arrived
	for range 20 {
		wg.Go(func() {
			if _, err := c.Manifest(t.Context(), named(t, "r.example/x:v1")); err != nil {
				t.Error(err)
			}
		})
	}
	for len(reg.requests()) < 21 {
		time.Sleep(time.Millisecond)
	}
	leave()
	time.Sleep(10 * time.Millisecond)
	close(answer)
	wg.Wait()
	if n := len(tokens.requests()); n != 1 {
		t.Errorf("%d token requests, want 1", n)
	}
}

// That the token server does not know something says nothing about the image:
// no answer of its may read as "not found".
func TestTokenServerFailures(t *testing.T) {
	tests := map[string]struct {
		status int
		body   string
		want   Kind
	}{
		"not found":   {404, "", Refused},
		"denied":      {401, `{"errors":[{"code":"DENIED","message":"secret-message"}]}`, Refused},
		"bad request": {400, "", Refused},
		"busy":        {429, "", TooManyRequests},
		"down":        {503, "", Unavailable},
		"no token":    {200, `{}`, Unavailable},
		"not JSON":    {200, `<html>`, Unavailable},
		"endless":     {200, `{"token":"` + strings.Repeat("x", 1<<20) + `"}`, Unavailable},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tokens := serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Retry-After", "9")
				w.WriteHeader(tt.status)
				io.WriteString(w, tt.body)
			})
			reg := bearerRegistry(t, func() string { return tokens.URL + "/token?secret=1" })
			o := options(reg.URL)
			o.Credentials = login("me", "hunter2", "")
			_, err := open(t, o).Manifest(t.Context(), named(t, "r.example/x:v1"))
			e := wantKind(t, err, tt.want)
			if tt.want == TooManyRequests && e.RetryAfter != 9*time.Second {
				t.Errorf("Retry-After of the token server: %s", e.RetryAfter)
			}
			wantNoSecrets(t, err)
			reg.wantRequests(t, "GET /v2/x/manifests/v1")
		})
	}
}

// wantNoSecrets checks that an error tells nothing that it should not.
func wantNoSecrets(t *testing.T, err error) {
	t.Helper()
	for e := err; e != nil; e = errors.Unwrap(e) {
		for _, s := range []string{"secret", "hunter2", "?", "scope=", base64.StdEncoding.EncodeToString([]byte("me:hunter2"))} {
			if strings.Contains(e.Error(), s) {
				t.Errorf("the error tells %q: %v", s, e)
			}
		}
	}
}

func TestCredentialsThatCannotBeHad(t *testing.T) {
	reg := bearerRegistry(t, func() string { return "http://127.0.0.1:1/" })
	o := options(reg.URL)
	o.Credentials = func(context.Context, reference.Named) (string, string, string, error) {
		return "", "", "", errors.New("auth file is unreadable")
	}
	_, err := open(t, o).Manifest(t.Context(), named(t, "r.example/x:v1"))
	if wantKind(t, err, Unavailable); !strings.Contains(err.Error(), "auth file is unreadable") {
		t.Error(err)
	}
	// A missing auth file is not a missing image.
	o.Credentials = func(context.Context, reference.Named) (string, string, string, error) {
		return "", "", "", fmt.Errorf("auth file: %w", fs.ErrNotExist)
	}
	_, err = open(t, o).Manifest(t.Context(), named(t, "r.example/x:v1"))
	if wantKind(t, err, Unavailable); errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v reads as a missing image", err)
	}
}

func TestChallengesInSeveralHeaders(t *testing.T) {
	tokens := tokenServer(t)
	tests := map[string][]string{
		"bearer last":  {`Negotiate`, `Basic realm="x"`, `Bearer realm="` + tokens.URL + `",scope="repository:x:pull"`},
		"bearer first": {`bearer realm="` + tokens.URL + `",scope="repository:x:pull"`, `Basic realm="x"`},
		"huge one":     {`Bearer realm="` + strings.Repeat("x", maxChallenge) + `"`, `Bearer realm="` + tokens.URL + `"`},
	}
	for name, challenges := range tests {
		t.Run(name, func(t *testing.T) {
			reg := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "Bearer for:repository:x:pull" {
					w.Header()["Www-Authenticate"] = challenges
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				io.WriteString(w, "{}")
			})
			if _, err := open(t, options(reg.URL)).Manifest(t.Context(), named(t, "r.example/x:v1")); err != nil {
				t.Error(err)
			}
		})
	}
}

// The realm is the upstream's word: it is held to the guard like any target.
func TestTokenRealmElsewhere(t *testing.T) {
	internal := tokenServer(t)
	tests := map[string]struct {
		realm string
		class class // of the upstream
		ok    bool
	}{
		"loopback names loopback": {realm: internal.URL, class: loopback, ok: true},
		"public names loopback":   {realm: internal.URL, class: public},
		"private names loopback":  {realm: internal.URL, class: private},
		"localhost":               {realm: strings.Replace(internal.URL, "127.0.0.1", "localhost", 1), class: public},
		"metadata service":        {realm: "http://169.254.169.254/latest/", class: loopback},
		"mapped metadata":         {realm: "http://[::ffff:169.254.169.254]/latest/", class: loopback},
		"file":                    {realm: "file:///etc/passwd", class: loopback},
		"gopher":                  {realm: "gopher://127.0.0.1/", class: loopback},
		"user name":               {realm: "http://user:pw@" + internal.Listener.Addr().String(), class: loopback},
		"empty":                   {realm: "", class: loopback},
		"relative":                {realm: "/token", class: loopback},
		"numbers":                 {realm: "http://2852039166/", class: loopback},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			reg := bearerRegistry(t, func() string { return tt.realm })
			o := options(reg.URL)
			o.Credentials = login("me", "hunter2", "")
			o.seams.class = classes(map[netip.AddrPort]class{reg.addr(): tt.class})
			before := len(internal.requests())
			_, err := open(t, o).Manifest(t.Context(), named(t, "r.example/x:v1"))
			if tt.ok {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil {
				t.Error("the realm was accepted")
			}
			wantNoSecrets(t, err)
			if len(internal.requests()) != before {
				t.Error("a request arrived")
			}
		})
	}
}

// The token server may send the request on, but not the password with it.
func TestPasswordsDoNotFollowRedirects(t *testing.T) {
	thief := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `{"token":"x"}`) })
	t.Run("token request", func(t *testing.T) {
		tokens := serve(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, thief.URL+"/stolen", http.StatusTemporaryRedirect)
		})
		reg := bearerRegistry(t, func() string { return tokens.URL + "/token" })
		o := options(reg.URL)
		o.Credentials = login("me", "hunter2", "")
		open(t, o).Manifest(t.Context(), named(t, "r.example/x:v1"))
		o.Credentials = login("", "", "hunter2")
		open(t, o).Manifest(t.Context(), named(t, "r.example/x:v1"))
	})
	t.Run("registry request", func(t *testing.T) {
		reg := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") == "" {
				w.Header().Set("WWW-Authenticate", `Basic realm="reg"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			http.Redirect(w, r, thief.URL+"/blob", http.StatusTemporaryRedirect)
		})
		o := options(reg.URL)
		o.Credentials = login("me", "hunter2", "")
		if _, err := open(t, o).Manifest(t.Context(), named(t, "r.example/x:v1")); err != nil {
			t.Error(err)
		}
	})
	if n := len(thief.requests()); n != 2 {
		t.Errorf("%d requests reached the other host: %q", n, thief.requests())
	}
	for _, r := range thief.seen {
		if r.Header.Get("Authorization") != "" || r.Method != http.MethodGet || r.ContentLength > 0 {
			t.Errorf("the other host was told %q by %s", r.Header.Get("Authorization"), r.Method)
		}
	}
}

// A challenge that is not the registry's own is not answered.
func TestRedirectTargetsCannotAskForCredentials(t *testing.T) {
	thief := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", `Basic realm="give"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	reg := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, thief.URL, http.StatusFound) })
	o := options(reg.URL)
	o.Credentials = login("me", "hunter2", "")
	_, err := open(t, o).Manifest(t.Context(), named(t, "r.example/x:v1"))
	wantKind(t, err, Refused)
	if got := thief.headers("Authorization"); !slices.Equal(got, []string{""}) {
		t.Errorf("presented %q", got)
	}
}

func TestRememberedTokensAreBounded(t *testing.T) {
	var s tokens
	for i := range 2 * maxTokens {
		s.put(fmt.Sprint(i), token{value: "x", expires: time.Now().Add(time.Hour)})
	}
	if len(s.byRepo) != maxTokens {
		t.Errorf("%d tokens are kept, want %d", len(s.byRepo), maxTokens)
	}
	s.put("old", token{value: "x", expires: time.Now().Add(-time.Second)})
	if _, err := s.get("old", 0); err == nil {
		t.Error("an expired token was returned")
	}
}

// FuzzChallenge answers requests with any challenge there is, and makes sure
// that nobody but the registry and an https (or equally plain) realm learns the
// password, in a bounded number of requests.
func FuzzChallenge(f *testing.F) {
	for _, seed := range []string{
		`Bearer realm="https://auth.example/token",service="x",scope="repository:x:pull"`,
		`Bearer realm="http://auth.example/token"`, `Basic realm="x"`, `Bearer realm="https://10.0.0.1/"`, `Bearer`,
		`Bearer realm=https://auth.example`, `Bearer realm="https://u:p@auth.example/"`, `bearer realm="file:///etc/passwd"`,
		`Basic, Bearer realm="//x"`, `Bearer realm="https://auth.example/?a=b#c",realm="https://other.example"`, `Bearer realm="\u0000"`,
	} {
		f.Add(seed)
	}
	secret := basic("me", "hunter2")
	f.Fuzz(func(t *testing.T, challenge string) {
		sent := 0
		o := options("https://reg.example")
		o.Credentials = login("me", "hunter2", "")
		o.seams.send = roundTrip(func(r *http.Request) (*http.Response, error) {
			if sent++; sent > 8 {
				t.Fatalf("endless requests for %q", challenge)
			}
			if r.URL.Scheme != "https" || r.URL.User != nil {
				t.Fatalf("request to %s for %q", r.URL, challenge)
			}
			if strings.Contains(r.Header.Get("Authorization"), secret) && strings.Contains(r.URL.Hostname(), "10.0.0.1") {
				t.Fatalf("password to %s for %q", r.URL, challenge)
			}
			resp := &http.Response{StatusCode: 401, Header: http.Header{"Www-Authenticate": {challenge}}, Request: r,
				Body: io.NopCloser(strings.NewReader("{}")), ContentLength: 2}
			if r.URL.Host != "reg.example" {
				resp.StatusCode, resp.Body = 200, io.NopCloser(strings.NewReader(`{"token":"t"}`))
			}
			return resp, nil
		})
		c, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Manifest(t.Context(), named(t, "r.example/x:v1"))
		if wantKind(t, err, err.(*Error).Kind); strings.Contains(err.Error(), "hunter2") {
			t.Fatalf("the error tells the password: %v", err)
		}
	})
}
