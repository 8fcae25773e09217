package attest

import (
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
)

// Types of SLSA provenance (https://slsa.dev/spec/v0.2/provenance,
// https://slsa.dev/spec/v1.1/provenance).
const (
	ProvenanceV02 = "https://slsa.dev/provenance/v0.2"
	ProvenanceV1  = "https://slsa.dev/provenance/v1"
)

// maxMaterials bounds how many a statement lists, as [maxSubjects] does.
const maxMaterials = 10_000

// Material is something that a build used: an image, a source repository, a file.
type Material struct {
	URI    string          // empty when the provenance gives none
	Digest []digest.Digest // sha256, then sha512; none when the provenance gives neither
}

// IsProvenance tells whether s is SLSA provenance of a version that [Statement.Materials]
// reads.
func (s Statement) IsProvenance() bool {
	return s.PredicateType == ProvenanceV02 || s.PredicateType == ProvenanceV1
}

// Materials lists what SLSA provenance says that the build used: predicate.materials
// (v0.2), predicate.buildDefinition.resolvedDependencies (v1). Both may be left out.
func (s Statement) Materials() ([]Material, error) {
	if !s.IsProvenance() {
		return nil, fmt.Errorf("expected SLSA provenance (%s or %s), found %s", ProvenanceV1, ProvenanceV02, plain(s.PredicateType))
	}
	where, key := "predicate", "materials"
	object, err := objectAt(s.document, where)
	if err == nil && s.PredicateType == ProvenanceV1 {
		where, key = "buildDefinition", "resolvedDependencies"
		object, err = objectAt(object, where)
	}
	if err != nil {
		return nil, err
	}
	if err := unambiguous(object, key); err != nil {
		return nil, fmt.Errorf("%s %w", where, err)
	}
	if object[key] == nil {
		return nil, nil
	}
	list, ok := object[key].([]any)
	if !ok {
		return nil, fmt.Errorf("expected %s to be a list, found %s", key, describe(object[key]))
	}
	if len(list) > maxMaterials {
		return nil, fmt.Errorf("expected at most %d %s, found %d", maxMaterials, key, len(list))
	}
	out := make([]Material, len(list))
	for i, item := range list {
		if out[i], err = material(item); err != nil {
			return nil, fmt.Errorf("%s[%d]: %w", key, i, err)
		}
	}
	return out, nil
}

// objectAt is a member of object that has to be an object itself.
func objectAt(object map[string]any, name string) (map[string]any, error) {
	if err := unambiguous(object, name); err != nil {
		return nil, fmt.Errorf("the provenance %w", err)
	}
	inner, ok := object[name].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("expected %s to be an object, found %s", name, describe(object[name]))
	}
	return inner, nil
}

// material reads one material, which is a ResourceDescriptor in v1.
func material(v any) (m Material, err error) {
	object, ok := v.(map[string]any)
	if !ok {
		return m, fmt.Errorf("expected an object, found %s", describe(v))
	}
	if err := unambiguous(object, "uri", "digest"); err != nil {
		return m, err
	}
	if object["uri"] != nil {
		if m.URI, ok = object["uri"].(string); !ok {
			return m, errors.New("expected uri to be a string, found " + describe(object["uri"]))
		}
	}
	if set, empty := object["digest"].(map[string]any); object["digest"] == nil || empty && len(set) == 0 {
		return m, nil
	}
	m.Digest, err = digests(object["digest"])
	return m, err
}
