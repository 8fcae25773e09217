package registriesconf_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/pullgate/pullgate/verify/registriesconf"
)

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestLaterFilesWinAndAreReadAnew(t *testing.T) {
	dir := t.TempDir()
	files := registriesconf.Files{Main: filepath.Join(dir, "registries.conf"), DropIns: filepath.Join(dir, "d")}
	write(t, files.Main, "unqualified-search-registries = ['docker.io']\n[[registry]]\nprefix = 'docker.io'\nlocation = 'one.example'\n")
	write(t, filepath.Join(dir, "d", "a.conf"), "[[registry]]\nprefix = 'docker.io'\nlocation = 'two.example'\n")
	for _, want := range []string{"two.example", "three.example"} {
		write(t, filepath.Join(dir, "d", "a.conf"), "[[registry]]\nprefix = 'docker.io'\nlocation = '"+want+"'\n")
		conf, err := registriesconf.Load(files)
		if err != nil || len(conf.Registries) != 1 || conf.Registries[0].Location != want || len(conf.UnqualifiedSearchRegistries) != 1 {
			t.Errorf("%+v, %v", conf, err)
		}
		r, err := registriesconf.Find(files, "docker.io/library/nginx:1")
		if err != nil || r == nil || r.Location != want {
			t.Errorf("%+v, %v", r, err)
		}
	}
	if r, err := registriesconf.Find(files, "quay.io/x:1"); err != nil || r != nil {
		t.Errorf("%+v, %v", r, err)
	}
	write(t, filepath.Join(dir, "d", "b.conf"), "[[registry]\n")
	if _, err := registriesconf.Load(files); err == nil {
		t.Error("a file that does not parse was read")
	}
	if _, err := registriesconf.Find(files, "docker.io/library/nginx:1"); err == nil {
		t.Error("a file that does not parse was read")
	}
}
