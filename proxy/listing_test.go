package proxy_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/proxy/audit"
)

func tagsOf(t *testing.T, a answer) []string {
	t.Helper()
	var list struct {
		Name string
		Tags []string
	}
	if err := json.Unmarshal(a.body, &list); err != nil || list.Tags == nil {
		t.Fatalf("%s: %v", a, err)
	}
	return list.Tags
}

func TestTagsByPages(t *testing.T) {
	w := newWorld(t)
	all := []string{"a", "b", "c", "d", "e"}
	w.registry.answer("/v2/"+repo+"/tags/list", func(rw http.ResponseWriter, r *http.Request) {
		n, rest := 2, all
		if last := r.URL.Query().Get("last"); last != "" {
			rest = all[slices.Index(all, last)+1:]
		}
		if len(rest) > n {
			rest = rest[:n]
			rw.Header().Set("Link", fmt.Sprintf(`<https://evil.example/v2/x/tags/list?n=%d&last=%s>; rel="next"`, n, rest[n-1]))
		}
		_, _ = rw.Write(mustJSON(object{"name": "evil", "tags": rest}))
	})
	for _, start := range []string{"/v2/" + app + "/tags/list?n=2", "/v2/corp/" + repo + "/tags/list?n=2", "/v2/" + repo + "/tags/list?n=2&ns=" + registryName} {
		var got []string
		name := strings.TrimSuffix(strings.TrimPrefix(start[:strings.Index(start, "?")], "/v2/"), "/tags/list")
		for path := start; path != ""; {
			a := w.get(path)
			if a.StatusCode != 200 || !strings.Contains(string(a.body), `"name":"`+name+`"`) || len(got) > 10 {
				t.Fatalf("got %s", a)
			}
			got = append(got, tagsOf(t, a)...)
			// The next page is asked for at the gate, under the name the client used.
			path, _, _ = strings.Cut(strings.TrimPrefix(a.Header.Get("Link"), "<"), ">")
			if path != "" && (!strings.HasPrefix(path, "/v2/"+name+"/tags/list?") || strings.Contains(start, "ns=") != strings.Contains(path, "ns="+registryName)) {
				t.Errorf("the next page is at %q", path)
			}
		}
		if !slices.Equal(got, all) {
			t.Errorf("%s: tags %v", start, got)
		}
	}
	if got := tagsOf(t, w.get("/v2/"+app+"/tags/list?n=0")); len(got) != 0 {
		t.Errorf("n=0: %v", got)
	}
	for _, n := range []string{"-1", "x", "1.5", "99999999999999999999"} {
		w.wantStatus("/v2/"+app+"/tags/list?n="+n, 400)
	}
	if got := w.head("/v2/" + app + "/tags/list"); got.StatusCode != 200 || got.ContentLength <= 0 || len(got.body) != 0 {
		t.Errorf("HEAD: %s", got)
	}
}

func TestTagsInTrouble(t *testing.T) {
	w := newWorld(t)
	path := "/v2/" + app + "/tags/list"
	if got := w.wantStatus(path, 404); got.wire[0].Code != "NAME_UNKNOWN" {
		t.Errorf("no such repository: %s", got)
	}
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		status int
	}{"500": {status(500), 503}, "429": {status(429), 429}, "401": {status(401), 502}, "not JSON": {html, 502}, "endless": {endless, 502},
		"not tags": {bytesOf([]byte(`{"tags":["../../etc/passwd"]}`)), 502}} {
		w.registry.answer("/v2/"+repo+"/tags/list", tt.answer)
		got := w.wantStatus(path, tt.status)
		if r := w.recordOf(got); r.Decision != audit.Inconclusive && r.Decision != audit.Denied || r.Kind != audit.KindTags || r.Registry != registryName || r.Repository != repo {
			t.Errorf("%s: audit record %+v", name, r)
		}
	}
	w.wantStatus("/v2/"+registryName+"/Upper/tags/list", 400)
	w.wantDenied("/v2/other.example.com/x/tags/list")
}

func referrersOf(t *testing.T, a answer) []ocispec.Descriptor {
	t.Helper()
	var index ocispec.Index
	if err := json.Unmarshal(a.body, &index); err != nil || index.SchemaVersion != 2 || index.MediaType != ociIndex || index.Manifests == nil {
		t.Fatalf("%s: %v", a, err)
	}
	return index.Manifests
}

func TestReferrers(t *testing.T) {
	w := newWorld(t)
	signed, unsigned := w.signed(imageOf("signed"), "v1"), w.unsigned(imageOf("unsigned"), "v2")
	sig := evidenceManifest(cosignPayload, cosignFor(app, signed.digest)).referring(signed)
	evil := imageOf("evil").referring(signed)
	w.unsigned(sig)
	w.unsigned(evil)
	list := func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", ociIndex)
		_, _ = rw.Write(indexWith(list{with(sig.entry(), "artifactType", "application/x.sig"), with(evil.entry(), "artifactType", "application/x.evil")}).manifest)
	}
	path := func(img image) string { return "/v2/" + app + "/referrers/" + img.digest.String() }
	w.registry.answer("/v2/"+repo+"/referrers/"+signed.digest.String(), list)
	w.registry.answer("/v2/"+repo+"/referrers/"+unsigned.digest.String(), list)

	got := w.get(path(signed))
	if got.StatusCode != 200 || got.Header.Get("Content-Type") != ociIndex || len(referrersOf(t, got)) != 2 || got.Header.Get("OCI-Filters-Applied") != "" {
		t.Errorf("got %s", got)
	}
	filtered := w.get(path(signed) + "?artifactType=application/x.sig")
	if l := referrersOf(t, filtered); len(l) != 1 || l[0].Digest != sig.digest || filtered.Header.Get("OCI-Filters-Applied") != "artifactType" {
		t.Errorf("filtered: %s", filtered)
	}
	w.wantManifest(manifestPath(app, sig.digest), sig) // what is listed is judged when it is asked for
	w.wantDenied(manifestPath(app, evil.digest))
	w.wantDenied(path(unsigned))
	if got := w.get(path(imageOf("nowhere"))); got.StatusCode != 200 || len(referrersOf(t, got)) != 0 {
		t.Errorf("referrers of what is not there: %s", got)
	}
	w.wantStatus("/v2/"+app+"/referrers/v1", 400)
	for name, trouble := range map[string]http.HandlerFunc{"500": status(500), "HTML": html} {
		w.registry.answer("/v2/"+repo+"/referrers/"+signed.digest.String(), trouble)
		if got := w.get(path(signed)); got.StatusCode != 503 && got.StatusCode != 502 {
			t.Errorf("%s: %s", name, got)
		}
	}
	// Without the API the list is at the fallback tag.
	w.registry.answer("/v2/"+repo+"/referrers/"+signed.digest.String(), status(404))
	if got := w.get(path(signed)); got.StatusCode != 200 || len(referrersOf(t, got)) != 0 {
		t.Errorf("no referrers: %s", got)
	}
	w.unsigned(indexOf(sig), strings.TrimSuffix(sigTag(signed.digest), ".sig"))
	if got := w.get(path(signed)); got.StatusCode != 200 || len(referrersOf(t, got)) != 1 {
		t.Errorf("fallback tag: %s", got)
	}
}
