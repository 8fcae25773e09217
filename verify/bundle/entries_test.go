package bundle_test

import (
	"crypto/elliptic"
	"encoding/json"
	"strings"
	"testing"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"google.golang.org/protobuf/proto"

	"github.com/pullgate/pullgate/verify/bundle"
)

// proposals are bodies in the form in which entries are proposed to a log: n signatures
// over one small envelope with the keys of n signers, all good. The library verifies
// each signature with each key while it reads the body.
func proposals(t *testing.T, n int) (kinds map[string]string) {
	t.Helper()
	const payload = "{}"
	var inEnvelope, withKeys []map[string]string
	var keys []string
	for range n {
		k := newECDSA(t, elliptic.P521())
		sig, key := b64(signDigest(t, k, dsse.PAE(intoto, []byte(payload)))), b64(publicPEM(t, k.Public()))
		inEnvelope = append(inEnvelope, map[string]string{"sig": sig})
		withKeys = append(withKeys, map[string]string{"sig": b64([]byte(sig)), "publicKey": key})
		keys = append(keys, key)
	}
	text := func(v any) string {
		b, err := json.Marshal(v)
		must(t, err)
		return string(b)
	}
	envelope := text(map[string]any{"payload": b64([]byte(payload)), "payloadType": intoto, "signatures": inEnvelope})
	return map[string]string{
		"dsse 0.0.1": text(map[string]any{"apiVersion": "0.0.1", "kind": "dsse", "spec": map[string]any{
			"proposedContent": map[string]any{"envelope": envelope, "verifiers": keys}}}),
		"intoto 0.0.2": text(map[string]any{"apiVersion": "0.0.2", "kind": "intoto", "spec": map[string]any{"content": map[string]any{
			"envelope": map[string]any{"payload": b64([]byte(b64([]byte(payload)))), "payloadType": intoto, "signatures": withKeys},
			"hash":     map[string]any{"algorithm": "sha256", "value": strings.Repeat("0", 64)}}}}),
	}
}

// TestProposedLogEntries: log entries are not covered by the signature, so anybody may
// add some to a copy of a bundle. A few must not keep the gate busy for minutes.
func TestProposedLogEntries(t *testing.T) {
	w := newWorld(t)
	for kind, body := range proposals(t, 20) {
		t.Run(kind, func(t *testing.T) {
			b := w.attest(keyless{}, signed())
			name, version, _ := strings.Cut(kind, " ")
			for i := range 3 {
				e := proto.Clone(b.VerificationMaterial.TlogEntries[0]).(*protorekor.TransparencyLogEntry)
				e.CanonicalizedBody, e.LogIndex, e.LogId.KeyId = []byte(body), int64(100+i), []byte("unknown")
				e.KindVersion = &protorekor.KindVersion{Kind: name, Version: version}
				b.VerificationMaterial.TlogEntries = append(b.VerificationMaterial.TlogEntries, e)
			}
			v, err := bundle.Verify(marshal(t, b), subject, w.trust())
			denied(t, v, err, "transparency log entry: expected") // before a signature is looked at
		})
	}
}
