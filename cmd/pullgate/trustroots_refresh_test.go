package main

import (
	"errors"
	"testing"
	"time"

	"github.com/pullgate/pullgate/config"
)

// A root is asked for again before it is too old, and soon when it could not be had.
func TestTrustRootsAreRefreshedInTime(t *testing.T) {
	tuf := func(age time.Duration) config.TrustRoot {
		return config.TrustRoot{MaxAge: age, TUF: config.TrustRootTUF{Mirror: "https://tuf.example"}}
	}
	down := errors.New("the mirror is down")
	for name, c := range map[string]struct {
		roots []config.TrustRoot
		err   error
		want  time.Duration
	}{
		"no maximum age":        {[]config.TrustRoot{tuf(0)}, nil, time.Hour},
		"a long one":            {[]config.TrustRoot{tuf(720 * time.Hour)}, nil, time.Hour},
		"a short one":           {[]config.TrustRoot{tuf(720 * time.Hour), tuf(10 * time.Minute)}, nil, 5 * time.Minute},
		"a file":                {[]config.TrustRoot{{MaxAge: time.Minute, TrustedRoot: "root.json"}}, nil, time.Hour},
		"out of order":          {[]config.TrustRoot{tuf(0)}, down, time.Minute},
		"out of order, shorter": {[]config.TrustRoot{tuf(time.Minute)}, down, 30 * time.Second},
		"never all the time":    {[]config.TrustRoot{tuf(time.Nanosecond)}, nil, time.Second},
	} {
		if got := refreshAfter(c.roots, c.err); got != c.want {
			t.Errorf("%s: expected %s, found %s", name, c.want, got)
		}
	}
}
