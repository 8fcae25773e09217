package verify

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/manifest"

	"github.com/pullgate/pullgate/verify/discover"
)

// Bounds of what is read to compare an image with its base.
const (
	maxBaseManifest = 4 << 20 // bytes
	maxBaseConfig   = 4 << 20 // bytes
	maxBaseEntries  = 1000    // of an index
)

// layerTypes are the media types of layers that make up a file system. A client may
// leave others out.
var layerTypes = []string{
	ocispec.MediaTypeImageLayer, ocispec.MediaTypeImageLayerGzip, ocispec.MediaTypeImageLayerZstd,
	// Not written any more; old base images have them.
	"application/vnd.oci.image.layer.nondistributable.v1.tar", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
	manifest.DockerV2SchemaLayerMediaTypeUncompressed, manifest.DockerV2Schema2LayerMediaType,
	manifest.DockerV2Schema2ForeignLayerMediaType, manifest.DockerV2Schema2ForeignLayerMediaTypeGzip,
}

// layered is a manifest or an index, as far as it says of what an image is made.
type layered struct {
	index       bool
	entries     []ocispec.Descriptor // of an index
	config      ocispec.Descriptor
	layers      []ocispec.Descriptor
	annotations map[string]string
}

// Members that are read. Go's reader takes them in other letters too, which other
// readers do not: such documents are refused.
var (
	manifestMembers = []string{"schemaVersion", "mediaType", "config", "layers", "manifests", "fsLayers", "annotations",
		"digest", "size", "platform", "os", "architecture", "variant", "os.version"}
	configMembers = []string{"os", "architecture", "variant", "os.version", "rootfs", "type", "diff_ids"}
)

// readLayered reads an image manifest or an index, OCI or Docker schema 2. An error
// says why this is neither, or could be read in two ways.
func readLayered(b []byte) (*layered, error) {
	if len(b) > maxBaseManifest {
		return nil, fmt.Errorf("its manifest is larger than %d bytes", maxBaseManifest)
	}
	if err := unambiguous(b, manifestMembers, "annotations"); err != nil {
		return nil, fmt.Errorf("its manifest: %w", err)
	}
	var raw struct {
		SchemaVersion int                   `json:"schemaVersion"`
		MediaType     *string               `json:"mediaType"`
		Config        *ocispec.Descriptor   `json:"config"`
		Layers        *[]ocispec.Descriptor `json:"layers"`
		Manifests     *[]ocispec.Descriptor `json:"manifests"`
		FSLayers      json.RawMessage       `json:"fsLayers"`
		Annotations   map[string]string     `json:"annotations"`
	}
	if err := json.Unmarshal(b, &raw); err != nil {
		return nil, errors.New("its manifest cannot be read")
	}
	out := &layered{annotations: raw.Annotations}
	image, index := raw.Config != nil && raw.Layers != nil, raw.Manifests != nil
	var fits []string
	switch {
	case raw.SchemaVersion == 1 || raw.FSLayers != nil:
		return nil, errors.New("it is a Docker schema 1 image, whose layers' content nothing names")
	case raw.SchemaVersion != 2 || image == index || index && (raw.Config != nil || raw.Layers != nil):
		return nil, errors.New("its manifest is neither that of an image nor an index")
	case index:
		out.index, out.entries = true, *raw.Manifests
		fits = []string{ocispec.MediaTypeImageIndex, manifest.DockerV2ListMediaType}
	default:
		out.config, out.layers = *raw.Config, *raw.Layers
		fits = []string{ocispec.MediaTypeImageManifest, manifest.DockerV2Schema2MediaType}
	}
	if raw.MediaType != nil && !slices.Contains(fits, *raw.MediaType) {
		return nil, fmt.Errorf("its manifest says to be %s, and has the members of another type", clean(*raw.MediaType))
	}
	return out, out.check()
}

// check refuses what the digests cannot be trusted in.
func (l *layered) check() error {
	if len(l.entries) > maxBaseEntries {
		return fmt.Errorf("the index has %d entries: expected at most %d", len(l.entries), maxBaseEntries)
	}
	all := slices.Concat(l.entries, l.layers)
	if !l.index {
		if t := l.config.MediaType; t != ocispec.MediaTypeImageConfig && t != manifest.DockerV2Schema2ConfigMediaType {
			return fmt.Errorf("it is no image: its config is of type %s", clean(t))
		}
		all = append(all, l.config)
	}
	for _, d := range all {
		if d.Digest.Validate() != nil || d.Size < 0 {
			return fmt.Errorf("its manifest lists something of digest %s and size %d", clean(string(d.Digest)), d.Size)
		}
	}
	return nil
}

// content is what an image is made of.
type content struct {
	platform ocispec.Platform
	layers   []ocispec.Descriptor
	diffIDs  []digest.Digest // of the layers, one for one (image-spec, "Layer DiffID")
}

// readContent reads an image's config (image-spec, "OCI Image Configuration").
func readContent(b []byte, layers []ocispec.Descriptor) (*content, error) {
	if err := unambiguous(b, configMembers, "config", "container_config", "history"); err != nil {
		return nil, err
	}
	var raw struct {
		ocispec.Platform
		RootFS struct {
			Type    string          `json:"type"`
			DiffIDs []digest.Digest `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if json.Unmarshal(b, &raw) != nil {
		return nil, errors.New("cannot be read")
	}
	for _, s := range []string{raw.OS, raw.Architecture} {
		if s == "" || s == "unknown" { // what is in an index beside the images says that
			return nil, errors.New("says neither operating system nor architecture: it is no image")
		}
	}
	if raw.RootFS.Type != "layers" {
		return nil, fmt.Errorf(`has rootfs.type %q: expected "layers"`, clean(raw.RootFS.Type))
	}
	if len(raw.RootFS.DiffIDs) != len(layers) {
		return nil, fmt.Errorf("names %d diff IDs, the manifest %d layers: nobody can tell which is which", len(raw.RootFS.DiffIDs), len(layers))
	}
	for _, d := range raw.RootFS.DiffIDs {
		if d.Validate() != nil {
			return nil, fmt.Errorf("has a diff ID that is no digest: %s", clean(string(d)))
		}
	}
	return &content{platform: raw.Platform, layers: layers, diffIDs: raw.RootFS.DiffIDs}, nil
}

// unambiguous refuses JSON that two readers could understand in two ways: a member
// that stands twice, or one of known in other letters. Below the members in free,
// names are anybody's.
func unambiguous(b []byte, known []string, free ...string) error {
	if err := discover.CheckValues(b); err != nil {
		return err
	}
	if err := noDuplicates(b); err != nil {
		return errors.New(clean(err.Error()))
	}
	var v any
	if json.Unmarshal(b, &v) != nil {
		return errors.New("not JSON")
	}
	return spelling(v, known, free)
}

func spelling(v any, known, free []string) error {
	switch v := v.(type) {
	case map[string]any:
		for k, below := range v {
			for _, want := range known {
				if k != want && strings.EqualFold(k, want) {
					return fmt.Errorf("expected %s, found %s", want, clean(k))
				}
			}
			if slices.Contains(free, k) {
				continue
			}
			if err := spelling(below, known, free); err != nil {
				return err
			}
		}
	case []any:
		for _, below := range v {
			if err := spelling(below, known, free); err != nil {
				return err
			}
		}
	}
	return nil
}

// forPlatform is the entry of an index for p: the first that fits, as clients take
// it. Variants that mean the same are the same.
func (l *layered) forPlatform(p ocispec.Platform) (ocispec.Descriptor, bool) {
	for _, e := range l.entries {
		q := e.Platform
		if q != nil && q.OS == p.OS && q.Architecture == p.Architecture && variant(*q) == variant(p) &&
			(q.OSVersion == "" || p.OSVersion == "" || q.OSVersion == p.OSVersion) {
			return e, true
		}
	}
	return ocispec.Descriptor{}, false
}

// variant is the CPU variant with what it is when nothing is said.
func variant(p ocispec.Platform) string {
	v := strings.TrimPrefix(p.Variant, "v")
	switch {
	case v != "":
		return v
	case p.Architecture == "arm64":
		return "8"
	case p.Architecture == "arm":
		return "7"
	case p.Architecture == "amd64":
		return "1"
	}
	return ""
}

// platformName is a platform as people write it.
func platformName(p ocispec.Platform) string {
	name := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		name += "/" + p.Variant
	}
	return clean(name)
}
