package verify

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/pullgate/pullgate/verify/trustroot"
)

// until is an alternative that ends at a time.
func until(at string, reqs ...any) any {
	return map[string]any{"type": "allOf", "of": reqs, "until": at}
}

const (
	longAgo = "2020-01-01T00:00:00Z"
	farOff  = "2099-01-01T00:00:00Z"
)

// TestAnEndedAlternativeAsksNothing: a lookaside that was retired when its alternative
// ended stops no image. Until then one that is down does, whatever else is met.
func TestAnEndedAlternativeAsksNothing(t *testing.T) {
	gpg, ours := newGPG(t, "ed25519"), newBundleSigner(t)
	fresh := []any{map[string]any{"type": "bundleSigned", "keyPath": "ours.pub"}}
	for name, c := range map[string]struct {
		of   []any
		down bool
		want string // in the error; empty: allowed
	}{
		"ended":           {[]any{until(longAgo, signedBy(nil, gpg)), fresh}, false, ""},
		"ended, last":     {[]any{fresh, until(longAgo, signedBy(nil, gpg))}, false, ""},
		"ended, nested":   {[]any{until(longAgo, map[string]any{"type": "anyOf", "of": []any{until(farOff, signedBy(nil, gpg))}}), fresh}, false, ""},
		"not ended":       {[]any{until(farOff, signedBy(nil, gpg)), fresh}, true, "retired"},
		"not ended, last": {[]any{fresh, until(farOff, signedBy(nil, gpg))}, true, "retired"},
		"never ends":      {[]any{fresh, []any{signedBy(nil, gpg)}}, true, "retired"},
		"needed twice":    {[]any{until(longAgo, signedBy(nil, gpg)), until(farOff, signedBy(nil, gpg)), fresh}, true, "retired"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.write("ours.pub", ours.pem())
			asked := false
			w.web.get = func(context.Context, string) (io.ReadCloser, error) {
				asked = true
				return nil, errors.New("retired")
			}
			e := w.engine(anyOfPolicy(t, c.of...))
			w.refer(bundleType, ours.sign(theManifest))
			v, err := e.Verify(t.Context(), subject(t, v1))
			if asked != c.down || (v.Decision == Allowed) != (c.want == "") || (err == nil) != (c.want == "") {
				t.Fatalf("%v, %v, asked: %t, %s", v.Decision, err, asked, reasons(v))
			}
			var doubt *Inconclusive
			if err != nil && (!errors.As(err, &doubt) || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestLookedForAndJudgedAtOneTime: what was not looked for because it had ended does not
// count when the clock is set back meanwhile, and the other way round.
func TestLookedForAndJudgedAtOneTime(t *testing.T) {
	key := newGPG(t, "ed25519")
	ends := time.Now().Add(time.Hour).Truncate(time.Second).UTC()
	accept := map[string]any{"type": "insecureAcceptAnything"}
	for name, c := range map[string]struct {
		requirement any
		begins      time.Duration // when the judgement begins, after ends
		later       time.Duration
		want        string // empty: allowed
	}{
		"ends meanwhile":          {signedBy(nil, key), -time.Second, time.Minute, ""},
		"set back meanwhile":      {signedBy(nil, key), 0, -time.Minute, "it has ended on"},
		"set back, needs nothing": {accept, time.Second, -time.Minute, "it has ended on"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			e := w.engine(anyOfPolicy(t, until(ends.Format(time.RFC3339), c.requirement)))
			w.store("team/app", key.sign(v1, theManifest))
			calls := 0
			e.now = func() time.Time {
				if calls++; calls == 1 {
					return ends.Add(c.begins)
				}
				return ends.Add(c.later)
			}
			v := verify(t, e, subject(t, v1))
			if got := reasons(v); (v.Decision == Allowed) != (c.want == "") || !strings.Contains(got, c.want) {
				t.Errorf("%v: %s", v.Decision, got)
			}
			if v.Decision == Allowed && !v.Expires.Equal(ends) {
				t.Errorf("kept until %s, and it ends at %s", v.Expires, ends)
			}
		})
	}
}

// TestWouldPassByDates: what is offered at a judgement and by Explain would pass.
func TestWouldPassByDates(t *testing.T) {
	gpg := newGPG(t, "ed25519")
	keyed := map[string]any{"type": "bundleSigned", "keyPath": "ours.pub", "trustRoot": "public-good"}
	untimed := map[string]any{"type": "bundleSigned", "keyPath": "ours.pub"}
	before := func(reqs ...any) any {
		return map[string]any{"type": "allOf", "of": reqs, "signedBefore": "2026-01-31T00:00:00Z"}
	}
	const simple, bundled = "a simple signing signature for " + v1, "a sigstore bundle that signs " + v1
	const proven = ", signed before 2026-01-31T00:00:00Z, as a log or timestamp authority proves"
	for name, c := range map[string]struct {
		of            []any
		want, without string   // in what would pass, and not, unless empty
		inner         []string // in what would meet the first requirement of each
	}{
		"ended":                {[]any{until(longAgo, signedBy(nil, gpg)), []any{untimed}}, bundled, "simple signing", []string{"", bundled}},
		"ended, alone":         {[]any{until(longAgo, signedBy(nil, gpg))}, "", "s", []string{""}},
		"not ended":            {[]any{until(farOff, signedBy(nil, gpg)), []any{untimed}}, simple, proven, []string{simple, bundled}},
		"signed before":        {[]any{before(keyed), []any{signedBy(nil, gpg)}}, proven + "; or " + simple, "", []string{proven, simple}},
		"that nothing proves":  {[]any{before(untimed), []any{signedBy(nil, gpg)}}, simple, bundled, []string{"", simple}},
		"ended, in another":    {[]any{[]any{map[string]any{"type": "anyOf", "of": []any{until(longAgo, untimed), []any{signedBy(nil, gpg)}}}}}, simple, bundled, []string{simple}},
		"another, in an ended": {[]any{until(longAgo, map[string]any{"type": "anyOf", "of": []any{[]any{untimed}}}), []any{signedBy(nil, gpg)}}, simple, bundled, []string{"", simple}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.write("ours.pub", newBundleSigner(t).pem())
			e := w.engine(anyOfPolicy(t, c.of...))
			e.UseRoots(&oneRoot{Root: trustroot.Root{Material: virtual(t)}})
			explained := e.Policy().Explain(TransportDocker, named(t, v1)).Requirements[0]
			v := verify(t, e, subject(t, v1))
			for where, got := range map[string]string{"explained": explained.WouldPass, "judged": v.Requirements[0].WouldPass} {
				if !strings.Contains(got, c.want) || (got == "") != (c.want == "") || c.without != "" && strings.Contains(got, c.without) {
					t.Errorf("%s: expected %q and not %q, found %q", where, c.want, c.without, got)
				}
			}
			for i, want := range c.inner {
				if got := explained.Alternatives[i].Of[0].WouldPass; !strings.Contains(got, want) || (got == "") != (want == "") {
					t.Errorf("alternative %d: expected %q, found %q", i+1, want, got)
				}
			}
		})
	}
}

// TestTooLateSaysWhen: whoever reads the reason sees the time that is proven.
func TestTooLateSaysWhen(t *testing.T) {
	limit := time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)
	in := &judging{before: limit}
	for want, times := range map[string][]time.Time{
		"signed before 2026-01-31T00:00:00Z: the earliest time that is proven is 2026-01-31T00:00:00Z": {limit.Add(time.Hour), limit.In(time.FixedZone("", 3600))},
		"signed before 2026-01-31T00:00:00Z: found no log entry or timestamp that counts":              nil,
		"": {limit.Add(time.Hour), limit.Add(-time.Second)},
	} {
		err := in.timely(times)
		if (err == nil) != (want == "") || err != nil && !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%v: expected %q, found %v", times, want, err)
		}
	}
}
