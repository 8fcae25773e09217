// Package proxy is the registry API towards clients: it takes a request, finds
// the image that it means, asks whether policy accepts it, and sends the very
// bytes that were judged, or a refusal that says why.
//
// What it promises:
//   - A manifest is fetched once, hashed once, judged, and those bytes are sent.
//     Nothing is verified first and fetched again for the client.
//   - Every manifest is judged, for HEAD as for GET, by tag as by digest, children
//     of indexes included; every blob must belong to a manifest that is accepted.
//   - What could not be judged is not sent.
//
// The way of a manifest request: [Handler.ServeHTTP] (request id, record) →
// getManifest (manifests.go: logical reference, bytes, verdict) → gate.admit
// (gate.go: the rules of admission) → write. Handlers return errors; refuse
// (errors.go) is the one place that turns them into answers.
package proxy

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/proxy/audit"
	"github.com/pullgate/pullgate/proxy/upstream"
	"github.com/pullgate/pullgate/verify"
)

// Upstream is what the gate asks of the registries behind it. What it returns is
// untrusted until hashed; its errors are [*upstream.Error].
type Upstream interface {
	Manifest(ctx context.Context, ref reference.Named) (upstream.Manifest, error)
	ResolveTag(ctx context.Context, ref reference.NamedTagged) (digest.Digest, error)
	Blob(ctx context.Context, ref reference.Canonical) (*upstream.Blob, error)
	StatBlob(ctx context.Context, ref reference.Canonical) (int64, error)
	BlobBytes(ctx context.Context, ref reference.Canonical, limit int64) ([]byte, error)
	Tags(ctx context.Context, repo reference.Named, from upstream.TagCursor) (upstream.TagPage, error)
	Referrers(ctx context.Context, subject reference.Canonical) ([]ocispec.Descriptor, error)
	Transport(registry string) string

	// Registries that are asked with the client's own credentials, which the context
	// holds (upstream.WithAuthorization).
	ClientCredentials(registry string) bool
	Authorize(ctx context.Context, ref reference.Named, blob bool) error
	Ping(ctx context.Context, registry string) error
	RelaysToken(ctx context.Context, registry, path string) bool
	Token(ctx context.Context, registry string, r *http.Request) (*upstream.TokenAnswer, error)
}

// Graph remembers facts about manifests, by repository; see rule 3 of the
// admission rules. It never holds decisions.
type Graph interface {
	Manifest(repo string, d digest.Digest, children, blobs []digest.Digest)
	Root(repo, ref string, d digest.Digest)
	Evidence(repo string, d, subject digest.Digest)
	IsManifest(repo string, d digest.Digest) bool
	Parents(repo string, d digest.Digest) []digest.Digest
	Holders(repo string, d digest.Digest) []digest.Digest
	Roots(repo string, d digest.Digest) []string
	Subject(repo string, d digest.Digest) digest.Digest
}

// Content keeps what was made of checked bytes, by repository and digest.
type Content[V any] interface {
	Get(repo string, d digest.Digest) (V, bool)
	Put(repo string, d digest.Digest, v V)
}

// Tags remembers for a while which digest a tag had.
type Tags interface {
	Get(repo, tag string) (d digest.Digest, fresh bool)
	Put(repo, tag string, d digest.Digest)
}

// Metrics is told what happened. Methods must not block.
type Metrics interface {
	Request(route, method string, status int, took time.Duration)
	Decision(decision, registry, kind string)
	BlobBytes(registry string, n int64)
	AuditError()
}

// Options wire a [Handler]. Everything but ReportOnly and AuditBlobs is needed.
type Options struct {
	Names     Names
	Upstream  Upstream
	Access    Access
	Verifier  verify.Verifier
	Graph     Graph
	Tags      Tags
	Manifests Content[*Manifest]
	Blobs     Content[[]byte] // small ones
	Audit     audit.Sink
	Metrics   Metrics
	Logger    *slog.Logger

	ReportOnly []string // scopes that are judged and audited, not enforced
	AuditBlobs bool     // a record for each allowed blob too, not only for refused ones
	Via        string   // what the gate writes into Via of its own requests: one that comes in is a loop
}

// bodyWait bounds how long the rest of an unwanted request body is read for.
const bodyWait = 2 * time.Second

// Handler serves the registry API.
type Handler struct {
	opts   Options
	gate   *gate
	broken broken
	// reading holds those who ask for the same blob until it is in memory.
	reading turns
}

// New returns a handler, or an error that names what is missing.
func New(opts Options) (*Handler, error) {
	for name, missing := range map[string]bool{
		"Upstream": opts.Upstream == nil, "Verifier": opts.Verifier == nil, "Graph": opts.Graph == nil,
		"Manifests": opts.Manifests == nil, "Blobs": opts.Blobs == nil, "Tags": opts.Tags == nil,
		"Audit": opts.Audit == nil, "Access": opts.Access == nil, "Metrics": opts.Metrics == nil, "Logger": opts.Logger == nil,
	} {
		if missing {
			return nil, fmt.Errorf("proxy: option %s is missing", name)
		}
	}
	if err := opts.Names.validate(); err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	return &Handler{opts: opts, gate: newGate(opts)}, nil
}

// ServeHTTP answers one request: it finds the route, calls its handler, turns an
// error into the refusal that the client understands, and records the decision.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.asksForToken(r) {
		h.serveToken(w, r)
		return
	}
	x := h.newExchange(w, r)
	defer h.finish(x)
	if err := h.dispatch(x); err != nil {
		h.refuse(x, err)
	}
}

func (h *Handler) dispatch(x *exchange) error {
	if h.opts.Via != "" && strings.Contains(strings.Join(x.r.Header.Values("Via"), ","), h.opts.Via) {
		return errLoop()
	}
	if relayed, err := h.relayToken(x); relayed {
		return err
	}
	if x.r.ContentLength != 0 {
		// No request of a pull has a body. What there is of it is not waited for:
		// the connection ends with the answer.
		x.w.Header().Set("Connection", "close")
		_ = http.NewResponseController(x.w).SetReadDeadline(time.Now().Add(bodyWait))
	}
	switch x.r.Method {
	case http.MethodGet, http.MethodHead:
	default:
		x.route = "write"
		return errUnsupported(x.r.Method)
	}
	if err := plainPath(x.r); err != nil {
		return err
	}
	to := routeOf(x.r.URL.Path)
	handle := h.handlerOf(to.kind)
	if handle == nil {
		return errNoRoute()
	}
	x.route, x.target.name, x.what = to.kind, to.name, to.what
	return handle(x)
}
