package verify

import (
	"strings"

	"github.com/pullgate/pullgate/verify/discover"
)

// Fault is one thing that is wrong in policy.json, a key file or registries.d.
type Fault = discover.Fault

// Warning is one thing that is allowed but does not do what it seems to, in the
// shape of a [Fault].
type Warning = discover.Fault

// Inconclusive is the error of a place that could not be asked for signatures.
type Inconclusive = discover.Inconclusive

// Faults is every fault of a configuration at once.
type Faults []Fault

// Error lists the faults, one a line.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, x := range f {
		lines[i] = x.Error()
	}
	return strings.Join(lines, "\n")
}
