package verify

import (
	"runtime"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/verify/discover"
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

// TestUnsignedStatementsBuildLittle reads statements that nobody signed: as they are, and
// in an envelope. Each is described, and read for the base that it may name.
func TestUnsignedStatementsBuildLittle(t *testing.T) {
	const most = 64 << 20
	about := digest.FromBytes(theManifest)
	statement := []byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"` + about.Encoded() + `"}}],` +
		`"predicateType":"https://slsa.dev/provenance/v1","predicate":[` + strings.Repeat(`{"a":{}},`, 340_000) + `0]}`)
	for kind, b := range map[discover.Kind][]byte{discover.KindStatement: statement, discover.KindDSSE: envelope(statement)} {
		documents := []discover.Document{{Kind: kind, Bytes: b, Digest: digest.FromBytes(b)}}
		p := &provenance{repo: named(t, baseRepo)}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if kind == discover.KindStatement {
			describeDocuments(documents)
		}
		err := p.read(t.Context(), documents, about)
		runtime.ReadMemStats(&after)
		if err != nil || p.found != 0 || len(p.skipped) != 1 || !strings.Contains(p.skipped[0], "values") {
			t.Errorf("%s: %+v, %v", kind, p, err)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > most {
			t.Errorf("%s: expected at most %d bytes of memory, found %d", kind, most, took)
		}
	}
}
