package upstream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// put uploads one thing to a registry.
func put(t *testing.T, method, url, contentType string, body []byte) {
	t.Helper()
	req, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	tr := &http.Transport{DisableKeepAlives: true}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		t.Fatalf("%s %s: %s", method, url, resp.Status)
	}
}

var emptyConfig = []byte("{}")

// imageManifest is a manifest of an empty image, with extra JSON members.
func imageManifest(extra string) []byte {
	return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q%s,"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":%q,"size":2},"layers":[]}`,
		ocispec.MediaTypeImageManifest, extra, digest.FromBytes(emptyConfig))
}

// indexOf is an index of manifests.
func indexOf(extra string, manifests ...[]byte) []byte {
	var list []string
	for _, m := range manifests {
		list = append(list, fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, ocispec.MediaTypeImageManifest, digest.FromBytes(m), len(m)))
	}
	return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[%s]%s}`, ocispec.MediaTypeImageIndex, strings.Join(list, ","), extra)
}

// withSubject are the members that make a manifest a referrer of another.
func withSubject(m []byte) string {
	return fmt.Sprintf(`,"artifactType":"application/x.sig","subject":{"mediaType":%q,"digest":%q,"size":%d}`,
		ocispec.MediaTypeImageManifest, digest.FromBytes(m), len(m))
}

func TestRealRegistry(t *testing.T) {
	srv := serve(t, registry.New(registry.WithReferrersSupport(true), registry.Logger(quiet)).ServeHTTP)
	image := imageManifest("")
	sig := imageManifest(withSubject(image))
	put(t, "POST", srv.URL+"/v2/team/app/blobs/uploads/?digest="+digest.FromBytes(emptyConfig).String(), "application/octet-stream", emptyConfig)
	put(t, "PUT", srv.URL+"/v2/team/app/manifests/v1", ocispec.MediaTypeImageManifest, image)
	put(t, "PUT", srv.URL+"/v2/team/app/manifests/v2", ocispec.MediaTypeImageManifest, image)
	put(t, "PUT", srv.URL+"/v2/team/app/manifests/"+digest.FromBytes(sig).String(), ocispec.MediaTypeImageManifest, sig)

	var mu sync.Mutex
	observed := map[string]int{}
	o := options(srv.URL)
	o.Observe = func(registry, op string, status int, took time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		observed[fmt.Sprintf("%s %s %d", registry, op, status)]++
	}
	c, ctx := open(t, o), t.Context()
	byDigest := of(t, "r.example/team/app", image)

	m, err := c.Manifest(ctx, named(t, "r.example/team/app:v1"))
	if err != nil || !bytes.Equal(m.Bytes, image) || m.ContentType != ocispec.MediaTypeImageManifest {
		t.Errorf("manifest by tag: %q, %v", m, err)
	}
	if b, err := c.ManifestBytes(ctx, byDigest); err != nil || !bytes.Equal(b, image) {
		t.Errorf("manifest by digest: %q, %v", b, err)
	}
	if d, err := c.ResolveTag(ctx, tagged(t, "r.example/team/app:v1")); err != nil || d != byDigest.Digest() {
		t.Errorf("digest of a tag: %s, %v", d, err)
	}
	config := of(t, "r.example/team/app", emptyConfig)
	blob, err := c.Blob(ctx, config)
	if err != nil || blob.Size != 2 {
		t.Fatalf("blob: %v, %v", blob, err)
	}
	if b, err := io.ReadAll(blob.Body); err != nil || !bytes.Equal(b, emptyConfig) {
		t.Errorf("blob: %q, %v", b, err)
	}
	blob.Body.Close()
	if b, err := c.BlobBytes(ctx, config, 2); err != nil || !bytes.Equal(b, emptyConfig) {
		t.Errorf("blob bytes: %q, %v", b, err)
	}
	if n, err := c.StatBlob(ctx, config); err != nil || n != 2 {
		t.Errorf("size of a blob: %d, %v", n, err)
	}
	if page, err := c.Tags(ctx, named(t, "r.example/team/app"), TagCursor{N: 0, Last: ""}); err != nil || !slices.Equal(page.Tags, []string{"v1", "v2"}) || page.Next != nil {
		t.Errorf("tags: %v, %v", page, err)
	}
	refs, err := c.Referrers(ctx, byDigest)
	if err != nil || len(refs) != 1 || refs[0].Digest != digest.FromBytes(sig) {
		t.Errorf("referrers: %v, %v", refs, err)
	}
	if _, supported, err := c.ExtensionSignatures(ctx, byDigest); err != nil || supported {
		t.Errorf("signature extension: %v, %v", supported, err)
	}
	_, err = c.Manifest(ctx, named(t, "r.example/team/app:none"))
	if wantKind(t, err, NotFound); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "MANIFEST_UNKNOWN") {
		t.Errorf("missing manifest: %v", err)
	}
	for _, want := range []string{"r.example manifest 200", "r.example manifest 404", "r.example ping 200", "r.example tags 200", "r.example stat 200"} {
		if observed[want] == 0 {
			t.Errorf("nobody observed %q: %v", want, observed)
		}
	}
}

func TestEveryRequestAsksForTheBytesAsTheyAre(t *testing.T) {
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("{}")) })
	o := options(srv.URL + "/a/prefix/")
	o.UserAgent = "gate/1"
	c := open(t, o)
	if _, err := c.Manifest(t.Context(), named(t, "r.example/x:v1")); err != nil {
		t.Fatal(err)
	}
	srv.wantRequests(t, "GET /a/prefix/v2/x/manifests/v1")
	if got := srv.headers("Accept-Encoding"); got[0] != "identity" {
		t.Errorf("Accept-Encoding: %q", got)
	}
	if got := srv.headers("User-Agent"); got[0] != "gate/1" {
		t.Errorf("User-Agent: %q", got)
	}
	accept := srv.headers("Accept")[0]
	for _, m := range []string{ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageIndex, mediaDockerManifest, mediaDockerList,
		mediaDockerSigned1, mediaDockerSchema1, mediaOCIArtifact, "*/*;q=0.1"} {
		if !strings.Contains(accept, m) {
			t.Errorf("Accept %q lacks %s", accept, m)
		}
	}
}

func TestDigestWinsOverTag(t *testing.T) {
	image := imageManifest("")
	d := digest.FromBytes(image)
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) { w.Write(image) })
	c := open(t, options(srv.URL))
	if _, err := c.ManifestBytes(t.Context(), named(t, "r.example/x:v1@"+d.String())); err != nil {
		t.Fatal(err)
	}
	srv.wantRequests(t, "GET /v2/x/manifests/"+d.String())
}

func TestCheckedReadsRefuseOtherBytes(t *testing.T) {
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("other bytes")) })
	c := open(t, options(srv.URL))
	ref := of(t, "r.example/x", imageManifest(""))
	_, err := c.ManifestBytes(t.Context(), ref)
	wantKind(t, err, Invalid)
	_, err = c.BlobBytes(t.Context(), ref, 100)
	wantKind(t, err, Invalid)
	_, err = c.BlobBytes(t.Context(), ref, 10)
	if wantKind(t, err, Invalid); !strings.Contains(err.Error(), "at most 10 bytes") {
		t.Errorf("oversize blob: %v", err)
	}
	// The plain reads leave that to the caller.
	if m, err := c.Manifest(t.Context(), ref); err != nil || string(m.Bytes) != "other bytes" {
		t.Errorf("manifest: %q, %v", m.Bytes, err)
	}
}

func TestStatusesBecomeKinds(t *testing.T) {
	tests := map[int]Kind{
		404: NotFound, 401: Refused, 403: Refused, 429: TooManyRequests, 500: Unavailable, 502: Unavailable,
		503: Unavailable, 408: Unavailable, 400: Invalid, 405: Invalid, 410: Invalid, 204: Invalid, 206: Invalid, 300: Invalid, 304: Invalid,
	}
	for status, want := range tests {
		srv := serve(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(status) })
		c := open(t, options(srv.URL))
		ref := of(t, "r.example/x", nil)
		_, err := c.Manifest(t.Context(), ref)
		if e := wantKind(t, err, want); e.Status != status {
			t.Errorf("status %d: %v", status, e)
		}
		_, err = c.Blob(t.Context(), ref)
		wantKind(t, err, want)
		_, err = c.StatBlob(t.Context(), ref)
		wantKind(t, err, want)
		_, err = c.Tags(t.Context(), ref, TagCursor{N: 0, Last: ""})
		wantKind(t, err, want)
		if n := len(srv.requests()); n != 4 {
			t.Errorf("status %d: %d requests for 4 calls: answers are final", status, n)
		}
	}
}

func TestRetryAfterIsPassedOnWithinBounds(t *testing.T) {
	soon := time.Now().Add(90 * time.Second).UTC().Format(http.TimeFormat)
	tests := map[string][2]time.Duration{
		"":                              {0, 0},
		"7":                             {7 * time.Second, 7 * time.Second},
		"-3":                            {0, 0},
		"soon":                          {0, 0},
		"99999999999999999999":          {0, 0},
		"86400":                         {time.Hour, time.Hour},
		soon:                            {80 * time.Second, 90 * time.Second},
		"Thu, 01 Jan 2099 00:00:00 GMT": {time.Hour, time.Hour},
		"Thu, 01 Jan 2009 00:00:00 GMT": {0, 0},
	}
	for header, want := range tests {
		srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", header)
			w.WriteHeader(http.StatusTooManyRequests)
		})
		_, err := open(t, options(srv.URL)).Manifest(t.Context(), named(t, "r.example/x:v1"))
		if e := wantKind(t, err, TooManyRequests); e.RetryAfter < want[0] || e.RetryAfter > want[1] {
			t.Errorf("Retry-After %q: %s, want %v", header, e.RetryAfter, want)
		}
	}
}

func TestResolveNeedsADigest(t *testing.T) {
	for _, header := range []string{"", "sha256:short", "sha256:../../etc/passwd"} {
		srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if header != "" {
				w.Header().Set("Docker-Content-Digest", header)
			}
		})
		_, err := open(t, options(srv.URL)).ResolveTag(t.Context(), tagged(t, "r.example/x:v1"))
		wantKind(t, err, Invalid)
		srv.wantRequests(t, "HEAD /v2/x/manifests/v1")
	}
}

func TestTagPages(t *testing.T) {
	tests := map[string]struct {
		body, link string
		want       *TagCursor
		kind       Kind
		fails      bool
	}{
		"last page":        {body: `{"name":"x","tags":["a","b"]}`},
		"no tags":          {body: `{"name":"x","tags":null}`},
		"relative link":    {body: `{"tags":["a"]}`, link: `</v2/x/tags/list?n=2&last=b%2F1>; rel="next"`, want: &TagCursor{N: 2, Last: "b/1"}},
		"link elsewhere":   {body: `{"tags":["a"]}`, link: `<http://169.254.169.254/?n=2&last=b>; rel="next"`, want: &TagCursor{N: 2, Last: "b"}},
		"Quay's cursor":    {body: `{"tags":["a"]}`, link: `</v2/x/tags/list?n=50&next_page=gAAA%3D>; rel="next"`, want: &TagCursor{N: 50, Page: "gAAA="}},
		"no page size":     {body: `{"tags":["a"]}`, link: `<?last=b>; rel=next`, want: &TagCursor{Last: "b"}},
		"other relation":   {body: `{"tags":["a"]}`, link: `<?last=b>; rel="prev"`},
		"no last":          {body: `{"tags":["a"]}`, link: `<?page=xyz>; rel="next"`, fails: true, kind: Invalid},
		"bad page size":    {body: `{"tags":["a"]}`, link: `<?last=b&n=many>; rel="next"`, fails: true, kind: Invalid},
		"negative size":    {body: `{"tags":["a"]}`, link: `<?last=b&n=-1>; rel="next"`, fails: true, kind: Invalid},
		"endless cursor":   {body: `{"tags":["a"]}`, link: `<?last=` + strings.Repeat("b", 5000) + `>; rel="next"`, fails: true, kind: Invalid},
		"unreadable link":  {body: `{"tags":["a"]}`, link: `?last=b; rel="next"`, fails: true, kind: Invalid},
		"not a tag":        {body: `{"tags":["../../etc"]}`, fails: true, kind: Invalid},
		"tag with newline": {body: `{"tags":["a\n"]}`, fails: true, kind: Invalid},
		"not JSON":         {body: `<html>`, fails: true, kind: Invalid},
		"wrong type":       {body: `{"tags":{}}`, fails: true, kind: Invalid},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if tt.link != "" {
					w.Header().Set("Link", tt.link)
				}
				io.WriteString(w, tt.body)
			})
			page, err := open(t, options(srv.URL)).Tags(t.Context(), named(t, "r.example/x"), TagCursor{N: 2, Last: "a/b&c"})
			if got := srv.seen[0].URL.RawQuery; got != "last=a%2Fb%26c&n=2" {
				t.Errorf("query %q", got)
			}
			srv.wantRequests(t, "GET /v2/x/tags/list")
			if tt.fails {
				wantKind(t, err, tt.kind)
				return
			}
			if err != nil || (page.Next == nil) != (tt.want == nil) || page.Next != nil && *page.Next != *tt.want {
				t.Errorf("got %+v, %v, want next %+v", page, err, tt.want)
			}
		})
	}
}

func TestOnlyConfiguredRegistriesAreServed(t *testing.T) {
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("{}")) })
	o := options(srv.URL)
	o.Registries = append(o.Registries, Registry{Name: "mirrored.example", Endpoint: "https://Mirror.example:443/prefix"})
	o.Registries = append(o.Registries, Registry{Name: "docker.io", Endpoint: "https://registry-1.docker.io", Transport: "atomic"})
	closed := open(t, o)
	o.Others = true
	o.seams.send = nobody{t}
	others := open(t, o)
	for _, ref := range []string{"other.example/x:v1", "r.example:443/x:v1", "R.example/x:v1", "localhost/x:v1"} {
		_, err := closed.Manifest(t.Context(), named(t, ref))
		wantKind(t, err, NotServed)
	}
	// With other registries allowed, no second name opens a configured one under
	// other policy scopes, and nothing but public addresses is dialled.
	for _, ref := range []string{"r.example:443/x:v1", "r.example:80/x:v1", "R.example/x:v1", "mirror.example/x:v1", "Other.example/x:v1",
		"registry-1.docker.io/library/x:v1", "registry-1.docker.io:443/library/x:v1", srv.Listener.Addr().String() + "/x:v1",
		"localhost/x:v1", "localhost:5000/x:v1", "127.0.0.1/x:v1", "10.0.0.1:5000/x:v1", "169.254.169.254/x:v1"} {
		_, err := others.Manifest(t.Context(), named(t, ref))
		wantKind(t, err, NotServed)
		_, err = others.Blob(t.Context(), of(t, strings.TrimSuffix(ref, ":v1"), nil))
		wantKind(t, err, NotServed)
	}
	o.Registries = nil
	for _, ref := range []string{"registry-1.docker.io/library/x:v1", "registry-1.docker.io:443/library/x:v1"} {
		_, err := open(t, o).Manifest(t.Context(), named(t, ref))
		wantKind(t, err, NotServed)
	}
	if got := closed.Transport("docker.io") + closed.Transport("r.example") + closed.Transport("other.example"); got != "atomic" {
		t.Errorf("transports: %q", got)
	}
	srv.wantRequests(t)
}

// nobody is the network of a test in which no request may leave.
type nobody struct{ t *testing.T }

func (n nobody) RoundTrip(r *http.Request) (*http.Response, error) {
	n.t.Errorf("a request left: %s %s", r.Method, r.URL.Host)
	return nil, errors.New("no network")
}

// roundTrip answers requests in place of the network.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestOtherRegistriesAreReachedByHTTPSUnderTheirOwnName(t *testing.T) {
	var mu sync.Mutex
	var urls []string
	o := Options{Others: true}
	o.seams.send = roundTrip(func(r *http.Request) (*http.Response, error) {
		mu.Lock()
		defer mu.Unlock()
		urls = append(urls, r.URL.String())
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("{}")), Request: r, ContentLength: 2}, nil
	})
	var labels []string
	o.Observe = func(registry, _ string, _ int, _ time.Duration) { labels = append(labels, registry) }
	c := open(t, o)
	for _, ref := range []string{"ghcr.io/a/b:v1", "docker.io/library/nginx:1", "quay.example:8443/x:v1"} {
		if _, err := c.Manifest(t.Context(), named(t, ref)); err != nil {
			t.Error(err)
		}
	}
	for i := range 3 * maxOthers {
		if _, err := c.Manifest(t.Context(), named(t, fmt.Sprintf("r%d.example/x:v1", i))); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"https://ghcr.io/v2/a/b/manifests/v1", "https://registry-1.docker.io/v2/library/nginx/manifests/1",
		"https://quay.example:8443/v2/x/manifests/v1"}; !slices.Equal(urls[:3], want) {
		t.Errorf("got %q, want %q", urls[:3], want)
	}
	if n := len(c.others.open); n != maxOthers || len(c.others.used) != n {
		t.Errorf("%d registries are kept open, want at most %d", n, maxOthers)
	}
	if labels = slices.Compact(labels); !slices.Equal(labels, []string{"other"}) {
		t.Errorf("labels: %q", labels)
	}
}

func TestNewReportsEveryFault(t *testing.T) {
	bad := map[string]Registry{
		"name":        {Name: "", Endpoint: "https://x.example"},
		"name ":       {Name: "x.example/path", Endpoint: "https://x.example"},
		"name  ":      {Name: "index.docker.io", Endpoint: "https://x.example"},
		"transport":   {Name: "x.example", Endpoint: "https://x.example", Transport: "dir"},
		"user name":   {Name: "x.example", Endpoint: "https://user:hunter2@x.example"},
		"query":       {Name: "x.example", Endpoint: "https://x.example/?a=b"},
		"https://":    {Name: "x.example", Endpoint: "https://"},
		"endpoint":    {Name: "x.example", Endpoint: "ftp://x.example"},
		"endpoint ":   {Name: "x.example", Endpoint: "x.example:5000"},
		"endpoint  ":  {Name: "x.example", Endpoint: "https://%zz:hunter2@"},
		"absolute":    {Name: "x.example", Endpoint: "dir:relative"},
		"no such":     {Name: "x.example", Endpoint: "oci:/does/not/exist"},
		"a directory": {Name: "x.example", Endpoint: "dir:/dev/null"},
	}
	for want, r := range bad {
		_, err := New(Options{Registries: []Registry{r, {Name: "y.example", Endpoint: "gopher:"}}})
		if err == nil || !strings.Contains(err.Error(), strings.TrimSpace(want)) || !strings.Contains(err.Error(), "y.example") ||
			strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%+v: %v", r, err)
		}
	}
	if _, err := New(Options{Registries: []Registry{{Name: "x.example", Endpoint: "https://x"}, {Name: "x.example", Endpoint: "https://y"}}}); err == nil {
		t.Error("a name configured twice passed")
	}
	if _, err := New(Options{ManifestLimit: -1}); err == nil {
		t.Error("a negative limit passed")
	}
}

func TestZeroOptionsServeNothing(t *testing.T) {
	_, err := open(t, Options{}).Manifest(t.Context(), named(t, "docker.io/library/nginx:1"))
	wantKind(t, err, NotServed)
}

func TestNameWithoutTagOrDigest(t *testing.T) {
	c := open(t, options("https://r.example"))
	_, err := c.Manifest(t.Context(), named(t, "r.example/x"))
	wantKind(t, err, Invalid)
}
