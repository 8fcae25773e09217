package harness

import (
	"path/filepath"
	"testing"
)

// containersClient is what podman, buildah and skopeo share: they read the same
// settings, which are replaced by empty ones here.
type containersClient struct {
	dir     string
	program string
	policy  string
}

func newContainersClient(t testing.TB, program string) containersClient {
	t.Helper()
	c := containersClient{program: Require(t, program), dir: ShortDir(t)}
	c.policy = filepath.Join(c.dir, "policy.json")
	writeFile(t, c.policy, Policy{Default: []Requirement{AcceptAnything()}}.JSON(t))
	writeFile(t, filepath.Join(c.dir, "registries.conf"), nil)
	return c
}

func (c *containersClient) run(t testing.TB, args ...string) Result {
	t.Helper()
	env := []string{
		"HOME=" + c.dir, "XDG_RUNTIME_DIR=" + filepath.Join(c.dir, "run"), "REGISTRY_AUTH_FILE=" + emptyJSON(t, c.dir),
		"CONTAINERS_REGISTRIES_CONF=" + filepath.Join(c.dir, "registries.conf"),
	}
	return Run(t, env, c.program, args...)
}

// storage are the options of podman and buildah that keep everything in dir.
func (c *containersClient) storage() []string {
	return []string{"--root", filepath.Join(c.dir, "root"), "--runroot", filepath.Join(c.dir, "runroot"), "--storage-driver", "vfs"}
}

// Podman is podman with storage of its own.
type Podman struct{ containersClient }

// NewPodman makes empty storage for podman, which needs root here.
func NewPodman(t testing.TB) *Podman {
	t.Helper()
	RequireRoot(t)
	return &Podman{newContainersClient(t, "podman")}
}

// Name implements Client.
func (p *Podman) Name() string { return "podman" }

// Podman runs podman on this storage.
func (p *Podman) Podman(t testing.TB, args ...string) Result {
	t.Helper()
	global := append(p.storage(), "--cgroup-manager", "cgroupfs", "--events-backend", "file")
	return p.run(t, append(global, args...)...)
}

// Pull implements Client with podman pull.
func (p *Podman) Pull(t testing.TB, g *Gate, r Ref) Result {
	t.Helper()
	return p.Podman(t, "pull", "--tls-verify=false", "--signature-policy", p.policy, g.Through(r))
}

// Buildah is buildah with storage of its own.
type Buildah struct{ containersClient }

// NewBuildah makes empty storage for buildah, which needs root here.
func NewBuildah(t testing.TB) *Buildah {
	t.Helper()
	RequireRoot(t)
	return &Buildah{newContainersClient(t, "buildah")}
}

// Name implements Client.
func (b *Buildah) Name() string { return "buildah" }

// Pull implements Client with buildah from, the first line of a Containerfile;
// without --pull-always it would be content with an image that it has already.
func (b *Buildah) Pull(t testing.TB, g *Gate, r Ref) Result {
	t.Helper()
	return b.run(t, append(b.storage(), "from", "--pull-always", "--tls-verify=false", "--signature-policy", b.policy, g.Through(r))...)
}

// Skopeo is skopeo, which copies into a directory.
type Skopeo struct{ containersClient }

// NewSkopeo looks skopeo up.
func NewSkopeo(t testing.TB) *Skopeo {
	t.Helper()
	return &Skopeo{newContainersClient(t, "skopeo")}
}

// Name implements Client.
func (s *Skopeo) Name() string { return "skopeo" }

// Skopeo runs skopeo; options of its own come first.
func (s *Skopeo) Skopeo(t testing.TB, args ...string) Result {
	t.Helper()
	return s.run(t, append([]string{"--policy", s.policy}, args...)...)
}

// Pull implements Client with skopeo copy into a new directory.
func (s *Skopeo) Pull(t testing.TB, g *Gate, r Ref) Result {
	t.Helper()
	return s.CopyTo(t, g, r, filepath.Join(t.TempDir(), "image"))
}

// CopyTo is Pull into a given directory, which then holds manifest.json and a
// file for each blob, named by its digest's hexadecimal part.
func (s *Skopeo) CopyTo(t testing.TB, g *Gate, r Ref, dir string) Result {
	t.Helper()
	return s.Skopeo(t, "copy", "--src-tls-verify=false", "docker://"+g.Through(r), "dir:"+dir)
}
