package main

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// judgedVector is what check says of an image that a real signer signed.
type judgedVector struct {
	Decision string
	Verdict  struct {
		Expires      time.Time
		Requirements []struct{ Found []string }
	}
}

// checkVector judges a vector by requirements. Keys stand in them as $name. The trust
// root acme was checked to be current a minute ago, and is good for maxAge.
func checkVector(t *testing.T, vector, requirements string, maxAge time.Duration, edit ...func(root map[string]any)) (got judgedVector, refreshed time.Time) {
	t.Helper()
	trust, err := filepath.Abs(filepath.Join(vectors, "trust"))
	if err != nil {
		t.Fatal(err)
	}
	images, err := filepath.Abs(filepath.Join(vectors, "images"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	root, err := os.ReadFile(filepath.Join(trust, "trusted_root.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range edit {
		var doc map[string]any
		if err := json.Unmarshal(root, &doc); err != nil {
			t.Fatal(err)
		}
		f(doc)
		if root, err = json.Marshal(doc); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range map[string]string{
		"pullgate.yaml": fmt.Sprintf("policy: policy.json\noffline: true\ndefault_registry: vectors.example\n"+
			"upstreams: [{registry: vectors.example, endpoint: \"oci:%s\"}]\ntrust_roots: [{name: acme, trusted_root: root.json, max_age: %s}]\n", images, maxAge),
		"policy.json": `{"default":[` + strings.ReplaceAll(requirements, "$", trust+"/") + `]}`,
		"root.json":   string(root),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	refreshed = time.Now().Add(-time.Minute)
	if err := os.Chtimes(filepath.Join(dir, "root.json"), refreshed, refreshed); err != nil {
		t.Fatal(err)
	}
	_, out := command(t, "check", "--json", vector+":v1", "--config", filepath.Join(dir, "pullgate.yaml"))
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return got, refreshed
}

const (
	byWorkflow = `"trustRoot":"acme","identities":[{"issuer":"https://token.actions.githubusercontent.com",` +
		`"subject":"https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main"}],"thresholds":{"tlog":0,"sct":0,"timestamps":1}`
	provenanceBy = `{"type":"attested","predicateType":"https://slsa.dev/provenance/v1","signedBy":{` + byWorkflow + `}%s}`
	byKeyOnly    = `{"type":"bundleSigned","keyPath":"$cosign.pub"}`
	byNotation   = `{"type":"notationSigned","trustStores":{"ca":["$ca.crt"]%s},"trustedIdentities":["x509.subject: C=US, ST=WA, O=acme.example"],"revocation":%s}`
)

// years is longer than any evidence of the vectors.
const years = 80 * 365 * 24 * time.Hour / 10

// A verdict is not kept longer than what it rests on.
func TestVerdictsEndWithTheirEvidence(t *testing.T) {
	endOf := func(name string, read func([]byte) (time.Time, error)) time.Time {
		b, err := os.ReadFile(filepath.Join(vectors, "trust", name))
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(b)
		if block == nil {
			t.Fatalf("%s is no PEM", name)
		}
		at, err := read(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	caEnds := endOf("ca.crt", func(b []byte) (time.Time, error) {
		c, err := x509.ParseCertificate(b)
		return c.NotAfter, err
	})
	crlEnds := endOf("none-revoked.crl", func(b []byte) (time.Time, error) {
		l, err := x509.ParseRevocationList(b)
		return l.NextUpdate, err
	})
	for name, c := range map[string]struct {
		vector, requirements string
		rootAge              time.Duration
		// ends is the end, or zero with after, which is counted from the last check of the
		// trust root; never with neither.
		ends  time.Time
		after time.Duration
		most  bool // ends or earlier
	}{
		"a key":                      {vector: "cosign3-key", requirements: byKeyOnly, rootAge: time.Hour},
		"an identity":                {vector: "cosign3-keyless", requirements: `{"type":"bundleSigned",` + byWorkflow + `}`, rootAge: time.Hour, after: time.Hour},
		"an attestation":             {vector: "cosign3-attest-keyless", requirements: fmt.Sprintf(provenanceBy, ""), rootAge: 2 * time.Hour, after: 2 * time.Hour},
		"the root before the age":    {vector: "cosign3-attest-keyless", requirements: fmt.Sprintf(provenanceBy, `,"maxAge":"87600h"`), rootAge: time.Hour, after: time.Hour},
		"two requirements":           {vector: "everything", requirements: byKeyOnly + `,{"type":"anyOf","of":[{"type":"allOf","of":[` + byKeyOnly + `],"until":"2099-01-01T00:00:00Z"}]}`, rootAge: time.Hour, ends: time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)},
		"notation":                   {vector: "notation-jws", requirements: fmt.Sprintf(byNotation, "", `"skip"`), rootAge: time.Hour, ends: caEnds, most: true},
		"notation, with a timestamp": {vector: "notation-timestamped", requirements: fmt.Sprintf(byNotation, `,"tsa":["$tsa.crt"]`, `"skip"`), rootAge: time.Hour},
		"notation, with a list":      {vector: "notation-jws", requirements: fmt.Sprintf(byNotation, "", `"enforce","crlPaths":["$none-revoked.crl"]`), rootAge: time.Hour, ends: crlEnds, most: true},
	} {
		t.Run(name, func(t *testing.T) {
			got, refreshed := checkVector(t, c.vector, c.requirements, c.rootAge)
			want := c.ends
			if c.after > 0 {
				want = refreshed.Add(c.after)
			}
			d := got.Verdict.Expires.Sub(want)
			if got.Decision != "allowed" || want.IsZero() != got.Verdict.Expires.IsZero() || d > time.Second || !c.most && d < -time.Second {
				t.Errorf("%s until %s, expected %s", got.Decision, got.Verdict.Expires, want)
			}
		})
	}
}

// The age of an attestation counts from the time that is proven: with an hour more, the
// verdict holds an hour longer.
func TestVerdictsEndWithTheAgeOfAttestations(t *testing.T) {
	var ends []time.Time
	for _, age := range []time.Duration{years, years + time.Hour} {
		got, _ := checkVector(t, "cosign3-attest-keyless", fmt.Sprintf(provenanceBy, `,"maxAge":"`+age.String()+`"`), 87600*time.Hour)
		if got.Decision != "allowed" || got.Verdict.Expires.IsZero() || got.Verdict.Expires.After(time.Now().Add(age)) {
			t.Fatalf("%+v", got)
		}
		ends = append(ends, got.Verdict.Expires)
	}
	if d := ends[1].Sub(ends[0]); d != time.Hour {
		t.Errorf("expected an hour between %s and %s", ends[0], ends[1])
	}
}

// signedBefore asks for a proof that the signature was there by then, and dates that
// nobody proves count for nothing.
func TestSignedBefore(t *testing.T) {
	keyless := `{"type":"bundleSigned",` + byWorkflow + `}`
	for name, c := range map[string]struct {
		vector, all, before string
		denied              string
	}{
		"before":                         {"cosign3-keyless", keyless, "2098-01-01T00:00:00Z", ""},
		"after":                          {"cosign3-keyless", keyless, "2020-01-01T00:00:00Z", "nothing proves that it was signed before 2020-01-01"},
		"attachment, before":             {"cosign2-keyless", keyless, "2098-01-01T00:00:00Z", ""},
		"attachment, after":              {"cosign2-keyless", keyless, "2020-01-01T00:00:00Z", "nothing proves"},
		"attestation":                    {"cosign3-attest-keyless", fmt.Sprintf(provenanceBy, ""), "2098-01-01T00:00:00Z", ""},
		"attestation, after":             {"cosign3-attest-keyless", fmt.Sprintf(provenanceBy, ""), "2020-01-01T00:00:00Z", "nothing proves"},
		"notation with a timestamp":      {"notation-timestamped", fmt.Sprintf(byNotation, `,"tsa":["$tsa.crt"]`, `"skip"`), "2098-01-01T00:00:00Z", ""},
		"notation, after":                {"notation-timestamped", fmt.Sprintf(byNotation, `,"tsa":["$tsa.crt"]`, `"skip"`), "2020-01-01T00:00:00Z", "nothing proves"},
		"notation, which says it itself": {"notation-jws", fmt.Sprintf(byNotation, "", `"skip"`), "2098-01-01T00:00:00Z", "nothing proves"},
		"a key proves nothing":           {"cosign3-key", byKeyOnly, "2098-01-01T00:00:00Z", "nothing proves"},
		"all have to be proven":          {"everything", byKeyOnly + "," + fmt.Sprintf(byNotation, "", `"skip"`), "2098-01-01T00:00:00Z", "nothing proves"},
	} {
		t.Run(name, func(t *testing.T) {
			got, _ := checkVector(t, c.vector, `{"type":"anyOf","of":[{"type":"allOf","of":[`+c.all+`],"signedBefore":"`+c.before+`"}]}`, time.Hour)
			found := fmt.Sprint(got.Verdict.Requirements)
			if (got.Decision == "allowed") != (c.denied == "") || !strings.Contains(found, c.denied) {
				t.Errorf("%s: %s", got.Decision, found)
			}
		})
	}
}

// Keys need no certificate authority beside the timestamp authority that proves when
// they signed. Identities do: without one nobody can tell.
func TestRootOfTimestampsOnly(t *testing.T) {
	timestampsOnly := func(root map[string]any) { delete(root, "certificateAuthorities") }
	byKey := `{"type":"attested","predicateType":"https://slsa.dev/provenance/v1","maxAge":"` + years.String() +
		`","signedBy":{"keyPath":"$%s","trustRoot":"acme","thresholds":{"timestamps":1}}}`
	for _, c := range []struct{ vector, requirement, want string }{
		{"cosign3-timestamped", fmt.Sprintf(byKey, "cosign.pub"), "allowed"},
		{"cosign3-timestamped", fmt.Sprintf(byKey, "other.pub"), "denied"},
		{"cosign3-attest", fmt.Sprintf(byKey, "cosign.pub"), "denied"}, // without a timestamp
		{"cosign3-attest-keyless", fmt.Sprintf(provenanceBy, ""), "inconclusive"},
	} {
		if got, _ := checkVector(t, c.vector, c.requirement, time.Hour, timestampsOnly); got.Decision != c.want {
			t.Errorf("%s by %s: expected %s, found %+v", c.vector, c.requirement, c.want, got)
		}
	}
	noTimestamps := func(root map[string]any) { delete(root, "timestampAuthorities") }
	if got, _ := checkVector(t, "cosign3-timestamped", fmt.Sprintf(byKey, "cosign.pub"), time.Hour, noTimestamps); got.Decision != "denied" {
		t.Errorf("a timestamp of an authority that is not in the root counts: %+v", got)
	}
}
