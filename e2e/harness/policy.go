package harness

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// Policy is a policy.json (containers-policy.json(5)).
type Policy struct {
	Default    []Requirement                       `json:"default"`
	Transports map[string]map[string][]Requirement `json:"transports,omitempty"`
}

// Requirement is one object in a scope's list.
type Requirement map[string]any

// PolicyFor rejects everything outside the scope and asks for the requirements
// within it.
func PolicyFor(scope string, requirements ...Requirement) Policy {
	return Policy{Default: []Requirement{Reject()}}.With(scope, requirements...)
}

// With returns the policy with one more scope of transport docker.
func (p Policy) With(scope string, requirements ...Requirement) Policy {
	scopes := map[string][]Requirement{}
	for k, v := range p.Transports["docker"] {
		scopes[k] = v
	}
	scopes[scope] = requirements
	transports := map[string]map[string][]Requirement{}
	for k, v := range p.Transports {
		transports[k] = v
	}
	transports["docker"] = scopes
	return Policy{Default: p.Default, Transports: transports}
}

// JSON returns the policy's file content.
func (p Policy) JSON(t testing.TB) []byte {
	t.Helper()
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Reject is the requirement that nothing meets.
func Reject() Requirement { return Requirement{"type": "reject"} }

// AcceptAnything is the requirement that everything meets.
func AcceptAnything() Requirement { return Requirement{"type": "insecureAcceptAnything"} }

// SignedBy asks for a simple signing signature by one of the keys in the rings
// given (binary OpenPGP, concatenated into one keyData).
func SignedBy(rings ...[]byte) Requirement {
	var all []byte
	for _, r := range rings {
		all = append(all, r...)
	}
	return Requirement{"type": "signedBy", "keyType": "GPGKeys", "keyData": encode(all)}
}

// WithIdentity returns the requirement with a signedIdentity: kind is for
// example "matchExact" or "exactReference"; fields are alternating names and
// values ("dockerReference", "registry.example/app:v1").
func (r Requirement) WithIdentity(kind string, fields ...string) Requirement {
	identity := map[string]any{"type": kind}
	for i := 0; i+1 < len(fields); i += 2 {
		identity[fields[i]] = fields[i+1]
	}
	out := Requirement{"signedIdentity": identity}
	for k, v := range r {
		out[k] = v
	}
	return out
}

// RegistriesD is what a registries.d file says, by namespace
// (containers-registries.d(5)); "" is default-docker.
type RegistriesD map[string]SignaturePlace

// SignaturePlace is where the signatures of a namespace are.
type SignaturePlace struct {
	Lookaside           string // URL, none when empty
	SigstoreAttachments bool
}

// Write puts the file harness.yaml into dir.
func (d RegistriesD) Write(t testing.TB, dir string) {
	t.Helper()
	var head, body strings.Builder
	for namespace, p := range d {
		b := &body
		if namespace == "" {
			b = &head
			b.WriteString("default-docker:\n")
		} else {
			fmt.Fprintf(b, "  %q:\n", namespace)
		}
		if p.Lookaside != "" {
			fmt.Fprintf(b, "    lookaside: %q\n", p.Lookaside)
		}
		if p.SigstoreAttachments {
			b.WriteString("    use-sigstore-attachments: true\n")
		}
		if p == (SignaturePlace{}) {
			b.WriteString("    {}\n")
		}
	}
	if body.Len() > 0 {
		head.WriteString("docker:\n" + body.String())
	}
	writeFile(t, filepath.Join(dir, "harness.yaml"), []byte(head.String()))
}
