package bundle_test

import (
	"strings"
	"testing"

	"github.com/pullgate/pullgate/verify/bundle"
)

func TestParseIdentityRefused(t *testing.T) {
	for name, c := range map[string]struct {
		issuer, issuerRE, subject, subjectRE string
		extensions                           map[string]string
		want                                 string
	}{
		"nothing":           {want: "issuer or issuerRegExp"},
		"no subject":        {issuer: "i", want: "subject or subjectRegExp"},
		"no issuer":         {subject: "s", want: "issuer or issuerRegExp"},
		"both subjects":     {issuer: "i", subject: "s", subjectRE: "s", want: "found both"},
		"both issuers":      {issuer: "i", issuerRE: "i", subject: "s", want: "found both"},
		"bad expression":    {issuer: "i", subjectRE: "(", want: "subjectRegExp"},
		"escapes its group": {issuer: "i", subjectRE: "a)|(?:b", want: "subjectRegExp"},
		"quotes its end":    {issuerRE: `\Qi`, subject: "s", want: "matched as a whole"},
		"unknown extension": {issuer: "i", subject: "s", extensions: map[string]string{"repository": "r"}, want: "unknown"},
		"name in case":      {issuer: "i", subject: "s", extensions: map[string]string{"SourceRepositoryURI": "r"}, want: "unknown"},
		"issuer twice":      {issuer: "i", subject: "s", extensions: map[string]string{"issuer": "r"}, want: "unknown"},
		"empty extension":   {issuer: "i", subject: "s", extensions: map[string]string{"runnerEnvironment": ""}, want: "empty"},
	} {
		t.Run(name, func(t *testing.T) {
			if id, err := bundle.ParseIdentity(c.issuer, c.issuerRE, c.subject, c.subjectRE, c.extensions); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("expected %q, found %v, %v", c.want, id, err)
			}
		})
	}
}

func TestEveryExtensionIsKnown(t *testing.T) {
	all := map[string]string{}
	for _, n := range bundle.ExtensionNames() {
		all[n] = "x"
	}
	id, err := bundle.ParseIdentity("i", "", "s", "", all)
	must(t, err)
	for n := range all {
		if !strings.Contains(id.String(), n+" x") {
			t.Errorf("%s is lost in %s", n, id)
		}
	}
}

// An identity matches a value as a whole.
func TestIdentityMatching(t *testing.T) {
	const prefix = `https://github\.com/acme/.+`
	w := newWorld(t)
	for name, c := range map[string]struct {
		san, issuer, repo                    string // of the certificate
		wantIssuer, issuerRE, wantSAN, sanRE string
		extensions                           map[string]string
		accepted                             bool
	}{
		"expression":            {wantIssuer: issuer, sanRE: prefix, accepted: true},
		"exact":                 {wantIssuer: issuer, wantSAN: workflow, accepted: true},
		"issuer expression":     {issuerRE: "https://token.actions.githubusercontent.com", wantSAN: workflow, accepted: true},
		"unanchored in front":   {san: "https://evil.example/https://github.com/acme/x", wantIssuer: issuer, sanRE: prefix},
		"unanchored behind":     {san: "https://github.com/acme/app.evil.example/x", wantIssuer: issuer, sanRE: `https://github\.com/acme/app`},
		"alternative":           {san: "https://evil.example/b", wantIssuer: issuer, sanRE: `a|b`},
		"multi-line":            {san: "https://evil.example/%0Aa", wantIssuer: issuer, sanRE: `(?m)a$`},
		"exact is no prefix":    {wantIssuer: issuer, wantSAN: strings.TrimSuffix(workflow, "main")},
		"issuer unanchored":     {issuer: "https://evil.example/" + issuer, issuerRE: "https://token.*", wantSAN: workflow},
		"issuer case":           {issuer: strings.ToUpper(issuer), wantIssuer: issuer, wantSAN: workflow},
		"extension":             {repo: "https://github.com/acme/app", wantIssuer: issuer, wantSAN: workflow, extensions: map[string]string{"sourceRepositoryURI": "https://github.com/acme/app"}, accepted: true},
		"extension differs":     {repo: "https://github.com/acme/app2", wantIssuer: issuer, wantSAN: workflow, extensions: map[string]string{"sourceRepositoryURI": "https://github.com/acme/app"}},
		"extension is missing":  {wantIssuer: issuer, wantSAN: workflow, extensions: map[string]string{"sourceRepositoryURI": "https://github.com/acme/app"}},
		"extension is no regex": {repo: "https://github.com/acme/app", wantIssuer: issuer, wantSAN: workflow, extensions: map[string]string{"sourceRepositoryURI": ".*"}},
	} {
		t.Run(name, func(t *testing.T) {
			id, err := bundle.ParseIdentity(c.wantIssuer, c.issuerRE, c.wantSAN, c.sanRE, c.extensions)
			must(t, err)
			doc := marshal(t, w.attest(keyless{san: c.san, issuer: c.issuer, sourceRepo: c.repo}, signed()))
			v, err := bundle.Verify(doc, subject, &bundle.Trust{Root: w.root, Identities: []bundle.Identity{id}})
			if c.accepted {
				must(t, err)
				return
			}
			denied(t, v, err, "signed by ")
		})
	}
}

// A reason names the field that differs, however long the names are.
func TestIdentityReason(t *testing.T) {
	w := newWorld(t)
	long := "https://github.com/acme/" + strings.Repeat("a", 400) + "/.github/workflows/build.yml@refs/heads/main"
	identity := func(subject string, extensions map[string]string) bundle.Identity {
		id, err := bundle.ParseIdentity(issuer, "", subject, "", extensions)
		must(t, err)
		return id
	}
	doc := marshal(t, w.attest(keyless{san: long, sourceRepo: "https://github.com/acme/app"}, signed()))
	for name, c := range map[string]struct {
		identities []bundle.Identity
		want       string
	}{
		"a field": {[]bundle.Identity{identity(long, map[string]string{"sourceRepositoryURI": "https://github.com/acme/web"})},
			`expected sourceRepositoryURI https://github.com/acme/web, found "https://github.com/acme/app": signed by https://github.com/acme/aaa`},
		"a field that is not there": {[]bundle.Identity{identity(long, map[string]string{"runnerEnvironment": "github-hosted"})},
			"expected runnerEnvironment github-hosted, found none: signed by"},
		"the near one first": {[]bundle.Identity{identity("https://example.com/x", nil), identity(long, map[string]string{"runnerEnvironment": "github-hosted"})},
			"expected runnerEnvironment github-hosted, found none or subject https://example.com/x: signed by"},
		"many": {[]bundle.Identity{identity("a", nil), identity("b", nil), identity("c", nil), identity("d", nil), identity("e", nil)},
			"expected subject a or subject b or subject c or 2 more: signed by"},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := bundle.Verify(doc, subject, &bundle.Trust{Root: w.root, Identities: c.identities})
			denied(t, v, err, c.want)
			if strings.Contains(err.Error(), "%!") || !strings.HasSuffix(err.Error(), "…") && len(err.Error()) > 650 {
				t.Errorf("%s", err)
			}
		})
	}
}
