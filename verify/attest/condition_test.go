package attest_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/verify/attest"
)

const (
	subjectHex = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
	otherHex   = "486ea46224d1bb4fb680f34f7c9ad96a8f24ec88be73ea8e5a6c65260e9cb8a7"
)

var (
	subject = digest.NewDigestFromEncoded(digest.SHA256, subjectHex)
	now     = time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
)

// statement wraps a predicate, given as JSON.
func statement(predicateType, predicate string) []byte {
	return []byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"app","digest":{"sha256":"` + subjectHex + `"}}],` +
		`"predicateType":"` + predicateType + `","predicate":` + predicate + `}`)
}

func ask(t *testing.T, expression string, doc []byte) (bool, error) {
	t.Helper()
	c, err := attest.Compile(expression)
	if err != nil {
		t.Fatalf("%.100s: %v", expression, err)
	}
	return c.Holds(t.Context(), attest.Input{Statement: doc, Reference: "registry.example.com/team/app:v1", Digest: subject, Now: now})
}

const slsa = `{"buildDefinition":{
	"buildType":"https://actions.github.io/buildtypes/workflow/v1",
	"externalParameters":{"workflow":{"ref":"refs/heads/main","repository":"https://github.com/acme/app","path":".github/workflows/release.yml"}},
	"internalParameters":{"github":{"event_name":"push","runner_environment":"github-hosted"}},
	"resolvedDependencies":[{"uri":"git+https://github.com/acme/app@refs/heads/main","digest":{"gitCommit":"0123456789abcdef0123456789abcdef01234567"}}]},
	"runDetails":{"builder":{"id":"https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main"},"metadata":{"startedOn":"2026-03-09T10:00:00Z"}}}`

const scan = `{"invocation":{"uri":"","event_id":""},
	"scanner":{"uri":"pkg:github/aquasecurity/trivy@0.60.0","version":"0.60.0","result":{"SchemaVersion":2,"Results":[
		{"Target":"os","Vulnerabilities":[{"VulnerabilityID":"CVE-1","Severity":"LOW","Score":3},{"VulnerabilityID":"CVE-2","Severity":"%s","Score":7.5}]},
		{"Target":"go.mod"}]}},
	"metadata":{"scanStartedOn":"2026-03-08T09:00:00Z","scanFinishedOn":"2026-03-08T09:01:00Z"}}`

const vex = `{"@context":"https://openvex.dev/ns/v0.2.0","statements":[
	{"vulnerability":{"name":"CVE-1"},"status":"not_affected","justification":"vulnerable_code_not_present"},
	{"vulnerability":{"name":"CVE-2"},"status":"%s"}]}`

// What people write holds for what is good and does not for what is bad.
func TestConditions(t *testing.T) {
	provenance := statement("https://slsa.dev/provenance/v1", slsa)
	branch := statement("https://slsa.dev/provenance/v1", strings.ReplaceAll(slsa, "refs/heads/main", "refs/heads/evil"))
	clean := statement("https://cosign.sigstore.dev/attestation/vuln/v1", fmt.Sprintf(scan, "MEDIUM"))
	critical := statement("https://cosign.sigstore.dev/attestation/vuln/v1", fmt.Sprintf(scan, "CRITICAL"))
	fixed := statement("https://openvex.dev/ns", fmt.Sprintf(vex, "fixed"))
	affected := statement("https://openvex.dev/ns", fmt.Sprintf(vex, "affected"))
	text := statement("https://acme.example/note", `"approved"`)
	list := statement("https://acme.example/approvals", `["ann","bob"]`)

	noCritical := `!predicate.scanner.result.Results.exists(r, has(r.Vulnerabilities) && r.Vulnerabilities.exists(v, v.Severity == 'CRITICAL'))`
	recent := `now - timestamp(predicate.metadata.scanFinishedOn) < duration('168h')`
	notAffected := `predicate.statements.all(s, s.status in ['not_affected', 'fixed'])`
	ours := `predicate.buildDefinition.externalParameters.workflow.repository == 'https://github.com/acme/app' &&
		predicate.buildDefinition.externalParameters.workflow.ref == 'refs/heads/main' &&
		predicate.buildDefinition.externalParameters.workflow.path == '.github/workflows/release.yml'`
	tests := []struct {
		name, expression string
		doc              []byte
		want             bool
	}{
		{"nothing asked", ``, provenance, true},
		{"build type", `predicate.buildDefinition.buildType == 'https://actions.github.io/buildtypes/workflow/v1'`, provenance, true},
		{"other build type", `predicate.buildDefinition.buildType == 'https://acme.example/build'`, provenance, false},
		{"builder", `predicate.runDetails.builder.id.startsWith('https://github.com/acme/app/.github/workflows/')`, provenance, true},
		{"builder by pattern", `predicate.runDetails.builder.id.matches('^https://github[.]com/acme/[^/]+/[.]github/workflows/release[.]yml@refs/heads/main$')`, provenance, true},
		{"our workflow on main", ours, provenance, true},
		{"our workflow on another branch", ours, branch, false},
		{"hosted runner", `predicate.buildDefinition.internalParameters.github.runner_environment == "github-hosted"`, provenance, true},
		{"repetition", `predicate.buildDefinition.resolvedDependencies[0].digest.gitCommit.matches('^[0-9a-f]{40}$')`, provenance, true},
		{"source", `predicate.buildDefinition.resolvedDependencies.exists(d, d.uri.startsWith('git+https://github.com/acme/app@') && size(d.digest.gitCommit) == 40)`, provenance, true},
		{"no critical finding", noCritical, clean, true},
		{"critical finding", noCritical, critical, false},
		{"scanned within a week", recent + " && " + noCritical, clean, true},
		{"scanned within a day", `now - timestamp(predicate.metadata.scanFinishedOn) < duration('24h')`, clean, false},
		{"not affected or fixed", notAffected, fixed, true},
		{"affected", notAffected, affected, false},
		{"text", `predicate == 'approved'`, text, true},
		{"list", `predicate.size() >= 2 && 'ann' in predicate`, list, true},
		{"statement", `statement.predicateType == 'https://acme.example/note' && statement.subject[0].name == 'app'`, text, true},
		{"image", `image.reference == 'registry.example.com/team/app:v1' && image.digest == 'sha256:` + subjectHex + `'`, text, true},
		{"has", `has(statement.predicateType) && !has(statement.nonsense)`, text, true},
		{"strings", `image.reference.lowerAscii().substring(0, 20) == 'registry.example.com'`, text, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := ask(t, tt.expression, tt.doc); err != nil || got != tt.want {
				t.Errorf("expected %v, found %v, %v", tt.want, got, err)
			}
		})
	}
}

func TestNumbers(t *testing.T) {
	doc := statement("t", `{"count":3,"score":7.5,"whole":3.0,"exp":1e2,"big":9223372036854775807,"huge":18446744073709551615,"neg":-1}`)
	for _, expression := range []string{
		`predicate.count == 3`, `predicate.count < 4`, `predicate.count + 1 == 4`, `type(predicate.count) == int`,
		`predicate.whole == 3`, `type(predicate.whole) == double`, `predicate.score > 7`, `predicate.score < 7.6`,
		`predicate.exp == 100`, `type(predicate.exp) == double`, `predicate.big == 9223372036854775807`,
		`type(predicate.huge) == double`, `predicate.neg == -1`, `double(predicate.count) * 1.5 == 4.5`,
	} {
		if ok, err := ask(t, expression, doc); err != nil || !ok {
			t.Errorf("%s: %v, %v", expression, ok, err)
		}
	}
	if ok, err := ask(t, "", statement("t", `{"n":1e999}`)); ok || err == nil {
		t.Error("a number out of range was read")
	}
}

// Whatever is not a plain true is a no, with a reason that says which.
func TestDeniesWithReason(t *testing.T) {
	doc := statement("t", `{"a":{"b":"x"},"list":[1,2],"text":"true","date":"yesterday","severity":["CRITICAL"],"null":null}`)
	tests := []struct{ name, expression, reason string }{
		{"missing member", `predicate.c == 'x'`, "lacks a member"},
		{"missing below", `predicate.c.d == 'x'`, "lacks a member"},
		{"has of a missing parent", `has(predicate.c.d)`, "lacks a member"},
		{"negated missing", `!(predicate.c.exists(x, x == 1))`, "lacks a member"},
		{"out of the list", `predicate.list[7] == 1`, "cannot be evaluated"},
		{"text as bool", `predicate.text`, "of type string"},
		{"object as bool", `predicate.a`, "of type map"},
		{"null as bool", `predicate["null"]`, "of type null_type"},
		{"text in and", `predicate.text && predicate.text`, "cannot be evaluated"},
		{"member of a text", `predicate.text.b == 'x'`, "lacks a member"},
		{"loop over a text", `predicate.text.all(x, true)`, "cannot be evaluated"},
		{"member of keys", `predicate.a.all(x, x.status == 'fixed')`, "lacks a member"},
		{"list as text", `predicate.severity.startsWith('LOW')`, "cannot be evaluated"},
		{"no time", `now - timestamp(predicate.date) < duration('1h')`, "cannot be evaluated"},
		{"division by zero", `1 / (predicate.list[0] - 1) == 1`, "cannot be evaluated"},
		{"overflow", `predicate.list[0] + 9223372036854775807 > 0`, "cannot be evaluated"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ok, err := ask(t, tt.expression, doc)
			if ok || err == nil || !strings.Contains(err.Error(), tt.reason) {
				t.Errorf("expected a no with %q, found %v, %v", tt.reason, ok, err)
			}
		})
	}
}

func TestAbsentPredicate(t *testing.T) {
	doc := []byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"` + subjectHex + `"}}],"predicateType":"t"}`)
	if ok, err := ask(t, `predicate == null`, doc); !ok || err != nil {
		t.Errorf("expected null, found %v, %v", ok, err)
	}
	if ok, err := ask(t, `!predicate.bad`, doc); ok || err == nil {
		t.Errorf("a member of nothing was read: %v, %v", ok, err)
	}
}

func TestZeroConditionHoldsForNothing(t *testing.T) {
	in := attest.Input{Statement: statement("t", `{}`), Digest: subject, Now: now}
	for _, c := range []*attest.Condition{nil, {}} {
		if ok, err := c.Holds(t.Context(), in); ok || err == nil {
			t.Errorf("expected a no with a reason, found %v, %v", ok, err)
		}
	}
}

// A statement about another image satisfies nothing, not even an empty condition.
func TestOtherSubject(t *testing.T) {
	for _, expression := range []string{"", "true"} {
		c, err := attest.Compile(expression)
		if err != nil {
			t.Fatal(err)
		}
		in := attest.Input{Statement: statement("t", `{}`), Digest: digest.NewDigestFromEncoded(digest.SHA256, otherHex), Now: now}
		if ok, err := c.Holds(t.Context(), in); ok || err == nil {
			t.Errorf("%q: expected a no with a reason, found %v, %v", expression, ok, err)
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	tests := []struct{ name, expression, reason string }{
		{"syntax", `predicate.`, "expected a CEL expression"},
		{"unknown variable", `predicat.x == 1`, "undeclared reference"},
		{"misspelt image", `image.refrence == 'x'`, "undeclared reference"},
		{"text", `'x'`, "of type string"},
		{"number", `1`, "of type int"},
		{"list", `[true]`, "of type list"},
		{"types that never match", `image.digest == 1`, "no matching overload"},
		{"no such function", `env('HOME') == ''`, "undeclared reference"},
		{"bad pattern", `image.digest.matches('(')`, "matches"},
		{"bad duration", `duration('7 days') > duration('1h')`, "duration"},
		{"pattern from the statement", `predicate.x.matches(predicate.y)`, "must be written out"},
		{"pattern as a function", `matches(predicate.x, predicate.y)`, "must be written out"},
		{"large pattern", `predicate.x.matches('(a{100}){9}')`, "at most 500"},
		{"replace", `predicate.x.replace('a', 'aaaaaaaa') == 'a'`, "replace cannot be used"},
		{"format", `'%s%s'.format([predicate.x, predicate.x]) == 'a'`, "format cannot be used"},
		{"join", `predicate.x.join('aaaaaaaaa') == 'a'`, "join cannot be used"},
		{"split", `predicate.x.split('') == []`, "split cannot be used"},
		{"long", `true` + strings.Repeat(" ", 9000), "at most"},
		{"deep", strings.Repeat("(", 200) + "true" + strings.Repeat(")", 200), "recursion"},
		{"deep not", strings.Repeat("!(", 200) + "true" + strings.Repeat(")", 200), "recursion"},
		{"deep loops", `[1].all(a, [1].all(b, [1].all(c, [1].all(d, [1].all(e, true)))))`, "nesting limit"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := attest.Compile(tt.expression)
			if c != nil || err == nil || !strings.Contains(err.Error(), tt.reason) {
				t.Errorf("expected an error with %q, found %v", tt.reason, err)
			}
			if err != nil && (len(err.Error()) > 600 || strings.Contains(err.Error(), "\n")) {
				t.Errorf("expected a short line, found %q", err)
			}
		})
	}
}

// Bombs are stopped: at once, without much memory, with a no.
func TestBombs(t *testing.T) {
	large := statement("t", `{"n":[`+strings.TrimSuffix(strings.Repeat("1,", 2000), ",")+`],"s":"`+strings.Repeat("a", 100_000)+`",
		"deep":[`+strings.TrimSuffix(strings.Repeat("[1,[2]],", 60_000), ",")+`]}`)
	doubling := `[predicate.s]` + strings.Repeat(`.map(a, a`+strings.Repeat(" + a", 40)+`)`, 3) + `.size() == 1`
	tests := []struct{ name, expression, reason string }{
		{"nested loops", `predicate.n.all(a, predicate.n.all(b, predicate.n.all(c, a + b + c > 0)))`, "costs more"},
		{"doubling", doubling, "costs more"},
		{"growing list", `predicate.n.map(a, predicate.n.map(b, predicate.n)).size() == 0`, "costs more"},
		{"long text matched", `predicate.s.matches('(a*)*b')`, "at most"},
		{"growing text in one step", `(predicate.s` + strings.Repeat(" + predicate.s", 50) + `).size() == 1`, "costs more"},
		{"doubling list", `[predicate.n].map(a, a` + strings.Repeat(" + a", 40) + `).map(a, a` + strings.Repeat(" + a", 40) + `).map(a, a` + strings.Repeat(" + a", 40) + `)[0].all(x, x == 1)`, "costs more"},
		{"comparing what is shared", shared(3) + ` == ` + shared(3), "compared at once"},
		{"comparing much", `predicate == predicate && predicate.deep == predicate.deep`, "compared at once"},
		{"comparing often", `predicate.n.all(a, predicate.n == predicate.n)`, "costs more"},
		{"looking for much", `predicate.deep in [predicate.deep]`, "compared at once"},
		{"contains of itself", `predicate.n.all(a, !predicate.s.contains(predicate.s + 'b'))`, "costs more"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			start := time.Now()
			ok, err := ask(t, tt.expression, large)
			if ok || err == nil || !strings.Contains(err.Error(), tt.reason) {
				t.Errorf("expected a no with %q, found %v, %v", tt.reason, ok, err)
			}
			if d := time.Since(start); d > 10*time.Second {
				t.Errorf("took %s", d)
			}
		})
	}
}

// TestLongTextsPay: a text in a list is compared byte by byte, and pays for it.
func TestLongTextsPay(t *testing.T) {
	text := strings.Repeat("a", 1<<20)
	doc := statement("t", `{"n":[1`+strings.Repeat(",1", 1000)+`],"a":["`+text+`"],"b":["`+text+`"]}`)
	if ok, err := ask(t, `predicate.n.all(x, predicate.a == predicate.b)`, doc); ok || err == nil || !strings.Contains(err.Error(), "costs more") {
		t.Errorf("found %v, %v", ok, err)
	}
	if ok, err := ask(t, `predicate.a == predicate.b && predicate.a in [predicate.b]`, doc); !ok || err != nil {
		t.Errorf("found %v, %v", ok, err)
	}
}

// TestMapsPay: every member of two maps that are compared is counted.
func TestMapsPay(t *testing.T) {
	var m strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&m, `"%d":1,`, i)
	}
	doc := statement("t", `{"n":[1`+strings.Repeat(",1", 1000)+`],"a":{`+m.String()+`"z":1},"b":{`+m.String()+`"z":1}}`)
	if ok, err := ask(t, `predicate.n.all(x, predicate.a == predicate.b)`, doc); ok || err == nil || !strings.Contains(err.Error(), "costs more") {
		t.Errorf("found %v, %v", ok, err)
	}
}

// shared is a list that holds one value many times, levels deep: small in memory,
// endless to walk.
func shared(levels int) string {
	list := "[" + strings.TrimSuffix(strings.Repeat("a,", 100), ",") + "]"
	return `[1]` + strings.Repeat(`.map(a, `+list+`)`, levels)
}

// A caller who stops waiting gets no finding about the statement.
func TestInterrupted(t *testing.T) {
	c, err := attest.Compile(`predicate.n.all(a, predicate.n.all(b, a == b))`)
	if err != nil {
		t.Fatal(err)
	}
	doc := statement("t", `{"n":[`+strings.TrimSuffix(strings.Repeat("1,", 300), ",")+`]}`)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ok, err := c.Holds(ctx, attest.Input{Statement: doc, Digest: subject, Now: now})
	if ok || !isLocal(err) {
		t.Errorf("expected ErrLocal, found %v, %v", ok, err)
	}
}

// Time ends an evaluation that its cost does not end soon enough.
func TestSlowIsLocal(t *testing.T) {
	c, err := attest.Compile(`predicate.n.all(a, predicate.n.all(b, a == b))`)
	if err != nil {
		t.Fatal(err)
	}
	doc := statement("t", `{"n":[`+strings.TrimSuffix(strings.Repeat("1,", 400), ",")+`]}`)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Millisecond)
	defer cancel()
	ok, err := c.Holds(ctx, attest.Input{Statement: doc, Digest: subject, Now: now})
	if ok || !isLocal(err) {
		t.Errorf("expected ErrLocal, found %v, %v", ok, err)
	}
}

func TestConcurrentUse(t *testing.T) {
	c, err := attest.Compile(`predicate.n == 3 && image.digest.matches('^sha256:')`)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 8 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			for range 50 {
				n := 3 + i%2
				ok, err := c.Holds(t.Context(), attest.Input{Statement: statement("t", fmt.Sprintf(`{"n":%d}`, n)), Digest: subject, Now: now})
				if err != nil || ok != (n == 3) {
					t.Fatalf("%d: %v, %v", n, ok, err)
				}
			}
		})
	}
}

func FuzzCompile(f *testing.F) {
	for _, s := range []string{``, `true`, `predicate.x == 1`, `has(predicate.a) && predicate.a.all(x, x in [1])`, `predicate.s.matches('^a+$')`, `now > timestamp('2026-01-01T00:00:00Z')`, `[[[`} {
		f.Add(s)
	}
	doc := statement("t", `{"x":1,"a":[1,2],"s":"aaa"}`)
	f.Fuzz(func(t *testing.T, expression string) {
		c, err := attest.Compile(expression)
		if err != nil {
			return
		}
		ok, err := c.Holds(t.Context(), attest.Input{Statement: doc, Digest: subject, Now: now})
		if ok && err != nil {
			t.Errorf("a yes with an error: %v", err)
		}
	})
}

func BenchmarkHolds(b *testing.B) {
	c, err := attest.Compile(`predicate.buildDefinition.externalParameters.workflow.ref == 'refs/heads/main'`)
	if err != nil {
		b.Fatal(err)
	}
	in := attest.Input{Statement: statement("t", slsa), Digest: subject, Now: now}
	b.ReportAllocs()
	for b.Loop() {
		if ok, err := c.Holds(context.Background(), in); !ok || err != nil {
			b.Fatal(err)
		}
	}
}

// A condition reads the time where it names the variable, and nowhere else.
func TestReadsNow(t *testing.T) {
	for condition, want := range map[string]bool{
		``:                                  false,
		`predicate.knownGood == true`:       false,
		`predicate.now == 'now'`:            false,
		`image.reference.startsWith('now')`: false,
		`timestamp(predicate.at) > now - duration('1h')`:             true,
		`timestamp(predicate.at) > .now`:                             true,
		`predicate.all(x, timestamp(x) < now)`:                       true,
		`has(predicate.x) ? now.getFullYear() > 2000 : false`:        true,
		`predicate.exists(now, now == 'x')`:                          true, // a name of its own; asked again all the same
		`[now].size() == 1 || predicate.x == 1`:                      true,
		`{'a': predicate.x}.a == 1 && string(statement._type) != ""`: false,
	} {
		c, err := attest.Compile(condition)
		if err != nil {
			t.Fatalf("%s: %v", condition, err)
		}
		if c.ReadsNow() != want {
			t.Errorf("%s: expected %v", condition, want)
		}
	}
}
