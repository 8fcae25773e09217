package clients_test

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pullgate/pullgate/cmd/pullgate/clients"
)

var now = time.Date(2025, 1, 2, 3, 4, 5, 6, time.UTC)

const stamp = ".pullgate-backup-20250102T030405.000000006Z"

// node is a directory that stands for a machine's root, with files in it. A content
// of "-> target" is a symbolic link, "/" a directory.
func node(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		name = filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(name), 0o755)
		if target, link := strings.CutPrefix(content, "-> "); link {
			err = errors.Join(err, os.Symlink(target, name))
		} else if content == "/" {
			err = errors.Join(err, os.MkdirAll(name, 0o755))
		} else {
			err = errors.Join(err, os.WriteFile(name, []byte(content), 0o644))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// tree is everything below a directory: content, mode and target of links.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		value := info.Mode().String()
		switch {
		case d.Type().IsRegular():
			value += "\n" + string(file(t, name))
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(name)
			if err != nil {
				return err
			}
			value += target
		}
		out[strings.TrimPrefix(name, dir)] = value
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func write(t testing.TB, dir string, p clients.Plan) (clients.Report, error) {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	return p.Write(root, now)
}

func actions(r clients.Report) []string {
	var out []string
	for _, c := range r.Changes {
		out = append(out, c.Action)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// On a fresh node every file of every plan is created as printed, and a second run
// changes nothing.
func TestFreshNode(t *testing.T) {
	for name, p := range variants(t) {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			r, err := write(t, dir, p)
			if err != nil || len(r.Left) > 0 || len(r.Changes) != len(p.Files) || !slices.Equal(actions(r), []string{clients.Created}) {
				t.Fatalf("%+v, %v", r, err)
			}
			for _, f := range p.Files {
				if got := string(file(t, filepath.Join(dir, f.Path))); got != string(f.Content) {
					t.Errorf("%s:\n%s", f.Path, got)
				}
			}
			first := tree(t, dir)
			for path, v := range first {
				want := map[bool]string{true: "drwxr-xr-x", false: "-rw-r--r--"}[strings.HasPrefix(v, "d")]
				if strings.Contains(v, "hunter2") {
					want = "-rw-------"
				}
				if path != "" && !strings.HasPrefix(v, want) {
					t.Errorf("%s: %s", path, v)
				}
			}
			r, err = write(t, dir, p)
			if err != nil || !slices.Equal(actions(r), []string{clients.Unchanged}) || !maps.Equal(first, tree(t, dir)) {
				t.Errorf("the second run: %+v, %v", r, err)
			}
		})
	}
}

// When the gate moves, our own files follow and what they held is kept.
func TestOurFilesAreReplaced(t *testing.T) {
	dir := t.TempDir()
	before, after := plan(t, clients.Podman), plan(t, clients.Podman, at("https://other.example"))
	if _, err := write(t, dir, before); err != nil {
		t.Fatal(err)
	}
	r, err := write(t, dir, after)
	const conf = "/etc/containers/registries.conf.d/zzz-pullgate.conf"
	if err != nil || r.Changes[0] != (clients.Change{Path: conf, Action: clients.Replaced, Backup: conf + stamp}) {
		t.Fatalf("%+v, %v", r, err)
	}
	if string(file(t, dir+conf)) != string(after.Files[0].Content) || string(file(t, dir+conf+stamp)) != string(before.Files[0].Content) {
		t.Error("the file or its backup has another content")
	}
}

// A file that two clients have in common is not written twice.
func TestClientsShareFiles(t *testing.T) {
	dir := t.TempDir()
	if _, err := write(t, dir, plan(t, clients.Podman)); err != nil {
		t.Fatal(err)
	}
	if r, err := write(t, dir, plan(t, clients.CRIO)); err != nil || !slices.Equal(actions(r), []string{clients.Unchanged}) {
		t.Errorf("%+v, %v", r, err)
	}
}

// daemon.json keeps what it has, in its order and with its mode.
func TestDaemonIsMerged(t *testing.T) {
	const before = "{\"log-driver\":\"journald\",\n \"unknown\": {\"b\": 1, \"a\": [1, 2.50]}, \"proxies\": {\"no-proxy\": \"\"}, \"registry-mirrors\": []}"
	dir := node(t, map[string]string{"/etc/docker/daemon.json": before})
	name := dir + "/etc/docker/daemon.json"
	if err := os.Chmod(name, 0o600); err != nil {
		t.Fatal(err)
	}
	p := plan(t, clients.Docker)
	r, err := write(t, dir, p)
	if err != nil || r.Changes[0].Action != clients.Merged || r.Changes[0].Backup != "/etc/docker/daemon.json"+stamp {
		t.Fatalf("%+v, %v", r, err)
	}
	want := `{
  "log-driver": "journald",
  "unknown": {
    "b": 1,
    "a": [
      1,
      2.50
    ]
  },
  "proxies": {
    "no-proxy": "localhost,127.0.0.0/8,::1",
    "http-proxy": "http://gate.example:3128",
    "https-proxy": "http://gate.example:3128"
  },
  "registry-mirrors": []
}
`
	if got := string(file(t, name)); got != want {
		t.Errorf("found %s", got)
	}
	for _, n := range []string{name, name + stamp} {
		if info, err := os.Stat(n); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", n, info.Mode(), err)
		}
	}
	if string(file(t, name+stamp)) != before {
		t.Error("the backup has another content")
	}
	after := tree(t, dir)
	if r, err = write(t, dir, p); err != nil || !slices.Equal(actions(r), []string{clients.Unchanged}) || !maps.Equal(after, tree(t, dir)) {
		t.Errorf("the second run: %+v, %v", r, err)
	}
}

func TestAPlanOfNobodyIsNotWritten(t *testing.T) {
	dir := t.TempDir()
	p := clients.Plan{Files: []clients.File{{Path: "/etc/passwd", Mode: 0o644}}}
	if _, err := write(t, dir, p); err == nil || len(tree(t, dir)) != 1 {
		t.Errorf("was written: %v", err)
	}
}

// An existing backup is never overwritten.
func TestBackupsAreKept(t *testing.T) {
	dir := node(t, map[string]string{"/etc/docker/daemon.json": "{}", "/etc/docker/daemon.json" + stamp: "older"})
	if _, err := write(t, dir, plan(t, clients.Docker)); err == nil || string(file(t, dir+"/etc/docker/daemon.json"+stamp)) != "older" || string(file(t, dir+"/etc/docker/daemon.json")) != "{}" {
		t.Errorf("found %v", err)
	}
}
