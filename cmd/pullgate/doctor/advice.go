package doctor

import (
	"cmp"
	"net/url"
	"strings"
)

// advice is what the commands that are printed repeat of doctor's own options: one
// that left out a registry or an authority would open what it is to close.
type advice struct {
	registries []string
	root       string // "" for this system
	oldDocker  bool   // before 23: without proxies in daemon.json
}

// plans are the clients of pullgate client that configure a client, and whether the
// way by proxy is its only one, or one that it has.
var plans = map[string]struct {
	name                 string
	proxyOnly, proxyable bool
}{
	"docker": {"docker", true, true}, "buildx": {"docker", true, true}, "buildkit": {"buildkit", true, true},
	"containerd": {"containerd", false, true}, "cri-o": {"cri-o", false, true}, "k3s": {"k3s", false, false},
	"podman": {"podman", false, true}, "buildah": {"podman", false, true}, "skopeo": {"podman", false, true},
}

// howto is the command that prints this client's configuration, or writes it below
// --root, complete. An address of the gate that it needs and doctor was not told is
// written as GATE.
func (i *inspection) howto() string {
	plan := plans[i.client]
	if plan.name == "docker" && i.g.proxy == nil && i.containerdStore {
		plan.name, plan.proxyOnly = "docker-containerd", false
	}
	args := []string{"pullgate client", plan.name}
	byProxy := plan.proxyOnly
	if !plan.proxyOnly && plan.proxyable && len(i.g.urls) == 0 {
		byProxy = true
		args = append(args, "--mode proxy")
	}
	if plan.name == "docker" && i.advice.oldDocker {
		args = append(args, "--mode environment")
	}
	args = append(args, i.addresses(byProxy)...)
	for _, r := range i.advice.registries {
		if i.g.is(r) {
			continue // the gate's own name is no registry behind it
		}
		if (plan.name == "podman" || plan.name == "cri-o") && !byProxy && strings.Contains(r, ":") {
			r += "=PREFIX" // of that upstream at the gate: a path holds no port
		}
		args = append(args, "--registry", r)
	}
	if i.advice.root != "" {
		args = append(args, "--write --root", quoted(i.advice.root))
	}
	return strings.Join(args, " ")
}

// addresses are the flags that say where the gate is: all that were given, and those
// that are needed.
func (i *inspection) addresses(byProxy bool) []string {
	var args []string
	if len(i.g.urls) > 0 {
		args = append(args, "--gate", shown(i.g.urls[0]))
	} else if !byProxy {
		args = append(args, "--gate", "https://GATE")
	}
	if i.g.caFile != "" {
		args = append(args, "--ca", quoted(i.g.caFile))
	}
	switch {
	case i.g.proxy != nil && i.g.proxy.User != nil:
		args = append(args, "--proxy", "http://"+placeholder+"@"+i.g.proxy.Host)
	case i.g.proxy != nil:
		args = append(args, "--proxy", shown(i.g.proxy))
	case byProxy:
		args = append(args, "--proxy", "http://GATE:3128")
	}
	if byProxy || i.g.interceptFile != "" {
		args = append(args, "--intercept-ca", quoted(cmp.Or(i.g.interceptFile, "FILE")))
	}
	return args
}

// quoted is a file's name as a shell reads it.
func quoted(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+:@%,=", r))
	}) && s != "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// stranger is what to do about an address that is none of the gate's: it may be a
// listener that doctor was not told of. That it answers as a gate does not make it
// this one: the finding stays.
func (i *inspection) stranger(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return ""
	}
	for _, r := range append([]string{"docker.io"}, i.registries...) {
		if u.Host == r || u.Host == apiHost(r) {
			return "" // the registry itself
		}
	}
	if i.answers != nil && i.answers(&url.URL{Scheme: u.Scheme, Host: u.Host}) {
		return shown(u) + " answers as a pullgate: if it is a listener of this gate, run doctor with --gate " + shown(u) + " as well; otherwise "
	}
	return "if it is a listener of this gate, run doctor with --gate " + shown(u) + " as well; otherwise "
}
