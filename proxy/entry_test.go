package proxy_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/proxy"
	"github.com/pullgate/pullgate/proxy/audit"
)

// Rule 1, for the ways in: an intercepted host comes before ?ns=, that before the
// Host, that before a listener's registry, that before the path.

// twoRegistries is a world in which the same path is another image in each registry.
func twoRegistries(t *testing.T, change ...func(*world, *settings)) (w *world, corp, hub image) {
	w = newWorld(t, append(change, func(w *world, s *settings) {
		s.names.Hosts = append(s.names.Hosts, proxy.HostName{Host: "corp.gate.example", Registry: registryName},
			proxy.HostName{Host: "hub.gate.example:8443", Registry: "docker.io"},
			proxy.HostName{Host: "*.any.gate.example"}, proxy.HostName{Host: "*.corp.gate.example", Registry: registryName})
	})...)
	corp, hub = imageOf("corp"), imageOf("hub")
	w.registry.push(repo, corp, "v1")
	w.sign(w.key, app+":v1", corp)
	w.hub.push(repo, hub, "v1")
	w.sign(w.key, "docker.io/"+repo+":v1", hub)
	return w, corp, hub
}

func host(name string) option { return func(r *http.Request) { r.Host = name } }

func TestTheWayInSaysWhichRegistryIsMeant(t *testing.T) {
	const plain = "/v2/team/app/manifests/v1"
	tests := map[string]struct {
		entry proxy.Entry
		host  string
		path  string
		corp  bool // else docker.io, the default
	}{
		"nothing says it":                           {path: plain},
		"Host":                                      {host: "corp.gate.example", path: plain, corp: true},
		"Host in capitals":                          {host: "CORP.gate.example", path: plain, corp: true},
		"Host with the port that https implies":     {host: "corp.gate.example:443", path: plain, corp: true},
		"Host with a final dot":                     {host: "corp.gate.example.", path: plain, corp: true},
		"Host with a final dot and a port":          {host: "corp.gate.example.:443", path: plain, corp: true},
		"Host on a port that clients write":         {host: "corp.gate.example:5443", path: plain, corp: true},
		"wildcard on a port that clients write":     {host: "registry-example-com.any.gate.example:5443", path: plain, corp: true},
		"wildcard with a final dot":                 {host: "registry-example-com.any.gate.example.", path: plain, corp: true},
		"DNS override with a final dot":             {host: registryName + ".", path: plain, corp: true},
		"Host with a port of its own":               {entry: proxy.Entry{Registry: registryName}, host: "hub.gate.example:8443", path: plain},
		"Host with another port is no such host":    {entry: proxy.Entry{Registry: registryName}, host: "hub.gate.example", path: plain, corp: true},
		"wildcard, the label is the registry":       {host: "registry-example-com.any.gate.example", path: plain, corp: true},
		"wildcard, docker-io":                       {entry: proxy.Entry{Registry: registryName}, host: "docker-io.any.gate.example", path: plain},
		"wildcard of one registry":                  {host: "x.corp.gate.example", path: plain, corp: true},
		"wildcards have one label":                  {host: "a.b.corp.gate.example", path: plain},
		"DNS override: the registry's own name":     {host: registryName, path: plain, corp: true},
		"DNS override: Docker Hub's":                {entry: proxy.Entry{Registry: registryName}, host: "registry-1.docker.io", path: plain},
		"the path means nothing behind a Host":      {host: "corp.gate.example", path: "/v2/docker.io/team/app/manifests/v1", corp: true},
		"ns before Host":                            {host: "corp.gate.example", path: plain + "?ns=docker.io"},
		"ns before the listener":                    {entry: proxy.Entry{Registry: registryName}, path: plain + "?ns=docker.io"},
		"listener":                                  {entry: proxy.Entry{Registry: registryName}, path: plain, corp: true},
		"Host before the listener":                  {entry: proxy.Entry{Registry: "docker.io"}, host: "corp.gate.example", path: plain, corp: true},
		"intercepted":                               {entry: proxy.Entry{Registry: registryName, Only: true}, path: plain, corp: true},
		"intercepted, ns means nothing":             {entry: proxy.Entry{Registry: registryName, Only: true}, path: plain + "?ns=docker.io", corp: true},
		"intercepted, Host means nothing":           {entry: proxy.Entry{Registry: "docker.io", Only: true}, host: "corp.gate.example", path: plain},
		"intercepted, several ns mean nothing":      {entry: proxy.Entry{Registry: registryName, Only: true}, path: plain + "?ns=docker.io&ns=x", corp: true},
		"path prefix, when nothing else says it":    {path: "/v2/corp/team/app/manifests/v1", corp: true},
		"a Host that nobody mapped is just a name":  {host: "gate.example", path: plain},
		"a Host that is not served is just a name":  {host: "quay.io", path: "/v2/corp/team/app/manifests/v1", corp: true},
		"an odd Host is just a name":                {host: "[::1]:0443", path: plain},
		"the endpoint's own host is the registry's": {host: "ENDPOINT", path: plain, corp: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w, corp, hub := twoRegistries(t, func(_ *world, s *settings) { s.entry = tt.entry })
			want, registry := hub, "docker.io"
			if tt.corp {
				want, registry = corp, registryName
			}
			if tt.host == "ENDPOINT" {
				tt.host = w.registry.Listener.Addr().String()
			}
			var options []option
			if tt.host != "" {
				options = append(options, host(tt.host))
			}
			path := tt.path
			if strings.HasPrefix(path, "/v2/docker.io/") {
				// corp has no such repository, and nothing else may be asked.
				if got := w.get(path, options...); got.StatusCode != 404 {
					t.Errorf("expected 404, got %s", got)
				}
				if w.hub.count("GET") != 0 {
					t.Errorf("the path led to docker.io")
				}
				return
			}
			got := w.get(path, options...)
			if got.StatusCode != 200 || string(got.body) != string(want.manifest) {
				t.Fatalf("expected the image of %s, got %s", registry, got)
			}
			if rec := w.recordOf(got); rec.Registry != registry || tt.entry.Only && rec.Mode != "intercept" {
				t.Errorf("recorded as %+v", rec)
			}
		})
	}
}

func TestAConnectionOfOneRegistryIsNotUsedForAnother(t *testing.T) {
	for name, tt := range map[string]struct {
		sni, host string
		status    int
	}{
		"both the same":          {"corp.gate.example", "corp.gate.example", 200},
		"another registry":       {"corp.gate.example", "registry-1.docker.io", 421},
		"SNI alone":              {"corp.gate.example", "gate.example", 200},
		"Host alone":             {"gate.example", "corp.gate.example", 200},
		"two names of one":       {"corp.gate.example", registryName, 200},
		"a wildcard and another": {"docker-io.any.gate.example", "corp.gate.example", 421},
	} {
		t.Run(name, func(t *testing.T) {
			w, _, _ := twoRegistries(t, func(_ *world, s *settings) {
				s.wrap = func(h http.Handler) http.Handler {
					return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						r.TLS.ServerName = tt.sni
						h.ServeHTTP(w, r)
					})
				}
				s.http2 = true
			})
			got := w.get("/v2/team/app/manifests/v1", host(tt.host))
			if got.StatusCode != tt.status {
				t.Errorf("expected %d, got %s", tt.status, got)
			}
			if rec := w.recordOf(got); rec.Status != tt.status {
				t.Errorf("recorded as %+v", rec)
			}
		})
	}
}

func TestAHostBelowAWildcardIsARegistryOrNothing(t *testing.T) {
	w, _, _ := twoRegistries(t)
	for _, path := range []string{"/v2/team/app/manifests/v1", "/v2/docker.io/team/app/manifests/v1", "/v2/"} {
		if got := w.get(path, host("quay-io.any.gate.example")); got.StatusCode != 403 {
			t.Errorf("expected 403, got %s", got)
		}
	}
}

func TestALoopEnds(t *testing.T) {
	const via = "1.1 pullgate-0123456789abcdef"
	w := newWorld(t, func(_ *world, s *settings) { s.via = via })
	w.signed(imageOf("good"), "v1")
	path := "/v2/" + app + "/manifests/v1"
	if got := w.get(path, header("Via", "1.1 pullgate-of-somebody-else")); got.StatusCode != 200 {
		t.Errorf("a chain of gates is no loop: %s", got)
	}
	for _, v := range []string{via, via + ", 1.1 squid", "1.0 fred,  " + via} {
		if got := w.get(path, header("Via", v)); got.StatusCode != http.StatusLoopDetected {
			t.Errorf("expected 508, got %s", got)
		}
	}
}

func TestTheCanaryIsNeverHandedOut(t *testing.T) {
	const accept = "insecureAcceptAnything"
	ways := map[string]struct {
		entry    proxy.Entry
		host     string
		path     string
		registry string // recorded; docker.io when empty
	}{
		"default registry":          {path: "/v2/pullgate.invalid/canary/unsigned"},
		"docker.io":                 {path: "/v2/docker.io/pullgate.invalid/canary/unsigned"},
		"configured prefix":         {path: "/v2/corp/pullgate.invalid/canary/unsigned", registry: registryName},
		"registry that is not ours": {path: "/v2/quay.io/pullgate.invalid/canary/unsigned", registry: "quay.io"},
		"ns":                        {path: "/v2/pullgate.invalid/canary/unsigned?ns=docker.io"},
		"ns of its own":             {path: "/v2/canary/unsigned?ns=pullgate.invalid", registry: "pullgate.invalid"},
		"ns of its own with a port": {path: "/v2/canary/unsigned?ns=pullgate.invalid:443", registry: "pullgate.invalid:443"},
		"Host":                      {host: "corp.gate.example", path: "/v2/pullgate.invalid/canary/unsigned", registry: registryName},
		"DNS override":              {host: "registry-1.docker.io", path: "/v2/pullgate.invalid/canary/unsigned"},
		"intercepted registry":      {entry: proxy.Entry{Registry: "docker.io", Only: true}, path: "/v2/pullgate.invalid/canary/unsigned"},
		"intercepted, its own":      {entry: proxy.Entry{Registry: "pullgate.invalid", Only: true}, path: "/v2/canary/unsigned", registry: "pullgate.invalid"},
		"its own Host":              {host: "pullgate.invalid", path: "/v2/canary/unsigned", registry: "pullgate.invalid"},
		"mirror":                    {entry: proxy.Entry{Registry: "docker.io", Mirror: true}, path: "/v2/pullgate.invalid/canary/unsigned"},
	}
	for name, tt := range ways {
		t.Run(name, func(t *testing.T) {
			w, _, _ := twoRegistries(t, func(_ *world, s *settings) {
				s.entry = tt.entry
				s.policy, s.byDefault = object{}, object{"type": accept} // no policy lets it pass
				s.reportOnly = []string{"default", "docker.io", "pullgate.invalid"}
			})
			canary := imageOf("canary")
			repository := "pullgate.invalid/canary/unsigned"
			if strings.HasPrefix(tt.registry, "pullgate.invalid") {
				repository = "canary/unsigned"
			}
			if tt.registry == "" {
				tt.registry = "docker.io"
			}
			for _, r := range []*hostile{w.registry, w.hub} {
				r.push("pullgate.invalid/canary/unsigned", canary, "n0nce")
			}
			path, query, _ := strings.Cut(tt.path, "?")
			for _, what := range []string{"/manifests/n0nce", "/manifests/" + canary.digest.String(), "/blobs/" + canary.digest.String(), "/tags/list", "/referrers/" + canary.digest.String()} {
				for _, method := range []string{"GET", "HEAD"} {
					got := w.do(method, path+what+"?"+query, host(tt.host))
					rec := w.recordOf(got)
					if got.StatusCode != 403 || rec.Kind != audit.KindCanary || rec.Registry != tt.registry || rec.Repository != repository || rec.Decision != "denied" || !strings.Contains(got.phrase(), "pullgate canary") {
						t.Errorf("%s %s: expected the canary's refusal, got %s, recorded as %+v", method, what, got, rec)
					}
					if strings.HasSuffix(what, "/n0nce") && !strings.Contains(got.phrase(), "pullgate canary n0nce") {
						t.Errorf("the tag is not told: %s", got)
					}
				}
			}
			if n := w.registry.count("GET") + w.hub.count("GET") + w.registry.count("HEAD") + w.hub.count("HEAD"); n != 0 {
				t.Errorf("%d requests went upstream", n)
			}
		})
	}
}

func TestOnlyTheCanaryIsInItsRegistry(t *testing.T) {
	w := newWorld(t, func(_ *world, s *settings) { s.names.Others = true })
	for _, path := range []string{"/v2/pullgate.invalid/other/manifests/v1", "/v2/canary/unsigned/manifests/v1", "/v2/canary/unsigned/x/manifests/v1?ns=pullgate.invalid"} {
		if got := w.get(path); got.StatusCode == 200 || strings.Contains(got.phrase(), "canary") {
			t.Errorf("%s: %s", path, got)
		}
	}
}

// docker's graph driver asks Docker Hub itself for whatever a mirror does not
// give it, unless the error says the text that stops it.

func TestOnTheMirrorRouteDockerdHasNoReasonToGoOn(t *testing.T) {
	const dockerd = "docker/20.10.24+dfsg1 go/go1.19.8 os/linux UpstreamClient(Docker-Client/20.10.24 (linux))"
	w := newWorld(t, func(_ *world, s *settings) {
		s.entry = proxy.Entry{Registry: "docker.io", Mirror: true}
	})
	good, bad := imageOf("good"), imageOf("bad")
	w.hub.push("library/good", good, "v1")
	w.sign(w.key, "docker.io/library/good:v1", good)
	w.hub.push("library/bad", bad, "v1")
	w.hub.push("library/down", bad, "v1")
	w.hub.answer("/v2/library/down/manifests/v1", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })

	for name, tt := range map[string]struct {
		path   string
		status int // of everybody but dockerd
	}{
		"denied":              {"/v2/library/bad/manifests/v1", 403},
		"denied blob":         {"/v2/library/bad/blobs/" + bad.digest.String(), 403},
		"not there":           {"/v2/library/nothing/manifests/v1", 404},
		"upstream down":       {"/v2/library/down/manifests/v1", 503},
		"bad name":            {"/v2/library/BAD/manifests/v1", 400},
		"no route":            {"/v2/library/bad", 404},
		"path means no other": {"/v2/quay.io/library/good/manifests/v1", 404},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			t.Run(name+" "+method, func(t *testing.T) {
				w.t = t
				got := w.do(method, tt.path, header("User-Agent", dockerd))
				if got.StatusCode != 500 || !strings.Contains(got.phrase(), "no such process") {
					t.Errorf("dockerd would ask the registry itself after %s", got)
				}
				for _, agent := range []string{"containerd/1.7.0", "docker/28.5.1 containerd-client/2.1.4+unknown storage-driver/native", "skopeo/1.9", ""} {
					if got := w.do(method, tt.path, header("User-Agent", agent)); got.StatusCode != tt.status || strings.Contains(got.phrase(), "no such process") {
						t.Errorf("%q: expected %d, got %s", agent, tt.status, got)
					}
				}
			})
		}
	}
	if got := w.get("/v2/library/good/manifests/v1", header("User-Agent", dockerd)); got.StatusCode != 200 {
		t.Errorf("a signed image: %s", got)
	}
	if rec := w.recordOf(w.get("/v2/library/bad/manifests/v1", header("User-Agent", dockerd))); rec.Mode != "mirror" || rec.Decision != "denied" || rec.Status != 500 {
		t.Errorf("recorded as %+v", rec)
	}
}
