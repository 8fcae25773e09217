package clients_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/cmd/pullgate/clients"
)

const hosts = "/hosts.toml"

// What is on these nodes would be lost, or would lead around the gate: nothing is
// changed, and the error names the file.
func TestConflicts(t *testing.T) {
	docker, dockerEnv := plan(t, clients.Docker), plan(t, clients.Docker, mode(clients.ModeEnvironment))
	dockerHosts, containerd := plan(t, clients.DockerContainerd), plan(t, clients.Containerd)
	podman, buildkit, k3s := plan(t, clients.Podman), plan(t, clients.BuildKit), plan(t, clients.K3s)
	criProxy, crioProxy := plan(t, clients.Containerd, mode(clients.ModeProxy)), plan(t, clients.CRIO, mode(clients.ModeProxy))
	storeProxy := plan(t, clients.DockerContainerd, mode(clients.ModeProxy))
	byProxy := plan(t, clients.Podman, mode(clients.ModeProxy))
	blocking := plan(t, clients.Podman, registries("docker.io", "*.example.com"))
	const (
		daemon  = "/etc/docker/daemon.json"
		certs   = "/etc/docker/certs.d/"
		ccerts  = "/etc/containerd/certs.d/"
		conf    = "/etc/containers/registries.conf"
		confD   = "/etc/containers/registries.conf.d/"
		dropIns = "/etc/systemd/system/docker.service.d/"
		rancher = "/etc/rancher/k3s/"
		engine  = "/etc/containers/containers.conf"
		zshell  = "/etc/environment"
	)
	tests := map[string]struct {
		plan  clients.Plan
		files map[string]string
		want  string
	}{
		"daemon.json is no JSON":            {docker, map[string]string{daemon: "{"}, daemon + ": is not valid JSON: line 1, column 1"},
		"daemon.json is an array":           {docker, map[string]string{daemon: "[]"}, "expected a JSON object"},
		"daemon.json ends in a comma":       {docker, map[string]string{daemon: "{\n  \"debug\": true,\n}\n"}, daemon + ": is not valid JSON: line 3, column 1"},
		"a value ends in a comma":           {docker, map[string]string{daemon: "{\"debug\": true,\n \"dns\": [1,]}"}, "is not valid JSON: line 2, column 12"},
		"daemon.json goes on":               {docker, map[string]string{daemon: "{} {}"}, "something after the JSON object, which ends at line 1, column 2"},
		"daemon.json has a key twice":       {docker, map[string]string{daemon: `{"proxies":{},"proxies":{}}`}, "twice"},
		"daemon.json in two cases":          {docker, map[string]string{daemon: `{"debug":true,"Debug":true}`}, "twice"},
		"daemon.json in another case":       {docker, map[string]string{daemon: `{"Proxies":{}}`}, `expected "proxies"`},
		"a proxy in another case":           {docker, map[string]string{daemon: `{"proxies":{"HTTPS-Proxy":"http://x"}}`}, `expected "https-proxy"`},
		"another proxy":                     {docker, map[string]string{daemon: `{"proxies":{"https-proxy":"http://me:hunter2@corp:8080"}}`}, "proxies.https-proxy is set to something else"},
		"exceptions from the proxy":         {docker, map[string]string{daemon: `{"proxies":{"no-proxy":"registry-1.docker.io"}}`}, "proxies.no-proxy is set to something else"},
		"proxies is text":                   {docker, map[string]string{daemon: `{"proxies":"x"}`}, "proxies: expected a JSON object"},
		"mirrors":                           {docker, map[string]string{daemon: `{"registry-mirrors":["http://127.0.0.1:5000"]}`}, "registry-mirrors is set"},
		"mirrors in another case":           {docker, map[string]string{daemon: `{"Registry-Mirrors":["http://127.0.0.1:5000"]}`}, `expected "registry-mirrors"`},
		"mirrors of a strange shape":        {docker, map[string]string{daemon: `{"registry-mirrors":"http://127.0.0.1:5000"}`}, "registry-mirrors is set"},
		"mirrors and the environment":       {dockerEnv, map[string]string{daemon: `{"registry-mirrors":["http://127.0.0.1:5000"]}`}, "registry-mirrors is set"},
		"mirrors and hosts.toml":            {dockerHosts, map[string]string{daemon: `{"registry-mirrors":["http://127.0.0.1:5000"]}`}, "registry-mirrors is set"},
		"daemon.json and environment":       {dockerEnv, map[string]string{daemon: `{"proxies":{"https-proxy":"http://corp:8080"}}`}, "wins over the environment"},
		"another drop-in":                   {dockerEnv, map[string]string{dropIns + "z.conf": "[Service]\nEnvironment=no_proxy=docker.io\n"}, dropIns + "z.conf: speaks of a proxy"},
		"a drop-in that takes it away":      {dockerEnv, map[string]string{dropIns + "z.conf": "[Service]\nUnsetEnvironment=HTTPS_PROXY\n"}, "speaks of a proxy"},
		"a drop-in for every service":       {dockerEnv, map[string]string{"/usr/lib/systemd/system/service.d/a.conf": "[Service]\nEnvironment=NO_PROXY=*\n"}, "speaks of a proxy"},
		"the unit itself":                   {dockerEnv, map[string]string{"/etc/systemd/system/docker.service": "[Service]\nEnvironment=HTTPS_PROXY=x\n"}, "docker.service: speaks of a proxy"},
		"a file of variables":               {dockerEnv, map[string]string{"/lib/systemd/system/docker.service": "[Service]\nEnvironmentFile=-/etc/default/docker\n", "/etc/default/docker": "# x\nhttps_proxy=http://corp\n"}, "/etc/default/docker: speaks of a proxy"},
		"a link out to a unit":              {dockerEnv, map[string]string{"/etc/systemd/system/docker.service": "-> /etc/passwd"}, "docker.service: cannot be looked at"},
		"the other image store":             {dockerHosts, map[string]string{daemon: `{"features":{"containerd-snapshotter":false}}`}, "features.containerd-snapshotter is false"},
		"unknown hosts.toml":                {dockerHosts, map[string]string{certs + "docker.io" + hosts: "server = \"https://registry-1.docker.io\"\n"}, certs + "docker.io/hosts.toml: has content that pullgate did not write"},
		"an empty hosts.toml":               {dockerHosts, map[string]string{certs + "_default" + hosts: ""}, "_default/hosts.toml: has content"},
		"a directory masks _default":        {dockerHosts, map[string]string{certs + "quay.io": "/"}, certs + "quay.io: hides _default"},
		"certificates mask _default":        {dockerHosts, map[string]string{certs + "quay.io/ca.crt": "x"}, certs + "quay.io: hides _default"},
		"a link masks _default":             {containerd, map[string]string{ccerts + "quay.io": "-> /"}, ccerts + "quay.io: hides _default"},
		"another run masks _default":        {containerd, map[string]string{ccerts + "quay.io" + hosts: "# written by pullgate client containerd\n"}, "is from another run"},
		"config.toml is no TOML":            {containerd, map[string]string{"/etc/containerd/config.toml": "version = "}, "/etc/containerd/config.toml: is not valid TOML"},
		"an import is missing":              {containerd, map[string]string{"/etc/containerd/config.toml": "version = 2\nimports = [\"/etc/containerd/other.toml\"]\n"}, "/etc/containerd/other.toml: is imported"},
		"imports of a strange shape":        {containerd, map[string]string{"/etc/containerd/config.toml": "version = 2\nimports = [\"/etc/*/other.toml\"]\n"}, "in the last element only"},
		"the same prefix, later":            {podman, map[string]string{confD + "zzzz.conf": "[[registry]]\nlocation = \"docker.io\"\n"}, confD + `zzzz.conf: the registry with prefix "docker.io" is read after`},
		"a longer prefix":                   {podman, map[string]string{conf: "[[registry]]\nprefix = \"docker.io/library\"\nlocation = \"docker.io/library\"\n"}, conf + `: the registry with prefix "docker.io/library" is longer`},
		"a longer prefix, blocked, mirrors": {podman, map[string]string{conf: "[[registry]]\nprefix = \"docker.io/library\"\nlocation = \"docker.io/library\"\nblocked = true\n[[registry.mirror]]\nlocation = \"mirror.example\"\n"}, "is longer"},
		"a longer prefix, of the system":    {podman, map[string]string{"/usr/share/containers/registries.conf": "[[registry]]\nprefix = \"docker.io/library\"\nlocation = \"x.example\"\n"}, "is longer"},
		"a longer prefix by location":       {podman, map[string]string{confD + "a.conf": "[[registry]]\nlocation = \"docker.io/library/\"\n"}, "is longer"},
		"a longer prefix of another":        {podman, map[string]string{conf: "[[registry]]\nprefix = \"registry-1.docker.io/library\"\nlocation = \"x.example\"\n"}, "is longer"},
		"a vendor's longer prefix":          {podman, map[string]string{"/usr/share/containers/registries.conf.d/a.conf": "[[registry]]\nlocation = \"docker.io/library\"\n"}, "is longer"},
		"a hole in a blocked domain":        {blocking, map[string]string{conf: "[[registry]]\nlocation = \"a.example.com\"\n"}, "is longer"},
		"short names elsewhere":             {podman, map[string]string{confD + "zzzz.conf": "unqualified-search-registries = [\"quay.io\"]\n"}, "unqualified-search-registries is read after"},
		"registries.conf is no TOML":        {podman, map[string]string{conf: "[["}, conf + ": is not valid TOML"},
		"containerd's loopback host":        {criProxy, map[string]string{ccerts + "_default" + hosts: "[host.\"http://127.0.0.1:30020\"]\n"}, ccerts + `_default/hosts.toml: the host "127.0.0.1:30020" is on loopback`},
		"containerd's loopback server":      {criProxy, map[string]string{ccerts + "docker.io" + hosts: "server = \"http://localhost:5000/v2\"\n"}, "is on loopback"},
		"containerd by name and proxy":      {criProxy, map[string]string{ccerts + "_default" + hosts: "# written by pullgate client containerd\n"}, "is of the plan without --mode proxy"},
		"containerd's bad hosts.toml":       {criProxy, map[string]string{ccerts + "docker.io" + hosts: "server = "}, "is not valid TOML"},
		"docker's loopback host":            {storeProxy, map[string]string{certs + "docker.io" + hosts: "[host.\"http://[::1]:5000\"]\n"}, "is on loopback"},
		"CRI-O's mirror on loopback":        {crioProxy, map[string]string{conf: "[[registry]]\nlocation = \"docker.io\"\n[[registry.mirror]]\nlocation = \"localhost:5000\"\n"}, "is on loopback"},
		"CRI-O by name and proxy":           {crioProxy, map[string]string{confD + "zzz-pullgate.conf": "# written by pullgate client cri-o\n"}, "is of the plan without --mode proxy"},
		"containerd by proxy, then by name": {containerd, map[string]string{"/etc/systemd/system/containerd.service.d/pullgate.conf": "# written by pullgate client containerd\n"}, "is of the plan with --mode proxy"},
		"docker by proxy, then by name":     {dockerHosts, map[string]string{dropIns + "pullgate.conf": "# written by pullgate client docker\n"}, "is of the plan with --mode environment"},
		"CRI-O by proxy, then by name":      {plan(t, clients.CRIO), map[string]string{"/etc/systemd/system/crio.service.d/pullgate.conf": "# written by pullgate client cri-o\n"}, "is of the plan with --mode proxy"},
		"podman's other variables":          {byProxy, map[string]string{engine: "[engine]\nenv = [\"A=b\"]\n"}, engine + ": env is set in [engine]"},
		"podman's variables, later":         {byProxy, map[string]string{engine + ".d/zzzz.conf": "[engine]\nenv = []\n"}, engine + ".d/zzzz.conf: env is set"},
		"a vendor's variables":              {byProxy, map[string]string{"/usr/share/containers/containers.conf": "[engine]\nenv = [\"NO_PROXY=docker.io\", {append = true}]\n"}, "env is set"},
		"containers.conf is no TOML":        {byProxy, map[string]string{engine: "["}, engine + ": is not valid TOML"},
		"a mirror on loopback":              {byProxy, map[string]string{conf: "[[registry]]\nlocation = \"docker.io\"\n[[registry.mirror]]\nlocation = \"localhost:5000/x\"\n"}, conf + `: the location "localhost:5000/x" is on loopback`},
		"a registry on loopback":            {byProxy, map[string]string{confD + "a.conf": "[[registry]]\nprefix = \"docker.io\"\nlocation = \"127.1.2.3/x\"\n"}, "is on loopback"},
		"a registry on IPv6 loopback":       {byProxy, map[string]string{confD + "a.conf": "[[registry]]\nprefix = \"docker.io\"\nlocation = \"[::1]:5000\"\n"}, "is on loopback"},
		"by name, then by proxy":            {byProxy, map[string]string{confD + "zzz-pullgate.conf": "# written by pullgate client podman\n"}, "is of the plan without --mode proxy"},
		"by proxy, then by name":            {podman, map[string]string{engine + ".d/zzz-pullgate.conf": "# written by pullgate client podman\n"}, "is of the plan with --mode proxy"},
		"the shell's other proxy":           {byProxy, map[string]string{zshell: "https_proxy=http://me:hunter2@corp:8080\n"}, zshell + ": speaks of a proxy"},
		"the shell's exceptions":            {byProxy, map[string]string{zshell: "NO_PROXY=localhost,127.0.0.0/8,::1,docker.io\n"}, zshell + ": speaks of a proxy"},
		"mirrors of BuildKit":               {buildkit, map[string]string{"/etc/buildkit/buildkitd.toml": "[registry.\"docker.io\"]\n  mirrors = [\"127.0.0.1:5000\"]\n"}, `registry."docker.io" has mirrors`},
		"registries.yaml":                   {k3s, map[string]string{rancher + "registries.yaml": "mirrors: {}\n"}, rancher + "registries.yaml: has content"},
		"the fallback is left on":           {k3s, map[string]string{rancher + "config.yaml": "disable-default-registry-endpoint: false\n"}, rancher + "config.yaml: disable-default-registry-endpoint is not true"},
		"the fallback is turned on":         {k3s, map[string]string{rancher + "config.yaml.d/z.yaml": "disable-default-registry-endpoint: 0\n"}, "is not true"},
		"other registries of k3s":           {k3s, map[string]string{rancher + "config.yaml": "private-registry: /x.yaml\n"}, "names another file"},
		"config.yaml is no YAML":            {k3s, map[string]string{rancher + "config.yaml": "a: b\nc: d: e\n"}, "is not valid YAML: line 2"},
		"a proxy with another host":         {plan(t, clients.Docker, secret), map[string]string{daemon: `{"proxies":{"https-proxy":"http://corp:8080"}}`}, "expected \"http://***@gate.example:3128\""},
		"a file is a link":                  {podman, map[string]string{confD + "zzz-pullgate.conf": "-> other"}, "is a symbolic link"},
		"a file is a link to nowhere":       {docker, map[string]string{daemon: "-> nowhere"}, "is a symbolic link"},
		"a file is a directory":             {docker, map[string]string{daemon: "/"}, daemon + ": expected a regular file"},
		"a directory is a file":             {docker, map[string]string{"/etc/docker": "x"}, "/etc/docker"},
		"a directory leads out":             {docker, map[string]string{"/etc/docker": "-> OUTSIDE"}, "cannot be looked at"},
		"a directory leads out, upward":     {docker, map[string]string{"/etc/docker": "-> ../../../../../../../../OUTSIDE"}, "cannot be looked at"},
		"a link to our own":                 {podman, map[string]string{confD + "zzz-pullgate.conf": "-> other", confD + "other": "# written by pullgate client podman\n"}, "is a symbolic link; expected"},
		"a link to a good file":             {docker, map[string]string{daemon: "-> other", "/etc/docker/other": "{}"}, "is a symbolic link; expected"},
		"a directory leads nowhere":         {docker, map[string]string{"/etc/docker": "-> nowhere"}, "/etc/docker: is a symbolic link to nothing"},
		"the trust store leads out":         {docker, map[string]string{"/usr/local/share/ca-certificates": "-> OUTSIDE"}, "/usr/local/share/ca-certificates/pullgate.crt: cannot be looked at"},
		"another trust anchor":              {docker, map[string]string{"/usr/local/share/ca-certificates/pullgate.crt": "-----BEGIN"}, "pullgate.crt: has content"},
		"a huge file":                       {docker, map[string]string{daemon: "{" + strings.Repeat(" ", 1<<20) + "}"}, "at most 1 MiB"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			outside := t.TempDir()
			for f, c := range tt.files {
				tt.files[f] = strings.ReplaceAll(c, "OUTSIDE", outside)
			}
			dir := node(t, tt.files)
			before := tree(t, dir)
			_, err := write(t, dir, tt.plan)
			var conflict *clients.Conflict
			if !errors.As(err, &conflict) || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("expected %q, found %v", tt.want, err)
			}
			if !maps.Equal(before, tree(t, dir)) || len(tree(t, outside)) != 1 {
				t.Error("something was changed")
			}
		})
	}
}

// These nodes have a configuration of their own that does no harm.
func TestNoConflict(t *testing.T) {
	tests := map[string]struct {
		plan  clients.Plan
		files map[string]string
	}{
		"an empty daemon.json":     {plan(t, clients.Docker), map[string]string{"/etc/docker/daemon.json": "\n"}},
		"proxies is null":          {plan(t, clients.Docker), map[string]string{"/etc/docker/daemon.json": `{"proxies":null,"registry-mirrors":null}`}},
		"daemon.json agrees":       {plan(t, clients.Docker, mode(clients.ModeEnvironment)), map[string]string{"/etc/docker/daemon.json": `{"proxies":{"http-proxy":"http://gate.example:3128","https-proxy":"http://gate.example:3128","no-proxy":"localhost,127.0.0.0/8,::1"}}`}},
		"the unit of Debian":       {plan(t, clients.Docker, mode(clients.ModeEnvironment)), map[string]string{"/usr/lib/systemd/system/docker.service": "[Service]\nEnvironmentFile=-/etc/default/docker\n", "/lib": "-> usr/lib", "/etc/default/docker": "# export http_proxy=\n"}},
		"certificates of a listed": {plan(t, clients.DockerContainerd), map[string]string{"/etc/docker/certs.d/docker.io/ca.crt": "x", "/etc/docker/certs.d/registry.example.com:5000/ca.crt": "x"}},
		"the containerd store":     {plan(t, clients.DockerContainerd), map[string]string{"/etc/docker/daemon.json": `{"features":{"containerd-snapshotter":true}}`}},
		"the same prefix, before":  {plan(t, clients.Podman), map[string]string{"/etc/containers/registries.conf": "unqualified-search-registries = [\"quay.io\"]\n[[registry]]\nlocation = \"docker.io\"\n"}},
		"another registry":         {plan(t, clients.Podman), map[string]string{"/etc/containers/registries.conf.d/zzzz.conf": "[[registry]]\nlocation = \"docker.io.example\"\n"}},
		"a blocked longer prefix":  {plan(t, clients.Podman), map[string]string{"/etc/containers/registries.conf": "[[registry]]\nlocation = \"docker.io/evil\"\nblocked = true\n"}},
		"a directory inside links": {plan(t, clients.Podman), map[string]string{"/etc/containers": "-> ../usr/etc-containers", "/usr/etc-containers": "/"}},
		"the shell's proxy agrees": {plan(t, clients.Podman, mode(clients.ModeProxy)), map[string]string{"/etc/environment": "PATH=/bin\nHTTPS_PROXY=\"http://gate.example:3128\"\nNO_PROXY=localhost,127.0.0.0/8,::1\n"}},
		"podman has settings":      {plan(t, clients.Podman, mode(clients.ModeProxy)), map[string]string{"/etc/containers/containers.conf": "[engine]\nevents_logger = \"file\"\n[containers]\nenv = [\"A=b\"]\n", "/etc/containers/registries.conf": "[[registry]]\nlocation = \"127.example.com\"\n"}},
		"containerd's other host":  {plan(t, clients.Containerd, mode(clients.ModeProxy)), map[string]string{"/etc/containerd/certs.d/docker.io/hosts.toml": "server = \"https://registry-1.docker.io\"\n[host.\"https://mirror.example\"]\n"}},
		"k3s agrees":               {plan(t, clients.K3s), map[string]string{"/etc/rancher/k3s/config.yaml": "disable-default-registry-endpoint: true\nprivate-registry: /etc/rancher/k3s/registries.yaml\n"}},
	}
	for name, tt := range tests {
		if r, err := write(t, node(t, tt.files), tt.plan); err != nil || len(r.Left) > 0 {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

// config.toml is never rewritten.
func TestContainerdConfig(t *testing.T) {
	const (
		config  = "/etc/containerd/config.toml"
		dropIn  = "/etc/containerd/conf.d/zz-pullgate.toml"
		imports = "imports = [\"/etc/containerd/conf.d/*.toml\"]\n"
		right   = "config_path = \"/etc/containerd/certs.d\"\n"
		cri     = "[plugins.\"io.containerd.grpc.v1.cri\".registry]\n"
		images  = "[plugins.'io.containerd.cri.v1.images'.registry]\n"
	)
	tests := map[string]struct {
		files map[string]string
		left  string // of the step; "" when there is none
		drop  string // of the drop-in; "" when there is none
	}{
		"version 2, right":            {map[string]string{config: "version = 2\n" + cri + right}, "", ""},
		"version 3, right":            {map[string]string{config: "version = 3\n" + images + right}, "", ""},
		"right, and docker's too":     {map[string]string{config: "version = 3\n" + images + "config_path = \"/etc/containerd/certs.d:/etc/docker/certs.d\"\n"}, "", ""},
		"docker's first":              {map[string]string{config: "version = 3\n" + images + "config_path = \"/etc/docker/certs.d:/etc/containerd/certs.d\"\n"}, "names another directory", ""},
		"another directory":           {map[string]string{config: "version = 2\n" + cri + "config_path = \"/etc/cri\"\n"}, "names another directory", ""},
		"section of the other layout": {map[string]string{config: "version = 3\n" + cri + right}, "config_path is not set", ""},
		"not set":                     {map[string]string{config: "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = \"/x\"\n"}, "config_path is not set", ""},
		"version 1":                   {map[string]string{config: "disabled_plugins = [\"cri\"]\n"}, "version 0", ""},
		"version 5":                   {map[string]string{config: "version = 5\n"}, "version 5", ""},
		"mirrors":                     {map[string]string{config: "version = 2\n" + cri + right + "[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"docker.io\"]\nendpoint = [\"https://x\"]\n"}, "registry.mirrors is set", ""},
		"imports, version 2":          {map[string]string{config: "version = 2\n" + imports}, "", "version = 2\n"},
		"imports, version 3":          {map[string]string{config: "version = 3\n" + imports}, "", "version = 3\n"},
		"imports of another place":    {map[string]string{config: "version = 2\nimports = [\"/etc/containerd/other.d/*.toml\"]\n"}, "config_path is not set", ""},
		"imports of relative paths":   {map[string]string{config: "version = 2\nimports = [\"conf.d/*.toml\"]\n"}, "config_path is not set", ""},
		// Before containerd 2.1 the drop-in's section replaces the whole of the plugin's.
		"imports, section is there": {map[string]string{config: "version = 2\n" + imports + "[plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"x\"\n"}, "config_path is not set", ""},
		"undone by an import":       {map[string]string{config: "version = 2\n" + imports + cri + right, "/etc/containerd/conf.d/nvidia.toml": "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\"]\nenable_cdi = true\n"}, "config_path is not set", ""},
		"right in an import":        {map[string]string{config: "version = 2\n" + imports, "/etc/containerd/conf.d/a.toml": "version = 2\n" + cri + right}, "", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := node(t, tt.files)
			r, err := write(t, dir, plan(t, clients.Containerd))
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case tt.left == "" && len(r.Left) > 0, tt.left != "" && (len(r.Left) != 1 || !strings.Contains(r.Left[0].Why, tt.left)):
				t.Errorf("left %+v", r.Left)
			}
			if string(file(t, dir+config)) != tt.files[config] {
				t.Error("config.toml was rewritten")
			}
			b, err := os.ReadFile(dir + dropIn)
			if (err == nil) != (tt.drop != "") || !strings.Contains(string(b), tt.drop) {
				t.Errorf("drop-in: %s, %v", b, err)
			}
			if _, err := os.Stat(filepath.Join(dir, "/etc/containerd/certs.d/_default/hosts.toml")); err != nil {
				t.Error(err)
			}
			before := tree(t, dir)
			if again, err := write(t, dir, plan(t, clients.Containerd)); err != nil || len(again.Left) != len(r.Left) || !maps.Equal(before, tree(t, dir)) {
				t.Errorf("the second run: %+v, %v", again, err)
			}
		})
	}
}
