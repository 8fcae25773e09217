package config

import (
	"fmt"
	"net/url"
	"strings"
	"time"
)

// TrustRoot is a named set of authorities that identities of signers are verified
// against. It comes from TrustedRoot or from TUF, one of the two.
type TrustRoot struct {
	// Name is what the policy calls it ("trustRoot"), one word of a-z, 0-9 and single
	// . _ - in between. Required.
	Name string `mapstructure:"name"`
	// TrustedRoot is the path of a trusted_root.json of sigstore.
	TrustedRoot string `mapstructure:"trusted_root"`
	// MaxAge is how long it is good without being refreshed: since the file was
	// written, or since the last good refresh of TUF. Default 0: for ever.
	MaxAge time.Duration `mapstructure:"max_age"`
	// TUF is the repository that TrustedRoot is fetched from and kept up to date.
	TUF TrustRootTUF `mapstructure:"tuf"`
}

// TrustRootTUF is a TUF repository. What is fetched is kept in StateDir.
type TrustRootTUF struct {
	Mirror string `mapstructure:"mirror"` // URL of the metadata, http or https
	Root   string `mapstructure:"root"`   // path of the root.json that trust starts from
	Target string `mapstructure:"target"` // name of the trusted root there; default trusted_root.json
}

const (
	maxTrustRoots = 100
	maxRootAge    = 10 * 365 * 24 * time.Hour
	maxTarget     = 256
	defaultTarget = "trusted_root.json"
)

// trustRootKeys returns the keys of one item of trust_roots.
func trustRootKeys() []key {
	return []key{
		{name: "name"}, {name: "trusted_root", path: true}, {name: "max_age", kind: kindDuration},
		{name: "tuf.mirror"}, {name: "tuf.root", path: true}, {name: "tuf.target"},
	}
}

// fill puts the default into a repository that is one.
func (t *TrustRootTUF) fill() {
	if t.Target == "" && (t.Mirror != "" || t.Root != "") {
		t.Target = defaultTarget
	}
	t.Mirror = strings.TrimSuffix(t.Mirror, "/")
}

func (v *validator) trustRoots() {
	if !v.few("trust_roots", len(v.c.TrustRoots), maxTrustRoots) {
		return
	}
	taken := map[string]string{}
	for i, r := range v.c.TrustRoots {
		at := fmt.Sprintf("trust_roots[%d]", i)
		v.trustRootName(at+".name", r.Name, taken)
		if r.MaxAge < 0 || r.MaxAge > maxRootAge {
			v.fault(at+".max_age", fmt.Sprintf("expected a duration from 0s to %s, found %s", maxRootAge, r.MaxAge), `write it like "720h"`)
		}
		const fix = "write trusted_root: trusted_root.json, or tuf with mirror and root"
		switch {
		case r.TrustedRoot != "" && r.TUF != TrustRootTUF{}:
			v.fault(at, "has a trusted_root and tuf, and only one can be meant", fix)
		case r.TrustedRoot != "":
			v.file(at+".trusted_root", r.TrustedRoot, "name a trusted_root.json that the gate may read")
		case r.TUF != TrustRootTUF{}:
			v.tuf(at+".tuf", r.TUF)
		default:
			v.fault(at, "has neither a trusted_root nor tuf", fix)
		}
	}
}

func (v *validator) trustRootName(at, name string, taken map[string]string) {
	switch first, dup := taken[name]; {
	case len(name) > maxPrefix || !pathElement.MatchString(name):
		v.fault(at, fmt.Sprintf("expected a word in lower case, found %s", quote(name)), "write a word like public-good, of a-z, 0-9 and single . _ - in between")
	case dup:
		v.fault(at, fmt.Sprintf("%s is the name of %s, too", quote(name), first), "give each trust root a name of its own")
	default:
		taken[name] = at
	}
}

// tuf checks a repository. Faults do not repeat the URL, as people write passwords
// into URLs.
func (v *validator) tuf(at string, t TrustRootTUF) {
	const fix = "write a URL like https://tuf-repo-cdn.sigstore.dev"
	u, err := url.Parse(t.Mirror)
	switch {
	case t.Mirror == "":
		v.fault(at+".mirror", "is not set", fix)
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "":
		v.fault(at+".mirror", "expected an http or https URL with a host", fix)
	case u.User != nil:
		v.fault(at+".mirror", "holds a user name or password, which mirrors are not asked with", fix)
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(t.Mirror, "#"):
		v.fault(at+".mirror", "holds a query or a fragment, to which no file name can be added", fix)
	}
	if t.Root == "" {
		v.fault(at+".root", "is not set, and trust has to start somewhere", "name a root.json that was received in a way that is trusted")
	} else {
		v.file(at+".root", t.Root, "name a root.json that the gate may read")
	}
	if !goodTarget(t.Target) {
		v.fault(at+".target", fmt.Sprintf("expected the name of a file in the repository, found %s", quote(t.Target)), "write "+defaultTarget+", or leave it out")
	}
}

// goodTarget reports whether a name is a relative path without tricks: go-tuf puts
// it into a URL as it is.
func goodTarget(name string) bool {
	if len(name) > maxTarget {
		return false
	}
	for element := range strings.SplitSeq(name, "/") {
		if element == "" || strings.Trim(element, ".") == "" {
			return false
		}
		for _, r := range element {
			if !strings.ContainsRune("-._", r) && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') {
				return false
			}
		}
	}
	return true
}
