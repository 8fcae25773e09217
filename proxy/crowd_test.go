package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/proxy"
	"github.com/pullgate/pullgate/verify"
)

// crowd asks n times at once, inside the process: sockets are not what is
// measured.
func (w *world) crowd(n int, path string) map[int]int {
	w.t.Helper()
	var mu sync.Mutex
	statuses := map[int]int{}
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			rec := httptest.NewRecorder()
			r := httptest.NewRequest("GET", path, nil)
			r.ProtoMajor, r.ProtoMinor = 2, 0 // nothing to take over
			w.handler.ServeHTTP(rec, r)
			mu.Lock()
			defer mu.Unlock()
			statuses[rec.Code]++
		})
	}
	wg.Wait()
	return statuses
}

// ask asks inside the process, until ctx ends.
func (w *world) ask(ctx context.Context, path string) {
	r := httptest.NewRequest("GET", path, nil).WithContext(ctx)
	r.ProtoMajor, r.ProtoMinor = 2, 0
	w.handler.ServeHTTP(httptest.NewRecorder(), r)
}

func TestAThousandClientsAtOneColdImage(t *testing.T) {
	w := newWorld(t)
	signed, unsigned := w.signed(imageOf("signed"), "v1"), w.unsigned(imageOf("unsigned"), "v2")
	index := w.unsigned(multiArch("index"), "v3")
	for _, c := range index.children {
		w.sign(w.key, app+":v3", c)
	}
	tests := []struct {
		ref     any
		img     image
		status  int
		fetches int // of manifests
		lookups int // of first signatures
	}{{"v1", signed, 200, 1, 1}, {"v2", unsigned, 403, 1, 1}, {"v3", index, 200, 3, 3}}
	for _, tt := range tests {
		fetched, looked := w.registry.count("GET /v2/"+repo+"/manifests/"), w.firstSignatures()
		if got := w.crowd(1000, manifestPath(app, tt.ref)); got[tt.status] != 1000 {
			t.Errorf("%v: answers by status: %v", tt.ref, got)
		}
		if n := w.registry.count("GET /v2/"+repo+"/manifests/") - fetched; n != tt.fetches {
			t.Errorf("%v: %d manifests were fetched, want %d", tt.ref, n, tt.fetches)
		}
		if n := w.firstSignatures() - looked; n != tt.lookups {
			t.Errorf("%v: signatures were looked up %d times, want %d", tt.ref, n, tt.lookups)
		}
	}
	if n := w.registry.count("HEAD"); n != 0 {
		t.Errorf("%d HEAD requests upstream", n)
	}
}

// firstSignatures tells how often signatures were looked up.
func (w *world) firstSignatures() int {
	n := 0
	for _, r := range w.sigs.requests() {
		if len(r) > 12 && r[len(r)-12:] == "/signature-1" {
			n++
		}
	}
	return n
}

func TestManyClientsAtOneColdDigest(t *testing.T) {
	for range 20 {
		w := newWorld(t)
		img := w.signed(imageOf("signed"), "v1")
		if got := w.crowd(100, manifestPath(app, img.digest)); got[200] != 100 {
			t.Errorf("answers by status: %v", got)
		}
		if n := w.registry.count("GET " + manifestPath(repo, img.digest)); n != 1 {
			t.Errorf("the manifest was fetched %d times", n)
		}
	}
}

// absent hides what is there from every first look.
type absent struct {
	proxy.Content[*proxy.Manifest]
	looks atomic.Int64
}

func (a *absent) Get(repo string, d digest.Digest) (*proxy.Manifest, bool) {
	if a.looks.Add(1)%2 == 1 {
		return nil, false
	}
	return a.Content.Get(repo, d)
}

// Who looks just before a fetch ends must not begin another.
func TestAFetchThatEndedMeanwhileIsNotBegunAgain(t *testing.T) {
	w := newWorld(t, func(_ *world, s *settings) {
		s.memory = func(c proxy.Content[*proxy.Manifest]) proxy.Content[*proxy.Manifest] { return &absent{Content: c} }
	})
	img := w.signed(imageOf("signed"), "v1")
	for range 3 {
		if got := w.get(manifestPath(app, img.digest)); got.StatusCode != 200 {
			t.Errorf("got %s", got)
		}
	}
	if n := w.registry.count("GET " + manifestPath(repo, img.digest)); n != 1 {
		t.Errorf("the manifest was fetched %d times", n)
	}
}

// The fetch and the verification belong to everybody who waits.
func TestAClientThatGivesUpDoesNotEndItForTheOthers(t *testing.T) {
	for _, where := range []string{"manifest", "signature"} {
		t.Run(where, func(t *testing.T) {
			w := newWorld(t)
			img := w.signed(imageOf("signed"), "v1")
			open, came := make(chan struct{}), make(chan struct{}, 1)
			if where == "manifest" {
				w.registry.answer(manifestPath(repo, "v1"), held(open, came, bytesOf(img.manifest)))
			} else {
				w.sigs.answer(signaturePath(app, img.digest, 1), held(open, came, bytesOf(w.key.sign(app+":v1", img.digest))))
			}
			ctx, cancel := context.WithCancel(t.Context())
			first := make(chan error, 1)
			go func() {
				r, _ := http.NewRequestWithContext(ctx, "GET", w.gate.URL+manifestPath(app, "v1"), nil)
				resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
				if err == nil {
					resp.Body.Close()
				}
				first <- err
			}()
			<-came
			second := make(chan answer, 1)
			go func() { second <- w.get(manifestPath(app, "v1")) }()
			time.Sleep(700 * time.Millisecond) // until the second waits too
			cancel()
			if err := <-first; !errors.Is(err, context.Canceled) {
				t.Errorf("the first client: %v", err)
			}
			time.Sleep(20 * time.Millisecond)
			close(open)
			if got := <-second; got.StatusCode != 200 {
				t.Errorf("the second client: %s", got)
			}
			if n := w.registry.count("GET " + manifestPath(repo, "v1")); n != 1 {
				t.Errorf("the manifest was fetched %d times", n)
			}
			if n := w.firstSignatures(); n != 1 {
				t.Errorf("signatures were looked up %d times", n)
			}
		})
	}
}

func TestVerdictsAreRememberedForTheirTime(t *testing.T) {
	now := atomic.Int64{}
	now.Store(time.Now().UnixNano())
	w := newWorld(t, func(_ *world, s *settings) {
		s.verdicts.AllowedTTL, s.verdicts.DeniedTTL = time.Hour, time.Minute
		s.verdicts.Now = func() time.Time { return time.Unix(0, now.Load()) }
	})
	signed, late := w.signed(imageOf("signed"), "v1"), w.unsigned(imageOf("signed late"), "v2")
	pass := func(d time.Duration) { now.Add(int64(d)) }
	w.wantManifest(manifestPath(app, "v1"), signed)
	w.wantDenied(manifestPath(app, "v2"))
	looked := w.firstSignatures()

	w.sigs.drop(signaturePath(app, signed.digest, 1))
	w.sign(w.key, app+":v2", late)
	pass(40 * time.Second)
	w.wantManifest(manifestPath(app, "v1"), signed)
	w.wantDenied(manifestPath(app, "v2"))
	if n := w.firstSignatures() - looked; n != 0 {
		t.Errorf("signatures were looked up %d times within the verdicts' time", n)
	}
	if r := w.recordOf(w.get(manifestPath(app, "v1"))); !r.Cached {
		t.Errorf("audit record %+v", r)
	}
	pass(21 * time.Second) // a denial is over
	w.wantManifest(manifestPath(app, "v2"), late)
	w.wantManifest(manifestPath(app, "v1"), signed)
	pass(time.Hour) // and so is the other
	w.wantDenied(manifestPath(app, "v1"))
}

// A verification that takes its time must not bring a verdict of the old policy
// to those who come after the new one.
func TestNoVerdictOfAnOldPolicyAfterReplace(t *testing.T) {
	w := newWorld(t)
	img := w.signed(imageOf("signed"), "v1")
	open, came := make(chan struct{}), make(chan struct{}, 1)
	place := signaturePath(app, img.digest, 1)
	w.sigs.answer(place, held(open, came, bytesOf(w.key.sign(app+":v1", img.digest))))
	early := make(chan answer, 1)
	go func() { early <- w.get(manifestPath(app, "v1")) }()
	<-came
	w.engine.Replace(w.load(object{registryName: list{signedBy(w.stranger)}}, reject))
	w.sigs.answer(place, bytesOf(w.key.sign(app+":v1", img.digest)))
	w.wantDenied(manifestPath(app, "v1"))
	close(open)
	if got := <-early; got.StatusCode != 403 {
		t.Errorf("who came before, and was answered after: %s", got)
	}
	w.wantDenied(manifestPath(app, "v1")) // the old verdict was not kept for the new policy
	w.wantDenied(blobPath(app, img.layer()))
}

// Whoever can push one image can push thousands, each with megabytes of evidence: they
// are not judged all at once, and do not keep another registry's from being judged.
func TestVerificationsAtOnceAreBounded(t *testing.T) {
	const images = 150
	var now, most atomic.Int64
	open := make(chan struct{})
	j := &judge{revision: "1", answer: func(s verify.Subject) (verify.Verdict, error) {
		if reference.Domain(s.Ref) != registryName {
			return allowing(), nil
		}
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		<-open
		return allowing(), nil
	}}
	w := newWorld(t, func(_ *world, s *settings) { s.fake = j })
	w.hub.push("library/nginx", imageOf("hub"), "1")
	var wg sync.WaitGroup
	for i := range images {
		w.unsigned(imageOf(fmt.Sprint(i)), fmt.Sprint("v", i))
	}
	for i := range images {
		wg.Go(func() {
			if got := w.get(manifestPath(app, fmt.Sprint("v", i))); got.StatusCode != 200 {
				t.Errorf("%d: %s", i, got)
			}
		})
	}
	for deadline := time.Now().Add(5 * time.Second); most.Load() < 48 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(100 * time.Millisecond) // for those that should wait
	if got := w.get("/v2/library/nginx/manifests/1"); got.StatusCode != 200 {
		t.Errorf("another registry's image: %s", got)
	}
	close(open)
	wg.Wait()
	if n := most.Load(); n != 48 {
		t.Errorf("%d images of one registry were judged at a time", n)
	}
}

func TestManyThingsAtOnce(t *testing.T) {
	j := &judge{revision: "0"}
	j.answer = func(s verify.Subject) (verify.Verdict, error) {
		switch s.Digest[len(s.Digest)-1] % 3 {
		case 0:
			return allowing(), nil
		case 1:
			return denying("not signed"), nil
		}
		return verify.Verdict{}, errors.New("nobody can tell")
	}
	w := newWorld(t, uncached, func(_ *world, s *settings) { s.fake, s.manifests, s.graphSize = j, 4000, 50 })
	var images []image
	for i := range 12 {
		images = append(images, w.unsigned(multiArch(fmt.Sprint(i)), fmt.Sprint("v", i)))
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for k, img := range images {
				j.set(fmt.Sprint(i * k))
				for _, path := range []string{manifestPath(app, fmt.Sprint("v", k)), manifestPath(app, img.digest),
					manifestPath(app, img.children[0].digest), blobPath(app, img.children[0].layer())} {
					rec := httptest.NewRecorder()
					r := httptest.NewRequest("GET", path, nil)
					r.ProtoMajor = 2
					w.handler.ServeHTTP(rec, r)
					if rec.Code != 200 && rec.Code != 403 && rec.Code != 503 {
						t.Errorf("%s: %d %s", path, rec.Code, rec.Body)
					}
				}
			}
		})
	}
	wg.Wait()
}
