package verify

import (
	"fmt"
	"maps"
	"slices"

	"github.com/distribution/reference"
)

// repositories says in which other repository the evidence about images is, by
// scope.
type repositories map[string]reference.Named

// signatureRepositories reads [Options.SignatureRepositories].
func (l *loader) signatureRepositories(byScope map[string]string) repositories {
	out := repositories{}
	for _, scope := range slices.Sorted(maps.Keys(byScope)) {
		name := byScope[scope]
		if scope != DefaultScope && !canMatch(scope) {
			l.faults = append(l.faults, Fault{Key: fmt.Sprintf("signature_repositories.%q", clean(scope)),
				Problem: "this scope can never match", Fix: scopeFix(scope)})
			continue
		}
		ref, err := reference.ParseNamed(name)
		if err != nil || !reference.IsNameOnly(ref) {
			l.faults = append(l.faults, Fault{Key: fmt.Sprintf("signature_repositories.%q", clean(scope)),
				Problem: fmt.Sprintf("expected a repository, found %q", clean(name)), Fix: "write registry/repository, in full and without tag or digest"})
			continue
		}
		out[scope] = ref
	}
	return out
}

// of returns the signature repository for ref's images: that of the most specific
// scope, as requirements are chosen. Nil is ref's own repository.
func (r repositories) of(ref reference.Named) reference.Named {
	if len(r) == 0 {
		return nil
	}
	for _, scope := range ScopeCandidates(ref) {
		if repo, there := r[scope]; there {
			return repo
		}
	}
	return r[DefaultScope]
}

// canonical is what counts into the revision; nothing when there are none.
func (r repositories) canonical() string {
	var s string
	for _, scope := range slices.Sorted(maps.Keys(r)) {
		s += fmt.Sprintf("repository %q=%q\n", scope, r[scope].Name())
	}
	return s
}

// SignatureRepository names the repository in which bundles, attachments and
// referrers of ref's images are looked for; empty when it is their own.
func (p *Policy) SignatureRepository(ref reference.Named) string {
	if repo := p.repositories.of(ref); repo != nil {
		return repo.Name()
	}
	return ""
}
