//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pullgate/pullgate/e2e/harness"
)

// reloadWithin bounds how long a changed file may take to count.
const reloadWithin = 5 * time.Second

// People log in with each client, whether the gate asks for passwords or for
// tokens; who has not logged in, or may not pull, gets nothing.
func TestPeopleLogIn(t *testing.T) {
	reg, _ := newAccessRegistry(t)
	docker := harness.NewDocker(t)
	people := []harness.Person{docker, harness.NewPodman(t), harness.NewBuildah(t), harness.NewSkopeo(t)}
	passwords := harness.NewHtpasswd(t, accessUsers)
	for mode, extra := range map[string]string{"password": "", "token": "\n  token: {enabled: true}"} {
		g := startAccessGate(t, reg, fmt.Sprintf("auth:\n  htpasswd: %q%s%s", passwords.Path, extra, accessRules))
		for _, p := range people {
			t.Run(mode+"/"+p.Name(), func(t *testing.T) { logInAndPull(t, g, p) })
		}
	}
	t.Run("refresh token", func(t *testing.T) { dockerKeepsNoPassword(t, reg, docker) })
}

func logInAndPull(t *testing.T, g *harness.Gate, p harness.Person) {
	image := g.Through(teamImage)
	if r := p.PullAs(t, harness.NewAccount(t), image); r.ExitCode == 0 {
		t.Error("somebody who has not logged in got the image")
	}
	alice, bob := harness.NewAccount(t), harness.NewAccount(t)
	mark := g.Mark(t)
	if r := p.Login(t, alice, g.Addr, "alice", "a guess"); r.ExitCode == 0 {
		t.Error("a wrong password was good enough to log in")
	}
	g.ExpectRecord(t, mark, "the wrong password", refusedWith(http.StatusUnauthorized, ""))

	for user, account := range map[string]*harness.Account{"alice": alice, "bob": bob} {
		if r := p.Login(t, account, g.Addr, user, accessUsers[user]); r.ExitCode != 0 {
			t.Fatalf("login of %s: %s", user, r.Output)
		}
	}
	mark = g.Mark(t)
	mustPull(t, g, mark, p.PullAs(t, alice, image), teamImage, "user:alice")
	mark = g.Mark(t)
	mustNotPull(t, g, mark, p.PullAs(t, bob, image), "user:bob may not pull from registry.example/team/app", refusedWith(http.StatusForbidden, "user:bob"))
	mark = g.Mark(t)
	mustPull(t, g, mark, p.PullAs(t, bob, g.Through(publicImage)), publicImage, "user:bob")
}

// With tokens, docker keeps a refresh token instead of the password. It ends with
// the password that it was given for.
func dockerKeepsNoPassword(t *testing.T, reg *harness.Registry, docker *harness.Docker) {
	passwords := harness.NewHtpasswd(t, accessUsers)
	g := startAccessGate(t, reg, fmt.Sprintf("auth: {htpasswd: %q, token: {enabled: true}}", passwords.Path))
	image := g.Through(teamImage)
	accounts := map[string]*harness.Account{"alice": harness.NewAccount(t), "bob": harness.NewAccount(t)}
	for user, account := range accounts {
		if r := docker.Login(t, account, g.Addr, user, accessUsers[user]); r.ExitCode != 0 {
			t.Fatalf("login: %s", r.Output)
		}
		if kept := account.At(t, g.Addr); kept.IdentityToken == "" {
			t.Fatalf("docker keeps no refresh token: %+v", kept)
		}
		mark := g.Mark(t)
		mustPull(t, g, mark, docker.PullAs(t, account, image), teamImage, "user:"+user)
	}
	passwords.Set(t, "alice", "another secret")
	passwords.Remove(t, "bob")
	for user, old := range accessUsers {
		harness.WaitFor(t, "the end of "+user+"'s password", reloadWithin, func() bool {
			return accessGet(t, http.DefaultClient, manifestURL(g, teamImage), withPassword(user, old)).Code == http.StatusUnauthorized
		})
	}
	for user, account := range accounts {
		mark := g.Mark(t)
		r := docker.PullAs(t, account, image)
		mustNotPull(t, g, mark, r, "", func(r harness.Record) bool { return r.Kind == "token" && refusedWith(http.StatusUnauthorized, "")(r) })
		if r.ExitCode != 0 && strings.Contains(g.Log(), accounts[user].At(t, g.Addr).IdentityToken) {
			t.Error("the refresh token stands in the log")
		}
	}
}

// Credentials on the command line, and those of an earlier login of another
// program.
func TestCredentialsOnTheCommandLine(t *testing.T) {
	reg, _ := newAccessRegistry(t)
	skopeo, podman, passwords := harness.NewSkopeo(t), harness.NewPodman(t), harness.NewHtpasswd(t, accessUsers)
	for _, token := range []bool{false, true} {
		g := startAccessGate(t, reg, fmt.Sprintf("auth:\n  htpasswd: %q\n  token: {enabled: %t}%s", passwords.Path, token, accessRules))
		copyAs := func(creds string) harness.Result {
			return skopeo.Skopeo(t, "copy", "--src-tls-verify=false", "--src-creds", creds, "docker://"+g.Through(teamImage), "dir:"+t.TempDir())
		}
		mark := g.Mark(t)
		mustPull(t, g, mark, copyAs("alice:"+accessUsers["alice"]), teamImage, "user:alice")
		mark = g.Mark(t)
		mustNotPull(t, g, mark, copyAs("alice:a guess"), "", refusedWith(http.StatusUnauthorized, ""))
		mark = g.Mark(t)
		mustNotPull(t, g, mark, copyAs("bob:"+accessUsers["bob"]), "user:bob may not pull", refusedWith(http.StatusForbidden, "user:bob"))

		mark = g.Mark(t)
		r := podman.Podman(t, "pull", "--creds", "alice:"+accessUsers["alice"], "--tls-verify=false", g.Through(teamImage))
		mustPull(t, g, mark, r, teamImage, "user:alice")

		account := harness.NewAccount(t)
		if r := podman.Login(t, account, g.Addr, "alice", accessUsers["alice"]); r.ExitCode != 0 {
			t.Fatalf("login: %s", r.Output)
		}
		mark = g.Mark(t)
		mustPull(t, g, mark, skopeo.PullAs(t, account, g.Through(teamImage)), teamImage, "user:alice")
	}
}

// A changed password counts within seconds; a file with a fault leaves the one
// before it in force, and the log says so.
func TestPasswordsChangeWhileServing(t *testing.T) {
	t.Parallel()
	reg, _ := newAccessRegistry(t)
	passwords := harness.NewHtpasswd(t, accessUsers)
	g := startAccessGate(t, reg, fmt.Sprintf("auth: {htpasswd: %q, token: {enabled: true}}", passwords.Path))
	status := func(user, password string) int {
		return accessGet(t, http.DefaultClient, manifestURL(g, teamImage), withPassword(user, password)).Code
	}
	token := tokenOf(t, g.URL+"/token?service=pullgate&scope=repository:team/app:pull", "alice", accessUsers["alice"])
	withToken := func() int {
		return accessGet(t, http.DefaultClient, manifestURL(g, teamImage), withHeader("Authorization", "Bearer "+token)).Code
	}
	expect := func(what string, found, want int) {
		t.Helper()
		if found != want {
			t.Errorf("%s: status %d, expected %d", what, found, want)
		}
	}
	expect("password", status("alice", accessUsers["alice"]), http.StatusOK)
	expect("token", withToken(), http.StatusOK)

	passwords.Set(t, "alice", "another secret")
	harness.WaitFor(t, "the new password", reloadWithin, func() bool { return status("alice", "another secret") == http.StatusOK })
	mark := g.Mark(t)
	expect("old password", status("alice", accessUsers["alice"]), http.StatusUnauthorized)
	g.ExpectRecord(t, mark, "the old password", refusedWith(http.StatusUnauthorized, ""))
	mark = g.Mark(t)
	expect("token of the old password", withToken(), http.StatusUnauthorized)
	g.ExpectRecord(t, mark, "the old token", refusedWith(http.StatusUnauthorized, ""))

	passwords.Break(t)
	awaitLog(t, g, "the new passwords cannot be used; the old ones stay in force")
	expect("a broken file", status("alice", "another secret"), http.StatusOK)
	expect("whom only the broken file has", status("mallory", "x"), http.StatusUnauthorized)
	if strings.Contains(g.Log(), "2jmj7l5rSw0yVb") {
		t.Error("a hash stands in the log")
	}
	passwords.Remove(t, "bob")
	harness.WaitFor(t, "the end of bob", reloadWithin, func() bool { return status("bob", accessUsers["bob"]) == http.StatusUnauthorized })
	expect("who is still there", status("alice", "another secret"), http.StatusOK)
}

// awaitLog waits until the gate's log says something.
func awaitLog(t *testing.T, g *harness.Gate, text string) {
	t.Helper()
	harness.WaitFor(t, "the log: "+text, reloadWithin, func() bool { return strings.Contains(g.Log(), text) })
}
