package proxy

import (
	"context"
	"fmt"

	"github.com/distribution/reference"

	"github.com/pullgate/pullgate/verify"
)

// limited is a verifier that judges a bounded number of images at a time.
type limited struct {
	verify.Verifier
	slots *slots
}

// Limited returns a verifier that asks v for at most 256 verdicts at a time, 48 of them
// about images of one registry of names, 64 about those of all others together. Each
// may hold 16 MiB of evidence from every place that is asked, and whoever can push one
// image can push thousands. Who waits until ctx ends gets an error. A cache belongs in
// front of it, lest what is known has to wait.
func Limited(v verify.Verifier, names Names) verify.Verifier {
	return &limited{v, newSlots(names.isListed)}
}

// Verify waits for a slot and asks.
func (l *limited) Verify(ctx context.Context, s verify.Subject) (verify.Verdict, error) {
	giveBack, err := l.slots.take(ctx, reference.Domain(s.Ref))
	if err != nil {
		return verify.Verdict{}, fmt.Errorf("too many images are judged at a time: %w", err)
	}
	defer giveBack()
	return l.Verifier.Verify(ctx, s)
}
