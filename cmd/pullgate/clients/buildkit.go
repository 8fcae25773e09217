package clients

// buildkitProxy makes the gate the proxy of buildkitd and of the program that
// starts builds.
func buildkitProxy(c checked) (Plan, error) {
	p, err := c.intercepted("buildkit", "buildkitd")
	if err != nil {
		return Plan{}, err
	}
	p.run("export HTTPS_PROXY="+c.shown+" NO_PROXY="+ownAddresses, "where buildctl or docker buildx runs: that process fetches registries' tokens, not buildkitd")
	p.note(
		"No mirrors are written to buildkitd.toml: BuildKit asks the registry itself whenever a mirror refuses.",
		"The unit is buildkit.service as in BuildKit's examples. For another name move the drop-in to its directory.",
		"Where the gate passes on the client's own credentials (credentials: client), token hosts (auth.docker.io) must be in intercept.tunnel of the gate; otherwise no token is fetched.",
		"The exported proxy is for builds. A program that asks the gate by its name (pullgate client podman) would ask it by proxy in that shell, and be refused.",
		"A builder in a container (docker buildx create --driver docker-container) has neither this environment nor the node's trust store: give it --driver-opt env.HTTPS_PROXY="+c.shown+" and a buildkitd.toml with ca = [\"pullgate.crt\"] for each registry; from its documentation, not tried.",
	)
	p.bypass(
		"A Dockerfile's RUN commands have a network of their own and can fetch anything. Closed by: the network of builds.",
		bypassCached)
	p.check(noBuildKitMirror)
	return p, nil
}
