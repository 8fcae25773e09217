package verify

import (
	"context"
	"strings"
	"testing"
)

const (
	repo = "registry.example.com/team/app"
	v1   = repo + ":v1"
)

// verify judges and expects an answer.
func verify(t testing.TB, e *Engine, s Subject) Verdict {
	t.Helper()
	v, err := e.Verify(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestSignedImagePasses(t *testing.T) {
	for _, kind := range []string{"ed25519", "rsa2048"} {
		w := newWorld(t)
		key := newGPG(t, kind)
		w.store("team/app", key.sign(v1, theManifest))
		v := verify(t, w.engine(policyFor(t, map[string]any{repo: []any{signedBy(nil, key)}})), subject(t, v1))
		if v.Decision != Allowed || v.Scope != repo || len(v.Signers()) != 1 || !strings.HasPrefix(v.Signers()[0], "gpg:") {
			t.Errorf("%s: %+v", kind, v)
		}
	}
}

func TestSigstoreSignedImagePasses(t *testing.T) {
	w := newWorld(t)
	key := newSigstoreKey(t)
	w.attach(repo, key.sign(repo, theManifest))
	v := verify(t, w.engine(policyFor(t, map[string]any{repo: []any{sigstoreSigned(matchRepository, key)}})), subject(t, v1))
	if v.Decision != Allowed || !strings.HasPrefix(v.Signers()[0], "sigstore-key:sha256:") {
		t.Errorf("%+v", v)
	}
}
