package bundle_test

import (
	"bytes"
	"errors"
	"testing"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"google.golang.org/protobuf/proto"

	"github.com/pullgate/pullgate/verify/bundle"
)

// tlv is a DER value.
func tlv(tag byte, body []byte) []byte {
	n := len(body)
	switch {
	case n < 0x80:
		return append([]byte{tag, byte(n)}, body...)
	case n < 0x100:
		return append([]byte{tag, 0x81, byte(n)}, body...)
	}
	return append([]byte{tag, 0x82, byte(n >> 8), byte(n)}, body...)
}

// response is a TimeStampResp around a token.
func response(token []byte) []byte { return tlv(0x30, append(tlv(0x30, []byte{2, 1, 0}), token...)) }

// TestNestedTimestamps: timestamps are not covered by the signature, so anybody may
// add some to a copy of a bundle. What they cost must not grow with their depth.
func TestNestedTimestamps(t *testing.T) {
	w := newWorld(t)
	tr := w.trust()
	tr.TLog = bundle.None
	deep := []byte{5, 0}
	for range 7000 {
		deep = tlv(0x30, deep)
	}
	indefinite := append(bytes.Repeat([]byte{0x30, 0x80}, 7000), append([]byte{5, 0}, make([]byte, 2*7000)...)...)
	for name, token := range map[string][]byte{"definite": deep, "indefinite": tlv(0x30, indefinite)} {
		t.Run(name, func(t *testing.T) {
			b := w.attest(keyless{noLog: true}, signed())
			b.VerificationMaterial.TimestampVerificationData = &protobundle.TimestampVerificationData{}
			for range 16 {
				d := b.VerificationMaterial.TimestampVerificationData
				d.Rfc3161Timestamps = append(d.Rfc3161Timestamps, &protocommon.RFC3161SignedTimestamp{SignedTimestamp: response(token)})
			}
			v, err := bundle.Verify(marshal(t, b), subject, tr)
			denied(t, v, err, "nested at most 64 deep") // before one is parsed
		})
	}
}

func TestMalformedTimestamps(t *testing.T) {
	w := newWorld(t)
	tr := w.trust()
	tr.TLog = bundle.None
	for name, token := range map[string][]byte{
		"nothing in it":            tlv(0x30, nil),
		"a tag and no length":      tlv(0x30, []byte{0x30}),
		"a tag without end":        tlv(0x30, bytes.Repeat([]byte{0xff}, 20)),
		"longer than there is":     tlv(0x30, []byte{4, 5, 0}),
		"a length of five bytes":   tlv(0x30, []byte{4, 0x85, 0, 0, 0, 0, 0}),
		"a length cut off":         tlv(0x30, []byte{4, 0x84, 0xff}),
		"a huge length":            tlv(0x30, []byte{4, 0x84, 0xff, 0xff, 0xff, 0xff}),
		"indefinite and no end":    tlv(0x30, []byte{0x30, 0x80, 5, 0}),
		"indefinite and primitive": tlv(0x30, []byte{4, 0x80, 0, 0}),
	} {
		t.Run(name, func(t *testing.T) {
			b := w.attest(keyless{noLog: true}, signed())
			b.VerificationMaterial.TimestampVerificationData = &protobundle.TimestampVerificationData{
				Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: response(token)}}}
			v, err := bundle.Verify(marshal(t, b), subject, tr)
			denied(t, v, err, "timestamp token")
			if errors.Is(err, bundle.ErrLocal) {
				t.Errorf("no decision: %v", err)
			}
		})
	}
}

// FuzzTimestamps: a timestamp is a stranger's ASN.1.
func FuzzTimestamps(f *testing.F) {
	w := newWorld(f)
	good := w.attest(keyless{noLog: true, stampBy: w}, signed())
	f.Add(good.VerificationMaterial.TimestampVerificationData.Rfc3161Timestamps[0].SignedTimestamp)
	f.Add(response([]byte{0x30, 0x80, 5, 0, 0, 0}))
	f.Add([]byte{})
	tr := w.trust()
	tr.TLog = bundle.None
	b := w.attest(keyless{noLog: true}, signed()) // none of the stamps is over its signature
	f.Fuzz(func(t *testing.T, stamp []byte) {
		b := proto.Clone(b).(*protobundle.Bundle)
		b.VerificationMaterial.TimestampVerificationData = &protobundle.TimestampVerificationData{
			Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: stamp}}}
		if _, err := bundle.Verify(marshal(t, b), subject, tr); err == nil || errors.Is(err, bundle.ErrLocal) {
			t.Errorf("%v", err)
		}
	})
}
