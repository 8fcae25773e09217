package verify

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/distribution/reference"
)

// repositories says in which other repository the evidence about images is, by
// scope.
type repositories map[string]signatureRepository

// signatureRepository is one of them.
type signatureRepository struct {
	name string // registry/repository; without the star that stood at its end
	// star appends what the image's repository has after the scope.
	star bool
}

// newSignatureRepository reads registry/repository, registry/repository/* or
// registry/repository-*.
func newSignatureRepository(text string) signatureRepository {
	name, star := strings.CutSuffix(text, "*")
	return signatureRepository{name, star}
}

// at is the repository for ref's images, which scope matches. Names that are good by
// themselves can be too long together, and nothing follows the scope of one repository.
func (s signatureRepository) at(scope string, ref reference.Named) (reference.Named, error) {
	name := s.name
	if s.star {
		rest, _ := strings.CutPrefix(ref.Name(), scope)
		name = strings.TrimSuffix(name+strings.TrimPrefix(rest, "/"), "/")
	}
	repo, err := reference.ParseNamed(name)
	if err != nil {
		return nil, fmt.Errorf("signature repository %s: %w", clean(name), err)
	}
	return repo, nil
}

// signatureRepositoryProblem says what is wrong with one; both texts are empty when
// nothing is.
func signatureRepositoryProblem(scope string, s signatureRepository) (problem, fix string) {
	example := s.name
	if s.star && strings.Contains(s.name, "/") {
		example += "x/x"
	}
	switch {
	case scope != DefaultScope && !canMatch(scope):
		return "this scope can never match", scopeFix(scope)
	case s.star && (scope == DefaultScope || strings.HasPrefix(scope, "*.")):
		return "* at the end stands for what follows the scope, and this scope has no beginning", "write a registry or a part of one as the scope"
	case s.star && strings.ContainsAny(path(scope), ":@"):
		return "* at the end stands for what follows the scope, and nothing follows a tag or digest", "leave * out"
	}
	if ref, err := reference.ParseNamed(example); err != nil || !reference.IsNameOnly(ref) {
		return fmt.Sprintf("expected a repository, found %q", clean(s.name)), "write registry/repository, in full and without tag or digest"
	}
	return "", ""
}

// signatureRepositories reads [Options.SignatureRepositories].
func (l *loader) signatureRepositories(byScope map[string]string) repositories {
	out := repositories{}
	for _, scope := range slices.Sorted(maps.Keys(byScope)) {
		repo := newSignatureRepository(byScope[scope])
		if problem, fix := signatureRepositoryProblem(scope, repo); problem != "" {
			l.faults = append(l.faults, Fault{Key: fmt.Sprintf("signature_repositories.%q", clean(scope)), Problem: problem, Fix: fix})
			continue
		}
		out[scope] = repo
	}
	return out
}

// path is what follows the registry of a scope.
func path(scope string) string {
	_, after, _ := strings.Cut(scope, "/")
	return after
}

// of returns the signature repository for ref's images: that of the most specific
// scope, as requirements are chosen. Nil is ref's own repository.
func (r repositories) of(ref reference.Named) (reference.Named, error) {
	if len(r) == 0 {
		return nil, nil
	}
	for _, scope := range ScopeCandidates(ref) {
		if repo, there := r[scope]; there {
			return repo.at(scope, ref)
		}
	}
	if repo, there := r[DefaultScope]; there {
		return repo.at(DefaultScope, ref)
	}
	return nil, nil
}

// canonical is what counts into the revision; nothing when there are none.
func (r repositories) canonical() string {
	var s string
	for _, scope := range slices.Sorted(maps.Keys(r)) {
		s += fmt.Sprintf("repository %q=%q star=%t\n", scope, r[scope].name, r[scope].star)
	}
	return s
}

// SignatureRepository names the repository in which bundles, attachments and
// referrers of ref's images are looked for, or says why there is none; empty when it
// is their own.
func (p *Policy) SignatureRepository(ref reference.Named) string {
	repo, err := p.repositories.of(ref)
	switch {
	case err != nil:
		return err.Error()
	case repo == nil:
		return ""
	}
	return repo.Name()
}
