package doctor

import (
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// tomlLines says on which line each table and key of a TOML document is. Names are
// the parts of the key joined with tomlKey; the n-th element of an array of tables
// has "#n" behind its name, counted from 0. It goes as far as the document can be
// read: whether it is valid is for the decoder to say.
func tomlLines(b []byte) map[string]int {
	lines := map[string]int{}
	counts := map[string]int{}
	table := ""
	var p unstable.Parser
	p.Reset(b)
	for p.NextExpression() {
		e := p.Expression()
		var parts []string
		line := 0
		for it := e.Key(); it.Next(); {
			k := it.Node()
			if line == 0 {
				line = p.Shape(k.Raw).Start.Line
			}
			parts = append(parts, string(k.Data))
		}
		switch e.Kind {
		case unstable.Table:
			table = indexed(parts, counts)
		case unstable.ArrayTable:
			parent := indexed(parts[:len(parts)-1], counts)
			name := join(parent, parts[len(parts)-1])
			at := fmt.Sprintf("%s#%d", name, counts[name])
			counts[name]++
			table = at
		case unstable.KeyValue:
			note(lines, join(table, parts...), line)
			continue
		default:
			continue
		}
		note(lines, table, line)
	}
	return lines
}

// tomlKey joins the parts of a key as tomlLines names them.
func tomlKey(parts ...string) string { return strings.Join(parts, "\x00") }

func join(table string, parts ...string) string {
	if table == "" {
		return tomlKey(parts...)
	}
	return table + "\x00" + tomlKey(parts...)
}

// indexed names a table below arrays of tables by their last element.
func indexed(parts []string, counts map[string]int) string {
	name := ""
	for _, part := range parts {
		name = join(name, part)
		if n := counts[name]; n > 0 {
			name = fmt.Sprintf("%s#%d", name, n-1)
		}
	}
	return name
}

func note(lines map[string]int, name string, line int) {
	if _, there := lines[name]; !there {
		lines[name] = line
	}
}
