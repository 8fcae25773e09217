package clients

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
)

// daemonSettings reads dockerd's configuration, nil when there is none.
func (n node) daemonSettings() (object, error) {
	b, _, err := n.read(daemonJSON)
	if err != nil {
		return nil, err
	}
	o, err := parseObject(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", daemonJSON, err)
	}
	for _, key := range []string{"registry-mirrors", "proxies", "features"} {
		if err := o.otherCase(key); err != nil {
			return nil, fmt.Errorf("%s: %w", daemonJSON, err)
		}
	}
	return o, nil
}

// noRegistryMirrors refuses mirrors: docker asks Docker Hub when one refuses, and
// one on loopback is asked without the proxy.
func noRegistryMirrors(n node) []string {
	o, err := n.daemonSettings()
	if err != nil {
		return []string{err.Error()}
	}
	value, ok := o.get("registry-mirrors")
	var mirrors []any
	if !ok || json.Unmarshal(value, &mirrors) == nil && len(mirrors) == 0 {
		return nil
	}
	return []string{daemonJSON + ": registry-mirrors is set; expected none: docker falls back from a mirror to Docker Hub, and asks one on loopback without the gate. Remove the key"}
}

// noOtherProxies refuses proxies in daemon.json, which win over the environment,
// unless they are the gate.
func noOtherProxies(proxy string) check {
	return func(n node) []string {
		o, err := n.daemonSettings()
		if err != nil {
			return nil // said by noRegistryMirrors
		}
		value, ok := o.get("proxies")
		if !ok {
			return nil
		}
		want := fmt.Sprintf(`{"proxies": {"http-proxy": %q, "https-proxy": %q, "no-proxy": %q}}`, proxy, proxy, ownAddresses)
		have, err := object{{"proxies", value}}.encode()
		if err != nil {
			return []string{daemonJSON + ": " + err.Error()}
		}
		if _, changed, err := mergeJSON(daemonJSON, have, []byte(want)); changed || err != nil {
			return []string{daemonJSON + ": proxies is set, and wins over the environment; remove it, or leave out --mode environment"}
		}
		return nil
	}
}

// imageStoreNotOff refuses a dockerd whose image store reads no hosts.toml.
func imageStoreNotOff(n node) []string {
	o, err := n.daemonSettings()
	if err != nil {
		return nil // said by noRegistryMirrors
	}
	var features map[string]any
	if value, ok := o.get("features"); ok && json.Unmarshal(value, &features) == nil && features["containerd-snapshotter"] == false {
		return []string{daemonJSON + ": features.containerd-snapshotter is false, and the graph driver ignores hosts.toml; use pullgate client docker, or set it to true (images of the other store are then not seen)"}
	}
	return nil
}

// unitDirs are where systemd looks for units and drop-ins (systemd.unit(5)).
var unitDirs = []string{"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}

// noOtherProxy refuses what else could set or unset the proxy of a service: another
// drop-in, the unit, or a file of variables that they name, which wins over
// Environment= (systemd.exec(5)).
func noOtherProxy(unit string) check {
	return func(n node) []string {
		var faults []string
		own := dropInOf(unit)
		names, err := n.unitFiles(unit)
		if err != nil {
			return []string{err.Error()}
		}
		for _, name := range names {
			if name == own {
				continue
			}
			faults = append(faults, n.proxyIn(name, true)...)
		}
		return faults
	}
}

// unitFiles returns the unit and its drop-ins.
func (n node) unitFiles(unit string) ([]string, error) {
	var names []string
	for _, dir := range unitDirs {
		names = append(names, dir+"/"+unit+".service")
		for _, d := range []string{unit + ".service.d", "service.d"} {
			files, err := n.files(path.Join(dir, d), ".conf")
			if err != nil {
				return nil, err
			}
			names = append(names, files...)
		}
	}
	return names, nil
}

// proxyIn says whether a file speaks of proxy variables.
func (n node) proxyIn(name string, unit bool) []string {
	b, _, err := n.read(name)
	if err != nil {
		return []string{err.Error()}
	}
	var faults []string
	for _, line := range withoutComments(b) {
		lower := strings.ToLower(line)
		if slices.ContainsFunc([]string{"http_proxy", "https_proxy", "no_proxy", "all_proxy"}, func(v string) bool { return strings.Contains(lower, v) }) {
			faults = append(faults, name+": speaks of a proxy, which could win over the gate's; remove the line")
			break
		}
	}
	if !unit {
		return faults
	}
	for _, line := range withoutComments(b) {
		if file, ok := strings.CutPrefix(line, "EnvironmentFile="); ok {
			if file = strings.TrimLeft(strings.TrimSpace(file), "-"); path.IsAbs(file) && !strings.ContainsAny(file, "*?[") {
				faults = append(faults, n.proxyIn(file, false)...)
			}
		}
	}
	return faults
}
