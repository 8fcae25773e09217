package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// row has the same cell for each signed case, and for each unsigned one.
func row(client, version, mode string, closed bool, signed, unsigned Cell) Row {
	r := Row{Client: client, Version: version, Mode: mode, Closed: closed}
	for _, c := range Cases() {
		cell := unsigned
		if c.Signed {
			cell = signed
		}
		r.Cells = append(r.Cells, cell)
	}
	return r
}

func TestLine(t *testing.T) {
	mixed := row("docker", "20.10", "mirror", false, Cell{Pulled, 0}, Cell{PulledAround, 8})
	mixed.Cells[len(mixed.Cells)-1] = Cell{Refused, 0}
	for want, r := range map[string]Row{
		"| docker | 20.10 | prefix | pulled | refused | 0 | yes |":                                                          row("docker", "20.10", "prefix", true, Cell{Pulled, 0}, Cell{Refused, 0}),
		"| docker | 20.10 | mirror | pulled | pulled around the gate, pulled around the gate, refused | 8, 8, 0 | **no** |": mixed,
		"| containerd | 1.6 | server | pulled around the gate | pulled around the gate | signed 10; unsigned 11 | **no** |": row("containerd", "1.6", "server", false, Cell{PulledAround, 10}, Cell{PulledAround, 11}),
	} {
		if got := r.Line(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// recorder is a test that may fail.
type recorder struct {
	testing.TB
	errors []string
}

func (r *recorder) Helper() {}
func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

// Fatalf ends what was asked to fail by a panic, which the test has to catch.
func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	panic(r)
}

// The rows of clients that ran are replaced and held; those of others stay.
func TestCheckTable(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	const other = "| podman | 5.8 | prefix | pulled | refused | 0 | yes |"
	text := "before\n" + tableBegin + "\n" + tableHead + "| docker | 20.10 | gone | pulled | refused | 0 | yes |\n" + other + "\n" + tableEnd + "\nafter\n"
	if err := os.WriteFile(page, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	rows := []Row{row("docker", "20.10", "prefix", true, Cell{Pulled, 0}, Cell{Refused, 0})}
	check := func(rows []Row) int {
		r := &recorder{TB: t}
		CheckTable(r, page, rows, false)
		return len(r.errors)
	}
	if n := check(rows); n != 2 {
		t.Errorf("%d errors, expected 2: a row is missing, another is not true any more", n)
	}
	CheckTable(t, page, rows, true)
	want := "before\n" + tableBegin + "\n" + tableHead + rows[0].Line() + "\n" + other + "\n" + tableEnd + "\nafter\n"
	if got := string(readFile(t, page)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if n := check(rows); n != 0 {
		t.Errorf("%d errors after the update", n)
	}
	around := []Row{row("docker", "20.10", "prefix", true, Cell{Pulled, 0}, Cell{Refused, 1})}
	if n := check(around); n != 2 {
		t.Errorf("%d errors, expected 2: one request went around the gate", n)
	}
	if !strings.Contains(string(readFile(t, page)), rows[0].Line()) {
		t.Error("a check without update changed the page")
	}
}

// Of a client that was tried in some modes, the others stay.
func TestMergePart(t *testing.T) {
	old := []string{"| docker | 20.10 | one | x |", "| docker | 20.10 | prefix | x |"}
	fresh := row("docker", "20.10", "prefix", true, Cell{Pulled, 0}, Cell{Refused, 0})
	got := mergeLines(old, []Row{fresh, row("docker", "28.5", "prefix", true, Cell{Pulled, 0}, Cell{Refused, 0})}, true)
	if len(got) != 3 || got[0] != old[0] || got[1] != fresh.Line() {
		t.Errorf("got %q", got)
	}
	if got := mergeLines(old, []Row{fresh}, false); len(got) != 1 || got[0] != fresh.Line() {
		t.Errorf("got %q", got)
	}
}
