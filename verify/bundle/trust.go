package bundle

import (
	"errors"
	"fmt"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
)

// None is a threshold that asks for nothing, see [Trust].
const None = -1

// maxThreshold bounds a threshold: nobody runs more logs or authorities than this,
// and a document may not carry more.
const maxThreshold = 16

// maxSkew is how far a proven time may lie ahead of this machine's clock.
const maxSkew = 5 * time.Minute

// ErrLocal marks an error that is no decision about the document: this machine or
// a library failed, or the trust itself is not usable.
var ErrLocal = errors.New("the sigstore evidence could not be judged")

// Trust says whose signature counts. Either Keys or Identities is set. The zero
// value trusts nobody.
//
// A threshold of zero stands for the default: with Identities TLog 1, SCT 1,
// Timestamps none; with Keys all none. [None] asks for none at all. Each
// threshold counts different logs or authorities, never two proofs of one.
//
// With Identities at least one proven time is needed even when TLog and
// Timestamps are none (see the package comment).
type Trust struct {
	// Keys are the public keys, any of which may have signed.
	Keys []Key
	// Root holds the certificate authorities, logs and timestamp authorities that
	// identities are proven by. With Keys it is optional and only its logs and
	// timestamp authorities are used: for TLog and Timestamps and for the times in
	// [Verified].
	Root root.TrustedMaterial
	// RootName is the name of Root, for reasons.
	RootName string
	// Identities are the certificate identities, any of which may have signed.
	Identities []Identity
	// TLog, SCT and Timestamps are the least numbers of transparency logs,
	// certificate transparency logs and timestamp authorities that must vouch.
	TLog, SCT, Timestamps int
	// Now is the clock; nil is [time.Now].
	Now func() time.Time
}

// Check says why t cannot be used, and nil when it can. Verification makes the
// same check; this one is for reading a policy.
func (t *Trust) Check() error {
	switch {
	case t == nil || len(t.Keys) == 0 && len(t.Identities) == 0:
		return errors.New("expected at least one key or one identity, found neither")
	case len(t.Keys) > 0 && len(t.Identities) > 0:
		return errors.New("expected keys or identities, found both")
	case len(t.Identities) > 0 && t.Root == nil:
		return errors.New("identities need a trust root")
	}
	for _, n := range []int{t.TLog, t.SCT, t.Timestamps} {
		if n < None || n > maxThreshold {
			return fmt.Errorf("expected thresholds of 0 to %d, found %d", maxThreshold, n)
		}
	}
	if len(t.Keys) == 0 {
		return nil
	}
	if t.SCT > 0 {
		return errors.New("threshold sct: only certificates carry them; leave it out with keys")
	}
	if t.Root == nil && (t.TLog > 0 || t.Timestamps > 0) {
		return errors.New("thresholds tlog and timestamps need a trust root that holds the logs and authorities")
	}
	return nil
}

// clock returns the clock.
func (t *Trust) clock() time.Time {
	if t.Now != nil {
		return t.Now()
	}
	return time.Now()
}

// threshold resolves what was said, or not said, to a number of 0 or more.
func threshold(said, byDefault int) int {
	switch {
	case said == 0:
		return byDefault
	case said < 0:
		return 0
	}
	return said
}
