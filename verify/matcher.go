package verify

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/distribution/reference"
)

// matcher describes a signedIdentity for people. Whether an identity matches is
// decided by containers/image alone.
type matcher struct {
	Type             string `json:"type"`
	DockerReference  string `json:"dockerReference"`
	DockerRepository string `json:"dockerRepository"`
	Prefix           string `json:"prefix"`
	SignedPrefix     string `json:"signedPrefix"`
}

// defaultMatcher applies when signedIdentity is left out.
const defaultMatcher = "matchRepoDigestOrExact"

// parseMatcher reads a signedIdentity that the strict parser has accepted.
func parseMatcher(raw json.RawMessage) (matcher, error) {
	m := matcher{Type: defaultMatcher}
	if raw == nil {
		return m, nil
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, fmt.Errorf("signedIdentity: %w", err)
	}
	return m, nil
}

// String says what the matcher is.
func (m matcher) String() string {
	switch m.Type {
	case "exactReference":
		return fmt.Sprintf("identity %s %s", m.Type, m.DockerReference)
	case "exactRepository":
		return fmt.Sprintf("identity %s %s", m.Type, m.DockerRepository)
	case "remapIdentity":
		return fmt.Sprintf("identity %s from %s to %s", m.Type, m.Prefix, m.SignedPrefix)
	}
	return "identity " + m.Type
}

// wants says which signed identity the matcher accepts for ref.
func (m matcher) wants(ref reference.Named) string {
	name, full := ref.Name(), ref.String()
	_, byDigest := ref.(reference.Canonical)
	switch m.Type {
	case "exactReference":
		return m.DockerReference
	case "exactRepository":
		return "any tag of " + m.DockerRepository
	case "matchRepository":
		return "any tag of " + name
	case "remapIdentity":
		name, full = m.remap(name), m.remap(name)+strings.TrimPrefix(full, name)
	}
	if byDigest && m.Type != "matchExact" {
		return "any tag of " + name
	}
	return full
}

// remap replaces the prefix as remapIdentity does: whole path elements only.
func (m matcher) remap(name string) string {
	if rest, ok := strings.CutPrefix(name, m.Prefix); ok && (rest == "" || rest[0] == '/') {
		return m.SignedPrefix + rest
	}
	return name
}

// needsTag tells whether only identities with a tag or digest can match.
func (m matcher) needsTag() bool {
	return m.Type == "matchExact" || m.Type == defaultMatcher || m.Type == "remapIdentity"
}
