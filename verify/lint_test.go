package verify

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// warningsOf loads a policy and returns its warnings as one text.
func warningsOf(t *testing.T, policy string) string {
	t.Helper()
	p, err := newWorld(t).load(policy)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, w := range p.Warnings() {
		b.WriteString(w.Error() + "\n")
	}
	return b.String()
}

func TestScopesThatCannotMatch(t *testing.T) {
	for scope, want := range map[string]string{
		"registry.example.com":                      "",
		"registry.example.com:5000":                 "",
		"registry.example.com/team":                 "",
		"registry.example.com/team/app":             "",
		"registry.example.com/team/app:v1":          "",
		"registry.example.com:5000/a:v1":            "",
		repo + "@sha256:" + strings.Repeat("a", 64): "",
		"*.example.com":                             "",
		"*.com":                                     "",
		"localhost":                                 "",
		"localhost:5000/x":                          "",
		"docker.io":                                 "",
		"docker.io/library":                         "",
		"docker.io/library/busybox":                 "",
		"docker.io/library/busybox:latest":          "",
		"127.0.0.1:5000":                            "",
		"[::1]:5000/x":                              "can never match",
		"busybox":                                   "docker.io/library/busybox",
		"library/busybox":                           "docker.io/library/busybox",
		"docker.io/busybox":                         "docker.io/library/busybox",
		"docker.io/busybox:latest":                  "docker.io/library/busybox:latest",
		"index.docker.io/library/busybox":           "docker.io/library/busybox",
		"*":                                         "can never match",
		"*.*.com":                                   "can never match",
		"*.com:5000":                                "can never match",
		"*.example.com/team":                        "can never match",
		"registry.*.com":                            "can never match",
		"Registry.example.com":                      "lower case",
		"registry.example.com/Team":                 "lower case",
		"https://registry.example.com/team":         `"registry.example.com/team"`,
		"docker://registry.example.com":             `"registry.example.com"`,
		"registry.example.com/":                     `"registry.example.com"`,
		"registry.example.com/team/":                `"registry.example.com/team"`,
		"registry.example.com//team":                "can never match",
		repo + "@sha256:abc":                        "can never match",
		v1 + "@sha256:" + strings.Repeat("a", 64):   "can never match",
		" registry.example.com":                     "can never match",
		"registry.example.com/te am":                "can never match",
	} {
		got := warningsOf(t, fmt.Sprintf(`{"default":[{"type":"reject"}],"transports":{"docker":{%q:[{"type":"reject"}]}}}`, scope))
		if (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: expected %q, found %q", scope, want, got)
		}
	}
}

// TestScopeThatMatchesIsNotWarnedAbout takes every candidate of some images.
func TestScopeThatMatchesIsNotWarnedAbout(t *testing.T) {
	for _, s := range []string{"a.b.c.example.com:5000/x/y/z:v1", "docker.io/library/nginx:1", "localhost/x/y:1", "r.example.com/x_y/z-1@sha256:" + strings.Repeat("0", 64)} {
		for _, c := range ScopeCandidates(named(t, s)) {
			if !canMatch(c) {
				t.Errorf("%s matches %s", c, s)
			}
		}
	}
}

func TestLint(t *testing.T) {
	key, weak := newGPG(t, "ed25519"), newGPG(t, "rsa1024")
	cosign := newSigstoreKey(t)
	gpg := func(k *gpgKey, identity string) string {
		return fmt.Sprintf(`{"default":[{"type":"signedBy","keyType":"GPGKeys","keyData":%q%s}]}`, b64(k.public()), identity)
	}
	sig := func(pem []byte, identity string) string {
		return fmt.Sprintf(`{"default":[{"type":"sigstoreSigned","keyData":%q%s}]}`, b64(pem), identity)
	}
	identity := func(kind string) string { return `,"signedIdentity":{"type":"` + kind + `"}` }
	for name, c := range map[string]struct{ policy, want string }{
		"nothing to say":          {gpg(key, ""), ""},
		"known other transports":  {`{"default":[{"type":"reject"}],"transports":{"docker-daemon":{"":[{"type":"insecureAcceptAnything"}]}}}`, ""},
		"unknown transport":       {`{"default":[{"type":"reject"}],"transports":{"dokcer":{"":[{"type":"reject"}]}}}`, "unknown transport"},
		"weak key":                {gpg(weak, ""), "RSA-1024"},
		"expired key":             {gpg(expiredGPG(t), ""), "expired"},
		"matchExact":              {gpg(key, identity("matchExact")), "denies every pull by digest"},
		"cosign by default":       {sig(cosign.pem(), ""), "cosign writes none"},
		"cosign exact":            {sig(cosign.pem(), identity("matchExact")), "cosign writes none"},
		"cosign by repository":    {sig(cosign.pem(), identity("matchRepository")), ""},
		"weak sigstore key":       {sig(newSigstoreRSA(t, 1024).pem(), identity("matchRepository")), "RSA-1024"},
		"two keys in one file":    {sig(append(cosign.pem(), newSigstoreKey(t).pem()...), identity("matchRepository")), "only the first counts"},
		"signedBaseLayer":         {`{"default":[{"type":"signedBaseLayer","baseLayerIdentity":{"type":"matchExact"}}]}`, "denies every image"},
		"accepts by anyOf":        {`{"default":[{"type":"anyOf","of":[[{"type":"reject"}],[{"type":"insecureAcceptAnything"}]]}]}`, "default[0].of[1]: this alternative accepts anything"},
		"unimplemented key type":  {`{"default":[{"type":"signedBy","keyType":"signedByGPGKeys","keyData":"eA=="}]}`, "denies every image"},
		"atomic scope, no match":  {`{"default":[{"type":"reject"}],"transports":{"atomic":{"busybox":[{"type":"reject"}]}}}`, "can never match"},
		"scope of another's kind": {`{"default":[{"type":"reject"}],"transports":{"docker-daemon":{"busybox":[{"type":"reject"}]}}}`, ""},
	} {
		got := warningsOf(t, c.policy)
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: expected %q, found %q", name, c.want, got)
		}
	}
}

func TestPrivateKeyInThePolicyIsWarnedAbout(t *testing.T) {
	w := newWorld(t)
	f, err := os.Create(filepath.Join(w.dir, "k.gpg"))
	if err != nil {
		t.Fatal(err)
	}
	if err := newGPG(t, "ed25519").SerializePrivate(f, nil); err != nil {
		t.Fatal(err)
	}
	f.Close()
	p, err := w.load(`{"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"k.gpg"}]}`)
	if err != nil || len(p.Warnings()) != 1 || !strings.Contains(p.Warnings()[0].Problem, "private key") {
		t.Errorf("%v, %v", p, err)
	}
}

func TestPlacesThatDoNotExistAreWarnedAbout(t *testing.T) {
	w := newWorld(t)
	w.write("key.gpg", string(newGPG(t, "ed25519").public()))
	policy := func(scope string) string {
		return `{"default":[{"type":"reject"}],"transports":{"docker":{"` + scope + `":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"key.gpg"}]}}}`
	}
	for name, c := range map[string]struct {
		scope, lookaside string
		warned           bool
	}{
		"registry":           {"registry.example.com", "https://s.example.com", false},
		"its directory":      {"registry.example.com", "file://" + w.dir, false},
		"missing directory":  {"registry.example.com", "file:///nonexistent", true},
		"empty directory":    {"registry.example.com", "file://" + t.TempDir(), true},
		"repository":         {"registry.example.com/team/app", "file:///nonexistent", true},
		"tag":                {"registry.example.com/team/app:v1", "file:///nonexistent", true},
		"wildcard, no place": {"*.example.com", "file:///nonexistent", false},
	} {
		w.write("registries.d/x.yaml", "docker: {registry.example.com: {lookaside: '"+c.lookaside+"'}}")
		p, err := w.load(policy(c.scope))
		if err != nil {
			t.Fatal(err)
		}
		if warned := len(p.Warnings()) > 0; warned != c.warned {
			t.Errorf("%s: %v", name, p.Warnings())
		}
	}
}

func TestRegistriesNamespacesAreLinted(t *testing.T) {
	w := newWorld(t)
	w.write("registries.d/x.yaml", "docker: {'busybox': {lookaside: 'https://x/'}}")
	p, err := w.load(rejectAll)
	if err != nil || len(p.Warnings()) != 1 || !strings.HasSuffix(p.Warnings()[0].File, "x.yaml") {
		t.Errorf("%+v, %v", p, err)
	}
}

// TestAcceptsAnything: an alternative that asks for nothing is as good as asking for
// nothing.
func TestAcceptsAnything(t *testing.T) {
	const anything, nothing = `{"type":"insecureAcceptAnything"}`, `{"type":"reject"}`
	for list, want := range map[string]bool{
		anything:                  true,
		nothing:                   false,
		anything + "," + nothing:  false,
		anything + "," + anything: true,
		`{"type":"anyOf","of":[[` + anything + `]]}`:                                            true,
		`{"type":"anyOf","of":[[` + nothing + `],[` + anything + `]]}`:                          true,
		`{"type":"anyOf","of":[[` + nothing + `,` + anything + `]]}`:                            false,
		`{"type":"anyOf","of":[{"type":"allOf","of":[` + anything + `]}]}`:                      true,
		`{"type":"anyOf","of":[[{"type":"anyOf","of":[[` + anything + `]]}]]}`:                  true,
		`{"type":"anyOf","of":[[` + anything + `]]},` + nothing:                                 false,
		`{"type":"signedBaseLayer","baseLayerIdentity":{"type":"matchRepository"}},` + anything: false,
	} {
		p, err := newWorld(t).load(`{"default":[` + list + `]}`)
		if err != nil {
			t.Fatal(err)
		}
		if p.AcceptsAnything() != want {
			t.Errorf("%s: expected %v", list, want)
		}
	}
}

// TestBasesThatProveNothingAreWarnedAbout: the scope of the base decides, and one that
// asks for nothing makes no base good.
func TestBasesThatProveNothingAreWarnedAbout(t *testing.T) {
	const onOS = `{"type":"signedBaseLayer","baseLayerIdentity":{"type":"exactRepository","dockerRepository":"registry.example.com/base/os"}}`
	const onTag = `{"type":"signedBaseLayer","baseLayerIdentity":{"type":"exactReference","dockerReference":"registry.example.com/base/os:9"}}`
	const onOwn = `{"type":"signedBaseLayer","baseLayerIdentity":{"type":"matchRepository"}}`
	signed := fmt.Sprintf(`{"type":"bundleSigned","keyData":%q}`, b64(newSigstoreKey(t).pem()))
	const anything, nothing = `{"type":"insecureAcceptAnything"}`, `{"type":"reject"}`
	for name, c := range map[string]struct{ app, base, byDefault, want string }{
		"signed":                 {onOS, signed, nothing, ""},
		"accepted":               {onOS, anything, nothing, `transports.docker."registry.example.com/app"[0]: scope registry.example.com/base accepts the base registry.example.com/base/os without a signature`},
		"tag accepted":           {onTag, anything, nothing, "accepts the base registry.example.com/base/os:9"},
		"accepted by anyOf":      {onOS, `{"type":"anyOf","of":[[` + signed + `],[` + anything + `]]}`, nothing, "accepts the base"},
		"denied":                 {onOS, nothing, nothing, "scope registry.example.com/base denies the base"},
		"accepted by default":    {onOS, "", anything, "scope default accepts the base"},
		"denied by default":      {onOS, "", nothing, "scope default denies the base"},
		"signed by default":      {onOS, "", signed, ""},
		"tags have scopes":       {onOS + `],"registry.example.com/base/os:9":[` + signed, nothing, nothing, ""},
		"of its own repository":  {onOwn, anything, nothing, ""},
		"as an alternative":      {`{"type":"anyOf","of":[[` + signed + `],{"type":"allOf","of":[` + onOS + `],"until":"2099-01-01T00:00:00Z"}]}`, anything, nothing, `[0].of[1].of[0]: scope registry.example.com/base accepts`},
		"signed, and more":       {onOS, anything + "," + signed, nothing, ""},
		"base on another base":   {onOS, onTag + "," + signed, nothing, ""},
		"and nothing more wrong": {signed, anything, nothing, ""},
	} {
		scopes := `"registry.example.com/app":[` + c.app + `]`
		if c.base != "" {
			scopes += `,"registry.example.com/base":[` + c.base + `]`
		}
		got := ""
		for line := range strings.Lines(warningsOf(t, `{"default":[`+c.byDefault+`],"transports":{"docker":{`+scopes+`}}}`)) {
			if strings.Contains(line, "the base") {
				got += line
			}
		}
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: expected %q, found %q", name, c.want, got)
		}
	}
}
