package verify

import (
	"context"
	"testing"
)

// BenchmarkVerify judges one image with one signature, all of it in memory.
func BenchmarkVerify(b *testing.B) {
	for _, kind := range []string{"ed25519", "rsa2048", "rsa4096"} {
		w := newWorld(b)
		key := newGPG(b, kind)
		w.store("team/app", key.sign(v1, theManifest))
		run(b, "gpg-"+kind, w, signedBy(nil, key))
	}
	w := newWorld(b)
	key := newSigstoreKey(b)
	w.attach(repo, key.sign(repo, theManifest))
	run(b, "sigstore-p256", w, sigstoreSigned(matchRepository, key))

	log, requirement, leaf, at := fulcioWorld(b)
	w = newWorld(b)
	w.attach(repo, log.record(b, leaf.sign(b, repo), at, leaf.pem()))
	run(b, "sigstore-fulcio", w, requirement)

	run(b, "accept-anything", newWorld(b), map[string]any{"type": "insecureAcceptAnything"})
}

// BenchmarkVerifyStranger judges an image that a key signed which is not trusted.
func BenchmarkVerifyStranger(b *testing.B) {
	w := newWorld(b)
	w.store("team/app", newGPG(b, "ed25519").sign(v1, theManifest))
	e := w.engine(policyFor(b, map[string]any{repo: []any{signedBy(nil, newGPG(b, "rsa2048"))}}))
	s := subject(b, v1)
	for b.Loop() {
		if v, err := e.Verify(context.Background(), s); err != nil || v.Decision != Denied {
			b.Fatal(v, err)
		}
	}
}

func run(b *testing.B, name string, w *world, requirement any) {
	e := w.engine(policyFor(b, map[string]any{repo: []any{requirement}}))
	s := subject(b, v1)
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if v, err := e.Verify(context.Background(), s); err != nil || v.Decision != Allowed {
				b.Fatal(v, err)
			}
		}
	})
}
