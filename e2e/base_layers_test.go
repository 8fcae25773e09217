//go:build e2e

package e2e

import (
	"net/http"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/pullgate/pullgate/e2e/harness"
)

// TestBaseLayers: images on bases in a registry, by pullgate check and by pulls.
func TestBaseLayers(t *testing.T) {
	const registry, annotation = "registry.example", "org.opencontainers.image.base.name"
	key := harness.NewGPG(t).Key(t, harness.Ed25519)
	reg, sigs := harness.NewDockerRegistry(t), harness.NewWebLookaside(t)
	bases, unsigned, other := harness.NewImage(t, "the base"), harness.NewImage(t, "nobody's base"), harness.NewImage(t, "something else")
	on := func(base harness.Image, name, text string) harness.Image {
		return harness.WithAnnotation(t, harness.NewImageOn(t, base, text), annotation, registry+"/"+name)
	}
	sign := func(repo, tag string, img harness.Image) {
		reg.Push(t, repo, tag, img)
		sigs.Put(t, repo, img.Digest, key.Sign(t, registry+"/"+repo+":"+tag, img.Digest))
	}
	sign("base/os", "9", bases)
	reg.Push(t, "base/os", "8", unsigned)
	middle := on(bases, "base/os:9", "in the middle")
	sign("middle/java", "21", middle)
	reg.Push(t, "middle/java", "20", on(unsigned, "base/os:8", "in the middle, on nothing"))
	sigs.Put(t, "middle/java", on(unsigned, "base/os:8", "in the middle, on nothing").Digest,
		key.Sign(t, registry+"/middle/java:20", on(unsigned, "base/os:8", "in the middle, on nothing").Digest))

	onBase := func(repo string) harness.Requirement {
		return harness.Requirement{"type": "signedBaseLayer", "baseLayerIdentity": map[string]any{"type": "exactRepository", "dockerRepository": registry + "/" + repo}}
	}
	var down atomic.Bool
	at, err := url.Parse(reg.URL)
	if err != nil {
		t.Fatal(err)
	}
	toRegistry := httputil.NewSingleHostReverseProxy(at)
	front := harness.NewUpstream(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if down.Load() && strings.Contains(r.URL.Path, "/base/os/") {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		toRegistry.ServeHTTP(w, r)
	}))
	w := &vectorWorld{gate: harness.StartGate(t, harness.GateConfig{
		Upstreams: []harness.Upstream{{Registry: registry, Endpoint: front.URL}},
		Policy: harness.Policy{Default: all(harness.Reject())}.With(registry+"/base", key.SignedBy(t)).
			With(registry+"/middle", key.SignedBy(t), onBase("base/os")).With(registry+"/team", onBase("base/os")).With(registry+"/nested", onBase("middle/java")),
		RegistriesD: harness.RegistriesD{registry: {Lookaside: sigs.URL}},
	})}
	curl := harness.NewCurl(t)
	for name, c := range map[string]struct {
		repo string
		img  harness.Image
		want string // part of the reason; empty: allowed
	}{
		"signed base":      {"team/app", on(bases, "base/os:9", "app"), ""},
		"unsigned base":    {"team/unsigned", on(unsigned, "base/os:8", "app"), "no signatures found at"},
		"not contained":    {"team/claimed", on(other, "base/os:9", "app"), "is not built on it, or was squashed"},
		"no base is named": {"team/silent", harness.NewImageOn(t, bases, "silent"), "no annotation"},
		"another's base":   {"team/foreign", on(middle, "middle/java:21", "app"), "is not of " + registry + "/base/os"},
		"nested":           {"nested/app", on(middle, "middle/java:21", "app"), ""},
		"nested on an unsigned one": {"nested/unsigned", on(on(unsigned, "base/os:8", "in the middle, on nothing"), "middle/java:20", "app"),
			"no signatures found at"},
	} {
		t.Run(name, func(t *testing.T) {
			reg.Push(t, c.repo, "v1", c.img)
			w.expectBase(t, curl, harness.Tagged(registry, c.repo, "v1"), c.want)
		})
	}

	t.Run("compressed anew", func(t *testing.T) { // as pushing to a registry that does not know the base does
		app := on(bases, "base/os:9", "compressed anew")
		reg.Push(t, "team/before", "v1", app)
		from, to := "docker://"+reg.Addr+"/team/before:v1", "docker://"+reg.Addr+"/team/zstd:v1"
		out, err := exec.CommandContext(t.Context(), "skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", "--dest-tls-verify=false",
			"--dest-compress-format", "zstd", from, to).CombinedOutput()
		if err != nil {
			t.Fatalf("skopeo: %v: %s", err, out)
		}
		w.expectBase(t, curl, harness.Tagged(registry, "team/zstd", "v1"), "compressed anew")
	})
	t.Run("base cannot be asked for", func(t *testing.T) {
		down.Store(true)
		defer down.Store(false)
		reg.Push(t, "team/later", "v1", on(bases, "base/os:9", "later"))
		if r := w.check(t, harness.Tagged(registry, "team/later", "v1")); r.Decision != "inconclusive" {
			t.Errorf("%s: %s", r.Decision, r.found())
		}
		if status, _ := fetch(t, w.gate.URL+"/v2/"+registry+"/team/later/manifests/v1"); status != http.StatusServiceUnavailable {
			t.Errorf("expected status 503, found %d", status)
		}
	})
}

// expectBase checks and pulls an image.
func (w *vectorWorld) expectBase(t *testing.T, curl *harness.Curl, ref harness.Ref, want string) {
	t.Helper()
	report, mark := w.check(t, ref), w.gate.Mark(t)
	pull := curl.Pull(t, w.gate, ref)
	if (report.Decision == "allowed") != (want == "") || (pull.ExitCode == 0) != (want == "") || !strings.Contains(report.found(), want) {
		t.Fatalf("expected a reason with %q, found %s: %s %s\npull: exit status %d", want, report.Decision, report.Error, report.found(), pull.ExitCode)
	}
	decision := map[bool]string{true: harness.Allowed, false: harness.Denied}[want == ""]
	rec := w.gate.Expect(t, mark, decision, ref)
	if want == "" && !slices.ContainsFunc(rec.Signers, func(s string) bool { return strings.Contains(s, "(base "+ref.Registry+"/") }) {
		t.Errorf("expected who signed the base in the audit record, found %v", rec.Signers)
	}
}
