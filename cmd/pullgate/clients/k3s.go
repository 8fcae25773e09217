package clients

const (
	k3sRegistriesFile = "/etc/rancher/k3s/registries.yaml"
	k3sConfigMain     = "/etc/rancher/k3s/config.yaml"
	k3sConfigDir      = "/etc/rancher/k3s/config.yaml.d"
	k3sConfigFile     = k3sConfigDir + "/pullgate.yaml"
	k3sCA             = "/etc/rancher/k3s/pullgate-ca.crt"
)

// k3sRegistries points k3s' containerd at the gate, for every registry.
func k3sRegistries(c checked) (Plan, error) {
	if err := c.needURL(); err != nil {
		return Plan{}, err
	}
	if err := c.needNames(K3s); err != nil {
		return Plan{}, err
	}
	p := Plan{Mode: ModeName}
	lines := []string{
		c.marker(),
		"# k3s makes containerd's hosts.toml of this. containerd names the registry that is",
		"# meant in ?ns=, so no endpoint has a path and nothing is rewritten.",
		"mirrors:",
	}
	for _, r := range append(append([]string(nil), c.Registries...), "*") {
		if r == "*" {
			lines = append(lines, "  # Every registry that is not listed.")
		}
		lines = append(lines, `  "`+r+`":`, "    endpoint:", `      - "`+c.URL+`"`)
	}
	if len(c.CA) > 0 {
		lines = append(lines, "configs:", `  "`+c.host+`":`, "    tls:",
			"      # The authority of the gate's certificate.", "      ca_file: "+k3sCA)
	}
	p.add(whole(k3sRegistriesFile, text(lines...)))
	p.add(whole(k3sConfigFile, text(
		c.marker(),
		"# Without this the registry itself is asked when the gate refuses. k3s of January",
		"# 2024 and newer: v1.26.13, v1.27.10, v1.28.6, v1.29.1.",
		"disable-default-registry-endpoint: true",
	)))
	if len(c.CA) > 0 {
		p.add(c.pemFile(k3sCA, c.CA, "Authority of the gate's certificate, named in registries.yaml."))
	} else if c.scheme == "https" {
		p.note("No authority was given: the node must trust the gate's certificate already.")
	}
	p.run("systemctl restart k3s || systemctl restart k3s-agent", "registries.yaml and config.yaml.d are read at start only; k3s on servers, k3s-agent on agents")
	p.run("grep -r server /var/lib/rancher/k3s/agent/etc/containerd/certs.d", "must name no registry, at most the gate")
	p.note("Tried with containerd and the files that k3s makes of this by its source, not with k3s itself. They have no server line: the containerd in k3s asks nobody else then, by k3s' documentation, while any other one asks the registry. pullgate doctor shows on a node that a refused image stays out.",
		"RKE2 reads the same files below /etc/rancher/rke2; move them there. It asks for its own runtime image without ?ns=, which is then one of the gate's default_registry; from its source, not tried.")
	p.bypass(
		"An older k3s does not know disable-default-registry-endpoint and does not start with it.",
		"An entry for a registry itself below configs (its password, its authority) has k3s ask that registry, also with disable-default-registry-endpoint. Closed by: entries for the gate alone, which has the registry's password and authority; pullgate doctor finds others.",
		"embedded-registry: true lets nodes fetch images from each other, also those that came before the gate. Closed by: leaving it out.",
		"Images in /var/lib/rancher/k3s/agent/images are imported at start. Closed by: who may write there.",
		bypassEgress, bypassCached)
	p.check(k3sConfigAgrees)
	return p, nil
}
