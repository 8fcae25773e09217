package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/verify"
)

// Registry is one configured upstream.
type Registry struct {
	// Name is the registry's name in references: "docker.io",
	// "registry.example.com:5000". It is matched exactly.
	Name string
	// Endpoint is where it is reached: https://host[:port][/prefix], http://…,
	// oci:/absolute/path or dir:/absolute/path.
	Endpoint string
	// Transport is the section of policy.json that judges its images: "",
	// "docker" or "atomic". It is carried for the caller and means nothing here.
	Transport string
	// ClientCredentials makes every request for its content carry the
	// Authorization header of the client that it is made for, and nothing of the
	// gate's: Options.Credentials are not asked for and client certificates of
	// certs.d are not presented. Only http and https endpoints know it.
	ClientCredentials bool
}

// Credentials returns what the gate presents to the registry of repo for that
// repository. All values empty means anonymous. An identity token is an OAuth2
// refresh token, as docker login stores it.
type Credentials func(ctx context.Context, repo reference.Named) (username, password, identityToken string, err error)

// Options configure a [Client]. The zero value serves no registry.
type Options struct {
	Registries []Registry
	// Others lets the client reach registries that are not in Registries, by https
	// under their own name and at public addresses only.
	Others bool
	// Credentials are asked for when a registry wants a login; nil is anonymous.
	Credentials Credentials
	// CertsDirs are certs.d directories in order of preference, as described in
	// containers-certs.d(5). The first that has a directory for a host wins.
	CertsDirs []string
	UserAgent string
	// Via is sent as the Via header (RFC 9110, section 7.6.3) of every request,
	// those to redirect targets, token servers and signature servers too, so that
	// the gate knows a request of its own when it comes back: "1.1 pullgate-…".
	// Empty sends none.
	Via    string
	Logger *slog.Logger

	ManifestLimit  int64         // bytes of one manifest or list; 0 is 4 MiB
	ConnectTimeout time.Duration // look-up and connection; 0 is 10 s
	HeaderTimeout  time.Duration // request to response headers; 0 is 30 s
	BodyTimeout    time.Duration // a whole manifest's body; 0 is 30 s
	IdleTimeout    time.Duration // between two reads of a blob; 0 is 60 s
	MaxRedirects   int           // hops a request may be sent on; 0 is 5

	// Observe is told about every request when its answer's headers are there.
	// Registry is a configured name or "other", op one of a dozen words, status 0
	// when there was no answer: bounded values, fit for metric labels.
	Observe func(registry, op string, status int, took time.Duration)

	seams seams
}

// Manifest is what a registry answered for a manifest.
type Manifest struct {
	Bytes       []byte
	ContentType string // as the registry says; untrusted
	// Digest is what the registry says that the bytes have (Docker-Content-Digest);
	// untrusted, empty when it says nothing.
	Digest digest.Digest
}

// Blob is a blob being read. Close it. Errors of Body are of type [*Error].
type Blob struct {
	Body io.ReadCloser
	Size int64 // bytes, -1 when unknown
}

// TagPage is one page of a repository's tags.
type TagPage struct {
	Tags []string
	Next *TagCursor // nil at the end
}

// TagCursor is where a page starts and how long it is. Its zero value asks for the
// beginning, as much as the registry likes to give.
type TagCursor struct {
	N    int    // page size; 0 leaves it to the registry
	Last string // tag after which the page starts
	// Page is Quay's own cursor (next_page), which it wants instead of Last; opaque.
	Page string
}

// Client reaches the registries that the configuration allows. Its methods
// return errors of type [*Error] and are safe for concurrent use.
type Client struct {
	opt    *Options
	fixed  map[string]*served
	alias  map[string]string // host that a configured registry is reached at → its name
	others *others
	yes    *consents // of registries that the client's own credentials are for
}

// served is a registry that can be asked.
type served struct {
	name      string
	transport string
	backend
}

// backend is one way to reach a registry: HTTP or files.
type backend interface {
	manifest(ctx context.Context, ref reference.Named) (Manifest, error)
	resolve(ctx context.Context, ref reference.NamedTagged) (digest.Digest, error)
	blob(ctx context.Context, ref reference.Canonical) (*Blob, error)
	blobBytes(ctx context.Context, ref reference.Canonical, limit int64) ([]byte, error)
	stat(ctx context.Context, ref reference.Canonical) (int64, error)
	tags(ctx context.Context, repo reference.Named, from TagCursor) (TagPage, error)
	referrers(ctx context.Context, subject reference.Canonical) (list []ocispec.Descriptor, via string, err error)
	signatures(ctx context.Context, ref reference.Canonical) ([][]byte, bool, error)
	close()
}

// New checks the options and returns a client. Every fault found is reported:
// unusable endpoints, names given twice, broken files in certs.d.
func New(o Options) (*Client, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	c := &Client{opt: &o, fixed: map[string]*served{}, alias: map[string]string{}, yes: newConsents(o.seams.now)}
	var faults []error
	for _, r := range o.Registries {
		if err := c.add(r); err != nil {
			faults = append(faults, fmt.Errorf("upstream %s: %w", r.Name, err))
		}
	}
	if err := errors.Join(faults...); err != nil {
		c.Close()
		return nil, err
	}
	if o.Others {
		c.others = &others{opt: &o, open: map[string]*served{}}
	}
	return c, nil
}

// add opens one configured registry.
func (c *Client) add(r Registry) error {
	if r.Name == "" || r.Name != domainOf(r.Name) {
		return fmt.Errorf("name %q: expected a registry name as in references, host[:port]", r.Name)
	}
	if c.fixed[r.Name] != nil {
		return errors.New("configured twice")
	}
	switch r.Transport {
	case "", verify.TransportDocker, verify.TransportAtomic:
	default:
		return fmt.Errorf("transport %q: expected docker or atomic", r.Transport)
	}
	b, err := c.open(r)
	if err != nil {
		return err
	}
	if r.ClientCredentials {
		rem, ok := b.(*remote)
		if !ok {
			return errors.New("the client's credentials: expected an endpoint https://… or http://…, for files know no credentials")
		}
		rem.passClients(c.yes)
	}
	c.fixed[r.Name] = &served{name: r.Name, transport: r.Transport, backend: b}
	c.alias[bareHost(r.Name)] = r.Name
	if rem, ok := b.(*remote); ok {
		c.alias[bareHost(rem.base.Host)] = r.Name
	}
	return nil
}

// open makes the backend that the endpoint's scheme asks for.
func (c *Client) open(r Registry) (backend, error) {
	scheme, rest, _ := strings.Cut(r.Endpoint, ":")
	switch scheme {
	case "http", "https":
		return newRemote(c.opt, r.Name, r.Name, r.Endpoint, false)
	case "dir":
		return newLocal(c.opt, r.Name, rest, dirStore{})
	case "oci":
		return newLocal(c.opt, r.Name, rest, ociStore{})
	}
	return nil, errors.New("endpoint: expected https://host[:port][/prefix], http://…, oci:/path or dir:/path")
}

// at finds the registry of a reference.
func (c *Client) at(ref reference.Named, op string) (*served, error) {
	name := reference.Domain(ref)
	if _, err := reference.WithName(ref.Name()); err != nil || name == "" {
		return nil, &Error{Kind: NotServed, Registry: name, Op: op, Err: errors.New("not a fully qualified repository name")}
	}
	if s := c.fixed[name]; s != nil {
		return s, nil
	}
	if c.others == nil {
		return nil, &Error{Kind: NotServed, Registry: name, Op: op,
			Err: errors.New("the registry is not configured and other registries are not allowed")}
	}
	if known := c.alias[bareHost(name)]; known != "" {
		return nil, &Error{Kind: NotServed, Registry: name, Op: op,
			Err: fmt.Errorf("the registry is served under the name %s", known)}
	}
	s, err := c.others.get(name)
	if err == nil {
		return s, nil
	}
	e := &Error{Kind: NotServed, Registry: name, Op: op, Err: err}
	if fault := new(localFault); errors.As(err, &fault) {
		e.Kind = Unavailable
	}
	return nil, e
}

// Manifest fetches a manifest by tag or, when ref has one, by digest. The bytes
// are bounded but have not been hashed: that is up to the caller.
func (c *Client) Manifest(ctx context.Context, ref reference.Named) (Manifest, error) {
	s, err := c.at(ref, opName("manifest", ref))
	if err != nil {
		return Manifest{}, err
	}
	return s.manifest(ctx, ref)
}

// ResolveTag asks for the digest that a tag points to, by HEAD. The answer is a
// hint that nothing vouches for; a registry that gives none is an error.
func (c *Client) ResolveTag(ctx context.Context, ref reference.NamedTagged) (digest.Digest, error) {
	s, err := c.at(ref, opName("resolve", ref))
	if err != nil {
		return "", err
	}
	return s.resolve(ctx, ref)
}

// Blob opens a whole blob. Its bytes have not been hashed.
func (c *Client) Blob(ctx context.Context, ref reference.Canonical) (*Blob, error) {
	s, err := c.at(ref, opName("blob", ref))
	if err != nil {
		return nil, err
	}
	return s.blob(ctx, ref)
}

// StatBlob returns a blob's size in bytes as the registry states it.
func (c *Client) StatBlob(ctx context.Context, ref reference.Canonical) (int64, error) {
	s, err := c.at(ref, opName("stat", ref))
	if err != nil {
		return 0, err
	}
	return s.stat(ctx, ref)
}

// Tags lists one page of a repository's tags.
func (c *Client) Tags(ctx context.Context, repo reference.Named, from TagCursor) (TagPage, error) {
	s, err := c.at(repo, opName("tags", reference.TrimNamed(repo)))
	if err != nil {
		return TagPage{}, err
	}
	return s.tags(ctx, reference.TrimNamed(repo), from)
}

// Referrers lists the manifests whose subject is the one given: by the
// referrers API, or by the fallback tag where the registry has no such API (OCI
// distribution-spec 1.1, "Listing Referrers"). No referrers are an empty list.
// Lists beyond 16 pages or 1,000 descriptors are an error.
func (c *Client) Referrers(ctx context.Context, subject reference.Canonical) ([]ocispec.Descriptor, error) {
	list, _, err := c.ReferrersVia(ctx, subject)
	return list, err
}

// ReferrersVia is [Client.Referrers], and says for people how they were looked for:
// without any it tells what was found to be empty. It is set beside an error, too.
func (c *Client) ReferrersVia(ctx context.Context, subject reference.Canonical) (list []ocispec.Descriptor, via string, err error) {
	s, err := c.at(subject, opName("referrers", subject))
	if err != nil {
		return nil, "", err
	}
	return s.referrers(ctx, subject)
}

// ManifestBytes is [Client.Manifest] with the bytes checked against the digest
// when ref has one.
func (c *Client) ManifestBytes(ctx context.Context, ref reference.Named) ([]byte, error) {
	m, err := c.Manifest(ctx, ref)
	if err != nil {
		return nil, err
	}
	want, ok := ref.(reference.Digested)
	if !ok {
		return m.Bytes, nil
	}
	got, err := verify.ManifestDigest(m.Bytes, want.Digest().Algorithm())
	if err == nil && got != want.Digest() {
		err = fmt.Errorf("expected bytes of %s, found %s", want.Digest(), got)
	}
	if err != nil {
		return nil, &Error{Kind: Invalid, Registry: reference.Domain(ref), Op: opName("manifest", ref), Err: err}
	}
	return m.Bytes, nil
}

// BlobBytes returns a whole blob of at most limit bytes, checked against its
// digest.
func (c *Client) BlobBytes(ctx context.Context, ref reference.Canonical, limit int64) ([]byte, error) {
	op := opName("blob", ref)
	s, err := c.at(ref, op)
	if err != nil {
		return nil, err
	}
	b, err := s.blobBytes(ctx, ref, limit)
	if err != nil {
		return nil, err
	}
	if alg := ref.Digest().Algorithm(); !alg.Available() {
		err = fmt.Errorf("digest algorithm %q is not supported", alg)
	} else if got := alg.FromBytes(b); got != ref.Digest() {
		err = fmt.Errorf("expected bytes of %s, found %s", ref.Digest(), got)
	}
	if err != nil {
		return nil, &Error{Kind: Invalid, Registry: s.name, Op: op, Err: err}
	}
	return b, nil
}

// ExtensionSignatures returns the simple signing signatures that the registry
// holds for a manifest by the X-Registry-Supports-Signatures API. supported is
// false when the registry does not announce that API. Where it is announced,
// every failure to read the list, a 404 too, is an error.
func (c *Client) ExtensionSignatures(ctx context.Context, ref reference.Canonical) (sigs [][]byte, supported bool, err error) {
	s, err := c.at(ref, opName("signatures", ref))
	if err != nil {
		return nil, false, err
	}
	return s.signatures(ctx, ref)
}

// Transport returns the transport configured for a registry, "" for others.
func (c *Client) Transport(registry string) string {
	if s := c.fixed[registry]; s != nil {
		return s.transport
	}
	return ""
}

// Close closes connections that nobody uses. Running requests finish.
func (c *Client) Close() {
	for _, s := range c.fixed {
		s.close()
	}
	if c.others != nil {
		c.others.close()
	}
}

// opName names an operation for errors, without the registry.
func opName(op string, ref reference.Named) string {
	out := op + " " + reference.Path(ref)
	if t, ok := ref.(reference.Tagged); ok {
		out += ":" + t.Tag()
	}
	if d, ok := ref.(reference.Digested); ok {
		out += "@" + d.Digest().String()
	}
	return out
}
