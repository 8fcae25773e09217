// Package doctor says whether the clients of a node are held by a gate, and proves
// it.
//
// It reads what is configured on the node for docker, containerd, k3s, podman,
// buildah, skopeo, CRI-O and BuildKit, and finds the ways in which each could pull an
// image that the gate refuses. Then it has each of them pull a canary: an image that
// every gate refuses, under a tag made up for this run. What files say and what
// clients do are told apart: only both together are "closed".
//
// It promises that a client is called closed only when nothing that was read leaves
// a way around the gate, and the gate's refusal was the client's last word under
// every registry that was named. What could not be read, run or understood is "not
// proven".
//
// It never changes the node: what a pull leaves behind is in a temporary directory or
// taken away again. It never prints credentials, runs no shell, follows no link out
// of --root, and reads and waits within bounds.
package doctor

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"
)

// Options say where to look and for which gate.
type Options struct {
	Gates       []string // URLs by which clients ask the gate; the first is its name, others are listeners and further names
	Proxy       string   // URL of the gate's proxy listener
	CA          string   // file with the gate's certificate authority
	InterceptCA string   // file with the authority of intercepted hosts
	Registries  []string // docker.io by default

	Root  string   // the node's file system, "/" by default
	Users []string // users besides root whose own configuration is looked at

	Pull              bool          // prove it; below another root than "/", through daemons alone
	Timeout           time.Duration // of one pull, a minute by default
	DockerHost        string        // unix:///path or tcp://host:port
	ContainerdAddress string        // path of containerd's socket

	// here: the programs on PATH read the files below Root. Tests set it.
	here bool
}

// maxTimeout bounds the time for one pull.
const maxTimeout = 10 * time.Minute

// maxRegistries bounds how often each client pulls.
const maxRegistries = 32

// Run inspects a node and, when asked to, proves what it found. Errors are about the
// options; everything else is in the report.
func Run(ctx context.Context, o Options) (*Report, error) {
	d, err := newDoctor(o)
	if err != nil {
		return nil, err
	}
	if d.p.tmp, err = os.MkdirTemp("", "pg"); err != nil {
		return nil, err
	}
	defer os.RemoveAll(d.p.tmp)
	r := &Report{Gate: d.g.check(ctx, d.o.Registries, d.p.tag), Clients: []Client{}}
	for _, look := range []func(context.Context) []Client{d.docker, d.containerd, d.k3s, d.containers, d.crio, d.buildkit} {
		r.Clients = append(r.Clients, look(ctx)...)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("interrupted: %w", err)
	}
	r.summarize()
	return r, nil
}

// doctor is one run.
type doctor struct {
	o     Options
	n     node
	g     *gate
	p     *prover
	homes []home
	// strangers are addresses of the node's files that were asked for the canary.
	strangers map[string]bool
}

func newDoctor(o Options) (*doctor, error) {
	if o.Root == "" {
		o.Root = "/"
	}
	o.here = o.here || o.Root == "/"
	if o.Timeout == 0 {
		o.Timeout = time.Minute
	}
	if o.Timeout < 0 || o.Timeout > maxTimeout {
		return nil, fmt.Errorf("--timeout: expected up to %s, found %s", maxTimeout, o.Timeout)
	}
	if len(o.Registries) == 0 {
		o.Registries = []string{"docker.io"}
	}
	slices.Sort(o.Registries)
	o.Registries = slices.Compact(o.Registries)
	if len(o.Registries) > maxRegistries {
		return nil, fmt.Errorf("--registry: at most %d, found %d", maxRegistries, len(o.Registries))
	}
	for _, r := range o.Registries {
		named, err := reference.ParseNormalizedNamed(r + "/" + canary)
		if err != nil || reference.Domain(named) != r {
			return nil, fmt.Errorf("--registry: expected a registry's name like docker.io or registry.example.com:5000, found %q", r)
		}
	}
	root, err := cleanRoot(o.Root)
	if err != nil {
		return nil, err
	}
	d := &doctor{o: o, n: node{root}}
	if d.g, err = newGate(o); err != nil {
		return nil, err
	}
	if d.homes, err = homesOf(d.n, o.Users); err != nil {
		return nil, err
	}
	tag, err := nonce()
	d.p = &prover{registries: o.Registries, tag: tag, timeout: o.Timeout}
	return d, err
}

// nonce is the tag of one run: a letter and 15 hexadecimal digits.
func nonce() (string, error) {
	b := make([]byte, 8)
	if _, err := rand.Read(b); err != nil {
		return "", err
	}
	return "c" + hex.EncodeToString(b)[1:], nil
}

// inspection is a fresh one for a client.
func (d *doctor) inspection(ctx context.Context, client string) inspection {
	i := inspection{n: d.n, g: d.g, registries: d.o.Registries, client: client, homes: d.homes, advice: advice{registries: d.o.Registries}}
	if d.o.Root != "/" {
		i.advice.root = d.o.Root
	}
	if d.o.Pull {
		i.answers = func(u *url.URL) bool { return d.answers(ctx, u) }
	}
	return i
}

// maxStrangers bounds the addresses of a node's files that are asked whether they are
// a gate.
const maxStrangers = 4

// answers reports whether an address refuses the canary, asking each one once and
// without credentials.
func (d *doctor) answers(ctx context.Context, u *url.URL) bool {
	known, asked := d.strangers[u.String()]
	if asked || len(d.strangers) >= maxStrangers {
		return known
	}
	refused := d.g.askGate(ctx, u, "docker.io", d.p.tag).Verdict == VerdictRefused
	if d.strangers == nil {
		d.strangers = map[string]bool{}
	}
	d.strangers[u.String()] = refused
	return refused
}

// missing is a client that is not here.
func missing(client string) Client {
	return Client{Client: client, Result: ResultNotFound, Findings: []Finding{}, Proofs: []Proof{}}
}

// finish puts a client together and decides its result.
func (d *doctor) finish(name, version string, findings []Finding, proofs []Proof) Client {
	c := Client{Client: name, Version: version, Findings: append([]Finding{}, findings...), Proofs: append([]Proof{}, proofs...)}
	conclude(&c, d.o.Registries)
	return c
}

// installed reports whether a program is on the node.
func (d *doctor) installed(program string) bool {
	return d.n.program(program) || d.o.here && onPath(program)
}

// docker looks at dockerd, and at builds with its BuildKit.
func (d *doctor) docker(ctx context.Context) []Client {
	host := d.dockerHost()
	if host == "" && !d.installed("dockerd") && !d.n.has(daemonJSON, dockerCerts) && !d.n.unit("docker").found {
		return []Client{missing("docker"), missing("buildx")}
	}
	look := docker{inspection: d.inspection(ctx, "docker")}
	var e *engine
	err := errors.New("no docker daemon was found; name it with --docker-host")
	if host != "" {
		if e, err = newEngine(host); err == nil {
			look.facts, err = e.info(ctx)
		}
	}
	look.inspect()
	var proofs, builds []Proof
	withBuildx := err == nil && d.o.Pull && onPath("docker") && runCommand(ctx, 10*time.Second, nil, "docker", "buildx", "version").exit == 0
	switch {
	case !d.o.Pull:
	case err != nil:
		proofs = d.p.notRun("docker's daemon could not be asked: " + clip(clean(err.Error()), 200))
	default:
		proofs = d.p.docker(ctx, e, look.store)
	}
	c := d.finish("docker", look.facts.version, look.findings, proofs)
	c.Store = look.store
	if !withBuildx {
		return []Client{c, missing("buildx")}
	}
	builds = d.p.buildx(ctx, host)
	return []Client{c, d.finish("buildx", "", append(forBuilds(look.findings), look.builders()...), builds)}
}

// forBuilds are the findings about dockerd as they are for its BuildKit: nothing
// stops that one's fallback from a mirror.
func forBuilds(fs []Finding) []Finding {
	out := slices.Clone(fs)
	for i := range out {
		out[i].Client = "buildx"
		out[i].settled = out[i].settled && !strings.HasPrefix(out[i].Problem, "registry-mirrors")
	}
	return out
}

func (d *doctor) dockerHost() string {
	switch {
	case d.o.DockerHost != "":
		return d.o.DockerHost
	case d.o.here && os.Getenv("DOCKER_HOST") != "":
		return os.Getenv("DOCKER_HOST")
	}
	return socketAt(d.n, "/var/run/docker.sock", "/run/docker.sock")
}

func (d *doctor) containerd(ctx context.Context) []Client {
	socket := d.o.ContainerdAddress
	if socket == "" {
		socket = socketAt(d.n, "/run/containerd/containerd.sock")
	} else if !strings.Contains(socket, "://") {
		socket = "unix://" + socket
	}
	if socket == "" && !d.installed("containerd") && !d.n.has(containerdConfig) {
		return []Client{missing("containerd")}
	}
	look := containerd{inspection: d.inspection(ctx, "containerd")}
	if d.o.here {
		look.version = versionOf(ctx, "containerd", "--version")
	}
	look.inspect()
	if look.disabled {
		c := missing("containerd")
		c.Version, c.Findings = look.version, look.findings
		return []Client{c}
	}
	var proofs []Proof
	switch {
	case !d.o.Pull:
	case socket == "":
		proofs = d.p.notRun("containerd does not listen at /run/containerd/containerd.sock; name its socket with --containerd-address")
	case onPath("crictl"):
		proofs = d.p.crictl(ctx, familyFirst, socket, "crictl")
	case onPath("ctr"):
		proofs = d.p.ctr(ctx, socket, func(r string) string { return rootOf(&look.inspection, look.roots, r) }, look.proxies)
	default:
		proofs = d.p.notRun("neither crictl nor ctr is on PATH")
	}
	return []Client{d.finish("containerd", look.version, look.findings, proofs)}
}

func (d *doctor) k3s(ctx context.Context) []Client {
	socket := socketAt(d.n, "/run/k3s/containerd/containerd.sock")
	if socket == "" && !d.installed("k3s") && !d.n.has(k3sDir) {
		return []Client{missing("k3s")}
	}
	look := k3s{inspection: d.inspection(ctx, "k3s")}
	look.inspect()
	var version string
	var proofs []Proof
	switch {
	case !d.o.Pull:
	case socket == "":
		proofs = d.p.notRun("k3s does not listen at /run/k3s/containerd/containerd.sock")
	case d.o.here && onPath("k3s"):
		version = versionOf(ctx, "k3s", "--version")
		proofs = d.p.crictl(ctx, familyFirst, socket, "k3s", "crictl")
	case onPath("crictl"):
		proofs = d.p.crictl(ctx, familyFirst, socket, "crictl")
	default:
		proofs = d.p.notRun("neither k3s nor crictl is on PATH")
	}
	return []Client{d.finish("k3s", version, look.findings, proofs)}
}

// containers looks at podman, buildah and skopeo, which share their configuration.
// When none is installed and there is one, podman stands for it.
func (d *doctor) containers(ctx context.Context) []Client {
	names := []string{"podman", "buildah", "skopeo"}
	_, crio := d.crioAt()
	anyone := slices.ContainsFunc(names, d.installed) || crio
	var out []Client
	for _, name := range names {
		configured := name == "podman" && !anyone && (d.n.has(registriesConf...) || d.n.has(registriesDirs...))
		if !d.installed(name) && !configured {
			out = append(out, missing(name))
			continue
		}
		look := containers{inspection: d.inspection(ctx, name)}
		look.inspect()
		var version string
		var proofs []Proof
		switch {
		case !d.o.Pull:
		case !d.o.here:
			proofs = d.p.notRun(name + " of this system would not read the files below --root; run doctor on the node itself")
		case !onPath(name):
			proofs = d.p.notRun(name + " is not on PATH")
		default:
			version = versionOf(ctx, name, "--version")
			proofs = d.p.containers(ctx, name)
			look.shell()
		}
		out = append(out, d.finish(name, version, look.findings, proofs))
	}
	return out
}

// crioAt is CRI-O's socket, "" when it does not listen, and whether CRI-O is here.
func (d *doctor) crioAt() (string, bool) {
	socket := socketAt(d.n, "/run/crio/crio.sock")
	return socket, socket != "" || d.installed("crio") || d.n.has("/etc/crio")
}

func (d *doctor) crio(ctx context.Context) []Client {
	socket, found := d.crioAt()
	if !found {
		return []Client{missing("cri-o")}
	}
	look := containers{inspection: d.inspection(ctx, "cri-o")}
	look.inspect()
	var proofs []Proof
	switch {
	case !d.o.Pull:
	case socket == "":
		proofs = d.p.notRun("CRI-O does not listen at /run/crio/crio.sock")
	case !onPath("crictl"):
		proofs = d.p.notRun("crictl is not on PATH")
	default:
		proofs = d.p.crictl(ctx, familyContainers, socket, "crictl")
	}
	return []Client{d.finish("cri-o", "", look.findings, proofs)}
}

func (d *doctor) buildkit(ctx context.Context) []Client {
	socket := socketAt(d.n, "/run/buildkit/buildkitd.sock")
	if socket == "" && !d.installed("buildkitd") && !d.n.has(buildkitConfig) {
		return []Client{missing("buildkit")}
	}
	look := buildkit{inspection: d.inspection(ctx, "buildkit")}
	look.inspect()
	var version string
	var proofs []Proof
	switch {
	case !d.o.Pull:
	case !d.o.here:
		proofs = d.p.notRun("buildctl of this system does not ask the buildkitd below --root; run doctor on the node itself")
	case !onPath("buildctl"):
		proofs = d.p.notRun("buildctl is not on PATH")
	default:
		version = versionOf(ctx, "buildctl", "--version")
		proofs = d.p.buildctl(ctx)
	}
	return []Client{d.finish("buildkit", version, look.findings, proofs)}
}
