package bundle_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	ct "github.com/google/certificate-transparency-go"
	cttls "github.com/google/certificate-transparency-go/tls"
	"github.com/google/certificate-transparency-go/x509util"
	"github.com/opencontainers/go-digest"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore/pkg/signature"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/pullgate/pullgate/verify/bundle"
)

const (
	intoto   = "application/vnd.in-toto+json"
	slsaType = "https://slsa.dev/provenance/v1"
	workflow = "https://github.com/acme/app/.github/workflows/build.yml@refs/heads/main"
	issuer   = "https://token.actions.githubusercontent.com"

	mediaV01 = "application/vnd.dev.sigstore.bundle+json;version=0.1"
	mediaV02 = "application/vnd.dev.sigstore.bundle+json;version=0.2"
	mediaV03 = "application/vnd.dev.sigstore.bundle.v0.3+json"
)

var subject = digest.FromString("the manifest")

// world is a sigstore deployment in memory: certificate authority, CT log,
// transparency log, timestamp authority.
type world struct {
	t     testing.TB
	vs    *ca.VirtualSigstore
	inter *x509.Certificate
	iKey  crypto.Signer
	ctKey *ecdsa.PrivateKey
	root  *root.TrustedRoot
}

func newWorld(t testing.TB) *world {
	t.Helper()
	key := newECDSA(t, elliptic.P256())
	rc, ic := authority(t, key)
	return newWorldOf(t, rc, ic, key)
}

// authority is a root and an intermediate with a given key, valid for hours around
// now.
func authority(t testing.TB, key crypto.Signer) (rootCert, intermediate *x509.Certificate) {
	t.Helper()
	rootKey := newECDSA(t, elliptic.P256())
	tpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, NotBefore: time.Now().Add(-3 * time.Hour), NotAfter: time.Now().Add(3 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	rootCert = selfIssue(t, tpl, tpl, rootKey.Public(), rootKey)
	tpl.Subject.CommonName, tpl.ExtKeyUsage = "intermediate", []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
	return rootCert, selfIssue(t, tpl, rootCert, key.Public(), rootKey)
}

func selfIssue(t testing.TB, tpl, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, tpl, parent, pub, key)
	must(t, err)
	c, err := x509.ParseCertificate(der)
	must(t, err)
	return c
}

// newWorldOf builds a deployment over a certificate authority.
func newWorldOf(t testing.TB, rc, ic *x509.Certificate, ik crypto.Signer) *world {
	t.Helper()
	w := &world{t: t, inter: ic, iKey: ik, ctKey: newECDSA(t, elliptic.P256())}
	var err error
	w.vs, err = ca.NewVirtualSigstore()
	must(t, err)
	fulcio := &root.FulcioCertificateAuthority{Root: rc, Intermediates: []*x509.Certificate{ic}, ValidityPeriodStart: rc.NotBefore, URI: "https://fulcio.example"}
	id := keyID(t, w.ctKey.Public())
	cts := map[string]*root.TransparencyLog{hex.EncodeToString(id[:]): {BaseURL: "https://ct.example", ID: id[:], ValidityPeriodStart: time.Now().Add(-time.Hour),
		HashFunc: crypto.SHA256, SignatureHashFunc: crypto.SHA256, PublicKey: w.ctKey.Public()}}
	logs := w.vs.RekorLogs()
	for k, l := range logs {
		l.ID, err = hex.DecodeString(k)
		must(t, err)
	}
	w.root, err = root.NewTrustedRoot(root.TrustedRootMediaType01, []root.CertificateAuthority{fulcio}, cts, w.vs.TimestampingAuthorities(), logs)
	must(t, err)
	return w
}

// trust is what accepts the good keyless bundle.
func (w *world) trust() *bundle.Trust {
	id, err := bundle.ParseIdentity(issuer, "", workflow, "", nil)
	must(w.t, err)
	return &bundle.Trust{Root: w.root, RootName: "acme", Identities: []bundle.Identity{id}}
}

// keyless says what a keyless signature is like; the zero value is a good one with
// certificate timestamp, log promise and proof, and no RFC 3161 timestamp.
type keyless struct {
	san, issuer string
	sourceRepo  string
	at          time.Time // zero: now
	key         crypto.Signer
	noSCT       bool
	noLog       bool
	noPromise   bool
	noProof     bool
	stampBy     *world // timestamp authority
	stampOver   []byte // instead of the signature
	version     string // v0.3
	also        func(template *x509.Certificate)
	chain       bool // certificate chain in place of the certificate (v0.1 and v0.2)
}

func (k keyless) withDefaults(t testing.TB) keyless {
	if k.san == "" {
		k.san = workflow
	}
	if k.issuer == "" {
		k.issuer = issuer
	}
	if k.at.IsZero() {
		k.at = time.Now()
	}
	if k.key == nil {
		k.key = newECDSA(t, elliptic.P256())
	}
	if k.version == "" {
		k.version = mediaV03
	}
	return k
}

// attest signs a statement.
func (w *world) attest(k keyless, statement []byte) *protobundle.Bundle {
	w.t.Helper()
	k = k.withDefaults(w.t)
	cert := w.certificate(k)
	sig := signDigest(w.t, k.key, dsse.PAE(intoto, statement))
	envelope := fmt.Sprintf(`{"payload":%q,"payloadType":%q,"signatures":[{"sig":%q}]}`, b64(statement), intoto, b64(sig))
	body := fmt.Sprintf(`{"apiVersion":"0.0.1","kind":"dsse","spec":{"envelopeHash":{"algorithm":"sha256","value":"%x"},"payloadHash":{"algorithm":"sha256","value":"%x"},"signatures":[{"signature":%q,"verifier":%q}]}}`,
		sha256.Sum256([]byte(envelope)), sha256.Sum256(statement), b64(sig), b64(certPEM(cert)))
	b := &protobundle.Bundle{MediaType: k.version, VerificationMaterial: w.material(k, cert, sig, "dsse", body),
		Content: dsseContent(statement, sig)}
	return b
}

// sign signs a message, whose digest is what a message signature is about.
func (w *world) sign(k keyless, message []byte) *protobundle.Bundle {
	w.t.Helper()
	k = k.withDefaults(w.t)
	cert := w.certificate(k)
	sig := signDigest(w.t, k.key, message)
	sum := sha256.Sum256(message)
	body := fmt.Sprintf(`{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{"data":{"hash":{"algorithm":"sha256","value":"%x"}},"signature":{"content":%q,"publicKey":{"content":%q}}}}`,
		sum, b64(sig), b64(certPEM(cert)))
	return &protobundle.Bundle{MediaType: k.version, VerificationMaterial: w.material(k, cert, sig, "hashedrekord", body),
		Content: messageContent(message, sig)}
}

func dsseContent(statement, sig []byte) *protobundle.Bundle_DsseEnvelope {
	return &protobundle.Bundle_DsseEnvelope{DsseEnvelope: &protodsse.Envelope{Payload: statement, PayloadType: intoto,
		Signatures: []*protodsse.Signature{{Sig: sig}}}}
}

func messageContent(message, sig []byte) *protobundle.Bundle_MessageSignature {
	sum := sha256.Sum256(message)
	return &protobundle.Bundle_MessageSignature{MessageSignature: &protocommon.MessageSignature{
		MessageDigest: &protocommon.HashOutput{Algorithm: protocommon.HashAlgorithm_SHA2_256, Digest: sum[:]}, Signature: sig}}
}

// material collects certificate, log entry and timestamp.
func (w *world) material(k keyless, cert *x509.Certificate, sig []byte, kind, body string) *protobundle.VerificationMaterial {
	w.t.Helper()
	vm := &protobundle.VerificationMaterial{Content: &protobundle.VerificationMaterial_Certificate{Certificate: &protocommon.X509Certificate{RawBytes: cert.Raw}}}
	if k.chain {
		vm.Content = &protobundle.VerificationMaterial_X509CertificateChain{X509CertificateChain: &protocommon.X509CertificateChain{
			Certificates: []*protocommon.X509Certificate{{RawBytes: cert.Raw}, {RawBytes: w.inter.Raw}}}}
	}
	if !k.noLog {
		vm.TlogEntries = []*protorekor.TransparencyLogEntry{w.log(k, kind, body)}
	}
	if k.stampBy != nil {
		over := sig
		if k.stampOver != nil {
			over = k.stampOver
		}
		vm.TimestampVerificationData = stamps(w.t, k.stampBy, over)
	}
	return vm
}

func stamps(t testing.TB, by *world, over []byte) *protobundle.TimestampVerificationData {
	t.Helper()
	s, err := by.vs.TimestampResponse(over)
	must(t, err)
	return &protobundle.TimestampVerificationData{Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: s}}}
}

// log enters a body into the transparency log.
func (w *world) log(k keyless, kind, body string) *protorekor.TransparencyLogEntry {
	w.t.Helper()
	id, err := w.vs.RekorLogID()
	must(w.t, err)
	rawID, err := hex.DecodeString(id)
	must(w.t, err)
	e := &protorekor.TransparencyLogEntry{LogIndex: 7, LogId: &protocommon.LogId{KeyId: rawID}, KindVersion: &protorekor.KindVersion{Kind: kind, Version: "0.0.1"},
		IntegratedTime: k.at.Unix(), CanonicalizedBody: []byte(body)}
	if !k.noPromise {
		set, err := w.vs.RekorSignPayload(tlog.RekorPayload{Body: b64([]byte(body)), IntegratedTime: e.IntegratedTime, LogIndex: e.LogIndex, LogID: id})
		must(w.t, err)
		e.InclusionPromise = &protorekor.InclusionPromise{SignedEntryTimestamp: set}
	}
	if !k.noProof {
		p, err := w.vs.GetInclusionProof([]byte(body))
		must(w.t, err)
		rootHash, err := hex.DecodeString(*p.RootHash)
		must(w.t, err)
		e.InclusionProof = &protorekor.InclusionProof{LogIndex: *p.LogIndex, TreeSize: *p.TreeSize, RootHash: rootHash, Checkpoint: &protorekor.Checkpoint{Envelope: *p.Checkpoint}}
	}
	return e
}

// certificate issues a Fulcio-like certificate, valid from a minute before k.at for
// ten minutes.
func (w *world) certificate(k keyless) *x509.Certificate {
	w.t.Helper()
	u, err := url.Parse(k.san)
	must(w.t, err)
	tpl := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), URIs: []*url.URL{u}, NotBefore: k.at.Add(-time.Minute), NotAfter: k.at.Add(9 * time.Minute),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		ExtraExtensions: []pkix.Extension{w.fulcioExtension(8, k.issuer)}}
	if k.sourceRepo != "" {
		tpl.ExtraExtensions = append(tpl.ExtraExtensions, w.fulcioExtension(12, k.sourceRepo))
	}
	if k.also != nil {
		k.also(tpl)
	}
	cert := w.issue(tpl, k.key.Public())
	if k.noSCT {
		return cert
	}
	tpl.ExtraExtensions = append(tpl.ExtraExtensions, w.sct(cert, k.at))
	return w.issue(tpl, k.key.Public())
}

func (w *world) issue(tpl *x509.Certificate, pub crypto.PublicKey) *x509.Certificate {
	w.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, tpl, w.inter, pub, w.iKey)
	must(w.t, err)
	c, err := x509.ParseCertificate(der)
	must(w.t, err)
	return c
}

// fulcioExtension is field n of Fulcio (docs/oid-info.md), a DER string.
func (w *world) fulcioExtension(n int, value string) pkix.Extension {
	w.t.Helper()
	b, err := asn1.MarshalWithParams(value, "utf8")
	must(w.t, err)
	return pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, n}, Value: b}
}

// sct is the CT log's timestamp of a certificate without one (RFC 6962, 3.3).
func (w *world) sct(pre *x509.Certificate, at time.Time) pkix.Extension {
	w.t.Helper()
	stamp := uint64(at.UnixMilli())
	sct := ct.SignedCertificateTimestamp{SCTVersion: ct.V1, LogID: ct.LogID{KeyID: keyID(w.t, w.ctKey.Public())}, Timestamp: stamp}
	entry := ct.LogEntry{Leaf: ct.MerkleTreeLeaf{Version: ct.V1, LeafType: ct.TimestampedEntryLeafType, TimestampedEntry: &ct.TimestampedEntry{Timestamp: stamp,
		EntryType: ct.PrecertLogEntryType, PrecertEntry: &ct.PreCert{IssuerKeyHash: sha256.Sum256(w.inter.RawSubjectPublicKeyInfo), TBSCertificate: pre.RawTBSCertificate}}}}
	in, err := ct.SerializeSCTSignatureInput(sct, entry)
	must(w.t, err)
	sig, err := cttls.CreateSignature(*w.ctKey, cttls.SHA256, in)
	must(w.t, err)
	sct.Signature = ct.DigitallySigned(sig)
	list, err := x509util.MarshalSCTsIntoSCTList([]*ct.SignedCertificateTimestamp{&sct})
	must(w.t, err)
	raw, err := cttls.Marshal(*list)
	must(w.t, err)
	val, err := asn1.Marshal(raw)
	must(w.t, err)
	return pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}, Value: val}
}

// byKey is a bundle signed by a key, as cosign v3 makes it without any service.
func byKey(t testing.TB, key crypto.Signer, statement []byte) *protobundle.Bundle {
	t.Helper()
	return &protobundle.Bundle{MediaType: mediaV03, VerificationMaterial: keyMaterial(),
		Content: dsseContent(statement, signDigest(t, key, dsse.PAE(intoto, statement)))}
}

func keyMaterial() *protobundle.VerificationMaterial {
	return &protobundle.VerificationMaterial{Content: &protobundle.VerificationMaterial_PublicKey{PublicKey: &protocommon.PublicKeyIdentifier{Hint: "anything"}}}
}

// keyTrust trusts public keys.
func keyTrust(t testing.TB, keys ...crypto.Signer) *bundle.Trust {
	t.Helper()
	out := &bundle.Trust{}
	for _, k := range keys {
		parsed, err := bundle.ParseKey(publicPEM(t, k.Public()))
		must(t, err)
		out.Keys = append(out.Keys, parsed)
	}
	return out
}

// statement is an in-toto statement about d.
func statement(d digest.Digest, predicateType string) []byte {
	return fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"image","digest":{%q:%q}}],"predicateType":%q,"predicate":{"a":1}}`,
		d.Algorithm(), d.Encoded(), predicateType)
}

func marshal(t testing.TB, b *protobundle.Bundle) []byte {
	t.Helper()
	out, err := protojson.Marshal(b)
	must(t, err)
	return out
}

// signDigest signs as sigstore clients do: the hash that fits the key, or the
// message itself with Ed25519.
func signDigest(t testing.TB, key crypto.Signer, message []byte) []byte {
	t.Helper()
	return signWith(t, key, message, crypto.SHA256)
}

func signWith(t testing.TB, key crypto.Signer, message []byte, h crypto.Hash) []byte {
	t.Helper()
	s, err := signature.LoadSigner(key, h)
	must(t, err)
	sig, err := s.SignMessage(strings.NewReader(string(message)))
	must(t, err)
	return sig
}

func newECDSA(t testing.TB, c elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	must(t, err)
	return k
}

func publicPEM(t testing.TB, pub crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(pub)
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func keyID(t testing.TB, pub crypto.PublicKey) [32]byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(pub)
	must(t, err)
	return sha256.Sum256(der)
}

func certPEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// denied checks that a judgement is a denial for the reason that it should have, and
// not by accident.
func denied(t *testing.T, v bundle.Verified, err error, want string) {
	t.Helper()
	switch {
	case err == nil:
		t.Fatalf("accepted: %+v", v)
	case !strings.Contains(err.Error(), want):
		t.Fatalf("expected a reason with %q, found %v", want, err)
	case len(v.Signers) > 0 || v.Statement != nil || v.PredicateType != "" || len(v.Times) > 0:
		t.Fatalf("a denial that names something verified: %+v", v)
	}
}

func parseCert(t testing.TB, der []byte) *x509.Certificate {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	must(t, err)
	return c
}

// rsaCert is a certificate authority with an RSA key of that many bits.
func (w *world) rsaCert(bits int) *x509.Certificate {
	w.t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	must(w.t, err)
	_, c := authority(w.t, key)
	return c
}

// withoutIntermediates is the trust in a root that holds only the root certificate.
func (w *world) withoutIntermediates() *bundle.Trust {
	w.t.Helper()
	var cas []root.CertificateAuthority
	for _, a := range w.root.FulcioCertificateAuthorities() {
		f := *a.(*root.FulcioCertificateAuthority)
		f.Intermediates = nil
		cas = append(cas, &f)
	}
	tr := w.trust()
	r, err := root.NewTrustedRoot(root.TrustedRootMediaType01, cas, w.root.CTLogs(), w.root.TimestampingAuthorities(), w.root.RekorLogs())
	must(w.t, err)
	tr.Root = r
	return tr
}

// twoIntermediates is a root with two intermediates of the given keys.
func twoIntermediates(t testing.TB, one, other crypto.PublicKey) (rc, first, second *x509.Certificate) {
	t.Helper()
	key := newECDSA(t, elliptic.P256())
	tpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, NotBefore: time.Now().Add(-3 * time.Hour), NotAfter: time.Now().Add(3 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	rc = selfIssue(t, tpl, tpl, key.Public(), key)
	tpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
	tpl.Subject.CommonName = "one"
	first = selfIssue(t, tpl, rc, one, key)
	tpl.Subject.CommonName = "other"
	return rc, first, selfIssue(t, tpl, rc, other, key)
}

// under is a deployment whose trust root has the intermediate named, while
// certificates are issued by another one.
func (w *world) under(rc, named, issuing *x509.Certificate, key crypto.Signer) *world {
	w.t.Helper()
	out := newWorldOf(w.t, rc, named, key)
	out.inter = issuing
	return out
}

// certMaterial holds a certificate and a timestamp.
func certMaterial(c *x509.Certificate, stamp []byte) *protobundle.VerificationMaterial {
	return &protobundle.VerificationMaterial{
		Content: &protobundle.VerificationMaterial_Certificate{Certificate: &protocommon.X509Certificate{RawBytes: c.Raw}},
		TimestampVerificationData: &protobundle.TimestampVerificationData{
			Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: stamp}}},
	}
}
