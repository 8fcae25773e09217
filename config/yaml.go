package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxFile bounds the configuration file, in bytes.
const maxFile = 1 << 20

// file adds the settings of the YAML file.
func (l *loader) file(path string) {
	data, problem := readFile(path)
	if problem != "" {
		l.broken = true
		l.faults = append(l.faults, Fault{File: path, Problem: problem, Fix: "name a readable YAML file"})
		return
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		dir = filepath.Dir(path)
	}
	r := yamlReader{loader: l, path: path, dir: dir}
	r.read(data)
}

// readFile reads a whole file of at most maxFile bytes.
func readFile(path string) (data []byte, problem string) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Sprintf("cannot be read: %v", cause(err))
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		return nil, "is a directory"
	}
	data, err = io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Sprintf("cannot be read: %v", cause(err))
	}
	if len(data) > maxFile {
		return nil, fmt.Sprintf("is larger than %d bytes", maxFile)
	}
	return data, ""
}

// cause takes the path out of an error that is reported beside the path.
func cause(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// yamlReader walks a document along the known keys. Everything that is not at its
// place is a fault; nothing is converted silently.
type yamlReader struct {
	*loader
	path, dir string
}

func (r *yamlReader) fault(n *yaml.Node, key, problem, fix string) {
	f := Fault{File: r.path, Key: key, Problem: problem, Fix: fix}
	if n != nil {
		f.Line = n.Line
	}
	r.faults = append(r.faults, f)
}

func (r *yamlReader) read(data []byte) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return // empty: everything keeps its default
	}
	if err != nil {
		r.broken = true
		r.fault(nil, "", fmt.Sprintf("is not YAML: %s", strings.TrimPrefix(err.Error(), "yaml: ")), "correct the syntax")
		return
	}
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		r.fault(nil, "", "holds more than one YAML document", "keep one, without --- between parts")
	}
	if len(doc.Content) != 1 || isNull(doc.Content[0]) {
		return
	}
	r.section(doc.Content[0], "")
}

// section reads the mapping of a section; "" is the whole document.
func (r *yamlReader) section(n *yaml.Node, name string) {
	all := keys()
	r.mapping(n, name, children(all, name), func(child string, value *yaml.Node) {
		full := child
		if name != "" {
			full = name + "." + child
		}
		i := slices.IndexFunc(all, func(k key) bool { return k.name == full })
		if i < 0 {
			r.origins[full] = origin{file: r.path, line: value.Line}
			r.section(value, full)
			return
		}
		if v, ok := r.value(all[i], value); ok {
			r.set(full, v, origin{file: r.path, line: value.Line})
			r.itemOrigins(full, value)
		}
	})
}

// mapping calls each for the known keys of a mapping that have a value.
func (r *yamlReader) mapping(n *yaml.Node, name string, known []string, each func(child string, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		r.fault(n, name, fmt.Sprintf("expected keys with values, found %s", describe(n)), "write key: value lines; keys here: "+strings.Join(known, ", "))
		return
	}
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		full := k.Value
		if name != "" {
			full = name + "." + k.Value
		}
		switch first, seen := lines[k.Value]; {
		case k.Kind != yaml.ScalarNode || !slices.Contains(known, k.Value):
			r.fault(k, shorten(full), "not a known key", suggest(k.Value, known))
		case seen:
			r.fault(k, full, fmt.Sprintf("stands here a second time, first on line %d", first), "keep one of the two")
		case !isNull(v):
			each(k.Value, v)
		}
		if _, seen := lines[k.Value]; !seen {
			lines[k.Value] = k.Line
		}
	}
}

// value reads the value of one setting.
func (r *yamlReader) value(k key, n *yaml.Node) (any, bool) {
	switch k.kind {
	case kindTexts:
		list := []string{}
		ok := r.sequence(n, k.name, func(name string, item *yaml.Node) bool {
			v, ok := r.scalar(key{name: name, path: k.path}, item)
			if ok {
				list = append(list, v.(string))
			}
			return ok
		})
		return list, ok
	case kindObjects:
		list := []any{}
		ok := r.sequence(n, k.name, func(name string, item *yaml.Node) bool {
			list = append(list, r.object(k.item, name, item))
			return true
		})
		return list, ok
	}
	return r.scalar(k, n)
}

// sequence calls each for the items of a list; false when one of them is faulty.
func (r *yamlReader) sequence(n *yaml.Node, name string, each func(name string, item *yaml.Node) bool) bool {
	if n.Kind != yaml.SequenceNode {
		r.fault(n, name, fmt.Sprintf("expected a list, found %s", describe(n)), "write each item on a line of its own after a dash")
		return false
	}
	good := true
	for i, item := range n.Content {
		good = each(fmt.Sprintf("%s[%d]", name, i), item) && good
	}
	return good
}

// object reads one item of a list of objects, or a section of one. Faulty members
// are left out and reported.
func (r *yamlReader) object(all []key, name string, n *yaml.Node) map[string]any {
	object := map[string]any{}
	r.mapping(n, name, children(all, ""), func(child string, value *yaml.Node) {
		i := slices.IndexFunc(all, func(k key) bool { return k.name == child })
		if i < 0 {
			object[child] = r.object(below(all, child), name+"."+child, value)
			return
		}
		k := all[i]
		k.name = name + "." + child
		if v, ok := r.value(k, value); ok {
			object[child] = v
		}
	})
	return object
}

// scalar reads a single value. Paths count from the directory of the file.
func (r *yamlReader) scalar(k key, n *yaml.Node) (any, bool) {
	plain := []string{"!!str", "!!int", "!!float", "!!bool", "!!timestamp"}
	if n.Kind != yaml.ScalarNode || !slices.Contains(plain, n.ShortTag()) {
		r.fault(n, k.name, fmt.Sprintf("expected a single value, found %s", describe(n)), "write "+k.name+": value")
		return nil, false
	}
	v, problem, fix := scalar(k.kind, n.Value)
	if problem != "" {
		r.fault(n, k.name, problem, fix)
		return nil, false
	}
	if s, ok := v.(string); ok && k.path {
		v = absolute(r.dir, k.name, s)
	}
	return v, true
}

// itemOrigins remembers the lines of list items, of their members, and of the
// items of those.
func (r *yamlReader) itemOrigins(name string, n *yaml.Node) {
	for i, item := range listItems(n) {
		at := fmt.Sprintf("%s[%d]", name, i)
		r.origins[at] = origin{file: r.path, line: item.Line}
		for j := 0; item.Kind == yaml.MappingNode && j+1 < len(item.Content); j += 2 {
			member := at + "." + item.Content[j].Value
			r.origins[member] = origin{file: r.path, line: item.Content[j].Line}
			for k, part := range listItems(item.Content[j+1]) {
				r.origins[fmt.Sprintf("%s[%d]", member, k)] = origin{file: r.path, line: part.Line}
			}
		}
	}
}

// listItems returns the items of a list, none of what is no list.
func listItems(n *yaml.Node) []*yaml.Node {
	if n.Kind != yaml.SequenceNode {
		return nil
	}
	return n.Content
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// describe says what a node is, for faults.
func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "keys with values"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Kind == yaml.AliasNode:
		return "an alias, which is not followed here"
	case isNull(n):
		return "nothing"
	}
	return "the single value " + quote(n.Value)
}
