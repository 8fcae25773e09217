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
