//go:build e2e

package e2e

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/e2e/harness"
)

// Names in the tests of clients with accounts of their own upstream.
const (
	privateRegistry = "private.example"
	otherRegistry   = "other.example"
)

// accountsWorld is a gate before a registry that asks each client for its own
// account, and before another one.
type accountsWorld struct {
	private *harness.PrivateRegistry
	other   *harness.Registry
	sigs    *harness.Lookaside
	gate    *harness.Gate
	at      string // listener of the private registry
	image   harness.Image
}

var (
	aliceOnly = harness.Tagged(privateRegistry, "team/app", "v1")
	forBob    = harness.Tagged(privateRegistry, "bobs/app", "v1")
	forAll    = harness.Tagged(privateRegistry, "public/app", "v1")
)

func newAccountsWorld(t *testing.T, tokens bool) *accountsWorld {
	t.Helper()
	w := &accountsWorld{private: harness.NewPrivateRegistry(t, tokens), other: harness.NewGoRegistry(t), sigs: harness.NewWebLookaside(t),
		at: harness.FreeAddr(t), image: harness.NewImage(t, t.Name())}
	key := harness.NewGPG(t).Key(t, harness.Ed25519)
	for _, r := range []harness.Ref{aliceOnly, forBob, forAll} {
		w.private.Store.Push(t, r.Repository, r.Tag, w.image)
		w.sigs.Put(t, r.Repository, w.image.Digest, key.Sign(t, r.String(), w.image.Digest))
	}
	w.other.Push(t, "team/app", "v1", w.image)
	w.gate = harness.StartGate(t, harness.GateConfig{
		Upstreams: []harness.Upstream{
			{Registry: otherRegistry, Endpoint: w.other.URL},
			{Registry: privateRegistry, Endpoint: w.private.URL, Credentials: "client"},
		},
		Policy:      harness.PolicyFor(privateRegistry, key.SignedBy(t)).With(otherRegistry, harness.AcceptAnything()),
		RegistriesD: harness.RegistriesD{privateRegistry: {Lookaside: w.sigs.URL, SigstoreAttachments: true}},
		Extra:       fmt.Sprintf("listeners: [{listen: %q, registry: %s}]\nhosts: [{host: private.gate.example, registry: %[2]s}]\n", w.at, privateRegistry),
	})
	for _, r := range w.servers() {
		r.ForgetRequests()
	}
	return w
}

// servers are all that the gate may talk to.
func (w *accountsWorld) servers() map[string]*harness.Registry {
	all := map[string]*harness.Registry{"registry": w.private.Registry, "storage": w.private.Storage, "another registry": w.other}
	if w.private.Tokens != nil {
		all["token server"] = w.private.Tokens
	}
	return all
}

// through is an image's name at the listener of its registry.
func (w *accountsWorld) through(r harness.Ref) string { return w.at + "/" + r.Path() }

// Clients log in with their own accounts upstream. What was fetched for one of
// them is in the gate's memory, and nobody gets it whom the registry does not give
// it to.
func TestOwnAccounts(t *testing.T) {
	docker := harness.NewDocker(t)
	people := []harness.Person{docker, harness.NewPodman(t), harness.NewSkopeo(t)}
	for mode, tokens := range map[string]bool{"password": false, "token": true} {
		t.Run(mode, func(t *testing.T) {
			w := newAccountsWorld(t, tokens)
			for _, p := range people {
				t.Run(p.Name(), func(t *testing.T) { w.story(t, p) })
			}
			t.Run("memory", w.memory)
			t.Run("leaks", w.leaks)
		})
	}
}

// check judges by the same rules with the account of whoever runs it, when that is
// given, and never with another.
func TestCheckWithOwnAccount(t *testing.T) {
	for mode, tokens := range map[string]bool{"password": false, "token": true} {
		t.Run(mode, func(t *testing.T) {
			w := newAccountsWorld(t, tokens)
			login := func(user string) string {
				file := filepath.Join(t.TempDir(), "auth.json")
				auth := base64.StdEncoding.EncodeToString([]byte(user + ":secret of " + user))
				if err := os.WriteFile(file, fmt.Appendf(nil, `{"auths": {%q: {"auth": %q}}}`, privateRegistry, auth), 0o600); err != nil {
					t.Fatal(err)
				}
				return file
			}
			for _, tt := range []struct {
				name string
				exit int
				says string
				args []string
			}{
				{"nobody", 2, "asked without credentials", nil},
				{"alice", 0, "ALLOWED", []string{"--auth-file", login("alice")}},
				{"bob", 2, "INCONCLUSIVE", []string{"--auth-file", login("bob")}},
			} {
				r := w.gate.Command(t, append([]string{"check", aliceOnly.String()}, tt.args...)...)
				if r.ExitCode != tt.exit || !strings.Contains(r.Output, tt.says) || strings.Contains(r.Output, "secret of") {
					t.Errorf("%s: exit status %d, expected %d and %q:\n%s", tt.name, r.ExitCode, tt.exit, tt.says, r.Output)
				}
			}
		})
	}
}

func (w *accountsWorld) story(t *testing.T, p harness.Person) {
	nobody, alice, bob := harness.NewAccount(t), harness.NewAccount(t), harness.NewAccount(t)
	if r := p.Login(t, alice, w.at, "alice", "a guess"); r.ExitCode == 0 {
		t.Error("the registry refuses this password, and the login worked")
	}
	for user, account := range map[string]*harness.Account{"alice": alice, "bob": bob} {
		if r := p.Login(t, account, w.at, user, "secret of "+user); r.ExitCode != 0 {
			t.Fatalf("login of %s: %s", user, r.Output)
		}
	}
	g := w.gate
	mark := g.Mark(t)
	mustPull(t, g, mark, p.PullAs(t, alice, w.through(aliceOnly)), aliceOnly, "")
	mark = g.Mark(t)
	mustPull(t, g, mark, p.PullAs(t, bob, w.through(forBob)), forBob, "")
	g.ExpectRecord(t, mark, "who pulled", func(r harness.Record) bool {
		told := "basic:bob"
		if w.private.Tokens != nil {
			told = "bearer:"
		}
		return r.Decision == harness.Allowed && strings.HasPrefix(r.Login, told)
	})
	for who, account := range map[string]*harness.Account{"bob": bob, "nobody": nobody} {
		mark = g.Mark(t)
		if r := p.PullAs(t, account, w.through(aliceOnly)); r.ExitCode == 0 {
			t.Errorf("%s got what only alice may read", who)
		}
		for _, r := range g.Since(t, mark) {
			if r.Decision == harness.Allowed {
				t.Errorf("%s was let in: %s", who, r)
			}
		}
	}
}

// memory asks, for everything that alice's pull has put into the gate's memory,
// with the accounts of others.
func (w *accountsWorld) memory(t *testing.T) {
	paths := map[string]string{"tag": "manifests/v1", "digest": "manifests/" + w.image.Digest.String(), "tags": "tags/list", "referrers": "referrers/" + w.image.Digest.String()}
	for d := range w.image.Blobs {
		paths["blob "+d.String()] = "blobs/" + d.String()
	}
	ask := func(repo, path, user string) accessAnswer {
		return accessGet(t, http.DefaultClient, "http://"+w.at+"/v2/"+repo+"/"+path, w.as(t, repo, user))
	}
	for repo, user := range map[string]string{"team/app": "alice", "public/app": ""} { // blobs come after their manifests
		if a := ask(repo, "manifests/v1", user); a.Code != http.StatusOK {
			t.Fatalf("%s for %q: %s: %s", repo, user, a.Status, a.Body)
		}
	}
	for range 2 { // the second time, all that alice may have is in memory
		for what, path := range paths {
			for user, want := range map[string]bool{"alice": true, "bob": false, "": false, "alice with another password": false} {
				mark := w.gate.Mark(t)
				a := ask("team/app", path, user)
				if refused := a.Code == http.StatusUnauthorized || a.Code == http.StatusForbidden; refused == want || want && a.Code != http.StatusOK {
					t.Errorf("%s for %q: %s: %s", what, user, a.Status, a.Body)
				}
				if a.Code == http.StatusUnauthorized && !strings.Contains(a.Challenge, "realm=") {
					t.Errorf("%s for %q: 401 without the registry's challenge", what, user)
				}
				if !want && user != "" && what != "tags" { // of lists of tags there are no records
					w.gate.ExpectRecord(t, mark, what+" refused to "+user, func(r harness.Record) bool {
						return r.Decision != harness.Allowed && r.Status == a.Code && r.Registry == privateRegistry
					})
				}
			}
			for _, user := range []string{"alice", "bob", ""} {
				if a := ask("public/app", path, user); a.Code != http.StatusOK {
					t.Errorf("public %s for %q: %s: %s", what, user, a.Status, a.Body)
				}
			}
		}
	}
	// The same by the other ways in.
	for name, change := range map[string]func(*http.Request){
		"Host": withHost("private.gate.example"),
		"ns":   func(r *http.Request) { r.URL.RawQuery = "ns=" + privateRegistry },
		"path": func(r *http.Request) { r.URL.Path = strings.Replace(r.URL.Path, "/v2/", "/v2/"+privateRegistry+"/", 1) },
	} {
		for user, want := range map[string]int{"alice": http.StatusOK, "bob": 0, "": http.StatusUnauthorized} {
			a := accessGet(t, http.DefaultClient, w.gate.URL+"/v2/team/app/manifests/v1", w.as(t, "team/app", user), change)
			if want == 0 && a.Code != http.StatusUnauthorized && a.Code != http.StatusForbidden || want != 0 && a.Code != want {
				t.Errorf("by %s for %q: %s", name, user, a.Status)
			}
		}
	}
}

// as is a request with a user's account, with a token of the registry's token
// server where there is one. A wrong password gives no token.
func (w *accountsWorld) as(t *testing.T, repo, user string) func(*http.Request) {
	t.Helper()
	password := "secret of " + user
	if user == "alice with another password" {
		user, password = "alice", "a guess"
	}
	switch {
	case user == "":
		if w.private.Tokens == nil || strings.HasPrefix(repo, "team/") {
			return func(*http.Request) {}
		}
		return withHeader("Authorization", "Bearer "+w.private.Token(t, "", repo))
	case w.private.Tokens == nil:
		return withPassword(user, password)
	case password == "a guess":
		return withHeader("Authorization", "Bearer "+password[2:])
	}
	return withHeader("Authorization", "Bearer "+w.private.Token(t, user, repo))
}

// leaks looks for the clients' credentials where they do not belong: the registry
// alone may see them, and neither logs nor records.
func (w *accountsWorld) leaks(t *testing.T) {
	// The header goes nowhere with a request for another registry, either.
	for _, change := range []func(*http.Request){
		func(*http.Request) {}, withHost(otherRegistry), func(r *http.Request) { r.URL.RawQuery = "ns=" + otherRegistry },
	} {
		if a := accessGet(t, http.DefaultClient, w.gate.URL+"/v2/team/app/manifests/v1", withPassword("alice", "secret of alice"), change); a.Code != http.StatusOK {
			t.Errorf("the other registry: %s", a.Status)
		}
	}
	saw := 0
	for name, server := range w.servers() {
		requests := server.Requests()
		if len(requests) == 0 {
			t.Errorf("the %s was asked for nothing: it shows nothing", name)
		}
		for _, r := range requests {
			switch {
			case !strings.HasPrefix(r.Header.Get("User-Agent"), "pullgate/"): // a client's own request for a token
			case name == "registry":
				saw += len(r.Header.Values("Authorization"))
			case len(r.Header.Values("Authorization")) > 0:
				t.Errorf("the %s was sent credentials: %s %s", name, r.Method, r.Path)
			case name == "token server":
				t.Errorf("the gate asked the clients' token server: %s %s", r.Method, r.Path)
			}
		}
	}
	if saw == 0 {
		t.Error("the registry saw no credentials: the test shows nothing")
	}
	requests := w.sigs.Requests()
	if len(requests) == 0 {
		t.Error("the signature server was not asked")
	}
	for _, r := range requests {
		if len(r.Header.Values("Authorization")) > 0 {
			t.Errorf("the signature server was sent credentials: %s", r.Path)
		}
	}
	said := w.gate.Log() + fmt.Sprintf("%+v", w.gate.Audit(t))
	for _, secret := range []string{"secret of alice", "secret of bob", base64.StdEncoding.EncodeToString([]byte("alice:secret of alice"))} {
		if strings.Contains(said, secret) {
			t.Errorf("the gate wrote down %q", secret)
		}
	}
}
