package harness

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"
)

// Words of Record.Decision.
const (
	Allowed      = "allowed"
	Denied       = "denied"
	ReportOnly   = "report-only"
	Inconclusive = "inconclusive"
)

// Record is a line of the audit log.
type Record struct {
	Time       time.Time `json:"time"`
	RequestID  string    `json:"request_id"`
	Kind       string    `json:"kind"`
	Client     string    `json:"client"`
	Identity   string    `json:"identity"`
	Login      string    `json:"login"`
	Mode       string    `json:"mode"`
	UserAgent  string    `json:"user_agent"`
	Method     string    `json:"method"`
	Registry   string    `json:"registry"`
	Repository string    `json:"repository"`
	Reference  string    `json:"reference"`
	Digest     string    `json:"digest"`
	Scope      string    `json:"scope"`
	Decision   string    `json:"decision"`
	Reasons    []string  `json:"reasons"`
	Signers    []string  `json:"signers"`
	Evidence   []string  `json:"evidence"`
	Status     int       `json:"status"`
	DurationMS float64   `json:"duration_ms"`
	Cached     bool      `json:"cached"`
	Revision   string    `json:"revision"`
}

// String is the record on one line.
func (r Record) String() string {
	return fmt.Sprintf("%s %s %s %s/%s %s → %d %s", r.Decision, r.Kind, r.Method, r.Registry, r.Repository, r.Reference,
		r.Status, strings.Join(append(r.Reasons, r.Signers...), "; "))
}

// Records is a part of the audit log.
type Records []Record

// String is one line for each record.
func (rs Records) String() string {
	var b strings.Builder
	for _, r := range rs {
		b.WriteString(r.String() + "\n")
	}
	return b.String()
}

// Find returns the first record with this decision about this reference; kind is
// that of manifests.
func (rs Records) Find(decision string, ref Ref) (Record, bool) {
	for _, r := range rs {
		if r.Decision == decision && r.Registry == ref.Registry && r.Repository == ref.Repository &&
			r.Reference == ref.Reference() && (r.Kind == "" || r.Kind == "manifest") {
			return r, true
		}
	}
	return Record{}, false
}

// Decisions counts the records with this decision.
func (rs Records) Decisions(decision string) int {
	n := 0
	for _, r := range rs {
		if r.Decision == decision {
			n++
		}
	}
	return n
}

// Audit returns the whole audit log. A line that is no record fails the test;
// a last line without its end is still being written and left out.
func (g *Gate) Audit(t testing.TB) Records {
	t.Helper()
	b, err := os.ReadFile(g.auditAt)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	var out Records
	for {
		line, rest, whole := bytes.Cut(b, []byte("\n"))
		if !whole {
			return out
		}
		d := json.NewDecoder(bytes.NewReader(line))
		d.DisallowUnknownFields()
		var r Record
		if err := d.Decode(&r); err != nil {
			t.Fatalf("audit log: %v: %s", err, line)
		}
		out, b = append(out, r), rest
	}
}

// Mark is a position in the audit log.
type Mark int

// Mark returns the position after the last record.
func (g *Gate) Mark(t testing.TB) Mark {
	t.Helper()
	return Mark(len(g.Audit(t)))
}

// Since returns the records after a mark.
func (g *Gate) Since(t testing.TB, m Mark) Records {
	t.Helper()
	return g.Audit(t)[m:]
}

// Expect waits a moment for a record with this decision about this reference
// after the mark (an answer may reach the client before its record is written),
// and fails the test, with what there is instead, when none comes.
func (g *Gate) Expect(t testing.TB, m Mark, decision string, ref Ref) Record {
	t.Helper()
	for end := time.Now().Add(3 * time.Second); ; time.Sleep(pollInterval) {
		if r, ok := g.Since(t, m).Find(decision, ref); ok {
			return r
		}
		if time.Now().After(end) {
			t.Fatalf("no audit record says %s for %s; there are:\n%s", decision, ref, g.Since(t, m))
		}
	}
}
