package proxy_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/proxy/audit"
)

// Rule 5: a blob is served when a manifest of its repository that may be pulled
// now lists it; what is wrong never arrives complete.

// large is a blob that is sent while it arrives: more than is checked in memory,
// and no multiple of what is read at a time.
var large = randomBytes(4<<20+300_345, 1)

func randomBytes(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed)})
	_, _ = r.Read(b)
	return b
}

func TestBlobsOfWhatMayBePulled(t *testing.T) {
	w := newWorld(t)
	signed := w.signed(imageOf("signed"), "v1")
	unsigned := w.unsigned(imageOf("unsigned"), "v2")
	elsewhere := imageOf("elsewhere")
	w.registry.push("team/other", elsewhere, "v1")
	w.sign(w.key, registryName+"/team/other:v1", elsewhere)
	orphan := []byte("a blob that no manifest lists")
	w.registry.put(blobPath(repo, digest.FromBytes(orphan)), orphan)
	// Registries let blobs be read through any repository that has them.
	w.registry.put(blobPath(repo, unsigned.layer()), unsigned.blobs[1])
	w.registry.put(blobPath(repo, elsewhere.layer()), elsewhere.blobs[1])

	w.wantDenied(blobPath(app, signed.layer())) // no manifest was asked for yet
	w.wantManifest(manifestPath(app, "v1"), signed)
	w.wantDenied(manifestPath(app, "v2"))
	w.wantManifest(manifestPath(registryName+"/team/other", "v1"), elsewhere)

	w.wantBlob(blobPath(app, signed.layer()), signed.blobs[1])
	w.wantBlob(blobPath(app, signed.config()), signed.blobs[0])
	w.wantBlob(blobPath(registryName+"/team/other", elsewhere.layer()), elsewhere.blobs[1])
	w.wantDenied(blobPath(app, unsigned.layer()))
	w.wantDenied(blobPath(app, unsigned.config()))
	w.wantDenied(blobPath(app, elsewhere.layer()))
	w.wantDenied(blobPath(registryName+"/team/other", signed.layer()))
	w.wantDenied(blobPath(app, digest.FromBytes(orphan)))
	w.wantDenied(blobPath(app, digest.FromString("nowhere")))

	got := w.get(blobPath(app, unsigned.layer()))
	if want := "not listed by any image"; !strings.Contains(got.wire[0].Message, want) || !strings.Contains(got.wire[0].Message, unsigned.layer().String()) {
		t.Errorf("expected the reason in %+v", got.wire[0])
	}
	// A blob that both list is allowed, whoever else lists it.
	shared := w.unsigned(imageWith([]byte(`{"os":"linux"}`), signed.blobs[1], unsigned.blobs[1]), "v3")
	w.wantDenied(manifestPath(app, "v3"))
	w.wantBlob(blobPath(app, signed.layer()), signed.blobs[1])
	w.wantDenied(blobPath(app, shared.config()))
}

func TestManifestsAreNeverBlobs(t *testing.T) {
	unsigned := imageOf("unsigned")
	big := fromManifest(object{"schemaVersion": 2, "mediaType": ociManifest, "config": descriptor(ociConfig, []byte("{}")), "layers": list{},
		"annotations": object{"pad": strings.Repeat("x", 1<<20)}})
	schema2 := fromManifest(object{"schemaVersion": 2, "config": descriptor(ociConfig, []byte("{}")), "layers": list{}})
	schema1 := raw(`{"schemaVersion":1,"name":"x","fsLayers":[],"history":[]}`)
	types := list{ociManifest, ociLayer, ""}
	w := newWorld(t)
	trap := imageOf("trap")
	for name, manifest := range map[string]image{"image": unsigned, "index": multiArch("unsigned"), "large": big, "without a type": schema2,
		"schema 1": schema1, "after spaces": raw(" \n\t" + string(unsigned.manifest))} {
		for how, answer := range map[string]http.HandlerFunc{"length known": bytesOf(manifest.manifest), "length unknown": chunked(manifest.manifest)} {
			for i, mediaType := range types {
				repo := fmt.Sprintf("%s%d", strings.NewReplacer(" ", "", "length", "/").Replace(strings.ToLower(name+how)), i)
				w.registry.answer("GET "+blobPath(repo, manifest.digest), answer)
				img := fromManifest(object{"schemaVersion": 2, "mediaType": ociManifest, "config": descriptor(ociConfig, trap.blobs[0]),
					"layers": list{with(manifest.entry(), "mediaType", mediaType)}}, trap.blobs[0])
				w.registry.push(repo, img, "v1")
				w.sign(w.key, registryName+"/"+repo+":v1", img)
				if got := w.head(manifestPath(registryName+"/"+repo, "v1")); got.StatusCode != 200 {
					t.Fatalf("the image that lists it: %s", got)
				}
				if mediaType == ociManifest { // which says it all, before a byte is fetched
					if got := w.head(blobPath(registryName+"/"+repo, manifest.digest)); got.StatusCode != 403 {
						t.Errorf("%s, %s: expected HEAD to be denied, got %s", name, how, got)
					}
				}
				for range 2 {
					got := w.get(blobPath(registryName+"/"+repo, manifest.digest))
					if got.StatusCode != 403 || bytes.Contains(got.body, []byte("schemaVersion")) {
						t.Errorf("%s as %q, %s: expected a denial, got %s", name, mediaType, how, got)
					}
					if r := w.recordOf(got); r.Decision != audit.Denied || r.Kind != audit.KindBlob {
						t.Errorf("%s as %q, %s: audit record %+v", name, mediaType, how, r)
					}
				}
			}
		}
	}
}

// After a denied digest containerd asks for the same digest as a blob.
func TestADeniedManifestIsNoBlob(t *testing.T) {
	w := newWorld(t)
	img := w.unsigned(imageOf("unsigned"), "v1")
	w.registry.put(blobPath(repo, img.digest), img.manifest)
	w.wantDenied(blobPath(app, img.digest))
	w.wantDenied(manifestPath(app, img.digest))
	w.wantDenied(blobPath(app, img.digest))
	// Nor is an allowed one.
	good := w.signed(imageOf("signed"), "v2")
	w.registry.put(blobPath(repo, good.digest), good.manifest)
	w.wantManifest(manifestPath(app, "v2"), good)
	w.wantDenied(blobPath(app, good.digest))
	// Nor is it when an allowed image lists it among its layers.
	trap := w.signed(fromManifest(object{"schemaVersion": 2, "mediaType": ociManifest, "config": descriptor(ociConfig, []byte("{}")),
		"layers": list{with(good.entry(), "mediaType", ociLayer)}}, []byte("{}")), "v3")
	w.wantManifest(manifestPath(app, "v3"), trap)
	w.wantDenied(blobPath(app, good.digest))
	if n := w.registry.count("GET /v2/"+repo+"/blobs/") + w.registry.count("HEAD /v2/"+repo+"/blobs/"); n != 0 {
		t.Errorf("manifests were fetched as blobs (%d)", n)
	}
}

// pulled is a gate over a signed image with one small and one large layer, whose
// manifest has been pulled.
func pulled(t *testing.T, change ...func(*world, *settings)) (*world, image) {
	t.Helper()
	w := newWorld(t, change...)
	img := w.signed(imageWith([]byte("{}"), []byte("a small layer"), large, nil), "v1")
	w.wantManifest(manifestPath(app, "v1"), img)
	return w, img
}

func TestWholeBlobs(t *testing.T) {
	w, img := pulled(t)
	for _, b := range img.blobs {
		path, d := blobPath(app, digest.FromBytes(b)), digest.FromBytes(b)
		for round := range 2 {
			got := w.get(path)
			if got.StatusCode != 200 || got.err != nil || !bytes.Equal(got.body, b) || got.ContentLength != int64(len(b)) ||
				got.Header.Get("Docker-Content-Digest") != d.String() || got.Header.Get("Accept-Ranges") != "bytes" ||
				got.Header.Get("Content-Type") != "application/octet-stream" {
				t.Errorf("GET of %d bytes, round %d: %s", len(b), round, got)
			}
			head := w.head(path)
			if head.StatusCode != 200 || head.ContentLength != int64(len(b)) || len(head.body) != 0 || head.Header.Get("Docker-Content-Digest") != d.String() {
				t.Errorf("HEAD of %d bytes, round %d: %s", len(b), round, head)
			}
		}
		if n, want := w.registry.count("GET "+blobPath(repo, d)), 1+len(b)/(4<<20); n != want {
			t.Errorf("%d bytes were fetched %d times, want %d", len(b), n, want)
		}
	}
	w.registry.drop(blobPath(repo, digest.FromBytes(large)))
	if got := w.wantStatus(blobPath(app, digest.FromBytes(large)), 404); got.wire[0].Code != "BLOB_UNKNOWN" {
		t.Errorf("missing blob: %s", got)
	}
	w.registry.answer(blobPath(repo, digest.FromBytes(large)), status(500))
	w.wantUnavailable(blobPath(app, digest.FromBytes(large)))
}

func TestBlobsOfUnknownLength(t *testing.T) {
	w, img := pulled(t)
	for _, b := range img.blobs {
		w.registry.answer("GET "+blobPath(repo, digest.FromBytes(b)), chunked(b))
		for range 2 {
			w.wantBlob(blobPath(app, digest.FromBytes(b)), b)
		}
	}
	got := w.get(blobPath(app, digest.FromBytes(large)), header("Range", "bytes=10-19"))
	if got.StatusCode != 200 || !bytes.Equal(got.body, large) {
		t.Errorf("a range of unknown length is answered with the whole, got %s", got)
	}
	if n := w.registry.count("GET " + blobPath(repo, digest.FromBytes(img.blobs[1]))); n != 1 {
		t.Errorf("a small blob was fetched %d times", n)
	}
}

func TestRanges(t *testing.T) {
	w, img := pulled(t)
	small := img.blobs[1]
	for _, b := range [][]byte{small, large} {
		n := len(b)
		path := blobPath(app, digest.FromBytes(b))
		tests := map[string]struct {
			first, last int // what comes, both included; -1: the whole
			status      int
		}{
			"bytes=0-0":                          {0, 0, 206},
			"bytes=0-4":                          {0, 4, 206},
			"bytes=5-9":                          {5, 9, 206},
			" bytes=5-9 ":                        {5, 9, 206},
			"bytes=5-":                           {5, n - 1, 206},
			"bytes=-3":                           {n - 3, n - 1, 206},
			fmt.Sprintf("bytes=-%d", n):          {0, n - 1, 206},
			fmt.Sprintf("bytes=-%d", 2*n):        {0, n - 1, 206},
			"bytes=0-":                           {0, n - 1, 206},
			fmt.Sprintf("bytes=%d-", n-1):        {n - 1, n - 1, 206},
			fmt.Sprintf("bytes=3-%d", 2*n):       {3, n - 1, 206},
			fmt.Sprintf("bytes=%d-%d", n/2, n-2): {n / 2, n - 2, 206},
			fmt.Sprintf("bytes=%d-", n):          {0, 0, 416},
			fmt.Sprintf("bytes=%d-%d", 2*n, 3*n): {0, 0, 416},
			"bytes=-0":                           {0, 0, 416},
			"bytes=9223372036854775807-":         {0, 0, 416},
			"bytes=0-1,3-4":                      {-1, 0, 200},
			"bytes=5-3":                          {-1, 0, 200},
			"bytes=--5":                          {-1, 0, 200},
			"bytes=+1-2":                         {-1, 0, 200},
			"bytes=1_0-":                         {-1, 0, 200},
			"bytes=-":                            {-1, 0, 200},
			"bytes=":                             {-1, 0, 200},
			"bytes=x-y":                          {-1, 0, 200},
			"bytes=0-99999999999999999999":       {-1, 0, 200},
			"lines=0-4":                          {-1, 0, 200},
			"0-4":                                {-1, 0, 200},
		}
		for spec, want := range tests {
			got := w.get(path, header("Range", spec))
			switch {
			case got.StatusCode != want.status || got.err != nil:
				t.Errorf("%s of %d: expected %d, got %s", spec, n, want.status, got)
			case want.status == 416 && (got.Header.Get("Content-Range") != fmt.Sprintf("bytes */%d", n) || got.wire[0].Code != "RANGE_INVALID"):
				t.Errorf("%s of %d: %s", spec, n, got)
			case want.status == 200 && !bytes.Equal(got.body, b):
				t.Errorf("%s of %d: expected the whole, got %d bytes", spec, n, len(got.body))
			case want.status == 206 && (!bytes.Equal(got.body, b[want.first:want.last+1]) ||
				got.Header.Get("Content-Range") != fmt.Sprintf("bytes %d-%d/%d", want.first, want.last, n) || got.ContentLength != int64(want.last-want.first+1)):
				t.Errorf("%s of %d: got %d bytes, %s", spec, n, len(got.body), got.Header)
			}
		}
		if got := w.get(path, header("Range", "bytes=1-2"), header("If-Range", `"x"`)); got.StatusCode != 200 || !bytes.Equal(got.body, b) {
			t.Errorf("If-Range of %d: %s", n, got)
		}
		if got := w.head(path, header("Range", "bytes=1-2")); got.StatusCode != 200 || got.ContentLength != int64(n) {
			t.Errorf("HEAD with Range of %d: %s", n, got)
		}
	}
	if got := w.get(blobPath(app, digest.FromBytes(nil)), header("Range", "bytes=0-")); got.StatusCode != 416 {
		t.Errorf("a range of nothing: %s", got)
	}
}

func TestWrongBlobsNeverArriveComplete(t *testing.T) {
	wrong := func(b []byte) []byte {
		out := bytes.Clone(b)
		out[len(out)-1] ^= 1
		return out
	}
	early := func(b []byte) []byte {
		out := bytes.Clone(b)
		out[0] ^= 1
		return out
	}
	tests := map[string]func(b []byte) http.HandlerFunc{
		"last bit wrong":                    func(b []byte) http.HandlerFunc { return bytesOf(wrong(b)) },
		"first bit wrong":                   func(b []byte) http.HandlerFunc { return bytesOf(early(b)) },
		"last bit wrong, length unknown":    func(b []byte) http.HandlerFunc { return chunked(wrong(b)) },
		"other bytes of the length":         func(b []byte) http.HandlerFunc { return bytesOf(randomBytes(len(b), 2)) },
		"shorter":                           func(b []byte) http.HandlerFunc { return bytesOf(b[:len(b)-1]) },
		"longer":                            func(b []byte) http.HandlerFunc { return bytesOf(append(bytes.Clone(b), 'x')) },
		"shorter, length unknown":           func(b []byte) http.HandlerFunc { return chunked(b[:len(b)-1]) },
		"longer, length unknown":            func(b []byte) http.HandlerFunc { return chunked(append(bytes.Clone(b), 'x')) },
		"cut":                               func(b []byte) http.HandlerFunc { return cut(b[:len(b)/2], len(b)) },
		"cut before the last byte":          func(b []byte) http.HandlerFunc { return cut(b[:len(b)-1], len(b)) },
		"complete, but announced as longer": func(b []byte) http.HandlerFunc { return cut(b, len(b)+1) },
		"cut at once":                       func(b []byte) http.HandlerFunc { return cut(nil, len(b)) },
		"an error page":                     func([]byte) http.HandlerFunc { return bytesOf([]byte("<html>not found</html>")) },
		"nothing":                           func([]byte) http.HandlerFunc { return bytesOf(nil) },
		"a redirect to nowhere": func([]byte) http.HandlerFunc {
			return http.RedirectHandler("http://127.0.0.1:1/x", http.StatusTemporaryRedirect).ServeHTTP
		},
		"a part of it that was not asked": func(b []byte) http.HandlerFunc { return status(206) },
		"compressed":                      func(b []byte) http.HandlerFunc { return encoded(b) },
	}
	w, img := pulled(t)
	for name, answer := range tests {
		for _, b := range [][]byte{img.blobs[1], large} {
			specs := []string{"", fmt.Sprintf("bytes=%d-%d", len(b)-3, len(b)-2)}
			if len(b) < 1000 {
				specs = append(specs, "bytes=0-0", "bytes=2-5", "bytes=-4", fmt.Sprintf("bytes=0-%d", len(b)-1))
			}
			for _, spec := range specs {
				w.registry.answer("GET "+blobPath(repo, digest.FromBytes(b)), answer(b))
				got := w.get(blobPath(app, digest.FromBytes(b)), header("Range", spec))
				arrived := got.err == nil && (got.StatusCode == 200 || got.StatusCode == 206)
				if arrived || got.StatusCode == 206 && int64(len(got.body)) >= got.ContentLength || got.StatusCode == 200 && got.err == nil {
					t.Errorf("%s, %d bytes, %q: a wrong blob arrived: %s", name, len(b), spec, got)
				}
				if got.id() == "" {
					continue // cut off before the answer's header was sent
				}
				if r := w.recordOf(got); r.Decision != audit.Denied && r.Decision != audit.Inconclusive {
					t.Errorf("%s, %d bytes, %q: audit record %+v", name, len(b), spec, r)
				}
			}
		}
	}
	for _, b := range img.blobs { // and nothing of it was kept
		w.registry.answer("GET "+blobPath(repo, digest.FromBytes(b)), nil)
		w.wantBlob(blobPath(app, digest.FromBytes(b)), b)
	}
}

func encoded(b []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(b)
	}
}

func TestAWrongBlobIsToldToTheOperator(t *testing.T) {
	w, img := pulled(t)
	small := img.blobs[1]
	w.registry.answer("GET "+blobPath(repo, digest.FromBytes(small)), bytesOf([]byte("another layer")))
	got := w.get(blobPath(app, digest.FromBytes(small)))
	if got.Header.Get("Docker-Content-Digest")+got.Header.Get("Accept-Ranges") != "" {
		t.Errorf("a refusal says what it is not: %q", got.Header)
	}
	if r := w.recordOf(got); got.StatusCode != 502 || r.Decision != audit.Denied || r.Status != 502 || r.Kind != audit.KindBlob ||
		!strings.Contains(lines(r.Reasons), digest.FromString("another layer").String()) {
		t.Errorf("small: %s, audit record %+v", got, r)
	}
	w.registry.answer("GET "+blobPath(repo, digest.FromBytes(large)), bytesOf(randomBytes(len(large), 3)))
	got = w.get(blobPath(app, digest.FromBytes(large)))
	if r := w.recordOf(got); got.err == nil || r.Decision != audit.Denied || r.Status != 502 || r.Kind != audit.KindBlob || r.Digest != digest.FromBytes(large).String() {
		t.Errorf("large: %v, audit record %+v", got.err, r)
	}
	w.registry.answer("GET "+blobPath(repo, digest.FromBytes(large)), cut(large[:1<<20], len(large)))
	got = w.get(blobPath(app, digest.FromBytes(large)))
	if r := w.recordOf(got); got.err == nil || r.Decision != audit.Inconclusive || r.Status != 502 {
		t.Errorf("cut: %v, audit record %+v", got.err, r)
	}
}

func TestAllowedBlobsAreCountedNotLogged(t *testing.T) {
	for _, log := range []bool{false, true} {
		w, img := pulled(t, func(_ *world, s *settings) { s.auditBlobs = log })
		got := w.get(blobPath(app, img.layer()))
		if r := w.recordOf(got); (r.Decision == audit.Allowed) != log || log && (r.Kind != audit.KindBlob || r.Digest != img.layer().String() || r.Reference != img.layer().String()) {
			t.Errorf("AuditBlobs %t: audit record %+v", log, r)
		}
		w.counted.mu.Lock()
		if want := "allowed " + registryName + " blob"; !strings.Contains(lines(w.counted.decisions), want) {
			t.Errorf("metrics: %q", w.counted.decisions)
		}
		if w.counted.blobBytes != int64(len(img.blobs[1])) {
			t.Errorf("%d bytes were counted", w.counted.blobBytes)
		}
		w.counted.mu.Unlock()
	}
}

// A client that goes away ends the download upstream, and is nobody's fault.
func TestAClientThatGoesAway(t *testing.T) {
	w, _ := pulled(t)
	ended := make(chan struct{})
	w.registry.answer("GET "+blobPath(repo, digest.FromBytes(large)), func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Length", fmt.Sprint(len(large)))
		_, _ = rw.Write(large[:1<<20])
		_ = http.NewResponseController(rw).Flush()
		<-r.Context().Done()
		close(ended)
	})
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "GET", w.gate.URL+blobPath(app, digest.FromBytes(large)), nil)
	w.must(err)
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	w.must(err)
	_, err = io.ReadFull(resp.Body, make([]byte, 1000))
	w.must(err)
	cancel()
	resp.Body.Close()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("the upstream is still sending")
	}
	if rec := w.recordOf(answer{Response: resp}); rec.Decision != "" {
		t.Errorf("audit record %+v", rec)
	}
}

func TestAClientThatGoesAwayBeforeTheFirstByte(t *testing.T) {
	w, _ := pulled(t)
	came := make(chan struct{}, 1)
	w.registry.answer("GET "+blobPath(repo, digest.FromBytes(large)), held(nil, came, nil))
	before := len(w.records.snapshot())
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "GET", w.gate.URL+blobPath(app, digest.FromBytes(large)), nil)
	w.must(err)
	go func() { <-came; cancel() }()
	if resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r); err == nil {
		resp.Body.Close()
		t.Errorf("got %s", resp.Status)
	}
	deadline := time.Now().Add(5 * time.Second)
	for !strings.Contains(lines(w.counted.list()), "blob GET 499") && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if got := lines(w.counted.list()); !strings.Contains(got, "blob GET 499") || len(w.records.snapshot()) != before {
		t.Errorf("requests:\n\t%s\nrecords: %+v", got, w.records.snapshot()[before:])
	}
}

// A deadline of an earlier answer on the connection must not end a later one.
func TestHeadOfABlobHasItsOwnDeadline(t *testing.T) {
	w, img := pulled(t, func(_ *world, s *settings) {
		s.wrap = func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(-time.Second))
				next.ServeHTTP(w, r)
			})
		}
	})
	for _, path := range []string{blobPath(app, img.layer()), blobPath(app, digest.FromBytes(large)), manifestPath(app, "v1"), blobPath(app, digest.FromString("x"))} {
		if got := w.head(path); got.StatusCode == 0 {
			t.Errorf("HEAD: %s", got)
		}
		if got := w.get(path); got.StatusCode == 0 {
			t.Errorf("GET: %s", got)
		}
	}
}
