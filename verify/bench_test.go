//go:build unix

package verify

import (
	"encoding/json"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/e2e/harness"
	"github.com/pullgate/pullgate/verify/trustroot"
)

// BenchmarkVerify judges an image by each kind of requirement, with nothing
// remembered. Everything that a registry or signature server would be asked for is in
// memory: what is measured is finding, reading and verifying.
func BenchmarkVerify(b *testing.B) {
	b.Run("insecureAcceptAnything", func(b *testing.B) {
		newWorld(b).judges(b, subject(b, v1), map[string]any{"type": "insecureAcceptAnything"})
	})
	for _, kind := range []string{"ed25519", "rsa2048", "rsa4096"} {
		b.Run("signedBy/"+kind, func(b *testing.B) {
			w, key := newWorld(b), newGPG(b, kind)
			w.store("team/app", key.sign(v1, theManifest))
			w.judges(b, subject(b, v1), signedBy(nil, key))
		})
	}
	b.Run("sigstoreSigned/p256", func(b *testing.B) {
		w, key := newWorld(b), newSigstoreKey(b)
		w.attach(repo, key.sign(repo, theManifest))
		w.judges(b, subject(b, v1), sigstoreSigned(matchRepository, key))
	})
	b.Run("sigstoreSigned/fulcio", func(b *testing.B) {
		w := newWorld(b)
		log, requirement, leaf, at := fulcioWorld(b)
		w.attach(repo, log.record(b, leaf.sign(b, repo), at, leaf.pem()))
		w.judges(b, subject(b, v1), requirement)
	})
	b.Run("signedBaseLayer", func(b *testing.B) {
		o := newOnBase(b, nil)
		app := o.bake(appRepo, recipe{layers: []string{"os1", "os2", "app"}, annotations: builtOn(baseTag, o.digest)})
		o.judges(b, subjectOf(b, appTag, app), ofRepository(baseRepo), o.scopes)
	})
	for _, c := range vectorRequirements() {
		b.Run(c.name, func(b *testing.B) {
			w := newWorld(b)
			w.judges(b, w.replay(b, c.vector), c.requirement)
		})
	}
}

// BenchmarkVerifyStranger judges an image that a key signed which is not trusted.
func BenchmarkVerifyStranger(b *testing.B) {
	w := newWorld(b)
	w.store("team/app", newGPG(b, "ed25519").sign(v1, theManifest))
	e := w.engine(policyFor(b, map[string]any{repo: []any{signedBy(nil, newGPG(b, "rsa2048"))}}))
	s := subject(b, v1)
	measured(b, func() {
		if v, err := e.Verify(b.Context(), s); err != nil || v.Decision != Denied {
			b.Fatal(v, err)
		}
	})
}

// judges measures a subject under a requirement for its registry, beside other scopes.
func (w *world) judges(b *testing.B, s Subject, requirement any, more ...map[string]any) {
	b.Helper()
	scopes := map[string]any{}
	for _, m := range more {
		for k, v := range m {
			scopes[k] = v
		}
	}
	scopes[appRepo] = []any{requirement}
	e := w.engine(policyFor(b, scopes))
	roots, err := trustroot.Open(trustroot.Options{Roots: []trustroot.Source{{Name: "public-good", File: vectorFile("trust/trusted_root.json")}}, Offline: true})
	if err != nil {
		b.Fatal(err)
	}
	e.UseRoots(roots)
	measured(b, func() {
		if v, err := e.Verify(b.Context(), s); err != nil || v.Decision != Allowed {
			b.Fatal(v, err)
		}
	})
}

// cpuTime is the processor time that this process has used. Unlike the time of the
// clock it does not count what else the machine does.
func cpuTime(tb testing.TB) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// measured runs f as often as the benchmark wants and reports its processor time too.
func measured(b *testing.B, f func()) {
	b.ReportAllocs()
	before := cpuTime(b)
	for b.Loop() {
		f()
	}
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
}

// vectorFile is a path below the vectors, which real signers made.
func vectorFile(name string) string {
	path, err := filepath.Abs(filepath.Join("../e2e/testdata/vectors", name))
	if err != nil {
		panic(err)
	}
	return path
}

type vectorRequirement struct {
	name        string
	vector      string
	requirement map[string]any
}

// vectorRequirements are the kinds of requirements that are judged by evidence of
// cosign and notation.
func vectorRequirements() []vectorRequirement {
	key := map[string]any{"type": "bundleSigned", "keyPath": vectorFile("trust/cosign.pub")}
	workflow := map[string]any{"type": "bundleSigned", "trustRoot": "public-good", "thresholds": map[string]any{"tlog": 0, "sct": 0, "timestamps": 1},
		"identities": []any{map[string]any{"issuer": harness.VectorIssuer, "subject": harness.VectorSubject}}}
	notation := map[string]any{"type": "notationSigned", "revocation": "skip", "trustedIdentities": []any{"x509.subject: C=US, ST=WA, O=acme.example, CN=build"},
		"trustStores": map[string]any{"ca": []any{vectorFile("trust/ca.crt")}}}
	attested := map[string]any{"type": "attested", "predicateType": "https://slsa.dev/provenance/v1", "signedBy": map[string]any{"keyPath": vectorFile("trust/cosign.pub")},
		"condition": "predicate.buildDefinition.buildType == 'https://acme.example/build/v1' && predicate.runDetails.builder.id.startsWith('https://acme.example/')"}
	return []vectorRequirement{
		{"bundleSigned/by key", "cosign3-key", key},
		{"bundleSigned/by identity", "cosign3-keyless", workflow},
		{"bundleSigned/attachment by key", "cosign2-key", key},
		{"bundleSigned/attachment by identity", "cosign2-keyless", workflow},
		{"notationSigned/JWS", "notation-jws", notation},
		{"notationSigned/COSE", "notation-cose", notation},
		{"attested/condition", "cosign3-attest", attested},
		{"anyOf/first of two", "cosign3-key", eitherOf(key, notation)},
		{"anyOf/second of two", "notation-jws", eitherOf(key, notation)},
	}
}

func eitherOf(requirements ...map[string]any) map[string]any {
	var of []any
	for _, r := range requirements {
		of = append(of, []any{r})
	}
	return map[string]any{"type": "anyOf", "of": of}
}

// replay puts a vector into the registry, and returns its image as it is judged.
func (w *world) replay(tb testing.TB, name string) Subject {
	tb.Helper()
	v := harness.LoadVector(tb, vectorFile("images/"+name))
	for d, b := range v.Blobs {
		w.reg.blobs[appRepo+"@"+d.String()] = b
	}
	for d, img := range v.Manifests {
		w.reg.manifests[appRepo+"@"+d.String()] = img.Manifest
		var m imgspec.Manifest
		if err := json.Unmarshal(img.Manifest, &m); err != nil {
			tb.Fatal(err)
		}
		if m.Subject != nil && m.Subject.Digest == v.Tags["v1"] {
			w.reg.referrers = append(w.reg.referrers, img.Descriptor())
		}
	}
	for tag, d := range v.Tags {
		w.reg.manifests[appRepo+":"+tag] = v.Manifests[d].Manifest
	}
	return subjectOf(tb, appTag, v.Manifests[v.Tags["v1"]].Manifest)
}
