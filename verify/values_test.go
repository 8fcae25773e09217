package verify

import (
	"runtime"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// listOfNothing is JSON of some megabytes of which a decoder makes hundreds.
var listOfNothing = `{"schemaVersion":2,"manifests":[` + strings.Repeat("{},", 1<<20) + `{}]}`

// TestDigestBuildsLittle hashes what anybody can make an upstream send: before the
// digest is known, nothing of it may be built.
func TestDigestBuildsLittle(t *testing.T) {
	const most = 16 << 20
	for _, alg := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		var before, after runtime.MemStats
		b := []byte(listOfNothing)
		runtime.ReadMemStats(&before)
		d, err := ManifestDigest(b, alg)
		runtime.ReadMemStats(&after)
		if err == nil || !strings.Contains(err.Error(), "values") || d != "" {
			t.Errorf("%s: %q, %v", alg, d, err)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > most {
			t.Errorf("%s: expected at most %d bytes of memory, found %d", alg, most, took)
		}
	}
}
