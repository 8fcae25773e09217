package attest_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/verify/attest"
)

func isLocal(err error) bool { return errors.Is(err, attest.ErrLocal) }

var sha512Hex = strings.Repeat("ab", 64)

func TestParseStatement(t *testing.T) {
	doc := `{"_type":"https://in-toto.io/Statement/v0.1","extra":[1],"subject":[
		{"name":"a","digest":{"sha256":"` + subjectHex + `","sha512":"` + sha512Hex + `"}},
		{"name":"b","digest":{"sha256":"` + otherHex + `","sha1":"x"},"annotations":{"k":"v"}},
		{"uri":"git+https://x","digest":{"gitCommit":"0123"}}],
		"predicateType":"https://slsa.dev/provenance/v0.2","predicate":{"builder":{"id":"x"}}}`
	s, err := attest.ParseStatement([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	if s.Type != attest.StatementV01 || s.PredicateType != "https://slsa.dev/provenance/v0.2" || len(s.Subjects) != 3 {
		t.Errorf("found %+v", s)
	}
	about := map[string]bool{
		"sha256:" + subjectHex:                  true,
		"sha256:" + otherHex:                    true,
		"sha512:" + sha512Hex:                   true,
		"sha256:" + strings.Repeat("0", 64):     false,
		"sha512:" + strings.Repeat("0", 128):    false,
		"sha256:" + strings.ToUpper(subjectHex): false,
		"sha1:x":                                false,
		"gitCommit:0123":                        false,
		"":                                      false,
		subjectHex:                              false,
	}
	for d, want := range about {
		if s.About(digest.Digest(d)) != want {
			t.Errorf("About(%q): expected %v", d, want)
		}
	}
	if (attest.Statement{}).About("") || (attest.Statement{}).About(subject) {
		t.Error("the zero statement is about something")
	}
}

// hostile are statements that two readers could understand differently, or that
// are none.
func hostile() map[string]struct{ doc, reason string } {
	ok := string(statement("t", `{"a":1}`))
	with := func(old, new string) string { return strings.Replace(ok, old, new, 1) }
	deep := strings.Repeat("[", 70) + strings.Repeat("]", 70)
	return map[string]struct{ doc, reason string }{
		"empty":                   {``, "not one JSON document"},
		"two documents":           {ok + ok, "not one JSON document"},
		"trailing bytes":          {ok + "x", "not one JSON document"},
		"list":                    {`[]`, "JSON object"},
		"null":                    {`null`, "JSON object"},
		"not UTF-8":               {with(`"app"`, "\"\xff\""), "UTF-8"},
		"predicate twice":         {with(`"predicate":{"a":1}`, `"predicate":{"a":2},"predicate":{"a":1}`), "more than once"},
		"predicate in capitals":   {with(`"predicate":{"a":1}`, `"predicate":{"a":2},"Predicate":{"a":1}`), "some read as"},
		"predicate_type":          {with(`"predicateType":"t"`, `"predicateType":"t","predicate_type":"u"`), "some read as"},
		"type":                    {with(`"_type"`, `"type":"x","_type"`), "some read as"},
		"long s":                  {with(`"subject"`, `"ſubject":[],"subject"`), "some read as"},
		"escaped twice":           {with(`"predicate":{"a":1}`, `"predicate":{"a":2},"\u0070redicate":{"a":1}`), "more than once"},
		"twice far below":         {with(`{"a":1}`, `{"x":[{"y":{"a":1,"a":2}}]}`), "more than once"},
		"digest twice":            {with(`"digest":{`, `"digest":{"sha256":"`+otherHex+`"},"digest":{`), "more than once"},
		"algorithm twice":         {with(`{"sha256":`, `{"sha256":"`+otherHex+`","sha256":`), "more than once"},
		"Digest":                  {with(`"digest":{`, `"Digest":{"sha256":"`+otherHex+`"},"digest":{`), "some read as"},
		"SHA256":                  {with(`{"sha256":`, `{"SHA256":"`+otherHex+`","sha256":`), "some read as"},
		"other _type":             {with("Statement/v1", "Statement/v2"), "_type"},
		"no _type":                {with(`"_type":"https://in-toto.io/Statement/v1",`, ``), "_type"},
		"_type no text":           {with(`"https://in-toto.io/Statement/v1"`, `["https://in-toto.io/Statement/v1"]`), "_type"},
		"no predicate type":       {with(`"predicateType":"t"`, `"predicateType":""`), "predicateType"},
		"predicate type a list":   {with(`"predicateType":"t"`, `"predicateType":["t"]`), "predicateType"},
		"no subject":              {with(`"subject"`, `"topic"`), "subject"},
		"subject an object":       {with(`"subject":[{"name":"app","digest":{"sha256":"`+subjectHex+`"}}]`, `"subject":{}`), "subject"},
		"no subjects":             {with(`{"name":"app","digest":{"sha256":"`+subjectHex+`"}}`, ``), "subject"},
		"subject a text":          {with(`{"name":"app","digest":{"sha256":"`+subjectHex+`"}}`, `"sha256:`+subjectHex+`"`), "subject 0"},
		"no digest":               {with(`{"sha256":"`+subjectHex+`"}`, `{}`), "digest"},
		"digest a text":           {with(`{"sha256":"`+subjectHex+`"}`, `"sha256:`+subjectHex+`"`), "digest"},
		"short digest":            {with(subjectHex, "abcd"), "lower case hex"},
		"capitals":                {with(subjectHex, strings.ToUpper(subjectHex)), "lower case hex"},
		"sha512 of sha256 length": {with(`"sha256"`, `"sha512"`), "lower case hex"},
		"digest a number":         {with(`"`+subjectHex+`"`, `1`), "string"},
		"deep":                    {with(`{"a":1}`, deep), "nested"},
		"many values":             {with(`{"a":1}`, `[`+strings.Repeat("0,", 1_000_000)+`0]`), "values"},
		"large":                   {with(`"t"`, `"`+strings.Repeat("t", 17<<20)+`"`), "larger"},
		"many subjects":           {with(`[{"name"`, `[`+strings.Repeat(`{"digest":{"a":"b"}},`, 10_000)+`{"name"`), "at most"},
	}
}

func TestHostileStatements(t *testing.T) {
	for name, tt := range hostile() {
		t.Run(name, func(t *testing.T) {
			s, err := attest.ParseStatement([]byte(tt.doc))
			if err == nil || !strings.Contains(err.Error(), tt.reason) {
				t.Errorf("expected an error with %q, found %v", tt.reason, err)
			}
			if s.About(subject) {
				t.Error("what could not be read is about the image")
			}
			if err != nil && len(err.Error()) > 1000 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

func TestPredicateTypeOf(t *testing.T) {
	if got := attest.PredicateTypeOf("slsaprovenance1"); got != "https://slsa.dev/provenance/v1" {
		t.Errorf("found %q", got)
	}
	for _, alias := range []string{"", "unknown", "https://slsa.dev/provenance/v1"} {
		if got := attest.PredicateTypeOf(alias); got != "" {
			t.Errorf("%q: found %q", alias, got)
		}
	}
}

func FuzzParseStatement(f *testing.F) {
	f.Add(statement("t", `{"a":[1,2.5,null,true,"x"]}`))
	for _, tt := range hostile() {
		if len(tt.doc) < 4096 {
			f.Add([]byte(tt.doc))
		}
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		s, err := attest.ParseStatement(doc)
		if err != nil && (s.PredicateType != "" || s.Subjects != nil || s.Predicate() != nil) {
			t.Errorf("something was read beside %v", err)
		}
		if err == nil && s.PredicateType == "" {
			t.Error("a statement without predicate type")
		}
	})
}
