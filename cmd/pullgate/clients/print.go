package clients

import (
	"fmt"
	"io"
	"path"
	"strings"
)

// Print writes the plan for people: files as they are, but for passwords, everything
// else as comments or commands of a shell.
func (p Plan) Print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s (mode %s). Nothing was changed: --write does that.\n", p.Client, p.Mode)
	for _, f := range p.Files {
		fmt.Fprintf(&b, "\n### file %s, mode %04o%s\n", f.Path, f.Mode.Perm(), map[Kind]string{
			MergeJSON:        ", merged with what is there",
			ContainerdConfig: ", only when there is none",
		}[f.Kind])
		comments(&b, f.Why)
		b.WriteString(masked(string(f.Content)))
	}
	printSteps(&b, "commands, after the files", p.Commands)
	p.remarks(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

// remarks are what is to be known whether files are written or not.
func (p Plan) remarks(b *strings.Builder) {
	for _, s := range []struct {
		title string
		lines []string
	}{{"notes", p.Notes}, {"what still goes around the gate", p.Bypass}} {
		if len(s.lines) > 0 {
			fmt.Fprintf(b, "\n### %s\n", s.title)
			comments(b, s.lines)
		}
	}
}

// Print writes what was done below a root, what the plan says is to be done now, and
// its notes.
func (r Report) Print(w io.Writer, p Plan, root string) error {
	var b strings.Builder
	for _, c := range r.Changes {
		fmt.Fprintf(&b, "%-10s %s\n", c.Action, c.Path)
		if c.Backup != "" {
			fmt.Fprintf(&b, "%-10s %s\n", "backup", c.Backup)
		}
	}
	printSteps(&b, "left to you", r.Left)
	where := ""
	if path.Clean(root) != "/" && p.Client != Talos {
		where = ", on the node itself, whose / is " + root + " here: run here they change this machine"
	}
	printSteps(&b, "now run"+where, p.Commands)
	p.remarks(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

func printSteps(b *strings.Builder, title string, steps []Step) {
	if len(steps) == 0 {
		return
	}
	fmt.Fprintf(b, "\n### %s\n", title)
	for _, s := range steps {
		comments(b, []string{s.Why})
		if s.Run != "" {
			b.WriteString(s.Run + "\n")
		}
	}
}

func comments(b *strings.Builder, lines []string) {
	for _, l := range lines {
		b.WriteString("# " + strings.ReplaceAll(l, "\n", "\n#   ") + "\n")
	}
}
