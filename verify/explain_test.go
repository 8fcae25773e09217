package verify

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

const explained = repo + "/explained"

// explainedPolicy has one scope of each kind.
func explainedPolicy(t *testing.T) (string, *gpgKey, *sigstoreKeyPair) {
	gpg, key := newGPG(t, "ed25519"), newSigstoreKey(t)
	bundle := map[string]any{"type": "bundleSigned", "keyData": key.pem()}
	return policyFor(t, map[string]any{
		"":         []any{map[string]any{"type": "reject"}},
		repo:       []any{signedBy(nil, gpg)},
		explained:  []any{map[string]any{"type": "anyOf", "of": []any{[]any{signedBy(nil, gpg)}, []any{bundle}}}},
		v1:         []any{sigstoreSigned(matchRepository, key)},
		"keyless":  []any{map[string]any{"type": "bundleSigned", "trustRoot": "public-good", "identities": []any{map[string]any{"issuer": "https://i.example", "subject": "https://s.example"}}}},
		"attested": []any{map[string]any{"type": "attested", "predicateType": "https://slsa.dev/provenance/v1", "signedBy": map[string]any{"keyData": key.pem()}, "condition": "predicate != null"}},
	}), gpg, key
}

func TestExplain(t *testing.T) {
	policy, _, _ := explainedPolicy(t)
	p, err := newWorld(t).load(policy)
	if err != nil {
		t.Fatal(err)
	}
	for ask, want := range map[string]struct{ scope, pass string }{
		v1:                              {v1, "a cosign signature (.sig attachment) for any tag of " + repo},
		v2:                              {repo, "a simple signing signature for " + v2},
		byDigest():                      {repo, "any tag of " + repo},
		explained + "/deep:v1":          {explained, "; or a sigstore bundle that signs"},
		"registry.example.com/other:v1": {"docker (transport default)", ""},
	} {
		x := p.Explain(TransportDocker, named(t, ask))
		v, _ := p.scopeFor(TransportDocker, ScopeCandidates(named(t, ask)))
		if x.Scope != want.scope || v != x.Scope || !strings.Contains(x.Requirements[0].WouldPass, want.pass) {
			t.Errorf("%s: %+v", ask, x)
		}
		i := slices.IndexFunc(x.Candidates, func(c Candidate) bool { return c.Present })
		for n, c := range x.Candidates {
			if c.Decides != (n == i) {
				t.Errorf("%s: the first present candidate decides, found %+v", ask, x.Candidates)
			}
		}
		if last := x.Candidates[len(x.Candidates)-1]; last.Scope != DefaultScope || !last.Present {
			t.Errorf("%s: last candidate %+v", ask, last)
		}
	}
	if x := p.Explain(TransportAtomic, named(t, v1)); x.Scope != DefaultScope || !x.Candidates[len(x.Candidates)-1].Decides {
		t.Errorf("%+v", x)
	}
}

// What is shown names every key and holds none.
func TestShow(t *testing.T) {
	policy, gpg, key := explainedPolicy(t)
	p, err := newWorld(t).load(policy)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(p.Show())
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	parsed, _, err := parseSigstoreKey(key.pem())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"gpg:" + fingerprint(gpg.Entity), "Test ed25519", "sigstore-key:" + parsed.name, "https://s.example (issuer https://i.example)", `"trustRoot":"public-good"`} {
		if !strings.Contains(text, want) {
			t.Errorf("expected %s in %s", want, text)
		}
	}
	for _, never := range []string{"BEGIN", string(mustJSON(t, key.pem())), string(mustJSON(t, gpg.public()))} {
		if strings.Contains(text, strings.Trim(never, `"`)) {
			t.Error("key material is shown")
		}
	}
	shown := p.Show()
	if last := shown[len(shown)-1]; last.Scope != DefaultScope || last.Requirements[0].At != "default[0]" {
		t.Errorf("last scope %+v", last)
	}
}

func TestExtensions(t *testing.T) {
	policy, _, _ := explainedPolicy(t)
	p, err := newWorld(t).load(policy)
	if err != nil {
		t.Fatal(err)
	}
	var at []string
	for _, x := range p.Extensions() {
		at = append(at, x.Type+" "+x.At)
	}
	want := []string{
		`attested transports.docker."attested"[0]`, `bundleSigned transports.docker."keyless"[0]`,
		`anyOf transports.docker."` + explained + `"[0]`, `bundleSigned transports.docker."` + explained + `"[0].of[1][0]`,
	}
	if !slices.Equal(at, want) {
		t.Errorf("expected %v, found %v", want, at)
	}
	if p, err = newWorld(t).load(policyFor(t, map[string]any{repo: []any{signedBy(nil, newGPG(t, "ed25519"))}})); err != nil || len(p.Extensions()) > 0 {
		t.Errorf("%v %v", p.Extensions(), err)
	}
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
