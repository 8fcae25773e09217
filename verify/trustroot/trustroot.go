// Package trustroot keeps named sigstore trust roots.
package trustroot

import (
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
)

// Root is a named trust root at one moment.
type Root struct {
	Name     string
	Material root.TrustedMaterial // nil when there is none yet
	// Generation is the sha256 in hex of the trusted_root.json, empty when there is
	// none yet.
	Generation string
	LoadedAt   time.Time // when these bytes were read
	Refreshed  time.Time // what max_age counts from: the file's time, or the last good TUF refresh
	Expires    time.Time // Refreshed and max_age; zero: never
	// Stale says that nothing may be judged by it: it expired, or there is none yet.
	// Verdicts that need it are inconclusive.
	Stale bool
	// Problem says why it is stale, or why the last refresh did not work; empty when
	// all is well.
	Problem string
}
