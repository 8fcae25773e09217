package proxy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/proxy/upstream"
)

// maxTags bounds how many tags a client may ask for in one page.
const maxTags = 10000

// getTags answers the list of tags ("Listing Tags" of the OCI distribution
// specification). Names of tags are not content: they are passed on as they are.
func (h *Handler) getTags(x *exchange) error {
	repo, err := x.repository(h.opts.Names)
	if err != nil {
		return err
	}
	x.about("tags", repo)
	if err := h.enter(x, repo, false); err != nil {
		return err
	}
	query := x.r.URL.Query()
	n := 0
	if s := query.Get("n"); s != "" {
		if n, err = strconv.Atoi(s); err != nil || n < 0 {
			return &apiError{status: http.StatusBadRequest, code: codeUnsupported,
				message: fmt.Sprintf("n=%q: expected a number of tags from 0 to %d", shorten(s), maxTags)}
		}
		n = min(n, maxTags)
	}
	list := struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{x.target.name, []string{}}
	if query.Get("n") != "0" {
		from := upstream.TagCursor{N: n, Last: query.Get("last"), Page: query.Get("next_page")}
		page, err := h.opts.Upstream.Tags(x.r.Context(), repo, from)
		if err != nil {
			return notFound(err, codeNameUnknown)
		}
		if from.Page == "" {
			page = paginate(page, n, from.Last)
		}
		list.Tags = append(list.Tags, page.Tags...)
		if page.Next != nil {
			x.w.Header().Set("Link", fmt.Sprintf(`<%s>; rel="next"`, x.nextTags(*page.Next)))
		}
	}
	b, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return x.writeJSON(http.StatusOK, b)
}

// paginate does what a registry that knows no pages of tags (docker-registry 2)
// left undone: tags after last, at most n of them. What a registry has paginated
// itself is not changed.
func paginate(page upstream.TagPage, n int, last string) upstream.TagPage {
	if page.Next != nil || (n == 0 || len(page.Tags) <= n) && !slices.Contains(page.Tags, last) {
		return page
	}
	slices.Sort(page.Tags)
	from, found := slices.BinarySearch(page.Tags, last)
	if found {
		from++
	}
	page.Tags = page.Tags[from:]
	if n > 0 && len(page.Tags) > n {
		page.Tags = page.Tags[:n]
		page.Next = &upstream.TagCursor{N: n, Last: page.Tags[n-1]}
	}
	return page
}

// nextTags leads back through the gate, by the name that the client used.
func (x *exchange) nextTags(from upstream.TagCursor) string {
	q := url.Values{}
	for name, value := range map[string]string{"last": from.Last, "next_page": from.Page} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if from.N > 0 {
		q.Set("n", strconv.Itoa(from.N))
	}
	if x.target.ns != "" {
		q.Set("ns", x.target.ns)
	}
	return "/v2/" + x.target.name + "/tags/list?" + q.Encode()
}

// getReferrers answers the list of what refers to a manifest ("Listing
// Referrers"), for a manifest that may be pulled. What is listed is judged when it
// is asked for.
func (h *Handler) getReferrers(x *exchange) error {
	repo, err := x.repository(h.opts.Names)
	if err != nil {
		return err
	}
	ref, err := withDigest(repo, x.what)
	if err != nil {
		return err
	}
	x.about("referrers", ref)
	if err := h.enter(x, ref, false); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return x.writeReferrers(nil)
		}
		return err
	}
	_, out, err := h.judged(x.r.Context(), ref)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// The specification wants an empty list about what does not exist.
		return x.writeReferrers(nil)
	case err != nil:
		return err
	}
	x.decide(out, true)
	if !out.Forward() {
		return errDenied(ref, out)
	}
	list, err := h.opts.Upstream.Referrers(x.r.Context(), ref)
	if err != nil {
		return notFound(err, codeNameUnknown)
	}
	return x.writeReferrers(list)
}

func (x *exchange) writeReferrers(list []ocispec.Descriptor) error {
	index := ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{},
	}
	wanted := x.r.URL.Query().Get("artifactType")
	for _, d := range list {
		// What is content belongs to the manifests listed, which are judged when they
		// are asked for.
		d.Data, d.URLs = nil, nil
		if wanted == "" || d.ArtifactType == wanted {
			index.Manifests = append(index.Manifests, d)
		}
	}
	if wanted != "" {
		x.w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	b, err := json.Marshal(index)
	if err != nil {
		return err
	}
	return x.writeBytes(http.StatusOK, ocispec.MediaTypeImageIndex, b)
}
