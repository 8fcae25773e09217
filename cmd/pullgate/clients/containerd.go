package clients

const (
	containerdCerts  = "/etc/containerd/certs.d"
	containerdConfig = "/etc/containerd/config.toml"
	containerdDropIn = "/etc/containerd/conf.d/zz-pullgate.toml"
)

// Plugins whose registry.config_path says where hosts.toml is looked for, by the
// version of config.toml (containerd docs/cri/registry.md).
const (
	criPlugin    = "io.containerd.grpc.v1.cri"   // version 2
	imagesPlugin = "io.containerd.cri.v1.images" // version 3 and 4
)

// containerdHosts points containerd's CRI service at the gate, for every registry.
func containerdHosts(c checked) (Plan, error) {
	p, err := hostsPlan(c, containerdCerts)
	if err != nil {
		return Plan{}, err
	}
	f := whole(containerdConfig, configTOML(c.marker(), 2))
	f.Kind = ContainerdConfig
	f.Why = []string{
		"Only for a node without a config.toml. One that is there is not rewritten: it must set config_path itself, or import " + containerdDropIn + ".",
		"containerd 2 reads version 2 as well. In a file of version 3 the line before config_path is [plugins.'" + imagesPlugin + "'.registry].",
	}
	p.add(f)
	p.run("systemctl restart containerd", "config.toml is read at start only; hosts.toml at each pull")
	p.run("containerd config dump | grep config_path", `must show config_path = "`+containerdCerts+`" (or '…', by version)`)
	p.note("config_path excludes registry.mirrors and registry.configs in config.toml: containerd's CRI service does not start with both.")
	p.bypass(
		"ctr images pull reads hosts.toml only with --hosts-dir "+containerdCerts+". Closed by: who may talk to containerd's socket.",
		"ctr images import, and static pods whose image is on the node. Closed by: who may write there.",
		bypassEgress, bypassCached)
	p.check(notBesides(dropInOf("containerd"), "with --mode proxy"))
	return p, nil
}

// configTOML is the smallest config.toml, or drop-in for one, of a version.
func configTOML(marker string, version int) []byte {
	plugin, digit := criPlugin, "2"
	if version >= 3 {
		plugin, digit = imagesPlugin, "3"
	}
	return text(
		marker,
		"# The layout of this file; a drop-in may not have a higher one than config.toml.",
		"version = "+digit,
		"",
		`[plugins."`+plugin+`".registry]`,
		"  # Where hosts.toml of each registry is looked for. Without it none is read, and",
		"  # registries are asked themselves.",
		`  config_path = "`+containerdCerts+`"`,
	)
}

// containerdProxy makes the gate containerd's proxy.
func containerdProxy(c checked) (Plan, error) {
	p, err := c.intercepted("containerd", "containerd")
	if err != nil {
		return Plan{}, err
	}
	p.bypass("ctr images import. Closed by: who may talk to containerd's socket.", bypassCached)
	p.check(noLoopbackHosts(containerdCerts))
	return p, nil
}

// crioProxy makes the gate CRI-O's proxy.
func crioProxy(c checked) (Plan, error) {
	p, err := c.intercepted("crio", "CRI-O")
	if err != nil {
		return Plan{}, err
	}
	p.note("Proxy mode of CRI-O is from its documentation, not tried.")
	p.bypass(bypassCached)
	p.check(noLoopbackRegistry, notBesides(registriesDropIn, "without --mode proxy"))
	return p, nil
}

// intercepted is a service that asks the gate as its proxy and trusts the gate's
// certificates through the system's trust store.
func (c checked) intercepted(unit, program string) (Plan, error) {
	if err := c.needProxy(); err != nil {
		return Plan{}, err
	}
	if err := c.needNames(c.client); err != nil {
		return Plan{}, err
	}
	p := Plan{Mode: ModeProxy}
	p.add(c.dropIn(unit, program)...)
	c.trustSystem(&p)
	p.note("Every program on the node now trusts the gate's authority. Keep its key on the gate.")
	p.run("systemctl daemon-reload", "systemd reads the drop-in")
	p.run("systemctl restart "+unit, "the environment and the system's authorities are read at start only")
	p.bypass(
		"Connections of other programs, and of "+program+" when its proxy is changed. Closed by: the network; let nodes reach the gate and no registry.",
		"A registry, tunnel or cache on the node's own loopback: Go programs never use a proxy for it. Closed by: who may run one there.")
	p.check(noOtherProxy(unit))
	return p, nil
}
