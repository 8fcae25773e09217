package doctor

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// plant writes a node's files below a new root. A name that ends in "/" is a
// directory, a content that begins with "-> " a symbolic link.
func plant(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		switch target, link := strings.CutPrefix(content, "-> "); {
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(p, 0o755)
		case link:
			err = os.Symlink(target, p)
		default:
			mode := os.FileMode(0o644)
			if strings.HasPrefix(name, "usr/bin/") {
				mode = 0o755
			}
			err = os.WriteFile(p, []byte(content), mode)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// look inspects a root without pulling anything and returns one client. No program
// of this system counts.
func look(t *testing.T, root, client string, change func(*Options)) Client {
	t.Helper()
	t.Setenv("PATH", t.TempDir())
	o := Options{Gates: []string{"https://gate.example"}, Proxy: "http://gate.example:3128", Root: root}
	if change != nil {
		change(&o)
	}
	d, err := newDoctor(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []func(context.Context) []Client{d.docker, d.containerd, d.k3s, d.containers, d.crio, d.buildkit} {
		for _, c := range f(t.Context()) {
			if c.Client == client {
				return c
			}
		}
	}
	t.Fatalf("no client %s", client)
	return Client{}
}

func open(c Client) []Finding {
	var out []Finding
	for _, f := range c.Findings {
		if f.Severity == SeverityOpen {
			out = append(out, f)
		}
	}
	return out
}

const (
	goodHosts = "server = \"https://gate.example\"\n\n[host.\"https://gate.example\"]\n  capabilities = [\"pull\", \"resolve\"]\n"
	goodCRI   = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\n  config_path = \"/etc/containerd/certs.d\"\n"
	goodRule  = "[[registry]]\nprefix = \"docker.io\"\nlocation = \"docker.io\"\nblocked = true\n[[registry.mirror]]\nlocation = \"gate.example/docker.io\"\n"
	rewrite   = "[[registry]]\nprefix = \"docker.io\"\nlocation = \"gate.example/docker.io\"\n"
	snapshot  = `{"features": {"containerd-snapshotter": true}}`
	proxied   = "{\n  \"proxies\": {\n    \"https-proxy\": \"http://gate.example:3128\"\n  }\n}\n"
	mirrorsOf = "mirrors:\n  docker.io:\n    endpoint:\n      - https://gate.example\n"

	cdConf  = "etc/containerd/config.toml"
	cdHosts = "etc/containerd/certs.d/docker.io/hosts.toml"
	dkHosts = "etc/docker/certs.d/_default/hosts.toml"
	ccConf  = "etc/containers/containers.conf"
	drop    = "etc/systemd/system/docker.service.d/proxy.conf"
	dockerd = "etc/docker/daemon.json"
	regs    = "etc/containers/registries.conf"
	regsD   = "etc/containers/registries.conf.d/"
	k3sRegs = "etc/rancher/k3s/registries.yaml"
	k3sConf = "etc/rancher/k3s/config.yaml"
	bkConf  = "etc/buildkit/buildkitd.toml"
	cdProxy = "etc/systemd/system/containerd.service.d/p.conf"
	viaGate = "[Service]\nEnvironment=HTTPS_PROXY=http://gate.example:3128\n"
)

type files = map[string]string

// Nodes on which nothing is open: each of these closes its client.
func TestCorrectNodesHaveNoFindings(t *testing.T) {
	for _, test := range []struct {
		name, client string
		files        files
	}{
		{"docker by the gate's proxy", "docker", files{dockerd: proxied}},
		{"docker by its environment", "docker", files{dockerd: "{}", drop: "[Service]\nEnvironment=\"HTTPS_PROXY=http://gate.example:3128\" NO_PROXY=localhost,10.0.0.0/8\n"}},
		{"docker by its command line", "docker", files{"lib/systemd/system/docker.service": "[Service]\nEnvironment=OPTS=--https-proxy=http://gate.example:3128\nExecStart=/usr/bin/dockerd $NOTHING ${OPTS}\n"}},
		{"docker by an environment file", "docker", files{
			"lib/systemd/system/docker.service": "[Service]\nEnvironmentFile=-/etc/default/docker\nExecStart=/usr/sbin/dockerd\n",
			"etc/default/docker":                "export HTTPS_PROXY=\"http://gate.example:3128/\"\n"}},
		{"docker, the proxy and the gate as mirror", "docker", files{dockerd: `{"registry-mirrors": ["https://gate.example"], "proxies": {"https-proxy": "http://gate.example:3128"}}`}},
		{"docker with the containerd store", "docker", files{dockerd: snapshot, dkHosts: "server = \"https://gate.example\"\n"}},
		{"docker with the containerd store, name of the gate below it", "docker", files{dockerd: snapshot, "etc/docker/certs.d/docker.io/hosts.toml": "server = \"https://docker-io.gate.example\"\n"}},
		{"containerd", "containerd", files{cdConf: goodCRI, cdHosts: goodHosts}},
		{"containerd, _default", "containerd", files{cdConf: goodCRI, "etc/containerd/certs.d/_default/hosts.toml": goodHosts}},
		{"containerd, version 3", "containerd", files{cdConf: "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '/a:/b'\n", "b/docker.io/hosts.toml": goodHosts}},
		{"containerd, imported", "containerd", files{cdConf: "version = 2\nimports = ['/etc/containerd/conf.d/*.toml']\n", "etc/containerd/conf.d/gate.toml": goodCRI, cdHosts: goodHosts}},
		{"containerd by the gate's proxy", "containerd", files{cdConf: "version = 2\n", "etc/systemd/system/containerd.service.d/p.conf": "[Service]\nEnvironment=HTTPS_PROXY=http://gate.example:3128\n"}},
		{"podman, blocked with the gate as mirror", "podman", files{regs: goodRule}},
		{"podman, a rewrite", "podman", files{regs: rewrite}},
		{"podman, in a drop-in, and searched", "podman", files{regs: "unqualified-search-registries = ['docker.io']\n", regsD + "gate.conf": rewrite}},
		{"podman by the proxy of containers.conf", "podman", files{regs: "", ccConf: "[engine]\nenv = [\"HTTPS_PROXY=http://gate.example:3128\"]\n"}},
		{"buildah, the last containers.conf", "buildah", files{regs: "", "usr/bin/buildah": "x", ccConf: "[engine]\nenv = [\"A=b\"]\n", "etc/containers/containers.conf.d/z.conf": "[engine]\nenv = [\"HTTPS_PROXY=http://gate.example:3128\"]\n"}},
		{"a containers.conf that adds", "podman", files{regs: "", ccConf: "[engine]\nenv = [\"HTTPS_PROXY=http://gate.example:3128\"]\n", "etc/containers/containers.conf.d/z.conf": "[engine]\nenv = [\"A=b\", {append = true}]\n"}},
		{"a lower case variable of everybody's shell", "podman", files{regs: "", ccConf: "[engine]\nenv = [\"HTTPS_PROXY=http://gate.example:3128\"]\n", "etc/environment": "https_proxy=http://other.example\n"}},
		{"a user's containers.conf without variables", "podman", files{regs: "", ccConf: "[engine]\nenv = [\"HTTPS_PROXY=http://gate.example:3128\"]\n", "root/.config/containers/containers.conf": "[containers]\nlog_driver = \"k8s-file\"\n"}},
		{"podman by the gate's proxy", "podman", files{regs: "", "etc/environment": "https_proxy=http://gate.example:3128\n"}},
		{"cri-o", "cri-o", files{"etc/crio/": "", regs: goodRule}},
		{"k3s", "k3s", files{k3sRegs: mirrorsOf, k3sConf: "disable-default-registry-endpoint: true\n"}},
		{"containerd by the proxy, other hosts too", "containerd", files{cdConf: goodCRI, cdHosts: "server = 'https://cache.example'\n[host.'https://mirror.example']\n", cdProxy: viaGate}},
		{"containerd by the proxy, beside a directory without hosts.toml", "containerd", files{cdConf: goodCRI, "etc/containerd/certs.d/docker.io/ca.crt": "x", cdProxy: viaGate}},
		{"podman by the proxy, mirrors too", "podman", files{regs: strings.Replace(goodRule, "gate.example", "mirror.example", 1), "etc/environment": "https_proxy=http://gate.example:3128\n"}},
		{"k3s by the proxy, endpoints too", "k3s", files{k3sRegs: strings.Replace(mirrorsOf, "gate.example", "mirror.example", 1), "etc/systemd/system/k3s.service": viaGate}},
		{"buildkit by the proxy, mirrors too", "buildkit", files{bkConf: "[registry.\"docker.io\"]\n  mirrors = [\"mirror.example\"]\n", "etc/systemd/system/buildkit.service": viaGate + "Environment=HTTP_PROXY=http://gate.example:3128\n"}},
		{"k3s, settings of other hosts", "k3s", files{k3sRegs: mirrorsOf + "configs:\n  gate.example:\n    auth: {username: u}\n  mirror.example:\n    tls: {insecure_skip_verify: true}\n", k3sConf: "disable-default-registry-endpoint: true\n"}},
		{"k3s, every registry, no settings of this one", "k3s", files{k3sRegs: strings.Replace(mirrorsOf, "docker.io", "\"*\"", 1) + "configs:\n  docker.io:\n", k3sConf: "disable-default-registry-endpoint: true\n"}},
		{"k3s by the proxy, a password of the registry too", "k3s", files{k3sRegs: mirrorsOf + "configs:\n  docker.io:\n    auth: {username: u}\n", "etc/systemd/system/k3s.service": viaGate}},
		{"k3s, every registry, by its command line", "k3s", files{k3sRegs: "mirrors:\n  \"*\":\n    endpoint: [https://gate.example]\n",
			"etc/systemd/system/k3s.service": "[Service]\nExecStart=/usr/local/bin/k3s server \\\n  --disable-default-registry-endpoint\n"}},
		{"buildkit by the gate's proxy", "buildkit", files{bkConf: "", "etc/systemd/system/buildkit.service": "[Service]\nEnvironment=HTTPS_PROXY=http://gate.example:3128\n"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := look(t, plant(t, test.files), test.client, nil)
			if len(c.Findings) != 0 || c.Result != ResultNotProven {
				t.Errorf("result %s, findings %+v", c.Result, c.Findings)
			}
		})
	}
}

// Nodes that are broken in one way each, and what is said of it: severity, file,
// line and a part of the problem.
func TestBrokenNodesAreFound(t *testing.T) {
	for _, test := range []struct {
		name, client string
		files        files
		severity     string
		file         string
		line         int
		problem      string
	}{
		// docker
		{"nothing", "docker", files{dockerd: "{}"}, "open", "", 0, "nothing here points docker"},
		{"daemon.json is no JSON", "docker", files{dockerd: "{\n\"proxies\": {,\n"}, "warning", "/" + dockerd, 2, "is not valid: line 2, column 13"},
		{"daemon.json has two objects", "docker", files{dockerd: "{}{}"}, "warning", "/" + dockerd, 0, "is not valid"},
		{"the gate as a mirror", "docker", files{dockerd: "{\n\"registry-mirrors\": [\"https://gate.example\"]}"}, "open", "/" + dockerd, 2, "falls back to docker.io"},
		{"another mirror", "docker", files{dockerd: `{"registry-mirrors": ["https://mirror.example"]}`}, "open", "/" + dockerd, 1, "mirror.example, which is not the gate"},
		{"a mirror on the command line", "docker", files{"lib/systemd/system/docker.service": "[Service]\nExecStart=/usr/bin/dockerd --registry-mirror=https://mirror.example\n"}, "open", "/etc/docker/daemon.json", 0, "mirror.example"},
		{"a mirror in the variable of a command line", "docker", files{dockerd: proxied, "lib/systemd/system/docker.service": "[Service]\nEnvironmentFile=-/etc/default/docker\nExecStart=/usr/sbin/dockerd -H fd:// $DOCKER_OPTS\n",
			"etc/default/docker": "DOCKER_OPTS=\"--registry-mirror http://mirror.example -D\"\n"}, "open", "/etc/docker/daemon.json", 0, "mirror.example"},
		{"a proxy of the command line", "docker", files{dockerd: "{}", drop: viaGate + "ExecStart=\nExecStart=/usr/bin/dockerd --no-proxy=.docker.io\n"}, "open", "/" + drop, 4, "NO_PROXY takes registry-1.docker.io out"},
		{"another file of configuration", "docker", files{dockerd: proxied, "opt/d.json": "{}", "lib/systemd/system/docker.service": "[Service]\nExecStart=/usr/bin/dockerd --config-file /opt/d.json\n"}, "open", "", 0, "nothing here points docker"},
		{"skopeo, which reads no containers.conf", "skopeo", files{regs: "", "usr/bin/skopeo": "x", ccConf: "[engine]\nenv = [\"HTTPS_PROXY=http://gate.example:3128\"]\n"}, "open", "", 0, "nothing here points skopeo"},
		{"a later containers.conf", "podman", files{regs: "", ccConf: "[engine]\nenv = [\"HTTPS_PROXY=http://gate.example:3128\"]\n", "etc/containers/containers.conf.d/z.conf": "[engine]\nenv = []\n"}, "open", "", 0, "nothing here points podman"},
		{"a user's containers.conf", "podman", files{regs: "", ccConf: "[engine]\nenv = [\"HTTPS_PROXY=http://gate.example:3128\"]\n", "root/.config/containers/containers.conf": "[engine]\nenv = [\"A=b\"]\n"}, "open", "", 0, "nothing here points podman"},
		{"an exemption in containers.conf", "podman", files{regs: "", ccConf: "[engine]\nevents_logger = \"file\"\nenv = [\"HTTPS_PROXY=http://gate.example:3128\", \"NO_PROXY=docker.io,registry-1.docker.io\"]\n"}, "open", "/" + ccConf, 3, "NO_PROXY takes registry-1.docker.io out"},
		{"an exemption in everybody's shell", "podman", files{regs: "", ccConf: "[engine]\nenv = [\"HTTPS_PROXY=http://gate.example:3128\", \"NO_PROXY=localhost\"]\n", "etc/environment": "NO_PROXY=registry-1.docker.io\n"}, "open", "/etc/environment", 1, "NO_PROXY takes registry-1.docker.io out"},
		{"containers.conf is no TOML", "podman", files{regs: "", ccConf: "[engine"}, "warning", "/" + ccConf, 0, "cannot be read"},
		{"another proxy", "docker", files{dockerd: `{"proxies": {"https-proxy": "http://other.example:3128"}}`}, "warning", "/" + dockerd, 1, "not the gate's"},
		{"another port of the gate", "docker", files{dockerd: `{"proxies": {"https-proxy": "http://gate.example:3129"}}`}, "open", "", 0, "nothing here points docker"},
		{"an exemption", "docker", files{dockerd: "{\"proxies\": {\"https-proxy\": \"http://gate.example:3128\",\n\"no-proxy\": \".docker.io\"}}"}, "open", "/" + dockerd, 2, "NO_PROXY takes registry-1.docker.io out"},
		{"everything is exempt", "docker", files{dockerd: proxied, drop: "[Service]\nEnvironment=NO_PROXY=*\n"}, "open", "/" + drop, 2, "NO_PROXY takes"},
		{"a proxy for http alone", "docker", files{dockerd: `{"proxies": {"http-proxy": "http://gate.example:3128"}}`}, "open", "", 0, "nothing here points docker"},
		{"a later drop-in clears the proxy", "docker", files{dockerd: "{}", drop: "[Service]\nEnvironment=HTTPS_PROXY=http://gate.example:3128\n", "etc/systemd/system/docker.service.d/z.conf": "[Service]\nEnvironment=\n"}, "open", "", 0, "nothing here points docker"},
		{"/etc/default/docker is not read", "docker", files{dockerd: "{}", "lib/systemd/system/docker.service": "[Service]\nExecStart=/usr/bin/dockerd\n", "etc/default/docker": "HTTPS_PROXY=http://gate.example:3128\n"}, "warning", "/etc/default/docker", 1, "does not read this file"},
		{"an insecure registry", "docker", files{dockerd: `{"insecure-registries": ["docker.io"], "proxies": {"https-proxy": "http://gate.example:3128"}}`}, "warning", "/" + dockerd, 1, "is not checked"},
		{"every registry is insecure", "docker", files{dockerd: `{"insecure-registries": ["0.0.0.0/0"], "proxies": {"https-proxy": "http://gate.example:3128"}}`}, "warning", "/" + dockerd, 1, "is not checked"},
		{"hosts.toml with the graph driver", "docker", files{dockerd: `{"storage-driver": "overlay2"}`, dkHosts: goodHosts}, "open", "/" + dkHosts, 0, "graph-driver image store does not read it"},
		{"hosts.toml with an unknown store", "docker", files{dockerd: "{}", dkHosts: goodHosts}, "open", "/" + dkHosts, 0, "could not be told"},
		{"an empty directory masks _default", "docker", files{dockerd: snapshot, dkHosts: goodHosts, "etc/docker/certs.d/docker.io/": ""}, "open", "/etc/docker/certs.d/docker.io", 0, "masks /etc/docker/certs.d/_default"},
		{"a directory with a certificate masks _default", "docker", files{dockerd: snapshot, dkHosts: goodHosts, "etc/docker/certs.d/docker.io/ca.crt": "x"}, "open", "/etc/docker/certs.d/docker.io", 0, "masks"},
		{"an empty hosts.toml", "docker", files{dockerd: snapshot, dkHosts: "\n"}, "open", "/etc/docker/certs.d/_default", 0, "has no hosts.toml"},
		{"hosts.toml does not parse", "docker", files{dockerd: snapshot, dkHosts: "\nserver = https://gate.example\n"}, "open", "/" + dkHosts, 2, "does not parse, and is ignored"},
		{"the containerd store and a mirror", "docker", files{dockerd: `{"features": {"containerd-snapshotter": true}, "registry-mirrors": ["https://gate.example"]}`, dkHosts: goodHosts}, "open", "/" + dockerd, 1, "falls back"},
		{"a rootless daemon", "docker", files{dockerd: proxied, "root/.config/docker/daemon.json": "{}"}, "warning", "/root/.config/docker/daemon.json", 0, "rootless dockerd of root"},
		{"another context", "docker", files{dockerd: proxied, "root/.docker/config.json": `{"currentContext": "build"}`}, "warning", "/root/.docker/config.json", 1, "context build"},
		{"a user's proxies", "docker", files{dockerd: proxied, "root/.docker/config.json": `{"proxies": {"default": {"httpsProxy": "http://other.example"}}}`}, "info", "/root/.docker/config.json", 1, "hands builds"},
		{"a host beside the proxy", "docker", files{dockerd: `{"features": {"containerd-snapshotter": true}, "proxies": {"https-proxy": "http://gate.example:3128", "no-proxy": ".internal"}}`, dkHosts: "[host.'https://mirror.internal']\n"}, "open", "/" + dkHosts, 1, "asks mirror.internal"},
		// containerd
		{"a host beside the proxy", "containerd", files{cdConf: goodCRI, cdHosts: "[host.'https://mirror.internal']\n", cdProxy: viaGate + "Environment=NO_PROXY=.internal\n"}, "open", "/" + cdHosts, 1, "asks mirror.internal"},
		{"a server beside the proxy, without TLS", "containerd", files{cdConf: goodCRI, cdHosts: "server = 'http://mirror.example'\n", cdProxy: viaGate}, "open", "/" + cdHosts, 1, "`server` is mirror.example"},
		{"registry.mirrors and the proxy", "containerd", files{cdConf: "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.registry.mirrors.'docker.io']\nendpoint = ['https://mirror.internal']\n", cdProxy: viaGate}, "warning", "/" + cdConf, 2, "besides the gate's proxy"},
		{"a name below the gate's that is no registry's", "containerd", files{cdConf: goodCRI, cdHosts: strings.ReplaceAll(goodHosts, "gate.example", "mirror.gate.example")}, "open", "/" + cdHosts, 1, "`server` is mirror.gate.example"},
		{"config.toml does not parse", "containerd", files{cdConf: "version = 2\n[plugins\n"}, "warning", "/" + cdConf, 2, "does not parse"},
		{"config_path is not set", "containerd", files{cdConf: "version = 2\n", cdHosts: goodHosts}, "open", "/" + cdConf, 0, "config_path is not set"},
		{"the plugin of version 3 in version 2", "containerd", files{cdConf: "version = 2\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '/etc/containerd/certs.d'\n", cdHosts: goodHosts}, "warning", "/" + cdConf, 3, "is not read in a file with version = 2"},
		{"the plugin of version 2 in version 3", "containerd", files{cdConf: strings.Replace(goodCRI, "2", "3", 1), cdHosts: goodHosts}, "open", "/" + cdConf, 0, "config_path is not set"},
		{"registry.mirrors", "containerd", files{cdConf: "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.registry.mirrors.'docker.io']\nendpoint = ['https://gate.example']\n"}, "open", "/" + cdConf, 2, "deprecated registry.mirrors"},
		{"registry.mirrors and config_path", "containerd", files{cdConf: goodCRI + "[plugins.'io.containerd.grpc.v1.cri'.registry.mirrors.'docker.io']\nendpoint = ['https://gate.example']\n", cdHosts: goodHosts}, "warning", "/" + cdConf, 4, "besides config_path"},
		{"no directory for the registry", "containerd", files{cdConf: goodCRI}, "open", "", 0, "nothing here points containerd"},
		{"server is the registry", "containerd", files{cdConf: goodCRI, cdHosts: strings.Replace(goodHosts, "https://gate.example", "https://registry-1.docker.io", 1)}, "open", "/" + cdHosts, 1, "`server` is registry-1.docker.io"},
		{"no server", "containerd", files{cdConf: goodCRI, cdHosts: strings.SplitAfterN(goodHosts, "\n", 2)[1]}, "open", "/" + cdHosts, 0, "has no `server`"},
		{"server alone", "containerd", files{cdConf: goodCRI, cdHosts: "server = 'https://gate.example'\n"}, "open", "/" + cdHosts, 1, "containerd 1.6 and 1.7 ignore it"},
		{"another host", "containerd", files{cdConf: goodCRI, cdHosts: goodHosts + "[host.'https://mirror.example']\n"}, "open", "/" + cdHosts, 5, "asks mirror.example"},
		{"a name that only begins like the gate's", "containerd", files{cdConf: goodCRI, cdHosts: strings.ReplaceAll(goodHosts, "gate.example", "gate.example.org")}, "open", "/" + cdHosts, 1, "`server` is gate.example.org"},
		{"an unknown capability", "containerd", files{cdConf: goodCRI, cdHosts: strings.Replace(goodHosts, "pull", "puII", 1)}, "open", "/" + cdHosts, 3, "is ignored"},
		{"a value of another type", "containerd", files{cdConf: goodCRI, cdHosts: strings.Replace(goodHosts, `["pull", "resolve"]`, `"pull"`, 1)}, "open", "/" + cdHosts, 4, "is ignored"},
		{"ca is a number", "containerd", files{cdConf: goodCRI, cdHosts: goodHosts + "ca = 7\n"}, "open", "/" + cdHosts, 3, "expected ca to be a file"},
		{"a capability is missing", "containerd", files{cdConf: goodCRI, cdHosts: strings.Replace(goodHosts, `, "resolve"`, "", 1)}, "warning", "/" + cdHosts, 3, "lacks the capability resolve"},
		{"certificates are not checked", "containerd", files{cdConf: goodCRI, cdHosts: goodHosts + "skip_verify = true\n"}, "warning", "/" + cdHosts, 3, "skip_verify"},
		{"without TLS", "containerd", files{cdConf: goodCRI, cdHosts: strings.ReplaceAll(goodHosts, "https", "http")}, "warning", "/" + cdHosts, 3, "without TLS"},
		{"a directory masks _default", "containerd", files{cdConf: goodCRI, "etc/containerd/certs.d/_default/hosts.toml": goodHosts, "etc/containerd/certs.d/docker.io/": ""}, "open", "/etc/containerd/certs.d/docker.io", 0, "masks"},
		{"an earlier root masks a later one", "containerd", files{cdConf: strings.Replace(goodCRI, "/etc", "/opt/certs.d:/etc", 1), cdHosts: goodHosts, "opt/certs.d/docker.io/": ""}, "open", "/opt/certs.d/docker.io", 0, "has no hosts.toml"},
		// podman and its like
		{"a mirror beside the proxy", "podman", files{regs: "[[registry]]\nprefix = 'docker.io'\nlocation = 'docker.io'\n[[registry.mirror]]\nlocation = 'mirror.internal'\n", "etc/environment": "https_proxy=http://gate.example:3128\nno_proxy=.internal\n"}, "open", "/" + regs, 1, "the mirror mirror.internal of docker.io is not the gate"},
		{"a location beside the proxy", "podman", files{regs: "[[registry]]\nprefix = 'docker.io/library'\nlocation = 'mirror.internal'\n", "etc/environment": "https_proxy=http://gate.example:3128\nno_proxy=.internal\n"}, "open", "/" + regs, 1, "the location of docker.io/library is mirror.internal"},
		{"an insecure location that no proxy is set for", "podman", files{regs: "[[registry]]\nprefix = 'docker.io'\nlocation = 'mirror.example'\ninsecure = true\n", "etc/environment": "https_proxy=http://gate.example:3128\n"}, "open", "/" + regs, 1, "the location of docker.io is mirror.example"},
		{"nothing", "podman", files{regs: ""}, "open", "", 0, "nothing here points podman"},
		{"a mirror that is not blocked", "podman", files{regs: strings.Replace(goodRule, "blocked = true\n", "", 1)}, "open", "/" + regs, 1, "is not blocked"},
		{"another mirror", "podman", files{regs: goodRule + "[[registry.mirror]]\nlocation = 'mirror.example'\n"}, "open", "/" + regs, 1, "the mirror mirror.example"},
		{"another location", "podman", files{regs: strings.Replace(rewrite, "gate.example", "mirror.example", 1)}, "open", "/" + regs, 1, "the location of docker.io is mirror.example"},
		{"a later file overrides ours", "podman", files{regsD + "10-gate.conf": rewrite, regsD + "99-other.conf": "\n[[registry]]\nlocation = 'docker.io'\n"}, "open", "/" + regsD + "99-other.conf", 2, "replaces the rule in /etc/containers/registries.conf.d/10-gate.conf"},
		{"a longer prefix", "podman", files{regs: rewrite, regsD + "x.conf": "[[registry]]\nprefix = 'docker.io/library'\nlocation = 'mirror.example/library'\n"}, "open", "/" + regsD + "x.conf", 1, "location of docker.io/library"},
		{"searched elsewhere", "podman", files{regs: "unqualified-search-registries = ['docker.io', 'quay.io']\n" + rewrite}, "open", "/" + regs, 1, "unqualified-search-registries has quay.io"},
		{"a user's own file", "podman", files{regs: rewrite, "root/.config/containers/registries.conf": "unqualified-search-registries = ['docker.io']\n"}, "open", "", 0, "nothing here points podman"},
		{"a user's own drop-in", "podman", files{regs: rewrite, "root/.config/containers/registries.conf.d/x.conf": "[[registry]]\nlocation = 'docker.io'\n"}, "open", "/root/.config/containers/registries.conf.d/x.conf", 1, "the location of docker.io is docker.io"},
		{"the old format", "podman", files{regs: "[registries.search]\nregistries = ['docker.io']\n"}, "warning", "/" + regs, 0, "refuse this configuration"},
		{"a drop-in does not parse", "podman", files{regs: rewrite, regsD + "x.conf": "[[registry\n"}, "warning", "/" + regsD + "x.conf", 2, "refuse this configuration"},
		{"insecure", "podman", files{regs: rewrite + "insecure = true\n"}, "warning", "/" + regs, 1, "insecure = true"},
		// k3s
		{"the default endpoint", "k3s", files{k3sRegs: mirrorsOf}, "open", "/" + k3sRegs, 2, "disable-default-registry-endpoint is not set"},
		{"the command line sets it back", "k3s", files{k3sRegs: mirrorsOf, k3sConf: "disable-default-registry-endpoint: true\n", "etc/systemd/system/k3s.service": "[Service]\nExecStart=/usr/local/bin/k3s server --disable-default-registry-endpoint=false\n"}, "open", "/" + k3sRegs, 2, "disable-default-registry-endpoint is not set"},
		{"a drop-in sets it back", "k3s", files{k3sRegs: mirrorsOf, k3sConf: "disable-default-registry-endpoint: true\n", "etc/rancher/k3s/config.yaml.d/x.yaml": "disable-default-registry-endpoint: false\n"}, "open", "/" + k3sRegs, 2, "disable-default-registry-endpoint is not set"},
		{"an unlisted registry", "k3s", files{k3sRegs: strings.Replace(mirrorsOf, "docker.io", "quay.io", 1), k3sConf: "disable-default-registry-endpoint: true\n"}, "open", "", 0, "nothing here points k3s"},
		{"another endpoint", "k3s", files{k3sRegs: mirrorsOf + "      - https://mirror.example\n", k3sConf: "disable-default-registry-endpoint: true\n"}, "open", "/" + k3sRegs, 2, "have mirror.example"},
		{"registries.yaml does not parse", "k3s", files{k3sRegs: "mirrors:\n  a: [\n"}, "warning", "/" + k3sRegs, 2, "does not parse"},
		{"the gate's certificate is not checked", "k3s", files{k3sRegs: mirrorsOf + "configs:\n  gate.example:\n    tls:\n      insecure_skip_verify: true\n", k3sConf: "disable-default-registry-endpoint: true\n"}, "warning", "/" + k3sRegs, 8, "is not checked"},
		{"settings of the registry", "k3s", files{k3sRegs: mirrorsOf + "configs:\n  docker.io:\n", k3sConf: "disable-default-registry-endpoint: true\n"}, "open", "/" + k3sRegs, 5, "an entry for docker.io itself"},
		{"a password of the registry, which * is not for then", "k3s", files{k3sRegs: strings.Replace(mirrorsOf, "docker.io", "\"*\"", 1) + "configs:\n  docker.io:\n    auth: {username: u}\n", k3sConf: "disable-default-registry-endpoint: true\n"}, "open", "/" + k3sRegs, 5, "an entry for docker.io itself"},
		{"an endpoint beside the proxy", "k3s", files{k3sRegs: strings.Replace(mirrorsOf, "gate.example", "mirror.internal", 1), "etc/systemd/system/k3s.service": viaGate + "Environment=NO_PROXY=.internal\n"}, "open", "/" + k3sRegs, 2, "have mirror.internal"},
		// BuildKit
		{"a mirror beside the proxy", "buildkit", files{bkConf: "[registry.\"docker.io\"]\n  mirrors = [\"mirror.internal\"]\n", "etc/systemd/system/buildkit.service": viaGate + "Environment=NO_PROXY=.internal\n"}, "open", "/" + bkConf, 1, "have mirror.internal"},
		{"mirrors", "buildkit", files{bkConf: "\n[registry.\"docker.io\"]\n  mirrors = [\"gate.example/docker.io\"]\n"}, "open", "/" + bkConf, 2, "falls back to docker.io"},
		{"other mirrors", "buildkit", files{bkConf: "[registry.\"docker.io\"]\n  mirrors = [\"mirror.example\"]\n"}, "open", "/" + bkConf, 1, "have mirror.example"},
		{"nothing", "buildkit", files{bkConf: ""}, "open", "", 0, "nothing here points buildkit"},
		{"a rootless one's", "buildkit", files{bkConf: "", "etc/systemd/system/buildkit.service": "[Service]\nEnvironment=HTTPS_PROXY=http://gate.example:3128\n", "root/.config/buildkit/buildkitd.toml": ""}, "open", "", 0, "nothing here points buildkit"},
	} {
		t.Run(test.client+": "+test.name, func(t *testing.T) {
			c := look(t, plant(t, test.files), test.client, nil)
			for _, f := range c.Findings {
				if f.Severity == test.severity && f.File == test.file && f.Line == test.line && strings.Contains(f.Problem, test.problem) {
					if f.Consequence == "" || f.Fix == "" || f.Client != test.client {
						t.Errorf("incomplete: %+v", f)
					}
					if f.Severity == SeverityOpen && c.Result != ResultOpenByConfiguration {
						t.Errorf("result %s", c.Result)
					}
					return
				}
			}
			t.Errorf("not found; result %s, findings %+v", c.Result, c.Findings)
		})
	}
}

// Findings that leave no way around the gate do not stand beside one that does.
func TestOneBrokenThingIsOneFinding(t *testing.T) {
	for _, test := range []struct {
		client string
		files  files
	}{
		{"docker", files{dockerd: `{"registry-mirrors": ["https://gate.example"]}`}},
		{"containerd", files{cdConf: goodCRI, cdHosts: strings.Replace(goodHosts, "https://gate.example", "https://registry-1.docker.io", 1)}},
		{"podman", files{regs: strings.Replace(goodRule, "blocked = true\n", "", 1)}},
		{"k3s", files{k3sRegs: mirrorsOf}},
		{"buildkit", files{bkConf: "[registry.\"docker.io\"]\n  mirrors = [\"gate.example/docker.io\"]\n"}},
	} {
		if c := look(t, plant(t, test.files), test.client, nil); len(open(c)) != 1 {
			t.Errorf("%s: %+v", test.client, c.Findings)
		}
	}
}

// The gate asked by its own name needs no configuration.
func TestTheGateByNameNeedsNothing(t *testing.T) {
	root := plant(t, files{dockerd: "{}", cdConf: "", regs: "", k3sRegs: "", bkConf: ""})
	for _, client := range []string{"docker", "containerd", "podman", "k3s", "buildkit"} {
		c := look(t, root, client, func(o *Options) { o.Registries = []string{"gate.example"} })
		if len(c.Findings) != 0 {
			t.Errorf("%s: %+v", client, c.Findings)
		}
	}
}

// containerd whose CRI plugin is disabled, as docker's packages install it, pulls for
// nobody.
func TestContainerdWithoutCRI(t *testing.T) {
	c := look(t, plant(t, files{cdConf: "disabled_plugins = [\"cri\"]\n"}), "containerd", nil)
	if c.Result != ResultNotFound || len(c.Findings) != 1 || c.Findings[0].Severity != SeverityInfo {
		t.Errorf("%+v", c)
	}
}

// An empty root has no clients; nothing is closed by that.
func TestNoClients(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	r, err := Run(t.Context(), Options{Gates: []string{"http://127.0.0.1:1"}, Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if r.Summary.Exit != ExitNotProven || r.Summary.NotFound != len(r.Clients) {
		t.Errorf("%+v", r.Summary)
	}
}
