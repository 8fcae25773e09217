package clients

import (
	"errors"
	"slices"
)

// registriesDropIn is read after every other drop-in: the last file that has a
// prefix wins (containers-registries.conf.d(5)).
const (
	registriesDir    = "/etc/containers/registries.conf.d"
	registriesMain   = "/etc/containers/registries.conf"
	registriesDropIn = registriesDir + "/zzz-pullgate.conf"
	containersCerts  = "/etc/containers/certs.d"
)

// registriesConf rewrites the registries' locations to the gate for everything
// that reads containers-registries.conf(5): podman, buildah, skopeo, CRI-O.
func registriesConf(c checked) (Plan, error) {
	if err := c.needURL(); err != nil {
		return Plan{}, err
	}
	if unportedName(c.host) {
		return Plan{}, errors.New("--gate: an image name cannot hold a host without a dot or port; write the full name, or add the port (:443)")
	}
	p := Plan{Mode: ModeName}
	content, err := c.registriesTOML()
	if err != nil {
		return Plan{}, err
	}
	p.add(whole(registriesDropIn, content))
	if len(c.CA) > 0 {
		p.add(c.pemFile(containersCerts+"/"+c.host+"/ca.crt", c.CA, "Authority of the gate's certificate, containers-certs.d(5); read at each pull."))
	} else if c.scheme == "https" {
		p.note("No authority was given: the node must trust the gate's certificate already.")
	}
	p.note("Registries that are not listed are not covered: registries.conf has no prefix for all of them. List each with --registry, and block whole domains with --registry '*.example.com' (the part before the domain cannot be rewritten).")
	p.bypass("Registries that are not listed are asked themselves. Closed by: the network.")
	if c.client == CRIO {
		p.check(notBesides(dropInOf("crio"), "with --mode proxy"))
		p.run("systemctl reload crio", "CRI-O reads registries.conf at start and on SIGHUP")
		p.note("CRI-O is told by the same files as podman; the reload is from its documentation, not tried.")
	} else {
		p.run("podman info --format '{{ .Registries }}'", "must show the registries with the gate as their location; the files are read at each pull")
		p.bypass(
			"$HOME/.config/containers/registries.conf replaces these files for its user, CONTAINERS_REGISTRIES_CONF and --registries-conf for one command. Closed by: the network.",
			"podman load, skopeo copy from files. Closed by: who may run them.")
	}
	p.bypass(bypassEgress, bypassCached)
	p.check(noLongerPrefix(c.Registries), notBesides(containersDropIn, "with --mode proxy"))
	return p, nil
}

func (c checked) registriesTOML() ([]byte, error) {
	lines := []string{
		c.marker(),
		"# Of several files with the same prefix the last one wins, hence this file's name.",
	}
	if search := c.searchRegistry(); search != "" {
		lines = append(lines, "",
			"# Short names (podman pull nginx) mean this registry alone: another one in the",
			"# list could be asked without the gate.",
			`unqualified-search-registries = ["`+search+`"]`)
	}
	for _, r := range c.Registries {
		path, err := c.path(r)
		if err != nil {
			return nil, err
		}
		if slices.Contains(c.wildcards(), r) {
			lines = append(lines, "",
				"# Blocked: a rewrite would lose which registry of the domain was meant.",
				"[[registry]]", `prefix = "`+r+`"`, "blocked = true")
			continue
		}
		lines = append(lines, c.rewrite(r, path, "# The image's name stays; what is asked is the gate. There is no mirror entry:\n# a mirror falls back to the registry.")...)
		if r == hub {
			for _, alias := range hubNames[1:] { // index.docker.io is read as docker.io
				lines = append(lines, c.rewrite(alias, path, "# Another name of Docker Hub.")...)
			}
		}
	}
	return text(lines...), nil
}

func (c checked) rewrite(prefix, path, why string) []string {
	lines := []string{"", why, "[[registry]]", `prefix = "` + prefix + `"`, `location = "` + c.host + "/" + path + `"`}
	if c.scheme == "http" {
		lines = append(lines,
			"# The gate is given as http://. This also accepts any certificate: whoever is",
			"# between node and gate can answer in its place.",
			"insecure = true")
	}
	return lines
}

// searchRegistry is where short names are looked for.
func (c checked) searchRegistry() string {
	if c.has(hub) {
		return hub
	}
	for _, r := range c.Registries {
		if !slices.Contains(c.wildcards(), r) {
			return r
		}
	}
	return ""
}
