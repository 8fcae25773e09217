package proxy

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/distribution/reference"
)

// The expressions of the specifications, which the readers by hand are held to.
var (
	pathExpression = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)

	routeExpressions = []struct {
		kind string
		path *regexp.Regexp
	}{
		{"ping", regexp.MustCompile(`^/v2/?()()$`)},
		{"manifest", regexp.MustCompile(`^/v2/(.+)/manifests/([^/]+)$`)},
		{"blob", regexp.MustCompile(`^/v2/(.+)/blobs/([^/]+)$`)},
		{"tags", regexp.MustCompile(`^/v2/(.+)/tags/list()$`)},
		{"referrers", regexp.MustCompile(`^/v2/(.+)/referrers/([^/]+)$`)},
	}
)

// routeByExpression is routeOf by regular expressions.
func routeByExpression(path string) route {
	for _, e := range routeExpressions {
		if m := e.path.FindStringSubmatch(path); m != nil {
			return route{e.kind, m[1], m[2]}
		}
	}
	return route{}
}

// libraryRepository is what the library makes of a registry and a path that requests
// name.
func libraryRepository(registry, path string) (reference.Named, error) {
	named, err := reference.ParseNormalizedNamed(registry + "/" + path)
	if err != nil {
		return nil, err
	}
	if !reference.IsNameOnly(named) || reference.Domain(named) != registry {
		return nil, errors.New("another registry, or not only a name")
	}
	return named, nil
}

func checkRoute(t *testing.T, path string) {
	t.Helper()
	if strings.Contains(path, "\n") {
		return // is refused before routes are looked at, being escaped
	}
	if got, want := routeOf(path), routeByExpression(path); got != want {
		t.Errorf("%q: expected %+v, found %+v", path, want, got)
	}
}

func checkName(t *testing.T, registry, path string) {
	t.Helper()
	if got, want := isRepositoryPath(path), pathExpression.MatchString(path); got != want {
		t.Errorf("path %q: expected %v, found %v", path, want, got)
	}
	want, err := libraryRepository(registry, path)
	var got reference.Named
	ok := isRegistry(registry)
	if ok {
		got, ok = repositoryOf(registry, path)
	}
	switch {
	case ok != (err == nil):
		t.Errorf("%q, %q: the library says %v, found %v", registry, path, err, ok)
	case ok && got != want:
		t.Errorf("%q, %q: expected %#v, found %#v", registry, path, want, got)
	}
}

func TestRoutesAreThoseOfTheExpressions(t *testing.T) {
	elements := []string{"", "a", "v2", "manifests", "blobs", "tags", "list", "referrers", "sha256:x"}
	var walk func(path string, depth int)
	walk = func(path string, depth int) {
		checkRoute(t, path)
		checkRoute(t, "/"+path)
		if depth == 0 {
			return
		}
		for _, e := range elements {
			walk(path+"/"+e, depth-1)
		}
	}
	walk("", 3)
	walk("/v2", 5)
}

func TestNamesAreThoseOfTheLibrary(t *testing.T) {
	registries := []string{"", ".", ":", "a", "a.b", "a.b.", ".a", "a..b", "a-b", "a-.b", "-a.b", "localhost", "localhost:5000", "Localhost", "LOCAL", "a:1", "a:", "a:x", "a:1:2",
		":5000", "docker.io", "index.docker.io", "docker.io:443", "Docker.io", "10.0.0.1:5000", "[::1]", "[::1]:5000", "[::1]:", "[]", "[]:1", "[x]", "[::1", "::1]", "a:b]", "[::1]x",
		"[::ffff:1.2.3.4]", "a/b.c", "a_b.c", "a.b/c", "ä.example", "x@y.example", "a.b\n", "a b.c", "A.B", "a--b.c", strings.Repeat("a", 300) + ".b"}
	paths := []string{"", "a", "a/b", "/a", "a/", "a//b", "a.b", "a..b", "a.", ".a", "a_b", "a__b", "a___b", "_a", "a_", "a__", "a-b", "a---b", "a-", "-a", "a-_b", "a_-b", "a._b", "a/_b", "a_/b",
		"a:b", "a@b", "A", "a/B", "library/a", "ä", "a\n", "a\x00", "sha256", strings.Repeat("a", 64), strings.Repeat("a", 247), strings.Repeat("a", 248), strings.Repeat("a", 255),
		strings.Repeat("a", 256), "a@sha256:" + strings.Repeat("0", 64), "a:b@sha256:" + strings.Repeat("0", 64), strings.Repeat("a/", 127) + "a"}
	for _, r := range registries {
		for _, p := range paths {
			checkName(t, r, p)
		}
	}
	// Every text of few letters.
	var walk func(s string, letters string, depth int, check func(string))
	walk = func(s, letters string, depth int, check func(string)) {
		check(s)
		for i := 0; depth > 0 && i < len(letters); i++ {
			walk(s+letters[i:i+1], letters, depth-1, check)
		}
	}
	walk("", "a0._-/A", 5, func(s string) { checkName(t, "a.b", s) })
	walk("", "aF1.:-[]", 5, func(s string) { checkName(t, s, "a") })
}

func FuzzGrammar(f *testing.F) {
	for _, s := range [][3]string{{"/v2/a/manifests/v1", "docker.io", "a"}, {"/v2/a/b/blobs/sha256:x", "[::1]:5000", "a/b"}, {"/v2/manifests/manifests/manifests", "localhost", "a__b"},
		{"/v2/tags/list", "A.b:80", "a--b"}, {"/v2//tags/list", "index.docker.io", "a_b"}, {"/v2/a/referrers/", "a.b:", "a.b"}} {
		f.Add(s[0], s[1], s[2])
	}
	f.Fuzz(func(t *testing.T, path, registry, name string) {
		checkRoute(t, path)
		checkName(t, registry, name)
	})
}
