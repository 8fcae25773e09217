//go:build e2e

package e2e

import (
	"strconv"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/e2e/harness"
)

// signing is what the signers have at hand.
type signing struct {
	ring *harness.GPG
	reg  *harness.Registry
	web  *harness.Lookaside
	file *harness.Lookaside
}

// Where the gate is told to look for the signatures of a case.
const (
	inWeb = iota
	inFiles
	inRegistry
)

func (s *signing) place(where int) harness.SignaturePlace {
	switch where {
	case inFiles:
		return harness.SignaturePlace{Lookaside: s.file.URL}
	case inRegistry:
		return harness.SignaturePlace{Lookaside: s.web.URL, SigstoreAttachments: true}
	}
	return harness.SignaturePlace{Lookaside: s.web.URL}
}

// A signer signs an image that is published already, and returns the requirement
// that trusts exactly its key.
type signer func(t *testing.T, s *signing, img harness.Image, ref harness.Ref) harness.Requirement

// gpg signs with gpg --sign and a key of this kind; the signature goes to the web
// server.
func gpg(kind harness.KeyKind, options ...string) signer {
	return func(t *testing.T, s *signing, img harness.Image, ref harness.Ref) harness.Requirement {
		key := s.ring.Key(t, kind)
		s.web.Put(t, ref.Repository, img.Digest, key.SignPayload(t, harness.SimpleSigning(t, ref.String(), img.Digest), options...))
		return key.SignedBy(t)
	}
}

// cosign signs like cosign sign --key, for this identity.
func cosign(identity func(harness.Ref) string) signer {
	return func(t *testing.T, s *signing, img harness.Image, ref harness.Ref) harness.Requirement {
		key := harness.NewSigstoreKey(t)
		key.Attach(t, s.reg, ref.Repository, identity(ref), img.Digest)
		return key.Signed(t)
	}
}

var signers = []struct {
	name   string
	where  int
	denied string // empty: allowed
	sign   signer
}{
	{"RSA-3072", inWeb, "", gpg(harness.RSA3072)},
	{"Ed25519", inWeb, "", gpg(harness.Ed25519)},
	{"Ed25519 subkey", inWeb, "", gpg(harness.Ed25519Subkey)},
	{"RSA-3072 subkey", inWeb, "", gpg(harness.RSA3072Subkey)},
	{"expired key", inWeb, "expired", gpg(harness.ExpiredKey)},
	{"RSA-1024", inWeb, "1024", gpg(harness.RSA1024)},
	{"SHA-1", inWeb, "SHA-1", gpg(harness.RSA3072, "--digest-algo", "SHA1")},
	{"in files", inFiles, "", func(t *testing.T, s *signing, img harness.Image, ref harness.Ref) harness.Requirement {
		key := s.ring.Key(t, harness.Ed25519)
		s.file.Put(t, ref.Repository, img.Digest, key.Sign(t, ref.String(), img.Digest))
		return key.SignedBy(t)
	}},
	{"good after bad", inWeb, "", func(t *testing.T, s *signing, img harness.Image, ref harness.Ref) harness.Requirement {
		for range 3 {
			gpg(harness.Ed25519)(t, s, img, ref)
		}
		return gpg(harness.Ed25519)(t, s, img, ref)
	}},
	{"skopeo standalone-sign", inWeb, "", func(t *testing.T, s *signing, img harness.Image, ref harness.Ref) harness.Requirement {
		key := s.ring.Key(t, harness.RSA3072)
		s.web.Put(t, ref.Repository, img.Digest, key.SkopeoSign(t, ref.String(), img.Manifest))
		return key.SignedBy(t)
	}},
	{"skopeo copy --sign-by", inFiles, "", func(t *testing.T, s *signing, img harness.Image, ref harness.Ref) harness.Requirement {
		key := s.ring.Key(t, harness.RSA3072)
		s.reg.Push(t, "staging", ref.Tag, img)
		key.SkopeoCopySign(t, s.reg.Addr+"/staging:"+ref.Tag, s.reg.Addr+"/"+ref.Path(), ref.String(), s.file)
		return key.SignedBy(t)
	}},
	{"cosign", inRegistry, "", cosign(harness.Ref.String)},
	{"cosign without tag", inRegistry, "", func(t *testing.T, s *signing, img harness.Image, ref harness.Ref) harness.Requirement {
		name := ref.Registry + "/" + ref.Repository
		return cosign(func(harness.Ref) string { return name })(t, s, img, ref).WithIdentity("matchRepository")
	}},
	{"cosign for another tag", inRegistry, "signature is for", cosign(func(r harness.Ref) string { return r.Registry + "/" + r.Repository + ":v2" })},
	{"cosign by another key", inRegistry, "trust", func(t *testing.T, s *signing, img harness.Image, ref harness.Ref) harness.Requirement {
		cosign(harness.Ref.String)(t, s, img, ref)
		return harness.NewSigstoreKey(t).Signed(t)
	}},
}

// The signatures of real signers count, wherever they are kept; weak and expired
// ones do not. The policy has a scope for each case, which trusts one key.
func TestSigners(t *testing.T) {
	s := &signing{harness.NewGPG(t), harness.NewDockerRegistry(t), harness.NewWebLookaside(t), harness.NewFileLookaside(t)}
	ref := func(i int) harness.Ref { return harness.Tagged(honest, "signers/case"+strconv.Itoa(i), "v1") }
	config := harness.GateConfig{
		Upstreams:   []harness.Upstream{{Registry: honest, Endpoint: s.reg.URL}},
		Policy:      harness.Policy{Default: []harness.Requirement{harness.Reject()}},
		RegistriesD: harness.RegistriesD{},
	}
	for i, c := range signers {
		img, r := harness.NewImage(t, c.name), ref(i)
		s.reg.Push(t, r.Repository, r.Tag, img)
		scope := r.Registry + "/" + r.Repository
		config.Policy = config.Policy.With(scope, c.sign(t, s, img, r))
		config.RegistriesD[scope] = s.place(c.where)
	}
	gate, curl := harness.StartGate(t, config), harness.NewCurl(t)
	for i, c := range signers {
		t.Run(c.name, func(t *testing.T) {
			mark := gate.Mark(t)
			r := curl.Pull(t, gate, ref(i))
			if c.denied == "" {
				if rec := gate.Expect(t, mark, harness.Allowed, ref(i)); r.ExitCode != 0 || len(rec.Signers) != 1 {
					t.Errorf("exit status %d, signers %v\n%s", r.ExitCode, rec.Signers, r.Output)
				}
				return
			}
			rec := gate.Expect(t, mark, harness.Denied, ref(i))
			if r.ExitCode == 0 || !strings.Contains(strings.Join(rec.Reasons, "\n"), c.denied) {
				t.Errorf("exit status %d, reasons %q, expected %q", r.ExitCode, rec.Reasons, c.denied)
			}
		})
	}
}
