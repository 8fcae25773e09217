package proxy_test

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pullgate/pullgate/proxy"
)

// breakingOff answers a blob with its first n bytes, and says that all would come.
func breakingOff(b []byte, n int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(b)))
		_, _ = w.Write(b[:n])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
}

// As long as nothing of a blob was sent, what is wrong with it can be said.
func TestABlobThatBreaksOffEarlyIsAnswered(t *testing.T) {
	w := newWorld(t)
	img := w.signed(imageWith([]byte("{}"), large), "v1")
	w.get(manifestPath(app, "v1"))
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		status int
	}{
		"cut":   {breakingOff(large, 100_000), 503},
		"wrong": {func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write(large[:5]) }, 502},
	} {
		w.registry.answer(blobPath(repo, img.layer()), tt.answer)
		got := w.get(blobPath(app, img.layer()), header("Range", "bytes=-1"))
		if got.StatusCode != tt.status || got.err != nil {
			t.Errorf("%s: %s", name, got)
		}
		for _, k := range []string{"Content-Range", "Accept-Ranges", "Docker-Content-Digest"} {
			if got.Header.Get(k) != "" {
				t.Errorf("%s: the refusal has %s", name, k)
			}
		}
	}
	w.registry.answer(blobPath(repo, img.layer()), nil)
	w.wantBlob(blobPath(app, img.layer()), large)
}

// dockerd tries again when a download breaks off, and then asks Docker Hub itself: a
// connection that ends tells it nothing, so its next try is told to stop.
func TestDockerdIsToldToStopAfterABlobBrokeOff(t *testing.T) {
	w := newWorld(t, func(_ *world, s *settings) { s.entry = proxy.Entry{Registry: registryName, Mirror: true} })
	img := w.signed(imageWith([]byte("{}"), large), "v1")
	const dockerd, other = "docker/28.2.2 go/go1.24", "containerd/2.1"
	w.get("/v2/team/app/manifests/v1")
	path := "/v2/team/app/blobs/" + img.layer().String()
	w.registry.answer(blobPath(repo, img.layer()), breakingOff(large, 4<<20))
	if got := w.get(path, header("User-Agent", dockerd)); got.err == nil {
		t.Fatalf("expected the connection to break off: %s", got.Status)
	}
	w.registry.answer(blobPath(repo, img.layer()), nil)
	for _, o := range []option{header("X", "y"), header("Range", "bytes=1000-")} {
		got := w.get(path, header("User-Agent", dockerd), o)
		if got.StatusCode != 500 || !strings.Contains(got.phrase(), "no such process") {
			t.Errorf("dockerd would go on to the registry: %s", got)
		}
	}
	if got := w.get(path, header("User-Agent", other)); got.StatusCode != 200 || got.err != nil {
		t.Errorf("others may try again: %s", got)
	}
}

func TestOneSlowRegistryDoesNotStopAnother(t *testing.T) {
	w := newWorld(t)
	hub := imageOf("hub")
	w.hub.push("library/nginx", hub, "v1")
	w.sign(w.key, "docker.io/library/nginx:v1", hub)
	release := make(chan struct{})
	defer close(release)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const waiting = 300 // more than there is room for
	for i := range waiting {
		tag := "slow" + strconv.Itoa(i)
		w.registry.answer("/v2/"+repo+"/manifests/"+tag, func(http.ResponseWriter, *http.Request) { <-release })
		go w.ask(ctx, manifestPath(app, tag))
	}
	for start := time.Now(); w.registry.count("GET /v2/"+repo+"/manifests/slow") < 40; time.Sleep(time.Millisecond) {
		if time.Since(start) > 10*time.Second {
			t.Fatal("the slow requests did not arrive")
		}
	}
	start := time.Now()
	w.wantManifest("/v2/docker.io/library/nginx/manifests/v1", hub)
	if took := time.Since(start); took > 1500*time.Millisecond { // the slow registry is given up after two seconds
		t.Errorf("the other registry's image took %s", took)
	}
	if n := w.registry.count("GET /v2/" + repo + "/manifests/slow"); n > 48 {
		t.Errorf("%d requests of one registry at a time", n)
	}
}

func TestASmallBlobIsFetchedOnceForAll(t *testing.T) {
	w := newWorld(t)
	layer := randomBytes(1<<20, 7)
	img := w.signed(imageWith([]byte("{}"), layer), "v1")
	w.get(manifestPath(app, "v1"))
	w.registry.answer(blobPath(repo, img.layer()), func(rw http.ResponseWriter, _ *http.Request) {
		time.Sleep(50 * time.Millisecond)
		_, _ = rw.Write(layer)
	})
	if got := w.crowd(100, blobPath(app, img.layer())); got[200] != 100 {
		t.Errorf("answers by status: %v", got)
	}
	if n := w.registry.count("GET " + blobPath(repo, img.layer())); n != 1 {
		t.Errorf("%d fetches", n)
	}
}
