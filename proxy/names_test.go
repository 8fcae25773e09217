package proxy_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/distribution/reference"

	"github.com/pullgate/pullgate/proxy"
	"github.com/pullgate/pullgate/proxy/audit"
)

// Rule 1: policy sees the upstream's name of an image, whatever name the client
// used.

func TestEverySpellingOfARepositoryIsJudgedAndFetchedUnderOneName(t *testing.T) {
	w := newWorld(t)
	corp, hub := imageOf("corp"), imageOf("hub")
	w.registry.push(repo, corp, "v1")
	w.sign(w.key, app+":v1", corp)
	w.hub.push("library/nginx", hub, "v1")
	w.sign(w.key, "docker.io/library/nginx:v1", hub)

	tests := map[string]struct {
		path       string
		registry   string
		repository string
		want       image
	}{
		"registry's name as path prefix": {"/v2/registry.example.com/team/app/manifests/v1", registryName, repo, corp},
		"configured prefix":              {"/v2/corp/team/app/manifests/v1", registryName, repo, corp},
		"ns":                             {"/v2/team/app/manifests/v1?ns=registry.example.com", registryName, repo, corp},
		"ns with the implied port":       {"/v2/team/app/manifests/v1?ns=registry.example.com:443", registryName, repo, corp},
		"default registry":               {"/v2/library/nginx/manifests/v1", "docker.io", "library/nginx", hub},
		"default registry, short name":   {"/v2/nginx/manifests/v1", "docker.io", "library/nginx", hub},
		"docker.io as path prefix":       {"/v2/docker.io/library/nginx/manifests/v1", "docker.io", "library/nginx", hub},
		"docker.io, short name":          {"/v2/docker.io/nginx/manifests/v1", "docker.io", "library/nginx", hub},
		"index.docker.io":                {"/v2/index.docker.io/library/nginx/manifests/v1", "docker.io", "library/nginx", hub},
		"registry-1.docker.io":           {"/v2/registry-1.docker.io/library/nginx/manifests/v1", "docker.io", "library/nginx", hub},
		"ns=docker.io":                   {"/v2/library/nginx/manifests/v1?ns=docker.io", "docker.io", "library/nginx", hub},
		"ns=index.docker.io":             {"/v2/library/nginx/manifests/v1?ns=index.docker.io", "docker.io", "library/nginx", hub},
		"ns=registry-1.docker.io":        {"/v2/library/nginx/manifests/v1?ns=registry-1.docker.io", "docker.io", "library/nginx", hub},
		"ns wins over the path":          {"/v2/library/nginx/manifests/v1?ns=docker.io&x=registry.example.com", "docker.io", "library/nginx", hub},
		"endpoint's own host":            {"/v2/team/app/manifests/v1?ns=" + w.registry.Listener.Addr().String(), registryName, repo, corp},
		"docker.io endpoint's own host":  {"/v2/library/nginx/manifests/v1?ns=" + w.hub.Listener.Addr().String(), "docker.io", "library/nginx", hub},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w.t = t
			w.wantManifest(tt.path, tt.want)
			rec := w.recordOf(w.get(tt.path))
			if rec.Registry != tt.registry || rec.Repository != tt.repository || rec.Scope != tt.registry || rec.Reference != "v1" {
				t.Errorf("judged as %s/%s:%s in scope %s", rec.Registry, rec.Repository, rec.Reference, rec.Scope)
			}
		})
	}
}

func TestNamesThatCouldBeReadInTwoWaysAreRefused(t *testing.T) {
	w := newWorld(t, func(_ *world, s *settings) { s.names.Others = true })
	w.signed(imageOf("good"), "v1")
	long := strings.Repeat("a/", 200)
	tests := map[string]string{
		"escaped slash":             "/v2/registry.example.com%2fteam/app/manifests/v1",
		"escaped slash, upper case": "/v2/registry.example.com%2Fteam/app/manifests/v1",
		"escaped letter":            "/v2/registry.example.com/team/%61pp/manifests/v1",
		"escaped dots":              "/v2/registry.example.com/team/%2e%2e/app/manifests/v1",
		"double escape":             "/v2/registry.example.com/team%252fapp/manifests/v1",
		"escaped tag":               "/v2/registry.example.com/team/app/manifests/%76%31",
		"NUL":                       "/v2/registry.example.com/team/app%00/manifests/v1",
		"newline":                   "/v2/registry.example.com/team/app%0a/manifests/v1",
		"dot dot":                   "/v2/registry.example.com/team/../app/manifests/v1",
		"dot dot out of the API":    "/v2/../v2/registry.example.com/team/app/manifests/v1",
		"dot":                       "/v2/registry.example.com/./team/app/manifests/v1",
		"double slash":              "/v2/registry.example.com//team/app/manifests/v1",
		"double slash first":        "//v2/registry.example.com/team/app/manifests/v1",
		"upper case":                "/v2/registry.example.com/Team/app/manifests/v1",
		"upper case registry":       "/v2/Registry.example.com/team/app/manifests/v1",
		"unicode":                   "/v2/registry.example.com/team/аpp/manifests/v1",
		"unicode, escaped":          "/v2/registry.example.com/team/%D0%B0pp/manifests/v1",
		"full-width solidus":        "/v2/registry.example.com/team／app/manifests/v1",
		"very long":                 "/v2/" + long + "x/manifests/v1",
		"port in the path":          "/v2/registry.example.com:443/team/app/manifests/v1",
		"user in the path":          "/v2/user@registry.example.com/team/app/manifests/v1",
		"tag in the name":           "/v2/registry.example.com/team/app:v1/manifests/v1",
		"digest in the name":        "/v2/registry.example.com/team/app@sha256/manifests/v1",
		"leading dash":              "/v2/registry.example.com/-team/app/manifests/v1",
		"registry alone":            "/v2/ab.example.com./x/manifests/v1",
		"two registries":            "/v2/team/app/manifests/v1?ns=registry.example.com&ns=docker.io",
		"same registry twice":       "/v2/team/app/manifests/v1?ns=registry.example.com&ns=registry.example.com",
		"registry behind semicolon": "/v2/team/app/manifests/v1?ns=registry.example.com;x=y",
		"broken escape in query":    "/v2/team/app/manifests/v1?ns=registry.example.com%zz",
		"ns with a path":            "/v2/app/manifests/v1?ns=registry.example.com/team",
		"ns with user":              "/v2/team/app/manifests/v1?ns=user@registry.example.com",
		"ns with user and password": "/v2/team/app/manifests/v1?ns=user:pw@registry.example.com",
		"ns with scheme":            "/v2/team/app/manifests/v1?ns=https://registry.example.com",
		"ns with query":             "/v2/team/app/manifests/v1?ns=registry.example.com?x",
		"ns with fragment":          "/v2/team/app/manifests/v1?ns=registry.example.com%23x",
		"ns with newline":           "/v2/team/app/manifests/v1?ns=registry.example.com%0a",
		"ns with NUL":               "/v2/team/app/manifests/v1?ns=registry.example.com%00",
		"ns with trailing dot":      "/v2/team/app/manifests/v1?ns=registry.example.com.",
		"ns in upper case":          "/v2/team/app/manifests/v1?ns=Registry.example.com",
		"ns with odd port":          "/v2/team/app/manifests/v1?ns=registry.example.com:0443",
		"ns with no port":           "/v2/team/app/manifests/v1?ns=registry.example.com:",
		"ns with huge port":         "/v2/team/app/manifests/v1?ns=registry.example.com:65979",
		"ns without a host":         "/v2/team/app/manifests/v1?ns=:5000",
		"ns is no host":             "/v2/team/app/manifests/v1?ns=team",
		"ns of odd IPv6":            "/v2/team/app/manifests/v1?ns=[0:0:0:0:0:0:0:1]:5000",
		"ns empty":                  "/v2/team/app/manifests/v1?ns=",
	}
	for name, path := range tests {
		t.Run(name, func(t *testing.T) {
			w.t = t
			for _, method := range []string{"GET", "HEAD"} {
				got := w.raw(method + " " + path + " HTTP/1.1")
				if got.StatusCode != 400 {
					t.Errorf("expected 400, got %s", got)
				}
			}
		})
	}
	if n := w.registry.count("GET") + w.hub.count("GET") + w.registry.count("HEAD") + w.hub.count("HEAD"); n != 0 {
		t.Errorf("%d requests went upstream: %s", n, lines(append(w.registry.requests(), w.hub.requests()...)))
	}
}

func TestNamesThatEndElsewhereAreNotRoutes(t *testing.T) {
	w := newWorld(t)
	w.signed(imageOf("good"), "v1")
	for _, path := range []string{
		"/", "/v1/", "/v2/x", "/v2/_catalog", "/v2/registry.example.com/team/app", "/v2/registry.example.com/team/app/manifests/",
		"/v2/registry.example.com/team/app/manifests", "/v2/registry.example.com/team/app/manifests/v1/",
		"/v2/registry.example.com/team/app/manifests/v1/..", "/v2/registry.example.com/team/app/blobs/uploads/",
		"/v2/registry.example.com/team/app/tags/list/", "/v3/registry.example.com/team/app/manifests/v1", "/healthz", "/metrics",
	} {
		if got := w.raw("GET " + path + " HTTP/1.1"); got.StatusCode != 404 && got.StatusCode != 400 {
			t.Errorf("expected no route, got %s", got)
		}
	}
	// An authority in the request line is the host that the request names.
	if got := w.raw("GET http://registry.example.com/v2/team/app/manifests/v1 HTTP/1.1"); got.StatusCode != 200 {
		t.Errorf("absolute form: %s", got)
	}
}

func TestReferencesAreTagsOrDigestsOrRefused(t *testing.T) {
	w := newWorld(t)
	good := w.signed(imageOf("good"), "v1")
	for ref, code := range map[string]string{
		"-v1": "MANIFEST_INVALID", ".v1": "MANIFEST_INVALID", "v1@x": "MANIFEST_INVALID", strings.Repeat("a", 129): "MANIFEST_INVALID",
		"sha256:short": "DIGEST_INVALID",
		"sha256:" + strings.ToUpper(good.digest.Encoded()): "DIGEST_INVALID",
		"md5:d41d8cd98f00b204e9800998ecf8427e":             "DIGEST_INVALID",
		"sha384:" + strings.Repeat("a", 96):                "DIGEST_INVALID",
		"v1@" + good.digest.String():                       "DIGEST_INVALID",
		good.digest.String() + "@" + good.digest.String():  "DIGEST_INVALID",
	} {
		got := w.wantStatus(manifestPath(app, ref), 400)
		if len(got.wire) != 1 || got.wire[0].Code != code {
			t.Errorf("%s: expected %s, got %s", ref, code, got)
		}
	}
	for _, d := range []string{"v1", "sha256:short", "sha256:" + strings.ToUpper(good.layer().Encoded())} {
		got := w.wantStatus("/v2/"+app+"/blobs/"+d, 400)
		if len(got.wire) != 1 || got.wire[0].Code != "DIGEST_INVALID" {
			t.Errorf("%s: expected DIGEST_INVALID, got %s", d, got)
		}
	}
	if n := len(w.registry.requests()); n != 0 {
		t.Errorf("%d requests went upstream", n)
	}
}

func TestOtherRegistriesAreDeniedUnlessAllowed(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{
		"/v2/other.example.com/x/manifests/v1", "/v2/x/manifests/v1?ns=other.example.com", "/v2/x/manifests/v1?ns=localhost:5000",
		"/v2/localhost/x/manifests/v1", "/v2/x/manifests/v1?ns=registry.example.com:80", "/v2/x/manifests/v1?ns=docker.io.evil.example",
		"/v2/x/manifests/v1?ns=169.254.169.254",
	} {
		got := w.wantDenied(path)
		if !strings.Contains(got.phrase(), "not served by this gate") {
			t.Errorf("%s: reason phrase %q", path, got.phrase())
		}
	}
	if n := len(w.registry.requests()) + len(w.hub.requests()); n != 0 {
		t.Errorf("%d requests went upstream", n)
	}
}

// A registry must not be reached under a name that no scope of it covers, even
// when the gate serves registries that nobody configured and accepts them all.
func TestOtherRegistriesDoNotOpenAnotherNameOfAConfiguredOne(t *testing.T) {
	w := newWorld(t, func(w *world, s *settings) {
		s.names.Others = true
		s.byDefault = accept
		s.names.Registries = append(s.names.Registries, proxy.RegistryName{Name: "quay.example:5000"})
	})
	img := imageOf("unsigned")
	w.registry.push(repo, img, "v1")
	w.hub.push("library/nginx", img, "v1")
	host := w.registry.Listener.Addr().String()
	for _, path := range []string{
		"/v2/team/app/manifests/v1?ns=" + host,
		"/v2/team/app/manifests/v1?ns=" + host + ":443",
		"/v2/team/app/manifests/v1?ns=registry.example.com:443",
		"/v2/team/app/manifests/v1?ns=registry.example.com:80",
		"/v2/team/app/manifests/v1?ns=registry.example.com:00443",
		"/v2/team/app/manifests/v1?ns=REGISTRY.example.com",
		"/v2/team/app/manifests/v1?ns=localhost" + host[strings.LastIndex(host, ":"):],
		"/v2/nginx/manifests/v1?ns=registry-1.docker.io:443",
		"/v2/nginx/manifests/v1?ns=index.docker.io:443",
		"/v2/nginx/manifests/v1?ns=docker.io:443",
		"/v2/nginx/manifests/v1?ns=docker.io:80",
		"/v2/nginx/manifests/v1?ns=registry-1.docker.io:80",
		"/v2/x/manifests/v1?ns=quay.example:05000",
	} {
		if got := w.get(path); got.StatusCode == 200 || len(got.body) == len(img.manifest) {
			t.Errorf("expected no image, got %s", got)
		}
	}
}

func TestAPrefixDoesNotReachIntoAnotherRegistry(t *testing.T) {
	w := newWorld(t)
	// "corp" is a registry to the gate's clients, unless they say which registry
	// they mean.
	w.hub.push("corp/team/app", imageOf("hub's corp"), "v1")
	img := w.signed(imageOf("corp"), "v1")
	w.wantManifest("/v2/corp/team/app/manifests/v1", img)
	got := w.wantDenied("/v2/corp/team/app/manifests/v1?ns=docker.io")
	if ref := got.wire[0].Detail.Reference; ref != "docker.io/corp/team/app:v1" {
		t.Errorf("judged as %s", ref)
	}
}

func TestNewNeedsADefaultRegistryAndAllParts(t *testing.T) {
	if _, err := proxy.New(proxy.Options{}); err == nil || !strings.Contains(err.Error(), "is missing") {
		t.Errorf("a handler of nothing: %v", err)
	}
	w := newWorld(t)
	if got := w.get("/v2/"); got.StatusCode != 200 || got.Header.Get("Docker-Distribution-Api-Version") != "registry/2.0" {
		t.Errorf("ping: %s", got)
	}
	if got := w.head("/v2"); got.StatusCode != http.StatusOK {
		t.Errorf("ping: %s", got)
	}
}

func TestImagesAsPeopleWriteThem(t *testing.T) {
	w := newWorld(t)
	img := w.signed(imageOf("good"), "v1", "latest")
	for in, want := range map[string]string{
		"registry.example.com/team/app:v1":                   app + ":v1",
		"corp/team/app":                                      app + ":latest",
		"registry.example.com:443/team/app:v1":               app + ":v1",
		"corp/team/app@" + img.digest.String():               app + "@" + img.digest.String(),
		"corp/team/app:v1@" + img.digest.String():            app + "@" + img.digest.String(),
		w.registry.Listener.Addr().String() + "/team/app:v1": app + ":v1",
		"nginx": "docker.io/library/nginx:latest",
	} {
		ref, err := w.handler.Reference(in)
		if err != nil || ref.String() != want {
			t.Errorf("%s: got %v, %v, want %s", in, ref, err, want)
		}
	}
	for _, in := range []string{"", ":", "@", "UPPER/case", "x:y:z", "a//b", "other.example.com/x", "other.example.com:5000/x:v1", "x@sha256:short", "x:-"} {
		if ref, err := w.handler.Reference(in); err == nil {
			t.Errorf("%q passed as %s", in, ref)
		}
	}
	ref, err := reference.ParseNamed(app + ":v1")
	w.must(err)
	if out, err := w.handler.Judge(t.Context(), ref); err != nil || out.Word() != audit.Allowed || out.Digest != img.digest {
		t.Errorf("judged %+v, %v", out, err)
	}
	other, err := reference.ParseNamed("other.example.com/x:v1")
	w.must(err)
	if _, err := w.handler.Judge(t.Context(), other); err == nil || proxy.DecisionOf(err) != audit.Denied {
		t.Errorf("a registry that is not served: %v is %s", err, proxy.DecisionOf(err))
	}
	w.registry.answer(manifestPath(repo, "v9"), status(500))
	broken, err := reference.ParseNamed(app + ":v9")
	w.must(err)
	if _, err := w.handler.Judge(t.Context(), broken); err == nil || proxy.DecisionOf(err) != audit.Inconclusive {
		t.Errorf("a registry that is down: %v is %s", err, proxy.DecisionOf(err))
	}
}
