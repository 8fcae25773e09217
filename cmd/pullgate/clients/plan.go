package clients

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// Names of clients, as [For] takes them.
const (
	Docker           = "docker"            // dockerd with its own image store (graph driver)
	DockerContainerd = "docker-containerd" // dockerd with the containerd image store
	Containerd       = "containerd"        // containerd's CRI service, kubelet
	Podman           = "podman"            // podman, buildah, skopeo
	CRIO             = "cri-o"
	BuildKit         = "buildkit" // buildkitd and buildctl
	K3s              = "k3s"
	Talos            = "talos"
	Kubernetes       = "kubernetes" // nodes of a cluster, and what pods need
)

// Names returns the clients that [For] knows.
func Names() []string {
	return []string{Docker, DockerContainerd, Containerd, Podman, CRIO, BuildKit, K3s, Talos, Kubernetes}
}

// Kind says what becomes of a file that is on the node already.
type Kind string

const (
	// Whole files are the gate's alone: equal content is left, content with our
	// marker is replaced, anything else is an error.
	Whole Kind = ""
	// MergeJSON adds the top-level keys of Content to the object that is there.
	MergeJSON Kind = "merge-json"
	// ContainerdConfig is written when there is none; one that is there must have
	// the right config_path, or take a drop-in, or is left to the operator.
	ContainerdConfig Kind = "containerd-config"
)

// File is one file of a plan. Path is absolute, of the node.
type File struct {
	Path    string
	Mode    fs.FileMode
	Content []byte
	// Why gives reasons that cannot stand in the file itself as comments.
	Why  []string
	Kind Kind
}

// MarshalJSON writes the content as text and the mode in octal. A password in the
// content is masked.
func (f File) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Path    string   `json:"path"`
		Mode    string   `json:"mode"`
		Kind    Kind     `json:"kind,omitempty"`
		Content string   `json:"content"`
		Why     []string `json:"why,omitempty"`
	}{f.Path, fmt.Sprintf("%04o", f.Mode.Perm()), f.Kind, masked(string(f.Content)), f.Why})
}

// Step is one shell line, and what it is for. A Step without a line is something to
// do by hand.
type Step struct {
	Run string `json:"run,omitempty"`
	Why string `json:"why"`
}

// Plan is everything that points one client at the gate.
type Plan struct {
	Client   string   `json:"client"`
	Mode     Mode     `json:"mode"`
	Files    []File   `json:"files"`
	Commands []Step   `json:"commands,omitempty"` // in order, after the files
	Notes    []string `json:"notes,omitempty"`
	// Bypass says what still goes around the gate, and what closes it.
	Bypass []string `json:"bypass,omitempty"`

	// checks look at the node before anything is written. A Plan without them was
	// not made by For, and is not written.
	checks []check
}

// For makes the plan that points a client at a gate. The error says which client or
// flag of pullgate client was expected and what was found.
func For(client string, g Gate) (Plan, error) {
	if !slices.Contains(Names(), client) {
		return Plan{}, fmt.Errorf("client: expected one of %s, found %q", strings.Join(Names(), ", "), short(client))
	}
	c, err := g.check()
	if err != nil {
		return Plan{}, err
	}
	makers := map[string]map[Mode]func(checked) (Plan, error){
		Docker:           {ModeAuto: dockerProxy, ModeProxy: dockerProxy, ModeEnvironment: dockerEnvironment, ModeName: dockerName},
		DockerContainerd: {ModeAuto: dockerHosts, ModeName: dockerHosts, ModeProxy: dockerProxy, ModeEnvironment: dockerEnvironment},
		Containerd:       {ModeAuto: containerdHosts, ModeName: containerdHosts, ModeProxy: containerdProxy},
		Podman:           {ModeAuto: registriesConf, ModeName: registriesConf, ModeProxy: containersProxy},
		CRIO:             {ModeAuto: registriesConf, ModeName: registriesConf, ModeProxy: crioProxy},
		BuildKit:         {ModeAuto: buildkitProxy, ModeProxy: buildkitProxy},
		K3s:              {ModeAuto: k3sRegistries, ModeName: k3sRegistries},
		Talos:            {ModeAuto: talosPatch, ModeName: talosPatch},
		Kubernetes:       {ModeAuto: kubernetesNodes, ModeName: kubernetesNodes, ModeProxy: kubernetesNodes},
	}[client]
	maker, ok := makers[c.Mode]
	if !ok {
		return Plan{}, fmt.Errorf("--mode: %s has no closed configuration of mode %s; leave the mode out", client, c.Mode)
	}
	requested := c.Mode
	c.client = client
	p, err := maker(c)
	if err != nil {
		return Plan{}, fmt.Errorf("%s: %w", client, err)
	}
	p.Client = client
	if p.Mode == "" {
		p.Mode = requested
	}
	if c.scheme == "http" && p.Mode == ModeName {
		p.note("The gate is reached without TLS: whoever is between node and gate can answer in its place. Use https:// outside of tests.")
	}
	c.passwordNotes(&p)
	if c.Certificates {
		p.note("The gate asks for client certificates, which are each node's own and not written: hosts.toml takes them as client = [[\"cert\", \"key\"]] beside each ca, docker and podman as client.cert and client.key beside ca.crt.")
	}
	return p, nil
}

func (p *Plan) note(lines ...string)   { p.Notes = append(p.Notes, lines...) }
func (p *Plan) bypass(lines ...string) { p.Bypass = append(p.Bypass, lines...) }
func (p *Plan) run(line, why string)   { p.Commands = append(p.Commands, Step{Run: line, Why: why}) }
func (p *Plan) check(checks ...check)  { p.checks = append(p.checks, checks...) }
func (p *Plan) add(files ...File)      { p.Files = append(p.Files, files...) }
func (c checked) marker() string       { return markerPrefix + c.client }
func (c checked) has(name string) bool { return slices.Contains(c.Registries, name) }
func text(lines ...string) []byte      { return []byte(strings.Join(lines, "\n") + "\n") }
func whole(path string, b []byte) File { return File{Path: path, Mode: 0o644, Content: b} }
func isOurs(b []byte) bool             { return bytes.HasPrefix(b, []byte(markerPrefix)) }

// markerPrefix begins the first line of every file that can hold a comment and is
// ours alone.
const markerPrefix = "# written by pullgate client "

// pemFile is a certificate file with our marker before the first block, which
// every reader of PEM skips (RFC 7468, section 2).
func (c checked) pemFile(path string, certs []byte, why ...string) File {
	f := whole(path, append([]byte(c.marker()+"\n"), certs...))
	f.Why = why
	return f
}

// Lines that are true of every client.
const (
	bypassCached = "Images that are on the node already are started without asking anybody. Closed by: imagePullPolicy Always, or pulling again; the gate cannot see them."
	bypassEgress = "Whoever may change this configuration can undo it. Closed by: the network; let nodes reach the gate and no registry."
)
