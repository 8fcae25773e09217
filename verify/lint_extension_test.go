package verify

import (
	"crypto/sha256"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sigstore/sigstore-go/pkg/root"

	"github.com/pullgate/pullgate/verify/trustroot"
)

// extensionWarnings loads a policy with this one requirement and returns its warnings
// as one text.
func extensionWarnings(t *testing.T, requirement string) string {
	t.Helper()
	w := newWorld(t)
	w.write("cosign.pub", string(newSigstoreKey(t).pem()))
	w.write("ca.crt", testCA(t))
	p, err := w.load(`{"default":[` + requirement + `]}`)
	if err != nil {
		t.Fatalf("%s: %v", requirement, err)
	}
	var b strings.Builder
	for _, w := range p.Warnings() {
		b.WriteString(w.Error() + "\n")
	}
	return b.String()
}

func TestIdentitiesThatMatchTooMuchAreWarnedAbout(t *testing.T) {
	const dot, open, anything = "dot in its host that is not escaped", "lets something else stand where its host is", "matches anything"
	for expr, want := range map[string]string{
		`https://github\.com/acme/.+`:                              "",
		`https://github\.com/acme/.+/\.github/workflows/x\.yml@.*`: "",
		`https://github\.com/acme/app/.github/workflows/x.yml@.+`:  "", // the path says whose it is
		`https://[^/]+\.example\.com/.+`:                           "",
		`https://(github|gitlab)\.com/acme/.+`:                     "",
		`[^@]+@acme\.example`:                                      "",
		`.+@acme\.example`:                                         "",
		`\Qhttps://github.com/acme/\E.+`:                           "",
		`https://github[.]com/acme/.+`:                             "",
		`spiffe://acme\.example/ns/build/sa/.+`:                    "",
		`https://github.com/acme/.+`:                               dot,
		`^https://github.com/acme/.+$`:                             dot,
		`https://github\.com/acme/.+|https://gitlab.com/acme/.+`:   dot,
		`(https://github.com)/acme/.+`:                             dot,
		`[^@]+@acme.example`:                                       dot,
		`(?i)https://github.com/acme/.+`:                           dot,
		`https://.+`:                                               open,
		`https://.*\.example\.com/app`:                             open,
		`https://[^@]+\.example\.com/app`:                          open,
		`https://(.+)/acme`:                                        open,
		`https://\S+/acme`:                                         open,
		`.*`:                                                       anything,
		`.+`:                                                       anything,
		`^.*$`:                                                     anything,
		`(?s).*`:                                                   anything,
		`.*|https://github\.com/acme/.+`:                           anything,
		`[^ ]+`:                                                    anything,
		`https://github\.com/acme/.+/.github/workflows/x.yml@refs.+`: "",
	} {
		q := fmt.Sprintf("%q", expr)
		for key, identity := range map[string]string{
			"subjectRegExp": `{"issuer":"https://i.example","subjectRegExp":` + q + `}`,
			"issuerRegExp":  `{"issuerRegExp":` + q + `,"subject":"https://s.example"}`,
		} {
			for at, requirement := range map[string]string{
				"default[0].": `{"type":"bundleSigned","trustRoot":"public-good","identities":[` + identity + `]}`,
				"default[0].signedBy.": `{"type":"attested","predicateType":"https://slsa.dev/provenance/v1","condition":"predicate != null","signedBy":{"trustRoot":"public-good","identities":[` +
					identity + `]}}`,
			} {
				got := extensionWarnings(t, requirement)
				if (want == "") != (got == "") || !strings.Contains(got, want) || want != "" && !strings.Contains(got, at+"identities[0]."+key+": ") {
					t.Errorf("%s %s: expected %q, found %q", key, expr, want, got)
				}
			}
		}
	}
}

// A field of the certificate can say who signs, where the subject does not.
func TestFieldsOfTheCertificateSayWhoSigns(t *testing.T) {
	const identity = `{"type":"bundleSigned","trustRoot":"public-good","identities":[{"issuer":"https://i.example","subjectRegExp":".+"%s}]}`
	if got := extensionWarnings(t, fmt.Sprintf(identity, `,"sourceRepositoryURI":"https://github.com/acme/app"`)); got != "" {
		t.Errorf("found %q", got)
	}
	if got := extensionWarnings(t, fmt.Sprintf(identity, "")); !strings.Contains(got, "everybody") {
		t.Errorf("found %q", got)
	}
}

func TestExtensionsThatDoNotDoWhatTheySeemTo(t *testing.T) {
	const ids = `"trustRoot":"public-good","identities":[{"issuer":"https://i.example","subject":"s"}]`
	notation := func(who, more string) string {
		return `{"type":"notationSigned","trustStores":{"ca":["ca.crt"]` + more + `},"trustedIdentities":["` + who + `"],"revocation":"skip"}`
	}
	attested := func(predicate string) string {
		return `{"type":"attested","predicateType":"` + predicate + `","signedBy":{"keyPath":"cosign.pub"},"condition":"predicate != null"}`
	}
	before := func(requirement string) string {
		return `{"type":"anyOf","of":[[{"type":"reject"}],{"type":"allOf","of":[` + requirement + `],"signedBefore":"2026-01-31T00:00:00Z"}]}`
	}
	const acme = "x509.subject: C=US, ST=WA, O=acme.example"
	for requirement, want := range map[string]string{
		notation(acme, ""):                         "",
		notation("*", ""):                          `default[0].trustedIdentities: "*" trusts every certificate`,
		attested("https://slsa.dev/provenance/v1"): "",
		attested("urn:acme:scan"):                  "",
		attested("slsaprovenance"):                 `default[0].predicateType: "slsaprovenance" is no URI`,
		attested("slsa.dev/provenance/v1"):         "is no URI",
		attested("https:"):                         "is no URI",
		`{"type":"bundleSigned",` + ids + `}`:      "",
		`{"type":"bundleSigned",` + ids + `,"thresholds":{"tlog":0,"sct":0,"timestamps":1}}`: "",
		`{"type":"bundleSigned",` + ids + `,"thresholds":{"tlog":0,"sct":0,"timestamps":0}}`: "default[0].thresholds: are all 0",

		before(`{"type":"bundleSigned","keyPath":"cosign.pub"}`):                           "default[0].of[1].signedBefore: this alternative can never be met",
		before(`{"type":"bundleSigned","keyPath":"cosign.pub","trustRoot":"public-good"}`): "",
		before(`{"type":"bundleSigned",` + ids + `}`):                                      "",
		before(attested("https://slsa.dev/provenance/v1")):                                 "nothing proves when its attested",
		before(notation(acme, "")):                                                         "neither tsa nor signingAuthority",
		before(notation(acme, `,"tsa":["ca.crt"]`)):                                        "",
		before(notation(acme, `,"signingAuthority":["ca.crt"]`)):                           "",
	} {
		got := extensionWarnings(t, requirement)
		if (want == "") != (got == "") || !strings.Contains(got, want) || strings.Count(got, "\n") > 1 {
			t.Errorf("%s: expected %q, found %q", requirement, want, got)
		}
	}
}

// A key's attestation can be stamped again later, unless the condition asks for a time
// that it states itself.
func TestMaxAgeThatProvesLittle(t *testing.T) {
	const rooted = `"keyPath":"cosign.pub","trustRoot":"public-good"`
	const again = "signed with a key, an old one can be stamped again"
	for _, c := range []struct{ signedBy, condition, want string }{
		{rooted, "predicate != null", again},
		{rooted, "timestamp(predicate.at) > timestamp('2026-01-01T00:00:00Z')", again},
		{rooted, "timestamp(predicate.at) > now - duration('168h')", ""},
		{`"trustRoot":"public-good","identities":[{"issuer":"https://i.example","subject":"s"}]`, "predicate != null", ""},
		{`"keyPath":"cosign.pub"`, "timestamp(predicate.at) > now - duration('168h')", "denies every image"},
	} {
		got := extensionWarnings(t, fmt.Sprintf(`{"type":"attested","predicateType":"https://acme.example/scan","signedBy":{%s},"condition":%q,"maxAge":"168h"}`, c.signedBy, c.condition))
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s, %s: expected %q, found %q", c.signedBy, c.condition, c.want, got)
		}
	}
}

// What people write who have not read everything is answered with what to write.
func TestFaultsSayWhatWasMeant(t *testing.T) {
	const key = `"keyPath":"cosign.pub"`
	for requirement, want := range map[string][]string{
		`{"type":"bundlesigned",` + key + `}`:                                                                            {`unknown requirement type "bundlesigned"; did you mean "bundleSigned"?`, "docs/policy.md"},
		`{"type":"sigstoresigned",` + key + `}`:                                                                          {`did you mean "sigstoreSigned"?`},
		`{"type":"cosign",` + key + `}`:                                                                                  {`unknown requirement type "cosign"; fix: write one of insecureAcceptAnything, reject, `},
		`{"type":"allOf","of":[{"type":"reject"}]}`:                                                                      {`"allOf" is no requirement`, "write its requirements into the list themselves", "docs/policy.md"},
		`{"type":"anyOf","of":[[{"type":"allOf","of":[{"type":"reject"}]}]]}`:                                            {`of[0]: [0]: "allOf" is no requirement`},
		`{"type":"anyOf","of":[[{"type":"bundlesigned",` + key + `}]]}`:                                                  {`of[0]: [0]: unknown requirement type "bundlesigned"; did you mean "bundleSigned"?`},
		`{"type":"anyOf","of":[{"type":"signedBy","keyType":"GPGKeys",` + key + `}]}`:                                    {`of[0]: an alternative is a list of requirements`, `write each alternative in brackets, like "of": [[{"type": "signedBy", …}]`},
		`{"type":"anyOf","of":[{"type":"bundleSigned",` + key + `}]}`:                                                    {`"of": [[{"type": "bundleSigned", …}]`},
		`{"type":"anyOf","of":[{"type":"allof","of":[]}]}`:                                                               {`unknown type "allof"; did you mean "allOf"?`},
		`{"type":"anyOf","of":[{"type":"bundlesigned",` + key + `}]}`:                                                    {`did you mean "bundleSigned"?`, "in brackets"},
		`{"type":"bundleSigned","trustRoot":"x","identities":[{"issuer":"i","subjectRegExp":"https://github\.com/.+"}]}`: {"not JSON: line 2", "in string escape code", `in JSON a backslash is written twice: "github\\.com"`},
		`{"type":"bundleSigned","trustRoot":"acme","identities":[{"issuer":"i","subject":"s"}]}`:                         {`trust root "acme" is not configured; fix: name one of trust_roots in the configuration (public-good)`, "reads its configuration at start only, so restart it"},
		`{"type":"notationSigned","trustedIdentities":["x509.subject: C=US, ST=WA, O=acme"],"revocation":"skip"}`:        {`trustStores: expected the certificates to trust, like {"ca": ["acme.crt"]}, found none`},
	} {
		w := newWorld(t)
		w.write("cosign.pub", string(newSigstoreKey(t).pem()))
		_, err := w.load("{\"default\":[\n" + requirement + "]}")
		for _, want := range want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: expected %q, found %v", requirement, want, err)
			}
		}
	}
}

// rooted is a trust root with so many logs and authorities, and one of certificates.
type rooted struct {
	root.BaseTrustedMaterial
	logs, cts, stamps int
	noCA              bool
}

func (r *rooted) FulcioCertificateAuthorities() []root.CertificateAuthority {
	if r.noCA {
		return nil
	}
	return make([]root.CertificateAuthority, 1)
}

func transparencyLogs(n int) map[string]*root.TransparencyLog {
	out := map[string]*root.TransparencyLog{}
	for i := range n {
		out[fmt.Sprint(i)] = &root.TransparencyLog{}
	}
	return out
}

func (r *rooted) RekorLogs() map[string]*root.TransparencyLog { return transparencyLogs(r.logs) }
func (r *rooted) CTLogs() map[string]*root.TransparencyLog    { return transparencyLogs(r.cts) }
func (r *rooted) TimestampingAuthorities() []root.TimestampingAuthority {
	return make([]root.TimestampingAuthority, r.stamps)
}

// What a trust root cannot prove denies every image: that is told where both are known.
func TestThresholdsThatATrustRootCannotMeet(t *testing.T) {
	const ids = `"trustRoot":"public-good","identities":[{"issuer":"https://i.example","subject":"s"}]`
	const keys = `"trustRoot":"public-good","keyPath":"cosign.pub"`
	for name, c := range map[string]struct {
		trust string
		root  rooted
		want  []string // none: all is well
	}{
		"all there":                   {ids, rooted{logs: 1, cts: 1}, nil},
		"no logs, by default":         {ids, rooted{stamps: 1}, []string{"asks for 1 (tlog), the default, of the transparency logs of trust root public-good, which has 0", "asks for 1 (sct), the default,", `write "tlog": 0`}},
		"no logs, and none asked for": {ids + `,"thresholds":{"tlog":0,"sct":0,"timestamps":1}`, rooted{stamps: 1}, nil},
		"no timestamps":               {ids + `,"thresholds":{"timestamps":2}`, rooted{logs: 1, cts: 1, stamps: 1}, []string{"asks for 2 (timestamps) of the timestamp authorities"}},
		"nothing that proves a time":  {ids + `,"thresholds":{"tlog":0,"sct":0}`, rooted{}, []string{"needs one proof of the time"}},
		"keys":                        {keys, rooted{}, nil},
		"keys with a log":             {keys + `,"thresholds":{"tlog":1}`, rooted{}, []string{"asks for 1 (tlog) of the"}},
	} {
		for at, requirement := range map[string]string{
			"default[0].thresholds":             `{"type":"bundleSigned",` + c.trust + `}`,
			"default[0].of[0][0].thresholds":    `{"type":"anyOf","of":[[{"type":"bundleSigned",` + c.trust + `}]]}`,
			"default[0].signedBy.thresholds":    `{"type":"attested","predicateType":"https://slsa.dev/provenance/v1","signedBy":{` + c.trust + `}}`,
			"default[0].of[0].of[0].thresholds": `{"type":"anyOf","of":[{"type":"allOf","of":[{"type":"bundleSigned",` + c.trust + `}],"until":"2099-01-31T00:00:00Z"}]}`,
		} {
			w := newWorld(t)
			w.write("cosign.pub", string(newSigstoreKey(t).pem()))
			p, err := w.load(`{"default":[` + requirement + `]}`)
			if err != nil {
				t.Fatal(err)
			}
			var text []string
			for _, x := range RootWarnings(p, &oneRoot{Root: trustroot.Root{Material: &c.root}}) {
				if !strings.HasSuffix(x.File, "policy.json") || x.Key != at {
					t.Errorf("%s: found %s: %s", name, x.File, x.Key)
				}
				text = append(text, x.Error())
			}
			got := strings.Join(text, "\n")
			if (len(c.want) == 0) != (got == "") {
				t.Errorf("%s: found %q", name, got)
			}
			for _, want := range c.want {
				if !strings.Contains(got, want) {
					t.Errorf("%s: expected %q, found %q", name, want, got)
				}
			}
			if RootWarnings(p, nil) != nil || RootWarnings(p, &oneRoot{}) != nil {
				t.Errorf("%s: roots that are not there are warned about", name)
			}
		}
	}
}

// Identities under a root without certificate authorities can be judged for nobody,
// whatever the thresholds.
func TestIdentitiesUnderARootWithoutAuthorities(t *testing.T) {
	const ids = `{"trustRoot":"public-good","identities":[{"issuer":"https://i.example","subject":"s"}],"thresholds":{"tlog":0,"sct":0,"timestamps":1}}`
	const keys = `{"trustRoot":"public-good","keyPath":"cosign.pub","thresholds":{"timestamps":1}}`
	for trust, want := range map[string]string{ids: "default[0].signedBy.identities: no image can be judged, and each is answered with 503", keys: ""} {
		for _, noCA := range []bool{true, false} {
			w := newWorld(t)
			w.write("cosign.pub", string(newSigstoreKey(t).pem()))
			p, err := w.load(`{"default":[{"type":"attested","predicateType":"https://slsa.dev/provenance/v1","signedBy":` + trust + `}]}`)
			if err != nil {
				t.Fatal(err)
			}
			found := RootWarnings(p, &oneRoot{Root: trustroot.Root{Material: &rooted{stamps: 1, noCA: noCA}}})
			switch {
			case want == "" || !noCA:
				if len(found) > 0 {
					t.Errorf("%s: found %v", trust, found)
				}
			case len(found) != 1 || !strings.Contains(found[0].Error(), want):
				t.Errorf("%s: expected %q, found %v", trust, want, found)
			}
		}
	}
}

// What is shown says which certificates notation signers are under, and which names
// are expressions.
func TestShowNamesAuthoritiesAndExpressions(t *testing.T) {
	w := newWorld(t)
	ca, tsa := testCA(t), testCA(t)
	w.write("ca.crt", ca)
	w.write("tsa.crt", tsa)
	p, err := w.load(`{"default":[
		{"type":"notationSigned","trustStores":{"ca":["ca.crt"],"tsa":["tsa.crt"]},"trustedIdentities":["x509.subject: C=US, ST=WA, O=acme.example","x509.subject: C=US, ST=WA, O=other.example"],"revocation":"skip"},
		{"type":"bundleSigned","trustRoot":"public-good","identities":[
			{"issuer":"https://i.example","subject":"https://s.example","sourceRepositoryRef":"refs/heads/main"},
			{"issuerRegExp":"https://i\\.example","subjectRegExp":"https://s\\.example"}]}]}`)
	if err != nil {
		t.Fatal(err)
	}
	print := func(text string) string {
		b, _ := pem.Decode([]byte(text))
		return fmt.Sprintf("sha256:%x", sha256.Sum256(b.Bytes))
	}
	reqs := p.Show()[0].Requirements
	if got, want := reqs[0].Authorities, []string{"ca " + print(ca), "tsa " + print(tsa)}; len(got) != 2 || !strings.HasPrefix(got[0], want[0]+", CN=ca") || !strings.HasPrefix(got[1], want[1]) {
		t.Errorf("authorities %q, expected %q", got, want)
	}
	if got := reqs[0].Identities; len(got) != 2 || got[1] != "x509.subject: C=US, ST=WA, O=other.example" {
		t.Errorf("identities %q", got)
	}
	want := []string{`https://s.example (issuer https://i.example, sourceRepositoryRef refs/heads/main)`, `subjectRegExp https://s\.example (issuerRegExp https://i\.example)`}
	if got := reqs[1].Identities; !slices.Equal(got, want) {
		t.Errorf("identities %q, expected %q", got, want)
	}
}

// TestWeakKeysOfBundlesNeverCount: allowing weak signatures says nothing about bundles,
// and the warning must not say that it does.
func TestWeakKeysOfBundlesNeverCount(t *testing.T) {
	weak := newSigstoreRSA(t, 1024)
	w := newWorld(t)
	w.write("weak.pub", string(weak.pem()))
	w.write("policy.json", `{"default":[{"type":"bundleSigned","keyPath":"weak.pub"}]}`)
	o := w.options()
	o.InsecureAllowWeak = true
	p, err := LoadPolicy(o)
	if err != nil {
		t.Fatal(err)
	}
	all := ""
	for _, x := range p.Warnings() {
		all += x.Error() + "\n"
	}
	if !strings.Contains(all, "it denies every image") || !strings.Contains(all, "refused, whatever is configured") || strings.Contains(all, "are allowed") {
		t.Errorf("expected warnings that the key never counts, got %s", all)
	}
	e := w.engine(`{"default":[{"type":"bundleSigned","keyPath":"weak.pub"}]}`)
	e.Replace(p)
	w.attach(repo, weak.sign(repo, theManifest))
	if v := verify(t, e, subject(t, v1)); v.Decision != Denied {
		t.Errorf("signed with a weak key, and %s", v.Decision)
	}
}
