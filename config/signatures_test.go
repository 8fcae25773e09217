package config

import (
	"maps"
	"strings"
	"testing"
)

func TestFaultsOfSignatureRepositories(t *testing.T) {
	items := func(s string) string { return minimal + "signature_repositories: [" + s + "]" }
	const scope, repo = "scope: docker.io/team", "repository: docker.io/team/sigs"
	runAll(t, []faulty{
		{"unknown key", items("{" + scope + ", " + repo + ", place: x}"), "signature_repositories[0].place", 3, []string{"scope, repository"}},
		{"key twice", items("{" + scope + ", " + repo + ", " + repo + "}"), "signature_repositories[0].repository", 3, []string{"second time"}},
		{"no scope", items("{" + repo + "}"), "signature_repositories[0].scope", 3, []string{"expected a scope"}},
		{"no such scope", items("{scope: 'https://docker.io', " + repo + "}"), "signature_repositories[0].scope", 3, []string{`"https://docker.io"`}},
		{"scope twice", items("{" + scope + ", " + repo + "}, {" + scope + ", " + repo + "}"), "signature_repositories[1].scope", 3, []string{"second time"}},
		{"no repository", items("{" + scope + "}"), "signature_repositories[0].repository", 3, []string{"registry/repository"}},
		{"a registry alone", items("{" + scope + ", repository: docker.io}"), "signature_repositories[0].repository", 3, []string{"registry/repository"}},
		{"short", items("{" + scope + ", repository: team/sigs}"), "signature_repositories[0].repository", 3, []string{"in full"}},
		{"with a tag", items("{" + scope + ", repository: docker.io/team/sigs:v1}"), "signature_repositories[0].repository", 3, []string{"without tag"}},
		{"with a scheme", items("{" + scope + ", repository: 'https://u:hunter2@docker.io/x'}"), "signature_repositories[0].repository", 3, []string{"in full"}},
		{"registry that is not served", items("{" + scope + ", repository: sigs.example.com/x}"), "signature_repositories[0].repository", 3, []string{"not among the upstreams"}},
		{"below everything", items("{scope: default, repository: docker.io/sigs/*}"), "signature_repositories[0].repository", 3, []string{"no beginning"}},
		{"below a domain", items("{scope: '*.example.com', repository: docker.io/sigs/*}"), "signature_repositories[0].repository", 3, []string{"no beginning"}},
		{"no repository below", items("{" + scope + ", repository: 'docker.io*'}"), "signature_repositories[0].repository", 3, []string{"registry/repository"}},
		{"below a registry that is not served", items("{scope: docker.io, repository: sigs.example.com/*}"), "signature_repositories[0].repository", 3, []string{"not among the upstreams"}},
		{"too many", items(strings.Repeat("{"+scope+"}, ", 1001)), "signature_repositories", 3, []string{"at most 1000"}},
	})
}

func TestSignatureRepositoriesFromTheEnvironment(t *testing.T) {
	s := newSite(t)
	c := s.good(minimal, LoadOptions{Environ: []string{"PULLGATE_SIGNATURE_REPOSITORIES=docker.io/team=docker.io/team/sigs/*,docker.io=docker.io/*,default=docker.io/all/sigs"}})
	want := map[string]string{"docker.io/team": "docker.io/team/sigs/*", "docker.io": "docker.io/*", "default": "docker.io/all/sigs"}
	if got := c.RepositoriesByScope(); !maps.Equal(got, want) {
		t.Errorf("found %v, want %v", got, want)
	}
}
