package proxy_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/pullgate/pullgate/"

// mayImport says which of our packages the packages below a folder may import,
// besides those below the folder itself. Commands and e2e may import everything.
var mayImport = map[string][]string{
	"verify": {},
	"config": {},
	"cache":  {"verify"},
	"proxy":  {"verify"},
}

// onlyFor says which folder alone may use a library.
var onlyFor = map[string]string{
	"go.podman.io/image":                 "verify",
	"github.com/containers/image":        "nobody", // its continuation is go.podman.io/image
	"github.com/spf13/viper":             "config",
	"github.com/hashicorp/golang-lru/v2": "cache",
}

// importFault says why a file of a package may not import another, "" when it may.
func importFault(dir, imported string) string {
	top, _, _ := strings.Cut(dir, "/")
	if ours, ok := strings.CutPrefix(imported+"/", module); ok {
		allowed, known := mayImport[top]
		to, _, _ := strings.Cut(ours, "/")
		switch {
		case top == "cmd" || top == "e2e":
			return ""
		case !known:
			return "no rule covers the folder"
		case to != top && !slices.Contains(allowed, to):
			return "not among " + strings.Join(append(allowed, top), ", ")
		}
		return ""
	}
	for library, folder := range onlyFor {
		if (imported == library || strings.HasPrefix(imported, library+"/")) && top != folder && top != "e2e" {
			return "only " + folder + " imports it"
		}
	}
	return ""
}

func TestWhoImportsWhom(t *testing.T) {
	root := ".."
	files := 0
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "bin") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		files++
		for _, i := range parsed.Imports {
			imported, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			if fault := importFault(path.Dir(filepath.ToSlash(rel)), imported); fault != "" {
				t.Errorf("%s imports %s: %s", rel, imported, fault)
			}
		}
		return nil
	})
	if err != nil || files < 50 {
		t.Errorf("%d files were read: %v", files, err)
	}
}

func TestImportRulesHold(t *testing.T) {
	for _, bad := range [][2]string{
		{"proxy", module + "cache"}, {"proxy/upstream", module + "config"}, {"verify", module + "proxy/upstream"}, {"verify/discover", module + "cache"},
		{"config", module + "verify"}, {"cache", module + "proxy"}, {"cache", module + "proxy/audit"}, {"proxy", module + "cmd/pullgate"}, {"other", module + "verify"},
		{"proxy", "go.podman.io/image/v5/manifest"}, {"cmd/pullgate", "go.podman.io/image/v5/types"}, {"verify", "github.com/containers/image/v5/types"},
		{"cmd/pullgate", "github.com/spf13/viper"}, {"proxy", "github.com/hashicorp/golang-lru/v2/simplelru"},
	} {
		if importFault(bad[0], bad[1]) == "" {
			t.Errorf("%s may import %s", bad[0], bad[1])
		}
	}
	for _, good := range [][2]string{
		{"proxy", module + "verify"}, {"proxy/upstream", module + "verify/discover"}, {"proxy", module + "proxy/audit"}, {"verify", module + "verify/discover"},
		{"cache", module + "verify"}, {"cmd/pullgate", module + "cache"}, {"verify/discover", "go.podman.io/image/v5/docker/reference"}, {"proxy", "net/http"},
		{"cache", "github.com/hashicorp/golang-lru/v2"}, {"config", "github.com/spf13/viper"}, {"proxy", "go.podman.io/imageless"},
	} {
		if fault := importFault(good[0], good[1]); fault != "" {
			t.Errorf("%s may not import %s: %s", good[0], good[1], fault)
		}
	}
}
