package verify

import (
	"fmt"
	"maps"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/distribution/reference"

	"github.com/pullgate/pullgate/verify/discover"
)

// otherTransports are names that policy.json may hold for other programs. The
// gate judges images of the docker and atomic transports only.
var otherTransports = []string{"containers-storage", "dir", "docker-archive", "docker-daemon", "oci", "oci-archive", "ostree", "sif", "tarball"}

// atomicScope is what other readers of policy.json accept as a scope of the
// atomic transport: host/namespace/stream:tag or a parent of it.
var atomicScope = regexp.MustCompile(`^[^/]*(/[^:/]*(/[^:/]*(:[^:/]*)?)?)?$`)

// lintTransport warns about names that no image has.
func (l *loader) lintTransport(name string) {
	if name == TransportDocker || name == TransportAtomic || slices.Contains(otherTransports, name) {
		return
	}
	l.warn("transports."+clean(name), "unknown transport: its scopes never match", `images of registries are judged by "docker"`)
}

// lintScope warns about scopes that match nothing, or not what they seem to.
func (l *loader) lintScope(transport, scope string) {
	if scope == "" || (transport != TransportDocker && transport != TransportAtomic) {
		return
	}
	key := fmt.Sprintf("transports.%s.%q", transport, clean(scope))
	if transport == TransportAtomic && !atomicScope.MatchString(scope) {
		l.fault(key, "not a scope of the atomic transport", "write host/namespace/stream:tag or a parent of it")
		return
	}
	if problem, fix := scopeProblem(scope); problem != "" {
		l.warn(key, problem, fix)
	}
}

// lintRequirement warns about requirements that deny more than their author may
// think.
func (l *loader) lintRequirement(at string, r *requirement) {
	switch {
	case r.denies != "" && r.kind != typeReject:
		l.warn(at, r.denies, `write {"type": "reject"} if that is meant`)
	case r.gpg != nil && r.match.Type == "matchExact":
		l.warn(at+".signedIdentity", "matchExact denies every pull by digest of an image that was signed by its tag", "use "+defaultMatcher)
	case r.trust != nil && r.match.needsTag():
		l.warn(at+".signedIdentity", r.match.Type+" accepts only signatures whose identity has a tag or digest; cosign writes none unless told to",
			`use {"type": "matchRepository"}, or sign with --sign-container-identity`)
	}
}

// lintPlaces warns about scopes that want simple signing signatures while nothing
// says where they are: a name that is misspelt in registries.d looks like that.
func (l *loader) lintPlaces(scopes map[string]map[string][]*requirement, places *discover.Lookasides) {
	for _, transport := range []string{TransportDocker, TransportAtomic} {
		for _, scope := range slices.Sorted(maps.Keys(scopes[transport])) {
			wants := slices.ContainsFunc(scopes[transport][scope], func(r *requirement) bool { return r.gpg != nil })
			ref := exampleOf(scope)
			if !wants || ref == nil {
				continue
			}
			base, err := places.Base(ref)
			if err != nil || base.Scheme != "file" {
				continue
			}
			dir := strings.TrimSuffix(base.Path, "/"+reference.Path(ref))
			if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
				continue
			}
			key := fmt.Sprintf("transports.%s.%q", transport, clean(scope))
			where := (&url.URL{Scheme: "file", Path: dir}).String()
			l.warn(key, "its GPG signatures are looked for in "+clean(where)+", where nothing is, and where the registry offers them itself",
				"name the place in registries.d, as lookaside of that registry or repository")
		}
	}
}

// exampleOf is an image within a scope; nil when the scope names no place.
func exampleOf(scope string) reference.Named {
	for _, s := range []string{scope, scope + "/image"} {
		if ref, err := reference.ParseNamed(s); err == nil {
			return ref
		}
	}
	return nil
}

// lintBases warns about signedBaseLayer whose base no image can have: the scope that
// decides about the base asks for nothing, and a base that nobody vouches for proves
// nothing, or it denies every image.
func (p *Policy) lintBases(file string) []Warning {
	var out []Warning
	check := func(transport, at string, reqs []*requirement) {
		eachBase(at, reqs, func(at string, x *baseLayer) {
			base := x.exact
			if base == nil {
				base = x.repo
			}
			if base == nil || x.exact == nil && p.scopesWithin(transport, base) {
				return // its own repository, and so its own scope; or scopes for some images of it
			}
			scope, of := p.scopeFor(transport, base)
			problem, fix := "", "give the base a scope that asks for a signature"
			switch {
			case acceptAnything(of):
				problem = "scope %s accepts the base %s without a signature, which proves nothing: no image passes"
			case slices.ContainsFunc(of, func(r *requirement) bool { return r.denies != "" }):
				problem = "scope %s denies the base %s: no image passes"
			default:
				return
			}
			out = append(out, Warning{File: file, Key: at, Problem: fmt.Sprintf(problem, clean(scope), clean(base.String())), Fix: fix})
		})
	}
	for _, transport := range []string{TransportDocker, TransportAtomic} {
		for _, scope := range p.Scopes(transport) {
			check(transport, scopeKey(transport, clean(scope)), p.scopes[transport][scope])
		}
	}
	check(TransportDocker, DefaultScope, p.byDefault)
	return out
}

// scopesWithin tells whether a scope names a tag or a digest of a repository.
func (p *Policy) scopesWithin(transport string, repo reference.Named) bool {
	return slices.ContainsFunc(p.Scopes(transport), func(s string) bool {
		return strings.HasPrefix(s, repo.Name()+":") || strings.HasPrefix(s, repo.Name()+"@")
	})
}

// eachBase calls do for every signedBaseLayer among requirements, those within anyOf
// too, with its place in policy.json.
func eachBase(at string, reqs []*requirement, do func(at string, x *baseLayer)) {
	for i, r := range reqs {
		key := fmt.Sprintf("%s[%d]", at, i)
		switch x := r.ext.(type) {
		case *baseLayer:
			do(key, x)
		case *anyOf:
			for j, alt := range x.of {
				eachBase(alternativeKey(key, j, alt.dated()), alt.all, do)
			}
		}
	}
}
