package verify

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/distribution/reference"

	"github.com/pullgate/pullgate/verify/discover"
)

// DefaultScope is the [Verdict.Scope] of images that no scope names.
const DefaultScope = "default"

// ScopeCandidates lists the scopes of policy.json that can decide about ref, most
// specific first: identity, repository, parents, host[:port], wildcards. The
// empty scope of the transport and the default list come after them.
func ScopeCandidates(ref reference.Named) []string { return discover.Candidates(ref) }

// AcceptsAnything reports whether an image that no scope matches needs nothing to
// be allowed.
func (p *Policy) AcceptsAnything() bool {
	return acceptAnything(p.byDefault)
}

// acceptAnything tells whether an image needs nothing to meet all of reqs.
func acceptAnything(reqs []*requirement) bool {
	return !slices.ContainsFunc(reqs, func(r *requirement) bool {
		x, _ := r.ext.(*anyOf)
		nothing := x != nil && slices.ContainsFunc(x.of, func(a alternative) bool { return acceptAnything(a.all) })
		return r.kind != typeAccept && !nothing
	})
}

// Scopes lists the scopes that policy.json configures for a transport, sorted;
// the empty string is the transport's own default.
func (p *Policy) Scopes(transport string) []string {
	return slices.Sorted(maps.Keys(p.scopes[transport]))
}

// scopeFor picks the requirements for ref, as containers/image does: the most
// specific scope of the transport, its empty scope, the default list.
func (p *Policy) scopeFor(transport string, ref reference.Named) (string, []*requirement) {
	scopes := p.scopes[transport]
	for _, name := range ScopeCandidates(ref) {
		if reqs, ok := scopes[name]; ok {
			return name, reqs
		}
	}
	if reqs, ok := scopes[""]; ok {
		return transport + " (transport default)", reqs
	}
	return DefaultScope, p.byDefault
}

// canMatch tells whether any image has scope among its candidates. It asks the
// library's own rules by trying names that would have to match.
func canMatch(scope string) bool {
	tries := []string{scope, scope + ":x", scope + "/x:x", scope + "/x/x:x"}
	if rest, ok := strings.CutPrefix(scope, "*."); ok {
		tries = []string{"x." + rest + "/x:x"}
	}
	for _, t := range tries {
		ref, err := reference.ParseNormalizedNamed(t)
		if err == nil && slices.Contains(ScopeCandidates(ref), scope) {
			return true
		}
	}
	return false
}

// scopeProblem says why a scope of the docker or atomic transport matches nothing,
// or something else than it seems to; both texts are empty when all is well.
func scopeProblem(scope string) (problem, fix string) {
	if !canMatch(scope) {
		return "this scope can never match", scopeFix(scope)
	}
	if host, _, _ := strings.Cut(scope, "/"); strings.ToLower(host) != host {
		return "upper case letters in the host: the scope does not match the same host in lower case", "write " + strings.ToLower(host)
	}
	if name, ok := strings.CutPrefix(scope, "docker.io/"); ok && !strings.Contains(name, "/") && name != "library" {
		return fmt.Sprintf("this scope matches images below docker.io/%s/, not the official image docker.io/library/%[1]s", name),
			fmt.Sprintf("write docker.io/library/%s if the official image is meant", name)
	}
	return "", ""
}

// scopeFix guesses what was meant by a scope that can never match.
func scopeFix(scope string) string {
	if _, rest, ok := strings.Cut(scope, "://"); ok {
		return fmt.Sprintf("write the name without a scheme: %q", strings.TrimRight(rest, "/"))
	}
	if trimmed := strings.TrimRight(scope, "/"); trimmed != scope {
		return fmt.Sprintf("write %q without the slash at the end", trimmed)
	}
	if strings.Contains(scope, "*") {
		return `a wildcard is "*." and a domain without port or path, for example "*.example.com"`
	}
	if lower := strings.ToLower(scope); lower != scope && canMatch(lower) {
		return fmt.Sprintf("write it in lower case: %q", lower)
	}
	if ref, err := reference.ParseNormalizedNamed(scope); err == nil {
		if full := ref.String(); full != scope && canMatch(full) {
			return fmt.Sprintf("write the full name: %q", full)
		}
	}
	return "write host[:port][/namespace…][/repository][:tag or @digest]"
}
