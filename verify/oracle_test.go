package verify

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/docker"
	libimage "go.podman.io/image/v5/image"
	"go.podman.io/image/v5/signature"
)

// libraryAllows asks containers/image itself: the policy as it is written, over a
// copy of the image in a directory, under the reference asked for.
func libraryAllows(t *testing.T, policy string, s Subject, blobs [][]byte) bool {
	t.Helper()
	ctx, dir := context.Background(), t.TempDir()
	files := map[string][]byte{"manifest.json": s.Manifest}
	for i, b := range blobs {
		files[fmt.Sprintf("signature-%d", i+1)] = b
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	stored, err := directory.NewReference(dir)
	if err != nil {
		t.Fatal(err)
	}
	src, err := stored.NewImageSource(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	asked, err := docker.ParseReference("//" + s.Ref.String())
	if err != nil {
		t.Fatal(err)
	}
	p, err := signature.NewPolicyFromBytes([]byte(policy))
	if err != nil {
		t.Fatal(err)
	}
	pc, err := signature.NewPolicyContext(p)
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Destroy()
	ok, _ := pc.IsRunningImageAllowed(ctx, libimage.UnparsedInstanceWithReference(libimage.UnparsedInstance(src, nil), asked))
	return ok
}

// TestAgreesWithTheLibrary crosses matchers, identities, signers and references.
func TestAgreesWithTheLibrary(t *testing.T) {
	d := digest.FromBytes(theManifest)
	g, stranger, expired := newGPG(t, "ed25519"), newGPG(t, "ed25519"), expiredGPG(t)
	c, strangerC := newSigstoreKey(t), newSigstoreKey(t)
	identities := []map[string]any{
		nil, {"type": "matchExact"}, {"type": "matchRepoDigestOrExact"}, {"type": "matchRepository"},
		{"type": "exactReference", "dockerReference": v1}, {"type": "exactReference", "dockerReference": "other.example.com/a:v1"},
		{"type": "exactRepository", "dockerRepository": repo}, {"type": "exactRepository", "dockerRepository": "other.example.com/a"},
		{"type": "remapIdentity", "prefix": "registry.example.com", "signedPrefix": "signer.example.com/x"},
		{"type": "remapIdentity", "prefix": "registry.example.com/tea", "signedPrefix": "signer.example.com"},
	}
	claims := []string{repo, v1, v2, repo + "@" + d.String(), "other.example.com/a:v1", "signer.example.com/x/team/app:v1", "app", "not a reference"}
	asked := []string{v1, v2, repo + "@" + d.String()}
	cases, allowed := 0, 0
	for _, identity := range identities {
		w := newWorld(t)
		policies := map[string]string{
			"gpg":    policyFor(t, map[string]any{"registry.example.com": []any{signedBy(identity, g, expired)}}),
			"cosign": policyFor(t, map[string]any{"registry.example.com": []any{sigstoreSigned(identity, c)}}),
		}
		for kind, policy := range policies {
			e := w.engine(policy)
			for _, claim := range claims {
				for who, blob := range blobsFor(t, kind, claim, g, stranger, expired, c, strangerC) {
					w.store("team/app", blob)
					for _, ref := range asked {
						s := subject(t, ref)
						want := libraryAllows(t, policy, s, [][]byte{blob})
						v := verify(t, e, s)
						if cases++; want {
							allowed++
						}
						if (v.Decision == Allowed) != want {
							t.Errorf("%s %v claims %s by %s, asked for %s: library %t, here %s", kind, identity, claim, who, ref, want, v.Decision)
						}
						if !want && (len(v.Requirements[0].Found) != 1 || strings.HasPrefix(v.Requirements[0].Found[0], "malformed")) {
							t.Errorf("%s %v claims %s by %s, asked for %s: reason %v", kind, identity, claim, who, ref, v.Requirements[0].Found)
						}
					}
				}
			}
		}
	}
	if allowed < 40 || cases < 1000 {
		t.Errorf("%d cases, %d allowed: the test does not test much", cases, allowed)
	}
}

// blobsFor signs a claim in several ways.
func blobsFor(t *testing.T, kind, claim string, g, stranger, expired *gpgKey, c, strangerC *sigstoreKeyPair) map[string][]byte {
	if kind == "gpg" {
		return map[string][]byte{"trusted": g.sign(claim, theManifest), "stranger": stranger.sign(claim, theManifest),
			"expired": expired.sign(claim, theManifest), "trusted, other manifest": g.sign(claim, otherManifest)}
	}
	out := map[string][]byte{}
	for who, k := range map[string]*sigstoreKeyPair{"trusted": c, "stranger": strangerC} {
		blob, err := k.sign(claim, theManifest).Blob()
		if err != nil {
			t.Fatal(err)
		}
		out[who] = blob
	}
	return out
}

// TestWouldPassWouldPass signs exactly what the denial asked for.
func TestWouldPassWouldPass(t *testing.T) {
	key := newGPG(t, "ed25519")
	for _, identity := range []map[string]any{
		nil, {"type": "matchExact"}, {"type": "matchRepository"},
		{"type": "exactReference", "dockerReference": "other.example.com/a:v1"},
		{"type": "exactRepository", "dockerRepository": "other.example.com/a"},
		{"type": "remapIdentity", "prefix": "registry.example.com", "signedPrefix": "signer.example.com/x"},
	} {
		for _, ref := range []string{v1, byDigest()} {
			w := newWorld(t)
			e := w.engine(policyFor(t, map[string]any{repo: []any{signedBy(identity, key)}}))
			text := verify(t, e, subject(t, ref)).Requirements[0].WouldPass
			_, rest, _ := strings.Cut(text, " for ")
			claim, _, ok := strings.Cut(rest, " by one of the keys ")
			if !ok {
				t.Fatalf("cannot read %q", text)
			}
			if name, any := strings.CutPrefix(claim, "any tag of "); any {
				claim = name + ":whatever"
			}
			w.store("team/app", key.sign(claim, theManifest))
			if v := verify(t, e, subject(t, ref)); v.Decision != Allowed {
				t.Errorf("%v, %s: signed %s as %q asks: %s", identity, ref, claim, text, reasons(v))
			}
		}
	}
}
