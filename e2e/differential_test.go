//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"

	"github.com/pullgate/pullgate/e2e/harness"
)

// diffException is a difference from the oracles that is meant. The cases that
// name it must differ in just this way: one that agrees fails the test.
type diffException struct {
	skopeo  string // skopeo's decision, when it is asked
	library string // the library's decision
	gate    string
	why     string
}

var diffExceptions = map[string]diffException{
	"only the index is signed": {harness.Denied, harness.Denied, harness.Allowed,
		"cosign signs the index and nothing else; the index's digest covers the image that the oracles judge alone"},
	"only one platform is signed": {harness.Allowed, harness.Allowed, harness.Denied,
		"clients of every platform get the same bytes: an index passes by itself or with all its images"},
	"the index's signatures cannot be read": {harness.Allowed, harness.Allowed, harness.Inconclusive,
		"the oracles never look at the index; the gate cannot tell whether it is signed"},
	"one platform's signatures cannot be read": {harness.Allowed, harness.Allowed, harness.Inconclusive,
		"the platform is another than the oracles pick, and the index is not signed itself"},
	"one platform's signatures cannot be read, the index is signed": {harness.Denied, harness.Denied, harness.Allowed,
		"the platform is the one that the oracles pick; the index is signed itself"},
	"weak hash": {harness.Allowed, harness.Allowed, harness.Denied, "SHA-1 is refused unless insecure_weak_signatures is set"},
	"weak key":  {harness.Allowed, harness.Allowed, harness.Denied, "RSA under 2048 bits is refused unless insecure_weak_signatures is set"},
	"too many signatures": {harness.Allowed, harness.Denied, harness.Inconclusive,
		"skopeo 1.9.3 has no limit; the library, as the gate, takes more than 127 for a broken server"},
	"signed in the future": {harness.Allowed, harness.Denied, harness.Denied,
		"GnuPG warns about signatures made after now, OpenPGP in Go refuses them"},
	"two signers of one message": {harness.Denied, harness.Allowed, harness.Allowed,
		"GnuPG's binding in skopeo refuses messages with two signatures; a trusted one of them covers the whole content"},
	"bytes after the message": {harness.Denied, harness.Allowed, harness.Allowed,
		"GnuPG refuses what follows the message, OpenPGP in Go never reads it: nothing in it counts"},
	"an attachment that no requirement asks for": {harness.Denied, harness.Denied, harness.Allowed,
		"the oracles read attachments wherever registries.d says so, the gate when a requirement could use one"},
	"a broken key in another scope": {harness.Allowed, harness.Allowed, diffUnusableAnswer,
		"the gate does not start with a key that is none; the oracles notice when the scope is used"},
}

// agree compares decisions: what is not allowed is refused, whatever it is called.
func agree(oracle, gate string) bool { return (oracle == harness.Allowed) == (gate == harness.Allowed) }

// servedEach is how many cases come on one that is also asked of a running gate.
const servedEach = 22

// TestDifferential asks the same question of pullgate check and of two other
// implementations of containers-policy.json(5), each of which finds and verifies
// signatures by itself: Debian's skopeo with GnuPG, and containers/image. Every
// case has to be decided alike. A denial says no more than that; that the gate
// could not decide has to be said in exactly the cases where a place for
// signatures is out of order.
//
// One case is run alone by its name:
//
//	go test -tags e2e,containers_image_openpgp ./e2e -run 'TestDifferential/.*/outages/fault=500$'
func TestDifferential(t *testing.T) {
	w := newDiffWorld(t)
	table := &diffTable{rows: map[string]*diffRow{}}
	var waiting sync.WaitGroup
	cases := diffCases()
	for _, c := range cases {
		if diffFaults[c.fault].slow { // waits for the gate's time limit, and uses no processor
			waiting.Go(func() {
				t.Run("waiting/"+c.name(), func(t *testing.T) { w.compare(t, c, table) })
			})
		}
	}
	t.Run("cases", func(t *testing.T) {
		for i, c := range cases {
			if diffFaults[c.fault].slow {
				continue
			}
			t.Run(c.name(), func(t *testing.T) {
				t.Parallel()
				s, got := w.compare(t, c, table)
				if i%servedEach == 0 && got != diffUnusableAnswer {
					s.serve(t, got)
					table.served()
				}
			})
		}
	})
	waiting.Wait()
	table.log(t)
}

// compare decides one case everywhere.
func (w *diffWorld) compare(t *testing.T, c diffCase, table *diffTable) (*diffSite, string) {
	t.Helper()
	s := w.build(t, c)
	gate := s.check(t)
	answers := map[string]diffAnswer{}
	for _, o := range c.oracles() {
		answers[o] = s.ask(t, w, o)
	}
	table.count(c, gate.decision)
	problem := c.problem(gate.decision, answers)
	if problem == "" {
		return s, gate.decision
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\ngate: %s\n%s", problem, gate.decision, gate.said)
	for o, a := range answers {
		fmt.Fprintf(&b, "\n%s: %s\n%s", o, a.decision, a.said)
	}
	t.Error(b.String())
	return s, gate.decision
}

// problem says what is wrong with the decisions on a case; empty when all is well.
func (c diffCase) problem(gate string, oracles map[string]diffAnswer) string {
	e, except := diffExceptions[c.differs]
	for name, a := range oracles {
		want := map[string]string{"skopeo": e.skopeo, "library": e.library}[name]
		switch {
		case except && a.decision != want:
			return fmt.Sprintf("exception %q: %s has to say %s, and says %s", c.differs, name, want, a.decision)
		case !except && !agree(a.decision, gate):
			return fmt.Sprintf("the gate says %s, %s says %s", gate, name, a.decision)
		}
	}
	switch {
	case except && gate != e.gate:
		return fmt.Sprintf("exception %q: the gate has to say %s, and says %s", c.differs, e.gate, gate)
	case !except && (gate == harness.Inconclusive) != c.unread:
		return fmt.Sprintf("the gate says %s; that signatures cannot be read is %t", gate, c.unread)
	case !except && (gate == diffUnusableAnswer) != (c.unusable != ""):
		return fmt.Sprintf("the gate says %s; that the configuration is unusable is %t", gate, c.unusable != "")
	}
	return ""
}

// diffTable counts the decisions for each block of the generator.
type diffTable struct {
	mu   sync.Mutex
	rows map[string]*diffRow
	live int // cases that a running gate was asked too
}

type diffRow struct {
	cases, skopeo, except int
	gate                  map[string]int
}

func (d *diffTable) count(c diffCase, gate string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, block := range []string{c.block, "all"} {
		r := d.rows[block]
		if r == nil {
			r = &diffRow{gate: map[string]int{}}
			d.rows[block] = r
		}
		r.cases++
		r.gate[gate]++
		if !c.skopeoCannot() {
			r.skopeo++
		}
		if c.differs != "" {
			r.except++
		}
	}
}

func (d *diffTable) served() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.live++
}

func (d *diffTable) log(t *testing.T) {
	t.Helper()
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "block\tcases\tskopeo asked\tallowed\tdenied\tinconclusive\tunusable\texceptions\t")
	names := []string{}
	for _, block := range diffBlocks {
		names = append(names, block.name)
	}
	for _, name := range append(names, "all") {
		if r := d.rows[name]; r != nil {
			fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t\n", name, r.cases, r.skopeo,
				r.gate[harness.Allowed], r.gate[harness.Denied], r.gate[harness.Inconclusive], r.gate[diffUnusableAnswer], r.except)
		}
	}
	_ = w.Flush()
	t.Logf("the library was asked in every case; %d cases were asked of a running gate too\n%s", d.live, b.String())
}
