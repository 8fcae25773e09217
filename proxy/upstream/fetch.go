package upstream

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Media types of Docker's manifests (distribution's manifest specifications).
const (
	mediaDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	mediaDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	mediaDockerSchema1  = "application/vnd.docker.distribution.manifest.v1+json"
	mediaDockerSigned1  = "application/vnd.docker.distribution.manifest.v1+prettyjws"
	mediaOCIArtifact    = "application/vnd.oci.artifact.manifest.v1+json"
)

// acceptManifests lists every manifest there is, so that a registry converts
// none into another: that would have another digest.
var acceptManifests = strings.Join([]string{
	ocispec.MediaTypeImageManifest,
	ocispec.MediaTypeImageIndex,
	mediaDockerManifest,
	mediaDockerList,
	mediaOCIArtifact,
	mediaDockerSigned1 + ";q=0.5",
	mediaDockerSchema1 + ";q=0.5",
	"*/*;q=0.1",
}, ", ")

// maxCursor bounds what is taken over from a link to the next page, in bytes.
const maxCursor = 4 << 10

// tagPattern is a tag and nothing else.
var tagPattern = regexp.MustCompile("^" + reference.TagRegexp.String() + "$")

// repoPath is the path of something in a repository.
func repoPath(repo reference.Named, elems ...string) string {
	return "/v2/" + reference.Path(repo) + "/" + strings.Join(elems, "/")
}

// selector is the tag or, first of all, the digest of a reference.
func selector(ref reference.Named) string {
	if d, ok := ref.(reference.Digested); ok {
		return d.Digest().String()
	}
	if t, ok := ref.(reference.Tagged); ok {
		return t.Tag()
	}
	return ""
}

func (r *remote) manifest(ctx context.Context, ref reference.Named) (Manifest, error) {
	c := call{kind: "manifest", op: opName("manifest", ref), method: http.MethodGet,
		path: repoPath(ref, "manifests", selector(ref)), accept: acceptManifests, repo: reference.TrimNamed(ref)}
	if selector(ref) == "" {
		return Manifest{}, unexpected(r.name, c.op, "expected a reference with a tag or a digest")
	}
	a, err := r.do(ctx, c)
	if err != nil {
		return Manifest{}, err
	}
	b, err := a.bytes(r.opt.ManifestLimit)
	if err != nil {
		return Manifest{}, err
	}
	return Manifest{Bytes: b, ContentType: a.Header.Get("Content-Type"), Digest: digest.Digest(a.Header.Get("Docker-Content-Digest"))}, nil
}

func (r *remote) resolve(ctx context.Context, ref reference.NamedTagged) (digest.Digest, error) {
	a, err := r.do(ctx, call{kind: "resolve", op: opName("resolve", ref), method: http.MethodHead,
		path: repoPath(ref, "manifests", ref.Tag()), accept: acceptManifests, repo: reference.TrimNamed(ref)})
	if err != nil {
		return "", err
	}
	defer a.close()
	d := digest.Digest(a.Header.Get("Docker-Content-Digest"))
	if err := d.Validate(); err != nil {
		return "", a.invalid("expected a digest in Docker-Content-Digest, found %.80q", string(d))
	}
	return d, nil
}

func (r *remote) getBlob(ctx context.Context, ref reference.Canonical) (*answer, error) {
	return r.do(ctx, call{kind: "blob", op: opName("blob", ref), method: http.MethodGet,
		path: repoPath(ref, "blobs", ref.Digest().String()), accept: "*/*", repo: reference.TrimNamed(ref)})
}

func (r *remote) blob(ctx context.Context, ref reference.Canonical) (*Blob, error) {
	a, err := r.getBlob(ctx, ref)
	if err != nil {
		return nil, err
	}
	return a.stream(), nil
}

func (r *remote) blobBytes(ctx context.Context, ref reference.Canonical, limit int64) ([]byte, error) {
	a, err := r.getBlob(ctx, ref)
	if err != nil {
		return nil, err
	}
	return a.bytes(limit)
}

func (r *remote) stat(ctx context.Context, ref reference.Canonical) (int64, error) {
	a, err := r.do(ctx, call{kind: "stat", op: opName("stat", ref), method: http.MethodHead,
		path: repoPath(ref, "blobs", ref.Digest().String()), accept: "*/*", repo: reference.TrimNamed(ref)})
	if err != nil {
		return 0, err
	}
	defer a.close()
	if a.ContentLength < 0 {
		return 0, a.invalid("expected a Content-Length, found none")
	}
	return a.ContentLength, nil
}

func (r *remote) tags(ctx context.Context, repo reference.Named, from TagCursor) (TagPage, error) {
	q := url.Values{}
	if from.N > 0 {
		q.Set("n", strconv.Itoa(from.N))
	}
	if from.Last != "" {
		q.Set("last", from.Last)
	}
	if from.Page != "" {
		q.Set("next_page", from.Page)
	}
	a, err := r.do(ctx, call{kind: "tags", op: opName("tags", repo), method: http.MethodGet,
		path: repoPath(repo, "tags", "list"), query: q, accept: "application/json", repo: repo})
	if err != nil {
		return TagPage{}, err
	}
	var list struct {
		Tags []string `json:"tags"`
	}
	if err := a.json(r.opt.ManifestLimit, &list); err != nil {
		return TagPage{}, err
	}
	for _, t := range list.Tags {
		if !tagPattern.MatchString(t) {
			return TagPage{}, a.invalid("expected tags, found %.200q", t)
		}
	}
	next, err := a.nextTags()
	if err != nil {
		return TagPage{}, err
	}
	return TagPage{Tags: list.Tags, Next: next}, nil
}

// nextTags reads where the next page starts from the answer's Link. Where the
// link leads does not matter: the next page is asked for where this one was.
func (a *answer) nextTags() (*TagCursor, error) {
	link, err := nextLink(a.Header)
	if link == nil || err != nil {
		if err != nil {
			return nil, a.invalid("%w", err)
		}
		return nil, nil
	}
	q, err := url.ParseQuery(link.RawQuery)
	if err != nil {
		return nil, a.invalid("expected a link to the next page with a query, found a malformed one")
	}
	c := &TagCursor{Last: q.Get("last"), Page: q.Get("next_page")}
	if n := len(c.Last) + len(c.Page); n == 0 || n > maxCursor {
		return nil, a.invalid("expected a link to the next page with last=… or next_page=…, found none or one over %d bytes", maxCursor)
	}
	if v := q.Get("n"); v != "" {
		if c.N, err = strconv.Atoi(v); err != nil || c.N < 0 {
			return nil, a.invalid("expected a link to the next page with n=<number>, found %.40q", v)
		}
	}
	return c, nil
}
