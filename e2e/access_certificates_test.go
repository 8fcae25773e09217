//go:build e2e

package e2e

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/e2e/harness"
)

// certificateClient pulls from a gate with HTTPS, with the files of a directory in
// certs.d.
type certificateClient struct {
	name string
	pull func(t *testing.T, g *harness.Gate, certs string, more ...string) harness.Result
}

func certificateClients(t *testing.T) []certificateClient {
	t.Helper()
	podman, skopeo, buildah, curl := harness.NewPodman(t), harness.NewSkopeo(t), harness.NewBuildah(t), harness.NewCurl(t)
	return []certificateClient{
		{"podman", func(t *testing.T, g *harness.Gate, certs string, more ...string) harness.Result {
			return podman.Podman(t, append([]string{"pull", "--cert-dir", certs}, append(more, g.Through(teamImage))...)...)
		}},
		{"skopeo", func(t *testing.T, g *harness.Gate, certs string, more ...string) harness.Result {
			args := append([]string{"copy", "--src-cert-dir", certs}, more...)
			return skopeo.Skopeo(t, append(args, "docker://"+g.Through(teamImage), "dir:"+t.TempDir())...)
		}},
		{"buildah", func(t *testing.T, g *harness.Gate, certs string, more ...string) harness.Result {
			return buildah.Buildah(t, append([]string{"pull", "--policy", "always", "--cert-dir", certs}, append(more, g.Through(teamImage))...)...)
		}},
		{"curl", func(t *testing.T, g *harness.Gate, certs string, more ...string) harness.Result {
			args := []string{"--cacert", certs + "/ca.crt"}
			if harness.Has(certs + "/client.cert") {
				args = append(args, "--cert", certs+"/client.cert", "--key", certs+"/client.key")
			}
			return curl.Get(t, g, teamImage, "manifests/v1", append(args, more...)...)
		}},
	}
}

// Certificates are required when nothing else says who a client is, and one of
// several ways when something does. Rules give by their names.
func TestClientCertificates(t *testing.T) {
	reg, _ := newAccessRegistry(t)
	// Of the same name as the right one: clients offer no certificate of an authority
	// that the server does not name.
	pki, nodes, strange := harness.NewPKI(t), harness.NewAuthority(t, "nodes"), harness.NewAuthority(t, "nodes")
	dir := func(c *tls.Certificate) string { return harness.CertDir(t, read(t, pki.CA), c) }
	node, guest := nodes.IssueClient(t, "node1", "node1.nodes.example"), nodes.IssueClient(t, "guest", "guest.example")
	forged := strange.IssueClient(t, "node1", "node1.nodes.example")
	settings := fmt.Sprintf("tls: {cert: %q, key: %q, client_ca: %q}\n", pki.Cert, pki.Key, nodes.File(t))
	passwords := harness.NewHtpasswd(t, accessUsers)
	https := func(g *harness.Gate) *harness.Gate { g.URL = "https://" + g.Addr; return g }
	required := https(startAccessGate(t, reg, settings))
	optional := https(startAccessGate(t, reg, settings+fmt.Sprintf(
		"auth:\n  htpasswd: %q\n  rules:\n    - {certificates: [\"*.nodes.example\"], scopes: [%[2]s/team]}\n    - {users: [alice], scopes: [%[2]s]}\n",
		passwords.Path, accessRegistry)))
	for _, c := range certificateClients(t) {
		t.Run(c.name, func(t *testing.T) {
			for _, g := range []*harness.Gate{required, optional} {
				mark := g.Mark(t)
				mustPull(t, g, mark, c.pull(t, g, dir(&node)), teamImage, "certificate:node1")
				// No request comes of a handshake that fails, so nothing is recorded.
				mark = g.Mark(t)
				if r := c.pull(t, g, dir(&forged)); r.ExitCode == 0 || len(g.Since(t, mark)) > 0 {
					t.Errorf("a certificate of another authority: exit status %d, %s", r.ExitCode, g.Since(t, mark))
				}
			}
			mark := required.Mark(t)
			if r := c.pull(t, required, dir(nil)); r.ExitCode == 0 || len(required.Since(t, mark)) > 0 {
				t.Errorf("no certificate: exit status %d, %s", r.ExitCode, required.Since(t, mark))
			}
			mark = required.Mark(t)
			mustPull(t, required, mark, c.pull(t, required, dir(&guest)), teamImage, "certificate:guest")

			mark = optional.Mark(t)
			mustNotPull(t, optional, mark, c.pull(t, optional, dir(&guest)), "certificate:guest may not pull", refusedWith(http.StatusForbidden, "certificate:guest"))
			if r := c.pull(t, optional, dir(nil)); r.ExitCode == 0 {
				t.Error("a client without certificate and password got the image")
			}
			with := map[string]string{"podman": "--creds", "buildah": "--creds", "skopeo": "--src-creds", "curl": "--user"}[c.name]
			mark = optional.Mark(t)
			mustPull(t, optional, mark, c.pull(t, optional, dir(nil), with, "alice:"+accessUsers["alice"]), teamImage, "user:alice")
			mark = optional.Mark(t)
			mustNotPull(t, optional, mark, c.pull(t, optional, dir(nil), with, "alice:guess"), "", refusedWith(http.StatusUnauthorized, ""))
		})
	}
}

// On nodes: dockerd shows the certificate of /etc/docker/certs.d, containerd that
// of its hosts.toml, and pull secrets hold what the token endpoint is asked with.
func TestNodesAreKnown(t *testing.T) {
	w := harness.NewWorld(t, nil)
	docker, containerd := &harness.NodeDocker{}, &harness.NodeContainerd{}
	dockerNode, containerdNode := w.NewNode(t, "docker", "", docker), w.NewNode(t, "containerd", "", containerd)
	team := w.Push(t, "docker.io", "team/app", "v1", harness.NewImage(t, "of the team"), true)
	other := w.Push(t, "docker.io", "other/app", "v1", harness.NewImage(t, "of others"), true)
	nodes, strange := harness.NewAuthority(t, "nodes"), harness.NewAuthority(t, "nodes")
	passwords := harness.NewHtpasswd(t, accessUsers)
	const name = "known.gate.example"
	g := w.StartBeside(t, harness.GateConfig{
		Upstreams:   []harness.Upstream{{Registry: "docker.io", Endpoint: "https://" + harness.HubRegistry}},
		Policy:      harness.PolicyFor("docker.io", w.Key.SignedBy(t)),
		RegistriesD: harness.RegistriesD{"docker.io": {Lookaside: w.Sigs["docker.io"].URL}},
		Extra: fmt.Sprintf("auth:\n  htpasswd: %q\n  token: {enabled: true}\n  rules:\n    - {certificates: [\"*.nodes.example\"], users: [alice], scopes: [docker.io/team]}\n    - {users: [bob], scopes: [docker.io/other]}\n",
			passwords.Path),
	}, nodes.File(t), []*harness.Node{dockerNode, containerdNode}, name)
	good, forged := nodes.IssueClient(t, "node1", "node1.nodes.example"), strange.IssueClient(t, "node1", "node1.nodes.example")
	install := func(n *harness.Node, dir string, c *tls.Certificate) {
		for file, content := range harness.CertFiles(t, w.Hub.CA.Certificate, c) {
			n.WriteFile(t, dir+"/"+file, content)
		}
	}

	docker.Start(t, dockerNode)
	containerd.Start(t, containerdNode)
	t.Run("docker, certificate", func(t *testing.T) {
		const dir = "/etc/docker/certs.d/" + name
		install(dockerNode, dir, &good)
		mark := g.Mark(t)
		mustPull(t, g, mark, docker.Pull(t, dockerNode, g.Through(team)), team, "certificate:node1")
		mark = g.Mark(t)
		mustNotPull(t, g, mark, docker.Pull(t, dockerNode, g.Through(other)), "certificate:node1 may not pull", refusedWith(http.StatusForbidden, "certificate:node1"))
		install(dockerNode, dir, &forged)
		mark = g.Mark(t)
		if r := docker.Pull(t, dockerNode, g.Through(team)); r.ExitCode == 0 || len(g.Since(t, mark)) > 0 {
			t.Errorf("a certificate of another authority: exit status %d, %s", r.ExitCode, g.Since(t, mark))
		}
	})
	t.Run("containerd, pull secrets", func(t *testing.T) {
		as := func(ref harness.Ref, user, password string) harness.Result {
			return containerd.PullAs(t, containerdNode, g.Through(ref), user, password)
		}
		mark := g.Mark(t)
		mustPull(t, g, mark, as(team, "alice", accessUsers["alice"]), team, "user:alice")
		if !strings.Contains(w.Metrics(t, g), `pullgate_requests_total{method="POST",route="token",status="200"}`) {
			t.Error("containerd asked for no token by POST")
		}
		mark = g.Mark(t)
		mustPull(t, g, mark, as(other, "bob", accessUsers["bob"]), other, "user:bob")
		mark = g.Mark(t)
		mustNotPull(t, g, mark, as(team, "bob", accessUsers["bob"]), "user:bob may not pull", refusedWith(http.StatusForbidden, "user:bob"))
		mark = g.Mark(t)
		mustNotPull(t, g, mark, as(team, "alice", "a guess"), "", func(r harness.Record) bool {
			return r.Kind == "token" && refusedWith(http.StatusUnauthorized, "")(r)
		})
		if r := as(team, "", ""); r.ExitCode == 0 {
			t.Error("nobody got the image")
		}
	})
	t.Run("containerd, certificate", func(t *testing.T) {
		const dir = "/etc/containerd/certs.d/" + name
		hosts := fmt.Sprintf("server = %q\n[host.%[1]q]\n  capabilities = [\"pull\", \"resolve\"]\n  ca = \"%s/ca.crt\"\n  client = [[\"%[2]s/client.cert\", \"%[2]s/client.key\"]]\n",
			"https://"+name, dir)
		containerdNode.WriteFile(t, dir+"/hosts.toml", []byte(hosts))
		install(containerdNode, dir, &good)
		mark := g.Mark(t)
		mustPull(t, g, mark, containerd.Pull(t, containerdNode, g.Through(team)), team, "certificate:node1")
		mark = g.Mark(t)
		mustNotPull(t, g, mark, containerd.Pull(t, containerdNode, g.Through(other)), "certificate:node1 may not pull", refusedWith(http.StatusForbidden, "certificate:node1"))
	})
}
