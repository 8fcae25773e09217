package bundle_test

import (
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/root"

	"github.com/pullgate/pullgate/verify/bundle"
)

func TestMalformedBundles(t *testing.T) {
	k := newECDSA(t, elliptic.P256())
	good := string(marshal(t, byKey(t, k, signed())))
	for name, c := range map[string]struct{ doc, want string }{
		"empty":               {"", "malformed JSON"},
		"garbage":             {"\x1f\x8b\x08", "UTF-8"},
		"HTML":                {"<html>", "malformed JSON"},
		"truncated":           {good[:len(good)/2], "malformed JSON"},
		"empty object":        {"{}", "found neither"},
		"no content":          {`{"mediaType":"` + mediaV03 + `"}`, "found neither"},
		"list":                {"[" + good + "]", "expected a sigstore bundle"},
		"two bundles":         {good + good, "more after it"},
		"unknown member":      {strings.Replace(good, `{`, `{"x":1,`, 1), "expected a sigstore bundle"},
		"member twice":        {strings.Replace(good, `{`, `{"mediaType":"x",`, 1), "is there twice"},
		"member in two names": {strings.Replace(good, `{`, `{"media_type":"x",`, 1), "expected a sigstore bundle"},
		"deep":                {strings.Repeat("[", 1000) + strings.Repeat("]", 1000), "nested at most"},
		"huge":                {good + strings.Repeat(" ", 4<<20), "bytes of a bundle"},
		"many of nothing":     {`{"verificationMaterial":{"tlogEntries":[` + strings.Repeat("{},", 1<<20) + `{}]}}`, "values"},
		"null":                {"null", "expected a sigstore bundle"},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := bundle.Verify([]byte(c.doc), subject, keyTrust(t, k))
			denied(t, v, err, c.want)
		})
	}
}

// A statement that two readers could read differently is refused although its
// signature is good.
func TestAmbiguousStatements(t *testing.T) {
	k := newECDSA(t, elliptic.P256())
	good := string(signed())
	other := digest.FromString("x").Encoded()
	for name, c := range map[string]struct{ statement, want string }{
		"subject twice":          {strings.Replace(good, `"subject"`, `"subject":[],"subject"`, 1), "is there twice"},
		"subject in other case":  {strings.Replace(good, `"subject"`, `"Subject":[{"digest":{"sha256":"`+other+`"}}],"subject"`, 1), "expected the JSON member subject"},
		"subject with a long s":  {strings.Replace(good, `"subject"`, `"ſubject":[],"subject"`, 1), "expected the JSON member subject"},
		"digest in other case":   {strings.Replace(good, `"digest"`, `"Digest":{},"digest"`, 1), "expected the JSON member digest"},
		"type in other case":     {strings.Replace(good, `"predicateType"`, `"PredicateType":"x","predicateType"`, 1), "expected the JSON member predicateType"},
		"type twice":             {strings.Replace(good, `"predicateType"`, `"predicateType":"x","predicateType"`, 1), "is there twice"},
		"no type":                {strings.Replace(good, bundle.SignType, "", 1), "predicateType"},
		"type is no text":        {strings.Replace(good, `"`+bundle.SignType+`"`, "null", 1), "predicateType"},
		"no subject":             {strings.Replace(good, `"subject"`, `"subjects"`, 1), "subjects"},
		"subject without digest": {strings.Replace(good, `"digest"`, `"digests"`, 1), "digests"},
		"digest in capitals":     {strings.Replace(good, subject.Encoded(), strings.ToUpper(subject.Encoded()), 1), "expected a subject"},
		"digest of another kind": {strings.Replace(good, `"sha256"`, `"gitCommit"`, 1), "expected a subject"},
		"two statements":         {good + good, "more after it"},
		"not UTF-8":              {strings.Replace(good, `"image"`, "\"\xff\"", 1), "UTF-8"},
		"many subjects":          {strings.Replace(good, `"subject":[`, `"subject":[`+strings.Repeat(`{"digest":{"a":"b"}},`, 1024), 1), "1 to 1024 subjects"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.statement == good {
				t.Fatal("nothing was changed")
			}
			v, err := bundle.Verify(marshal(t, byKey(t, k, []byte(c.statement))), subject, keyTrust(t, k))
			denied(t, v, err, c.want)
		})
	}
}

// Everything that a stranger could make large is bounded before it is worked on.
func TestLimits(t *testing.T) {
	w := newWorld(t)
	big := func(n int) []byte { return make([]byte, n) }
	entries := func(n int) func(*protobundle.VerificationMaterial) {
		return func(vm *protobundle.VerificationMaterial) {
			for len(vm.TlogEntries) < n {
				vm.TlogEntries = append(vm.TlogEntries, vm.TlogEntries[0])
			}
		}
	}
	for name, c := range map[string]struct {
		change func(*protobundle.VerificationMaterial)
		want   string
	}{
		"log entries": {entries(33), "at most 32 transparency log entries"},
		"body":        {func(vm *protobundle.VerificationMaterial) { vm.TlogEntries[0].CanonicalizedBody = big(33 << 10) }, "bytes of a log entry's body"},
		"proof": {func(vm *protobundle.VerificationMaterial) {
			vm.TlogEntries[0].InclusionProof.Hashes = make([][]byte, 65)
		}, "at most 64 hashes"},
		"checkpoint": {func(vm *protobundle.VerificationMaterial) {
			vm.TlogEntries[0].InclusionProof.Checkpoint.Envelope = strings.Repeat("a", 17<<10)
		}, "bytes of a checkpoint"},
		"timestamps":       {timestamps(17, 1), "at most 16 timestamps"},
		"timestamp":        {timestamps(1, 33<<10), "bytes of a timestamp"},
		"certificate":      {func(vm *protobundle.VerificationMaterial) { vm.GetCertificate().RawBytes = big(257 << 10) }, "bytes of certificates"},
		"certificates":     {chain(17, 1), "at most 16 certificates"},
		"certificate list": {chain(2, 129<<10), "bytes of certificates"},
	} {
		t.Run(name, func(t *testing.T) {
			b := w.attest(keyless{}, signed())
			c.change(b.VerificationMaterial)
			v, err := bundle.Verify(marshal(t, b), subject, w.trust())
			denied(t, v, err, c.want)
		})
	}
	b := w.attest(keyless{}, signed())
	b.GetDsseEnvelope().Signatures[0].Sig = big(17 << 10)
	v, err := bundle.Verify(marshal(t, b), subject, w.trust())
	denied(t, v, err, "bytes of a signature")
}

func timestamps(n, size int) func(*protobundle.VerificationMaterial) {
	return func(vm *protobundle.VerificationMaterial) {
		d := &protobundle.TimestampVerificationData{}
		for range n {
			d.Rfc3161Timestamps = append(d.Rfc3161Timestamps, &protocommon.RFC3161SignedTimestamp{SignedTimestamp: make([]byte, size)})
		}
		vm.TimestampVerificationData = d
	}
}

func chain(n, size int) func(*protobundle.VerificationMaterial) {
	return func(vm *protobundle.VerificationMaterial) {
		c := &protocommon.X509CertificateChain{}
		for range n {
			c.Certificates = append(c.Certificates, &protocommon.X509Certificate{RawBytes: make([]byte, size)})
		}
		vm.Content = &protobundle.VerificationMaterial_X509CertificateChain{X509CertificateChain: c}
	}
}

// hugeRSA is a public key whose verification would take seconds.
func hugeRSA(t testing.TB, bytes int) *rsa.PublicKey {
	t.Helper()
	b := make([]byte, bytes)
	_, err := rand.Read(b)
	must(t, err)
	b[0], b[bytes-1] = b[0]|0x80, b[bytes-1]|1
	return &rsa.PublicKey{N: new(big.Int).SetBytes(b), E: 1<<31 - 1}
}

// The library verifies a hashedrekord with the key in it before anything is trusted.
func TestHugeKeyInLogEntry(t *testing.T) {
	w := newWorld(t)
	const size = 4 << 10
	pub := publicPEM(t, hugeRSA(t, size))
	message := []byte("the manifest")
	body := fmt.Sprintf(`{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{"data":{"hash":{"algorithm":"sha256","value":"%x"}},"signature":{"content":%q,"publicKey":{"content":%q}}}}`,
		sha256.Sum256(message), b64(make([]byte, size)), b64(pub))
	b := w.sign(keyless{}, message)
	b.VerificationMaterial.TlogEntries = nil
	for i := range 32 {
		e := w.log(keyless{at: time.Now()}, "hashedrekord", body)
		e.LogIndex = int64(i)
		b.VerificationMaterial.TlogEntries = append(b.VerificationMaterial.TlogEntries, e)
	}
	v, err := bundle.Verify(marshal(t, b), subject, w.trust())
	denied(t, v, err, "RSA keys of at most 8192 bits") // before one is used
	// In whichever member, and beside a good one.
	odd := w.attest(keyless{}, signed())
	odd.VerificationMaterial.TlogEntries = append(odd.VerificationMaterial.TlogEntries, &protorekor.TransparencyLogEntry{CanonicalizedBody: fmt.Appendf(nil, `{"a":[{"b":%q}]}`, b64(pub))})
	v, err = bundle.Verify(marshal(t, odd), subject, w.trust())
	denied(t, v, err, "RSA keys of at most 8192 bits")
}

// panicky is a trust root that panics where the library asks it.
type panicky struct{ root.BaseTrustedMaterial }

func (*panicky) RekorLogs() map[string]*root.TransparencyLog { panic("boom\x1b[31m") }

func TestPanicDecidesNothing(t *testing.T) {
	w := newWorld(t)
	tr := w.trust()
	tr.Root = &panicky{}
	v, err := bundle.Verify(marshal(t, w.attest(keyless{}, signed())), subject, tr)
	denied(t, v, err, "panicked: boom")
	if !errors.Is(err, bundle.ErrLocal) {
		t.Errorf("expected no decision, found %v", err)
	}
	if strings.Contains(err.Error(), "\x1b") {
		t.Errorf("unclean: %q", err)
	}
}

// What strangers write does not reach a terminal or fill a log.
func TestReasonsAreClean(t *testing.T) {
	k := newECDSA(t, elliptic.P256())
	for _, doc := range []string{
		`{"mediaType":"` + strings.Repeat("x", 1<<20) + `"}`,
		`{"\u001b[31m` + strings.Repeat("y", 1<<16) + `":1}`,
	} {
		_, err := bundle.Verify([]byte(doc), subject, keyTrust(t, k))
		if err == nil || len(err.Error()) > 1<<12 || strings.ContainsAny(err.Error(), "\x1b\n") {
			t.Errorf("found %.200q", err)
		}
	}
}
