package proxy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"github.com/containers/libtrust"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Media types that are not in image-spec's Go package.
const (
	mediaTypeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	mediaTypeDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	mediaTypeDockerConfig   = "application/vnd.docker.container.image.v1+json"
	mediaTypeSchema1        = "application/vnd.docker.distribution.manifest.v1+json"
	mediaTypeSchema1Signed  = "application/vnd.docker.distribution.manifest.v1+prettyjws"
	mediaTypeArtifact       = "application/vnd.oci.artifact.manifest.v1+json"
)

// Bounds of a manifest that is read at all.
const (
	maxIndexEntries    = 1000
	maxManifestLayers  = 10000
	maxManifestNesting = 64      // of JSON values; real manifests have fewer than ten
	maxManifestValues  = 200_000 // JSON values of all kinds
)

// document is what the gate reads of a manifest's bytes. It is derived from the
// bytes alone: the Content-Type that an upstream sends is not covered by the
// digest, and a manifest that could be read as two kinds is refused.
type document struct {
	mediaType    string // as sent to clients
	index        bool
	children     []ocispec.Descriptor // manifests that an index lists
	config       *ocispec.Descriptor  // of image manifests
	blobs        []ocispec.Descriptor // everything a client may fetch as a blob, config included
	subject      *ocispec.Descriptor
	artifactType string
	lazy         bool // layers are marked for formats that are read in parts
}

// rawDocument is the union of all manifest kinds. Pointers tell absent from
// empty.
type rawDocument struct {
	SchemaVersion *int                  `json:"schemaVersion"`
	MediaType     *string               `json:"mediaType"`
	ArtifactType  string                `json:"artifactType"`
	Config        *ocispec.Descriptor   `json:"config"`
	Layers        *[]ocispec.Descriptor `json:"layers"`
	Manifests     *[]ocispec.Descriptor `json:"manifests"`
	Blobs         *[]ocispec.Descriptor `json:"blobs"`
	Subject       *ocispec.Descriptor   `json:"subject"`
	FSLayers      *[]struct {
		BlobSum digest.Digest `json:"blobSum"`
	} `json:"fsLayers"`
	History    json.RawMessage `json:"history"`
	Signatures json.RawMessage `json:"signatures"`
}

// parseDocument reads a manifest of any kind that clients accept: OCI manifest,
// index and artifact manifest, Docker schema 2 manifest and list, Docker schema
// 1. Everything else, and everything ambiguous, is an error.
func parseDocument(b []byte) (*document, error) {
	if err := unambiguousJSON(b, manifestSpelling); err != nil {
		return nil, err
	}
	var raw rawDocument
	if err := json.Unmarshal(b, &raw); err != nil {
		return nil, fmt.Errorf("not a manifest: %w", err)
	}
	d, err := raw.document()
	if err != nil {
		return nil, err
	}
	if d.mediaType == mediaTypeSchema1Signed {
		if err := checkSchema1(b); err != nil {
			return nil, err
		}
	}
	if err := d.validate(); err != nil {
		return nil, err
	}
	d.slim()
	return d, nil
}

// lazyFormats begin the annotations by which clients read a layer in parts, from
// places that the annotations name.
var lazyFormats = []string{"io.github.containers.zstd-chunked", "containerd.io/snapshot/", "io.containers.estargz", "com.amazon.soci", "nydus"}

// slim drops what is not asked about a manifest once it is read: documents are
// kept in memory, and text has no other bound than the manifest's size.
func (d *document) slim() {
	for _, list := range [][]ocispec.Descriptor{d.children, d.blobs} {
		for i := range list {
			c := &list[i]
			for k := range c.Annotations {
				d.lazy = d.lazy || slices.ContainsFunc(lazyFormats, func(f string) bool { return strings.Contains(k, f) })
			}
			c.Annotations, c.URLs, c.Data = nil, nil, nil
			if p := c.Platform; p != nil {
				c.Platform = &ocispec.Platform{OS: p.OS, Architecture: p.Architecture}
			}
		}
	}
	if d.config != nil {
		d.config = &d.blobs[0]
	}
	if d.subject != nil {
		d.subject = &ocispec.Descriptor{MediaType: d.subject.MediaType, Digest: d.subject.Digest, Size: d.subject.Size}
	}
}

func (raw *rawDocument) document() (*document, error) {
	kind, err := raw.kind()
	if err != nil {
		return nil, err
	}
	d := &document{mediaType: kind, subject: raw.Subject, artifactType: raw.ArtifactType}
	switch kind {
	case ocispec.MediaTypeImageIndex, mediaTypeDockerList:
		// Every entry counts, whatever type it claims: some clients pull the entry
		// for their platform without looking at it.
		d.index, d.children = true, *raw.Manifests
		if len(*raw.Manifests) > maxIndexEntries {
			return nil, fmt.Errorf("index with %d entries: expected at most %d", len(*raw.Manifests), maxIndexEntries)
		}
	case ocispec.MediaTypeImageManifest, mediaTypeDockerManifest:
		d.config = raw.Config
		d.blobs = append([]ocispec.Descriptor{*raw.Config}, *raw.Layers...)
	case mediaTypeArtifact:
		d.blobs = *raw.Blobs
	case mediaTypeSchema1, mediaTypeSchema1Signed:
		for _, l := range *raw.FSLayers {
			d.blobs = append(d.blobs, ocispec.Descriptor{Digest: l.BlobSum, Size: -1})
		}
	}
	return d, nil
}

// kind finds the one media type that the members of the document allow. A
// document that claims one kind and carries another's members is what
// CVE-2021-41190 was about.
func (raw *rawDocument) kind() (string, error) {
	image := raw.Config != nil || raw.Layers != nil
	index, artifact, schema1 := raw.Manifests != nil, raw.Blobs != nil, raw.FSLayers != nil
	n := 0
	for _, is := range []bool{image, index, artifact, schema1} {
		if is {
			n++
		}
	}
	if n != 1 {
		return "", fmt.Errorf("expected the members of one kind of manifest, found those of %d", n)
	}
	if image && (raw.Config == nil || raw.Layers == nil) {
		return "", errors.New("image manifest without config or without layers")
	}
	version := 0
	if raw.SchemaVersion != nil {
		version = *raw.SchemaVersion
	}
	claimed := ""
	if raw.MediaType != nil {
		claimed = *raw.MediaType
	}
	var fits []string // the first is the media type when the document names none
	switch {
	case schema1 && version == 1 && raw.Signatures != nil:
		fits = []string{mediaTypeSchema1Signed}
	case schema1 && version == 1:
		fits = []string{mediaTypeSchema1}
	case artifact:
		fits = []string{mediaTypeArtifact}
	case index && version == 2:
		fits = []string{ocispec.MediaTypeImageIndex, mediaTypeDockerList}
	case image && version == 2 && claimed == "" && raw.Config.MediaType == mediaTypeDockerConfig:
		fits = []string{mediaTypeDockerManifest}
	case image && version == 2:
		fits = []string{ocispec.MediaTypeImageManifest, mediaTypeDockerManifest}
	default:
		return "", fmt.Errorf("schema version %d does not fit the members of the manifest", version)
	}
	if claimed == "" {
		if artifact {
			return "", errors.New("artifact manifest without a mediaType")
		}
		return fits[0], nil
	}
	for _, f := range fits {
		if claimed == f {
			return f, nil
		}
	}
	return "", fmt.Errorf("media type %q does not fit the members of the manifest, which are those of %s", shorten(claimed), fits[0])
}

func (d *document) validate() error {
	if len(d.blobs) > maxManifestLayers {
		return fmt.Errorf("manifest with %d blobs: expected at most %d", len(d.blobs), maxManifestLayers)
	}
	for _, list := range [][]ocispec.Descriptor{d.children, d.blobs} {
		for _, c := range list {
			if !supportedDigest(c.Digest) {
				return fmt.Errorf("descriptor digest %q: expected sha256 or sha512", shorten(string(c.Digest)))
			}
			if c.Size < 0 && d.mediaType != mediaTypeSchema1 && d.mediaType != mediaTypeSchema1Signed {
				return fmt.Errorf("descriptor of %s has size %d", c.Digest, c.Size)
			}
		}
	}
	if d.subject != nil && !supportedDigest(d.subject.Digest) {
		return fmt.Errorf("subject digest %q: expected sha256 or sha512", shorten(string(d.subject.Digest)))
	}
	return nil
}

// childDigests and blobDigests are what the graph remembers.
func (d *document) childDigests() []digest.Digest { return digests(d.children) }

// A manifest listed among the blobs is left out: manifests are never blobs.
func (d *document) blobDigests() []digest.Digest {
	var blobs []ocispec.Descriptor
	for _, b := range d.blobs {
		if !isManifestType(b.MediaType) {
			blobs = append(blobs, b)
		}
	}
	return digests(blobs)
}

func digests(list []ocispec.Descriptor) []digest.Digest {
	out := make([]digest.Digest, 0, len(list))
	for _, c := range list {
		out = append(out, c.Digest)
	}
	return out
}

func isManifestType(t string) bool {
	switch t {
	case ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageIndex, mediaTypeDockerManifest, mediaTypeDockerList,
		mediaTypeSchema1, mediaTypeSchema1Signed, mediaTypeArtifact:
		return true
	}
	return false
}

// looksLikeManifest reports whether bytes could be taken for a manifest by
// somebody who asked for one: they must never be served as a blob.
func looksLikeManifest(b []byte) bool {
	b = bytes.TrimLeft(b, " \t\r\n")
	if len(b) == 0 || b[0] != '{' {
		return false
	}
	var raw struct {
		SchemaVersion json.RawMessage `json:"schemaVersion"`
		MediaType     string          `json:"mediaType"`
		Config        json.RawMessage `json:"config"`
		Layers        json.RawMessage `json:"layers"`
		Manifests     json.RawMessage `json:"manifests"`
		FSLayers      json.RawMessage `json:"fsLayers"`
	}
	if json.Unmarshal(b, &raw) != nil {
		return false
	}
	members := raw.Layers != nil || raw.Manifests != nil || raw.FSLayers != nil
	return isManifestType(raw.MediaType) || (raw.SchemaVersion != nil && members)
}

// checkSchema1 makes sure that a signed schema 1 manifest says the same to a
// reader of its signed payload, which the digest covers, and to a reader of the
// whole document, which it does not.
func checkSchema1(b []byte) error {
	payload, err := schema1Payload(b)
	if err != nil {
		return err
	}
	if err := unambiguousJSON(payload, manifestSpelling); err != nil {
		return fmt.Errorf("schema 1 payload: %w", err)
	}
	var whole, signed map[string]any
	if err := json.Unmarshal(b, &whole); err != nil {
		return err
	}
	if err := json.Unmarshal(payload, &signed); err != nil {
		return fmt.Errorf("schema 1 payload: %w", err)
	}
	delete(whole, "signatures")
	if !reflect.DeepEqual(whole, signed) {
		return errors.New("the signed payload of the schema 1 manifest differs from the document around it")
	}
	return nil
}

func schema1Payload(b []byte) (payload []byte, err error) {
	defer func() {
		if r := recover(); r != nil { // a negative formatLength, for one, trips libtrust
			payload, err = nil, fmt.Errorf("schema 1 signatures cannot be read: %v", r)
		}
	}()
	sig, err := libtrust.ParsePrettySignature(b, "signatures")
	if err != nil {
		return nil, fmt.Errorf("schema 1 signatures: %w", err)
	}
	payload, err = sig.Payload()
	if err != nil {
		return nil, fmt.Errorf("schema 1 payload: %w", err)
	}
	return payload, nil
}

// spelling is how the members of a kind of document are written. Go programs,
// which is what most readers are, match them without regard to case; others do not.
type spelling struct {
	folded map[string]string // every member's name, by its foldName
	free   map[string]bool   // members whose content is the publisher's own
}

func newSpelling(free []string, names ...string) *spelling {
	s := &spelling{folded: map[string]string{}, free: map[string]bool{}}
	for _, n := range append(names, free...) {
		s.folded[foldName(n)] = n
	}
	for _, n := range free {
		s.free[n] = true
	}
	return s
}

var manifestSpelling = newSpelling([]string{"annotations"},
	"schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests", "blobs", "subject", "fsLayers", "blobSum",
	"history", "signatures", "digest", "size", "urls", "data", "platform", "architecture", "os", "name", "tag", "v1Compatibility")

// foldName maps names that encoding/json takes for one another to one name. It
// folds more than ASCII: U+017F is an s, U+212A a k.
func foldName(s string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		return least
	}, s)
}

// unambiguousJSON checks that b is one JSON object in which no member is given
// twice and, with names, none is spelled so that one reader takes it for one of
// them and another does not.
func unambiguousJSON(b []byte, names *spelling) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	tok, err := dec.Token()
	if err != nil || tok != json.Delim('{') {
		return errors.New("not a manifest: expected a JSON object")
	}
	w := &walker{dec: dec, left: len(b)}
	if names == manifestSpelling { // what becomes of it in memory is many times its size
		w.left = maxManifestValues
	}
	if err := w.object(1, names); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF { // a bracket too many is an error as well
		return errors.New("not a manifest: bytes after the JSON object")
	}
	return nil
}

// walker reads JSON token by token, so that what is refused was never built in
// memory.
type walker struct {
	dec  *json.Decoder
	left int // values that may still come
}

func (w *walker) object(depth int, names *spelling) error {
	if depth > maxManifestNesting {
		return fmt.Errorf("nested deeper than %d", maxManifestNesting)
	}
	seen := map[string]bool{}
	for w.dec.More() {
		tok, err := w.dec.Token()
		if err != nil {
			return fmt.Errorf("not a manifest: %w", err)
		}
		key, _ := tok.(string)
		if seen[key] {
			return fmt.Errorf("member %q is given twice", shorten(key))
		}
		seen[key] = true
		within := names
		if names != nil {
			if want, known := names.folded[foldName(key)]; known && want != key {
				return fmt.Errorf("member %q is spelled like %q", shorten(key), want)
			}
			if names.free[key] {
				within = nil
			}
		}
		if err := w.value(depth, within); err != nil {
			return err
		}
	}
	_, err := w.dec.Token()
	return err
}

func (w *walker) array(depth int, names *spelling) error {
	if depth > maxManifestNesting {
		return fmt.Errorf("nested deeper than %d", maxManifestNesting)
	}
	for n := 0; w.dec.More(); n++ {
		if names != nil && n >= maxManifestLayers {
			return fmt.Errorf("a list of more than %d entries", maxManifestLayers)
		}
		if err := w.value(depth+1, names); err != nil {
			return err
		}
	}
	_, err := w.dec.Token()
	return err
}

func (w *walker) value(depth int, names *spelling) error {
	if w.left--; w.left < 0 {
		return errors.New("more values than a manifest has")
	}
	tok, err := w.dec.Token()
	if err != nil {
		return fmt.Errorf("not a manifest: %w", err)
	}
	switch tok {
	case json.Delim('{'):
		return w.object(depth+1, names)
	case json.Delim('['):
		return w.array(depth, names)
	}
	return nil
}
