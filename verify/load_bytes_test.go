package verify

import (
	"fmt"
	"strings"
	"testing"
)

// Each requirement keeps the keys that it reads, so that a short policy that names a
// large file often would fill the memory. The fault is one, whatever is left to read.
func TestKeysOfOnePolicyAreBounded(t *testing.T) {
	for name, c := range map[string]struct {
		times int
		want  bool
	}{"one": {1, false}, "more than may be": {12, true}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.write("big.pub", padded(string(newSigstoreKey(t).pem())))
			paths := strings.TrimSuffix(strings.Repeat(`"big.pub",`, c.times), ",")
			_, err := w.load(fmt.Sprintf(`{"default":[{"type":"bundleSigned","keyPaths":[%s]}]}`, paths))
			if !c.want {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil || strings.Count(err.Error(), "bytes of keys in one policy") != 1 || strings.Contains(err.Error(), "\n") {
				t.Fatalf("expected one fault, found %.500v", err)
			}
		})
	}
}

// padded is a key file as large as one may be.
func padded(pem string) string { return pem + strings.Repeat("\n", maxKeyFile-len(pem)) }
