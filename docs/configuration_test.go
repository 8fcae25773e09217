package docs_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pullgate/pullgate/config"
)

// setting is one key with the value that it has when nobody sets it.
type setting struct {
	key  string
	def  any
	item bool // part of an item of a list: no variable of its own
}

// settings walks the configuration's own type, whose tags are the keys.
func settings(t *testing.T) []setting {
	t.Helper()
	// A policy and an upstream have no defaults, and are required.
	cfg, err := config.Load(config.LoadOptions{Flags: map[string]string{"policy": "examples/air-gap/policy.json", "upstreams": "docker.io"}})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Policy, cfg.Upstreams = "", nil
	return walk("", reflect.ValueOf(*cfg), false)
}

func walk(prefix string, v reflect.Value, item bool) []setting {
	var out []setting
	for i := range v.NumField() {
		f := v.Type().Field(i)
		tag := f.Tag.Get("mapstructure")
		if tag == "" || tag == "-" {
			continue
		}
		key := prefix + tag
		switch {
		case f.Type.Kind() == reflect.Struct:
			out = append(out, walk(key+".", v.Field(i), item)...)
		case f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct:
			out = append(out, setting{key, nil, item})
			out = append(out, walk(key+"[].", reflect.Zero(f.Type.Elem()), true)...)
		default:
			out = append(out, setting{key, v.Field(i).Interface(), item})
		}
	}
	return out
}

var keyHeading = regexp.MustCompile("(?m)^### `([^`]+)`$")

// sections is what configuration.md says about each key.
func sections(t *testing.T) map[string]string {
	t.Helper()
	page := read(t, "configuration.md")
	out := map[string]string{}
	heads := keyHeading.FindAllStringSubmatchIndex(page, -1)
	for i, h := range heads {
		end := len(page)
		if i+1 < len(heads) {
			end = heads[i+1][0]
		}
		if next := strings.Index(page[h[1]:end], "\n## "); next >= 0 {
			end = h[1] + next
		}
		key := page[h[2]:h[3]]
		if _, twice := out[key]; twice {
			t.Errorf("%s is documented twice", key)
		}
		out[key] = page[h[1]:end]
	}
	return out
}

// Each key has a section, no section is about a key that is none, and each says
// the default and the variable that the key really has.
func TestEveryKeyIsDocumented(t *testing.T) {
	documented := sections(t)
	for _, s := range settings(t) {
		text, ok := documented[s.key]
		if !ok {
			t.Errorf("%s is not documented", s.key)
			continue
		}
		delete(documented, s.key)
		if s.item {
			continue
		}
		if v := variable(s.key); !strings.Contains(text, "`"+v+"`") {
			t.Errorf("%s: expected its variable %s", s.key, v)
		}
		checkDefault(t, s, text)
	}
	for key := range documented {
		t.Errorf("%s is documented and is no key", key)
	}
}

var defaultLine = regexp.MustCompile("(?m)^- Default: (none|`([^`]*)`)")

func checkDefault(t *testing.T, s setting, text string) {
	t.Helper()
	m := defaultLine.FindStringSubmatch(text)
	if m == nil {
		t.Errorf("%s: expected a line \"- Default: …\"", s.key)
		return
	}
	want := "none"
	switch v := s.def.(type) {
	case nil:
	case time.Duration:
		if d, err := time.ParseDuration(m[2]); err != nil || d != v {
			t.Errorf("%s: documented default %s, found %s", s.key, m[1], v)
		}
		return
	case []string:
		if len(v) > 0 {
			want = "`" + strings.Join(v, ",") + "`"
		}
	default:
		if s := fmt.Sprint(v); s != "" {
			want = "`" + s + "`"
		}
	}
	if m[1] != want {
		t.Errorf("%s: documented default %s, found %s", s.key, m[1], want)
	}
}

func variable(key string) string {
	return "PULLGATE_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

var variableName = regexp.MustCompile(`PULLGATE_[A-Z_]*[A-Z]`)

// misspelt stands on a page as an example of a variable that sets nothing.
const misspelt = "PULLGATE_VERDICTS_ALOWED_TTL"

// No page names a variable that sets nothing.
func TestVariablesExist(t *testing.T) {
	known := map[string]bool{"PULLGATE_CONFIG": true, misspelt: true}
	for _, s := range settings(t) {
		if !s.item {
			known[variable(s.key)] = true
		}
	}
	for _, page := range pages(t) {
		for _, name := range variableName.FindAllString(read(t, page), -1) {
			if !known[name] {
				t.Errorf("%s: %s sets nothing", page, name)
			}
		}
	}
}

var (
	flagOfKey   = regexp.MustCompile("flag: `--([a-z-]+)`")
	commandLine = regexp.MustCompile(`(?m)^[$#] (?:\S*/)?pullgate (?:serve|check|config check|version).*$`)
	flagOnLine  = regexp.MustCompile(` --([a-z][a-z-]*)`)
)

// configuration.md names the flags that the commands declare, all of them, each
// at its key; and no command line on any page uses another.
func TestFlagsExist(t *testing.T) {
	declared := declaredFlags(t)
	documented := map[string]string{}
	for key, text := range sections(t) {
		for _, m := range flagOfKey.FindAllStringSubmatch(text, -1) {
			documented[m[1]] = key
		}
	}
	if !maps.Equal(documented, declared) {
		t.Errorf("documented flags %v, declared %v", documented, declared)
	}
	own := []string{"config", "json", "help"}
	for _, page := range pages(t) {
		for _, line := range commandLine.FindAllString(read(t, page), -1) {
			for _, m := range flagOnLine.FindAllStringSubmatch(line, -1) {
				if declared[m[1]] == "" && !slices.Contains(own, m[1]) {
					t.Errorf("%s: %q: no flag --%s", page, line, m[1])
				}
			}
		}
	}
}

// declaredFlags reads the table of flags from the source of the command, which
// cannot be imported: flag → key.
func declaredFlags(t *testing.T) map[string]string {
	t.Helper()
	const source = "../cmd/pullgate/config.go"
	file, err := parser.ParseFile(token.NewFileSet(), source, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || spec.Names[0].Name != "flagKeys" || len(spec.Values) != 1 {
			return true
		}
		for _, e := range spec.Values[0].(*ast.CompositeLit).Elts {
			key, err := strconv.Unquote(e.(*ast.KeyValueExpr).Key.(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			out[strings.NewReplacer(".", "-", "_", "-").Replace(key)] = key
		}
		return false
	})
	if len(out) == 0 {
		t.Fatalf("%s has no table flagKeys", source)
	}
	return out
}
