package clients

import (
	"encoding/json"
	"strings"
)

const (
	dockerCerts = "/etc/docker/certs.d"
	daemonJSON  = "/etc/docker/daemon.json"

	// ownAddresses is what no proxy is asked for. Go programs leave out loopback
	// anyway; writing it replaces whatever else would be excepted.
	ownAddresses = "localhost,127.0.0.0/8,::1"
)

// dockerProxy makes the gate dockerd's proxy (docker 23 and newer).
func dockerProxy(c checked) (Plan, error) {
	p, err := dockerIntercepted(c)
	if err != nil {
		return Plan{}, err
	}
	content, err := json.MarshalIndent(map[string]any{"proxies": map[string]string{
		"http-proxy":  c.Proxy,
		"https-proxy": c.Proxy,
		"no-proxy":    ownAddresses,
	}}, "", "  ")
	if err != nil {
		return Plan{}, err
	}
	p.Mode = ModeProxy
	p.Files = append([]File{{
		Path: daemonJSON, Mode: c.mode(), Kind: MergeJSON, Content: append(content, '\n'),
		Why: []string{
			"proxies.https-proxy: every https:// connection of dockerd asks the gate, which terminates registries' TLS and judges images under their real names.",
			"proxies.http-proxy: registries without TLS as well; the gate judges those that it knows so, and refuses others.",
			"proxies.no-proxy: replaces a NO_PROXY of the environment, which could except a registry. Loopback is never asked by proxy, whatever stands here.",
			"registry-mirrors: must stay out; a mirror on loopback is asked without the proxy.",
		},
	}}, p.Files...)
	p.run("systemctl restart docker", "proxies and the system's authorities are read at start only; a reload is not enough. Does dockerd not start (unknown setting proxies)? It is older than 23: use --mode environment")
	p.note("daemon.json has proxies since docker 23. An older dockerd does not start with them: use --mode environment there.")
	p.note("Docker Desktop ignores proxies in daemon.json, and rootless docker reads ~/.config/docker/daemon.json; from docker's documentation, not tried.")
	p.check(noRegistryMirrors)
	return p, nil
}

// dockerEnvironment is dockerProxy by a systemd drop-in, for any version.
func dockerEnvironment(c checked) (Plan, error) {
	p, err := dockerIntercepted(c)
	if err != nil {
		return Plan{}, err
	}
	p.Mode = ModeEnvironment
	p.Files = append(c.dropIn("docker", "dockerd"), p.Files...)
	p.run("systemctl daemon-reload", "systemd reads the drop-in")
	p.run("systemctl restart docker", "the environment and the system's authorities are read at start only")
	p.check(noRegistryMirrors, noOtherProxies(c.Proxy), noOtherProxy("docker"))
	return p, nil
}

// dockerIntercepted is what all plans for an intercepted dockerd have: trust in
// the authority that the gate issues registries' certificates with.
func dockerIntercepted(c checked) (Plan, error) {
	if err := c.needProxy(); err != nil {
		return Plan{}, err
	}
	if err := c.needNames(c.client); err != nil {
		return Plan{}, err
	}
	var p Plan
	p.check(noLoopbackHosts(dockerCerts)) // of the containerd image store
	if c.has(hub) {
		c.trustSystem(&p)
		p.note("Docker Hub is looked up in the system's trust store only: every program on the node now trusts the gate's authority. Keep its key on the gate.")
	}
	for _, r := range c.Registries {
		if r != hub {
			p.add(c.pemFile(dockerCerts+"/"+r+"/ca.crt", c.InterceptCA, "Authority of the certificate that the gate shows for "+r+". docker reads certs.d/<host>/*.crt at each pull."))
		}
	}
	p.note("Other HTTPS connections of dockerd (logging drivers such as awslogs and splunk, remote plugins) ask the gate as well and are refused unless intercept.tunnel lists their hosts.")
	if c.Mirror != "" {
		p.note("The gate has a mirror listener at " + c.Mirror + ". It is not written to registry-mirrors: docker asks Docker Hub when a mirror refuses, except for the form that listener answers in; that is a second line, never the boundary.")
	}
	p.bypass(
		"Connections of other programs, and dockerd's own when its proxy is changed. Closed by: the network; let nodes reach the gate and no registry.",
		"A registry, tunnel or cache on the node's own loopback: Go programs never use a proxy for it. Closed by: who may run one there.",
		"docker load, docker import, docker build from local files. Closed by: who may talk to dockerd.",
		bypassCached)
	return p, nil
}

// dockerName only lets dockerd trust the gate, for pulls by the gate's name.
func dockerName(c checked) (Plan, error) {
	if err := c.needURL(); err != nil {
		return Plan{}, err
	}
	if err := c.needNames(Docker); err != nil {
		return Plan{}, err
	}
	p := Plan{Mode: ModeName}
	if len(c.CA) > 0 {
		p.add(c.pemFile(dockerCerts+"/"+c.host+"/ca.crt", c.CA, "Authority of the gate's certificate; docker reads it at each pull."))
	}
	if c.scheme == "http" {
		p.note("dockerd asks a registry without TLS on loopback only, or when it is in insecure-registries of daemon.json; that is not written here.")
	}
	for _, r := range c.Registries {
		path, err := c.path(r)
		if err != nil {
			return Plan{}, err
		}
		p.note("Images of " + r + " are pulled as " + c.host + "/" + path + "/NAME:TAG.")
	}
	p.bypass("Every image name that does not begin with "+c.host+"/ is pulled from its registry. Closed by: the network, or a plan without --mode name.", bypassEgress, bypassCached)
	p.check(noCheck)
	return p, nil
}

// dockerHosts points dockerd's containerd image store at the gate, for every
// registry.
func dockerHosts(c checked) (Plan, error) {
	p, err := hostsPlan(c, dockerCerts)
	if err != nil {
		return Plan{}, err
	}
	p.run("docker info --format '{{ .DriverStatus }}'", "must say io.containerd.snapshotter.v1: with any other image store dockerd ignores hosts.toml, and pullgate client docker is the plan")
	p.note("docker 28 and newer with the containerd image store, the default of new installations of docker 29. hosts.toml is read at each pull; nothing is restarted.")
	p.bypass(
		"docker build with a builder of its own (docker-container driver) reads no certs.d. Closed by: pullgate client buildkit.",
		"docker load, docker import. Closed by: who may talk to dockerd.",
		bypassEgress, bypassCached)
	p.check(noRegistryMirrors, imageStoreNotOff, notBesides(dropInOf("docker"), "with --mode environment"))
	return p, nil
}

// trustSystem adds the interception authority to the system's trust store.
func (c checked) trustSystem(p *Plan) {
	path, run := "/usr/local/share/ca-certificates/pullgate.crt", "update-ca-certificates"
	other := "on RHEL, Fedora and SUSE: --trust-store rhel"
	if c.Anchors == AnchorsRHEL {
		path, run = "/etc/pki/ca-trust/source/anchors/pullgate.crt", "update-ca-trust extract"
		other = "on Debian, Ubuntu and Alpine: --trust-store debian"
	}
	p.add(c.pemFile(path, c.InterceptCA, "Authority of the certificates that the gate shows for registries ("+other+")."))
	p.run(run, "puts it among the authorities that the system trusts")
}

// path is the first path element by which the gate knows a registry.
func (c checked) path(registry string) (string, error) {
	if p := c.Paths[registry]; p != "" {
		return p, nil
	}
	if strings.Contains(registry, ":") {
		return "", errPort(registry)
	}
	return registry, nil
}
