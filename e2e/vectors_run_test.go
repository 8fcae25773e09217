//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/e2e/harness"
)

// Registries that vectors are replayed in: with the referrers API, without it, and
// none, only the directory.
const (
	withReferrers = "referrers.example"
	inLayouts     = "layouts.example"
)

// vectorWorld is registries with vectors in them and a gate before them.
type vectorWorld struct {
	gate   *harness.Gate
	skopeo *harness.Skopeo
	refs   []harness.Ref // of the cases
}

// newVectorWorld puts each case into a repository and a scope of its own. So no
// vector is where it was made: evidence says nothing about where it lies, and what
// keeps an image out of another repository is the policy of that scope.
func newVectorWorld(t *testing.T, cases []vectorCase, extra string) *vectorWorld {
	plain, referrers := harness.NewDockerRegistry(t), harness.NewGoRegistry(t)
	config := harness.GateConfig{
		Upstreams: []harness.Upstream{{Registry: honest, Endpoint: plain.URL}, {Registry: withReferrers, Endpoint: referrers.URL}},
		Policy:    harness.Policy{Default: all(harness.Reject())},
		Extra:     extra,
	}
	w := &vectorWorld{skopeo: harness.NewSkopeo(t)}
	for i, c := range cases {
		v := harness.LoadVector(t, filepath.Join(vectorImages, c.vector))
		if c.moved {
			v = v.Retarget(t, "v1", harness.NewImage(t, "another image"))
		}
		ref, reg := harness.Tagged(honest, "case"+strconv.Itoa(i), "v1"), plain
		if madeWithAPI(c.vector) {
			ref.Registry, reg = withReferrers, referrers
		}
		v.Replay(t, reg, ref.Repository)
		config.Policy = config.Policy.With(ref.Registry+"/"+ref.Repository, c.require...)
		w.refs = append(w.refs, ref)
	}
	w.gate = harness.StartGate(t, config)
	return w
}

func madeWithAPI(vector string) bool {
	return slices.ContainsFunc(vectorRecipes(), func(r vectorRecipe) bool { return r.name == vector && r.api })
}

// vectorReport is what the tests read of pullgate check --json.
type vectorReport struct {
	Decision string
	Error    string
	Verdict  struct {
		Requirements []struct {
			Type              string
			Allowed           bool
			Required          string
			WouldPass         string `json:"would_pass"`
			Signers, Evidence []string
			Found             []string
		}
	}
}

// check runs pullgate check, and holds its exit status to what it says.
func (w *vectorWorld) check(t *testing.T, ref harness.Ref) vectorReport {
	t.Helper()
	out := w.gate.Command(t, "check", "--json", ref.String())
	var r vectorReport
	if err := json.Unmarshal([]byte(out.Stdout), &r); err != nil {
		t.Fatalf("check: %v: %s", err, out.Output)
	}
	if want := map[string]int{"allowed": 0, "denied": 1, "inconclusive": 2}[r.Decision]; out.ExitCode != want {
		t.Errorf("check: exit status %d with decision %s", out.ExitCode, r.Decision)
	}
	return r
}

// found is all that did not meet a requirement.
func (r vectorReport) found() string {
	var out []string
	for _, q := range r.Verdict.Requirements {
		out = append(out, q.Found...)
	}
	return strings.Join(out, "\n")
}

// run judges one case by pullgate check and by a pull.
func (w *vectorWorld) run(t *testing.T, c vectorCase, ref harness.Ref) {
	report := w.check(t, ref)
	mark := w.gate.Mark(t)
	pull := w.skopeo.Pull(t, w.gate, ref)
	if c.denied == "" {
		if report.Decision != "allowed" || pull.ExitCode != 0 {
			t.Fatalf("expected the image to be allowed, found %s: %s %s\npull: exit status %d: %s", report.Decision, report.Error, report.found(), pull.ExitCode, pull.Output)
		}
		rec := w.gate.Expect(t, mark, harness.Allowed, ref)
		for _, q := range report.Verdict.Requirements {
			for _, d := range q.Evidence {
				if !slices.Contains(rec.Evidence, d) {
					t.Errorf("expected the evidence %s that check names in the audit record, found %v", d, rec.Evidence)
				}
			}
			if named := q.Type != "bundleSigned" || strings.HasPrefix(c.vector, "cosign3"); named && len(q.Evidence) == 0 {
				t.Errorf("%s: expected the digest of the evidence", q.Type)
			}
			if !q.Allowed || len(q.Signers) == 0 {
				t.Errorf("%s: expected a signer, found %+v", q.Type, q)
			}
		}
		return
	}
	if report.Decision != "denied" || pull.ExitCode == 0 {
		t.Fatalf("expected the image to be denied, found %s: %s %s\npull: exit status %d", report.Decision, report.Error, report.found(), pull.ExitCode)
	}
	if !strings.Contains(report.found(), c.denied) {
		t.Errorf("check: expected a reason with %q, found %q", c.denied, report.found())
	}
	if rec := w.gate.Expect(t, mark, harness.Denied, ref); len(rec.Reasons) == 0 {
		t.Errorf("expected reasons in the audit log, found %s", rec)
	}
}

func (w *vectorWorld) runAll(t *testing.T, cases []vectorCase) {
	for i, c := range cases {
		t.Run(c.vector+"/"+strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) { w.run(t, c, w.refs[i]) })
	}
}

// Evidence by real signers gets the verdicts that the policy says, by pullgate check
// and by pulls.
func TestVectors(t *testing.T) {
	makeVectors(t)
	cases := slices.Concat(bundleCases(t), attestedCases(t), notationCases(t), togetherCases(t))
	newVectorWorld(t, cases, "").runAll(t, cases)
}

// trustRoots is the configuration of the trust root "acme".
func trustRoots(t *testing.T) string {
	return fmt.Sprintf("trust_roots: [{name: acme, trusted_root: %q}]\noffline: true", trustFile(t, "trusted_root.json"))
}

// Certificates of workflows and timestamps count under a trust root that the
// configuration names, with the machine offline.
func TestVectorsTrustRoot(t *testing.T) {
	cases := trustRootCases(t)
	newVectorWorld(t, cases, trustRoots(t)).runAll(t, cases)
}

// A policy that names what there is not is no policy: nothing starts with it, and a
// running gate keeps the one that it has.
func TestVectorsFaults(t *testing.T) {
	for _, c := range []struct {
		name    string
		require harness.Requirement
		said    string
	}{
		{"trust root", with(keyless(harness.VectorSubject), "type", "bundleSigned"), `trust root "acme" is not configured`},
		{"trust root of attestations", harness.Requirement{"type": "attested", "predicateType": slsaV1, "signedBy": keyless(harness.VectorSubject)},
			`trust root "acme" is not configured`},
		{"revocation lists", with(notationSigned(t, "ca.crt", builder), "revocation", "enforce"), "found none"},
		{"authority", notationSigned(t, "nobody.crt", builder), "nobody.crt"},
		{"key", bundleSigned(t, "cosign.pub", "nobody.pub"), "nobody.pub"},
		{"certificate as key", bundleSigned(t, "ca.crt"), "ca.crt"},
		{"condition", attested(t, "cosign.pub", slsaV1, "predicate.x =="), "condition"},
	} {
		t.Run(c.name, func(t *testing.T) {
			policy := harness.PolicyFor(honest, c.require)
			config := harness.GateConfig{Upstreams: []harness.Upstream{{Registry: honest, Endpoint: "http://127.0.0.1:1"}}, Policy: policy}
			g := harness.WriteConfig(t, config)
			for _, args := range [][]string{{"check", honest + "/app:v1"}, {"serve"}} {
				if r := g.Command(t, args...); r.ExitCode == 0 || !strings.Contains(r.Output, c.said) {
					t.Errorf("%s: expected a fault with %q, found exit status %d: %s", args[0], c.said, r.ExitCode, r.Output)
				}
			}
			config.Policy = harness.Policy{Default: all(harness.Reject())}
			gate := harness.StartGate(t, config)
			before := gate.Ready(t)
			if now := gate.SetPolicy(t, policy); now.PolicyError == "" || now.Revision != before.Revision {
				t.Errorf("expected the policy to be refused, found %+v", now)
			}
		})
	}
}

// Image layouts on disk hold evidence as registries do.
func TestVectorsInLayouts(t *testing.T) {
	var cases []vectorCase
	for _, c := range slices.Concat(bundleCases(t), attestedCases(t), notationCases(t), togetherCases(t)) {
		first := !slices.ContainsFunc(cases, func(o vectorCase) bool { return o.vector == c.vector })
		if first && !c.moved {
			cases = append(cases, c)
		}
	}
	layouts, err := filepath.Abs(vectorImages)
	if err != nil {
		t.Fatal(err)
	}
	policy := harness.Policy{Default: all(harness.Reject())}
	w := &vectorWorld{skopeo: harness.NewSkopeo(t)}
	for _, c := range cases {
		policy = policy.With(inLayouts+"/"+c.vector, c.require...)
		w.refs = append(w.refs, harness.Tagged(inLayouts, c.vector, "v1"))
	}
	w.gate = harness.StartGate(t, harness.GateConfig{Upstreams: []harness.Upstream{{Registry: inLayouts, Endpoint: "oci:" + layouts}}, Policy: policy})
	w.runAll(t, cases)
}

// Clients that verify by themselves get the evidence about an image that is allowed,
// by the tags, digests and lists under which it lies in the registry, and none about
// one that is denied.
func TestVectorsEvidencePasses(t *testing.T) {
	var cases []vectorCase
	for _, v := range vectorRecipes() {
		if v.name != "unsigned" {
			cases = append(cases, vectorCase{name: "allowed", vector: v.name, require: all(harness.AcceptAnything())},
				vectorCase{name: "denied", vector: v.name, require: all(harness.Reject())})
		}
	}
	w := newVectorWorld(t, cases, "")
	for i, c := range cases {
		t.Run(c.vector+"/"+c.name, func(t *testing.T) {
			v, at := harness.LoadVector(t, filepath.Join(vectorImages, c.vector)), w.gate.URL+"/v2/"+w.refs[i].Registry+"/"+w.refs[i].Repository
			want := map[string]int{"allowed": http.StatusOK, "denied": http.StatusForbidden}[c.name]
			for tag := range v.Tags {
				if status, _ := fetch(t, at+"/manifests/"+tag); status != want {
					t.Errorf("tag %s: expected status %d, found %d", tag, want, status)
				}
			}
			for d := range v.Manifests {
				if status, _ := fetch(t, at+"/manifests/"+d.String()); status != want {
					t.Errorf("manifest %s: expected status %d, found %d", d, want, status)
				}
			}
			if c.name == "denied" {
				return
			}
			for d := range v.Blobs {
				if status, _ := fetch(t, at+"/blobs/"+d.String()); status != http.StatusOK {
					t.Errorf("blob %s: status %d", d, status)
				}
			}
			if !madeWithAPI(c.vector) {
				return
			}
			status, list := fetch(t, at+"/referrers/"+v.Tags["v1"].String())
			for d, m := range v.Manifests {
				if strings.Contains(string(m.Manifest), `"subject"`) && !strings.Contains(list, d.String()) {
					t.Errorf("expected %s in the list of referrers, found status %d: %s", d, status, list)
				}
			}
		})
	}
}

// fetch makes one GET, for any kind of manifest.
func fetch(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header["Accept"] = []string{v1.MediaTypeImageManifest, v1.MediaTypeImageIndex, "*/*"}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// Evidence that could not be asked for is not evidence that there is none: the image
// is neither allowed nor denied.
func TestVectorsOutage(t *testing.T) {
	for _, c := range []struct {
		name, vector, path string
		status             int
		require            harness.Requirement
	}{
		{"referrers limited", "cosign3-key", "/referrers/", http.StatusTooManyRequests, bundleSigned(t, "cosign.pub")},
		{"referrers out of order", "notation-jws", "/referrers/", http.StatusInternalServerError, notationSigned(t, "ca.crt", builder)},
		{"attestations out of order", "cosign2-attest", ".att", http.StatusBadGateway, attested(t, "cosign.pub", slsaV1, "")},
		{"signatures forbidden", "cosign2-key", ".sig", http.StatusUnauthorized, bundleSigned(t, "other.pub")},
	} {
		t.Run(c.name, func(t *testing.T) {
			fault := harness.FaultStatus(c.status)
			reg := harness.NewGoRegistry(t, func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Method != http.MethodPut && strings.Contains(r.URL.Path, c.path) {
						fault.ServeHTTP(w, r)
						return
					}
					next.ServeHTTP(w, r)
				})
			})
			ref := harness.Tagged(honest, "app", "v1")
			harness.LoadVector(t, filepath.Join(vectorImages, c.vector)).Replay(t, reg, ref.Repository)
			w := &vectorWorld{gate: harness.StartGate(t, harness.GateConfig{
				Upstreams: []harness.Upstream{{Registry: honest, Endpoint: reg.URL}}, Policy: harness.PolicyFor(honest, c.require),
			})}
			if r := w.check(t, ref); r.Decision != "inconclusive" {
				t.Errorf("check: expected inconclusive, found %s: %s", r.Decision, r.found())
			}
			resp, err := http.Get(w.gate.URL + "/v2/" + ref.Registry + "/app/manifests/v1")
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("expected status 503, found %d", resp.StatusCode)
			}
		})
	}
}
