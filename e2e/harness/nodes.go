package harness

import (
	"fmt"
	"net/http"
	"net/netip"
	"path/filepath"
	"testing"
)

// GateName is the gate's name in a World.
const GateName = "gate.example"

// Ports of the gate in a World besides 443.
const (
	mirrorPort    = 5002 // docker.io, for docker's registry-mirrors
	listenerPort  = 5003 // docker.io
	interceptPort = 3128 // HTTP proxy
)

// World is an internet with a Hub, and a gate in it that all nodes can reach.
// The gate trusts one key, for docker.io and registry.example.com; everything
// else is rejected.
type World struct {
	Net *Namespace
	Hub *Hub
	// Gate has the URL https://gate.example; only the World's nodes can reach it.
	Gate *Gate
	// GateAddr is its address. Port 443 is the registry API.
	GateAddr netip.Addr
	// GateCA issued the gate's certificate. Nodes trust it.
	GateCA *Authority
	// GateMachine is what the gate runs on.
	GateMachine *Machine
	// Key is trusted. Sigs holds the signatures, as lookaside.
	Key  *Key
	Sigs map[string]*Lookaside // by registry

	config  WorldConfig
	vantage *Vantage
}

// WorldConfig is how a world's gate differs from others. Its zero value is a gate
// that everybody may pull from.
type WorldConfig struct {
	// Extra is more YAML for the gate, which gets its address. It may be nil.
	Extra func(gate netip.Addr) string
	// ClientCredentials passes to docker.io what clients send as their own.
	ClientCredentials bool
}

// gateNames are the names that the gate's certificate is for: its own, those
// that stand for a registry, and those of the registries themselves, for nodes
// that resolve them to the gate.
var gateNames = []string{GateName, "*." + GateName, HubRegistry, ExampleRegistry}

// NewWorld starts everything but nodes. Extra is that of [WorldConfig].
func NewWorld(t testing.TB, extra func(gate netip.Addr) string) *World {
	t.Helper()
	return NewWorldWith(t, WorldConfig{Extra: extra})
}

// NewWorldWith is NewWorld with more to say about the gate.
func NewWorldWith(t testing.TB, c WorldConfig) *World {
	t.Helper()
	w := &World{Net: NewNamespace(t), Key: NewGPG(t).Key(t, Ed25519), Sigs: map[string]*Lookaside{}, config: c}
	w.Hub, w.GateCA = NewHub(t, w.Net), NewAuthority(t, "authority of the gate's operator")
	w.GateAddr = w.Net.Addr(t)
	w.GateMachine = w.Net.NewMachine(t, "")
	w.vantage = w.place(t, "gate", w.GateMachine)
	w.startGate(t)
	return w
}

// place connects a machine to the world: the Hub's names and the gate's resolve,
// and the authorities of both are trusted.
func (w *World) place(t testing.TB, name string, m *Machine) *Vantage {
	t.Helper()
	v := w.Hub.NewVantage(t, name)
	for host, addr := range v.Addrs {
		m.Resolve(t, addr, host)
	}
	m.Resolve(t, w.GateAddr, GateName, label("docker.io"), label(ExampleRegistry))
	m.Trust(t, w.Hub.CA.Certificate)
	m.Trust(t, w.GateCA.Certificate)
	return v
}

// startGate is StartGate on the gate's machine.
func (w *World) startGate(t testing.TB) {
	t.Helper()
	dir := w.GateMachine.Dir
	admin := "127.0.0.1:9090"
	g := &Gate{
		Addr: GateName, URL: "https://" + GateName, AdminURL: "http://" + admin, Dir: dir,
		Config: filepath.Join(dir, "pullgate.yaml"), Policy: filepath.Join(dir, "policy.json"),
		binary: Binary(t, "pullgate"), auditAt: filepath.Join(dir, "audit.jsonl"),
	}
	cert, key := w.GateCA.IssueFiles(t, dir, gateNames...)
	policy, places := Policy{Default: []Requirement{Reject()}}, RegistriesD{}
	for _, name := range []string{"docker.io", ExampleRegistry} {
		w.Sigs[name] = NewFileLookaside(t)
		policy = policy.With(name, w.Key.SignedBy(t))
		places[name] = SignaturePlace{Lookaside: w.Sigs[name].URL}
	}
	writeFile(t, g.Policy, policy.JSON(t))
	places.Write(t, filepath.Join(dir, "registries.d"))
	extra, credentials := "", ""
	if w.config.Extra != nil {
		extra = w.config.Extra(w.GateAddr)
	}
	if w.config.ClientCredentials {
		credentials = "client"
	}
	c := GateConfig{
		Upstreams: []Upstream{
			{Registry: "docker.io", Endpoint: "https://" + HubRegistry, Credentials: credentials},
			{Registry: ExampleRegistry, Endpoint: "https://" + ExampleRegistry},
		},
		DefaultRegistry: "docker.io", OtherRegistries: "deny",
		Extra: fmt.Sprintf("tls: {cert: %q, key: %q}\n%s%s", cert, key, w.entrances(), extra),
	}
	writeFile(t, g.Config, c.yaml(netip.AddrPortFrom(w.GateAddr, 443).String(), admin))
	g.Process = w.GateMachine.Start(t, nil, g.binary, "serve", "--config", g.Config)
	inside := w.Net.HTTP(t)
	g.Process.WaitUntil(t, "readiness", func() bool {
		resp, err := inside.Get(g.AdminURL + "/readyz")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	w.Gate = g
}

// entrances are the settings of all the ways to the gate.
func (w *World) entrances() string {
	at := func(port uint16) string { return netip.AddrPortFrom(w.GateAddr, port).String() }
	return fmt.Sprintf(`state_dir: %q
hosts:
  - {host: "*.%s"}
  - {host: %s, registry: docker.io}
listeners:
  - {listen: "%s", registry: docker.io, mirror: true}
  - {listen: "%s", registry: docker.io}
intercept: {listen: "%s", tunnel: [%s, %s]}
`, w.stateDir(), GateName, HubRegistry, at(mirrorPort), at(listenerPort), at(interceptPort), HubTokens, HubCDN)
}

func (w *World) stateDir() string { return filepath.Join(w.GateMachine.Dir, "state") }

// InterceptCA is the certificate (PEM) of the authority that the gate made for
// itself as a proxy.
func (w *World) InterceptCA(t testing.TB) []byte {
	t.Helper()
	return readFile(t, filepath.Join(w.stateDir(), "intercept-ca.crt"))
}

// Node is a machine with one client.
type Node struct {
	*Machine
	World  *World
	Client NodeClient

	vantage *Vantage
}

// NewNode makes a node of the world. Name is for messages; root as in
// [Namespace.NewMachine]. Nothing is configured and nothing runs on it; when
// that is done, [NodeClient.Start] starts the daemon.
func (w *World) NewNode(t testing.TB, name, root string, client NodeClient) *Node {
	t.Helper()
	n := &Node{Machine: w.Net.NewMachine(t, root), World: w, Client: client}
	n.vantage = w.place(t, name, n.Machine)
	return n
}

// Version is the client's version in the system at root.
func (w *World) Version(t testing.TB, client NodeClient, root string) string {
	t.Helper()
	return client.Version(t, w.NewNode(t, "version of "+string(client.Kind()), root, client))
}

// Around is what reached the Hub from this node so far without the gate.
func (n *Node) Around() Traffic {
	n.vantage.Settle()
	return n.vantage.Traffic()
}

// AroundSince is what reached the Hub after an earlier Around.
func (n *Node) AroundSince(earlier Traffic) Traffic {
	n.vantage.Settle()
	return n.vantage.Since(earlier)
}

// NodeClient is a client on a node, with storage of its own in the node's
// directory and with the settings in the node's /etc.
type NodeClient interface {
	// Kind says which modes fit.
	Kind() ClientKind
	// Version is the version of the program on the node, without what packagers
	// add: "20.10".
	Version(t testing.TB, n *Node) string
	// Start starts the daemon with the node's settings; nothing for clients that
	// have none.
	Start(t testing.TB, n *Node)
	// Pull pulls an image by the name that a person writes.
	Pull(t testing.TB, n *Node, image string) Result
}

// ClientKind is a client, as far as its settings and its behaviour go.
type ClientKind string

// Kinds of clients.
const (
	DockerGraph      ClientKind = "docker"                  // graph driver
	DockerContainerd ClientKind = "docker containerd store" // containerd image store
	ContainerdCRI    ClientKind = "containerd"              // by the API of the kubelet
	PodmanKind       ClientKind = "podman"
	BuildahKind      ClientKind = "buildah"
	SkopeoKind       ClientKind = "skopeo"
)

// Push puts an image into a registry of the world (docker.io or
// registry.example.com), signed when that is said, and returns its name by tag.
func (w *World) Push(t testing.TB, registry, repository, tag string, img Image, signed bool) Ref {
	t.Helper()
	reg := map[string]*Registry{"docker.io": w.Hub.Docker, ExampleRegistry: w.Hub.Example}[registry]
	reg.Push(t, repository, tag, img)
	ref := Tagged(registry, repository, tag)
	if signed {
		w.Sigs[registry].Put(t, repository, img.Digest, w.Key.Sign(t, ref.String(), img.Digest))
	}
	return ref
}
