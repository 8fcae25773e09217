//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/image"
	"go.podman.io/image/v5/manifest"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/pullgate/pullgate/e2e/harness"
)

// How long an oracle is waited for. Neither has a limit of its own for servers
// that do not answer; what takes longer counts as a denial in such cases only.
const (
	oracleTimeout   = 40 * time.Second
	hangingPatience = 4 * time.Second
)

// patience is how long to wait in a case.
func (c diffCase) patience() time.Duration {
	if diffFaults[c.fault].slow {
		return hangingPatience
	}
	return oracleTimeout
}

// skopeoOracle is Debian's skopeo: its exit status is the verdict.
type skopeoOracle struct {
	program string
	env     []string
}

// newSkopeoOracle keeps skopeo from the machine's settings. Registries whose names
// are no addresses are reached through the registry itself as the proxy, which
// answers requests for any host.
func newSkopeoOracle(t *testing.T, w *diffWorld) *skopeoOracle {
	t.Helper()
	dir := t.TempDir()
	empty := map[string]string{"registries.conf": "", "auth.json": "{}"}
	for name, content := range empty {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return &skopeoOracle{program: harness.Require(t, "skopeo"), env: append(os.Environ(),
		"HOME="+dir, "XDG_RUNTIME_DIR="+dir, "CONTAINERS_REGISTRIES_CONF="+filepath.Join(dir, "registries.conf"),
		"REGISTRY_AUTH_FILE="+filepath.Join(dir, "auth.json"), "HTTP_PROXY="+w.reg.URL, "HTTPS_PROXY="+w.reg.URL, "NO_PROXY=")}
}

// skopeoRefuses is how skopeo words a refusal. Any other failure decides nothing:
// it is the test that is broken.
var skopeoRefuses = regexp.MustCompile(`Source image rejected|Error loading trust policy|Error parsing signature storage configuration`)

// judge asks skopeo about a case; what it said comes along.
func (o *skopeoOracle) judge(s *diffSite) (diffAnswer, error) {
	patience := s.c.patience()
	ctx, cancel := context.WithTimeout(context.Background(), patience+oracleTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, o.program, "--command-timeout", patience.String(), "--policy", s.skopeoPolicy, "--registries.d", s.registriesD,
		"--override-arch", "amd64", "--override-os", "linux",
		"copy", "--src-tls-verify=false", "--remove-signatures", "docker://"+s.ref.String(), "dir:"+filepath.Join(s.dir, "copy"))
	cmd.Env = o.env
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return diffAnswer{harness.Allowed, string(out)}, nil
	case !errors.As(err, &exit), !skopeoRefuses.Match(out), strings.Contains(string(out), context.DeadlineExceeded.Error()) && patience == oracleTimeout:
		return diffAnswer{}, fmt.Errorf("skopeo did not decide: %w: %s", err, out)
	}
	return diffAnswer{harness.Denied, string(out)}, nil
}

// libraryOracle is the policy evaluation of containers/image, continued, as its
// own users call it: the image is picked for linux/amd64 and judged with the
// signatures that the library finds by itself.
type libraryOracle struct{ sys types.SystemContext }

func newLibraryOracle(t *testing.T, w *diffWorld) *libraryOracle {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"registries.conf": "", "auth.json": "{}"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	proxy, err := url.Parse(w.reg.URL)
	if err != nil {
		t.Fatal(err)
	}
	return &libraryOracle{types.SystemContext{
		SystemRegistriesConfPath: filepath.Join(dir, "registries.conf"), SystemRegistriesConfDirPath: dir,
		AuthFilePath: filepath.Join(dir, "auth.json"), ArchitectureChoice: "amd64", OSChoice: "linux",
		DockerInsecureSkipTLSVerify: types.OptionalBoolTrue,
		DockerProxy: func(u *url.URL) (*url.URL, error) {
			if ip := net.ParseIP(u.Hostname()); ip.IsLoopback() || u.Hostname() == "localhost" {
				return nil, nil
			}
			return proxy, nil
		},
	}}
}

// judge asks the library about a case.
func (o *libraryOracle) judge(s *diffSite) (diffAnswer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), s.c.patience())
	defer cancel()
	policy, err := signature.NewPolicyFromFile(s.gate.Policy)
	if err != nil {
		return diffAnswer{harness.Denied, err.Error()}, nil
	}
	sys := o.sys
	sys.RegistriesDirPath = s.registriesD
	ref, err := docker.ParseReference("//" + s.ref.String())
	if err != nil {
		return diffAnswer{}, err
	}
	if _, err := docker.SignatureStorageBaseURL(&sys, ref, false); err != nil {
		return diffAnswer{harness.Denied, err.Error()}, nil
	}
	src, err := ref.NewImageSource(ctx, &sys)
	if err != nil {
		return diffAnswer{}, fmt.Errorf("library: open the image: %w", err)
	}
	defer src.Close()
	img, err := diffUnparsed(ctx, src, &sys)
	if err != nil {
		return diffAnswer{}, fmt.Errorf("library: read the image: %w", err)
	}
	pc, err := signature.NewPolicyContext(policy)
	if err != nil {
		return diffAnswer{}, err
	}
	defer pc.Destroy()
	ok, err := pc.IsRunningImageAllowed(ctx, img)
	switch {
	case ok:
		return diffAnswer{harness.Allowed, ""}, nil
	case ctx.Err() != nil && s.c.patience() == oracleTimeout:
		return diffAnswer{}, fmt.Errorf("library did not decide: %w", err)
	}
	return diffAnswer{harness.Denied, fmt.Sprint(err)}, nil
}

// diffUnparsed is the image that a pull would install: src's, or the one for
// linux/amd64 when that is an index.
func diffUnparsed(ctx context.Context, src types.ImageSource, sys *types.SystemContext) (*image.UnparsedImage, error) {
	top := image.UnparsedInstance(src, nil)
	b, mime, err := top.Manifest(ctx)
	if err != nil || !manifest.MIMETypeIsMultiImage(mime) {
		return top, err
	}
	list, err := manifest.ListFromBlob(b, mime)
	if err != nil {
		return nil, err
	}
	d, err := list.ChooseInstance(sys)
	if err != nil {
		return nil, err
	}
	return image.UnparsedInstance(src, &d), nil
}

// oracles are the programs that a case asks. Skopeo is asked wherever it can tell.
func (c diffCase) oracles() []string {
	if c.skopeoCannot() {
		return []string{"library"}
	}
	return []string{"skopeo", "library"}
}

// skopeoCannot says whether a case is beyond Debian's skopeo 1.9.3: sigstore
// support is patched out of it, and it refuses signing subkeys.
func (c diffCase) skopeoCannot() bool {
	subkeys := []string{"rsa-subkey", "ed25519-subkey"}
	return c.key == "p256" || slices.Contains(subkeys, c.key) || diffLists[c.list].sigstore
}
