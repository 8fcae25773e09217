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

// revisionOf is [Revision] of p and the engine's trust roots. It is asked for with
// each image and changes with a reload: the last one is kept.
func (e *Engine) revisionOf(p *Policy) string {
	if e.roots == nil {
		return p.revision
	}
	generation := e.roots.Generation()
	if r := e.revision.Load(); r != nil && r.policy == p.revision && r.generation == generation {
		return r.name
	}
	r := &revision{p.revision, generation, revisionWith(p, generation)}
	e.revision.Store(r)
	return r.name
}

// revision is the name of a policy together with a generation of trust roots.
type revision struct{ policy, generation, name string }

// Revision names everything that decides: it is that of an [Engine] with this policy
// and these trust roots; nil when none are configured.
func Revision(p *Policy, r Roots) string {
	if r == nil {
		return p.revision
	}
	return revisionWith(p, r.Generation())
}

func revisionWith(p *Policy, generation string) string {
	sum := sha256.Sum256([]byte(p.revision + "\n" + generation))
	return hex.EncodeToString(sum[:])
}
