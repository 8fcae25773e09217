package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/pullgate/pullgate/verify/trustroot"
)

// stamped is a bundle with the timestamps of an authority: anybody can ask for one,
// and anybody can take it out, as the signature does not cover it.
func stamped(t testing.TB, by *ca.VirtualSigstore, doc []byte) []byte {
	t.Helper()
	b := &protobundle.Bundle{}
	if err := protojson.Unmarshal(doc, b); err != nil {
		t.Fatal(err)
	}
	stamp, err := by.TimestampResponse(b.GetDsseEnvelope().Signatures[0].Sig)
	if err != nil {
		t.Fatal(err)
	}
	b.VerificationMaterial.TimestampVerificationData = &protobundle.TimestampVerificationData{
		Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: stamp}}}
	out, err := protojson.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestSignedBeforeAsksEachSignature: a copy of the signature without its timestamp, or
// with one of another authority, takes nothing from the one that has it.
func TestSignedBeforeAsksEachSignature(t *testing.T) {
	tsa, other := virtual(t), virtual(t)
	ours := newBundleSigner(t)
	const keyed = `"keyPath":"ours.pub","trustRoot":"public-good"`
	for name, requirement := range map[string]string{
		"bundleSigned": `{"type":"bundleSigned",` + keyed + `}`,
		"attested":     `{"type":"attested","predicateType":"t","signedBy":{` + keyed + `}}`,
	} {
		bare := ours.sign(theManifest)
		if name == "attested" {
			bare = ours.attest(theManifest, "t", "{}")
		}
		good, wrong := stamped(t, tsa, bare), stamped(t, other, bare)
		for _, c := range []struct {
			docs   [][]byte
			before string
			want   string // empty: allowed
		}{
			{[][]byte{good}, "2099-01-01T00:00:00Z", ""},
			{[][]byte{good, bare, wrong}, "2099-01-01T00:00:00Z", ""},
			{[][]byte{bare, wrong, good}, "2099-01-01T00:00:00Z", ""},
			{[][]byte{bare, wrong}, "2099-01-01T00:00:00Z", "nothing proves that it was signed before 2099-01-01"},
			{[][]byte{good, bare}, "2020-01-01T00:00:00Z", "nothing proves that it was signed before 2020-01-01"},
		} {
			t.Run(fmt.Sprintf("%s, %d documents before %s", name, len(c.docs), c.before), func(t *testing.T) {
				w := newWorld(t)
				w.write("ours.pub", ours.pem())
				e := w.engine(fmt.Sprintf(`{"default":[{"type":"anyOf","of":[{"type":"allOf","of":[%s],"signedBefore":%q}]}]}`, requirement, c.before))
				e.UseRoots(&oneRoot{Root: trustroot.Root{Material: tsa}})
				for _, d := range c.docs {
					w.refer(bundleType, d)
				}
				v := verify(t, e, subject(t, v1))
				if got := reasons(v); (v.Decision == Allowed) != (c.want == "") || !strings.Contains(got, c.want) {
					t.Fatalf("%v: %s", v.Decision, got)
				}
			})
		}
	}
}

// TestMaxAgeAsksEachAttestation: an attestation without a proven time takes nothing
// from one that has it, and the verdict ends with the age.
func TestMaxAgeAsksEachAttestation(t *testing.T) {
	tsa, ours := virtual(t), newBundleSigner(t)
	bare := ours.attest(theManifest, "t", "{}")
	docs := [][]byte{bare, stamped(t, tsa, bare)}
	for range 2 {
		w := newWorld(t)
		w.write("ours.pub", ours.pem())
		e := w.engine(`{"default":[{"type":"attested","predicateType":"t","signedBy":{"keyPath":"ours.pub","trustRoot":"public-good"},"maxAge":"1h"}]}`)
		e.UseRoots(&oneRoot{Root: trustroot.Root{Material: tsa}})
		for _, d := range docs {
			w.refer(bundleType, d)
		}
		v := verify(t, e, subject(t, v1))
		if left := time.Until(v.Expires); v.Decision != Allowed || left > time.Hour || left < 58*time.Minute {
			t.Errorf("%v until %s: %s", v.Decision, v.Expires, reasons(v))
		}
		real := e.now
		e.now = func() time.Time { return real().Add(61 * time.Minute) }
		if v := verify(t, e, subject(t, v1)); v.Decision == Allowed || !strings.Contains(reasons(v), "older than 1h") {
			t.Errorf("an hour later: %v: %s", v.Decision, reasons(v))
		}
		slices.Reverse(docs)
	}
}

// TestNobodyWaits: strangers say how many signatures there are, so judging them ends
// with the request.
func TestNobodyWaits(t *testing.T) {
	ours := newBundleSigner(t)
	const signed, attested = `{"type":"bundleSigned","keyPath":"ours.pub"}`, `{"type":"attested","predicateType":"t","signedBy":{"keyPath":"ours.pub"}}`
	for name, c := range map[string]struct {
		requirement string
		attach      func(*world)
	}{
		"bundle":      {signed, func(w *world) { w.refer(bundleType, newBundleSigner(t).sign(theManifest)) }},
		"attachment":  {signed, func(w *world) { w.attach(repo, newSigstoreKey(t).sign(repo, theManifest)) }},
		"attestation": {attested, func(w *world) { w.refer(bundleType, newBundleSigner(t).attest(theManifest, "t", "1")) }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.write("ours.pub", ours.pem())
			e := w.engine(`{"default":[` + c.requirement + `]}`)
			c.attach(w)
			j, err := newJudged(subject(t, v1), time.Now())
			if err != nil {
				t.Fatal(err)
			}
			p := e.Policy()
			found, err := e.find(t.Context(), p, j, p.byDefault)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := e.evaluateOne(ctx, p, j, p.byDefault[0], found, false); !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
		})
	}
}

// tripping is trust material over which the library trips the first times.
type tripping struct {
	root.TrustedMaterial
	times int // more
}

func (r *tripping) TimestampingAuthorities() []root.TimestampingAuthority {
	if r.times--; r.times >= 0 {
		panic("tripped")
	}
	return r.TrustedMaterial.TimestampingAuthorities()
}

// TestADocumentThatCannotBeJudgedStopsNoOther: that this machine failed at one document,
// which may be anybody's, is no reason to refuse an image that has a good one; and no
// verdict when it has none.
func TestADocumentThatCannotBeJudgedStopsNoOther(t *testing.T) {
	tsa, ours := virtual(t), newBundleSigner(t)
	for name, c := range map[string]struct {
		requirement string
		docs        [][]byte
	}{
		"bundleSigned": {`{"type":"bundleSigned","keyPath":"ours.pub","trustRoot":"public-good"}`, [][]byte{ours.sign(theManifest), ours.sign(theManifest)}},
		"attested": {`{"type":"attested","predicateType":"t","signedBy":{"keyPath":"ours.pub","trustRoot":"public-good"}}`,
			[][]byte{ours.attest(theManifest, "t", "1"), ours.attest(theManifest, "t", "2")}},
	} {
		for failures, want := range []Decision{Allowed, Allowed, Denied} {
			t.Run(fmt.Sprintf("%s, %d of 2 fail", name, failures), func(t *testing.T) {
				w := newWorld(t)
				w.write("ours.pub", ours.pem())
				e := w.engine(`{"default":[` + c.requirement + `]}`)
				e.UseRoots(&oneRoot{Root: trustroot.Root{Material: &tripping{tsa, failures}}})
				for _, d := range c.docs {
					w.refer(bundleType, d)
				}
				v, err := e.Verify(t.Context(), subject(t, v1))
				if v.Decision != want || (err == nil) != (want == Allowed) {
					t.Errorf("%v, %v", v.Decision, err)
				}
			})
		}
	}
}

func virtual(t testing.TB) *ca.VirtualSigstore {
	t.Helper()
	v, err := ca.NewVirtualSigstore()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestSignedBeforeOfNotation: a signature without a timestamp proves no time, however
// good it is otherwise.
func TestSignedBeforeOfNotation(t *testing.T) {
	for _, vector := range vectorRequirements() {
		if vector.requirement["type"] != "notationSigned" {
			continue
		}
		for before, want := range map[string]Decision{"": Allowed, "2099-01-01T00:00:00Z": Denied} {
			w := newWorld(t)
			s := w.replay(t, vector.vector)
			alternative := map[string]any{"type": "allOf", "of": []any{vector.requirement}}
			if before != "" {
				alternative["signedBefore"] = before
			}
			e := w.engine(policyFor(t, map[string]any{appRepo: []any{map[string]any{"type": "anyOf", "of": []any{alternative}}}}))
			v := verify(t, e, s)
			if got := reasons(v); v.Decision != want || want == Denied && !strings.Contains(got, "nothing proves that it was signed before") {
				t.Errorf("%s before %q: %v, %s", vector.vector, before, v.Decision, got)
			}
		}
	}
}
