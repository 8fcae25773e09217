package harness

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// NodeTalos stands for Talos, which is not run itself: what Talos makes of its
// machine configuration for its containerd is made here ([talosHosts]), and the
// node's containerd pulls by it. That has to be containerd 2, as in Talos: an older
// one passes over what Talos 1.9 and newer write.
type NodeTalos struct{ NodeContainerd }

// talosHostsDir is the directory of hosts.toml files on Talos.
const talosHostsDir = "/etc/cri/conf.d/hosts"

// Start implements NodeClient.
func (c *NodeTalos) Start(t testing.TB, n *Node) {
	t.Helper()
	c.NodeContainerd.hosts = talosHostsDir
	c.NodeContainerd.Start(t, n)
}

// follow implements standIn.
func (c *NodeTalos) follow(t testing.TB, n *Planned, s PlanStep) (string, bool) {
	t.Helper()
	const patch, get = "talosctl patch machineconfig --nodes NODE --patch @", "talosctl get machineconfig --nodes NODE -o yaml | "
	if name, ok := strings.CutPrefix(s.Run, patch); ok {
		for path, text := range talosHosts(t, readFile(t, filepath.Join(n.root(), name))) {
			n.WriteFile(t, filepath.Join(talosHostsDir, path), []byte(text))
		}
		return "", true
	}
	if command, ok := strings.CutPrefix(s.Run, get); ok {
		return n.Run(t, "sh", "-c", command+" <"+filepath.Join(n.root(), "pullgate-talos.yaml")).Stdout, true
	}
	return "", false
}

// talosHosts are the files that Talos writes below [talosHostsDir] for a patch. This
// is how its source reads (internal/pkg/containers/cri/containerd/hosts.go of 1.12).
// A mirror has one endpoint here.
func talosHosts(t testing.TB, patch []byte) map[string]string {
	t.Helper()
	var p struct { // v1alpha1, machine.registries
		Machine struct {
			Registries struct {
				Mirrors map[string]talosMirror  `yaml:"mirrors"`
				Config  map[string]talosSetting `yaml:"config"`
			} `yaml:"registries"`
		} `yaml:"machine"`
	}
	decodeStrictly(t, patch, &p)
	r, files := p.Machine.Registries, map[string]string{}
	for name, m := range r.Mirrors {
		if len(m.Endpoints) != 1 {
			t.Fatalf("mirror %q: expected one endpoint, found %v", name, m.Endpoints)
		}
		dir, of := talosDirectory(name), hostOfEndpoint(t, m.Endpoints[0])
		files[dir+"/hosts.toml"] = m.hostsTOML(r.Config[of].caLine(files, dir, of))
	}
	for host, c := range r.Config {
		dir := talosDirectory(host)
		if _, mirrored := files[dir+"/hosts.toml"]; mirrored || len(c.TLS.CA) == 0 {
			continue
		}
		files[dir+"/hosts.toml"] = fmt.Sprintf("server = '%s'\n%s", registryURL(host), c.caLine(files, dir, host))
	}
	return files
}

// talosMirror is an entry of mirrors.
type talosMirror struct {
	Endpoints    []string `yaml:"endpoints"`
	OverridePath bool     `yaml:"overridePath"`
	SkipFallback bool     `yaml:"skipFallback"`
}

// hostsTOML is the mirror's file. Without fallback the endpoint stands where the
// registry would, and there is no [host] then.
func (m talosMirror) hostsTOML(ca string) string {
	settings := "capabilities = ['pull', 'resolve']\n"
	if m.OverridePath {
		settings += "override_path = true\n"
	}
	settings += ca
	if m.SkipFallback {
		return fmt.Sprintf("server = '%s'\n%s", m.Endpoints[0], settings)
	}
	text := fmt.Sprintf("[host]\n  [host.'%s']\n", m.Endpoints[0])
	for line := range strings.Lines(settings) {
		text += "    " + line
	}
	return text
}

// talosSetting is an entry of config.
type talosSetting struct {
	TLS struct {
		CA base64Text `yaml:"ca"`
	} `yaml:"tls"`
}

// caLine writes a host's authority into a directory and names it.
func (s talosSetting) caLine(files map[string]string, dir, host string) string {
	if len(s.TLS.CA) == 0 {
		return ""
	}
	name := dir + "/" + host + "-ca.crt"
	files[name] = string(s.TLS.CA)
	return fmt.Sprintf("ca = '%s/%s'\n", talosHostsDir, name)
}

// talosDirectory is a registry's directory. containerd knows two ways to write a
// port; this is one of them.
func talosDirectory(registry string) string {
	if registry == "*" {
		return "_default"
	}
	if host, port, ok := strings.Cut(registry, ":"); ok {
		return host + "_" + port + "_"
	}
	return registry
}

// base64Text is written in base64.
type base64Text []byte

// UnmarshalText implements encoding.TextUnmarshaler.
func (b *base64Text) UnmarshalText(text []byte) (err error) {
	*b, err = base64.StdEncoding.AppendDecode(nil, text)
	return err
}

// hostOfEndpoint is the host of a mirror's URL, which has no path here.
func hostOfEndpoint(t testing.TB, endpoint string) string {
	t.Helper()
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme == "" || u.Host == "" || strings.Trim(u.Path, "/") != "" {
		t.Fatalf("endpoint %q: expected a URL without a path", endpoint)
	}
	return u.Host
}

// decodeStrictly reads one YAML document. The programs that it is for pass over keys
// that they do not know; here such a key, which says nothing to them, fails the test.
func decodeStrictly(t testing.TB, text []byte, to any) {
	t.Helper()
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(to); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
}
