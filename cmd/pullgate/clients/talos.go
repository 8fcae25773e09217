package clients

import "encoding/base64"

const talosFile = "/pullgate-talos.yaml"

// talosPatch is a patch of Talos' machine configuration (v1alpha1,
// machine.registries).
func talosPatch(c checked) (Plan, error) {
	if err := c.needURL(); err != nil {
		return Plan{}, err
	}
	if err := c.needNames(Talos); err != nil {
		return Plan{}, err
	}
	p := Plan{Mode: ModeName}
	lines := []string{
		c.marker(),
		"machine:",
		"  registries:",
		"    mirrors:",
	}
	for _, r := range append(append([]string(nil), c.Registries...), "*") {
		if r == "*" {
			lines = append(lines, "      # Every registry that is not listed.")
		}
		lines = append(lines,
			`      "`+r+`":`,
			"        endpoints:",
			`          - "`+c.URL+`"`,
			"        # /v2 is added to the endpoint. containerd names the registry in ?ns=: a path",
			"        # that names it as well would name it twice.",
			"        overridePath: false",
			"        # The registry itself is not asked when the gate refuses.",
			"        skipFallback: true")
	}
	if len(c.CA) > 0 {
		lines = append(lines,
			"    config:",
			`      "`+c.host+`":`,
			"        tls:",
			"          # The authority of the gate's certificate, PEM in base64.",
			"          ca: "+base64.StdEncoding.EncodeToString(c.CA))
	} else if c.scheme == "https" {
		p.note("No authority was given: Talos must trust the gate's certificate already.")
	}
	f := whole(talosFile, text(lines...))
	f.Why = []string{"For talosctl, not for a node: Talos has no shell and no files of its own to edit."}
	p.add(f)
	p.run("talosctl patch machineconfig --nodes NODE --patch @pullgate-talos.yaml", "for each node; the mirrors are used without a reboot")
	p.run("talosctl get machineconfig --nodes NODE -o yaml | grep -A1 skipFallback", "must say true for each mirror")
	p.note("Tried with containerd 2.1 and the files that Talos 1.12 makes of this by its source, not with Talos itself. skipFallback needs Talos 1.9 or newer: before, containerd there asked the registry itself whenever a mirror refused.",
		"Talos 1.12 and newer have documents of kind RegistryMirrorConfig and RegistryTLSConfig for the same fields (name, endpoints, skipFallback; ca as plain PEM) beside machine.registries.")
	p.bypass(
		"An entry for a registry itself below machine.registries.config has Talos ask that registry when it has no mirror of its own: \"*\" is not for it then. Closed by: --registry for each such registry.",
		"Images that are part of the installer, and an image cache of the machine, are not pulled.",
		"Whoever may change the machine configuration can undo it. Closed by: the network; let nodes reach the gate and no registry.",
		bypassCached)
	p.check(noCheck)
	return p, nil
}
