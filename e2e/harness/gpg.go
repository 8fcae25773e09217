package harness

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// GPG is a key ring of the real gpg, with an agent of its own.
type GPG struct {
	// Home is the ring's directory, for programs that read GNUPGHOME.
	Home string

	program string
	keys    int
}

// NewGPG makes an empty key ring.
func NewGPG(t testing.TB) *GPG {
	t.Helper()
	g := &GPG{program: Require(t, "gpg", "gpgconf"), Home: ShortDir(t)}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		if out, err := exec.CommandContext(ctx, "gpgconf", "--homedir", g.Home, "--kill", "all").CombinedOutput(); err != nil {
			t.Errorf("end gpg-agent: %v: %s", err, out)
		}
	})
	return g
}

// Env is the environment that makes programs use this ring.
func (g *GPG) Env() []string { return []string{"GNUPGHOME=" + g.Home} }

// KeyKind says how a key is made.
type KeyKind struct {
	algorithm string // of the signing key, as gpg's --quick-generate-key takes it
	subkey    bool   // a signing subkey below a primary key that only certifies
	expired   bool   // made, used and expired in the past
}

// The kinds of keys.
var (
	RSA3072       = KeyKind{algorithm: "rsa3072"}
	RSA1024       = KeyKind{algorithm: "rsa1024"} // too weak by the gate's default
	Ed25519       = KeyKind{algorithm: "ed25519"}
	Ed25519Subkey = KeyKind{algorithm: "ed25519", subkey: true}
	RSA3072Subkey = KeyKind{algorithm: "rsa3072", subkey: true}
	ExpiredKey    = KeyKind{algorithm: "rsa3072", expired: true}
)

// past is when expired keys were made: they were valid for a day.
const past = "20240101T000000"

// Key is one key of a ring.
type Key struct {
	Fingerprint string // of the primary key
	Kind        KeyKind

	ring *GPG
}

// Key makes a key.
func (g *GPG) Key(t testing.TB, kind KeyKind) *Key {
	t.Helper()
	g.keys++
	user := "key " + string(rune('A'+g.keys-1)) + " <key@example.com>"
	usage, expires := "sign", "never"
	if kind.subkey {
		usage = "cert"
	}
	if kind.expired {
		expires = "1d"
	}
	k := &Key{Kind: kind, ring: g}
	status := g.run(t, kind, nil, "--quick-generate-key", user, kind.algorithm, usage, expires)
	k.Fingerprint = createdKey(t, status)
	if kind.subkey {
		g.run(t, kind, nil, "--quick-add-key", k.Fingerprint, kind.algorithm, "sign", "never")
	}
	return k
}

// createdKey reads the fingerprint from gpg's status line KEY_CREATED.
func createdKey(t testing.TB, status string) string {
	t.Helper()
	for line := range strings.Lines(status) {
		if f := strings.Fields(line); len(f) == 4 && f[1] == "KEY_CREATED" {
			return f[3]
		}
	}
	t.Fatalf("gpg made no key:\n%s", status)
	return ""
}

// run executes gpg and returns its standard output, status lines included.
func (g *GPG) run(t testing.TB, kind KeyKind, stdin []byte, args ...string) string {
	t.Helper()
	all := []string{"--homedir", g.Home, "--batch", "--yes", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""}
	if kind.expired {
		all = append(all, "--faked-system-time", past)
	}
	if args[0] == "--quick-generate-key" {
		all = append(all, "--status-fd", "1")
	}
	r := RunInput(t, nil, stdin, g.program, append(all, args...)...)
	if r.ExitCode != 0 {
		t.Fatalf("%s: exit status %d\n%s", strings.Join(r.Args, " "), r.ExitCode, r.Output)
	}
	return r.Stdout
}

// Public returns the public key (with its subkeys), not armored.
func (k *Key) Public(t testing.TB) []byte {
	t.Helper()
	return []byte(k.ring.run(t, KeyKind{}, nil, "--export", k.Fingerprint))
}

// PublicFile writes the public key into a file and returns its path.
func (k *Key) PublicFile(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), k.Fingerprint+".gpg")
	writeFile(t, path, k.Public(t))
	return path
}

// SignedBy is the requirement that this key signed; see [SignedBy] for several
// keys and [Requirement.WithIdentity] for a signedIdentity.
func (k *Key) SignedBy(t testing.TB) Requirement {
	t.Helper()
	return SignedBy(k.Public(t))
}

// Sign makes a simple signing signature with gpg: the statement that reference
// is the manifest with digest d.
func (k *Key) Sign(t testing.TB, reference string, d digest.Digest) []byte {
	t.Helper()
	return k.SignPayload(t, SimpleSigning(t, reference, d))
}

// SignPayload signs any bytes as gpg --sign does; options are further options
// of gpg, for example "--digest-algo", "SHA1".
func (k *Key) SignPayload(t testing.TB, payload []byte, options ...string) []byte {
	t.Helper()
	args := append(options, "--local-user", k.Fingerprint, "--output", "-", "--sign")
	return []byte(k.ring.run(t, k.Kind, payload, args...))
}

// SimpleSigning is the payload of a simple signing signature
// (containers-signature(5)).
func SimpleSigning(t testing.TB, reference string, d digest.Digest) []byte {
	t.Helper()
	return claim(t, "atomic container signature", reference, d, map[string]any{"creator": "gpg", "timestamp": time.Now().Unix()})
}

// claim is the JSON that simple signing and cosign share.
func claim(t testing.TB, kind, reference string, d digest.Digest, optional any) []byte {
	t.Helper()
	b, err := json.Marshal(map[string]any{
		"critical": map[string]any{
			"identity": map[string]any{"docker-reference": reference},
			"image":    map[string]any{"docker-manifest-digest": d},
			"type":     kind,
		},
		"optional": optional,
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// SkopeoSign signs a manifest with skopeo standalone-sign.
func (k *Key) SkopeoSign(t testing.TB, reference string, manifest []byte) []byte {
	t.Helper()
	program := Require(t, "skopeo")
	dir := t.TempDir()
	in, out := filepath.Join(dir, "manifest.json"), filepath.Join(dir, "signature")
	writeFile(t, in, manifest)
	MustRun(t, k.ring.Env(), program, "standalone-sign", in, reference, k.Fingerprint, "--output", out)
	return readFile(t, out)
}

// SkopeoCopySign copies an image from one registry to another (or back to the
// same) with skopeo copy --sign-by, which stores the signature in a file:
// lookaside. Identity is the reference that is signed.
func (k *Key) SkopeoCopySign(t testing.TB, from, to, identity string, sigs *Lookaside) {
	t.Helper()
	program := Require(t, "skopeo")
	host, _, _ := strings.Cut(to, "/")
	d := t.TempDir()
	RegistriesD{host: {Lookaside: sigs.URL}}.Write(t, d)
	MustRun(t, k.ring.Env(), program, "--registries.d", d, "copy", "--all",
		"--src-tls-verify=false", "--dest-tls-verify=false", "--sign-by", k.Fingerprint, "--sign-identity", identity,
		"docker://"+from, "docker://"+to)
}

func encode(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
