//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/e2e/harness"
)

// publisher is an example of docs/policy.md and an image that is signed as it says.
type publisher struct {
	heading string // of the example, without its #
	image   string // registry/repository that is asked for, by tag v1
	// put stores the image and what is said about it.
	put func(t *testing.T, w *publisherWorld, repo string)
	// adapted are texts of the policy and what stands in their place here; each must be
	// there.
	adapted []string
}

// ours is the registry of the examples that are nobody else's.
const ours = "registry.example.com"

// publisherWorld is what the images and signatures of one example are stored in.
type publisherWorld struct {
	images, second *harness.Registry
	lookaside      *harness.Lookaside
	gpg            *harness.Key
	cosign         *harness.SigstoreKey
}

// replay stores a vector with its evidence.
func replay(name string) func(*testing.T, *publisherWorld, string) {
	return func(t *testing.T, w *publisherWorld, repo string) {
		harness.LoadVector(t, filepath.Join(vectorImages, name)).Replay(t, w.images, repo)
	}
}

// gpgSigned stores an image that is signed in the lookaside.
func gpgSigned(registry, tag string, img harness.Image) func(*testing.T, *publisherWorld, string) {
	return func(t *testing.T, w *publisherWorld, repo string) {
		w.images.Push(t, repo, tag, img)
		w.lookaside.Put(t, repo, img.Digest, w.gpg.Sign(t, registry+"/"+repo+":"+tag, img.Digest))
	}
}

// platformSigned stores an index in one registry and the signature of its image in the
// other.
func platformSigned(t *testing.T, w *publisherWorld, repo string) {
	v := harness.LoadVector(t, filepath.Join(vectorImages, "cosign2-referrer"))
	v.Replay(t, w.second, "docker/dhi-python")
	w.images.Push(t, repo, "v1", harness.NewIndex(t, imageOf(v)))
}

// onBase stores a base that is signed with GPG, and an image with its layers that
// cosign signed.
func onBase(t *testing.T, w *publisherWorld, repo string) {
	base := harness.NewImage(t, "the base")
	gpgSigned(ours, "9", base)(t, w, "base/os")
	app := harness.WithAnnotation(t, base, "org.opencontainers.image.base.name", ours+"/base/os:9")
	w.images.Push(t, repo, "v1", app)
	w.cosign.Attach(t, w.images, repo, ours+"/"+repo, app.Digest)
}

func publishers(t *testing.T) []publisher {
	const ownRef = "externalParameters.workflow.ref" // as GitHub writes it, and as the vectors do
	scanner := `{
          "trustRoot": "public-good",
          "identities": [{
            "issuer": "https://token.actions.githubusercontent.com",
            "subject": "https://github.com/acme/scanner/.github/workflows/scan.yml@refs/heads/main"
          }]
        }`
	return []publisher{
		{"Red Hat", "registry.access.redhat.com/ubi9", gpgSigned("registry.access.redhat.com", "v1", harness.NewMultiArch(t, "signed with GPG")), nil},
		{"Docker Hardened Images", "dhi.io/python", platformSigned, nil},
		{"Chainguard, distroless, registry.k8s.io", "cgr.dev/acme/app", replay("cosign2-keyless"), nil},
		{"cosign 3", "ghcr.io/acme/app", replay("cosign3-keyless"), nil},
		{"Microsoft", "mcr.microsoft.com/app", replay("notation-timestamped"), nil},
		{"GitHub attestations", "ghcr.io/acme/app", replay("cosign3-attest-keyless"), []string{ownRef, "externalParameters.ref"}},
		{"GitHub attestations", "ghcr.io/acme/private", replay("cosign3-attest-keyless"), []string{ownRef, "externalParameters.ref"}},
		{"SUSE", "registry.suse.com/bci/bci-base", replay("cosign2-index"), nil},
		{"Alternatives: `anyOf`", ours + "/moving/old", gpgSigned(ours, "v1", harness.NewImage(t, "signed with GPG")), nil},
		{"Alternatives: `anyOf`", ours + "/moving/new", replay("cosign3-key"), nil},
		// The scan of the vectors is by the same key, in other words, and not of this week.
		{"Attestations: `attested`", ours + "/team/app", replay("everything"), []string{
			"'https://acme.example/build'", "'https://acme.example/build/v1'", scanner, `{"keyPath": "keys/cosign.pub"}`,
			"!predicate.scanner.result.Results.exists(r, has(r.Vulnerabilities) && r.Vulnerabilities.exists(v, v.Severity == 'CRITICAL'))",
			"predicate.scanner.result.critical == 0", ",\n        \"maxAge\": \"168h\"", ""}},
		{"Base images", ours + "/team/app", onBase, nil},
	}
}

// Every example of what publishers use accepts an image that is signed so, and denies
// it when the keys are others.
func TestPublishers(t *testing.T) {
	page, err := os.ReadFile("../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	for _, p := range publishers(t) {
		shown[p.heading] = true
		t.Run(strings.ReplaceAll(p.heading+" "+p.image, "/", "_"), func(t *testing.T) {
			policy, settings := exampleUnder(t, string(page), p.heading)
			for i := 0; i < len(p.adapted); i += 2 {
				if !strings.Contains(policy, p.adapted[i]) {
					t.Fatalf("the example has no %q", p.adapted[i])
				}
				policy = strings.ReplaceAll(policy, p.adapted[i], p.adapted[i+1])
			}
			for _, good := range []bool{true, false} {
				out := p.check(t, policy, settings, good)
				if want := map[bool]int{true: 0, false: 1}[good]; out.ExitCode != want {
					t.Errorf("with the signer's keys: %v: expected exit status %d, found %d: %s", good, want, out.ExitCode, out.Output)
				}
				if strings.Contains(out.Output, "scope       default") {
					t.Errorf("the example is not about %s: %s", p.image, out.Output)
				}
			}
		})
	}
	_, section, _ := strings.Cut(string(page), "### What publishers use\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for _, h := range regexp.MustCompile(`(?m)^#### (.+)$`).FindAllStringSubmatch(section, -1) {
		if !shown[h[1]] {
			t.Errorf("nothing runs the example of %s", h[1])
		}
	}
}

// exampleUnder returns the policy under a heading, and the other settings.
func exampleUnder(t *testing.T, page, heading string) (policy, settings string) {
	t.Helper()
	_, text, found := strings.Cut(page, "# "+heading+"\n")
	if !found {
		t.Fatalf("no heading %s", heading)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	if next := regexp.MustCompile(`(?m)^###+ `).FindStringIndex(text); next != nil {
		text = text[:next[0]]
	}
	for _, s := range regexp.MustCompile("(?s)```(json|yaml)\n(.*?)```").FindAllStringSubmatch(text, -1) {
		switch {
		case s[1] == "json" && policy == "":
			policy = s[2]
		case s[1] == "yaml":
			settings += s[2]
		}
	}
	if policy == "" {
		t.Fatalf("no policy under %s", heading)
	}
	return policy, settings
}

// check asks about the image, under the signer's keys or under others.
func (p publisher) check(t *testing.T, policy, settings string, good bool) harness.Result {
	t.Helper()
	ring := harness.NewGPG(t)
	w := &publisherWorld{images: harness.NewDockerRegistry(t), second: harness.NewGoRegistry(t), lookaside: harness.NewWebLookaside(t),
		gpg: ring.Key(t, harness.Ed25519), cosign: harness.NewSigstoreKey(t)}
	if strings.Contains(p.heading, "cosign 3") || strings.Contains(p.heading, "Microsoft") || strings.Contains(p.heading, "`") {
		w.images = harness.NewGoRegistry(t) // with the referrers API
	}
	registry, repo, _ := strings.Cut(p.image, "/")
	p.put(t, w, repo)
	var doc harness.Policy
	if err := json.Unmarshal([]byte(policy), &doc); err != nil {
		t.Fatal(err)
	}
	withoutLogs(doc.Transports)
	config := harness.GateConfig{Policy: doc,
		Upstreams:   []harness.Upstream{{Registry: registry, Endpoint: w.images.URL}},
		RegistriesD: harness.RegistriesD{registry: {Lookaside: w.lookaside.URL}},
		Extra:       "trust_roots: [{name: public-good, trusted_root: trusted_root.json}, {name: github, trusted_root: trusted_root.json}]"}
	if _, elsewhere, ok := strings.Cut(settings, "signature_repositories:"); ok {
		config.Upstreams = append(config.Upstreams, harness.Upstream{Registry: "registry.scout.docker.com", Endpoint: w.second.URL})
		config.Extra += "\nsignature_repositories:" + elsewhere
	}
	if strings.Contains(settings, "lookaside:") && !strings.Contains(settings, "\n  "+registry+":\n    lookaside: https://") {
		t.Errorf("registries.d is not about %s: %s", registry, settings)
	}
	g := harness.WriteConfig(t, config)
	w.keys(t, filepath.Dir(g.Policy), good, strings.Contains(p.heading, "Base"))
	return g.Command(t, "check", p.image+":v1")
}

// withoutLogs makes requirements count on timestamps: the vectors' private instance has
// no transparency log.
func withoutLogs(v any) {
	switch v := v.(type) {
	case map[string]map[string][]harness.Requirement:
		for _, scopes := range v {
			for _, list := range scopes {
				for _, r := range list {
					withoutLogs(map[string]any(r))
				}
			}
		}
	case map[string]any:
		if v["trustRoot"] == "public-good" {
			v["thresholds"] = map[string]int{"tlog": 0, "sct": 0, "timestamps": 1}
		}
		for _, x := range v {
			withoutLogs(x)
		}
	case []any:
		for _, x := range v {
			withoutLogs(x)
		}
	}
}

// keys writes the files that the examples name: the signers' or others.
func (w *publisherWorld) keys(t *testing.T, dir string, good, ownCosign bool) {
	t.Helper()
	read := func(name string) []byte {
		b, err := os.ReadFile(trustFile(t, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	cosign, gpg, ca, root := read("cosign.pub"), w.gpg.Public(t), read("ca.crt"), read("trusted_root.json")
	if ownCosign {
		cosign = w.cosign.Public(t)
	}
	if !good {
		cosign, ca = read("other.pub"), read("other-ca.crt")
		gpg = harness.NewGPG(t).Key(t, harness.Ed25519).Public(t)
		var doc map[string]any
		if err := json.Unmarshal(root, &doc); err != nil {
			t.Fatal(err)
		}
		doc["certificateAuthorities"] = doc["timestampAuthorities"]
		root = []byte(fmt.Sprint(toJSON(t, doc)))
	}
	for name, b := range map[string][]byte{"keys/cosign.pub": cosign, "keys/release-2026.asc": gpg, "keys/acme.crt": ca, "keys/tsa.crt": read("tsa.crt"), "trusted_root.json": root} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func toJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
