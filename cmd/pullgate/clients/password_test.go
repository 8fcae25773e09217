package clients_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/cmd/pullgate/clients"
)

func proxy(s string) func(*clients.Gate) { return func(g *clients.Gate) { g.Proxy = s } }
func passwords(g *clients.Gate)          { g.Passwords = true }

// A password is written, and in nothing that is printed.
func TestPasswordsAreNotPrinted(t *testing.T) {
	for _, client := range clients.Names() {
		for _, m := range []clients.Mode{clients.ModeAuto, clients.ModeProxy, clients.ModeEnvironment} {
			g := gate(t)
			g.Mode, g.Passwords = m, true
			secret(&g)
			p, err := clients.For(client, g)
			if err != nil {
				continue
			}
			var printed strings.Builder
			if err := p.Print(&printed); err != nil {
				t.Fatal(err)
			}
			b, err := json.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			printed.Write(b)
			dir := t.TempDir()
			r, err := write(t, dir, p)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Print(&printed, p, dir); err != nil {
				t.Fatal(err)
			}
			b, err = json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			printed.Write(b)
			if strings.Contains(printed.String(), "hunter2") {
				t.Errorf("%s %s prints the password:\n%s", client, m, printed.String())
			}
			if p.Mode != clients.ModeName && !strings.Contains(printed.String(), "http://***@gate.example:3128") {
				t.Errorf("%s %s does not show the proxy", client, m)
			}
			for path, v := range tree(t, dir) {
				if strings.Contains(v, "hunter2") && !strings.HasPrefix(v, "-rw-------") {
					t.Errorf("%s %s: others may read %s", client, m, path)
				}
			}
		}
	}
}

// What is not plain in a user name or password is encoded anew, whatever way it was
// written, so that no file, shell or systemd reads anything else in it.
func TestProxyUserinfo(t *testing.T) {
	good := map[string]string{
		"http://alice:secret@gate.example:3128":           "http://alice:secret@gate.example:3128",
		"http://alice:a%40b%3A%25n@gate.example:3128":     "http://alice:a%40b%3A%25n@gate.example:3128",
		"http://alice:a$b;c&d=e@gate.example:3128":        "http://alice:a%24b%3Bc%26d%3De@gate.example:3128",
		"http://al%20ice:%22%5C%60%27@[2001:db8::1]:3128": "http://al%20ice:%22%5C%60%27@[2001:db8::1]:3128",
	}
	for in, want := range good {
		p := plan(t, clients.Podman, mode(clients.ModeProxy), proxy(in))
		if !strings.Contains(string(p.Files[0].Content), "\"HTTPS_PROXY="+want+"\"") {
			t.Errorf("%s: expected %s in\n%s", in, want, p.Files[0].Content)
		}
	}
	for _, bad := range []string{
		"http://hunter2@gate.example:3128", "http://:hunter2@gate.example:3128", "http://alice:@gate.example:3128",
		"http://alice:hunter2@x@gate.example:3128", "http://a%3Ab:hunter2@gate.example:3128",
		"http://alice:hunter2%0A@gate.example:3128", "http://alice:hunter2%FF@gate.example:3128", "http://alice:hunter2%@gate.example:3128",
		"http://alice:hunter2/x@gate.example:3128", "http://alice:hunter2?x@gate.example:3128", "http://alice:12#hunter2@gate.example:3128",
		"http://alice:hunter2@gate.example", "https://alice:hunter2@gate.example:3128", "http://alice:hunter2@gate.example:3128/",
		"http://alice:hunter2" + strings.Repeat("x", 256) + "@gate.example:3128",
	} {
		g := gate(t)
		g.Proxy = bad
		if _, err := clients.For(clients.Docker, g); err == nil || !strings.Contains(err.Error(), "--proxy: expected") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// A daemon.json with the gate's proxy gets the password, and then nobody but root
// may read it or its backup; with another host in it, it is not touched.
func TestDaemonGetsThePassword(t *testing.T) {
	const name = "/etc/docker/daemon.json"
	const plain = `{"proxies":{"http-proxy":"http://gate.example:3128","https-proxy":"http://alice:hunter1@gate.example:3128","no-proxy":"localhost,127.0.0.0/8,::1"}}`
	dir := node(t, map[string]string{name: plain})
	p := plan(t, clients.Docker, secret)
	r, err := write(t, dir, p)
	if err != nil || r.Changes[0].Action != clients.Merged {
		t.Fatalf("%+v, %v", r, err)
	}
	for _, f := range []string{name, name + stamp} {
		if info, err := os.Stat(dir + f); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f, info.Mode(), err)
		}
	}
	if got := string(file(t, dir+name)); strings.Count(got, secretProxy) != 2 {
		t.Errorf("found %s", got)
	}
	// Somebody opens it: closed again, without a copy.
	if err := os.Chmod(dir+name, 0o644); err != nil {
		t.Fatal(err)
	}
	r, err = write(t, dir, p)
	if err != nil || r.Changes[0] != (clients.Change{Path: name, Action: clients.Replaced}) {
		t.Errorf("%+v, %v", r, err)
	}
	if info, err := os.Stat(dir + name); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	// A plan without the password does not take it away.
	if _, err := write(t, dir, plan(t, clients.Docker)); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("found %v", err)
	}
}

// systemd shows Environment= to every user: the password is in a file of its own.
func TestUnitsDoNotHoldThePassword(t *testing.T) {
	for _, p := range []clients.Plan{
		plan(t, clients.Docker, mode(clients.ModeEnvironment), secret), plan(t, clients.Containerd, mode(clients.ModeProxy), secret),
		plan(t, clients.CRIO, mode(clients.ModeProxy), secret), plan(t, clients.BuildKit, secret),
	} {
		i := slices.IndexFunc(p.Files, func(f clients.File) bool { return strings.HasSuffix(f.Path, ".service.d/pullgate.conf") })
		unit, variables := p.Files[i], p.Files[i+1]
		if strings.Contains(string(unit.Content), "hunter2") || !strings.Contains(string(unit.Content), "\nEnvironmentFile="+variables.Path+"\n") || variables.Mode != 0o600 {
			t.Errorf("%s: %s %v\n%s", p.Client, variables.Path, variables.Mode, unit.Content)
		}
	}
}

// A gate that asks for passwords gets one, or the plan says how: for every client.
func TestPasswordsAreSpokenOf(t *testing.T) {
	tests := map[string]struct {
		plan clients.Plan
		want string
	}{
		"docker":             {plan(t, clients.Docker, passwords), "give --proxy http://user:password@host:port, or list the node in auth.trusted_networks"},
		"docker environment": {plan(t, clients.Docker, mode(clients.ModeEnvironment), passwords), "give --proxy http://user:password@host:port"},
		"docker name":        {plan(t, clients.Docker, mode(clients.ModeName), passwords), "docker login gate.example"},
		"docker-containerd":  {plan(t, clients.DockerContainerd, passwords), `[host."https://gate.example".header]`},
		"containerd":         {plan(t, clients.Containerd, passwords), `[host."https://gate.example".header]`},
		"containerd proxy":   {plan(t, clients.Containerd, mode(clients.ModeProxy), passwords), "give --proxy http://user:password@host:port"},
		"podman":             {plan(t, clients.Podman, passwords), "podman login gate.example"},
		"cri-o":              {plan(t, clients.CRIO, passwords), "global_auth_file"},
		"buildkit":           {plan(t, clients.BuildKit, passwords), "give --proxy http://user:password@host:port"},
		"k3s":                {plan(t, clients.K3s, passwords), "auth: {username: USER, password: PASSWORD}"},
		"talos":              {plan(t, clients.Talos, passwords), "auth: {username: USER, password: PASSWORD}"},
		"kubernetes":         {plan(t, clients.Kubernetes, passwords), "kubectl create secret"},
		"kubernetes proxy":   {plan(t, clients.Kubernetes, mode(clients.ModeProxy), passwords), "give --proxy http://user:password@host:port"},
	}
	for name, tt := range tests {
		var b strings.Builder
		if err := tt.plan.Print(&b); err != nil || !strings.Contains(b.String(), tt.want) {
			t.Errorf("%s: expected %q in\n%s", name, tt.want, b.String())
		}
	}
	if p := plan(t, clients.Docker, passwords, secret); slices.ContainsFunc(p.Notes, func(n string) bool { return strings.Contains(n, "give --proxy") }) {
		t.Error("asks for the password that it has")
	}
}

// Notes and what is left open are told with --write, too, and where commands belong.
func TestReportTellsTheNotes(t *testing.T) {
	p := plan(t, clients.Docker)
	r := clients.Report{Changes: []clients.Change{}}
	for root, want := range map[string]string{"/": "### now run\n", "/mnt/node": "### now run, on the node itself, whose / is /mnt/node here"} {
		var b strings.Builder
		if err := r.Print(&b, p, root); err != nil {
			t.Fatal(err)
		}
		for _, part := range []string{want, "### notes\n", "--mode environment", "### what still goes around the gate\n"} {
			if !strings.Contains(b.String(), part) {
				t.Errorf("%s: expected %q in\n%s", root, part, b.String())
			}
		}
	}
}
