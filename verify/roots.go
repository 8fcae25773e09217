package verify

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/pullgate/pullgate/verify/trustroot"
)

// Roots are the trust roots that requirements name; [trustroot.Set] has them.
type Roots interface {
	Get(name string) (trustroot.Root, bool)
	// Generation names what is in force: it changes with every byte of a root, and when
	// one gets stale or good again.
	Generation() string
}

// UseRoots hands the engine the trust roots of the configuration. It is called once,
// before anything is judged.
func (e *Engine) UseRoots(r Roots) { e.roots = r }

// root is a trust root that may be used now. That it may not is inconclusive: the
// image could be signed well.
func (e *Engine) root(name string) (trustroot.Root, error) {
	if e.roots == nil {
		return trustroot.Root{}, fmt.Errorf("trust root %s: %w", clean(name), errNoSuchRoot)
	}
	r, ok := e.roots.Get(name)
	switch {
	case !ok:
		return trustroot.Root{}, fmt.Errorf("trust root %s: %w", clean(name), errNoSuchRoot)
	case r.Stale || r.Material == nil:
		return trustroot.Root{}, fmt.Errorf("trust root %s cannot be used: %s", clean(name), cleaned(r.Problem, 3*maxText))
	}
	return r, nil
}

var errNoSuchRoot = errors.New("it is not configured")

// revisionOf names everything that decides: the policy, and the trust roots when
// there are any.
func (e *Engine) revisionOf(p *Policy) string { return Revision(p, e.roots) }

// Revision is that of an [Engine] with this policy and these trust roots; nil when
// none are configured.
func Revision(p *Policy, r Roots) string {
	if r == nil {
		return p.revision
	}
	sum := sha256.Sum256([]byte(p.revision + "\n" + r.Generation()))
	return hex.EncodeToString(sum[:])
}
