package discover

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/distribution/reference"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/types"
)

func writeFile(t testing.TB, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func named(t testing.TB, s string) reference.Named {
	t.Helper()
	ref, err := reference.ParseNamed(s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

const someDigest = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"

// TestSamePlaceAsTheLibrary compares the place for many configurations and images
// with what containers/image itself would use.
func TestSamePlaceAsTheLibrary(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	refs := []string{"registry.example.com/a/b/c:v1", "registry.example.com:5000/a/b/c:v1",
		"registry.example.com/a/b/c@" + someDigest, "docker.io/library/busybox:latest", "localhost/x:1", "localhost:5000/a/x:1"}
	names := []string{"registry.example.com", "registry.example.com:5000", "*.example.com", "*.com", "*.example.com:5000", "docker.io",
		"docker.io/library", "localhost", "localhost:5000", "docker.io/busybox", "registry.example.com/a/", "EXAMPLE.com"}
	for _, s := range refs {
		names = append(names, Candidates(named(t, s))...)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	for i := range 400 {
		dir := randomConfig(t, r, names, i)
		l, faults := LoadLookasides(dir)
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		for _, s := range refs {
			ref, err := docker.ParseReference("//" + s)
			if err != nil {
				t.Fatal(err)
			}
			want, err := docker.SignatureStorageBaseURL(&types.SystemContext{RegistriesDirPath: dir}, ref, false)
			if err != nil {
				t.Fatal(err)
			}
			got, err := l.Base(named(t, s))
			if err != nil {
				t.Fatal(err)
			}
			if os.Geteuid() != 0 && strings.HasSuffix(want.Path, "sigstore/"+reference.Path(named(t, s))) {
				continue // the library's own default depends on the user
			}
			if got.String() != want.String() {
				t.Errorf("%s: expected %s, found %s", s, want, got)
			}
		}
	}
}

// randomConfig writes a registries.d directory of one or two files.
func randomConfig(t *testing.T, r *rand.Rand, names []string, n int) string {
	dir := t.TempDir()
	fields := []string{"lookaside", "lookaside-staging", "sigstore", "sigstore-staging"}
	entry := func(indent string) string {
		var b strings.Builder
		for _, f := range fields {
			if r.IntN(3) == 0 {
				fmt.Fprintf(&b, "%s%s: %s\n", indent, f,
					[]string{"https://s.example.com/p%20q/" + f, "file:///srv/" + f, "http://u:p@s.example.com:8080/?q=1", `""`}[r.IntN(4)])
			}
		}
		if r.IntN(4) == 0 {
			b.WriteString(indent + "use-sigstore-attachments: true\n")
		}
		if b.Len() == 0 {
			return indent + "{}\n"
		}
		return b.String()
	}
	files := [2]strings.Builder{}
	for f := range files {
		files[f].WriteString("docker:\n")
	}
	for _, name := range names {
		if r.IntN(3) == 0 {
			f := r.IntN(2)
			fmt.Fprintf(&files[f], "  %q:\n%s", name, entry("    "))
		}
	}
	if r.IntN(2) == 0 {
		files[r.IntN(2)].WriteString("default-docker:\n" + entry("  "))
	}
	for f := range files {
		if files[f].Len() > len("docker:\n") {
			writeFile(t, dir, fmt.Sprintf("%d-%d.yaml", n, f), files[f].String())
		}
	}
	writeFile(t, dir, "notes.txt", "not: yaml: at all")
	return dir
}

func TestRegistriesFaults(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  []string // in the faults, in order
	}{
		"unknown key":        {map[string]string{"a.yaml": "default-docker:\n  lookasid: https://x/\n"}, []string{"a.yaml", "lookasid"}},
		"unknown top key":    {map[string]string{"a.yaml": "dokcer: {}\n"}, []string{"dokcer"}},
		"not YAML":           {map[string]string{"a.yaml": "\t{"}, []string{"a.yaml"}},
		"second document":    {map[string]string{"a.yaml": "docker: {}\n---\ndocker: {}\n"}, []string{"one YAML document"}},
		"namespace twice":    {map[string]string{"a.yaml": "docker: {x.example.com: {}}", "b.yaml": "docker: {x.example.com: {}}"}, []string{"b.yaml", `docker."x.example.com"`, "a.yaml"}},
		"namespace twice, 2": {map[string]string{"a.yaml": "docker: {x: {}, x: {}}"}, []string{"already defined"}},
		"default twice":      {map[string]string{"a.yaml": "default-docker: {}", "b.yaml": "default-docker: {}"}, []string{"b.yaml", "default-docker"}},
		"scheme":             {map[string]string{"a.yaml": "default-docker: {lookaside: /var/lib/sigs}"}, []string{"default-docker.lookaside", "file:///"}},
		"old name, scheme":   {map[string]string{"a.yaml": "docker: {x.example.com: {sigstore: ftp://x}}"}, []string{"sigstore", "ftp"}},
		"relative file":      {map[string]string{"a.yaml": "default-docker: {lookaside: file://var/lib}"}, []string{"absolute path"}},
		"no host":            {map[string]string{"a.yaml": "default-docker: {lookaside: 'https:///x'}"}, []string{"no host"}},
		"no URL":             {map[string]string{"a.yaml": "default-docker: {lookaside: 'https://u:secret@[x'}"}, []string{"not a URL"}},
		"empty namespace":    {map[string]string{"a.yaml": "docker: {'': {}}"}, []string{"default-docker"}},
		"two at once":        {map[string]string{"a.yaml": "x: 1", "b.yaml": "y: 1"}, []string{"a.yaml", "b.yaml"}},
	} {
		dir := t.TempDir()
		for f, content := range c.files {
			writeFile(t, dir, f, content)
		}
		_, faults := LoadLookasides(dir)
		var text string
		for _, f := range faults {
			text += f.Error() + "\n"
		}
		rest := text
		for _, want := range c.want {
			_, after, ok := strings.Cut(rest, want)
			if !ok {
				t.Errorf("%s: expected %q in %q", name, want, text)
			}
			rest = after
		}
		if strings.Contains(text, "secret") {
			t.Errorf("%s: leaks: %s", name, text)
		}
	}
	if _, faults := LoadLookasides("/nonexistent"); len(faults) != 1 {
		t.Errorf("missing directory: %v", faults)
	}
}

func TestUnreadableRegistriesFileIsAFault(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink(filepath.Join(dir, "gone"), filepath.Join(dir, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	big := writeFile(t, dir, "b.yaml", "")
	if err := os.Truncate(big, maxRegistriesFile+1); err != nil {
		t.Fatal(err)
	}
	if _, faults := LoadLookasides(dir); len(faults) != 2 {
		t.Errorf("expected two faults, found %v", faults)
	}
}

func TestCanonicalChangesWithWhatIsRead(t *testing.T) {
	canonical := func(content string) string {
		dir := t.TempDir()
		writeFile(t, dir, "a.yaml", content)
		l, faults := LoadLookasides(dir)
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		b, err := l.Canonical()
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	base := canonical("default-docker: {lookaside: 'https://a/'}")
	if base == canonical("default-docker: {lookaside: 'https://b/'}") {
		t.Error("another lookaside, same revision")
	}
	if base != canonical("# a comment\ndefault-docker: {lookaside: 'https://a/', lookaside-staging: 'https://w/'}") {
		t.Error("a comment changes the revision")
	}
}

func FuzzRegistriesFile(f *testing.F) {
	f.Add([]byte("default-docker:\n  lookaside: https://u:p@s.example.com/x?y\ndocker:\n  '*.example.com':\n    sigstore: file:///srv\n    use-sigstore-attachments: true\n"))
	f.Add([]byte("docker: {a: &x {lookaside: 'http://h'}, b: *x}"))
	f.Add([]byte("---\n...\n---\n"))
	ref := named(f, "registry.example.com:5000/a/b:v1")
	f.Fuzz(func(t *testing.T, b []byte) {
		l := &Lookasides{docker: map[string]namespace{}, origin: map[string]string{}}
		if len(l.merge("x.yaml", b)) > 0 {
			return
		}
		u, err := l.Base(ref)
		if err != nil {
			t.Fatalf("accepted, but of no use: %v", err)
		}
		if u.Scheme != "file" && u.Scheme != "http" && u.Scheme != "https" {
			t.Fatalf("accepted scheme %q", u.Scheme)
		}
	})
}
