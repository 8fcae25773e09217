package clients

// kubernetesNodes is the plan of the nodes' runtime, and what a cluster needs
// besides. Nothing of it runs in the cluster: a DaemonSet that writes to nodes
// would have to be pulled before the gate is in place.
func kubernetesNodes(c checked) (Plan, error) {
	maker := map[string]map[bool]func(checked) (Plan, error){
		Containerd: {false: containerdHosts, true: containerdProxy},
		CRIO:       {false: registriesConf, true: crioProxy},
	}[c.Runtime][c.Mode == ModeProxy]
	node := c
	node.client = c.Runtime // so that both plans agree on whose the files are
	p, err := maker(node)
	if err != nil {
		return Plan{}, err
	}
	p.note("The files are for every node, control plane included, before it joins: in the image of the node, in cloud-init, or by hand with pullgate client kubernetes --write. For nodes with the other runtime: --runtime containerd or cri-o.")
	if c.Passwords && c.Mode != ModeProxy {
		p.run(`kubectl create secret generic pullgate --namespace NAMESPACE --type kubernetes.io/dockerconfigjson --from-file .dockerconfigjson=config.json`,
			`the gate asks for passwords: config.json holds the gate's user and password under the registry that stands in the pods' image names, {"auths":{"`+secretName(c)+`":{"auth":"BASE64 OF USER:PASSWORD"}}}`)
		p.run(`kubectl patch serviceaccount default --namespace NAMESPACE --patch '{"imagePullSecrets":[{"name":"pullgate"}]}'`,
			"pods of the namespace use the secret without naming it")
		p.note("kubelet chooses an imagePullSecret by the registry in the image's name, never by the gate's name; from its documentation, not tried. auth.trusted_networks or client certificates at the gate need no secrets.")
	}
	p.bypass(
		"A NetworkPolicy is for pods: images are pulled by the node, which it does not bind. Closed by: a firewall of the nodes or their network that lets them reach the gate and no registry.",
		"A node that joins without these files. Closed by: the same firewall.")
	return p, nil
}

// secretName is the key of a registry in a docker config.json.
func secretName(c checked) string {
	if c.has(hub) {
		return "https://index.docker.io/v1/"
	}
	return c.Registries[0]
}
