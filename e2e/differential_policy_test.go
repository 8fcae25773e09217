//go:build e2e

package e2e

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/e2e/harness"
)

// diffName is what a case asks for, in the parts that scopes are made of.
type diffName struct {
	registry string // host[:port]
	repo     string // path
	ref      string // ":tag" or "@sha256:…"
	tag      string // also when asked for by digest: the tag that was signed
	digest   digest.Digest
}

func (n diffName) name() string   { return n.registry + "/" + n.repo }
func (n diffName) parent() string { return n.registry + "/" + path.Dir(n.repo) }
func (n diffName) String() string { return n.name() + n.ref }

// host is the registry without its port.
func (n diffName) host() string {
	host, _, _ := strings.Cut(n.registry, ":")
	return host
}

type diffRequirements = []harness.Requirement

// diffShapes are ways to write a policy. Target is meant for the image; decoy is
// what all other scopes demand, so that the choice of the wrong scope shows. Some
// shapes are traps: target stands where it must not count.
var diffShapes = map[string]func(n diffName, target, decoy diffRequirements) harness.Policy{
	"default":    func(_ diffName, target, _ diffRequirements) harness.Policy { return harness.Policy{Default: target} },
	"transport":  inDocker("", nil),
	"host":       inDocker("", func(n diffName) string { return n.registry }),
	"namespace":  inDocker("", diffName.parent, "host"),
	"repository": inDocker("", diffName.name, "", "host", "namespace"),
	"reference":  inDocker("", diffName.String, "", "host", "namespace", "repository"),
	"tag":        inDocker("", func(n diffName) string { return n.name() + ":" + n.tag }, "repository"),
	"digest":     inDocker("", func(n diffName) string { return n.name() + "@" + n.digest.String() }, "repository"),
	"other tag":  inDocker("", func(n diffName) string { return n.name() + ":another" }, "host"),
	"other digest": inDocker("", func(n diffName) string { return n.name() + "@" + digest.FromString("x").String() },
		"namespace"),
	"sibling":         inDocker("", func(n diffName) string { return n.name() + "2" }, "host"),
	"prefix of name":  inDocker("", func(n diffName) string { return strings.TrimSuffix(n.name(), "p") }),
	"trailing slash":  inDocker("", func(n diffName) string { return n.parent() + "/" }, "host"),
	"path alone":      inDocker("", func(n diffName) string { return n.repo }),
	"short name":      inDocker("", func(n diffName) string { return n.registry + "/" + path.Base(n.repo) }, ""),
	"no port":         inDocker("", diffName.host, ""),
	"some port":       inDocker("", func(n diffName) string { return n.registry + ":5000" }, ""),
	"wildcard":        inDocker("", func(n diffName) string { return "*." + afterDot(n.host()) }, ""),
	"wide wildcard":   inDocker("", func(n diffName) string { return "*." + lastLabel(n.host()) }, ""),
	"wildcard itself": inDocker("", func(n diffName) string { return "*." + n.host() }, ""),
	"wildcard, host":  inDocker("", func(n diffName) string { return "*." + afterDot(n.host()) }, "", "host"),
	"wildcard, wider": inDocker("", func(n diffName) string { return "*." + afterDot(n.host()) }, "wide wildcard"),
	"wildcard, port":  inDocker("", func(n diffName) string { return "*." + afterDot(n.host()) + ":5000" }, ""),
	"two wildcards":   inDocker("", func(n diffName) string { return "*.*." + lastLabel(n.host()) }, ""),
	"upper case":      inDocker("", func(n diffName) string { return strings.ToUpper(n.host()) }, ""),
	"another transport": func(n diffName, target, decoy diffRequirements) harness.Policy {
		return harness.Policy{Default: decoy, Transports: map[string]map[string][]harness.Requirement{"docker-daemon": {"": target}}}
	},
	"atomic": func(n diffName, target, decoy diffRequirements) harness.Policy {
		return harness.Policy{Default: decoy, Transports: map[string]map[string][]harness.Requirement{"atomic": {n.registry: target}}}
	},
	"unknown transport": func(n diffName, target, decoy diffRequirements) harness.Policy {
		return harness.Policy{Default: decoy, Transports: map[string]map[string][]harness.Requirement{"registry": {"": target}}}
	},
}

// diffDecoyScopes are the scopes that inDocker fills with the decoy.
var diffDecoyScopes = map[string]func(diffName) string{
	"":              func(diffName) string { return "" },
	"host":          func(n diffName) string { return n.registry },
	"namespace":     diffName.parent,
	"repository":    diffName.name,
	"wide wildcard": func(n diffName) string { return "*." + lastLabel(n.host()) },
}

// inDocker puts target into one scope and the decoy into the default and the
// scopes that are named; a target that stands in the same place wins.
func inDocker(at string, scope func(diffName) string, decoys ...string) func(diffName, diffRequirements, diffRequirements) harness.Policy {
	return func(n diffName, target, decoy diffRequirements) harness.Policy {
		p := harness.Policy{Default: decoy}
		for _, d := range decoys {
			p = p.With(diffDecoyScopes[d](n), decoy...)
		}
		if scope == nil {
			return p.With(at, target...)
		}
		return p.With(scope(n), target...)
	}
}

func afterDot(host string) string {
	if _, rest, ok := strings.Cut(host, "."); ok {
		return rest
	}
	return host
}

func lastLabel(host string) string { return host[strings.LastIndexByte(host, '.')+1:] }

// diffMatcher is a signedIdentity and the identity that satisfies it.
type diffMatcher struct {
	identity func(n diffName) (kind string, fields []string)
	home     func(n diffName) diffName
}

// ownName is a matcher that wants the image's own name.
func ownName(kind string) diffMatcher {
	return diffMatcher{
		func(diffName) (string, []string) { return kind, nil },
		func(n diffName) diffName { n.ref = ":" + n.tag; return n },
	}
}

// vendorName is the name that exact matchers want.
func vendorName(n diffName) diffName {
	return diffName{registry: "vendor.example", repo: "prod/app", ref: ":1.0", tag: "1.0", digest: n.digest}
}

// remapped replaces prefix by vendor.example/prod in the wanted name, if it applies.
func remapped(prefix func(n diffName) string) diffMatcher {
	return diffMatcher{
		func(n diffName) (string, []string) {
			return "remapIdentity", []string{"prefix", prefix(n), "signedPrefix", "vendor.example/prod"}
		},
		func(n diffName) diffName {
			n.ref = ":" + n.tag
			if rest, ok := strings.CutPrefix(n.name(), prefix(n)); ok && (rest == "" || rest[0] == '/') {
				n.registry, n.repo = "vendor.example", "prod"+rest
			}
			return n
		},
	}
}

// diffMatchers are the identity matchers; "" is a requirement that names none.
var diffMatchers = map[string]diffMatcher{
	"":                       ownName(""),
	"matchExact":             ownName("matchExact"),
	"matchRepoDigestOrExact": ownName("matchRepoDigestOrExact"),
	"matchRepository":        ownName("matchRepository"),
	"exactReference": {func(n diffName) (string, []string) {
		return "exactReference", []string{"dockerReference", vendorName(n).String()}
	}, vendorName},
	"exactReference by digest": {func(n diffName) (string, []string) {
		return "exactReference", []string{"dockerReference", vendorName(n).name() + "@" + n.digest.String()}
	}, func(n diffName) diffName { v := vendorName(n); v.ref = "@" + n.digest.String(); return v }},
	"exactRepository": {func(n diffName) (string, []string) {
		return "exactRepository", []string{"dockerRepository", vendorName(n).name()}
	}, vendorName},
	"exactRepository with a tag": {func(n diffName) (string, []string) {
		return "exactRepository", []string{"dockerRepository", vendorName(n).String()}
	}, vendorName},
	"remap host":       remapped(func(n diffName) string { return n.registry }),
	"remap namespace":  remapped(diffName.parent),
	"remap repository": remapped(diffName.name),
	"remap elsewhere":  remapped(func(n diffName) string { return n.registry + "/other" }),
	"remap half":       remapped(func(n diffName) string { return strings.TrimSuffix(n.name(), "p") }),
}

// diffList is a scope's list of requirements.
type diffList struct {
	// asks is set when signatures decide: no other requirement has decided before.
	asks bool
	// sigstore is set when a requirement is of that kind beside the case's own.
	sigstore bool
	// gpg is set when the case's own requirement has to be a signedBy.
	gpg  bool
	make func(main, second, sigstore harness.Requirement) diffRequirements
}

var diffLists = map[string]diffList{
	"one": {asks: true, make: func(m, _, _ harness.Requirement) diffRequirements { return diffRequirements{m} }},
	"two": {asks: true, make: func(m, s, _ harness.Requirement) diffRequirements { return diffRequirements{m, s} }},
	"three": {asks: true, make: func(m, s, _ harness.Requirement) diffRequirements {
		return diffRequirements{s, harness.AcceptAnything(), m}
	}},
	"twice": {asks: true, make: func(m, _, _ harness.Requirement) diffRequirements { return diffRequirements{m, m} }},
	"and accept": {asks: true, make: func(m, _, _ harness.Requirement) diffRequirements {
		return diffRequirements{m, harness.AcceptAnything()}
	}},
	"both kinds":   {asks: true, sigstore: true, make: func(m, _, c harness.Requirement) diffRequirements { return diffRequirements{m, c} }},
	"accept":       {make: func(_, _, _ harness.Requirement) diffRequirements { return diffRequirements{harness.AcceptAnything()} }},
	"reject":       {make: func(_, _, _ harness.Requirement) diffRequirements { return diffRequirements{harness.Reject()} }},
	"and reject":   {make: func(m, _, _ harness.Requirement) diffRequirements { return diffRequirements{m, harness.Reject()} }},
	"reject first": {make: func(m, _, _ harness.Requirement) diffRequirements { return diffRequirements{harness.Reject(), m} }},
	"accept reject": {make: func(_, _, _ harness.Requirement) diffRequirements {
		return diffRequirements{harness.AcceptAnything(), harness.Reject()}
	}},
	"base layer": {gpg: true, make: func(m, _, _ harness.Requirement) diffRequirements {
		return diffRequirements{m, {"type": "signedBaseLayer", "baseLayerIdentity": map[string]any{"type": "matchRepository"}}}
	}},
	"X.509":        {gpg: true, make: withKeyType("X509Certificates")},
	"signed GPG":   {gpg: true, make: withKeyType("signedByGPGKeys")},
	"signed X.509": {gpg: true, make: withKeyType("signedByX509CAs")},
}

// withKeyType is a key type that the format knows and nobody implements.
func withKeyType(kind string) func(main, _, _ harness.Requirement) diffRequirements {
	return func(m, _, _ harness.Requirement) diffRequirements {
		out := harness.Requirement{}
		for k, v := range m {
			out[k] = v
		}
		out["keyType"] = kind
		return diffRequirements{out}
	}
}

// diffKeys is how a requirement of a case gets its keys.
type diffKeys struct {
	t   *testing.T
	w   *diffWorld
	dir string // for key files
}

// file writes a key file.
func (k diffKeys) file(name string, b []byte) string {
	p := filepath.Join(k.dir, name)
	if err := os.WriteFile(p, b, 0o600); err != nil {
		k.t.Fatal(err)
	}
	return p
}

// signedBy is a requirement for the named GPG key. For skopeo, which does not know
// keyPaths, the same keys are one ring.
func (k diffKeys) signedBy(key, source string) (r, forSkopeo harness.Requirement) {
	trusted, other := k.w.keys[key], k.w.keys[diffOtherKey]
	ring := slices.Concat(other.public, trusted.public)
	r = harness.Requirement{"type": "signedBy", "keyType": "GPGKeys"}
	switch source {
	case "keyData":
		r["keyData"] = trusted.public // []byte is base64 in JSON
	case "armored keyData":
		r["keyData"] = trusted.armored
	case "keyPath":
		r["keyPath"] = k.file("key.gpg", trusted.public)
	case "armored keyPath":
		r["keyPath"] = k.file("key.asc", trusted.armored)
	case "ring":
		r["keyData"] = ring
	case "ring keyPath":
		r["keyPath"] = k.file("ring.gpg", ring)
	case "keyPaths":
		r["keyPaths"] = []string{k.file("other.gpg", other.public), k.file("key.asc", trusted.armored)}
		return r, harness.SignedBy(ring)
	case "one keyPaths":
		r["keyPaths"] = []string{k.file("key.gpg", trusted.public)}
		return r, harness.SignedBy(trusted.public)
	default:
		k.t.Fatalf("no source %q for GPG keys", source)
	}
	return r, nil
}

// sigstoreSigned is a requirement for the trusted sigstore key.
func (k diffKeys) sigstoreSigned(source string) harness.Requirement {
	trusted, other := k.w.p256.Public(k.t), k.w.alien.Public(k.t)
	r := harness.Requirement{"type": "sigstoreSigned"}
	switch source {
	case "keyData":
		r["keyData"] = trusted
	case "keyPath":
		r["keyPath"] = k.file("cosign.pub", trusted)
	case "keyPaths":
		r["keyPaths"] = []string{k.file("other.pub", other), k.file("cosign.pub", trusted)}
	case "keyDatas":
		r["keyDatas"] = [][]byte{other, trusted}
	case "two PEM blocks": // only the first counts
		r["keyData"] = append(append([]byte{}, other...), trusted...)
	default:
		k.t.Fatalf("no source %q for sigstore keys", source)
	}
	return r
}

// withMatcher adds the signedIdentity.
func withMatcher(r harness.Requirement, matcher string, n diffName) harness.Requirement {
	if r == nil || matcher == "" {
		return r
	}
	kind, fields := diffMatchers[matcher].identity(n)
	return r.WithIdentity(kind, fields...)
}
