package harness

import (
	"encoding/json"
	"path/filepath"
	"testing"
	"time"
)

// Account is where one person's logins are kept: docker's config.json, which is
// also the auth.json of podman, buildah and skopeo.
type Account struct{ dir string }

// NewAccount is somebody who is logged in nowhere.
func NewAccount(t testing.TB) *Account {
	t.Helper()
	a := &Account{dir: filepath.Join(t.TempDir(), "account")}
	writeFile(t, a.File(), []byte("{}\n"))
	return a
}

// File is the file that holds the logins.
func (a *Account) File() string { return filepath.Join(a.dir, "config.json") }

// Login is what is kept for a registry: Auth is user:password as base64, or with
// IdentityToken the user alone.
type Login struct {
	Auth          string `json:"auth"`
	IdentityToken string `json:"identitytoken"`
}

// At is what is kept for a registry, host[:port].
func (a *Account) At(t testing.TB, registry string) Login {
	t.Helper()
	var file struct {
		Auths map[string]Login `json:"auths"`
	}
	if err := json.Unmarshal(readFile(t, a.File()), &file); err != nil {
		t.Fatalf("%s: %v", a.File(), err)
	}
	return file.Auths[registry]
}

// Person is a client that people log in with.
type Person interface {
	Name() string
	// Login logs in to a registry, host[:port].
	Login(t testing.TB, a *Account, registry, user, password string) Result
	// PullAs pulls an image by the name that a person writes, with the logins of an
	// account.
	PullAs(t testing.TB, a *Account, image string) Result
}

// DockerAs runs the CLI with an account.
func (d *Docker) DockerAs(t testing.TB, a *Account, args ...string) Result {
	t.Helper()
	return Run(t, []string{"DOCKER_HOST=" + d.host, "DOCKER_CONFIG=" + a.dir}, d.program, args...)
}

// Login implements Person with docker login.
func (d *Docker) Login(t testing.TB, a *Account, registry, user, password string) Result {
	t.Helper()
	return d.DockerAs(t, a, "login", "--username", user, "--password", password, registry)
}

// PullAs implements Person with docker pull.
func (d *Docker) PullAs(t testing.TB, a *Account, image string) Result {
	t.Helper()
	return d.DockerAs(t, a, "pull", image)
}

// Buildah runs buildah on this storage.
func (b *Buildah) Buildah(t testing.TB, args ...string) Result {
	t.Helper()
	return b.run(t, append(b.storage(), args...)...)
}

// Login implements Person with the client's login, over HTTP where there is no
// HTTPS.
func (c *containersClient) Login(t testing.TB, a *Account, registry, user, password string) Result {
	t.Helper()
	return c.run(t, "login", "--authfile", a.File(), "--tls-verify=false", "--username", user, "--password", password, registry)
}

// PullAs implements Person with podman pull.
func (p *Podman) PullAs(t testing.TB, a *Account, image string) Result {
	t.Helper()
	return p.Podman(t, "pull", "--authfile", a.File(), "--tls-verify=false", "--signature-policy", p.policy, image)
}

// PullAs implements Person with buildah from.
func (b *Buildah) PullAs(t testing.TB, a *Account, image string) Result {
	t.Helper()
	return b.run(t, append(b.storage(), "from", "--pull-always", "--authfile", a.File(), "--tls-verify=false", "--signature-policy", b.policy, image)...)
}

// PullAs implements Person with skopeo copy.
func (s *Skopeo) PullAs(t testing.TB, a *Account, image string) Result {
	t.Helper()
	return s.Skopeo(t, "copy", "--src-authfile", a.File(), "--src-tls-verify=false", "docker://"+image, "dir:"+filepath.Join(t.TempDir(), "image"))
}

// ExpectRecord waits a moment for a record after the mark that is as expected
// (What says how, for people), and ends the test with what there is instead when
// none comes.
func (g *Gate) ExpectRecord(t testing.TB, m Mark, what string, ok func(Record) bool) Record {
	t.Helper()
	for end := time.Now().Add(3 * time.Second); ; time.Sleep(pollInterval) {
		for _, r := range g.Since(t, m) {
			if ok(r) {
				return r
			}
		}
		if time.Now().After(end) {
			t.Fatalf("no audit record of %s; there are:\n%s", what, g.Since(t, m))
		}
	}
}
