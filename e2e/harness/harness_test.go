//go:build e2e

package harness

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// plain makes a registry look like a gate: images lie under the path that
// clients use at a gate. What fails here is the client's or the harness's fault.
func plain(reg *Registry) *Gate { return &Gate{Addr: reg.Addr, URL: reg.URL} }

func TestEveryClientPullsFromPlainRegistries(t *testing.T) {
	registries := map[string]*Registry{"docker-registry": NewDockerRegistry(t), "go registry": NewGoRegistry(t)}
	images := map[string]Image{
		"oci": NewImage(t, "one"), "docker": NewDockerImage(t, "two"), "index": NewMultiArch(t, "three"), "list": NewDockerList(t, "four"),
	}
	for _, reg := range registries {
		for tag, img := range images {
			reg.Push(t, "app", tag, img)
			reg.Push(t, "registry.example/app", tag, img) // where clients with a path prefix look
		}
	}
	for _, c := range Clients {
		t.Run(c.Name, func(t *testing.T) {
			client := c.New(t)
			for name, reg := range registries {
				for tag, img := range images {
					for _, ref := range []Ref{Tagged("registry.example", "app", tag), Digested("registry.example", "app", img.Digest)} {
						gate := plain(reg)
						if r := client.Pull(t, gate, ref); r.ExitCode != 0 {
							t.Errorf("%s from %s: exit status %d\n%s", ref, name, r.ExitCode, r.Output)
						}
					}
				}
				missing := client.Pull(t, plain(reg), Tagged("registry.example", "app", "none"))
				if missing.ExitCode == 0 {
					t.Errorf("an image that does not exist was pulled from %s:\n%s", name, missing.Output)
				}
			}
		})
	}
}

func TestSchema1IsPulled(t *testing.T) {
	reg := NewDockerRegistry(t)
	img := NewSchema1(t, "registry.example/app", "old", "text", true)
	reg.Push(t, "registry.example/app", "old", img)
	for _, client := range []Client{NewDocker(t), NewCurl(t)} {
		for _, ref := range []Ref{Tagged("registry.example", "app", "old"), Digested("registry.example", "app", img.Digest)} {
			if r := client.Pull(t, plain(reg), ref); r.ExitCode != 0 {
				t.Errorf("%s %s: exit status %d\n%s", client.Name(), ref, r.ExitCode, r.Output)
			}
		}
	}
}

// Each kind of key makes signatures that gpg itself finds good.
func TestSignersAgreeWithGPG(t *testing.T) {
	ring := NewGPG(t)
	img := NewImage(t, "signed")
	const ref = "registry.example/app:v1"
	for name, kind := range map[string]KeyKind{
		"RSA-3072": RSA3072, "RSA-1024": RSA1024, "Ed25519": Ed25519, "Ed25519 subkey": Ed25519Subkey, "RSA subkey": RSA3072Subkey, "expired": ExpiredKey,
	} {
		t.Run(name, func(t *testing.T) {
			k := ring.Key(t, kind)
			sig := filepath.Join(t.TempDir(), "sig")
			writeFile(t, sig, k.Sign(t, ref, img.Digest))
			r := MustRun(t, ring.Env(), "gpg", "--status-fd", "1", "--output", "-", "--decrypt", sig)
			want := "GOODSIG"
			if kind.expired {
				want = "EXPKEYSIG"
			}
			if !strings.Contains(r.Stdout, want) || !strings.Contains(r.Stdout, img.Digest.String()) || len(k.Public(t)) == 0 {
				t.Errorf("gpg says:\n%s", r.Output)
			}
		})
	}
	t.Run("skopeo", func(t *testing.T) {
		k := ring.Key(t, RSA3072)
		dir := t.TempDir()
		sig, manifest := filepath.Join(dir, "sig"), filepath.Join(dir, "manifest.json")
		writeFile(t, manifest, img.Manifest)
		for by, b := range map[string][]byte{"gpg": k.Sign(t, ref, img.Digest), "skopeo": k.SkopeoSign(t, ref, img.Manifest)} {
			writeFile(t, sig, b)
			if r := Run(t, ring.Env(), "skopeo", "standalone-verify", manifest, ref, k.Fingerprint, sig); r.ExitCode != 0 {
				t.Errorf("signed by %s: %s", by, r.Output)
			}
		}
	})
}

// skopeo copy --sign-by leaves the signature where a lookaside server has it.
func TestSkopeoCopySigns(t *testing.T) {
	k, reg, sigs := NewGPG(t).Key(t, RSA3072), NewGoRegistry(t), NewFileLookaside(t)
	img := NewImage(t, "copied")
	reg.Push(t, "app", "v1", img)
	k.SkopeoCopySign(t, reg.Addr+"/app:v1", reg.Addr+"/signed:v1", "registry.example/signed:v1", sigs)
	if b := readFile(t, filepath.Join(sigs.dir, sigs.path("signed", img.Digest), "signature-1")); len(b) == 0 {
		t.Error("empty signature")
	}
}

func TestLookasideAndItsFaults(t *testing.T) {
	l, img := NewWebLookaside(t), NewImage(t, "x")
	l.Put(t, "org/app", img.Digest, []byte("one"), []byte("two"))
	at := l.URL + "/org/app@sha256=" + img.Digest.Encoded() + "/signature-"
	for n, want := range map[string]int{"1": http.StatusOK, "2": http.StatusOK, "3": http.StatusNotFound} {
		if got := statusOf(at + n); got != want {
			t.Errorf("signature-%s: status %d, expected %d", n, got, want)
		}
	}
	l.Fail(FaultStatus(http.StatusInternalServerError))
	if got := statusOf(at + "1"); got != http.StatusInternalServerError {
		t.Errorf("status %d while failing", got)
	}
	l.Heal()
	l.Clear(t, "org/app", img.Digest)
	if got := statusOf(at + "1"); got != http.StatusNotFound {
		t.Errorf("status %d after clearing", got)
	}
	if n := len(l.Requests()); n != 5 {
		t.Errorf("%d requests recorded, expected 5", n)
	}
}
