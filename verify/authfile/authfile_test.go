package authfile

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/distribution/reference"
	"go.podman.io/image/v5/pkg/sysregistriesv2"
)

const secret = "s3cr3t"

func write(t *testing.T, dir, name, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func named(t *testing.T, s string) reference.Named {
	t.Helper()
	ref, err := reference.ParseNamed(s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func auth(user string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":" + secret))
}

// helper puts a credential helper on PATH that runs a shell script.
func helper(t *testing.T, name, script string) {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "docker-credential-"+name, "#!/bin/sh\n"+script, 0o755)
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestMostSpecificEntryWins(t *testing.T) {
	name := write(t, t.TempDir(), "auth.json", fmt.Sprintf(`{"auths":{
		"registry.example.com":{"auth":%q}, "registry.example.com/team":{"auth":%q},
		"registry.example.com/team/app":{"auth":%q}, "https://index.docker.io/v1/":{"auth":%q},
		"token.example.com":{"auth":%q,"identitytoken":"identity"}, "empty.example.com":{}}}`,
		auth("host"), auth("team"), auth("app"), auth("hub"), auth("00000000")), 0o600)
	if err := Check(name); err != nil {
		t.Fatal(err)
	}
	for repo, want := range map[string]string{
		"registry.example.com/other/x":    "host",
		"registry.example.com/team/x":     "team",
		"registry.example.com/team/app":   "app",
		"registry.example.com/team/app:1": "app",
		"docker.io/library/nginx":         "hub",
		"token.example.com/x":             "00000000",
		"empty.example.com/x":             "",
		"elsewhere.example.com/x":         "",
	} {
		user, pass, token, err := Credentials(name)(context.Background(), named(t, repo))
		if err != nil || user != want || (want != "") != (pass == secret) {
			t.Errorf("%s: expected user %q, found %q (%v)", repo, want, user, err)
		}
		if (want == "00000000") != (token == "identity") {
			t.Errorf("%s: identity token %q", repo, token)
		}
	}
}

func TestNoFileIsAnonymousEvenWithHostConfiguration(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("DOCKER_CONFIG", home)
	t.Setenv("REGISTRY_AUTH_FILE", filepath.Join(home, "config.json"))
	hosts := fmt.Sprintf(`{"auths":{"registry.example.com":{"auth":%q}}}`, auth("host"))
	write(t, home, "config.json", hosts, 0o600)
	write(t, home, "registries.conf", `credential-helpers = ["broken"]`, 0o600)
	t.Setenv("CONTAINERS_REGISTRIES_CONF", filepath.Join(home, "registries.conf"))
	t.Setenv("CONTAINERS_REGISTRIES_CONF_OVERRIDE", filepath.Join(home, "registries.conf"))
	dropIns := filepath.Join(home, ".config/containers/registries.conf.d")
	if err := os.MkdirAll(dropIns, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, dropIns, "x.conf", `credential-helpers = ["broken"]`, 0o600)
	sysregistriesv2.InvalidateCache() // the library keeps what it read for other tests
	other := write(t, t.TempDir(), "auth.json", `{"auths":{}}`, 0o600)
	for _, name := range []string{"", other} {
		user, pass, token, err := Credentials(name)(context.Background(), named(t, "registry.example.com/x"))
		if user+pass+token != "" || err != nil {
			t.Errorf("%q: expected nothing, found user %q, %v", name, user, err)
		}
	}
}

func TestHelpers(t *testing.T) {
	helper(t, "good", `read server; echo "{\"Username\":\"$server\",\"Secret\":\"`+secret+`\"}"`)
	helper(t, "token", `echo '{"Username":"<token>","Secret":"identity"}'`)
	helper(t, "none", `echo "credentials not found in native keychain"; exit 1`)
	name := write(t, t.TempDir(), "config.json", fmt.Sprintf(`{"credsStore":"good",
		"credHelpers":{"token.example.com":"token","none.example.com":"none"},
		"auths":{"own.example.com":{"auth":%q},"stored.example.com":{},"token.example.com":{"auth":%q}}}`, auth("own"), auth("no")), 0o600)
	for repo, want := range map[string][2]string{
		"token.example.com/x":     {"", "identity"},
		"none.example.com/x":      {"", ""},
		"own.example.com/x":       {"own", ""},
		"stored.example.com/x":    {"stored.example.com", ""},
		"docker.io/library/nginx": {"https://index.docker.io/v1/", ""},
	} {
		user, _, token, err := Credentials(name)(context.Background(), named(t, repo))
		if err != nil || user != want[0] || token != want[1] {
			t.Errorf("%s: expected %q, found %q %q (%v)", repo, want, user, token, err)
		}
	}
}

func TestBrokenIsNeverAnonymous(t *testing.T) {
	helper(t, "fails", `echo "oops `+secret+`"; echo `+secret+` >&2; exit 3`)
	helper(t, "garbage", `echo "not json `+secret+`"`)
	helper(t, "floods", `while :; do echo `+strings.Repeat(secret, 1000)+`; done`)
	for what, content := range map[string]string{
		"not JSON":         `{"auths": ` + secret,
		"no colon":         `{"auths":{"r.example.com":{"auth":"` + base64.StdEncoding.EncodeToString([]byte(secret)) + `"}}}`,
		"not base64":       `{"auths":{"r.example.com":{"auth":"` + secret + `!"}}}`,
		"not an object":    `{"auths":{"r.example.com":"` + secret + `"}}`,
		"empty":            ``,
		"helper missing":   `{"credHelpers":{"r.example.com":"absent"}}`,
		"helper fails":     `{"credHelpers":{"r.example.com":"fails"}}`,
		"store fails":      `{"credsStore":"fails"}`,
		"helper's garbage": `{"credHelpers":{"r.example.com":"garbage"}}`,
		"helper floods":    `{"credHelpers":{"r.example.com":"floods"}}`,
		"helper's path":    `{"credHelpers":{"r.example.com":"../../bin/sh"}}`,
	} {
		name := write(t, t.TempDir(), "auth.json", content, 0o600)
		start := time.Now()
		user, pass, token, err := Credentials(name)(context.Background(), named(t, "r.example.com/x"))
		if d := time.Since(start); err == nil || d > helperTimeout/2 {
			t.Errorf("%s: expected an error at once, found %v after %v", what, err, d)
			continue
		}
		if user+pass+token != "" || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: leaks: %v", what, err)
		}
	}
	for what, name := range map[string]string{"missing": "/nonexistent/auth.json", "a directory": t.TempDir()} {
		if _, _, _, err := Credentials(name)(context.Background(), named(t, "r.example.com/x")); err == nil {
			t.Errorf("%s: expected an error", what)
		}
		if Check(name) == nil {
			t.Errorf("%s: expected Check to say so", what)
		}
	}
	missing := write(t, t.TempDir(), "auth.json", `{"credsStore":"absent"}`, 0o600)
	if err := Check(missing); err == nil || !strings.Contains(err.Error(), "docker-credential-absent") {
		t.Errorf("helper missing: %v", err)
	}
	present := write(t, t.TempDir(), "auth.json", `{"credsStore":"fails"}`, 0o600)
	if err := Check(present); err != nil {
		t.Error(err)
	}
	if err := Check(""); err != nil {
		t.Error(err)
	}
}

func TestSlowHelperEndsWithTheRequest(t *testing.T) {
	helper(t, "slow", `exec sleep 60`)
	name := write(t, t.TempDir(), "auth.json", `{"credsStore":"slow"}`, 0o600)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, _, _, err := Credentials(name)(ctx, named(t, "r.example.com/x")); err == nil {
		t.Error("expected an error")
	}
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("took %v", d)
	}
}
