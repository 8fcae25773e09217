package clients

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// noOtherEngineEnvironment refuses another list of variables: of all files that
// podman reads the last one counts, alone.
func noOtherEngineEnvironment(n node) []string {
	names := []string{containersConfMain, "/usr/share/containers/containers.conf"}
	for _, dir := range []string{containersConfDir, "/usr/share/containers/containers.conf.d"} {
		files, err := n.files(dir, ".conf")
		if err != nil {
			return []string{err.Error()}
		}
		names = append(names, files...)
	}
	var faults []string
	for _, name := range names {
		var f struct {
			Engine struct {
				Env any `toml:"env"` // a list, and in newer versions one that says to append
			} `toml:"engine"`
		}
		_, err := n.tomlFile(name, &f)
		switch {
		case name == containersDropIn:
		case err != nil:
			faults = append(faults, err.Error())
		case f.Engine.Env != nil:
			faults = append(faults, name+": env is set in [engine]; of several files the last one counts alone, so either these variables or the gate would be lost. Set them elsewhere and remove env")
		}
	}
	return faults
}

// noLoopbackRegistry refuses registries and mirrors on loopback, which are asked
// without the proxy.
func noLoopbackRegistry(n node) []string {
	names, err := n.registriesFiles()
	if err != nil {
		return []string{err.Error()}
	}
	var faults []string
	for _, name := range names {
		var f registriesFile
		if _, err := n.tomlFile(name, &f); err != nil {
			faults = append(faults, err.Error())
			continue
		}
		for _, r := range f.Registry {
			locations := []string{r.Location}
			for _, m := range r.Mirror {
				locations = append(locations, m.Location)
			}
			for _, l := range locations {
				if onLoopback(l) {
					faults = append(faults, fmt.Sprintf("%s: the location %q is on loopback, which is asked without the gate; remove it", name, short(l)))
				}
			}
		}
	}
	return faults
}

// onLoopback reports whether a Go program asks a location without a proxy.
func onLoopback(location string) bool {
	host, _, _ := strings.Cut(location, "/")
	host, _, _ = cutPort(host)
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return strings.EqualFold(host, "localhost") || err == nil && addr.Unmap().IsLoopback()
}

// notBesides refuses the file of the other way to the gate: by proxy the gate's own
// name is not reached.
func notBesides(name, how string) check {
	return func(n node) []string {
		b, there, err := n.read(name)
		switch {
		case err != nil:
			return []string{err.Error()}
		case !there || !isOurs(b):
			return nil
		}
		return []string{name + ": is of the plan " + how + "; with both, the gate is asked for itself and refuses. Remove it, and what else that plan wrote"}
	}
}

// noShellProxy refuses another proxy for everybody who logs in: it wins over
// containers.conf.
func (c checked) noShellProxy(n node) []string {
	b, _, err := n.read(shellEnvironment)
	if err != nil {
		return []string{err.Error()}
	}
	for _, line := range withoutComments(b) {
		lower, own := strings.ToLower(line), strings.Fields(exports(c.Proxy))
		if strings.Contains(lower, "_proxy") && !slices.Contains(own, strings.ReplaceAll(line, `"`, "")) {
			return []string{shellEnvironment + ": speaks of a proxy that is not the gate's, and wins over containers.conf; remove the line"}
		}
	}
	return nil
}
