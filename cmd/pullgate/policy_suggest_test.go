package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/distribution/reference"

	"github.com/pullgate/pullgate/verify"
	"github.com/pullgate/pullgate/verify/bundle"
)

// vectors are images that real signers signed.
const vectors = "../../e2e/testdata/vectors"

// command runs pullgate and returns its exit code and what it printed.
func command(t *testing.T, args ...string) (int, string) {
	t.Helper()
	var out bytes.Buffer
	code := run(context.Background(), args, &out, &out)
	return code, out.String()
}

// vectorGate writes a configuration whose registry is the vectors.
func vectorGate(t *testing.T, policy string) string {
	t.Helper()
	images, err := filepath.Abs(filepath.Join(vectors, "images"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "pullgate.yaml")
	root, err := filepath.Abs(filepath.Join(vectors, "trust", "trusted_root.json"))
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(dir, "other.json")
	if err := os.WriteFile(other, otherRoot(t, root), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		file: fmt.Sprintf("policy: policy.json\ndefault_registry: vectors.example\nupstreams:\n  - {registry: vectors.example, endpoint: \"oci:%s\"}\n"+
			"trust_roots: [{name: acme, trusted_root: %q}, {name: other, trusted_root: %q}]\n", images, root, other),
		filepath.Join(dir, "policy.json"): policy,
	} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return file
}

// otherRoot is a trusted root whose certificate authority is another one: its timestamp
// authority's.
func otherRoot(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	var root map[string]any
	if err != nil || json.Unmarshal(b, &root) != nil {
		t.Fatal(err)
	}
	root["certificateAuthorities"] = root["timestampAuthorities"]
	if b, err = json.Marshal(root); err != nil {
		t.Fatal(err)
	}
	return b
}

var fragment = regexp.MustCompile(`(?s)\n(\{\n.*?\n\})\n`)

// What is proposed accepts the image once the publisher's keys are in place, and
// refuses it with another's.
func TestSuggestionAcceptsTheImage(t *testing.T) {
	config := vectorGate(t, `{"default":[{"type":"reject"}]}`)
	for _, image := range []string{"cosign2-key", "cosign2-index", "cosign3-key", "cosign3-fallback", "cosign2-attest", "cosign3-attest", "notation-jws", "notation-cose", "notation-timestamped",
		"cosign2-keyless", "cosign3-keyless", "cosign3-attest-keyless", "everything"} {
		t.Run(image, func(t *testing.T) {
			code, out := command(t, "policy", "suggest", image+":v1", "--config", config)
			found := fragment.FindStringSubmatch(out)
			if code != 0 || found == nil || !strings.Contains(out, "Nothing was verified") {
				t.Fatalf("exit %d: %s", code, out)
			}
			if strings.Contains(out, "insecureAcceptAnything") || strings.Contains(found[1], "RegExp") {
				t.Errorf("too wide: %s", found[1])
			}
			if tsa := strings.Contains(found[1], `"tsa"`); tsa != (image == "notation-timestamped") {
				t.Errorf("a timestamp authority is asked for: %v", tsa)
			}
			for _, trust := range []struct {
				key, ca, root string
				code          int
			}{{"cosign.pub", "ca.crt", "acme", 0}, {"other.pub", "other-ca.crt", "other", 1}} {
				policy := found[1]
				for placeholder, file := range map[string]string{
					`REPLACE-cosign-\d+\.pub`: trust.key, `REPLACE-ca-\d+\.crt`: trust.ca, `REPLACE-revoked-\d+\.crl`: "none-revoked.crl", `REPLACE-tsa-\d+\.crt`: "tsa.crt",
				} {
					path, err := filepath.Abs(filepath.Join(vectors, "trust", file))
					if err != nil {
						t.Fatal(err)
					}
					policy = regexp.MustCompile(placeholder).ReplaceAllString(policy, path)
				}
				policy = regexp.MustCompile(`REPLACE-root-\d+`).ReplaceAllString(policy, trust.root)
				if image == "notation-timestamped" { // there is no list of the timestamp authority, as the proposal says what to do
					policy = regexp.MustCompile(`"enforce",\s*"crlPaths": \[[^]]*\]`).ReplaceAllString(policy, `"skip"`)
				}
				if strings.Contains(policy, replace) {
					t.Fatalf("a placeholder is left: %s", policy)
				}
				code, out := command(t, "check", image+":v1", "--config", vectorGate(t, policy))
				if !strings.Contains(out, "\nsignature   ") || trust.code == 1 && !strings.Contains(out, "would pass: ") {
					t.Errorf("not explained: %s", out)
				}
				if code == 0 && !strings.Contains(image, "cosign2-") && !strings.Contains(out, "by evidence sha256:") {
					t.Errorf("the evidence that counted is not named: %s", out)
				}
				if code != trust.code {
					t.Errorf("expected exit status %d with %s, found %d: %s\n%s", trust.code, trust.key, code, out, policy)
				}
			}
		})
	}
}

func TestSuggestIsTold(t *testing.T) {
	config := vectorGate(t, `{"default":[{"type":"reject"}]}`)
	for _, c := range []struct {
		args []string
		code int
		want []string
	}{
		{[]string{"unsigned:v1"}, 1, []string{"found       nothing", `"type": "reject"`, "so all are refused"}},
		{[]string{"nothere:v1"}, 2, []string{"inconclusive", "nothing can be proposed"}},
		{[]string{"cosign3-key:v1", "nothere:v1"}, 2, []string{"keyPath", "inconclusive"}},
		{nil, 2, []string{"expected 1 to 64"}},
		{[]string{"cosign3-keyless:v1"}, 0, []string{`"subject": "https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main"`,
			`"issuer": "https://token.actions.githubusercontent.com"`, `"timestamps": 1`, "REPLACE-root-1: ", "the one with the authority that issued the certificates, \"",
			`"sourceRepositoryURI": "https://github.com/acme/app"`, `"sourceRepositoryRef": "refs/heads/main"`, `"runnerEnvironment": "github-hosted"`}},
	} {
		code, out := command(t, append([]string{"policy", "suggest", "--config", config}, c.args...)...)
		if code != c.code {
			t.Errorf("%v: expected exit status %d, found %d: %s", c.args, c.code, code, out)
		}
		for _, want := range c.want {
			if !strings.Contains(out, want) {
				t.Errorf("%v: expected %q in %s", c.args, want, out)
			}
		}
	}
}

// Evidence for the tests of what is proposed.
func keyless(subject string) verify.Evidence {
	return verify.Evidence{Signature: verify.Signature{Kind: verify.KindBundle}, About: true, PredicateType: bundle.SignType,
		Issuer: "https://i.example", Subject: subject, Logged: true, SCT: true}
}

func gpg(key, identity string) verify.Evidence {
	return verify.Evidence{Signature: verify.Signature{Kind: verify.KindSimple, Signer: key, Identity: identity}, About: true}
}

func provenance(e verify.Evidence) verify.Evidence {
	e.PredicateType = "https://slsa.dev/provenance/v1"
	return e
}

func with(e verify.Evidence, edit func(*verify.Evidence)) verify.Evidence { edit(&e); return e }

func notary(signer string) verify.Evidence {
	return verify.Evidence{Signature: verify.Signature{Kind: verify.KindNotation, Signer: signer}, About: true, Authority: "CN=ca"}
}

func stamped(e *verify.Evidence) { e.Timestamped = true }

func fields(repository, ref, runner string) func(*verify.Evidence) {
	return func(e *verify.Evidence) {
		e.Fields = map[string]string{"sourceRepositoryURI": repository, "sourceRepositoryRef": ref, "runnerEnvironment": runner, "runInvocationURI": "x"}
	}
}

const app = "registry.example/app"

func image(t *testing.T, tag string, evidence ...verify.Evidence) carried {
	t.Helper()
	ref, err := reference.ParseNamed(app + tag)
	if err != nil {
		t.Fatal(err)
	}
	return carried{ref: ref, transport: verify.TransportDocker, manifests: []manifestEvidence{{evidence: evidence}}}
}

// index carries nothing itself; each list is what one image in it carries.
func index(t *testing.T, tag string, lists ...[]verify.Evidence) carried {
	t.Helper()
	c := image(t, tag)
	for _, l := range lists {
		c.manifests = append(c.manifests, manifestEvidence{evidence: l})
	}
	return c
}

func TestPropose(t *testing.T) {
	type list = []verify.Evidence
	other := gpg("0x1", "vendor.example/app:v1")
	for name, c := range map[string]struct {
		images []carried
		want   string // the requirements of the repository
		left   int
	}{
		"signed for its tag":       {[]carried{image(t, ":v1", gpg("0x1", app+":v1"))}, `[{"type":"signedBy","keyType":"GPGKeys","keyPath":"REPLACE-key-1.gpg"}]`, 0},
		"signed for another tag":   {[]carried{image(t, ":v2", gpg("0x1", app+":v1"))}, `[{"type":"signedBy","keyType":"GPGKeys","keyPath":"REPLACE-key-1.gpg","signedIdentity":{"type":"matchRepository"}}]`, 0},
		"the widest that all need": {[]carried{image(t, ":v1", gpg("0x1", app+":v1")), image(t, ":v2", gpg("0x1", app+":v1"))}, `[{"type":"signedBy","keyType":"GPGKeys","keyPath":"REPLACE-key-1.gpg","signedIdentity":{"type":"matchRepository"}}]`, 0},
		"a mirror":                 {[]carried{image(t, ":v1", other)}, `[{"type":"signedBy","keyType":"GPGKeys","keyPath":"REPLACE-key-1.gpg","signedIdentity":{"type":"remapIdentity","prefix":"registry.example/app","signedPrefix":"vendor.example/app"}}]`, 0},
		"a mirror, renamed tag":    {[]carried{image(t, ":v2", other)}, `[{"type":"signedBy","keyType":"GPGKeys","keyPath":"REPLACE-key-1.gpg","signedIdentity":{"type":"exactRepository","dockerRepository":"vendor.example/app"}}]`, 0},
		"two keys by turns":        {[]carried{image(t, ":v1", gpg("0x1", app+":v1")), image(t, ":v2", gpg("0x2", app+":v2"))}, `[{"type":"signedBy","keyType":"GPGKeys","keyPaths":["REPLACE-key-1.gpg","REPLACE-key-2.gpg"]}]`, 0},
		"one stands for all":       {[]carried{image(t, ":v1", keyless("a"), keyless("b")), image(t, ":v2", keyless("a"))}, `[{"type":"bundleSigned","trustRoot":"root","identities":[{"issuer":"https://i.example","subject":"a"}]}]`, 0},
		"by turns, exactly":        {[]carried{image(t, ":v1", keyless("a.")), image(t, ":v2", keyless("b"))}, `[{"type":"bundleSigned","trustRoot":"root","identities":[{"issuer":"https://i.example","subject":"a."},{"issuer":"https://i.example","subject":"b"}]}]`, 0},
		"kinds by turns":           {[]carried{image(t, ":v1", keyless("a")), image(t, ":v2", gpg("0x1", app+":v2"))}, `[{"type":"anyOf","of":[[{"type":"bundleSigned","trustRoot":"root","identities":[{"issuer":"https://i.example","subject":"a"}]}],[{"type":"signedBy","keyType":"GPGKeys","keyPath":"REPLACE-key-1.gpg"}]]}]`, 0},
		"signature beside attestation": {[]carried{image(t, ":v1", keyless("a"), provenance(keyless("a")))},
			`[{"type":"bundleSigned","trustRoot":"root","identities":[{"issuer":"https://i.example","subject":"a"}]}]`, 0},
		"attestation alone": {[]carried{image(t, ":v1", provenance(keyless("a")))},
			`[{"type":"attested","predicateType":"https://slsa.dev/provenance/v1","signedBy":{"trustRoot":"root","identities":[{"issuer":"https://i.example","subject":"a"}]}}]`, 0},
		"proof that all have": {[]carried{image(t, ":v1", with(keyless("a"), func(e *verify.Evidence) { e.Timestamped = true })), image(t, ":v2", with(keyless("a"), func(e *verify.Evidence) { e.Timestamped, e.SCT = true, false }))},
			`[{"type":"bundleSigned","trustRoot":"root","identities":[{"issuer":"https://i.example","subject":"a"}],"thresholds":{"tlog":1,"sct":0,"timestamps":1}}]`, 0},
		"each image of an index": {[]carried{index(t, ":v1", list{keyless("a"), keyless("b")}, list{keyless("b")})},
			`[{"type":"bundleSigned","trustRoot":"root","identities":[{"issuer":"https://i.example","subject":"b"}]}]`, 0},
		"fields that all have": {[]carried{image(t, ":v1", with(keyless("a"), fields("u", "r1", "h"))), image(t, ":v2", with(keyless("a"), fields("u", "r2", "h")))},
			`[{"type":"bundleSigned","trustRoot":"root","identities":[{"issuer":"https://i.example","subject":"a","sourceRepositoryURI":"u","runnerEnvironment":"h"}]}]`, 0},
		"fields that one has": {[]carried{image(t, ":v1", with(keyless("a"), fields("u", "r", "h"))), image(t, ":v2", keyless("a"))},
			`[{"type":"bundleSigned","trustRoot":"root","identities":[{"issuer":"https://i.example","subject":"a"}]}]`, 0},
		"fields of attestations": {[]carried{image(t, ":v1", provenance(with(keyless("a"), fields("u", "r", "h"))))},
			`[{"type":"attested","predicateType":"https://slsa.dev/provenance/v1","signedBy":{"trustRoot":"root","identities":[{"issuer":"https://i.example","subject":"a","sourceRepositoryURI":"u","sourceRepositoryRef":"r","runnerEnvironment":"h"}]}}]`, 0},
		"notation": {[]carried{image(t, ":v1", notary("x509.subject: CN=a,O=b,ST=c,C=d"))},
			`[{"type":"notationSigned","trustStores":{"ca":["REPLACE-ca-1.crt"]},"trustedIdentities":["x509.subject: CN=a,O=b,ST=c,C=d"],"revocation":"enforce","crlPaths":["REPLACE-revoked-2.crl"]}]`, 0},
		"notation with timestamps": {[]carried{image(t, ":v1", with(notary("x509.subject: CN=a,O=b,ST=c,C=d"), stamped)), image(t, ":v2", with(notary("x509.subject: CN=a,O=b,ST=c,C=d"), stamped))},
			`[{"type":"notationSigned","trustStores":{"ca":["REPLACE-ca-1.crt"],"tsa":["REPLACE-tsa-2.crt"]},"trustedIdentities":["x509.subject: CN=a,O=b,ST=c,C=d"],"revocation":"enforce","crlPaths":["REPLACE-revoked-3.crl"]}]`, 0},
		"notation, not all with timestamps": {[]carried{image(t, ":v1", with(notary("x509.subject: CN=a,O=b,ST=c,C=d"), stamped)), image(t, ":v2", notary("x509.subject: CN=a,O=b,ST=c,C=d"))},
			`[{"type":"notationSigned","trustStores":{"ca":["REPLACE-ca-1.crt"]},"trustedIdentities":["x509.subject: CN=a,O=b,ST=c,C=d"],"revocation":"enforce","crlPaths":["REPLACE-revoked-2.crl"]}]`, 0},
		"notation by a signing authority": {[]carried{image(t, ":v1", with(with(notary("x509.subject: CN=a,O=b,ST=c,C=d"), stamped), func(e *verify.Evidence) { e.SigningAuthority = true }))},
			`[{"type":"notationSigned","trustStores":{"signingAuthority":["REPLACE-ca-1.crt"]},"trustedIdentities":["x509.subject: CN=a,O=b,ST=c,C=d"],"revocation":"enforce","crlPaths":["REPLACE-revoked-2.crl"]}]`, 0},
		"two authorities by turns": {[]carried{image(t, ":v1", keyless("a")), image(t, ":v2", with(keyless("b"), func(e *verify.Evidence) { e.Authority = "O=other" }))},
			`[{"type":"anyOf","of":[[{"type":"bundleSigned","trustRoot":"root","identities":[{"issuer":"https://i.example","subject":"a"}]}],[{"type":"bundleSigned","trustRoot":"root","identities":[{"issuer":"https://i.example","subject":"b"}]}]]}]`, 0},
		"not each image of an index": {[]carried{index(t, ":v1", list{keyless("a")}, nil)}, `[{"type":"reject"}]`, 1},
		"nothing":                    {[]carried{image(t, ":v1")}, `[{"type":"reject"}]`, 1},
		"one has nothing":            {[]carried{image(t, ":v1", keyless("a")), image(t, ":v2")}, `[{"type":"bundleSigned","trustRoot":"root","identities":[{"issuer":"https://i.example","subject":"a"}]}]`, 1},
		// What somebody planted is required beside the rest: it can deny, not let in.
		"planted": {[]carried{image(t, ":v1", gpg("0x1", app+":v1"), keyless("evil"))},
			`[{"type":"bundleSigned","trustRoot":"root","identities":[{"issuer":"https://i.example","subject":"evil"}]},{"type":"signedBy","keyType":"GPGKeys","keyPath":"REPLACE-key-1.gpg"}]`, 0},
		"planted beside signers by turns": {[]carried{image(t, ":v1", gpg("0x1", app+":v1"), keyless("evil")), image(t, ":v2", gpg("0x2", app+":v2"), keyless("evil"))},
			`[{"type":"bundleSigned","trustRoot":"root","identities":[{"issuer":"https://i.example","subject":"evil"}]},{"type":"signedBy","keyType":"GPGKeys","keyPaths":["REPLACE-key-1.gpg","REPLACE-key-2.gpg"]}]`, 0},
		"about another image": {[]carried{image(t, ":v1", with(keyless("a"), func(e *verify.Evidence) { e.About = false }))}, `[{"type":"reject"}]`, 1},
		"malformed":           {[]carried{image(t, ":v1", with(gpg("0x1", app+":v1"), func(e *verify.Evidence) { e.Problem = "malformed" }))}, `[{"type":"reject"}]`, 1},
		"without a time":      {[]carried{image(t, ":v1", with(keyless("a"), func(e *verify.Evidence) { e.Logged = false }))}, `[{"type":"reject"}]`, 1},
		"cut off predicate":   {[]carried{image(t, ":v1", with(keyless("a"), func(e *verify.Evidence) { e.PredicateType = "https://x…" }))}, `[{"type":"reject"}]`, 1},
		"cut off identity": {[]carried{image(t, ":v1", verify.Evidence{Signature: verify.Signature{Kind: verify.KindNotation, Signer: "x509.subject: CN=a,O=b,ST=c,C=d…"}, About: true})},
			`[{"type":"reject"}]`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			p := propose(c.images, "root")
			var b bytes.Buffer
			enc := json.NewEncoder(&b)
			enc.SetEscapeHTML(false)
			if err := enc.Encode(p.transports[verify.TransportDocker][app]); err != nil {
				t.Fatal(err)
			}
			if got := strings.TrimSpace(b.String()); got != c.want {
				t.Errorf("expected %s\nfound    %s", c.want, got)
			}
			if s := p.scopes[0]; len(s.left) != c.left || p.acceptsAll() != (c.left == 0) {
				t.Errorf("%+v", s)
			}
			if len(p.transports[verify.TransportDocker]) != 1 {
				t.Errorf("%v", p.transports)
			}
		})
	}
}

// Which trust root is meant is said: by the authority, and whose that says to be.
func TestProposeNamesTheTrustRoot(t *testing.T) {
	by := func(authority string) carried {
		return image(t, ":v1", with(keyless("a"), func(e *verify.Evidence) { e.Authority = authority }))
	}
	for root, want := range map[string]string{
		"":     `REPLACE-root-1: the name of one of trust_roots in the configuration: the one with the authority that issued the certificates, "O=sigstore.dev", as the public good instance of sigstore calls itself`,
		"mine": `trust root mine, the only one that is configured, is taken to have the authority "O=sigstore.dev", as the public good`,
	} {
		var b bytes.Buffer
		if err := propose([]carried{by("O=sigstore.dev")}, root).print(&b); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(b.String(), want) {
			t.Errorf("expected %q in %s", want, b.String())
		}
	}
}
