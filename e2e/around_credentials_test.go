//go:build e2e

package e2e

import (
	"regexp"
	"testing"

	"github.com/pullgate/pullgate/e2e/harness"
)

// loginClients are those of this machine that can log in.
func loginClients() []harness.LoginClient {
	return []harness.LoginClient{
		&harness.NodeDocker{}, &harness.NodeKubelet{}, &harness.NodePodman{}, &harness.NodeBuildah{}, &harness.NodeSkopeo{},
	}
}

// notAllowed is how clients say that somebody must log in, or may not have it.
var notAllowed = regexp.MustCompile(`(?i)unauthorized|authentication required|no basic auth|authorization failed|denied|forbidden|invalid username/password`)

// login logs in and ends the test when that does not work.
func login(t *testing.T, c harness.LoginClient, n *harness.Node, registry, user, password string) {
	t.Helper()
	if r := c.Login(t, n, registry, user, password); r.ExitCode != 0 {
		t.Fatalf("login as %s: exit status %d\n%s", user, r.ExitCode, r.Output)
	}
}

func arrives(t *testing.T, n *harness.Node, image string) {
	t.Helper()
	if r := n.Client.Pull(t, n, image); r.ExitCode != 0 {
		t.Errorf("%s: exit status %d, expected a pull\n%s\nthe gate:\n%s", image, r.ExitCode, r.Output, n.World.Gate.Audit(t))
	}
}

// withheld expects a pull to fail for want of permission.
func withheld(t *testing.T, n *harness.Node, image string) {
	t.Helper()
	r := n.Client.Pull(t, n, image)
	if r.ExitCode == 0 {
		t.Errorf("%s was pulled by somebody who may not have it", image)
	} else if !notAllowed.MatchString(r.Output) {
		t.Errorf("%s: failed without a word about permission:\n%s", image, r.Output)
	}
}

// A user's own password for Docker Hub, through the gate as proxy: who has none
// does not get what another one's password has fetched.
func TestClientsOwnCredentials(t *testing.T) {
	w := harness.NewWorldWith(t, harness.WorldConfig{ClientCredentials: true})
	private := w.Push(t, "docker.io", "private/app", "v1", harness.NewImage(t, "private"), true)
	public := w.Push(t, "docker.io", "public/app", "v1", harness.NewImage(t, "public"), true)
	unsigned := w.Push(t, "docker.io", "private/unsigned", "v1", harness.NewImage(t, "private and unsigned"), false)
	var proxy harness.Mode
	for _, m := range harness.Modes() {
		if m.Name == "HTTPS_PROXY" {
			proxy = m
		}
	}
	for _, c := range loginClients() {
		t.Run(string(c.Kind()), func(t *testing.T) {
			n := w.NewNode(t, t.Name(), "", c)
			proxy.Configure(t, n)
			c.Start(t, n)
			arrives(t, n, public.String())
			withheld(t, n, private.String())
			login(t, c, n, "docker.io", "alice", "secret of alice")
			arrives(t, n, private.String())
			mark := w.Gate.Mark(t)
			withheld(t, n, unsigned.String())
			w.Gate.Expect(t, mark, harness.Denied, unsigned)
			n.Forget(t)
			withheld(t, n, private.String()) // though the gate has it now
			if got := n.Around(); got.Connections > 0 {
				t.Errorf("around the gate: %s", got)
			}
		})
	}
}
