package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// clientsVariable names the directory that deploy/test-clients.sh printed.
const clientsVariable = "PULLGATE_TEST_CLIENTS"

// Releases are those of Debian whose clients [Chroot] has: the newest and the
// stable one, both newer than the system that the other tests run on.
var Releases = []string{"forky", "trixie"}

// Chroot returns a directory with the file system of a newer Debian release and
// its clients, as a root for [World.NewNode] and [Namespace.NewMachine]. It is an
// overlay: what is written there is written for one test, and gone with it. The
// Makefile runs the tests with mounts of their own, so that none is left behind
// when the test program is killed.
//
// A test that asks for a release that was not made fails: newer clients are
// either tried or not, and nothing else shows what they do.
func Chroot(t testing.TB, release string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test mounts file systems and needs root; run it as root")
	}
	lower := filepath.Join(released(t, release), "root")
	dir := ShortDir(t) // its cleanup unmounts
	root, upper, work := filepath.Join(dir, "r"), filepath.Join(dir, "u"), filepath.Join(dir, "w")
	for _, d := range []string{root, upper, work} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := mountOverlay(root, lower, upper, work); err != nil {
		t.Fatalf("overlay over %s: %v", lower, err)
	}
	return root
}

// released is where deploy/test-clients.sh has put a release.
func released(t testing.TB, release string) string {
	t.Helper()
	made := os.Getenv(clientsVariable)
	if made == "" {
		t.Fatalf("%s is not set: expected the directory that deploy/test-clients.sh prints; `make test-clients` sets it", clientsVariable)
	}
	dir := filepath.Join(made, release)
	if _, err := os.Stat(filepath.Join(dir, "packages")); err != nil {
		t.Fatalf("no clients of Debian %s: %v; deploy/test-clients.sh makes them", release, err)
	}
	return dir
}

// ChrootPackages are the clients of a release and their versions as Debian
// writes them.
func ChrootPackages(t testing.TB, release string) map[string]string {
	t.Helper()
	versions := map[string]string{}
	for line := range strings.Lines(string(readFile(t, filepath.Join(released(t, release), "packages")))) {
		name, version, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			t.Fatalf("packages of %s: expected a name and a version, found %q", release, line)
		}
		versions[name] = version
	}
	return versions
}

// overlayOptions are the data of mount(2) for an overlay. The paths are made by
// this package and the user's cache directory; a comma would end one early.
func overlayOptions(lower, upper, work string) (string, error) {
	for _, p := range []string{lower, upper, work} {
		if strings.ContainsAny(p, ",:\\") {
			return "", fmt.Errorf("path %q: overlays take no commas, colons and backslashes; set XDG_CACHE_HOME to another directory", p)
		}
	}
	return "lowerdir=" + lower + ",upperdir=" + upper + ",workdir=" + work, nil
}
