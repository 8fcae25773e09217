package doctor

import (
	"encoding/json"
	"path"
)

// buildxInstances is where docker buildx keeps builders, one JSON file for each,
// below the home of their user (docs.docker.com/build/builders).
const buildxInstances = ".docker/buildx/instances"

// builders notes builders other than docker's own: each has a BuildKit of its own
// somewhere, with proxies and mirrors of its own, which is not asked here.
func (d *docker) builders() []Finding {
	own := inspection{n: d.n, client: "buildx"}
	for _, h := range d.homes {
		dir := path.Join(h.dir, buildxInstances)
		names, err := d.n.list(dir)
		if err != nil {
			own.unreadable(dir, err)
		}
		for _, name := range names {
			own.builder(h.user, path.Join(dir, name))
		}
	}
	return own.findings
}

func (i *inspection) builder(user, file string) {
	b, ok := i.file(file)
	if !ok {
		return
	}
	var builder struct{ Name, Driver string }
	if err := json.Unmarshal(b, &builder); err == nil && builder.Driver == "docker" {
		return // a context's own daemon, which cliConfig speaks of
	}
	name := path.Base(file)
	i.add(Finding{
		Severity: SeverityWarning, File: file, unsure: true,
		Problem:     user + " has the builder " + clip(clean(name), 100) + ", a BuildKit of its own, which was not asked",
		Consequence: "docker buildx and docker build may pull around the gate with it",
		Fix: "docker buildx rm " + quoted(name) + "; where it is needed, give its BuildKit the gate as its proxy " +
			"(docker buildx create --driver-opt env.HTTPS_PROXY=…), and close the network",
	})
}
