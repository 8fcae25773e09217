package harness

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Curl pulls with curl: manifest, a platform's manifest when it is an index,
// config and layers; what it gets is checked against the digests.
type Curl struct{ program string }

// NewCurl looks curl up.
func NewCurl(t testing.TB) *Curl {
	t.Helper()
	return &Curl{Require(t, "curl")}
}

// Name implements Client.
func (c *Curl) Name() string { return "curl" }

// Get fetches one path below /v2/registry/repository/ of an image, with the
// headers and, on failure, the body as people see them in the result's Output.
// The exit code is 22 for a status of 400 and more.
func (c *Curl) Get(t testing.TB, g *Gate, r Ref, path string, options ...string) Result {
	t.Helper()
	args := []string{
		"--silent", "--show-error", "--fail-with-body", "--dump-header", "/dev/stderr",
		"--header", "Accept: " + strings.Join([]string{v1.MediaTypeImageIndex, v1.MediaTypeImageManifest, DockerList, DockerManifest, DockerSchema1JS, DockerSchema1}, ", "),
	}
	args = append(append(args, options...), g.URL+"/v2/"+r.Registry+"/"+r.Repository+"/"+path)
	return Run(t, nil, c.program, args...)
}

// Pull implements Client. The result is that of the first request that fails, or
// of the first request.
func (c *Curl) Pull(t testing.TB, g *Gate, r Ref) Result {
	t.Helper()
	first := c.Get(t, g, r, "manifests/"+r.Reference())
	if first.ExitCode != 0 {
		return first
	}
	if r.Digest != "" && digest.FromString(first.Stdout) != r.Digest && !strings.Contains(first.Stdout, `"signatures"`) {
		return mismatch(first, r.Digest)
	}
	var m struct {
		Manifests []v1.Descriptor
		Config    v1.Descriptor
		Layers    []v1.Descriptor
		FSLayers  []struct{ BlobSum digest.Digest } `json:"fsLayers"`
	}
	if err := json.Unmarshal([]byte(first.Stdout), &m); err != nil {
		t.Fatalf("manifest %s: %v: %s", r, err, first.Stdout)
	}
	for _, d := range m.Manifests {
		if d.Platform == nil || d.Platform.Architecture == Arch() {
			if child := c.Pull(t, g, Digested(r.Registry, r.Repository, d.Digest)); child.ExitCode != 0 {
				return child
			}
			return first
		}
	}
	blobs := []digest.Digest{}
	for _, l := range m.FSLayers {
		blobs = append(blobs, l.BlobSum)
	}
	for _, d := range append(m.Layers, m.Config) {
		if d.Digest != "" {
			blobs = append(blobs, d.Digest)
		}
	}
	for _, d := range blobs {
		blob := c.Get(t, g, r, "blobs/"+d.String())
		if blob.ExitCode == 0 && digest.FromString(blob.Stdout) != d {
			blob = mismatch(blob, d)
		}
		if blob.ExitCode != 0 {
			return blob
		}
	}
	return first
}

func mismatch(r Result, want digest.Digest) Result {
	r.ExitCode = 1
	r.Output += "\ndigest mismatch: expected " + want.String()
	return r
}
