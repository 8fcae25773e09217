//go:build e2e

package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/e2e/harness"
)

// startDemo runs the demonstration and waits for its instructions.
func startDemo(t *testing.T) (demo *harness.Process, addr, tmp string) {
	t.Helper()
	gate := harness.Binary(t, "pullgate") // built before the clock starts
	program := harness.Binary(t, "pullgate-demo")
	addr, tmp = harness.FreeAddr(t), t.TempDir()
	begin := time.Now()
	demo = harness.StartProcess(t, []string{"DEMO_LISTEN=" + addr, "TMPDIR=" + tmp}, program, "--pullgate", gate)
	demo.WaitUntil(t, "instructions", func() bool { return strings.Contains(demo.Output.String(), "Decisions follow") })
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("ready after %v, expected less than 10 s", took)
	}
	return demo, addr, tmp
}

// promises reads the printed commands of one program with what they will say.
func promises(t *testing.T, output, program string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^  (`+program+` .*)\n    > (.*)$`).FindAllStringSubmatch(output, -1) {
		out[m[1]] = m[2]
	}
	if len(out) == 0 {
		t.Fatalf("no %s command in:\n%s", program, output)
	}
	return out
}

// What the demonstration prints is what happens: each image with skopeo and
// curl, each check, and the curl commands as they stand.
func TestDemoKeepsItsPromises(t *testing.T) {
	demo, _, _ := startDemo(t)
	text := demo.Output.String()
	skopeo, curl := harness.NewSkopeo(t), harness.Require(t, "curl")
	pulls := promises(t, text, "docker pull")
	if len(pulls) != 5 {
		t.Errorf("%d images, expected 5", len(pulls))
	}
	for command, promise := range pulls {
		image := strings.TrimPrefix(command, "docker pull ")
		r := skopeo.Skopeo(t, "copy", "--src-tls-verify=false", "docker://"+image, "dir:"+filepath.Join(t.TempDir(), "image"))
		if pulled := strings.HasPrefix(promise, "pulled: "); pulled != (r.ExitCode == 0) {
			t.Errorf("%s: promised %q, skopeo ended with %d\n%s", image, promise, r.ExitCode, r.Output)
		}
		host, path, _ := strings.Cut(image, "/")
		repo, tag, _ := strings.Cut(path, ":")
		answer := harness.MustRun(t, nil, curl, "-s", "-i", "http://"+host+"/v2/"+repo+"/manifests/"+tag).Stdout
		if !sameStory(promise, answer) {
			t.Errorf("%s: promised %q, the answer is:\n%s", image, promise, answer)
		}
	}
	for command, promise := range promises(t, text, "curl -i") {
		status := regexp.MustCompile(`HTTP/1.1 \d+`).FindString(promise)
		args := append([]string{"-s"}, strings.Fields(command)[1:]...)
		if r := harness.MustRun(t, nil, curl, args...); status == "" || !strings.HasPrefix(r.Stdout, status) {
			t.Errorf("%s: promised %q, got:\n%s", command, promise, r.Stdout)
		}
	}
	for command, promise := range promises(t, text, regexp.QuoteMeta(harness.Binary(t, "pullgate"))+" check") {
		f := strings.Fields(command)
		want := map[string]int{"allowed": 0, "denied,": 1}[strings.Fields(promise)[0]]
		if r := harness.Run(t, nil, f[0], f[1:]...); r.ExitCode != want || !strings.Contains(strings.ToLower(r.Stdout), promise[:6]) {
			t.Errorf("%s: promised %q, exit status %d\n%s", command, promise, r.ExitCode, r.Output)
		}
	}
	for _, line := range []string{"ALLOWED  200", "DENIED   403", "DENIED   502"} {
		if !strings.Contains(demo.Output.String(), line) {
			t.Errorf("no decision %q in:\n%s", line, demo.Output)
		}
	}
}

// sameStory compares an answer of the gate with what people were told.
func sameStory(promise, answer string) bool {
	switch {
	case strings.HasPrefix(promise, "pulled: "):
		return strings.HasPrefix(answer, "HTTP/1.1 200 ")
	case !strings.HasPrefix(answer, "HTTP/1.1 403 Denied by image policy demo.example: "):
		return false
	}
	if key := regexp.MustCompile(`0x[0-9A-F]{16}`).FindString(promise); key != "" {
		return strings.Contains(answer, "signed by key "+key)
	}
	words := "no signatures found"
	if !strings.Contains(promise, words) {
		words = "signature is for"
	}
	return strings.Contains(promise, words) && strings.Contains(answer, words)
}

// The pulled image runs: its program prints the line that was promised.
func TestDemoImageRuns(t *testing.T) {
	demo, addr, _ := startDemo(t)
	dir := filepath.Join(t.TempDir(), "image")
	skopeo := harness.NewSkopeo(t)
	if r := skopeo.Skopeo(t, "copy", "--src-tls-verify=false", "docker://"+addr+"/demo/signed:v1", "dir:"+dir); r.ExitCode != 0 {
		t.Fatal(r.Output)
	}
	want := ""
	for _, promise := range promises(t, demo.Output.String(), "docker run") {
		want = promise + "\n"
	}
	r := harness.MustRun(t, nil, program(t, dir))
	if r.Stdout != want {
		t.Errorf("the image's program printed %q, expected %q", r.Stdout, want)
	}
}

// program takes the only file out of the only layer of a dir: image.
func program(t *testing.T, dir string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var m v1.Manifest
	if err := json.Unmarshal(b, &m); err != nil || len(m.Layers) != 1 {
		t.Fatalf("manifest %s: %v", b, err)
	}
	layer, err := os.ReadFile(filepath.Join(dir, m.Layers[0].Digest.Encoded()))
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(layer))
	if err != nil {
		t.Fatal(err)
	}
	r := tar.NewReader(z)
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "program")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(f, r); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// Ctrl-C in the terminal, and SIGTERM to the demonstration alone, end both
// processes and leave nothing.
func TestDemoEndsCleanly(t *testing.T) {
	for name, end := range map[string]func(*harness.Process){
		"Ctrl-C":  func(p *harness.Process) { p.Interrupt(t) },
		"SIGTERM": func(p *harness.Process) { _ = p.Stop() },
	} {
		t.Run(name, func(t *testing.T) {
			demo, addr, tmp := startDemo(t)
			end(demo)
			if code := demo.Exit(t); code != 0 {
				t.Errorf("exit status %d, expected 0:\n%s", code, demo.Output)
			}
			if c, err := net.Dial("tcp", addr); err == nil {
				_ = c.Close()
				t.Errorf("something still listens on %s", addr)
			}
			if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v %v", left, err)
			}
		})
	}
}

// A second demonstration on the same address says what is wrong.
func TestDemoAddressTaken(t *testing.T) {
	_, addr, _ := startDemo(t)
	r := harness.Run(t, []string{"DEMO_LISTEN=" + addr}, harness.Binary(t, "pullgate-demo"), "--pullgate", harness.Binary(t, "pullgate"))
	if r.ExitCode != 1 || !strings.Contains(r.Output, addr+" is taken by another program") {
		t.Errorf("exit status %d:\n%s", r.ExitCode, r.Output)
	}
}
