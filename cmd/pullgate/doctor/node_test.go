package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Files that cannot be read are no files that say nothing: the client is not proven.
func TestUnreadableFiles(t *testing.T) {
	for _, test := range []struct{ name, client, file string }{
		{"docker", "docker", dockerd},
		{"containerd", "containerd", cdConf},
		{"containerd's hosts", "containerd", cdHosts},
		{"podman", "podman", regs},
		{"podman's drop-ins", "podman", regsD + "a.conf"},
		{"k3s", "k3s", k3sRegs},
		{"buildkit", "buildkit", bkConf},
		{"docker's environment", "docker", drop},
	} {
		for kind, plantBad := range map[string]func(p string) error{
			"a loop":       func(p string) error { return os.Symlink(filepath.Base(p), p) },
			"a directory":  func(p string) error { return os.Mkdir(p, 0o755) },
			"a named pipe": func(p string) error { return syscall.Mkfifo(p, 0o644) },
			"huge":         func(p string) error { return os.WriteFile(p, make([]byte, maxFile+1), 0o644) },
		} {
			t.Run(test.name+": "+kind, func(t *testing.T) {
				given := files{dockerd: proxied, cdConf: goodCRI, cdHosts: goodHosts, regs: goodRule, k3sRegs: mirrorsOf, bkConf: ""}
				delete(given, test.file)
				root := plant(t, given)
				p := filepath.Join(root, test.file)
				if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := plantBad(p); err != nil {
					t.Fatal(err)
				}
				c := look(t, root, test.client, nil)
				c.Proofs = []Proof{{Registry: "docker.io", Verdict: VerdictRefused}}
				conclude(&c, []string{"docker.io"})
				if c.Result == ResultClosedProven || c.Result == ResultNotFound {
					t.Errorf("%s: %+v", c.Result, c.Findings)
				}
			})
		}
	}
}

// Links of the node are followed below its root, never to this system's files.
func TestLinksStayBelowTheRoot(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "daemon.json")
	if err := os.WriteFile(outside, []byte(proxied), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{outside, "../../../../../../../../../../.." + outside} {
		c := look(t, plant(t, files{dockerd: "-> " + target, "lib/systemd/system/docker.service": ""}), "docker", nil)
		if len(open(c)) != 1 {
			t.Errorf("%s: %+v", target, c.Findings)
		}
	}
	c := look(t, plant(t, files{dockerd: "-> /opt/docker.json", "opt/docker.json": proxied}), "docker", nil)
	if len(c.Findings) != 0 {
		t.Errorf("an absolute link: %+v", c.Findings)
	}
}

// A directory with too many files is an error, not a shorter list.
func TestCrowdedDirectories(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, regsD)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range maxFiles + 1 {
		if err := os.WriteFile(filepath.Join(dir, strings.Repeat("a", i%200)+string(rune('a'+i/200))+".conf"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := (node{root}).dropIns("/"+regsD, ".conf"); err == nil {
		t.Error("expected an error")
	}
}

func TestRedact(t *testing.T) {
	for in, out := range map[string]string{
		"http://user:pw@proxy:3128":              "http://***@proxy:3128",
		"http://user:p@w@proxy:3128 x":           "http://***@proxy:3128 x",
		`"https://token@h/p"`:                    `"https://***@h/p"`,
		"user:pw@proxy:3128":                     "***@proxy:3128",
		"Authorization: Bearer abcdefghij":       "Authorization: Bearer ***",
		"docker.io/app:v1@sha256:00":             "docker.io/app:v1@sha256:00",
		"https://gate.example/v2/a@sha256:00":    "https://gate.example/v2/a@sha256:00",
		"nothing here points docker at the gate": "nothing here points docker at the gate",
	} {
		if got := redact(in); got != out {
			t.Errorf("%s: %s, expected %s", in, got, out)
		}
	}
}
