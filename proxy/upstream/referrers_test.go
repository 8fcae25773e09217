package upstream

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// referrersPage answers with an index of n descriptors that start at a number.
func referrersPage(w http.ResponseWriter, start, n int) {
	w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex+"; charset=utf-8")
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":1}`, ocispec.MediaTypeImageManifest, digest.FromString(fmt.Sprint(start+i))))
	}
	fmt.Fprintf(w, `{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, ocispec.MediaTypeImageIndex, strings.Join(list, ","))
}

func TestReferrersFollowPagesOnTheirOwnHost(t *testing.T) {
	subject := of(t, "r.example/x", imageManifest(""))
	path := "/p/v2/x/referrers/" + subject.Digest().String()
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		page := r.URL.Query().Get("page")
		w.Header().Set("Link", map[string]string{
			"":    `<` + path + `?page=2>; rel="next"`,
			"2":   `<?page=3&extra=a%26b>; rel=next`,
			"3":   `<http://` + r.Host + path + `?page=4>; title="a,b"; rel="first next"`,
			"4":   `<` + strings.TrimPrefix(path, "/p") + `?page=end>; rel="next", </else>; rel="prev"`, // as behind a proxy that cuts the prefix
			"end": `<` + path + `>; rel="prev"`,
		}[page])
		referrersPage(w, len(page)*1000+int(append([]byte(page), 0)[0]), 2)
	})
	c := open(t, options(srv.URL+"/p"))
	got, err := c.Referrers(t.Context(), subject)
	if err != nil || len(got) != 10 {
		t.Errorf("%d referrers, %v", len(got), err)
	}
	srv.wantRequests(t, "GET "+path, "GET "+path, "GET "+path, "GET "+path, "GET "+path)
}

func TestReferrersLists(t *testing.T) {
	elsewhere := serve(t, func(w http.ResponseWriter, r *http.Request) { referrersPage(w, 0, 1) })
	index := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
			io.WriteString(w, body)
		}
	}
	link := func(l string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", l)
			referrersPage(w, 0, 1)
		}
	}
	tests := map[string]http.HandlerFunc{
		"link to another host": link(`<` + elsewhere.URL + `/v2/x/referrers/` + digest.FromString("").String() + `?page=2>; rel="next"`),
		"link to another port": link(`<https://127.0.0.1/v2/x/referrers/` + digest.FromString("").String() + `?page=2>; rel="next"`),
		"link of great length": link(`<?page=` + strings.Repeat("2", 5000) + `>; rel="next"`),
		"link to another path": link(`</v2/y/referrers/z?page=2>; rel="next"`),
		"link to another scheme": func(w http.ResponseWriter, r *http.Request) {
			link(`<https://`+r.Host+r.URL.Path+`?page=2>; rel="next"`)(w, r)
		},
		"link without a query": link(`<>; rel="next"`),
		"link to itself":       link(`<?>; rel="next"`),
		"unreadable link":      link(`next`),
		"two next links":       link(`<?a=1>; rel="next", <?a=2>; rel="next"`),
		"endless pages": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", `<?page=`+r.URL.Query().Get("page")+`1>; rel="next"`)
			referrersPage(w, 0, 1)
		},
		"too many at once": func(w http.ResponseWriter, r *http.Request) { referrersPage(w, 0, maxReferrers+1) },
		"too many in all": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", `<?page=`+r.URL.Query().Get("page")+`1>; rel="next"`)
			referrersPage(w, 0, 101)
		},
		"too large in all": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
			if n := r.URL.Query().Get("page"); len(n) < 5 {
				w.Header().Set("Link", `<?page=`+n+`1>; rel="next"`)
			}
			fmt.Fprintf(w, `{"schemaVersion":2,"manifests":[],"annotations":{"x":%q}}`, strings.Repeat("x", 1<<20))
		},
		"an HTML page": func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "<html>") },
		"JSON of another type": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"schemaVersion":2,"manifests":[]}`)
		},
		"an image manifest": index(string(imageManifest(""))),
		"many of nothing":   index(`{"schemaVersion":2,"manifests":[` + strings.Repeat("{},", 1<<20) + `{}]}`),
		"not JSON":          index(`{`),
		"no schema version": index(`{"manifests":[]}`),
		"a bad digest":      index(`{"schemaVersion":2,"manifests":[{"digest":"sha256:../x","size":1}]}`),
		"a negative size":   index(`{"schemaVersion":2,"manifests":[{"digest":"` + digest.FromString("").String() + `","size":-1}]}`),
		"lost on page two": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.RawQuery != "" {
				w.WriteHeader(http.StatusNotFound)
				return
			}
			link(`<?page=2>; rel="next"`)(w, r)
		},
	}
	for name, h := range tests {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, h)
			_, err := open(t, options(srv.URL)).Referrers(t.Context(), of(t, "r.example/x", nil))
			wantKind(t, err, Invalid)
			if name == "many of nothing" && !strings.Contains(err.Error(), "values") {
				t.Errorf("all of it was built before it was refused: %v", err)
			}
			n := len(srv.requests())
			if n > maxReferrerPages || n > 1 && (strings.HasPrefix(name, "link to another") || name == "link of great length") {
				t.Errorf("%d requests", n)
			}
		})
	}
	elsewhere.wantRequests(t)
}

func TestReferrersFallBackToTheTag(t *testing.T) {
	image := imageManifest("")
	sig := imageManifest(withSubject(image))
	subject := of(t, "r.example/x", image)
	tag := strings.Replace(subject.Digest().String(), ":", "-", 1)
	tests := map[string]struct {
		api, tag int
		body     string
		n        int
		fails    bool
		kind     Kind
	}{
		"tag there":     {api: 404, tag: 200, body: string(indexOf("", sig)), n: 1},
		"no tag":        {api: 404, tag: 404},
		"tag is down":   {api: 404, tag: 503, fails: true, kind: Unavailable},
		"tag refused":   {api: 404, tag: 403, fails: true, kind: Refused},
		"tag is busy":   {api: 404, tag: 429, fails: true, kind: TooManyRequests},
		"the subject":   {api: 404, tag: 200, body: string(image)},
		"not an index":  {api: 404, tag: 200, body: string(sig), fails: true, kind: Invalid},
		"API is down":   {api: 500, tag: 404, fails: true, kind: Unavailable},
		"API refuses":   {api: 403, tag: 404, fails: true, kind: Refused},
		"API forbids":   {api: 405, tag: 404, fails: true, kind: Invalid},
		"API redirects": {api: 301, tag: 404, fails: true, kind: Invalid},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.URL.Path, "/referrers/") {
					w.WriteHeader(tt.api)
					return
				}
				w.WriteHeader(tt.tag)
				io.WriteString(w, tt.body)
			})
			list, via, err := open(t, options(srv.URL)).ReferrersVia(t.Context(), subject)
			if want := map[bool]string{true: "no referrers API, so tag " + tag, false: "referrers API"}[tt.api == 404]; via != want {
				t.Errorf("expected to be told of %q, found %q", want, via)
			}
			if tt.fails {
				wantKind(t, err, tt.kind)
				return
			}
			if err != nil || list == nil || len(list) != tt.n {
				t.Errorf("%v, %v", list, err)
			}
			srv.wantRequests(t, "GET /v2/x/referrers/"+subject.Digest().String(), "GET /v2/x/manifests/"+tag)
		})
	}
}

func TestFallbackTagOfLongDigests(t *testing.T) {
	d := digest.SHA512.FromString("x")
	ref, err := fallbackRef(at(t, "r.example/x", d))
	if err != nil || ref.Tag() != "sha512-"+d.Encoded()[:64] {
		t.Errorf("%v, %v", ref, err)
	}
}

func TestNextLink(t *testing.T) {
	tests := []struct {
		header []string
		want   string // empty: none
		ok     bool
	}{
		{nil, "", true},
		{[]string{`</a?b>; rel="next"`}, "/a?b", true},
		{[]string{`</a?b>;REL=Next`}, "/a?b", true},
		{[]string{`</x>; rel=prev, </a>; title="x,<y>; rel=next"; rel=next`}, "/a", true},
		{[]string{`</x>; rel=prev`, `</a>; rel=next`}, "/a", true},
		{[]string{`</a>; rel="last next"`}, "/a", true},
		{[]string{`</a>; rel=prev; rel=next`, `</b>; rev=next`, `</c>`}, "", true},
		{[]string{`</a>; rel=next, </b>; rel=next`}, "", false},
		{[]string{`</a>; rel=next`, `</b>; rel=next`}, "", false},
		{[]string{`/a; rel=next`}, "", false},
		{[]string{`</a; rel=next`}, "", false},
		{[]string{`</a>; rel="next`}, "", false},
		{[]string{`<%zz>; rel=next`}, "", false},
	}
	for _, tt := range tests {
		u, err := nextLink(http.Header{"Link": tt.header})
		got := ""
		if u != nil {
			got = u.String()
		}
		if (err == nil) != tt.ok || got != tt.want {
			t.Errorf("%q: %q, %v", tt.header, got, err)
		}
	}
}

func FuzzNextLink(f *testing.F) {
	for _, seed := range []string{`</v2/x/tags/list?n=1&last=a>; rel="next"`, `<a>; rel=next, <b>; rel="prev"`, `<a>; title="\",<b>; rel=next"; rel="next"`,
		`<http://x.example/?a>;rel="NEXT last"`, `<`, `<>`, `,,,`, `<a>;;;rel`, `<a>; rel="next`, `<%zz>; rel=next`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		u, err := nextLink(http.Header{"Link": {header}})
		if err != nil && u != nil {
			t.Fatal("a link and an error")
		}
		if u == nil {
			return
		}
		if !strings.Contains(strings.ToLower(header), "next") {
			t.Fatalf("%q has no next link, got %s", header, u)
		}
		if _, err := url.Parse(u.String()); err != nil {
			t.Fatalf("%q gave a link that cannot be written: %v", header, err)
		}
	})
}

func FuzzReferrers(f *testing.F) {
	f.Add(indexOf("", imageManifest("")))
	f.Add([]byte(`{"schemaVersion":2,"manifests":null}`))
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"digest":"sha256:x","size":-1}]}`))
	f.Fuzz(func(t *testing.T, index []byte) {
		list, err := addReferrers(nil, index)
		if err != nil && list != nil {
			t.Fatal("a list and an error")
		}
		for _, d := range list {
			if d.Digest.Validate() != nil || d.Size < 0 {
				t.Fatalf("descriptor %v passed", d)
			}
		}
	})
}
