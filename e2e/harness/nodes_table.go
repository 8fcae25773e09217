package harness

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Marks around the generated table in docs/clients.md.
const (
	tableBegin = "<!-- matrix:begin -->"
	tableEnd   = "<!-- matrix:end -->"
	tableHead  = "| client | version | mode | signed | unsigned | requests around the gate | closed |\n|---|---|---|---|---|---|---|\n"
)

// Line is the row as the table has it. Outcomes and numbers are those of tag,
// digest and multi-arch, in this order, or one when they are the same.
func (r Row) Line() string {
	var outcomes, numbers [2][]string // unsigned, signed
	for i, c := range Cases() {
		which := 0
		if c.Signed {
			which = 1
		}
		outcomes[which] = append(outcomes[which], r.Cells[i].Outcome)
		numbers[which] = append(numbers[which], strconv.Itoa(r.Cells[i].Around))
	}
	around := summary(numbers[0])
	if signed := summary(numbers[1]); signed != "0" {
		around = "signed " + signed + "; unsigned " + around
	}
	closed := "**no**"
	if r.Closed {
		closed = "yes"
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %s | %s |", r.Client, r.Version, r.Mode, summary(outcomes[1]), summary(outcomes[0]), around, closed)
}

func summary(values []string) string {
	if len(slices.Compact(slices.Clone(values))) == 1 {
		return values[0]
	}
	return strings.Join(values, ", ")
}

// CheckTable holds rows against the table in the page at path, or puts them into
// it when update is set. Rows of other clients and versions stay as they are.
// What is in the table for a client and version that the rows are of, and is not
// among them, is a mode that no longer exists; but when the command line chose
// subtests (-run with a slash), it is one that was not chosen.
func CheckTable(t testing.TB, path string, rows []Row, update bool) {
	t.Helper()
	page := string(readFile(t, path))
	before, rest, ok1 := strings.Cut(page, tableBegin)
	table, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no %s and %s; the table goes between them", path, tableBegin, tableEnd)
	}
	old := tableLines(table)
	merged := mergeLines(old, rows, chosen())
	if update {
		text := before + tableBegin + "\n" + tableHead + strings.Join(merged, "\n") + "\n" + tableEnd + after
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	for _, line := range merged {
		if !slices.Contains(old, line) {
			t.Errorf("%s does not have what happened; look at it, then update the table with -update:\n%s", path, line)
		}
	}
	for _, line := range old {
		if !slices.Contains(merged, line) {
			t.Errorf("%s has what did not happen:\n%s", path, line)
		}
	}
}

// tableLines are the rows of the table.
func tableLines(table string) []string {
	var out []string
	for line := range strings.Lines(table) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "| ") && !strings.HasPrefix(line, "| client |") {
			out = append(out, line)
		}
	}
	return out
}

// chosen says whether the command line chose subtests.
func chosen() bool {
	f := flag.Lookup("test.run")
	return f != nil && strings.Contains(f.Value.String(), "/")
}

// mergeLines replaces the lines of the rows' clients and versions by the rows, or
// in part only those of the same modes.
func mergeLines(old []string, rows []Row, part bool) []string {
	if part {
		return mergePart(old, rows)
	}
	of := func(line string) string { return strings.Join(strings.SplitN(line, "|", 4)[:3], "|") }
	var fresh, out []string
	ran := map[string]bool{}
	for _, r := range rows {
		fresh = append(fresh, r.Line())
		ran[of(r.Line())] = true
	}
	for _, line := range old {
		if !ran[of(line)] {
			out = append(out, line)
		}
	}
	out = append(out, fresh...)
	slices.SortStableFunc(out, func(a, b string) int { return strings.Compare(of(a), of(b)) })
	return out
}

// mergePart replaces the lines of the rows' clients, versions and modes.
func mergePart(old []string, rows []Row) []string {
	of := func(line string) string { return strings.Join(strings.SplitN(line, "|", 5)[:4], "|") }
	out := slices.Clone(old)
	for _, r := range rows {
		line := r.Line()
		i := slices.IndexFunc(out, func(l string) bool { return of(l) == of(line) })
		if i < 0 {
			out = append(out, line)
			continue
		}
		out[i] = line
	}
	return out
}
