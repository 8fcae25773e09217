package clients

import "errors"

const (
	containersConfDir  = "/etc/containers/containers.conf.d"
	containersConfMain = "/etc/containers/containers.conf"
	containersDropIn   = containersConfDir + "/zzz-pullgate.conf"
	shellEnvironment   = "/etc/environment"
)

// containersProxy makes the gate the proxy of podman and buildah, by the
// environment that containers.conf(5) gives them. skopeo does not read it.
func containersProxy(c checked) (Plan, error) {
	if err := c.needProxy(); err != nil {
		return Plan{}, err
	}
	if len(c.wildcards()) > 0 {
		return Plan{}, errors.New("--registry: *.domain cannot be given with --mode proxy, which trusts the gate's authority registry by registry; leave the mode out")
	}
	p := Plan{Mode: ModeProxy}
	p.add(c.private(whole(containersDropIn, c.engineTOML())))
	for _, r := range c.Registries {
		p.add(c.pemFile(containersCerts+"/"+r+"/ca.crt", c.InterceptCA, "Authority of the certificate that the gate shows for "+r+", containers-certs.d(5); read at each pull. The system's trust store does not need it."))
	}
	p.run("export "+exports(c.shown), "for skopeo, which does not read containers.conf: where it runs, or without export in "+shellEnvironment)
	if c.secret {
		p.note("The drop-in holds the password and is for root alone: podman and buildah of other users stop at it with an error (podman 4.3 was tried). Where others pull, leave the password out and list the node in auth.trusted_networks of the gate.")
	}
	p.note("podman 4.3 to 5.8 and buildah 1.28 to 1.43 were tried. Registries that are not listed are refused: either the gate does not serve them, or its certificate is not trusted.",
		"podman build and buildah give their own proxy to RUN steps unless told --http-proxy=false; from their documentation, not tried.")
	p.bypass(
		"skopeo without that environment asks registries themselves. Closed by: a plan without --mode proxy, or the network.",
		"HTTPS_PROXY and NO_PROXY of a user's own environment win over the file, as do $HOME/.config/containers/containers.conf, CONTAINERS_CONF and CONTAINERS_CONF_OVERRIDE. Closed by: the network.",
		"A registry, tunnel or cache on the node's own loopback: Go programs never use a proxy for it. Closed by: who may run one there.",
		"podman load, skopeo copy from files. Closed by: who may run them.",
		bypassEgress, bypassCached)
	p.check(noOtherEngineEnvironment, noLoopbackRegistry, notBesides(registriesDropIn, "without --mode proxy"), c.noShellProxy)
	return p, nil
}

// engineTOML is a drop-in for containers.conf(5).
func (c checked) engineTOML() []byte {
	return text(
		c.marker(),
		"[engine]",
		"# podman and buildah put these into their own environment, where they are not set",
		"# there already. Of several files the last one wins, hence this file's name.",
		"env = [",
		"  # Every https:// connection asks the gate, which terminates registries' TLS and",
		"  # judges images under their real names.",
		`  "HTTPS_PROXY=`+c.Proxy+`",`,
		"  # Registries without TLS as well; the gate judges those that it knows so, and refuses others.",
		`  "HTTP_PROXY=`+c.Proxy+`",`,
		"  # Loopback is never asked by proxy, whatever stands here.",
		`  "NO_PROXY=`+ownAddresses+`",`,
		"]",
		"",
		"[containers]",
		"# The proxy is not given to containers: the gate refuses whatever is no registry.",
		"http_proxy = false",
	)
}

// exports are the variables of a process with a proxy.
func exports(proxy string) string {
	return "HTTPS_PROXY=" + proxy + " HTTP_PROXY=" + proxy + " NO_PROXY=" + ownAddresses
}
