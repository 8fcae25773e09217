package verify

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
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
