package harness

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"path/filepath"
	"testing"
)

// StartBeside starts one more gate in the world, with names of its own that nodes
// resolve: those of a certificate by the authority that all nodes trust. Its
// Policy and RegistriesD are the caller's. ClientCA, a PEM file, may be empty.
func (w *World) StartBeside(t testing.TB, c GateConfig, clientCA string, nodes []*Node, names ...string) *Gate {
	t.Helper()
	addr := w.Net.Addr(t)
	at := netip.AddrPortFrom(addr, 443).String()
	admin := netip.AddrPortFrom(addr, 9090).String()
	dir := t.TempDir()
	cert, key := w.Hub.CA.IssueFiles(t, dir, names...)
	g := &Gate{
		Addr: names[0], URL: "https://" + names[0], AdminURL: "http://" + admin, Dir: dir,
		Config: filepath.Join(dir, "pullgate.yaml"), Policy: filepath.Join(dir, "policy.json"),
		binary: Binary(t, "pullgate"), auditAt: filepath.Join(dir, "audit.jsonl"),
	}
	c.DefaultRegistry, c.OtherRegistries = c.Upstreams[0].Registry, "deny"
	c.Extra += fmt.Sprintf("\ntls: {cert: %q, key: %q, client_ca: %q}\nstate_dir: %q\n", cert, key, clientCA, filepath.Join(dir, "state"))
	writeFile(t, g.Policy, c.Policy.JSON(t))
	c.RegistriesD.Write(t, filepath.Join(dir, "registries.d"))
	writeFile(t, g.Config, c.yaml(at, admin))
	for _, n := range nodes {
		n.Resolve(t, addr, names...)
	}
	g.Process = w.GateMachine.Start(t, nil, g.binary, "serve", "--config", g.Config)
	inside := w.Net.HTTP(t)
	g.Process.WaitUntil(t, "readiness", func() bool {
		resp, err := inside.Get(g.AdminURL + "/readyz")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return g
}

// Metrics is what a gate of the world says at /metrics.
func (w *World) Metrics(t testing.TB, g *Gate) string {
	t.Helper()
	resp, err := w.Net.HTTP(t).Get(g.AdminURL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
