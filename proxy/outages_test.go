package proxy_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pullgate/pullgate/verify/discover"
)

// Rule 7: what cannot be decided is neither "unsigned" nor allowed, and is not
// remembered.

func html(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = fmt.Fprint(w, "<html>please log in</html>")
}

func TestASignatureServerInTroubleDecidesNothing(t *testing.T) {
	good, signer := imageOf("signed"), newSigner(t, "publisher")
	sig := signer.sign(app, good.digest)
	troubles := map[string]http.HandlerFunc{
		"500":                     status(500),
		"502":                     status(502),
		"503":                     status(503),
		"401":                     status(401),
		"403":                     status(403),
		"429":                     status(429),
		"400":                     status(400),
		"410":                     status(410),
		"204":                     status(204),
		"206":                     status(206),
		"HTML with status 200":    html,
		"text with status 200":    bytesOf([]byte("not found")),
		"JSON with status 200":    bytesOf([]byte(`{"error":"not found"}`)),
		"nothing with status 200": bytesOf(nil),
		"no answer":               silent,
		"an answer cut off":       cut(sig[:10], len(sig)),
		"a slow answer":           slowly(sig, 100*time.Millisecond),
		"an endless answer":       http.HandlerFunc(endless).ServeHTTP,
		"too large":               bytesOf(append(bytes.Clone(sig), make([]byte, discover.MaxSignatureBytes)...)),
		"a loop":                  func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) },
		"a redirect to metadata":  http.RedirectHandler("http://169.254.169.254/latest", http.StatusFound).ServeHTTP,
		"a redirect to a file":    http.RedirectHandler("file:///etc/passwd", http.StatusFound).ServeHTTP,
	}
	for name, trouble := range troubles {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(w *world, s *settings) {
				s.policy[registryName] = list{signedByAs(object{"type": "matchRepository"}, signer)}
				s.verdicts.AllowedTTL = 0
				s.upstream.HeaderTimeout, s.upstream.BodyTimeout = 400*time.Millisecond, 400*time.Millisecond
			})
			w.unsigned(good, "v0", "v1")
			first, second := signaturePath(app, good.digest, 1), signaturePath(app, good.digest, 2)
			w.sigs.put(first, sig)
			for i, place := range []string{first, second} { // a good signature before it does not help
				w.sigs.answer(place, trouble)
				w.wantUnavailable(manifestPath(app, fmt.Sprint("v", i)))
				before := w.sigs.count("GET " + place)
				w.wantUnavailable(manifestPath(app, good.digest))
				if w.sigs.count("GET "+place) == before {
					t.Error("the second request did not ask again")
				}
				w.sigs.answer(place, nil)
				w.wantManifest(manifestPath(app, fmt.Sprint("v", i)), good) // at once
			}
		})
	}
}

func TestTooManySignaturesDecideNothing(t *testing.T) {
	w := newWorld(t)
	img := w.unsigned(imageOf("image"), "v1")
	sig := w.stranger.sign(app+":v1", img.digest)
	for n := 1; n <= discover.MaxSignatures; n++ {
		w.sigs.put(signaturePath(app, img.digest, n), sig)
	}
	w.wantDenied(manifestPath(app, "v1"))
	more := w.unsigned(imageOf("more"), "v2")
	for n := 1; n <= discover.MaxSignatures+1; n++ {
		w.sigs.put(signaturePath(app, more.digest, n), sig)
	}
	w.wantUnavailable(manifestPath(app, "v2"))
	if n := w.sigs.count("GET /team/app@sha256=" + more.digest.Encoded()); n > 2*(discover.MaxSignatures+1) {
		t.Errorf("%d requests for two answers", n)
	}
}

func TestARegistryInTroubleDecidesNothing(t *testing.T) {
	good := imageOf("signed")
	tests := map[string]struct {
		answer  http.HandlerFunc
		status  int
		code    string
		audited string
	}{
		"500":             {status(500), 503, "UNAVAILABLE", "inconclusive"},
		"503 with a wait": {waiting(503, "17"), 503, "UNAVAILABLE", "inconclusive"},
		"429":             {waiting(429, "17"), 429, "TOOMANYREQUESTS", "inconclusive"},
		"429 without":     {status(429), 429, "TOOMANYREQUESTS", "inconclusive"},
		"401":             {status(401), 502, "UNKNOWN", "inconclusive"},
		"403":             {status(403), 502, "UNKNOWN", "inconclusive"},
		"404":             {status(404), 404, "MANIFEST_UNKNOWN", ""},
		"no answer":       {silent, 503, "UNAVAILABLE", "inconclusive"},
		"cut":             {cut(good.manifest[:20], len(good.manifest)), 503, "UNAVAILABLE", "inconclusive"},
		"slow":            {slowly(good.manifest, 50*time.Millisecond), 503, "UNAVAILABLE", "inconclusive"},
		"endless":         {endless, 502, "UNKNOWN", "denied"},
		"1 GiB announced": {cut([]byte("{"), 1<<30), 502, "UNKNOWN", "denied"},
		"5 MiB":           {bytesOf(append([]byte(`{"a":"`), bytes.Repeat([]byte("x"), 5<<20)...)), 502, "UNKNOWN", "denied"},
		"204":             {status(204), 502, "UNKNOWN", "denied"},
		"HTML":            {html, 502, "UNKNOWN", "denied"},
		"compressed":      {encoded(good.manifest), 502, "UNKNOWN", "denied"},
		"loop": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
		}, 502, "UNKNOWN", "inconclusive"},
		"off to metadata": {http.RedirectHandler("http://169.254.169.254/latest/meta-data", http.StatusTemporaryRedirect).ServeHTTP, 502, "UNKNOWN", "inconclusive"},
		"off to a file":   {http.RedirectHandler("file:///etc/passwd", http.StatusTemporaryRedirect).ServeHTTP, 502, "UNKNOWN", "inconclusive"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(_ *world, s *settings) {
				if tt.code == "UNAVAILABLE" { // the others have to be decided before time is up
					s.upstream.HeaderTimeout, s.upstream.BodyTimeout = 400*time.Millisecond, 400*time.Millisecond
				}
			})
			w.signed(good, "v1")
			w.registry.answer(manifestPath(repo, "v1"), tt.answer)
			got := w.wantStatus(manifestPath(app, "v1"), tt.status)
			if len(got.wire) != 1 || got.wire[0].Code != tt.code {
				t.Errorf("expected %s, got %s", tt.code, got)
			}
			if r := w.recordOf(got); r.Decision != tt.audited || tt.audited != "" && (r.Status != tt.status || r.Registry != registryName || r.Repository != repo || r.Reference != "v1") {
				t.Errorf("audit record %+v", r)
			}
			wait := got.Header.Get("Retry-After")
			switch {
			case strings.HasSuffix(name, "with a wait") || name == "429":
				if wait != "17" {
					t.Errorf("Retry-After %q", wait)
				}
			case (tt.status == 503 || tt.status == 429) != (wait != ""):
				t.Errorf("Retry-After %q", wait)
			}
			if strings.Contains(string(got.body), "root:") || bytes.Contains(got.body, good.manifest[:20]) {
				t.Errorf("something came through: %s", got)
			}
			w.registry.answer(manifestPath(repo, "v1"), nil)
			w.wantManifest(manifestPath(app, "v1"), good)
		})
	}
}

func waiting(code int, seconds string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", seconds)
		w.WriteHeader(code)
	}
}

func TestARegistryThatIsGone(t *testing.T) {
	w := newWorld(t)
	img := w.signed(imageOf("signed"), "v1")
	w.wantManifest(manifestPath(app, "v1"), img)
	w.registry.CloseClientConnections()
	w.registry.Close()
	w.wantUnavailable(manifestPath(app, "v2"))
	w.wantManifest(manifestPath(app, "v1"), img) // within the tag's time, and judged
	w.wantUnavailable(blobPath(app, img.layer()))
}

// Attachments are found in the registry itself, where "not found" is the only
// answer that means unsigned.
func TestSigstoreAttachments(t *testing.T) {
	key := newCosigner(t)
	w := newWorld(t, uncached, func(_ *world, s *settings) {
		s.policy[registryName] = list{object{"type": "sigstoreSigned", "keyData": key.pem()}}
	})
	img := w.unsigned(imageOf("signed by cosign"), "v1")
	w.wantDenied(manifestPath(app, "v1"))
	attachment := key.sign(app+":v1", img)
	tag := manifestPath(repo, sigTag(img.digest))
	w.unsigned(attachment, sigTag(img.digest))
	w.wantManifest(manifestPath(app, "v1"), img)
	w.wantManifest(manifestPath(app, sigTag(img.digest)), attachment)
	w.wantBlob(blobPath(app, attachment.layer()), attachment.blobs[1])
	for name, trouble := range map[string]http.HandlerFunc{"500": status(500), "401": status(401), "403": status(403), "429": status(429), "HTML": html} {
		t.Log(name)
		w.registry.answer(tag, trouble)
		w.wantUnavailable(manifestPath(app, "v1"))
		w.registry.answer(tag, nil)
		w.registry.answer(blobPath(repo, attachment.layer()), trouble)
		w.wantUnavailable(manifestPath(app, "v1"))
		w.registry.answer(blobPath(repo, attachment.layer()), nil)
	}
	w.wantManifest(manifestPath(app, "v1"), img)
}
