package docs_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	required    = regexp.MustCompile(`(?m)^\s+(\S+\.\S+/?\S*) v\S+`)
	tool        = regexp.MustCompile(`(?m)^tool (\S+)$`)
	firstColumn = regexp.MustCompile(`(?m)^\| ([a-z0-9.]+\.[a-z]+/\S+) \|`)
)

// dependencies.md has a line for each module that the code imports itself or runs
// as a tool, and for no other.
func TestEveryDependencyIsExplained(t *testing.T) {
	gomod := read(t, "../go.mod")
	var modules []string
	for _, m := range required.FindAllStringSubmatch(gomod, -1) {
		modules = append(modules, m[1])
	}
	direct := map[string]bool{}
	for _, path := range imports(t) {
		if m := moduleOf(modules, path); m != "" {
			direct[m] = true
		}
	}
	for _, m := range tool.FindAllStringSubmatch(gomod, -1) {
		direct[moduleOf(modules, m[1])] = true
	}
	for _, m := range firstColumn.FindAllStringSubmatch(read(t, "dependencies.md"), -1) {
		if !direct[m[1]] {
			t.Errorf("%s is explained and not imported", m[1])
		}
		delete(direct, m[1])
	}
	for m := range direct {
		t.Errorf("%s is imported and not explained", m)
	}
}

// imports lists the import paths of all Go files of the project.
func imports(t *testing.T) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != ".." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, i := range file.Imports {
			p, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			out = append(out, p)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// moduleOf is the longest module path that path is in; empty for the standard
// library and this project.
func moduleOf(modules []string, path string) string {
	best := ""
	for _, m := range modules {
		if (path == m || strings.HasPrefix(path, m+"/")) && len(m) > len(best) {
			best = m
		}
	}
	return best
}
