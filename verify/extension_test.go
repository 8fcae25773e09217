package verify

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestExtensionsAreReadStrictly holds each extension requirement to what may stand
// in it. want is part of the fault; empty: it loads.
func TestExtensionsAreReadStrictly(t *testing.T) {
	const trust = `"trustRoot":"public-good","identities":[{"issuer":"https://i.example","subject":"s@example.com"}]`
	const slsa = `"predicateType":"https://slsa.dev/provenance/v1","signedBy":{"keyPath":"cosign.pub"}`
	for requirement, want := range map[string]string{
		`{"type":"bundleSigned","keyPath":"cosign.pub"}`:                                                   "",
		`{"type":"bundleSigned","keyPaths":["cosign.pub","other.pub"]}`:                                    "",
		`{"type":"bundleSigned",` + trust + `}`:                                                            "",
		`{"type":"bundleSigned","keyPath":"cosign.pub","trustRoot":"public-good","thresholds":{"tlog":1}}`: "",
		`{"type":"bundleSigned",` + trust + `,"thresholds":{"tlog":1,"sct":1,"timestamps":1}}`:             "",
		`{"type":"bundleSigned","trustRoot":"public-good","identities":[{"issuerRegExp":"https://.+","subjectRegExp":"https://github\\.com/acme/.+","sourceRepositoryRef":"refs/heads/main"}]}`: "",

		`{"type":"bundleSigned"}`:                                                                                          "expected keyPath",
		`{"type":"bundleSigned","keypath":"cosign.pub"}`:                                                                   `unknown key "keypath"`,
		`{"type":"bundleSigned","keyPath":"cosign.pub","keyPath":"cosign.pub"}`:                                            `"keyPath" stands here twice`,
		`{"type":"bundleSigned","type":"bundleSigned","keyPath":"cosign.pub"}`:                                             `"type" stands here twice`,
		`{"type":"bundleSigned","keyPath":"cosign.pub","keyData":"eA=="}`:                                                  "found keyPath and keyData",
		`{"type":"bundleSigned","keyPath":"cosign.pub",` + trust + `}`:                                                     "found keyPath and identities",
		`{"type":"bundleSigned","keyPath":"absent.pub"}`:                                                                   "absent.pub does not exist",
		`{"type":"bundleSigned","keyPath":"text"}`:                                                                         "expected a PEM public key",
		`{"type":"bundleSigned","keyPaths":[]}`:                                                                            "names no key",
		`{"type":"bundleSigned","signedIdentity":{"type":"matchRepository"},"keyPath":"cosign.pub"}`:                       `unknown key "signedIdentity"`,
		`{"type":"bundleSigned","keyPath":"cosign.pub","thresholds":{"tlog":1}}`:                                           "need a trustRoot",
		`{"type":"bundleSigned","keyPath":"cosign.pub","thresholds":{"sct":1}}`:                                            "sct is about certificates",
		`{"type":"bundleSigned",` + trust + `,"thresholds":{"tlog":-1}}`:                                                   "tlog: expected a whole number",
		`{"type":"bundleSigned",` + trust + `,"thresholds":{"tlog":1.5}}`:                                                  "tlog: expected a whole number",
		`{"type":"bundleSigned",` + trust + `,"thresholds":{"tlog":null}}`:                                                 "tlog: expected a whole number",
		`{"type":"bundleSigned",` + trust + `,"thresholds":{"logs":1}}`:                                                    `unknown key "logs"`,
		`{"type":"bundleSigned","trustRoot":"other","identities":[{"issuer":"i","subject":"s"}]}`:                          `trust root "other" is not configured`,
		`{"type":"bundleSigned","identities":[{"issuer":"i","subject":"s"}]}`:                                              "name the trustRoot",
		`{"type":"bundleSigned","trustRoot":"public-good"}`:                                                                "expected keyPath",
		`{"type":"bundleSigned","trustRoot":"public-good","identities":[]}`:                                                "identities: expected a list",
		`{"type":"bundleSigned","trustRoot":"public-good","identities":[{"issuer":"i"}]}`:                                  "one of subject",
		`{"type":"bundleSigned","trustRoot":"public-good","identities":[{"issuer":"i","issuerRegExp":"i","subject":"s"}]}`: "expected one of issuer",
		`{"type":"bundleSigned","trustRoot":"public-good","identities":[{"issuer":"i","subject":""}]}`:                     "not empty",
		`{"type":"bundleSigned","trustRoot":"public-good","identities":[{"issuer":"i","subject":"s","subject":"t"}]}`:      "twice",
		`{"type":"bundleSigned","trustRoot":"public-good","identities":[{"issuer":"i","subjectRegExp":"("}]}`:              "subjectRegExp",
		`{"type":"bundleSigned","trustRoot":"public-good","identities":[{"issuer":"i","subject":"s","runner":"x"}]}`:       "runner",

		`{"type":"attested",` + slsa + `}`: "",
		`{"type":"attested",` + slsa + `,"condition":"predicate.buildDefinition.buildType == 'https://acme.example/build'","maxAge":"168h"}`: "",
		`{"type":"attested","signedBy":{"keyPath":"cosign.pub"}}`:                                                                            "predicateType: expected",
		`{"type":"bundleSigned","keyPath":"cosign.pub","trustRoot":""}`:                                                                      "trustRoot: expected",
		`{"type":"bundleSigned","keyPath":"cosign.pub","trustRoot":null}`:                                                                    "trustRoot: expected a string",
		`{"type":"bundleSigned","keyPath":null}`:                                                                                             "keyPath",
		`{"type":"bundleSigned","keyDatas":[null]}`:                                                                                          "expected a PEM public key",
		`{"type":"bundleSigned","trustRoot":"public-good","identities":null}`:                                                                "identities: expected a list",
		`{"type":"bundleSigned","trustRoot":"public-good","identities":[null]}`:                                                              "identities[0]",
		`{"type":"bundleSigned","trustRoot":"public-good","identities":[{"issuer":"i","subject":null}]}`:                                     "not empty",
		`{"type":"bundleSigned","trustRoot":"public-good","identities":[{"Issuer":"i","issuer":"j","subject":"s"}]}`:                         "Issuer",
		`{"type":"bundleSigned","Type":"reject","keyPath":"cosign.pub"}`:                                                                     `nknown key "Type"`,
		`{"Type":"bundleSigned","keyPath":"cosign.pub"}`:                                                                                     `unknown key "Type"`,
		`{"type":"insecureAcceptAnything","Type":"bundleSigned","keyPath":"cosign.pub"}`:                                                     `unknown key "Type"`,
		`{"type":"bundleSigned","Type":"insecureAcceptAnything"}`:                                                                            "Type",
		`{"type":"bundleSigned","keyPath":"cosign.pub","\u006beyPath":"cosign.pub"}`:                                                         `"keyPath" stands here twice`,
		`{"type":"bundleSigned","keyPath":"cosign.pub","\u212aeyPath":"cosign.pub"}`:                                                         "unknown key",
		`{"type":"attested",` + slsa + `,"Condition":"true"}`:                                                                                `unknown key "Condition"`,
		`{"type":"attested",` + slsa + `,"condition":"true","condition":"false"}`:                                                            `"condition" stands here twice`,
		`{"type":"attested",` + slsa + `,"condition":null}`:                                                                                  "condition: expected a string",
		`{"type":"attested",` + slsa + `,"maxAge":null}`:                                                                                     "maxAge: expected a string",
		`{"type":"attested",` + slsa + `,"maxAge":""}`:                                                                                       "maxAge: expected a duration",
		`{"type":"attested",` + slsa + `,"maxAge":"0s"}`:                                                                                     "maxAge: expected a duration",
		`{"type":"attested",` + slsa + `,"maxAge":"1000000h"}`:                                                                               "maxAge: expected a duration",
		`{"type":"attested","predicateType":1,"signedBy":{"keyPath":"cosign.pub"}}`:                                                          "predicateType: expected a string",
		`{"type":"attested","predicateType":"x","signedBy":null}`:                                                                            "signedBy: expected",
		`{"type":"attested","predicateType":"x","signedBy":{}}`:                                                                              "signedBy: expected keyPath",
		`{"type":"attested","predicateType":"x","signedBy":{"keyPath":"absent.pub"}}`:                                                        "absent.pub does not exist",
		`{"type":"attested","predicateType":"x","signedBy":{"trustRoot":"public-good","identities":[{"issuer":"i"}]}}`:                       "signedBy: identities[0]",
		`{"type":"attested","predicateType":"x","signedBy":{"trustRoot":"public-good","identities":[{"issuer":"i","subject":"s"},{}]}}`:      "signedBy: identities[1]",
		`{"type":"anyOf","of":[null]}`:                                                                                                       "of[0]",
		`{"type":"anyOf","of":[[null]]}`:                                                                                                     "of[0]: [0]",
		`{"type":"anyOf","of":[{"type":"allOf","of":null}]}`:                                                                                 "of[0]",
		`{"type":"anyOf","of":[{"Type":"allOf","of":[{"type":"reject"}]}]}`:                                                                  `unknown key "Type"`,
		`{"type":"anyOf","of":[{"type":"allOf","of":[{"type":"reject"}],"until":""}]}`:                                                       "until: expected a time",
		`{"type":"anyOf","of":[{"type":"allOf","of":[{"type":"reject"}],"until":null}]}`:                                                     "until: expected a string",
		`{"type":"anyOf","of":[{"type":"allOf","of":[{"type":"reject"}],"until":"2099-01-31T00:00:00Z","until":"2020-01-31T00:00:00Z"}]}`:    `"until" stands here twice`,
		`{"type":"anyOf","of":[{"type":"allOf","of":[{"type":"bundleSigned","keyPath":"cosign.pub"}],"signedBefore":"soon"}]}`:               "signedBefore: expected a time",
		`{"type":"anyOf","of":[{"type":"allOf","of":[{"type":"bundleSigned","keyPath":"cosign.pub"},{"type":"anyOf","of":[[{"type":"reject"}]]}],"signedBefore":"2026-01-31T00:00:00Z"}]}`: "signedBefore: nothing proves",
		`{"type":"anyOf","of":[[{"type":"signedBy","keyType":"GPGKeys","keyPath":"absent.gpg","keyPath":"absent.gpg"}]]}`:                                                                  `"keyPath" stands here twice`,
		`{"type":"anyOf","of":[[{"type":"signedBy","keyType":"GPGKeys","KeyData":"eA=="}]]}`:                                                                                               "of[0]: [0]:",

		`{"type":"attested","predicateType":"x"}`:                                                           "signedBy: expected",
		`{"type":"attested","predicateType":"x","signedBy":{"type":"bundleSigned","keyPath":"cosign.pub"}}`: `signedBy: unknown key "type"`,
		`{"type":"attested",` + slsa + `,"condition":"1 + 1"}`:                                              "condition:",
		`{"type":"attested",` + slsa + `,"condition":"predicate."}`:                                         "condition:",
		`{"type":"attested",` + slsa + `,"condition":"nothing == 1"}`:                                       "condition:",
		`{"type":"attested",` + slsa + `,"condition":true}`:                                                 "condition: expected a string",
		`{"type":"attested",` + slsa + `,"maxAge":"7d"}`:                                                    "maxAge: expected a duration",
		`{"type":"attested",` + slsa + `,"maxAge":"-1h"}`:                                                   "maxAge: expected a duration",
		`{"type":"attested",` + slsa + `,"maxAge":168}`:                                                     "maxAge: expected a string",

		`{"type":"notationSigned","trustStores":{"ca":["ca.crt"]},"trustedIdentities":["x509.subject: C=US, ST=WA, O=acme.example"],"revocation":"skip"}`: "",
		`{"type":"notationSigned","trustStores":{"ca":["ca.crt"],"signingAuthority":[],"tsa":[]},"trustedIdentities":["*"],"revocation":"skip"}`:          "",
		`{"type":"notationSigned","trustStores":{"ca":["ca.crt"]},"trustedIdentities":["*"]}`:                                                             "revocation: expected enforce or skip",
		`{"type":"notationSigned","trustStores":{"ca":["ca.crt"]},"trustedIdentities":["*"],"revocation":"audit"}`:                                        "revocation: expected enforce or skip",
		`{"type":"notationSigned","trustStores":{"ca":["ca.crt"]},"trustedIdentities":[],"revocation":"skip"}`:                                            "trustedIdentities: expected",
		`{"type":"notationSigned","trustStores":{"ca":["text"]},"trustedIdentities":["*"],"revocation":"skip"}`:                                           "holds no PEM certificate",
		`{"type":"notationSigned","trustStores":{"CA":["ca.crt"]},"trustedIdentities":["*"],"revocation":"skip"}`:                                         `trustStores: unknown key "CA"`,
		`{"type":"notationSigned","trustedIdentities":["*"],"revocation":"skip"}`:                                                                         "trustStores:",

		`{"type":"anyOf","of":[[{"type":"reject"}],[{"type":"bundleSigned","keyPath":"cosign.pub"}]]}`:                                                                        "",
		`{"type":"anyOf","of":[{"type":"allOf","of":[{"type":"bundleSigned","keyPath":"cosign.pub"}],"until":"2099-01-31T00:00:00Z","signedBefore":"2026-01-31T00:00:00Z"}]}`: "",
		`{"type":"anyOf","of":[]}`:                                                             "of: expected a list",
		`{"type":"anyOf"}`:                                                                     "of: expected a list",
		`{"type":"anyOf","of":[[]]}`:                                                           "of[0]: expected a list of 1 to",
		`{"type":"anyOf","of":[{"type":"reject"}]}`:                                            `of[0]`,
		`{"type":"anyOf","of":[[{"type":"rejct"}]]}`:                                           "rejct",
		`{"type":"anyOf","of":[[{"type":"reject","x":1}]]}`:                                    "of[0]: [0]:",
		`{"type":"anyOf","of":[[{"type":"bundleSigned"}]],"or":1}`:                             `unknown key "or"`,
		`{"type":"anyOf","of":[{"type":"allOf","of":[{"type":"reject"}],"until":"tomorrow"}]}`: "until: expected a time",
		`{"type":"anyOf","of":[{"type":"allOf","of":[{"type":"reject"}],"signedBefore":"2026-01-31T00:00:00Z"}]}`: "signedBefore: nothing proves",
		`{"type":"anyOf","of":[{"type":"oneOf","of":[{"type":"reject"}]}]}`:                                       `an object of type "allOf"`,
		`{"type":"anyOf","of":[{"of":[{"type":"reject"}]}]}`:                                                      `an object of type "allOf"`,
		`{"type":"anyOf","of":[{"type":"allOf","of":{"type":"reject"}}]}`:                                         "of: expected a list of requirements",
		`{"type":"anyOf","of":[{"type":"allOf","of":[]}]}`:                                                        "expected a list of 1 to",
		`{"type":"anyOf","of":[{"type":"allOf","of":[{"type":"reject"},{"type":"rejct"}]}]}`:                      "rejct",
		`{"type":"anyOf","of":[{"type":"allOf","of":[{"type":"reject"}],"untill":"2020-01-31T00:00:00Z"}]}`:       `unknown key "untill"`,
		`{"type":"anyOf","of":[[{"type":"reject"},{"type":"bundleSigned"}]]}`:                                     "expected keyPath",
		`{"type":"anyOf","of":[{"type":"allOf","of":[{"type":"bundleSigned","keyPath":"cosign.pub"},{"type":"sigstoreSigned","keyPath":"cosign.pub","signedIdentity":{"type":"matchRepository"}}],"signedBefore":"2026-01-31T00:00:00Z"}]}`:                   "signedBefore: nothing proves",
		`{"type":"anyOf","of":[{"type":"allOf","of":[{"type":"bundleSigned","keyPath":"cosign.pub"},{"type":"signedBaseLayer","baseLayerIdentity":{"type":"exactRepository","dockerRepository":"a.example.com/b"}}],"signedBefore":"2026-01-31T00:00:00Z"}]}`: "signedBefore: nothing proves",
		nested(4): "levels of anyOf",
	} {
		w := newWorld(t)
		w.write("cosign.pub", string(newSigstoreKey(t).pem()))
		w.write("other.pub", string(newSigstoreKey(t).pem()))
		w.write("ca.crt", testCA(t))
		w.write("text", "hello")
		_, err := w.load(fmt.Sprintf(`{"default":[{"type":"reject"}],"transports":{"docker":{"a.example.com":[%s]}}}`, requirement))
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", requirement, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: expected %q, found %v", requirement, want, err)
		case err != nil && !strings.Contains(err.Error(), `transports.docker."a.example.com"[0]`):
			t.Errorf("%s: the fault names no place: %v", requirement, err)
		}
	}
}

func nested(levels int) string {
	out := `{"type":"reject"}`
	for range levels {
		out = `{"type":"anyOf","of":[[` + out + `]]}`
	}
	return out
}

// TestStandardRequirementsStayStrictBesideExtensions: an extension in a file must
// not make the library's parser look away.
func TestStandardRequirementsStayStrictBesideExtensions(t *testing.T) {
	for name, policy := range map[string]string{
		"unknown key":         `{"default":[%s,{"type":"reject","x":1}]}`,
		"unknown top key":     `{"default":[%s],"defualt":[]}`,
		"duplicate scope":     `{"default":[%s],"transports":{"docker":{"a.example.com":[{"type":"reject"}],"a.example.com":[{"type":"insecureAcceptAnything"}]}}}`,
		"duplicate default":   `{"default":[%s],"default":[{"type":"insecureAcceptAnything"}]}`,
		"unknown type":        `{"default":[%s,{"type":"bundlesigned"}]}`,
		"empty list":          `{"default":[%s],"transports":{"docker":{"a.example.com":[]}}}`,
		"extension elsewhere": `{"default":[%s],"transports":%[1]s}`,
		"extension as scope":  `{"default":[%s],"transports":{"docker":{"a.example.com":%[1]s}}}`,
	} {
		w := newWorld(t)
		w.write("cosign.pub", string(newSigstoreKey(t).pem()))
		if _, err := w.load(fmt.Sprintf(policy, `{"type":"bundleSigned","keyPath":"cosign.pub"}`)); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

// TestRevisionCoversExtensions: a changed key of an extension is another policy.
func TestRevisionCoversExtensions(t *testing.T) {
	w := newWorld(t)
	load := func() string {
		p, err := w.load(`{"default":[{"type":"anyOf","of":[[{"type":"bundleSigned","keyPath":"cosign.pub"}]]}]}`)
		if err != nil {
			t.Fatal(err)
		}
		return p.Revision()
	}
	w.write("cosign.pub", string(newSigstoreKey(t).pem()))
	first := load()
	if load() != first {
		t.Error("the same bytes have two revisions")
	}
	w.write("cosign.pub", string(newSigstoreKey(t).pem()))
	if load() == first {
		t.Error("another key has the same revision")
	}
}

// TestNothingMeetsAnEmptyAlternative: the zero value denies.
func TestNothingMeetsAnEmptyAlternative(t *testing.T) {
	e := newWorld(t).engine(rejectAll)
	j, err := newJudged(subject(t, v1), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []*anyOf{{}, {of: []alternative{{}}}, {of: []alternative{{until: time.Now().Add(time.Hour)}}}} {
		o, err := x.judge(t.Context(), &judging{engine: e, policy: e.Policy(), image: j})
		if err != nil || o.Allowed {
			t.Errorf("%+v: %v, %v", x, o, err)
		}
	}
}

func anyOfPolicy(t *testing.T, alternatives ...any) string {
	t.Helper()
	b, err := json.Marshal(map[string]any{"default": []any{map[string]any{"type": "anyOf", "of": alternatives}}})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestAnyOf tells what becomes of an image by alternatives.
func TestAnyOf(t *testing.T) {
	old, fresh, stranger := newGPG(t, "ed25519"), newGPG(t, "ed25519"), newGPG(t, "ed25519")
	key := newSigstoreKey(t)
	reject := map[string]any{"type": "reject"}
	together := func(until string, reqs ...any) any {
		return map[string]any{"type": "allOf", "of": reqs, "until": until}
	}
	for name, c := range map[string]struct {
		of   []any
		sigs [][]byte
		want string // empty: allowed
	}{
		"first":               {[]any{[]any{signedBy(nil, old)}, []any{signedBy(nil, fresh)}}, [][]byte{old.sign(v1, theManifest)}, ""},
		"second":              {[]any{[]any{signedBy(nil, old)}, []any{signedBy(nil, fresh)}}, [][]byte{fresh.sign(v1, theManifest)}, ""},
		"none":                {[]any{[]any{signedBy(nil, old)}, []any{signedBy(nil, fresh)}}, [][]byte{stranger.sign(v1, theManifest)}, "alternatives 1, 2: signed by key"},
		"none, each its own":  {[]any{[]any{signedBy(nil, old)}, []any{reject}}, [][]byte{stranger.sign(v1, theManifest)}, "alternative 2: the policy rejects"},
		"unsigned":            {[]any{[]any{signedBy(nil, old)}}, nil, "alternative 1: no signatures"},
		"a list is ANDed":     {[]any{[]any{signedBy(nil, old), signedBy(nil, fresh)}}, [][]byte{old.sign(v1, theManifest)}, "alternative 1:"},
		"both of a list":      {[]any{[]any{signedBy(nil, old), signedBy(nil, fresh)}}, [][]byte{old.sign(v1, theManifest), fresh.sign(v1, theManifest)}, ""},
		"reject in one":       {[]any{[]any{reject}, []any{signedBy(nil, fresh)}}, [][]byte{fresh.sign(v1, theManifest)}, ""},
		"reject beside a key": {[]any{[]any{signedBy(nil, old), reject}}, [][]byte{old.sign(v1, theManifest)}, "the policy rejects"},
		"still counts":        {[]any{together("2099-01-01T00:00:00Z", signedBy(nil, old))}, [][]byte{old.sign(v1, theManifest)}, ""},
		"has ended":           {[]any{together("2020-01-01T00:00:00Z", signedBy(nil, old))}, [][]byte{old.sign(v1, theManifest)}, "it has ended on 2020-01-01"},
		"of another kind":     {[]any{[]any{sigstoreSigned(map[string]any{"type": "matchRepository"}, key)}}, [][]byte{old.sign(v1, theManifest)}, "no sigstore signatures"},
		"accept anything":     {[]any{[]any{map[string]any{"type": "insecureAcceptAnything"}}}, nil, ""},
		"in another anyOf":    {[]any{[]any{map[string]any{"type": "anyOf", "of": []any{[]any{signedBy(nil, old)}}}}}, [][]byte{old.sign(v1, theManifest)}, ""},
		"for another tag":     {[]any{[]any{signedBy(nil, old)}}, [][]byte{old.sign(v2, theManifest)}, "asked for"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			e := w.engine(anyOfPolicy(t, c.of...))
			w.store("team/app", c.sigs...)
			v := verify(t, e, subject(t, v1))
			if got := reasons(v); (v.Decision == Allowed) != (c.want == "") || !strings.Contains(got, c.want) {
				t.Errorf("%v: %s", v.Decision, got)
			}
			if v.Decision == Allowed && name == "still counts" && !v.Expires.Equal(time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)) {
				t.Errorf("kept until %s", v.Expires)
			}
		})
	}
}

// The first reason of each alternative comes before the second of any: who is shown
// three reasons sees what is wrong with three alternatives.
func TestReasonsOfAlternatives(t *testing.T) {
	for name, c := range map[string]struct {
		found [][]string
		want  []string
	}{
		"nothing":        {nil, nil},
		"one each":       {[][]string{{"a"}, {"b"}}, []string{"alternative 1: a", "alternative 2: b"}},
		"first ones":     {[][]string{{"a", "c", "d"}, {"b", "e"}}, []string{"alternative 1: a", "alternative 2: b", "alternative 1: c", "alternative 1: d", "alternative 2: e"}},
		"the same":       {[][]string{{"a", "c"}, {"a"}, {"b", "c"}}, []string{"alternatives 1, 2: a", "alternative 3: b", "alternatives 1, 3: c"}},
		"twice in one":   {[][]string{{"a", "a"}}, []string{"alternative 1: a"}},
		"none of one":    {[][]string{nil, {"b"}}, []string{"alternative 2: b"}},
		"first of other": {[][]string{{"a", "b"}, {"b"}}, []string{"alternative 1: a", "alternatives 1, 2: b"}},
	} {
		if got := byAlternative(c.found); !slices.Equal(got, c.want) {
			t.Errorf("%s: expected %q, found %q", name, c.want, got)
		}
	}
}

// TestAnyOfGoesOnWhereOneAlternativeCannotBeTold: that a trust root is missing does
// not matter when another alternative is met, and denies nothing when none is.
func TestAnyOfGoesOnWhereOneAlternativeCannotBeTold(t *testing.T) {
	key := newGPG(t, "ed25519")
	rootless := map[string]any{"type": "bundleSigned", "trustRoot": "public-good",
		"identities": []any{map[string]any{"issuer": "https://i.example", "subject": "s"}}}
	w := newWorld(t)
	e := w.engine(anyOfPolicy(t, []any{rootless}, []any{signedBy(nil, key)}))
	if v, err := e.Verify(t.Context(), subject(t, v1)); err == nil || v.Decision == Allowed {
		t.Errorf("%v, %v", v.Decision, err)
	}
	w.store("team/app", key.sign(v1, theManifest))
	if v := verify(t, e, subject(t, v1)); v.Decision != Allowed {
		t.Errorf("%s", reasons(v))
	}
}

// TestAnyOfIsInconclusiveWhenAPlaceIs: that one alternative could not be asked about
// is no denial.
func TestAnyOfIsInconclusiveWhenAPlaceIs(t *testing.T) {
	w := newWorld(t)
	e := w.engine(anyOfPolicy(t, []any{sigstoreSigned(map[string]any{"type": "matchRepository"}, newSigstoreKey(t))}))
	w.reg.err = errors.New("503")
	if v, err := e.Verify(t.Context(), subject(t, v1)); err == nil || v.Decision == Allowed {
		t.Errorf("%v, %v", v.Decision, err)
	}
}

// testCA is a certificate authority, PEM.
func testCA(t *testing.T) string {
	t.Helper()
	key := newSigstoreKey(t)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca", Organization: []string{"acme.example"}, Country: []string{"US"}, Province: []string{"WA"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key.Signer)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// TestReasonsNamePlacesOfTheirOwn: what is said to be missing was looked for only where
// the requirement can use it, whatever places others need.
func TestReasonsNamePlacesOfTheirOwn(t *testing.T) {
	w := newWorld(t)
	w.write("cosign.pub", string(newSigstoreKey(t).pem()))
	w.write("ca.crt", testCA(t))
	key := newGPG(t, "ed25519")
	const notation = `{"type":"notationSigned","trustStores":{"ca":["ca.crt"]},"trustedIdentities":["x509.subject: C=US, ST=WA, O=acme.example"],"revocation":"skip"}`
	const attested = `{"type":"attested","predicateType":"t","signedBy":{"keyPath":"cosign.pub"}}`
	gpg := fmt.Sprintf(`{"type":"signedBy","keyType":"GPGKeys","keyData":%q}`, b64(key.public()))
	e := w.engine(fmt.Sprintf(`{"default":[{"type":"anyOf","of":[[%s],[{"type":"bundleSigned","keyPath":"cosign.pub"}],[%s],[%s]]}]}`, notation, attested, gpg))
	v := verify(t, e, subject(t, v1))
	if len(v.Looked) != 4 {
		t.Errorf("expected four places, found %q", v.Looked)
	}
	for i, want := range [][]string{{"the referrers of"}, {".sig", "the referrers of"}, {".att", "the referrers of"}, {"@sha256="}} {
		found := ""
		for _, f := range v.Requirements[0].Found {
			if strings.HasPrefix(f, fmt.Sprintf("alternative %d:", i+1)) {
				found = f
			}
		}
		for _, place := range []string{"the referrers of", ".sig", ".att", "@sha256="} {
			if strings.Contains(found, place) != slices.Contains(want, place) {
				t.Errorf("alternative %d: expected the places %q, found %s", i+1, want, found)
			}
		}
	}
}
