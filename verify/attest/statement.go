package attest

import (
	_ "crypto/sha256" // go-digest knows only the algorithms that are linked in
	_ "crypto/sha512"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Types of statements (https://github.com/in-toto/attestation, spec/v0.1.0 and
// spec/v1/statement.md).
const (
	StatementV01 = "https://in-toto.io/Statement/v0.1"
	StatementV1  = "https://in-toto.io/Statement/v1"
)

const maxSubjects = 10_000

// Statement is an in-toto statement, v0.1 or v1. The zero value is about nothing.
type Statement struct {
	Type          string          // _type: StatementV01 or StatementV1
	PredicateType string          // URI, never empty
	Subjects      []digest.Digest // sha256 and sha512 of all subjects, in their order

	document map[string]any // the whole of it, as conditions see it
}

// ParseStatement reads the payload of an envelope. Members that it does not know
// are allowed, but not those that another reader would take for one that it knows:
// Go's encoding/json ignores case, and protobuf's JSON reads predicate_type as
// predicateType. Subjects with other algorithms than sha256 and sha512 are read and
// not listed.
func ParseStatement(b []byte) (Statement, error) {
	v, err := decode(b)
	if err != nil {
		return Statement{}, fmt.Errorf("the statement %w", err)
	}
	doc, ok := v.(map[string]any)
	if !ok {
		return Statement{}, fmt.Errorf("expected a statement, a JSON object, found %s", describe(v))
	}
	if err := unambiguous(doc, "_type", "subject", "predicateType", "predicate"); err != nil {
		return Statement{}, fmt.Errorf("the statement %w", err)
	}
	s := Statement{document: doc}
	if s.Type, _ = doc["_type"].(string); s.Type != StatementV01 && s.Type != StatementV1 {
		return Statement{}, fmt.Errorf("expected _type %s or %s, found %s", StatementV1, StatementV01, describe(doc["_type"]))
	}
	if s.PredicateType, _ = doc["predicateType"].(string); s.PredicateType == "" {
		return Statement{}, fmt.Errorf("expected predicateType to be a URI, found %s", describe(doc["predicateType"]))
	}
	s.Subjects, err = subjects(doc["subject"])
	if err != nil {
		return Statement{}, err
	}
	return s, nil
}

// About reports whether one of the subjects is d. Algorithms are never mixed: a
// sha256 subject says nothing about a sha512 digest.
func (s Statement) About(d digest.Digest) bool {
	return d.Validate() == nil && slices.Contains(s.Subjects, d)
}

// Predicate is what the statement says, as [Condition]s see it: map[string]any,
// []any, string, bool, int64, float64, or nil when it says nothing.
func (s Statement) Predicate() any { return s.document["predicate"] }

func subjects(v any) ([]digest.Digest, error) {
	list, ok := v.([]any)
	if !ok || len(list) == 0 {
		return nil, fmt.Errorf("expected subject to be a list of at least one, found %s", describe(v))
	}
	if len(list) > maxSubjects {
		return nil, fmt.Errorf("expected at most %d subjects, found %d", maxSubjects, len(list))
	}
	var all []digest.Digest
	for i, item := range list {
		digests, err := subject(item)
		if err != nil {
			return nil, fmt.Errorf("subject %d: %w", i, err)
		}
		all = append(all, digests...)
	}
	return all, nil
}

// subject reads the digest set of one subject.
func subject(v any) ([]digest.Digest, error) {
	object, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("expected an object, found %s", describe(v))
	}
	if err := unambiguous(object, "digest"); err != nil {
		return nil, err
	}
	return digests(object["digest"])
}

// digests reads a digest set (in-toto attestation framework, spec/v1/digest_set.md):
// the sha256 and the sha512 of it, each in lower case hex.
func digests(v any) ([]digest.Digest, error) {
	set, ok := v.(map[string]any)
	if !ok || len(set) == 0 {
		return nil, fmt.Errorf("expected digest to be an object with algorithms, found %s", describe(v))
	}
	if err := unambiguous(set, "sha256", "sha512"); err != nil {
		return nil, fmt.Errorf("digest %w", err)
	}
	for algorithm, v := range set {
		if _, ok := v.(string); !ok {
			return nil, fmt.Errorf("expected digest %s to be a string, found %s", plain(algorithm), describe(v))
		}
	}
	var all []digest.Digest
	for _, algorithm := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		encoded, ok := set[algorithm.String()].(string)
		if !ok {
			continue
		}
		d := digest.NewDigestFromEncoded(algorithm, encoded)
		if err := d.Validate(); err != nil {
			return nil, fmt.Errorf("expected digest %s in lower case hex, found %q", algorithm, plain(encoded))
		}
		all = append(all, d)
	}
	return all, nil
}

// unambiguous refuses members that lax readers would take for one of the known
// names, or for another spelling of it.
func unambiguous(object map[string]any, known ...string) error {
	for name := range object {
		for _, k := range known {
			if name != k && strings.EqualFold(joined(name), joined(k)) {
				return fmt.Errorf("has the member %q, which some read as %q", plain(name), k)
			}
		}
	}
	return nil
}

func joined(name string) string { return strings.ReplaceAll(name, "_", "") }

// describe says what a JSON value is.
func describe(v any) string {
	switch v := v.(type) {
	case nil:
		return "nothing"
	case string:
		return fmt.Sprintf("%q", plain(v))
	case map[string]any:
		return fmt.Sprintf("an object with %d members", len(v))
	case []any:
		return fmt.Sprintf("a list of %d", len(v))
	}
	return plain(fmt.Sprint(v))
}

// errNotAbout is the reason when a condition is asked about another image.
var errNotAbout = errors.New("the statement is about another image")

// PredicateTypeOf is the predicate type behind one of cosign's short names (cosign
// attest --type), empty for an unknown one. Policies take URIs only; this is for
// tools that read what people wrote for cosign.
func PredicateTypeOf(alias string) string {
	switch alias {
	case "custom":
		return "https://cosign.sigstore.dev/attestation/v1"
	case "slsaprovenance", "slsaprovenance02":
		return "https://slsa.dev/provenance/v0.2"
	case "slsaprovenance1":
		return "https://slsa.dev/provenance/v1"
	case "spdx", "spdxjson":
		return "https://spdx.dev/Document"
	case "cyclonedx":
		return "https://cyclonedx.org/bom"
	case "link":
		return "https://in-toto.io/Link/v1"
	case "vuln":
		return "https://cosign.sigstore.dev/attestation/vuln/v1"
	case "openvex":
		return "https://openvex.dev/ns"
	}
	return ""
}
