package config

import (
	"fmt"
	"strings"

	"github.com/distribution/reference"
)

// SignatureRepository says where the evidence about the images of a scope is, when it
// is not in their own repository: .sig and .att attachments, bundles, referrers.
type SignatureRepository struct {
	// Scope is written as in the policy: a registry, a part of one, a repository,
	// *.domain, or "default" for all images of no other scope. Required.
	Scope string `mapstructure:"scope"`
	// Repository is registry/repository in full. A * at its end stands for what the
	// image's repository has after Scope. Its registry must be served.
	Repository string `mapstructure:"repository"`
}

// RepositoriesByScope returns the signature repository of each scope that has one.
func (c *Config) RepositoriesByScope() map[string]string {
	out := map[string]string{}
	for _, r := range c.SignatureRepositories {
		out[r.Scope] = r.Repository
	}
	return out
}

// signatureRepositoryKeys returns the keys of one item of signature_repositories.
func signatureRepositoryKeys() []key { return []key{{name: "scope"}, {name: "repository"}} }

func (v *validator) signatureRepositories() {
	if !v.few("signature_repositories", len(v.c.SignatureRepositories), maxItems) {
		return
	}
	seen := map[string]bool{}
	for i, r := range v.c.SignatureRepositories {
		at := fmt.Sprintf("signature_repositories[%d]", i)
		switch {
		case !validScope(r.Scope):
			v.fault(at+".scope", fmt.Sprintf("expected a scope of the policy, found %s", quote(r.Scope)),
				`write a registry, a part of one, a repository, *.domain, or "default"`)
		case seen[r.Scope]:
			v.fault(at+".scope", fmt.Sprintf("%s stands here a second time", quote(r.Scope)), "list each scope once")
		}
		seen[r.Scope] = true
		name, star := strings.CutSuffix(r.Repository, "*")
		if star && (r.Scope == "default" || strings.HasPrefix(r.Scope, "*.")) {
			v.fault(at+".repository", "ends with *, which stands for what follows the scope, and this scope has no beginning", "name a registry or a part of one as the scope")
		}
		if star && strings.Contains(name, "/") {
			name += "x/x"
		}
		v.repository(at+".repository", name)
	}
}

// repository checks a name in full, without tag or digest, of a registry that is
// served.
func (v *validator) repository(at, name string) {
	ref, err := reference.ParseNamed(name)
	if err != nil || !reference.IsNameOnly(ref) {
		v.fault(at, fmt.Sprintf("expected a repository, found %s", quote(name)), "write registry/repository in full, without tag or digest: sigs.example.com/team/signatures")
		return
	}
	v.served(at, reference.Domain(ref))
}
