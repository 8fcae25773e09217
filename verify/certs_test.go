package verify

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
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/pullgate/pullgate/verify/discover"
)

const (
	signerMail = "dev@example.com"
	issuerURL  = "https://accounts.example.com"
)

// authority is a CA certificate and its key.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func ecKey(t testing.TB) crypto.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func rsaKey(t testing.TB, bits int) crypto.Signer {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// issue makes a certificate; parent nil makes it self-signed.
func issue(t testing.TB, parent *authority, key crypto.Signer, edit func(*x509.Certificate)) *authority {
	t.Helper()
	now := time.Now()
	c := &x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "test"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour)}
	edit(c)
	signer := &authority{c, key}
	if parent != nil {
		signer = parent
	}
	der, err := x509.CreateCertificate(rand.Reader, c, signer.cert, key.Public(), signer.key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{parsed, key}
}

func newCA(t testing.TB, parent *authority, key crypto.Signer, days int) *authority {
	return issue(t, parent, key, func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
		c.Subject.CommonName = fmt.Sprintf("CA %d", c.SerialNumber)
		c.NotAfter = time.Now().Add(time.Duration(days) * 24 * time.Hour)
	})
}

func newLeaf(t testing.TB, ca *authority, key crypto.Signer, edit func(*x509.Certificate)) *authority {
	return issue(t, ca, key, func(c *x509.Certificate) {
		c.ExtKeyUsage, c.KeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}, x509.KeyUsageDigitalSignature
		c.EmailAddresses = []string{signerMail}
		if edit != nil {
			edit(c)
		}
	})
}

func (a *authority) pem() []byte { return encodeCerts([]*x509.Certificate{a.cert}) }

// sign makes an attachment that brings its certificate and chain along.
func (a *authority) sign(t testing.TB, ref string, chain ...*authority) *discover.Sigstore {
	t.Helper()
	s := (&sigstoreKeyPair{a.key, t}).sign(ref, theManifest)
	s.Annotations[annotationCertificate] = string(a.pem())
	var pems []byte
	for _, c := range chain {
		pems = append(pems, c.pem()...)
	}
	s.Annotations[annotationChain] = string(pems)
	return s
}

func pkiRequirement(root, intermediate *authority, subject map[string]any) map[string]any {
	pki := map[string]any{"caRootsData": root.pem()}
	if intermediate != nil {
		pki["caIntermediatesData"] = intermediate.pem()
	}
	for k, v := range subject {
		pki[k] = v
	}
	return map[string]any{"type": "sigstoreSigned", "pki": pki, "signedIdentity": matchRepository}
}

func TestOwnPKIStories(t *testing.T) {
	root := newCA(t, nil, ecKey(t), 300)
	sub := newCA(t, root, ecKey(t), 10)
	leaf := newLeaf(t, sub, ecKey(t), func(c *x509.Certificate) { c.NotAfter = time.Now().Add(100 * 24 * time.Hour) })
	short := newLeaf(t, root, ecKey(t), nil)
	stranger := newLeaf(t, newCA(t, nil, ecKey(t), 300), ecKey(t), nil)
	expired := newLeaf(t, root, ecKey(t), func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	other := newLeaf(t, root, ecKey(t), func(c *x509.Certificate) { c.EmailAddresses = []string{"else@example.com"} })
	weakLeaf := newLeaf(t, root, rsaKey(t, 1024), nil)
	weakSub := newCA(t, root, rsaKey(t, 1024), 10)
	behindWeak := newLeaf(t, weakSub, ecKey(t), nil)
	email := map[string]any{"subjectEmail": signerMail}
	for name, c := range map[string]struct {
		sig          *discover.Sigstore
		intermediate *authority
		want         string
		expires      time.Time
	}{
		"leaf of the root":       {short.sign(t, repo), nil, "", short.cert.NotAfter},
		"with intermediate":      {leaf.sign(t, repo), sub, "", sub.cert.NotAfter},
		"with chain":             {leaf.sign(t, repo, sub, root), nil, "", sub.cert.NotAfter},
		"without intermediate":   {leaf.sign(t, repo), nil, "unknown authority", time.Time{}},
		"another CA":             {stranger.sign(t, repo), nil, "unknown authority", time.Time{}},
		"expired":                {expired.sign(t, repo), nil, "expired", time.Time{}},
		"another e-mail":         {other.sign(t, repo), nil, "else@example.com", time.Time{}},
		"another repository":     {short.sign(t, "registry.example.com/x"), nil, "signature is for registry.example.com/x", time.Time{}},
		"no certificate":         {newSigstoreKey(t).sign(repo, theManifest), nil, "a certificate is required", time.Time{}},
		"weak leaf":              {weakLeaf.sign(t, repo), nil, "certificate that has an RSA-1024 key, which is refused", time.Time{}},
		"weak link in the chain": {behindWeak.sign(t, repo, weakSub, root), nil, "RSA-1024 key, which is refused", time.Time{}},
		"weak intermediate":      {behindWeak.sign(t, repo), weakSub, "unknown authority", time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.attach(repo, c.sig)
			v := verify(t, w.engine(policyFor(t, map[string]any{repo: []any{pkiRequirement(root, c.intermediate, email)}})), subject(t, v1))
			if (v.Decision == Allowed) != (c.want == "") || !strings.Contains(reasons(v), c.want) {
				t.Errorf("expected %q, found %s: %s", c.want, v.Decision, reasons(v))
			}
			if !v.Expires.Equal(c.expires) {
				t.Errorf("expected the end %v, found %v", c.expires, v.Expires)
			}
			if c.want == "" && !strings.HasPrefix(v.Signers()[0], signerMail+" (issuer ") {
				t.Errorf("signers %v", v.Signers())
			}
		})
	}
}

func TestWeakCAIsRefusedUnlessAllowed(t *testing.T) {
	root := newCA(t, nil, rsaKey(t, 1024), 300)
	leaf := newLeaf(t, root, ecKey(t), func(c *x509.Certificate) { c.DNSNames, c.EmailAddresses = []string{"ci.example.com"}, nil })
	w := newWorld(t)
	w.attach(repo, leaf.sign(t, repo))
	e := w.engine(policyFor(t, map[string]any{repo: []any{pkiRequirement(root, nil, map[string]any{"subjectHostname": "ci.example.com"})}}))
	if v := verify(t, e, subject(t, v1)); v.Decision != Denied || !strings.Contains(reasons(v), "under 2048 bits") {
		t.Errorf("%s: %s", v.Decision, reasons(v))
	}
	if len(e.Policy().Warnings()) == 0 {
		t.Error("no warning")
	}
	o := w.options()
	o.InsecureAllowWeak = true
	p, err := LoadPolicy(o)
	if err != nil {
		t.Fatal(err)
	}
	e.Replace(p)
	if v := verify(t, e, subject(t, v1)); v.Decision != Allowed {
		t.Error(reasons(v))
	}
}

// rekorLog is a transparency log: it signs what it recorded when.
type rekorLog struct{ key crypto.Signer }

// record adds the log's signature over an attachment that holds its certificate.
func (l rekorLog) record(t testing.TB, s *discover.Sigstore, at time.Time, keyPEM []byte) *discover.Sigstore {
	t.Helper()
	sum := sha256.Sum256(s.Payload)
	body, err := json.Marshal(map[string]any{"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": map[string]any{
		"data":      map[string]any{"hash": map[string]any{"algorithm": "sha256", "value": fmt.Sprintf("%x", sum)}},
		"signature": map[string]any{"content": s.Annotations[annotationSignature], "publicKey": map[string]any{"content": keyPEM}}}})
	if err != nil {
		t.Fatal(err)
	}
	// Keys in this order and no white space: the canonical form that is signed.
	entry := fmt.Sprintf(`{"body":%q,"integratedTime":%d,"logID":"x","logIndex":1}`, base64.StdEncoding.EncodeToString(body), at.Unix())
	digest := sha256.Sum256([]byte(entry))
	sig, err := l.key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := json.Marshal(map[string]any{"SignedEntryTimestamp": sig, "Payload": json.RawMessage(entry)})
	if err != nil {
		t.Fatal(err)
	}
	s.Annotations["dev.sigstore.cosign/bundle"] = string(bundle)
	return s
}

func (l rekorLog) pem(t testing.TB) []byte { return (&sigstoreKeyPair{l.key, t}).pem() }

// fulcioWorld is a Fulcio CA, a log, a requirement that trusts both, and a
// certificate that ran out half an hour ago, as Fulcio's always have.
func fulcioWorld(t testing.TB) (log rekorLog, requirement map[string]any, leaf *authority, signedAt time.Time) {
	root := newCA(t, nil, ecKey(t), 300)
	log = rekorLog{ecKey(t)}
	issuer, err := asn1.Marshal(issuerURL)
	if err != nil {
		t.Fatal(err)
	}
	leaf = newLeaf(t, root, ecKey(t), func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-40*time.Minute), time.Now().Add(-30*time.Minute)
		c.ExtraExtensions = []pkix.Extension{{Id: oidIssuerV2, Value: issuer}}
	})
	requirement = map[string]any{"type": "sigstoreSigned", "signedIdentity": matchRepository, "rekorPublicKeyData": log.pem(t),
		"fulcio": map[string]any{"caData": root.pem(), "oidcIssuer": issuerURL, "subjectEmail": signerMail}}
	return log, requirement, leaf, time.Now().Add(-35 * time.Minute)
}

func TestFulcioStories(t *testing.T) {
	log, requirement, leaf, at := fulcioWorld(t)
	otherLog := rekorLog{ecKey(t)}
	for name, c := range map[string]struct {
		sig  *discover.Sigstore
		want string
	}{
		"logged":               {log.record(t, leaf.sign(t, repo), at, leaf.pem()), ""},
		"not logged":           {leaf.sign(t, repo), "bundle"},
		"logged elsewhere":     {otherLog.record(t, leaf.sign(t, repo), at, leaf.pem()), "Rekor SET failed"},
		"signed too late":      {log.record(t, leaf.sign(t, repo), time.Now(), leaf.pem()), "expired"},
		"logged for another":   {log.record(t, leaf.sign(t, repo), at, newLeaf(t, nil, ecKey(t), nil).pem()), "does not match"},
		"signed for elsewhere": {log.record(t, leaf.sign(t, "registry.example.com/x"), at, leaf.pem()), "signature is for registry.example.com/x"},
	} {
		w := newWorld(t)
		w.attach(repo, c.sig)
		v := verify(t, w.engine(policyFor(t, map[string]any{repo: []any{requirement}})), subject(t, v1))
		if (v.Decision == Allowed) != (c.want == "") || !strings.Contains(reasons(v), c.want) {
			t.Errorf("%s: expected %q, found %s: %s", name, c.want, v.Decision, reasons(v))
		}
		if c.want == "" && (v.Signers()[0] != signerMail+" (issuer "+issuerURL+")" || !v.Expires.IsZero()) {
			t.Errorf("%s: %v until %v", name, v.Signers(), v.Expires)
		}
		if r := v.Requirements[0].Required; !strings.Contains(r, signerMail) || !strings.Contains(r, issuerURL) {
			t.Errorf("%s: required %s", name, r)
		}
	}
}

// TestKeyWithLog needs the log beside the key.
func TestKeyWithLog(t *testing.T) {
	key, log := newSigstoreKey(t), rekorLog{ecKey(t)}
	requirement := sigstoreSigned(matchRepository, key, newSigstoreKey(t))
	requirement["rekorPublicKeyDatas"] = [][]byte{rekorLog{ecKey(t)}.pem(t), log.pem(t)}
	for _, logged := range []bool{false, true} {
		sig := key.sign(repo, theManifest)
		if logged {
			sig = log.record(t, sig, time.Now(), key.pem())
		}
		w := newWorld(t)
		w.attach(repo, sig)
		if v := verify(t, w.engine(policyFor(t, map[string]any{repo: []any{requirement}})), subject(t, v1)); (v.Decision == Allowed) != logged {
			t.Errorf("logged %t: %s: %s", logged, v.Decision, reasons(v))
		}
	}
}

// TestCertificatesThatCannotBeRead are malformed signatures, not errors.
func TestCertificatesThatCannotBeRead(t *testing.T) {
	root := newCA(t, nil, ecKey(t), 300)
	leaf := newLeaf(t, root, ecKey(t), nil)
	for name, edit := range map[string]func(a map[string]string){
		"no PEM": func(a map[string]string) { a[annotationCertificate] = "x" },
		"empty":  func(a map[string]string) { a[annotationCertificate] = "" },
		"two":    func(a map[string]string) { a[annotationCertificate] += a[annotationCertificate] },
		"a key":  func(a map[string]string) { a[annotationCertificate] = string(newSigstoreKey(t).pem()) },
		"malformed": func(a map[string]string) {
			a[annotationCertificate] = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}))
		},
		"malformed chain": func(a map[string]string) { a[annotationChain] = "-----BEGIN X-----" },
		"huge":            func(a map[string]string) { a[annotationChain] = strings.Repeat(string(root.pem()), 1000) },
	} {
		sig := leaf.sign(t, repo)
		edit(sig.Annotations)
		w := newWorld(t)
		w.attach(repo, sig)
		v := verify(t, w.engine(policyFor(t, map[string]any{repo: []any{pkiRequirement(root, nil, map[string]any{"subjectEmail": signerMail})}})), subject(t, v1))
		if v.Decision != Denied || !strings.Contains(reasons(v), "malformed signature") || v.Signatures[0].Problem == "" {
			t.Errorf("%s: %s: %s; %+v", name, v.Decision, reasons(v), v.Signatures)
		}
	}
}

// TestCertificateBesideAKey names whom the signature says it is by when its key is
// not trusted.
func TestCertificateBesideAKey(t *testing.T) {
	leaf := newLeaf(t, newCA(t, nil, ecKey(t), 300), ecKey(t), nil)
	w := newWorld(t)
	w.attach(repo, leaf.sign(t, repo))
	v := verify(t, w.engine(policyFor(t, map[string]any{repo: []any{sigstoreSigned(matchRepository, newSigstoreKey(t))}})), subject(t, v1))
	if v.Decision != Denied || !strings.Contains(reasons(v), "signed by "+signerMail) || !strings.HasPrefix(v.Signatures[0].Signer, signerMail) {
		t.Errorf("%s: %s; %+v", v.Decision, reasons(v), v.Signatures)
	}
}

// TestPathsOfCertificates inlines every …Path there is.
func TestPathsOfCertificates(t *testing.T) {
	root := newCA(t, nil, ecKey(t), 300)
	sub := newCA(t, root, ecKey(t), 10)
	leaf := newLeaf(t, sub, ecKey(t), nil)
	log, requirement, fleaf, at := fulcioWorld(t)
	w := newWorld(t)
	w.write("root.pem", string(root.pem()))
	w.write("sub.pem", string(sub.pem()))
	w.write("fulcio.pem", string(requirement["fulcio"].(map[string]any)["caData"].([]byte)))
	w.write("rekor.pub", string(log.pem(t)))
	e := w.engine(fmt.Sprintf(`{"default":[
		{"type":"sigstoreSigned","pki":{"caRootsPath":"root.pem","caIntermediatesPath":"sub.pem","subjectEmail":%q},"signedIdentity":{"type":"matchRepository"}},
		{"type":"sigstoreSigned","fulcio":{"caPath":"fulcio.pem","oidcIssuer":%q,"subjectEmail":%[1]q},"rekorPublicKeyPaths":["rekor.pub"],"signedIdentity":{"type":"matchRepository"}},
		{"type":"sigstoreSigned","fulcio":{"caPath":"fulcio.pem","oidcIssuer":%[2]q,"subjectEmail":%[1]q},"rekorPublicKeyPath":"rekor.pub","signedIdentity":{"type":"matchRepository"}}]}`,
		signerMail, issuerURL))
	w.attach(repo, leaf.sign(t, repo), log.record(t, fleaf.sign(t, repo), at, fleaf.pem()))
	if v := verify(t, e, subject(t, v1)); v.Decision != Allowed {
		t.Error(reasons(v))
	}
	if n := len(e.Policy().Files()); n != 7 {
		t.Errorf("expected 7 files, found %v", e.Policy().Files())
	}
}
