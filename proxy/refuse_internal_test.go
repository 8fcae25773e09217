package proxy

import (
	"strings"
	"testing"

	"github.com/pullgate/pullgate/verify"
)

// A long reason does not push the next ones out of the status line, which is all that
// some clients show.
func TestEachReasonHasItsShareOfTheStatusLine(t *testing.T) {
	long := func(start string) string { return start + strings.Repeat(" place", 100) }
	denied := func(found ...string) verify.Verdict {
		return verify.Verdict{Requirements: []verify.Result{{Allowed: true}, {Found: found, Required: "a signature"}}}
	}
	const start = "Denied by image policy registry.example.com: "
	for name, c := range map[string]struct {
		verdict verify.Verdict
		start   string
		want    []string
	}{
		"two long ones":       {denied(long("alternative 1: no"), long("alternative 2: nor")), start, []string{"alternative 1: no place", "...; alternative 2: nor place"}},
		"long, short, long":   {denied(long("alternative 1: a"), "alternative 2: b", long("alternative 3: c")), start, []string{"1: a place", "; alternative 2: b; alternative 3: c place"}},
		"a short one is kept": {denied("alternative 1: "+strings.Repeat("x", 150), long("alternative 2: b")), start, []string{strings.Repeat("x", 150) + "; alternative 2: b place place"}},
		"one long one":        {denied(long("no")), start, []string{"no place place"}},
		"a long scope":        {denied(long("alternative 1: a"), long("alternative 2: b")), long("Denied by"), []string{"alternative 1: a", "alternative 2: b"}},
		"nothing found":       {denied(), start, []string{"requires a signature"}},
		"no requirement":      {verify.Verdict{}, start, []string{"no requirement was met"}},
	} {
		got := reasonIn(c.verdict, c.start)
		if most := max(maxPhrase, len(c.start)+60); len(got) > most {
			t.Errorf("%s: %d bytes, expected at most %d", name, len(got), most)
		}
		for _, want := range append(c.want, c.start) {
			if !strings.Contains(got, want) {
				t.Errorf("%s: %q is missing in %q", name, want, got)
			}
		}
	}
}
