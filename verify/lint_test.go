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
		"unimplemented key type":  {`{"default":[{"type":"signedBy","keyType":"signedByGPGKeys","keyData":"eA=="}]}`, "denies every image"},
		"atomic scope, no match":  {`{"default":[{"type":"reject"}],"transports":{"atomic":{"busybox":[{"type":"reject"}]}}}`, "can never match"},
		"no condition":            {fmt.Sprintf(`{"default":[{"type":"attested","predicateType":"t","signedBy":{"keyData":%q}}]}`, b64(cosign.pem())), "any attestation of that type will do"},
		"age without proof":       {fmt.Sprintf(`{"default":[{"type":"attested","predicateType":"t","condition":"true","signedBy":{"keyData":%q},"maxAge":"1h"}]}`, b64(cosign.pem())), "denies every image: without a trustRoot"},
		"age with a key":          {fmt.Sprintf(`{"default":[{"type":"attested","predicateType":"t","condition":"true","signedBy":{"keyData":%q,"trustRoot":"public-good"},"maxAge":"1h"}]}`, b64(cosign.pem())), "can be stamped again"},
		"alternative that ended":  {`{"default":[{"type":"anyOf","of":[{"type":"allOf","of":[{"type":"reject"}],"until":"2020-01-31T00:00:00Z"}]}]}`, "has ended on 2020-01-31"},
		"alternative for all":     {`{"default":[{"type":"anyOf","of":[[{"type":"reject"}],[{"type":"anyOf","of":[[{"type":"insecureAcceptAnything"}]]}]]}]}`, "needs nothing"},
		"time that nobody proves": {fmt.Sprintf(`{"default":[{"type":"anyOf","of":[{"type":"allOf","of":[{"type":"bundleSigned","keyData":%q}],"signedBefore":"2020-01-31T00:00:00Z"}]}]}`, b64(cosign.pem())), "default[0].of[0].signedBefore: this alternative can never be met"},
		"time, and a root":        {fmt.Sprintf(`{"default":[{"type":"anyOf","of":[{"type":"allOf","of":[{"type":"bundleSigned","keyData":%q,"trustRoot":"public-good"}],"signedBefore":"2020-01-31T00:00:00Z"}]}]}`, b64(cosign.pem())), ""},
		"weak bundle key":         {fmt.Sprintf(`{"default":[{"type":"bundleSigned","keyData":%q}]}`, b64(newSigstoreRSA(t, 1024).pem())), "it denies every image"},
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

// TestAcceptsAnything: the default that needs nothing is named as such, also when it
// does not look like it.
func TestAcceptsAnything(t *testing.T) {
	const accept, reject = `{"type":"insecureAcceptAnything"}`, `{"type":"reject"}`
	anyOf := func(alternatives string) string { return `{"type":"anyOf","of":[` + alternatives + `]}` }
	for list, want := range map[string]bool{
		accept:                true,
		accept + "," + accept: true,
		reject:                false,
		accept + "," + reject: false,
		anyOf("[" + reject + "],[" + accept + "]"):          true,
		anyOf("[" + anyOf("["+accept+"]") + "]"):            true,
		anyOf("[" + reject + "," + accept + "]"):            false,
		anyOf("["+accept+"]") + "," + reject:                false,
		anyOf(`{"type":"allOf","of":[` + accept + `]}`):     true,
		anyOf("["+reject+"]") + "," + accept:                false,
		anyOf("["+reject+"],["+reject+"]") + "," + accept:   false,
		anyOf("["+accept+"]") + "," + anyOf("["+accept+"]"): true,
	} {
		p, err := newWorld(t).load(`{"default":[` + list + `]}`)
		if err != nil {
			t.Fatalf("%s: %v", list, err)
		}
		if got := p.AcceptsAnything(); got != want {
			t.Errorf("%s: expected %v, found %v", list, want, got)
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
