package doctor

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// prover pulls the canary through clients. What they keep is in a temporary
// directory, or taken away again.
type prover struct {
	registries []string
	tag        string
	timeout    time.Duration
	tmp        string
}

func (p *prover) reference(registry string) string { return registry + "/" + canary + ":" + p.tag }

// command is a way to pull one reference. done, when there is one, cleans up, told
// whether the pull succeeded.
type command struct {
	argv []string
	env  []string
	done func(ctx context.Context, arrived bool)
}

// each pulls the canary under every registry with the command that of makes.
func (p *prover) each(ctx context.Context, f family, of func(registry, reference string) command) []Proof {
	var out []Proof
	for _, r := range p.registries {
		ref := p.reference(r)
		c := of(r, ref)
		res := runCommand(ctx, p.timeout, c.env, c.argv...)
		if c.done != nil {
			c.done(context.WithoutCancel(ctx), res.exit == 0)
		}
		out = append(out, p.proof(f, r, strings.Join(c.argv, " "), res))
	}
	return out
}

func (p *prover) proof(f family, registry, command string, r ran) Proof {
	verdict, reason := classify(f, r)
	return Proof{
		Reference: p.reference(registry), Registry: registry, Command: redact(command),
		Exit: r.exit, Output: clip(strings.TrimSpace(clean(r.output)), 2000), Verdict: verdict, Reason: reason,
	}
}

// notRun is the proof of a client that is there and cannot be asked.
func (p *prover) notRun(why string) []Proof {
	var out []Proof
	for _, r := range p.registries {
		out = append(out, Proof{Reference: p.reference(r), Registry: r, Exit: -1, Verdict: VerdictNotRun, Reason: why})
	}
	return out
}

// cleanupTimeout bounds taking one thing away.
const cleanupTimeout = 20 * time.Second

func tidy(argv ...string) func(context.Context, bool) {
	return func(ctx context.Context, arrived bool) {
		if arrived {
			runCommand(ctx, cleanupTimeout, nil, argv...)
		}
	}
}

// docker pulls through the daemon's API. The containerd image store tells the first
// host's error, the graph driver the last one's.
func (p *prover) docker(ctx context.Context, e *engine, store string) []Proof {
	f := familyDocker
	if store == storeContainerd {
		f = familyFirst
	}
	var out []Proof
	for _, r := range p.registries {
		res, command := e.pull(ctx, p.timeout, r+"/"+canary, p.tag)
		out = append(out, p.proof(f, r, command, res))
	}
	return out
}

// build is a directory with a Dockerfile that is FROM a reference.
func (p *prover) build(reference string) (string, error) {
	dir, err := os.MkdirTemp(p.tmp, "build")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM "+reference+"\n"), 0o600)
	}
	return dir, err
}

// buildx builds FROM the canary with docker's default builder, keeping no result.
func (p *prover) buildx(ctx context.Context, host string) []Proof {
	return p.each(ctx, familyFirst, func(_, ref string) command {
		dir, err := p.build(ref)
		if err != nil {
			return command{argv: []string{""}}
		}
		return command{argv: []string{
			"docker", "-H", host, "buildx", "build", "--builder", "default", "--progress=plain",
			"--pull", "--no-cache", "--output=type=cacheonly", dir,
		}}
	})
}

// buildctl builds FROM the canary with a buildkitd.
func (p *prover) buildctl(ctx context.Context) []Proof {
	return p.each(ctx, familyFirst, func(_, ref string) command {
		dir, err := p.build(ref)
		if err != nil {
			return command{argv: []string{""}}
		}
		return command{argv: []string{
			"buildctl", "build", "--progress=plain", "--no-cache", "--frontend=dockerfile.v0", "--local=context=" + dir, "--local=dockerfile=" + dir,
		}}
	})
}

// containers pulls with podman, buildah or skopeo into a store of its own.
func (p *prover) containers(ctx context.Context, client string) []Proof {
	return p.each(ctx, familyContainers, func(_, ref string) command {
		// podman takes no run directory of more than 50 bytes.
		dir, err := os.MkdirTemp(p.tmp, "")
		if err != nil {
			return command{argv: []string{""}}
		}
		store := []string{"--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"), "--storage-driver", "vfs"}
		argv := map[string][]string{
			"podman":  append(append([]string{"podman"}, store...), "--tmpdir", filepath.Join(dir, "tmp"), "--events-backend", "file", "pull", ref),
			"buildah": append(append([]string{"buildah"}, store...), "pull", ref),
			"skopeo":  {"skopeo", "--insecure-policy", "copy", "docker://" + ref, "dir:" + filepath.Join(dir, "image")},
		}[client]
		return command{argv: argv, env: []string{"TMPDIR=" + dir}}
	})
}

// crictl pulls through a CRI socket, with the configuration of the daemon behind it.
func (p *prover) crictl(ctx context.Context, f family, socket string, program ...string) []Proof {
	base := append(program[:len(program):len(program)], "--runtime-endpoint", socket, "--image-endpoint", socket, "--timeout", p.timeout.String())
	return p.each(ctx, f, func(_, ref string) command {
		return command{argv: append(base[:len(base):len(base)], "pull", ref), done: tidy(append(base[:len(base):len(base)], "rmi", ref)...)}
	})
}

// ctrNamespace is where ctr pulls to; it is taken away afterwards.
const ctrNamespace = "pullgate-doctor"

// ctr pulls with containerd's own tool. It does not read the CRI plugin's
// configuration: it is given the directory that config_path names, and the proxies
// of containerd's service.
func (p *prover) ctr(ctx context.Context, socket string, hostsDir func(registry string) string, px proxies) []Proof {
	base := []string{"ctr", "--address", strings.TrimPrefix(socket, "unix://"), "--namespace", ctrNamespace}
	// Those of this shell are not containerd's.
	var env []string
	for name, v := range map[string]string{"HTTP_PROXY": px.http, "HTTPS_PROXY": px.https, "NO_PROXY": px.none} {
		env = append(env, name+"="+v, strings.ToLower(name)+"=")
	}
	proofs := p.each(ctx, familyFirst, func(r, ref string) command {
		argv := append(base[:len(base):len(base)], "images", "pull")
		if dir := hostsDir(r); dir != "" {
			argv = append(argv, "--hosts-dir", dir)
		}
		return command{argv: append(argv, ref), env: env, done: tidy(append(base[:len(base):len(base)], "images", "rm", "--sync", ref)...)}
	})
	runCommand(context.WithoutCancel(ctx), cleanupTimeout, nil, append(base[:len(base):len(base)], "namespaces", "rm", ctrNamespace)...)
	for i := range proofs {
		proofs[i].Reason += " (shown with ctr --hosts-dir, as crictl is not here: the same files, not the CRI plugin itself)"
	}
	return proofs
}

// onPath reports whether a program can be run.
func onPath(name string) bool { _, err := exec.LookPath(name); return err == nil }

var versionPattern = regexp.MustCompile(`(?:\bv|\b)(\d+\.\d+(?:\.\d+)?)`)

// versionOf asks a program for its version; "" when it does not tell.
func versionOf(ctx context.Context, argv ...string) string {
	if !onPath(argv[0]) {
		return ""
	}
	r := runCommand(ctx, 10*time.Second, nil, argv...)
	if r.exit != 0 || r.err != nil {
		return ""
	}
	if m := versionPattern.FindStringSubmatch(r.output); m != nil {
		return m[1]
	}
	return ""
}

// socketAt is the first path of the node at which a daemon listens, as an address on
// this system.
func socketAt(n node, paths ...string) string {
	for _, p := range paths {
		if info, err := n.stat(p); err == nil && info.Mode()&os.ModeSocket != 0 {
			if real, err := n.at(p); err == nil {
				return "unix://" + real
			}
		}
	}
	return ""
}

// rootOf is the one of several roots that has a directory for a registry, as it is
// on this system.
func rootOf(i *inspection, roots []string, registry string) string {
	_, root := i.hostDir(roots, registry)
	if root == "" {
		return ""
	}
	real, err := i.n.at(root)
	if err != nil {
		return ""
	}
	return real
}
