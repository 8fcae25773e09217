package cache_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/pullgate/pullgate/cache"
	"github.com/pullgate/pullgate/verify"
)

// BenchmarkVerdicts answers from memory, out of few and out of many verdicts, which
// rest on one requirement or on many.
func BenchmarkVerdicts(b *testing.B) {
	for _, size := range []int{1, 100_000} {
		for _, requirements := range []int{1, 16} {
			b.Run(fmt.Sprintf("%d verdicts of %d requirements", size, requirements), func(b *testing.B) {
				v := verify.Verdict{Decision: verify.Allowed, Revision: "1"}
				for i := range requirements {
					v.Requirements = append(v.Requirements, verify.Result{Type: "test", Allowed: true, Signers: []string{fmt.Sprint("signer ", i)}})
				}
				verdicts, err := cache.NewVerdicts(&policy{revision: "1", answer: always(v)}, cache.VerdictOptions{Size: size, AllowedTTL: time.Hour})
				if err != nil {
					b.Fatal(err)
				}
				var s verify.Subject
				for i := range size {
					s = subject(b, fmt.Sprintf("registry.example.com/team/app:v%d", i))
					if _, err := verdicts.Verify(b.Context(), s); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportAllocs()
				for b.Loop() {
					if v, err := verdicts.Verify(b.Context(), s); err != nil || !v.Cached {
						b.Fatal(v, err)
					}
				}
			})
		}
	}
}

// BenchmarkGraph records what every pull of an image records, for images of as many
// layers.
func BenchmarkGraph(b *testing.B) {
	for _, layers := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("%d layers", layers), func(b *testing.B) {
			g, err := cache.NewGraph(10_000)
			if err != nil {
				b.Fatal(err)
			}
			blobs := all("config")
			for i := range layers {
				blobs = append(blobs, named(fmt.Sprint("layer ", i)))
			}
			image := named("image")
			b.ReportAllocs()
			for b.Loop() {
				g.Root("registry.example.com/team/app", ":v1", image)
				g.Manifest("registry.example.com/team/app", image, nil, blobs)
			}
		})
	}
}
