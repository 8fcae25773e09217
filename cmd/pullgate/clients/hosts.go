package clients

import (
	"fmt"
	"strings"
)

func errPort(registry string) error {
	return fmt.Errorf("--registry %s: a port cannot stand in a path; set prefix of that upstream at the gate and give --registry %s=PREFIX", registry, registry)
}

// hostDirectory is the directory of a registry that containerd looks for first:
// its name, with :port written _port_ (containerd docs/hosts.md).
func hostDirectory(host string) string {
	name, port, ported := cutPort(host)
	if !ported {
		return host
	}
	return name + "_" + port + "_"
}

// hostsPlan writes hosts.toml for every registry below a directory of containerd's
// layout: _default, the registries that are known, whose directories would mask
// _default when there are any, and the gate's own name.
func hostsPlan(c checked, dir string) (Plan, error) {
	if err := c.needURL(); err != nil {
		return Plan{}, err
	}
	if err := c.needNames(c.client); err != nil {
		return Plan{}, err
	}
	p := Plan{Mode: ModeName}
	ca := ""
	if len(c.CA) > 0 {
		// docker's own code looks for certs.d/host:port, without the underscores.
		ca = dir + "/" + c.host + "/ca.crt"
	}
	p.add(whole(dir+"/_default/hosts.toml", c.hostsTOML("Registries without a directory of their own here.", ca)))
	for _, r := range c.Registries {
		if r != c.host {
			p.add(whole(dir+"/"+hostDirectory(r)+"/hosts.toml", c.hostsTOML("Images of "+r+". This directory hides _default.", ca)))
		}
	}
	p.add(whole(dir+"/"+hostDirectory(c.host)+"/hosts.toml", c.hostsTOML("Images named by the gate's own name, "+c.host+"/….", ca)))
	if ca != "" {
		p.add(c.pemFile(ca, c.CA, "Authority of the gate's certificate, named in each hosts.toml. docker login reads it by its place."))
	} else if c.scheme == "https" {
		p.note("No authority was given: the node must trust the gate's certificate already.")
	}
	p.note("A hosts.toml that does not parse, and a directory of a registry without one, even an empty one, are ignored without a word, and the registry itself is asked. pullgate doctor finds both.")
	p.check(noMaskingDirectory(dir, append([]string{c.host}, c.Registries...)))
	return p, nil
}

// hostsTOML is a hosts.toml that knows no other host than the gate (containerd
// docs/hosts.md).
func (c checked) hostsTOML(about, ca string) []byte {
	lines := []string{
		c.marker(),
		"# " + about,
		"",
		"# Asked last. Without this line the registry itself is asked when the gate refuses.",
		`server = "` + c.URL + `"`,
	}
	authority := func(indent string) {
		if ca != "" {
			lines = append(lines, indent+"# The authority of the gate's certificate.", indent+`ca = "`+ca+`"`)
		}
	}
	authority("")
	lines = append(lines, "",
		"# Asked first. containerd 1.6 and 1.7 ignore server when no host is named.",
		`[host."`+c.URL+`"]`,
		"  # Manifests and blobs, and the digests of tags. No push: the gate takes none.",
		`  capabilities = ["pull", "resolve"]`)
	authority("  ")
	return text(lines...)
}

// unportedName reports whether the host could be read as a path instead of a
// registry in an image name (distribution/reference, ParseNormalizedNamed).
func unportedName(host string) bool {
	return !strings.ContainsAny(host, ".:") && host != "localhost"
}
