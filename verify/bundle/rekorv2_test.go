package bundle_test

import (
	"os"
	"testing"

	"github.com/opencontainers/go-digest"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/pullgate/pullgate/verify/bundle"
)

// Rekor v2 logs have no promise and no time: the entry is proven by its place in the
// log, the time by an authority.
func TestRekorV2(t *testing.T) {
	vs, err := ca.NewVirtualSigstore()
	must(t, err)
	w := newWorld(t)
	logs := vs.RekorLogs()
	for k := range logs {
		logs[k].ID = []byte(k)
	}
	r, err := root.NewTrustedRoot(root.TrustedRootMediaType01, vs.FulcioCertificateAuthorities(), nil, vs.TimestampingAuthorities(), logs)
	must(t, err)
	id, err := bundle.ParseIdentity(issuer, "", "dev@example.com", "", nil)
	must(t, err)
	tr := &bundle.Trust{Root: r, Identities: []bundle.Identity{id}, SCT: bundle.None}

	v, err := bundle.Verify(marshal(t, rekorV2(t, vs, signed())), subject, tr)
	must(t, err)
	if len(v.Times) != 1 {
		t.Errorf("found %+v", v)
	}

	noTime := rekorV2(t, vs, signed())
	noTime.VerificationMaterial.TimestampVerificationData = nil
	wrongTime := rekorV2(t, vs, signed())
	wrongTime.VerificationMaterial.TimestampVerificationData = stamps(t, w, wrongTime.GetDsseEnvelope().Signatures[0].Sig)
	for name, c := range map[string]struct {
		bundle *protobundle.Bundle
		want   string
	}{
		"no time":           {noTime, "threshold not met"},
		"wrong TSA":         {wrongTime, "threshold not met"},
		"entry of another":  {swapEntry(rekorV2(t, vs, signed()), rekorV2(t, vs, signed())), "verifying log entry"},
		"signature changed": {changeSignature(rekorV2(t, vs, signed())), "verifying log entry"},
		"another's log":     {w.attest(keyless{stampBy: w}, signed()), "not enough verified log entries"},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := bundle.Verify(marshal(t, c.bundle), subject, tr)
			denied(t, v, err, c.want)
		})
	}
}

// rekorV2 is a bundle with an entry of a Rekor v2 log.
func rekorV2(t *testing.T, vs *ca.VirtualSigstore, statement []byte) *protobundle.Bundle {
	t.Helper()
	e, err := vs.AttestHashedRekordV2("dev@example.com", issuer, statement)
	must(t, err)
	vc, err := e.VerificationContent()
	must(t, err)
	sc, err := e.SignatureContent()
	must(t, err)
	entries, err := e.TlogEntries()
	must(t, err)
	times, err := e.Timestamps()
	must(t, err)
	b := &protobundle.Bundle{MediaType: mediaV03, Content: dsseContent(statement, sc.Signature()),
		VerificationMaterial: certMaterial(vc.Certificate(), times[0])}
	for _, entry := range entries {
		b.VerificationMaterial.TlogEntries = []*protorekor.TransparencyLogEntry{entry.TransparencyLogEntry()}
	}
	return b
}

// Two timestamps of one authority: the first is good, the second was made after the
// certificate had ended. In either order the bundle is denied; with the first alone
// it is good.
func TestEveryTimestampCounts(t *testing.T) {
	const dir = "testdata/conformance/"
	doc, err := os.ReadFile(dir + "rekor2-multiple-timestamps-one-outside-cert-validity_fail/bundle.sigstore.json")
	must(t, err)
	r, err := root.NewTrustedRootFromPath(dir + "trusted_root.staging.json")
	must(t, err)
	id, err := bundle.ParseIdentity(issuer, "", "", "https://github.com/sigstore-conformance/.*", nil)
	must(t, err)
	tr := &bundle.Trust{Root: r, Identities: []bundle.Identity{id}}
	const subject = digest.Digest("sha256:a0cfc71271d6e278e57cd332ff957c3f7043fdda354c4cbb190a30d56efa01bf")

	b := &protobundle.Bundle{}
	must(t, protojson.Unmarshal(doc, b))
	times := b.VerificationMaterial.TimestampVerificationData
	good, late := times.Rfc3161Timestamps[0], times.Rfc3161Timestamps[1]
	for name, c := range map[string]struct {
		stamps []*protocommon.RFC3161SignedTimestamp
		want   string
	}{
		"late one second": {[]*protocommon.RFC3161SignedTimestamp{good, late}, "found one of 2025-07-15T10:33:31Z"},
		"late one first":  {[]*protocommon.RFC3161SignedTimestamp{late, good}, "its certificate was not valid when it was signed, at 2"},
		"late one third":  {[]*protocommon.RFC3161SignedTimestamp{good, good, late}, "found one of 2025-07-15T10:33:31Z"},
	} {
		t.Run(name, func(t *testing.T) {
			times.Rfc3161Timestamps = c.stamps
			v, err := bundle.Verify(marshal(t, b), subject, tr)
			denied(t, v, err, c.want)
		})
	}
	times.Rfc3161Timestamps = []*protocommon.RFC3161SignedTimestamp{good}
	v, err := bundle.Verify(marshal(t, b), subject, tr)
	must(t, err)
	if len(v.Times) != 1 {
		t.Errorf("found %+v", v)
	}
}
