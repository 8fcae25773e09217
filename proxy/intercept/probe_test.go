package intercept

import (
	"fmt"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestTunnelsToRegistriesAreRefused(t *testing.T) {
	const front = "registry-1.docker.io"
	notFound := func(w http.ResponseWriter) { http.Error(w, "no such key", http.StatusNotFound) }
	for name, test := range map[string]struct {
		serve http.HandlerFunc
		how   string // "" when it passes
	}{
		"a store":              {store, ""},
		"a store that forbids": {func(w http.ResponseWriter, r *http.Request) { http.Error(w, "<Error/>", http.StatusForbidden) }, ""},
		"JSON of another kind": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(404)
			fmt.Fprint(w, `{"errors":[{"message":"no"}],"error":{"code":1}}`)
		}, ""},
		"a long page": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(404)
			fmt.Fprint(w, "<html>"+strings.Repeat("x", probeBody))
		}, ""},
		"anonymous registry": {func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "{}") }, "GET /v2/: status 200"},
		"with a login": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			w.WriteHeader(401)
		}, "GET /v2/: status 401"},
		"by its header": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
			notFound(w)
		}, "a Docker-Distribution-Api-Version header"},
		"by its error": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(404)
			fmt.Fprint(w, ` {"x":1,"errors":[{"message":"no","code":"NAME_UNKNOWN"}]}`)
		}, "the JSON of a registry's error"},
		"by an endless error": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(404)
			fmt.Fprint(w, `{"x":"`+strings.Repeat("x", probeBody)+`","errors":[{"code":"NAME_UNKNOWN"}]}`)
		}, "JSON that is too long to read"},
		"only its manifests": {func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/manifests/") {
				w.Header().Set("Docker-Content-Digest", "sha256:00")
			}
			notFound(w)
		}, "/manifests/latest: a Docker-Content-Digest header"},
		"fronted": {func(w http.ResponseWriter, r *http.Request) {
			if r.Host == front {
				w.WriteHeader(401)
				return
			}
			notFound(w)
		}, "under the name " + front + ", status 401"},
		"behind a redirect": {func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/real/") {
				w.WriteHeader(401)
				return
			}
			http.Redirect(w, r, "/real"+r.URL.Path, http.StatusTemporaryRedirect)
		}, "status 401"},
		"redirects elsewhere": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://other.example/v2/", http.StatusTemporaryRedirect)
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w, o, target := cdn(t, test.serve, func(_ *world, opts *Options) { opts.Fronts = []string{front, "cdn.example"} })
			if test.how != "" {
				w.wantRefused(target, http.StatusForbidden, target+" answers as a registry (")
				w.wantRefused(target, http.StatusForbidden, test.how)
				return
			}
			w.open(target)
			host := target // the port is not that of https
			if want := []string{"GET " + host + "/v2/", "HEAD " + host + "/v2/library/*/manifests/latest", "GET " + front + "/v2/", "GET cdn.example/v2/"}; !slices.Equal(masked(o.requests()), want) {
				t.Errorf("asked %q, want %q", o.requests(), want)
			}
		})
	}
}

// masked leaves out the name that a probe makes up.
func masked(requests []string) []string {
	made := regexp.MustCompile(`/library/[a-z2-7]{12}/`)
	for i, r := range requests {
		requests[i] = made.ReplaceAllString(r, "/library/*/")
	}
	return requests
}

func TestAProbeCannotBeToldFromAClient(t *testing.T) {
	var names, agents []string
	for range 2 {
		w, _, target := cdn(t, func(w http.ResponseWriter, r *http.Request) {
			agents = append(agents, r.UserAgent())
			names = append(names, r.URL.Path)
			http.NotFound(w, r)
		}, nil)
		w.open(target)
	}
	if slices.Contains(names[:len(names)/2], names[len(names)-1]) {
		t.Errorf("the name is known beforehand: %q", names)
	}
	for _, a := range agents {
		if strings.Contains(a, "pullgate") {
			t.Errorf("a probe says that it is one: %s", a)
		}
	}
}

func TestProbesThatTellNothingRefuse(t *testing.T) {
	for name, serve := range map[string]http.HandlerFunc{
		"5xx":      func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(503) },
		"429":      func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(429) },
		"hangs up": func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) },
		"never answers": func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			panic(http.ErrAbortHandler) // returning would be an answer
		},
		"trouble with manifests": func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodHead {
				w.WriteHeader(500)
				return
			}
			store(w, r)
		},
		"never answers for a front": func(w http.ResponseWriter, r *http.Request) {
			if r.Host == "front.example" {
				<-r.Context().Done()
				panic(http.ErrAbortHandler)
			}
			store(w, r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, _, target := cdn(t, serve, func(_ *world, o *Options) {
				o.seams.probeWait = 200 * time.Millisecond
				o.Fronts = []string{"front.example"}
			})
			w.wantRefused(target, http.StatusBadGateway, target+" cannot be reached, or does not answer by HTTPS")
		})
	}
	t.Run("no TLS", func(t *testing.T) {
		w := newWorld(t, nil)
		plain := newWorld(t, nil).server.Listener.Addr().String() // speaks HTTP in the clear
		w.handler.tunnels, _ = ParseTunnel([]string{plain})
		w.wantRefused(plain, http.StatusBadGateway, "does not answer by HTTPS")
	})
	t.Run("hangs up on a front", func(t *testing.T) {
		w, _, target := cdn(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Host == "front.example" {
				panic(http.ErrAbortHandler)
			}
			store(w, r)
		}, func(_ *world, o *Options) { o.Fronts = []string{"front.example"} })
		w.open(target)
	})
}

func TestProbesAreRememberedForAWhile(t *testing.T) {
	var registry atomic.Bool
	now := atomic.Pointer[time.Time]{}
	start := time.Now()
	now.Store(&start)
	w, o, target := cdn(t, func(w http.ResponseWriter, r *http.Request) {
		if registry.Load() {
			w.WriteHeader(401)
			return
		}
		store(w, r)
	}, func(_ *world, opts *Options) { opts.seams.now = func() time.Time { return *now.Load() } })
	w.open(target)
	w.open(target)
	if got := len(o.requests()); got != 2 {
		t.Errorf("%d requests for two tunnels, want those of one probe", got)
	}
	registry.Store(true)
	later := start.Add(probeKeep + time.Second)
	now.Store(&later)
	w.wantRefused(target, http.StatusForbidden, "answers as a registry")

	// Another address of the same name is another place.
	to, _ := parseTarget(target)
	if _, ok := w.handler.probes.recall(probeKey{to.String(), netip.MustParseAddr("127.0.0.9")}); ok {
		t.Error("an address that was not asked is known")
	}
}

func TestOnlySoManyProbesAreRemembered(t *testing.T) {
	w := newWorld(t, nil)
	p := w.handler.probes
	for i := range maxProbes + 10 {
		p.remember(probeKey{fmt.Sprint(i), netip.Addr{}}, nil)
	}
	if len(p.known) > maxProbes {
		t.Errorf("%d are remembered", len(p.known))
	}
}
