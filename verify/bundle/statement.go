package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/verify/discover"
)

// intotoType is the payload type of an in-toto statement (in-toto attestation
// framework, spec/v1/envelope.md).
const intotoType = "application/vnd.in-toto+json"

// Bounds of a statement, those of the library.
const (
	maxSubjects       = 1024
	maxSubjectDigests = 32
)

// statement is what this package needs of an in-toto statement.
type statement struct {
	predicateType string
	digests       []string // of the subjects, algorithm:hex
}

// parseStatement reads an in-toto statement v0.1 or v1 (in-toto attestation
// framework, spec/v1/statement.md).
func parseStatement(b []byte) (statement, error) {
	var s statement
	if err := checkJSON(b); err != nil {
		return s, fmt.Errorf("in-toto statement: %w", err)
	}
	m, err := members(b, "_type", "subject", "predicateType", "predicate")
	if err != nil {
		return s, fmt.Errorf("in-toto statement: %w", err)
	}
	kind, err := text(m["_type"])
	if err != nil || !slices.Contains([]string{"https://in-toto.io/Statement/v0.1", "https://in-toto.io/Statement/v1"}, kind) {
		return s, fmt.Errorf("in-toto statement: expected _type https://in-toto.io/Statement/v1 or v0.1, found %.100q", kind)
	}
	if s.predicateType, err = text(m["predicateType"]); err != nil || s.predicateType == "" {
		return s, errors.New("in-toto statement: expected a predicateType that is not empty")
	}
	var subjects []json.RawMessage
	if err := json.Unmarshal(m["subject"], &subjects); err != nil || len(subjects) == 0 || len(subjects) > maxSubjects {
		return s, fmt.Errorf("in-toto statement: expected a list of 1 to %d subjects", maxSubjects)
	}
	for i, raw := range subjects {
		if err := s.subject(raw); err != nil {
			return s, fmt.Errorf("in-toto statement: subject %d: %w", i+1, err)
		}
	}
	return s, nil
}

// subject notes the digests of one subject.
func (s *statement) subject(raw json.RawMessage) error {
	m, err := members(raw, "name", "digest")
	if err != nil {
		return err
	}
	var digests map[string]string
	if err := json.Unmarshal(m["digest"], &digests); err != nil || len(digests) == 0 || len(digests) > maxSubjectDigests {
		return fmt.Errorf("expected 1 to %d digests", maxSubjectDigests)
	}
	for _, algorithm := range sortedKeys(digests) {
		s.digests = append(s.digests, algorithm+":"+digests[algorithm])
	}
	return nil
}

// about tells whether the statement has d among its subjects.
func (s *statement) about(d digest.Digest) error {
	if slices.Contains(s.digests, d.String()) {
		return nil
	}
	return fmt.Errorf("in-toto statement: expected a subject with digest %s, found %.100s (of %d)", d, s.digests[0], len(s.digests))
}

// parseSimpleSigning returns the digest that a simple signing payload of cosign
// is about (cosign, SIGNATURE_SPEC.md). The object "critical" and those in it hold what
// has to be there and nothing that is not understood, hence its name; other readers
// (containers/image) refuse what does not.
func parseSimpleSigning(b []byte) (string, error) {
	if err := checkJSON(b); err != nil {
		return "", err
	}
	top, err := members(b, "critical", "optional")
	if err != nil {
		return "", err
	}
	critical, err := exactly(top["critical"], "type", "image", "identity")
	if err != nil {
		return "", fmt.Errorf("critical: %w", err)
	}
	if kind, err := text(critical["type"]); err != nil || kind != "cosign container image signature" {
		return "", fmt.Errorf("critical.type: expected %q, found %.100q", "cosign container image signature", kind)
	}
	image, err := exactly(critical["image"], "docker-manifest-digest")
	if err != nil {
		return "", fmt.Errorf("critical.image: %w", err)
	}
	d, err := text(image["docker-manifest-digest"])
	if err != nil {
		return "", fmt.Errorf("critical.image.docker-manifest-digest: %w", err)
	}
	identity, err := exactly(critical["identity"], "docker-reference")
	if err != nil {
		return "", fmt.Errorf("critical.identity: %w", err)
	}
	if _, err := text(identity["docker-reference"]); err != nil {
		return "", fmt.Errorf("critical.identity.docker-reference: %w", err)
	}
	return d, nil
}

// simpleSigningAbout checks that s is a simple signing payload about subject.
func simpleSigningAbout(s *discover.Sigstore, subject digest.Digest) error {
	if s.MIMEType != discover.SimpleSigningMIMEType {
		return fmt.Errorf("expected a payload of type %s, found %.100q", discover.SimpleSigningMIMEType, s.MIMEType)
	}
	got, err := parseSimpleSigning(s.Payload)
	if err != nil {
		return fmt.Errorf("simple signing payload: %w", err)
	}
	if got != subject.String() {
		return fmt.Errorf("simple signing payload: expected docker-manifest-digest %s, found %.100s", subject, got)
	}
	return nil
}
