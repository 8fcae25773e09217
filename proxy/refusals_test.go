package proxy_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/proxy"
	"github.com/pullgate/pullgate/proxy/audit"
	"github.com/pullgate/pullgate/proxy/upstream"
	"github.com/pullgate/pullgate/verify"
)

// What a refusal looks like to clients, and what is written down about it.

// onWire sends a request and returns all bytes of the answer.
func (w *world) onWire(request string) string {
	w.t.Helper()
	conn, err := net.Dial("tcp", w.gate.Listener.Addr().String())
	w.must(err)
	defer conn.Close()
	w.must(conn.SetDeadline(time.Now().Add(5 * time.Second)))
	_, err = io.WriteString(conn, request)
	w.must(err)
	b, err := io.ReadAll(conn)
	w.must(err)
	return string(b)
}

func TestARefusalSaysWhatWasAskedRequiredFoundAndWouldPass(t *testing.T) {
	w := newWorld(t)
	img := w.unsigned(imageOf("wrong key"), "v1")
	w.sign(w.stranger, app+":v1", img)
	got := w.wantDenied(manifestPath(app, "v1"))
	e := got.wire[0]
	d := e.Detail
	if d.Reference != app+":v1" || d.Digest != img.digest.String() || d.Scope != registryName || len(d.Requirements) != 1 {
		t.Fatalf("detail %+v", d)
	}
	r := d.Requirements[0]
	stranger, publisher := w.stranger.entity.PrimaryKey.KeyIdString(), w.key.entity.PrimaryKey.KeyIdString()
	if r.Type != "signedBy" || r.Allowed || r.Required == "" || !strings.Contains(lines(r.Found), stranger) || !strings.Contains(r.WouldPass, publisher) {
		t.Errorf("requirement %+v", r)
	}
	for _, part := range []string{app + ":v1", registryName, stranger, publisher, "what would pass", got.id()} {
		if !strings.Contains(e.Message, part) {
			t.Errorf("%q is missing in %q", part, e.Message)
		}
	}
	if want := "Denied by image policy " + registryName + ": signed by key 0x" + stranger; !strings.HasPrefix(got.phrase(), want) {
		t.Errorf("reason phrase %q, want %q…", got.phrase(), want)
	}
	if got.Header.Get("Cache-Control") != "no-store" || got.Header.Get("Content-Type") != "application/json" || !got.Close {
		t.Errorf("headers %q", got.Header)
	}
}

func TestTheAuditRecordIsComplete(t *testing.T) {
	w := newWorld(t)
	signed, unsigned := w.signed(imageOf("signed"), "v1"), w.unsigned(imageOf("unsigned"), "v2")
	before := time.Now()
	for ref, want := range map[string]audit.Record{
		"v1": {Decision: audit.Allowed, Status: 200, Digest: signed.digest.String(), Signers: []string{"gpg:" + fmt.Sprintf("%X", w.key.entity.PrimaryKey.Fingerprint)}},
		"v2": {Decision: audit.Denied, Status: 403, Digest: unsigned.digest.String(), Reasons: []string{"signedBy: no signatures found at"}},
	} {
		got := w.get(manifestPath(app, ref), header("User-Agent", "containerd/1.7"))
		r := w.recordOf(got)
		if r.RequestID == "" || r.RequestID != got.id() || r.Kind != audit.KindManifest || r.Client != "127.0.0.1" || r.UserAgent != "containerd/1.7" ||
			r.Method != "GET" || r.Registry != registryName || r.Repository != repo || r.Reference != ref || r.Scope != registryName ||
			r.Revision != w.engine.Revision() || r.Cached || r.DurationMS <= 0 || r.Time.Before(before) {
			t.Errorf("%s: %+v", ref, r)
		}
		if r.Decision != want.Decision || r.Status != want.Status || r.Digest != want.Digest || len(r.Signers) != len(want.Signers) ||
			len(want.Signers) > 0 && !strings.EqualFold(r.Signers[0], want.Signers[0]) || len(want.Reasons) > 0 && !strings.HasPrefix(lines(r.Reasons), want.Reasons[0]) {
			t.Errorf("%s: %+v, want %+v", ref, r, want)
		}
		if again := w.recordOf(w.get(manifestPath(app, ref))); !again.Cached {
			t.Errorf("%s, again: %+v", ref, again)
		}
	}
}

func TestEveryRefusalCarriesARequestID(t *testing.T) {
	w := newWorld(t)
	w.unsigned(imageOf("unsigned"), "denied")
	w.registry.answer(manifestPath(repo, "busy"), status(429))
	w.registry.answer(manifestPath(repo, "broken"), status(500))
	w.registry.answer(manifestPath(repo, "odd"), bytesOf([]byte("odd")))
	seen := map[string]bool{}
	for path, status := range map[string]int{
		manifestPath(app, "-x"): 400, manifestPath(app, "denied"): 403, manifestPath(app, "missing"): 404, "/v2/nothing": 404,
		manifestPath(app, "busy"): 429, manifestPath(app, "odd"): 502, manifestPath(app, "broken"): 503, manifestPath("other.example.com/x", "v1"): 403,
	} {
		got := w.wantStatus(path, status)
		if len(got.wire) != 1 || got.id() == "" || got.wire[0].Detail.RequestID != got.id() || got.wire[0].Message == "" || got.wire[0].Code == "" || seen[got.id()] {
			t.Errorf("%s: %s", path, got)
		}
		seen[got.id()] = true
		// Docker reads these on every answer of a registry.
		if got.Header.Get("Docker-Distribution-Api-Version") != "registry/2.0" || got.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: headers %q", path, got.Header)
		}
	}
}

func TestTheCodeIsWhatTheClientPrintsBest(t *testing.T) {
	w := newWorld(t)
	img := w.unsigned(imageOf("unsigned"), "v1")
	for agent, code := range map[string]string{
		"docker/28.5.0 go/go1.24 git-commit/x kernel/6.1 os/linux arch/amd64 UpstreamClient(Docker-Client/28.5.0 \\(linux\\))": "MANIFEST_UNVERIFIED",
		"docker/20.10.24": "MANIFEST_UNVERIFIED",
		"docker/28.5.0 containerd-client/2.1.4 more":  "DENIED",
		"containerd/1.7.24":                           "DENIED",
		"containers/5.34.2 (github.com/containers/…)": "DENIED",
		"skopeo/1.18.0":                               "DENIED",
		"buildkit/v0.26":                              "DENIED",
		"x docker/28":                                 "DENIED",
		"":                                            "DENIED",
	} {
		for _, path := range []string{manifestPath(app, "v1"), blobPath(app, img.layer())} {
			if got := w.get(path, header("User-Agent", agent)); got.StatusCode != 403 || got.wire[0].Code != code {
				t.Errorf("%q: expected %s, got %s", agent, code, got)
			}
		}
	}
}

func TestOnlyPulls(t *testing.T) {
	w := newWorld(t)
	img := w.signed(imageOf("signed"), "v1")
	w.wantManifest(manifestPath(app, "v1"), img)
	before := len(w.registry.requests())
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get"} {
		for _, path := range []string{manifestPath(app, "v1"), manifestPath(app, img.digest), blobPath(app, img.layer()), "/v2/" + app + "/blobs/uploads/",
			"/v2/" + app + "/blobs/uploads/123?digest=" + img.layer().String(), "/v2/" + app + "/blobs/uploads/?mount=" + img.layer().String() + "&from=x", "/v2/"} {
			got := w.raw(method + " " + path + " HTTP/1.1")
			if got.StatusCode != 405 || got.Header.Get("Allow") != "GET, HEAD" || !strings.Contains(string(got.body), `"UNSUPPORTED"`) {
				t.Errorf("expected 405, got %s", got)
			}
		}
	}
	if n := len(w.registry.requests()) - before; n != 0 {
		t.Errorf("%d requests went upstream", n)
	}
}

func TestAnUnwantedBodyIsNotWaitedFor(t *testing.T) {
	w := newWorld(t)
	w.unsigned(imageOf("unsigned"), "v1")
	start := time.Now()
	for _, line := range []string{"PUT " + manifestPath(app, "v1"), "GET " + manifestPath(app, "v1"), "POST /v2/" + app + "/blobs/uploads/"} {
		got := w.raw(line + " HTTP/1.1\r\nContent-Length: 1000000")
		if got.StatusCode != 405 && got.StatusCode != 403 || !got.Close {
			t.Errorf("got %s", got)
		}
	}
	if took := time.Since(start); took > 8*time.Second {
		t.Errorf("three refusals took %s", took)
	}
}

// What signatures say about themselves is anybody's text.
func TestHostileTextsStayText(t *testing.T) {
	evil := "x\r\nX-Evil: 1\r\n\r\nHTTP/1.1 200 OK\x00\x1b[2J\x7f\u202e\u2028é" + strings.Repeat("y", 5000)
	identities := newWorld(t)
	img := identities.unsigned(imageOf("image"), "v1")
	identities.storeSignature(app, img.digest, identities.key.sign(evil, img.digest))

	j := &judge{revision: "1", answer: func(verify.Subject) (verify.Verdict, error) {
		v := denying(evil)
		v.Scope = evil
		v.Requirements[0].WouldPass = evil
		for range 500 {
			v.Requirements[0].Found = append(v.Requirements[0].Found, evil)
		}
		return v, nil
	}}
	verdicts := newWorld(t, func(_ *world, s *settings) { s.fake = j })
	verdicts.unsigned(img, "v1")

	k := &judge{revision: "1", answer: func(verify.Subject) (verify.Verdict, error) { return verify.Verdict{}, errors.New(evil) }}
	doubts := newWorld(t, func(_ *world, s *settings) { s.fake = k })
	doubts.unsigned(img, "v1")

	for name, w := range map[string]*world{"signed identity": identities, "verdict": verdicts, "error": doubts} {
		for _, method := range []string{"GET", "HEAD"} {
			w.t = t
			got := w.onWire(method + " " + manifestPath(app, "v1") + " HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n")
			head, body, ok := strings.Cut(got, "\r\n\r\n")
			line, _, _ := strings.Cut(head, "\r\n")
			if !ok || len(line) > 430 || !strings.HasPrefix(line, "HTTP/1.1 403 Denied") && !strings.HasPrefix(line, "HTTP/1.1 503 Not verified: ") {
				t.Errorf("%s: status line %q", name, line)
			}
			for _, c := range head {
				if c != '\r' && c != '\n' && (c < ' ' || c > '~') {
					t.Errorf("%s: %q in the header %q", name, c, head)
				}
			}
			if strings.Contains(strings.ReplaceAll(head, line, ""), "X-Evil") || strings.Count(head, "HTTP/1.1 ") > strings.Count(line, "HTTP/1.1 ") || method == "HEAD" && body != "" {
				t.Errorf("%s: %q", name, got)
			}
			if strings.ContainsAny(body, "\r\n\x00\x1b") || len(body) > 2<<20 {
				t.Errorf("%s: a body of %d bytes %q", name, len(body), clipped([]byte(body)))
			}
		}
		w.get(manifestPath(app, "v1"))
		for _, r := range w.records.snapshot() {
			if len(r.Reasons) > 50 {
				t.Errorf("%s: %d reasons in one record", name, len(r.Reasons))
			}
		}
	}
}

func TestHTTP2HasNoReasonPhraseAndStillRefuses(t *testing.T) {
	w := newWorld(t, func(_ *world, s *settings) { s.http2 = true })
	img := w.unsigned(imageOf("unsigned"), "v1")
	for _, path := range []string{manifestPath(app, "v1"), manifestPath(app, img.digest), blobPath(app, img.layer()), manifestPath("other.example.com/x", "v1")} {
		got := w.wantDenied(path)
		if got.ProtoMajor != 2 || got.Status != "403 Forbidden" && got.Status != "403 " {
			t.Errorf("%s: %s %q", path, got.Proto, got.Status)
		}
	}
	w.registry.answer(manifestPath(repo, "v2"), status(500))
	w.wantUnavailable(manifestPath(app, "v2"))
	signed := w.signed(imageWith([]byte("{}"), []byte("layer"), large), "v3")
	w.wantManifest(manifestPath(app, "v3"), signed)
	w.wantBlob(blobPath(app, signed.layer()), signed.blobs[1])
	w.wantBlob(blobPath(app, digestOf(large)), large)
	w.registry.answer(blobPath(repo, digestOf(large)), bytesOf(randomBytes(len(large), 4)))
	if got := w.get(blobPath(app, digestOf(large))); got.err == nil {
		t.Errorf("a wrong blob arrived: %s", got.Status)
	}
}

func TestHTTP10(t *testing.T) {
	w := newWorld(t)
	signed := w.signed(imageOf("signed"), "v1")
	w.unsigned(imageOf("unsigned"), "v2")
	if got := w.raw("GET " + manifestPath(app, "v1") + " HTTP/1.0"); got.StatusCode != 200 || string(got.body) != string(signed.manifest) {
		t.Errorf("got %s", got)
	}
	if got := w.raw("GET " + manifestPath(app, "v2") + " HTTP/1.0"); got.StatusCode != 403 || got.Proto != "HTTP/1.0" || !strings.HasPrefix(got.phrase(), "Denied by image policy") {
		t.Errorf("got %s", got)
	}
}

// noHijack is a transport whose connections cannot be taken over.
type noHijack struct{ http.ResponseWriter }

func (noHijack) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return nil, nil, errors.New("this connection cannot be taken over")
}

type noMethods struct{ http.ResponseWriter }

func TestAConnectionThatCannotBeTakenOverGetsAPlainRefusal(t *testing.T) {
	for name, wrap := range map[string]func(http.ResponseWriter) http.ResponseWriter{
		"fails":   func(w http.ResponseWriter) http.ResponseWriter { return noHijack{w} },
		"missing": func(w http.ResponseWriter) http.ResponseWriter { return noMethods{w} },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(_ *world, s *settings) {
				s.wrap = func(next http.Handler) http.Handler {
					return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { next.ServeHTTP(wrap(rw), r) })
				}
			})
			w.unsigned(imageOf("unsigned"), "v1")
			got := w.wantDenied(manifestPath(app, "v1"))
			if got.phrase() != "Forbidden" {
				t.Errorf("reason phrase %q", got.phrase())
			}
			signed := w.signed(imageWith([]byte("{}"), []byte("layer"), large), "v2")
			w.wantManifest(manifestPath(app, "v2"), signed)
			w.wantBlob(blobPath(app, digestOf(large)), large)
		})
	}
}

func TestAnAuditLogThatCannotBeWrittenIsCounted(t *testing.T) {
	w := newWorld(t)
	img := w.signed(imageOf("signed"), "v1")
	w.records.err = errors.New("disk full")
	if got := w.get(manifestPath(app, "v1")); got.StatusCode != 200 || string(got.body) != string(img.manifest) {
		t.Errorf("got %s", got)
	}
	w.recordOf(w.get(manifestPath(app, "v1")))
	w.counted.mu.Lock()
	defer w.counted.mu.Unlock()
	if w.counted.audits == 0 {
		t.Error("nobody was told")
	}
}

func TestAVerifierThatPanicsDecidesNothing(t *testing.T) {
	j := &judge{revision: "1", answer: func(verify.Subject) (verify.Verdict, error) { panic("a parser tripped") }}
	w := newWorld(t, func(_ *world, s *settings) { s.fake = j })
	w.unsigned(multiArch("image"), "v1")
	w.wantUnavailable(manifestPath(app, "v1"))
}

// tripping is an upstream whose answers trip a parser.
type tripping struct{ proxy.Upstream }

func (tripping) Manifest(context.Context, reference.Named) (upstream.Manifest, error) {
	panic("a parser tripped")
}

func TestAFetchThatPanicsDecidesNothing(t *testing.T) {
	w := newWorld(t, func(_ *world, s *settings) { s.over = func(u proxy.Upstream) proxy.Upstream { return tripping{u} } })
	w.wantUnavailable(manifestPath(app, "v1"))
	w.wantUnavailable(manifestPath(app, digest.FromString("x")))
}

// fragile is a memory that trips over one manifest.
type fragile struct {
	proxy.Content[*proxy.Manifest]
	over digest.Digest
}

func (f fragile) Get(repo string, d digest.Digest) (*proxy.Manifest, bool) {
	if d == f.over {
		panic("a memory tripped")
	}
	return f.Content.Get(repo, d)
}

func TestAChildThatPanicsDecidesNothing(t *testing.T) {
	index := multiArch("image")
	w := newWorld(t, func(_ *world, s *settings) {
		s.memory = func(c proxy.Content[*proxy.Manifest]) proxy.Content[*proxy.Manifest] {
			return fragile{c, index.children[0].digest}
		}
	})
	w.unsigned(index, "v1")
	w.sign(w.key, app+":v1", index.children[1])
	w.wantUnavailable(manifestPath(app, "v1"))
}

func TestTheZeroVerdictDenies(t *testing.T) {
	j := &judge{revision: "1", answer: func(verify.Subject) (verify.Verdict, error) { return verify.Verdict{}, nil }}
	w := newWorld(t, func(_ *world, s *settings) { s.fake = j })
	w.unsigned(imageOf("image"), "v1")
	got := w.wantDenied(manifestPath(app, "v1"))
	if !strings.Contains(got.phrase(), "no requirement was met") {
		t.Errorf("reason phrase %q", got.phrase())
	}
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, httptest.NewRequest("GET", manifestPath(app, "v1"), nil))
	if rec.Code != 403 {
		t.Errorf("without a connection: %d", rec.Code)
	}
}
