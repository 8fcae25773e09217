//go:build e2e

package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/pullgate/pullgate/e2e/harness"
)

// TestAuthenticatedUpstream pulls from a real registry that speaks HTTPS by a
// private authority and wants a login: the gate has both, the client neither.
func TestAuthenticatedUpstream(t *testing.T) {
	pki := harness.NewPKI(t)
	dir, addr := t.TempDir(), harness.FreeAddr(t)
	hash, err := bcrypt.GenerateFromPassword([]byte("s3cret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "htpasswd"), append([]byte("gate:"), hash...))
	put(t, filepath.Join(dir, "config.yml"), fmt.Appendf(nil, `version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: %q}}
http: {addr: %q, tls: {certificate: %q, key: %q}}
auth: {htpasswd: {realm: test, path: %q}}
`, filepath.Join(dir, "data"), addr, pki.Cert, pki.Key, filepath.Join(dir, "htpasswd")))
	registry := harness.StartProcess(t, nil, harness.Require(t, "docker-registry"), "serve", filepath.Join(dir, "config.yml"))
	client := pki.Client(t, false)
	registry.WaitUntil(t, "answer", func() bool {
		resp, err := client.Get("https://" + addr + "/v2/")
		if err == nil {
			resp.Body.Close()
		}
		return err == nil
	})

	certs := filepath.Join(dir, "certs.d", addr)
	ca, err := os.ReadFile(pki.CA)
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(certs, "ca.crt"), ca)

	// The image goes from a plain registry to this one by skopeo, signed for its
	// name there.
	plain := harness.NewGoRegistry(t)
	image := harness.NewImage(t, "behind a login")
	plain.Push(t, "team/app", "v1", image)
	harness.MustRun(t, nil, harness.Require(t, "skopeo"), "copy", "--src-tls-verify=false", "--dest-cert-dir", certs,
		"--dest-creds", "gate:s3cret", "docker://"+plain.Addr+"/team/app:v1", "docker://"+addr+"/team/app:v1")
	ref := harness.Tagged(addr, "team/app", "v1")
	key, sigs := harness.NewGPG(t).Key(t, harness.RSA3072), harness.NewFileLookaside(t)
	sigs.Put(t, "team/app", image.Digest, key.Sign(t, ref.String(), image.Digest))

	gate := func(password string) *harness.Gate {
		auth := filepath.Join(t.TempDir(), "auth.json")
		put(t, auth, authJSON(t, addr+"/team", "gate", password))
		return harness.StartGate(t, harness.GateConfig{
			Upstreams:   []harness.Upstream{{Registry: addr, Prefix: "corp", Endpoint: "https://" + addr}},
			Policy:      harness.PolicyFor(addr+"/team", key.SignedBy(t)),
			RegistriesD: harness.RegistriesD{"": {Lookaside: sigs.URL}},
			AuthFile:    auth,
			Extra:       fmt.Sprintf("certs_d: [%q]", filepath.Dir(certs)),
		})
	}
	skopeo := harness.NewSkopeo(t)
	pull := func(g *harness.Gate) harness.Result {
		return skopeo.Skopeo(t, "copy", "--src-tls-verify=false", "docker://"+g.Addr+"/corp/team/app:v1", "dir:"+t.TempDir())
	}

	g := gate("s3cret")
	mark := g.Mark(t)
	if r := pull(g); r.ExitCode != 0 {
		t.Errorf("expected the pull to work: %s\n%s", r.Output, g.Log())
	}
	g.Expect(t, mark, harness.Allowed, ref)

	wrong := gate("wr0ng-pa55word")
	if r := pull(wrong); r.ExitCode == 0 {
		t.Error("expected the pull to fail with a wrong password")
	}
	records := wrong.Audit(t)
	if _, ok := records.Find(harness.Inconclusive, ref); !ok {
		t.Errorf("expected the record of an inconclusive answer, found %s", records)
	}
	if text := wrong.Log() + records.String(); strings.Contains(text, "wr0ng") || strings.Contains(text, base64.StdEncoding.EncodeToString([]byte("gate:wr0ng"))[:16]) {
		t.Errorf("the password shows: %s", text)
	}
}

func authJSON(t *testing.T, scope, user, password string) []byte {
	b, err := json.Marshal(map[string]any{"auths": map[string]any{
		scope: map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte(user + ":" + password))},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func put(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestLocalUpstreams pulls, by real clients, images that skopeo carried into an
// air-gapped site as dir: and oci: layouts, under the names that they had outside
// and by the policy for these names.
func TestLocalUpstreams(t *testing.T) {
	const name = "registry.example"
	reg := harness.NewDockerRegistry(t)
	key, sigs := harness.NewGPG(t).Key(t, harness.Ed25519), harness.NewFileLookaside(t)
	signed, unsigned, multi := harness.NewImage(t, "signed"), harness.NewImage(t, "unsigned"), harness.NewMultiArch(t, "multi")
	images := map[string]harness.Image{"signed": signed, "unsigned": unsigned, "multi": multi}
	for repo, img := range images {
		reg.Push(t, repo, "v1", img)
	}
	sigs.Put(t, "signed", signed.Digest, key.Sign(t, name+"/signed:v1", signed.Digest))
	sigs.Put(t, "multi", multi.Digest, key.Sign(t, name+"/multi:v1", multi.Digest))

	skopeo := harness.Require(t, "skopeo")
	carry := func(repo, to string) {
		harness.MustRun(t, nil, skopeo, "copy", "--all", "--src-tls-verify=false", "docker://"+reg.Addr+"/"+repo+":v1", to)
	}
	dirs, tree, layout := t.TempDir(), t.TempDir(), t.TempDir()
	for repo := range images {
		if err := os.MkdirAll(filepath.Join(dirs, repo), 0o755); err != nil {
			t.Fatal(err)
		}
		carry(repo, "dir:"+filepath.Join(dirs, repo, "v1"))
		carry(repo, "oci:"+filepath.Join(tree, repo)+":v1")
		carry(repo, "oci:"+layout+":"+name+"/"+repo+":v1")
	}
	clients := []harness.Client{harness.NewSkopeo(t), harness.NewPodman(t), harness.NewCurl(t)}
	for _, c := range []struct{ kind, endpoint, transport string }{
		{"dir", "dir:" + dirs, ""},
		{"oci tree", "oci:" + tree, ""},
		{"oci layout with names", "oci:" + layout, ""},
		{"dir, atomic scopes", "dir:" + dirs, "atomic"},
	} {
		t.Run(c.kind, func(t *testing.T) {
			policy := harness.PolicyFor(name, key.SignedBy(t))
			if c.transport == "atomic" {
				policy = harness.Policy{Default: []harness.Requirement{harness.Reject()},
					Transports: map[string]map[string][]harness.Requirement{"atomic": {name: {key.SignedBy(t)}}}}
			}
			g := harness.StartGate(t, harness.GateConfig{
				Upstreams:   []harness.Upstream{{Registry: name, Endpoint: c.endpoint, Transport: c.transport}},
				Policy:      policy,
				RegistriesD: harness.RegistriesD{"": {Lookaside: sigs.URL}},
			})
			for _, client := range clients {
				for repo := range images {
					ref, mark := harness.Tagged(name, repo, "v1"), g.Mark(t)
					r := client.Pull(t, g, ref)
					want := harness.Allowed
					if repo == "unsigned" {
						want = harness.Denied
					}
					if (r.ExitCode == 0) != (want == harness.Allowed) {
						t.Errorf("%s: %s: expected %s, found exit status %d: %s", client.Name(), repo, want, r.ExitCode, r.Output)
					}
					g.Expect(t, mark, want, ref)
				}
			}
		})
	}
}
