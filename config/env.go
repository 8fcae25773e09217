package config

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

const (
	variablePrefix = "PULLGATE_"
	// fileVariable names the configuration file; it is no key.
	fileVariable = variablePrefix + "CONFIG"
)

// environment picks the variables that start with PULLGATE_. The last of several
// of one name counts, as for programs that are started with such a list.
func environment(environ []string) map[string]string {
	env := map[string]string{}
	for _, e := range environ {
		if name, value, ok := strings.Cut(e, "="); ok && strings.HasPrefix(name, variablePrefix) {
			env[name] = value
		}
	}
	return env
}

// variable is the name of a key's environment variable.
func variable(name string) string {
	return variablePrefix + strings.ToUpper(strings.ReplaceAll(name, ".", "_"))
}

// environment sets the keys that have a variable and returns a warning for each
// variable that is nobody's. Those are no faults: Kubernetes puts
// PULLGATE_SERVICE_HOST and the like into every container beside a service of
// that name.
func (l *loader) environment(env map[string]string) (warnings []string) {
	left := maps.Clone(env)
	delete(left, fileVariable)
	var known []string
	for _, k := range keys() {
		name := variable(k.name)
		known = append(known, strings.TrimPrefix(name, variablePrefix))
		if text, ok := env[name]; ok {
			l.setText(k, text, origin{file: fromEnvironment, name: name})
			delete(left, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(left)) {
		w := fmt.Sprintf("%s: %s sets nothing", fromEnvironment, oneLine(shorten(name)))
		if k, near := nearest(strings.TrimPrefix(name, variablePrefix), known); near {
			w += fmt.Sprintf("; did you mean %s%s?", variablePrefix, k)
		}
		warnings = append(warnings, w)
	}
	return warnings
}

// flags sets the keys that were given on the command line.
func (l *loader) flags(flags map[string]string) {
	var names []string
	left := maps.Clone(flags)
	for _, k := range keys() {
		names = append(names, k.name)
		if text, ok := flags[k.name]; ok {
			l.setText(k, text, origin{file: fromFlags})
			delete(left, k.name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(left)) {
		l.faults = append(l.faults, Fault{File: fromFlags, Key: name, Problem: "not a known key", Fix: suggest(name, names)})
	}
}

// setText sets a key from one text, as variables and flags have it.
func (l *loader) setText(k key, text string, at origin) {
	dir, err := os.Getwd()
	if err != nil {
		dir = "." // the check for existence names the path
	}
	var value any
	var problem, fix string
	switch k.kind {
	case kindTexts:
		value = texts(k, text, dir)
	case kindObjects:
		value, problem, fix = k.text.objects(k.name, text, dir)
	default:
		value, problem, fix = scalar(k.kind, text)
	}
	if s, ok := value.(string); ok && k.path {
		value = absolute(dir, k.name, s)
	}
	if problem != "" {
		f := Fault{File: at.file, Key: k.name, Problem: problem, Fix: fix}
		if at.name != "" {
			f.Key = at.name
		}
		l.faults = append(l.faults, f)
		return
	}
	l.set(k.name, value, at)
}

// texts splits a comma separated list; an empty text is an empty list.
func texts(k key, text, dir string) []string {
	list := []string{}
	for item := range strings.SplitSeq(text, ",") {
		item = strings.TrimSpace(item)
		if item == "" && text == "" {
			continue
		}
		if k.path {
			item = absolute(dir, k.name, item)
		}
		list = append(list, item)
	}
	return list
}

// objects reads "docker.io=https://mirror.example,quay.io": an item without a right
// side leaves that key to its default. Other keys of an item need the file.
func (p pairs) objects(name, text, dir string) (value any, problem, fix string) {
	if p.left == "" {
		return nil, "is a list whose items have several keys, which only the file can hold", "write " + name + " into the file, and unset this"
	}
	list := []any{}
	for item := range strings.SplitSeq(text, ",") {
		item = strings.TrimSpace(item)
		if item == "" && text == "" {
			continue
		}
		left, right, both := strings.Cut(item, "=")
		if left == "" {
			return nil, "an item has no " + p.left, fmt.Sprintf("write %s=%s items, like %s", p.left, p.right, p.example)
		}
		if p.rightPath {
			right = absolute(dir, name, right)
		}
		object := map[string]any{p.left: left}
		if both {
			object[p.right] = right
		}
		list = append(list, object)
	}
	return list, "", ""
}
