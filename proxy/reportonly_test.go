package proxy_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/proxy/audit"
	"github.com/pullgate/pullgate/verify"
)

// Rule 8: report-only scopes forward what would be denied, and say so.

// wantReported pulls by GET and HEAD and expects content with a warning.
func (w *world) wantReported(path string, content []byte) {
	w.t.Helper()
	got := w.get(path)
	if got.StatusCode != 200 || !bytes.Equal(got.body, content) {
		w.t.Errorf("expected content, got %s", got)
	}
	if r := w.recordOf(got); r.Decision != audit.ReportOnly || r.Status != 200 || len(r.Reasons) == 0 {
		w.t.Errorf("%s: audit record %+v", path, r)
	}
	if !strings.Contains(path, "/manifests/") {
		return
	}
	for _, a := range []answer{got, w.head(path)} {
		warning := a.Header.Get("Warning")
		if !strings.HasPrefix(warning, `299 - "report only: would be denied by image policy `) || !strings.HasSuffix(warning, `"`) || strings.Count(warning, `"`) != 2 {
			w.t.Errorf("Warning %q", warning)
		}
	}
}

func TestReportOnly(t *testing.T) {
	for _, scope := range []string{registryName, registryName + "/team", app} {
		t.Run(scope, func(t *testing.T) {
			w := newWorld(t, func(_ *world, s *settings) { s.reportOnly = []string{scope} })
			signed, unsigned := w.signed(imageOf("signed"), "v1"), w.unsigned(multiArch("unsigned"), "v2")
			child := unsigned.children[0]
			w.wantManifest(manifestPath(app, "v1"), signed)
			if got := w.get(manifestPath(app, "v1")); got.Header.Get("Warning") != "" {
				t.Errorf("a warning about a signed image: %s", got)
			}
			w.wantReported(manifestPath(app, "v2"), unsigned.manifest)
			w.wantReported(manifestPath(app, unsigned.digest), unsigned.manifest)
			w.wantReported(manifestPath(app, child.digest), child.manifest)
			w.wantReported(blobPath(app, child.layer()), child.blobs[1])
			w.wantReported(blobPath(app, child.config()), child.blobs[0])
			// What is no manifest's stays nobody's.
			w.registry.put(blobPath(repo, digestOf([]byte("orphan"))), []byte("orphan"))
			w.wantDenied(blobPath(app, digestOf([]byte("orphan"))))
			w.wantDenied(blobPath(app, child.digest))
		})
	}
}

func TestReportOnlyOfOneTagAndOfTheDefault(t *testing.T) {
	w := newWorld(t, func(_ *world, s *settings) { s.reportOnly = []string{app + ":v2", "default"} })
	index := w.unsigned(multiArch("unsigned"), "v2", "v3")
	w.wantReported(manifestPath(app, "v2"), index.manifest)
	w.wantReported(manifestPath(app, index.children[1].digest), index.children[1].manifest) // :v2 led there
	w.wantDenied(manifestPath(app, "v3"))

	other := newWorld(t, func(_ *world, s *settings) {
		s.reportOnly = []string{"default"}
		delete(s.policy, "docker.io")
	})
	img := imageOf("hub's")
	other.hub.push("library/nginx", img, "v1")
	other.wantReported("/v2/nginx/manifests/v1", img.manifest)
	other.unsigned(img, "v1")
	other.wantDenied(manifestPath(app, "v1")) // not the default's
}

func TestAMoreSpecificScopeStaysEnforced(t *testing.T) {
	w := newWorld(t, func(w *world, s *settings) {
		s.policy[app] = list{signedBy(w.key)}
		s.policy[registryName+"/team/strict:v1"] = list{reject}
		s.reportOnly = []string{registryName, "default", "*.example.com"}
	})
	img := w.unsigned(imageOf("unsigned"), "v1")
	w.wantDenied(manifestPath(app, "v1"))
	w.wantDenied(manifestPath(app, img.digest))
	w.wantDenied(blobPath(app, img.layer()))
	w.registry.push("team/other", img, "v1")
	w.wantReported(manifestPath(registryName+"/team/other", "v1"), img.manifest)
	w.registry.push("team/strict", img, "v1")
	w.wantDenied(manifestPath(registryName+"/team/strict", "v1"))
}

func TestReportOnlyIsNoExcuseForWrongBytesOrOutages(t *testing.T) {
	w := newWorld(t, func(_ *world, s *settings) { s.reportOnly = []string{registryName} })
	img := w.unsigned(imageOf("unsigned"), "v1", "v2")
	w.registry.answer(manifestPath(repo, img.digest), bytesOf(imageOf("other").manifest))
	w.wantStatus(manifestPath(app, img.digest), 502)
	w.registry.answer(manifestPath(repo, "v1"), saying(img.digest, imageOf("other").manifest))
	w.wantStatus(manifestPath(app, "v1"), 502)
	w.registry.answer(manifestPath(repo, "v1"), bytesOf([]byte(`{"schemaVersion":2,"layers":[],"manifests":[]}`)))
	w.wantStatus(manifestPath(app, "v1"), 502)
	w.sigs.answer(signaturePath(app, img.digest, 1), status(500))
	w.wantUnavailable(manifestPath(app, "v2"))
	w.sigs.answer(signaturePath(app, img.digest, 1), nil)
	w.wantReported(manifestPath(app, "v2"), img.manifest)
	w.registry.answer(blobPath(repo, img.layer()), bytesOf([]byte("other")))
	if got := w.get(blobPath(app, img.layer())); got.StatusCode != 502 {
		t.Errorf("a wrong blob: %s", got)
	}
}

func TestAWarningHoldsNothingThatBreaksAHeader(t *testing.T) {
	j := &judge{revision: "1", answer: func(verify.Subject) (verify.Verdict, error) {
		v := denying("a\r\nSet-Cookie: x=\"y\\\"\x00\x1b[31m – ünsigned" + strings.Repeat("x", 5000))
		v.Scope = registryName
		return v, nil
	}}
	w := newWorld(t, func(_ *world, s *settings) { s.fake, s.reportOnly = j, []string{registryName} })
	img := w.unsigned(imageOf("unsigned"), "v1")
	w.wantReported(manifestPath(app, "v1"), img.manifest)
	got := w.get(manifestPath(app, "v1"))
	if len(got.Header["Warning"]) != 1 || len(got.Header.Get("Warning")) > 500 || got.Header.Get("Set-Cookie") != "" || strings.ContainsAny(got.Header.Get("Warning"), "\\\x1b\x00") {
		t.Errorf("headers %q", got.Header)
	}
}

func TestReportOnlyDoesNotForwardWhatIsInDoubt(t *testing.T) {
	j := &judge{revision: "1", answer: func(verify.Subject) (verify.Verdict, error) {
		return verify.Verdict{Scope: registryName}, errors.New("nobody can tell")
	}}
	w := newWorld(t, func(_ *world, s *settings) { s.fake, s.reportOnly = j, []string{registryName} })
	w.unsigned(imageOf("unsigned"), "v1")
	w.wantUnavailable(manifestPath(app, "v1"))
}
