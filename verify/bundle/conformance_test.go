package bundle_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"

	"github.com/pullgate/pullgate/verify/bundle"
)

const conformance = "testdata/conformance"

// TestConformance is a client of the bundle-verify cases, laid out as README.md in
// their folder says.
func TestConformance(t *testing.T) {
	entries, err := os.ReadDir(conformance)
	must(t, err)
	cases := 0
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		cases++
		t.Run(e.Name(), func(t *testing.T) {
			c := conformanceCase{t, filepath.Join(conformance, e.Name())}
			d, err := digest.Parse(strings.TrimSpace(c.read("digest", "")))
			if err != nil {
				d = digest.FromString(c.read("artifact", ""))
			}
			v, err := bundle.Verify([]byte(c.read("bundle.sigstore.json", "")), d, c.trust())
			if strings.HasSuffix(e.Name(), "_fail") {
				denied(t, v, err, "")
				return
			}
			must(t, err)
			if len(v.Times) == 0 {
				t.Errorf("expected a proven time, found %+v", v)
			}
		})
	}
	if cases < 7 {
		t.Errorf("expected at least 7 cases, found %d", cases)
	}
}

type conformanceCase struct {
	t   *testing.T
	dir string
}

// read returns a file of the case or of the one that it is the same as.
func (c conformanceCase) read(name, byDefault string) string {
	c.t.Helper()
	same, _ := os.ReadFile(filepath.Join(c.dir, "same-as"))
	for _, dir := range []string{c.dir, filepath.Join(c.dir, "..", strings.TrimSpace(string(same)))} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			return string(b)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			c.t.Fatal(err)
		}
		if len(same) == 0 {
			break
		}
	}
	return byDefault
}

func (c conformanceCase) trust() *bundle.Trust {
	c.t.Helper()
	public, err := os.ReadFile(filepath.Join(conformance, "trusted_root.json"))
	must(c.t, err)
	tr, err := root.NewTrustedRootFromJSON([]byte(c.read("trusted_root.json", string(public))))
	must(c.t, err)
	out := &bundle.Trust{Root: tr}
	if pem := c.read("key.pub", ""); pem != "" {
		k, err := bundle.ParseKey([]byte(pem))
		must(c.t, err)
		out.Keys, out.Timestamps = []bundle.Key{k}, 1
		return out
	}
	id, err := bundle.ParseIdentity(strings.TrimSpace(c.read("issuer", issuer)), "", strings.TrimSpace(c.read("identity", "")), "", nil)
	must(c.t, err)
	out.Identities = []bundle.Identity{id}
	if len(tr.CTLogs()) == 0 {
		out.SCT = bundle.None
	}
	return out
}

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
