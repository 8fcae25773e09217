package auth

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/distribution/reference"
)

// everything is the scope, user or certificate that stands for all of them.
const everything = "*"

// rule is a Rule that was checked.
type rule Rule

// compile checks the rules. One that names nobody or nothing, or names somebody who
// cannot be known, is an error and never means everybody.
func compile(o Options) ([]rule, error) {
	rules := make([]rule, 0, len(o.Rules))
	for i, r := range o.Rules {
		if err := r.check(o); err != nil {
			return nil, fmt.Errorf("rule %d: %w", i+1, err)
		}
		rules = append(rules, rule{
			Users: slices.Clone(r.Users), Certificates: slices.Clone(r.Certificates),
			Networks: slices.Clone(r.Networks), Scopes: slices.Clone(r.Scopes),
		})
	}
	return rules, nil
}

func (r Rule) check(o Options) error {
	switch {
	case len(r.Users)+len(r.Certificates)+len(r.Networks) == 0:
		return fmt.Errorf("names nobody: expected users, certificates or networks")
	case len(r.Scopes) == 0:
		return fmt.Errorf("has no scopes: expected registries or repositories, or %q for all", everything)
	case len(r.Users) > 0 && o.HtpasswdFile == "":
		return fmt.Errorf("names users, and there is no htpasswd file that could know them")
	case len(r.Certificates) > 0 && !o.Certificates:
		return fmt.Errorf("names certificates, and clients are not asked for them: expected a CA for client certificates")
	}
	for _, u := range r.Users {
		if u == "" || strings.Contains(u, ":") || (u != everything && strings.Contains(u, "*")) {
			return fmt.Errorf("user %q: expected a name of the htpasswd file, or %q for all", u, everything)
		}
	}
	for _, c := range r.Certificates {
		domain, wild := strings.CutPrefix(c, "*.")
		if c != everything && (c == "" || wild && !hostName.MatchString(domain) || !wild && strings.Contains(c, "*")) {
			return fmt.Errorf("certificate %q: expected a name as in certificates, *.domain, or %q for all", c, everything)
		}
	}
	for _, s := range r.Scopes {
		if err := checkScope(s); err != nil {
			return err
		}
	}
	return checkPrefixes("networks", r.Networks)
}

// registryName is a registry as image names have it: a host with a dot, a port or
// the name localhost, and an address in brackets.
var registryName = regexp.MustCompile(`^([a-z0-9]+(-+[a-z0-9]+)*(\.[a-z0-9]+(-+[a-z0-9]+)*)*|\[[0-9a-f:.]+\])(:[1-9][0-9]{0,4})?$`)

// hubAliases are names of Docker Hub that no repository has.
var hubAliases = []string{"index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"}

// checkScope refuses scopes that match nothing, so that a slip is seen when the
// gate starts.
func checkScope(s string) error {
	registry, path, hasPath := strings.Cut(s, "/")
	domain, wild := strings.CutPrefix(s, "*.")
	switch {
	case s == everything:
		return nil
	case wild && hostName.MatchString(domain) && strings.ToLower(s) == s:
		return nil
	case slices.Contains(hubAliases, registry):
		return fmt.Errorf("scope %q: expected docker.io, the name that its images have", s)
	case !wild && registryName.MatchString(registry) && (strings.ContainsAny(registry, ".:") || registry == "localhost") && !hasPath:
		return nil
	case !wild && registryName.MatchString(registry) && hasPath:
		// Two elements: docker.io/name alone would be read as docker.io/library/name.
		named, err := reference.ParseNormalizedNamed(registry + "/x/" + path)
		if err == nil && reference.IsNameOnly(named) && named.Name() == registry+"/x/"+path {
			return nil
		}
	}
	return fmt.Errorf("scope %q: expected registry, registry/namespace or registry/namespace/repository in lower case without tag, as in docker.io/library; *.domain; or %q for all", s, everything)
}

// May returns nil when the identity may pull from the repository, else a *Refusal:
// 403, or 401 when it is a token that holds other repositories and the client can
// get one for this.
func (a *Authority) May(id Identity, repo reference.Named) error {
	if !a.Enabled() {
		return nil
	}
	if repo == nil || !known(id.Kind) {
		return &Refusal{Status: http.StatusForbidden, Message: "nothing may be pulled without saying who asks"}
	}
	name := repo.Name()
	if !a.permitted(id, name) {
		return &Refusal{Status: http.StatusForbidden, Message: fmt.Sprintf("%s may not pull from %s: no rule of this gate allows it", id, name)}
	}
	if !id.bearer || slices.Contains(id.access, name) {
		return nil
	}
	message := fmt.Sprintf("the token of %s does not cover %s", id, name)
	if id.challenge == "" {
		return &Refusal{Status: http.StatusForbidden, Message: message}
	}
	return &Refusal{Status: http.StatusUnauthorized, Challenge: id.challenge, Message: message}
}

func known(k Kind) bool { return k == User || k == Certificate || k == Network }

// permitted applies the rules. Without any, whoever is known may pull everything.
func (a *Authority) permitted(id Identity, repo string) bool {
	if a == nil {
		return false
	}
	if len(a.rules) == 0 {
		return a.state.Load() != nil // a zero Authority permits nothing
	}
	return slices.ContainsFunc(a.rules, func(r rule) bool {
		return r.names(id) && slices.ContainsFunc(r.Scopes, func(s string) bool { return covers(s, repo) })
	})
}

// names tells whether a rule is about an identity.
func (r rule) names(id Identity) bool {
	if within(r.Networks, id.Addr) {
		return true
	}
	switch id.Kind {
	case User:
		return slices.Contains(r.Users, everything) || slices.Contains(r.Users, id.Name)
	case Certificate:
		return slices.ContainsFunc(r.Certificates, func(c string) bool {
			return c == everything || slices.ContainsFunc(id.Names, func(n string) bool {
				// A certificate for *.domain itself is for none of the names below.
				return c == n && !strings.HasPrefix(c, "*") || below(c, n)
			})
		})
	}
	return false
}

// covers tells whether a scope holds a repository, whole path elements counted. As
// in policies, *.domain does not look at the registry's port.
func covers(scope, repo string) bool {
	if scope == everything || scope == repo || strings.HasPrefix(repo, scope+"/") {
		return true
	}
	host, _, _ := strings.Cut(repo, "/")
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		host = host[:i]
	}
	return below(scope, host)
}
