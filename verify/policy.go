package verify

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/pullgate/pullgate/verify/discover"
)

// Options says where the policy is and how strictly signatures are taken.
type Options struct {
	// PolicyFile is a policy.json as containers-policy.json(5) describes it. Paths
	// in it that are relative count from its directory.
	PolicyFile string
	// RegistriesDir is a registries.d directory as containers-registries.d(5)
	// describes it; when empty, signatures are looked for in
	// [discover.DefaultLookaside].
	RegistriesDir string
	// InsecureAllowWeak accepts signatures made with SHA-1, MD5 or RIPEMD-160, and
	// RSA or DSA keys under 2048 bits.
	InsecureAllowWeak bool
	// TrustRoots are the names of the trust roots that requirements may name.
	TrustRoots []string
	// SignatureRepositories says, by scope, in which repository the .sig and .att
	// attachments and the referrers of images are looked for, instead of in their own
	// (cosign's COSIGN_REPOSITORY). The most specific scope counts, "default" for
	// images of no other. Repositories are named in full, without tag or digest.
	SignatureRepositories map[string]string
}

// Policy is a policy.json with all its keys and its registries.d in memory. It is
// immutable, and safe for use by any number of goroutines.
type Policy struct {
	byDefault    []*requirement
	scopes       map[string]map[string][]*requirement
	bases        map[string]map[string]basis
	defaultBasis basis
	lookasides   *discover.Lookasides
	repositories repositories
	allowWeak    bool
	revision     string
	warnings     []Warning
	files        []string
}

// LoadPolicy reads policy.json, every key it names, and registries.d. Its error is
// [Faults], everything that is wrong at once: a policy with a fault is not used.
func LoadPolicy(o Options) (*Policy, error) {
	l := &loader{file: o.PolicyFile, dir: filepath.Dir(o.PolicyFile), weak: o.InsecureAllowWeak,
		now: time.Now(), files: []string{o.PolicyFile}, roots: map[string]bool{}}
	for _, name := range o.TrustRoots {
		l.roots[name] = true
	}
	var out parsed
	if data, err := discover.ReadRegular(o.PolicyFile, maxPolicyFile); err != nil {
		l.fault("", err.Error(), fmt.Sprintf("make it a readable regular file of at most %d bytes", maxPolicyFile))
	} else {
		out = l.load(data)
	}
	lookasides, faults := discover.LoadLookasides(o.RegistriesDir)
	l.faults = append(l.faults, faults...)
	elsewhere := l.signatureRepositories(o.SignatureRepositories)
	if len(l.faults) > 0 {
		return nil, l.faults
	}
	l.lintNamespaces(lookasides.Namespaces())
	l.lintPlaces(out.scopes, lookasides)
	p, err := newPolicy(l, out, lookasides, elsewhere)
	if err != nil {
		return nil, err
	}
	p.warnings = append(p.warnings, p.lintBases(o.PolicyFile)...)
	return p, nil
}

// newPolicy puts together what was loaded without a fault.
func newPolicy(l *loader, out parsed, lookasides *discover.Lookasides, elsewhere repositories) (*Policy, error) {
	places, err := lookasides.Canonical()
	if err != nil {
		return nil, Faults{{Problem: err.Error()}}
	}
	h := sha256.New()
	fmt.Fprintf(h, "weak=%t policy=%d places=%d\n", l.weak, len(out.inlined), len(places))
	h.Write(out.inlined)
	h.Write(places)
	io.WriteString(h, elsewhere.canonical())
	return &Policy{
		byDefault: out.byDefault, scopes: out.scopes, bases: out.bases, defaultBasis: out.defaultBasis, lookasides: lookasides, repositories: elsewhere, allowWeak: l.weak,
		revision: hex.EncodeToString(h.Sum(nil)),
		warnings: l.warnings, files: append(l.files, lookasides.Files()...),
	}, nil
}

// lintNamespaces warns about namespaces of registries.d that match nothing.
func (l *loader) lintNamespaces(namespaces map[string]string) {
	for _, ns := range slices.Sorted(maps.Keys(namespaces)) {
		if problem, fix := scopeProblem(ns); problem != "" {
			l.warnings = append(l.warnings, Warning{File: namespaces[ns],
				Key: fmt.Sprintf("docker.%q", clean(ns)), Problem: problem, Fix: fix})
		}
	}
}

// Revision is the SHA-256, in hexadecimal, of everything that decides: the policy
// with the bytes of all keys, where signatures are looked for (registries.d, signature
// repositories), and whether weak
// ones count. Verdicts of another revision are stale.
func (p *Policy) Revision() string { return p.revision }

// Warnings lists what is allowed but probably not meant, such as a scope that can
// never match.
func (p *Policy) Warnings() []Warning { return slices.Clone(p.warnings) }

// Files lists every file and directory that was read: policy.json, key and
// certificate files, the registries.d directory and its files.
func (p *Policy) Files() []string { return slices.Clone(p.files) }
