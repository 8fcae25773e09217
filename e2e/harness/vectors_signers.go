package harness

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Signers are real signers with keys of their own, and what they need around them,
// all on loopback: a timestamp authority, which openssl is, and a certificate
// authority for workflows.
type Signers struct {
	bin, dir string
	tsa      *httptest.Server
	fulcio   *httptest.Server
	short    vectorCert
}

// NewSigners makes keys and certificates. bin is the directory of cosign2, cosign3
// and notation. What verifiers need is written to trust, and nothing secret.
func NewSigners(t testing.TB, bin, trust string) *Signers {
	t.Helper()
	s := &Signers{bin: bin, dir: t.TempDir()}
	for _, name := range []string{"cosign", "other"} {
		s.run(t, "cosign2", "generate-key-pair", "--output-key-prefix", s.file(name))
		writeFile(t, filepath.Join(trust, name+".pub"), readFile(t, s.file(name+".pub")))
	}
	writeFile(t, s.file("root.json"), []byte(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`))
	s.notationKeys(t, trust)
	s.sigstoreKeys(t, trust)
	return s
}

func (s *Signers) file(name string) string { return filepath.Join(s.dir, name) }

// run runs one of the programs to its success.
func (s *Signers) run(t testing.TB, program string, args ...string) {
	t.Helper()
	MustRun(t, []string{"HOME=" + s.dir, "XDG_CONFIG_HOME=" + s.dir, "COSIGN_PASSWORD="}, filepath.Join(s.bin, program), args...)
}

// notationKeys makes the signers of notation: one for long, one whose certificate
// ends at once, and one of another authority.
func (s *Signers) notationKeys(t testing.TB, trust string) {
	t.Helper()
	ca, other := vectorCA(t, "acme code signing"), vectorCA(t, "acme code signing")
	build := vectorIssue(t, codeSigner("build", time.Now().Add(lasting)), &ca)
	s.short = vectorIssue(t, codeSigner("short", time.Now().Add(30*time.Second)), &ca)
	var list []map[string]string
	for name, c := range map[string]vectorCert{"build": build, "short": s.short} {
		key, chain := s.file(name+".key"), s.file(name+".crt")
		writeFile(t, key, c.keyPEM(t))
		writeFile(t, chain, append(c.pem(), ca.pem()...))
		list = append(list, map[string]string{"name": name, "keyPath": key, "certPath": chain})
	}
	b, err := json.Marshal(map[string]any{"default": "build", "keys": list})
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, s.file("notation/signingkeys.json"), b)
	writeFile(t, filepath.Join(trust, "ca.crt"), ca.pem())
	writeFile(t, filepath.Join(trust, "other-ca.crt"), other.pem()) // of the same name
	writeFile(t, filepath.Join(trust, "none-revoked.crl"), ca.revocations(t))
	writeFile(t, filepath.Join(trust, "build-revoked.crl"), ca.revocations(t, build))
}

// sigstoreKeys makes the authorities of a private trust root, for timestamps and for
// workflows, and one certificate of a workflow.
func (s *Signers) sigstoreKeys(t testing.TB, trust string) {
	t.Helper()
	root, fulcio := vectorCA(t, "acme timestamps"), vectorCA(t, "acme sigstore")
	tsa := vectorIssue(t, timestamper(t), &root)
	writeFile(t, s.file("tsa.crt"), tsa.pem())
	writeFile(t, s.file("tsa.key"), tsa.keyPEM(t))
	writeFile(t, s.file("tsa-root.crt"), root.pem())
	writeFile(t, s.file("serial"), []byte("01\n"))
	writeFile(t, s.file("tsa.cnf"), fmt.Appendf(nil, `[tsa]
default_tsa = acme
[acme]
serial = %s
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
ess_cert_id_alg = sha256
`, s.file("serial")))
	s.tsa = httptest.NewServer(http.HandlerFunc(s.timestamp))
	t.Cleanup(s.tsa.Close)
	s.fulcio = httptest.NewServer(fulcio)
	t.Cleanup(s.fulcio.Close)
	template, err := workflow()
	if err != nil {
		t.Fatal(err)
	}
	leaf := vectorIssue(t, template, &fulcio)
	writeFile(t, s.file("workflow.pem"), leaf.keyPEM(t))
	writeFile(t, s.file("workflow.crt"), leaf.pem())
	writeFile(t, s.file("fulcio.crt"), fulcio.pem())
	s.run(t, "cosign2", "import-key-pair", "--key", s.file("workflow.pem"), "--output-key-prefix", s.file("workflow"))
	writeFile(t, filepath.Join(trust, "tsa.crt"), root.pem())
	writeFile(t, s.file("acme.json"), trustedRoot(t, fulcio, tsa, root))
	writeFile(t, filepath.Join(trust, "trusted_root.json"), readFile(t, s.file("acme.json")))
}

// trustedRoot writes a trusted_root.json with one certificate authority and one
// timestamp authority (sigstore, protobuf-specs, sigstore_trustroot.proto).
func trustedRoot(t testing.TB, fulcio, tsa, tsaRoot vectorCert) []byte {
	t.Helper()
	authority := func(uri string, chain ...vectorCert) any {
		var certs []any
		for _, c := range chain {
			certs = append(certs, map[string][]byte{"rawBytes": c.cert.Raw})
		}
		return []any{map[string]any{
			"subject": map[string]string{"organization": "acme.example", "commonName": uri}, "uri": uri,
			"certChain": map[string]any{"certificates": certs}, "validFor": map[string]string{"start": "2020-01-01T00:00:00Z"},
		}}
	}
	b, err := json.MarshalIndent(map[string]any{
		"mediaType":              "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
		"certificateAuthorities": authority("https://fulcio.acme.example", fulcio),
		"timestampAuthorities":   authority("https://tsa.acme.example", tsa, tsaRoot),
	}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// timestamp answers RFC 3161 requests over HTTP with openssl-ts(1).
func (s *Signers) timestamp(w http.ResponseWriter, r *http.Request) {
	query, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<16))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	cmd := exec.CommandContext(r.Context(), "openssl", "ts", "-reply", "-queryfile", "/dev/stdin",
		"-config", s.file("tsa.cnf"), "-signer", s.file("tsa.crt"), "-inkey", s.file("tsa.key"), "-chain", s.file("tsa-root.crt"))
	cmd.Stdin = bytes.NewReader(query)
	answer, err := cmd.Output()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/timestamp-reply")
	_, _ = w.Write(answer)
}

// A VectorSigner leaves evidence about image, registry/repository@digest.
type VectorSigner func(t testing.TB, s *Signers, image string)

// Cosign2 runs cosign v2's sign or attest with a key, without a transparency log.
func Cosign2(command, key string, more ...string) VectorSigner {
	return func(t testing.TB, s *Signers, image string) {
		t.Helper()
		args := append([]string{command, "--key", s.file(key + ".key"), "--yes", "--tlog-upload=false"}, more...)
		s.run(t, "cosign2", append(args, image)...)
	}
}

// Cosign2Keyless signs with the certificate of the workflow and a timestamp.
func Cosign2Keyless() VectorSigner {
	return func(t testing.TB, s *Signers, image string) {
		t.Helper()
		Cosign2("sign", "workflow", "--certificate", s.file("workflow.crt"), "--certificate-chain", s.file("fulcio.crt"),
			"--timestamp-server-url", s.tsa.URL)(t, s, image)
	}
}

// Cosign2Referrer signs as cosign v2 does with the experimental referrers mode: what
// would be a .sig tag becomes a referrer.
func Cosign2Referrer(key string) VectorSigner {
	return func(t testing.TB, s *Signers, image string) {
		t.Helper()
		t.Setenv("COSIGN_EXPERIMENTAL", "1")
		defer t.Setenv("COSIGN_EXPERIMENTAL", "0")
		Cosign2("sign", key, "--registry-referrers-mode=oci-1-1")(t, s, image)
	}
}

// Cosign3 runs cosign v3's sign or attest with a key, without log and timestamp.
func Cosign3(command, key string, more ...string) VectorSigner {
	return func(t testing.TB, s *Signers, image string) {
		t.Helper()
		s.run(t, "cosign3", "signing-config", "create", "--out", s.file("signing.json"))
		s.cosign3(t, image, "root.json", append([]string{command, "--key", s.file(key + ".key")}, more...))
	}
}

// service describes one of our servers to cosign v3.
func service(srv *httptest.Server) string {
	return "url=" + srv.URL + ",api-version=1,start-time=2020-01-01T00:00:00Z,operator=acme.example"
}

// Cosign3Timestamped is Cosign3 with a timestamp.
func Cosign3Timestamped(command, key string, more ...string) VectorSigner {
	return func(t testing.TB, s *Signers, image string) {
		t.Helper()
		s.run(t, "cosign3", "signing-config", "create", "--out", s.file("signing.json"), "--tsa-config", "EXACT:1", "--tsa", service(s.tsa))
		s.cosign3(t, image, "acme.json", append([]string{command, "--key", s.file(key + ".key")}, more...))
	}
}

// Cosign3Keyless is sign or attest with a key of the moment, a certificate of the
// workflow and a timestamp.
func Cosign3Keyless(command string, more ...string) VectorSigner {
	return func(t testing.TB, s *Signers, image string) {
		t.Helper()
		s.run(t, "cosign3", "signing-config", "create", "--out", s.file("signing.json"), "--tsa-config", "EXACT:1", "--tsa", service(s.tsa),
			"--fulcio", service(s.fulcio))
		s.cosign3(t, image, "acme.json", append([]string{command, "--identity-token", identityToken()}, more...))
	}
}

// identityToken is an unsigned OpenID Connect token, which nobody checks here.
func identityToken() string {
	part := base64.RawURLEncoding.EncodeToString
	claims := fmt.Appendf(nil, `{"iss":%q,"sub":"repo:acme/app:ref:refs/heads/main","aud":"sigstore","exp":%d}`,
		VectorIssuer, time.Now().Add(time.Hour).Unix())
	return part([]byte(`{"alg":"RS256","typ":"JWT"}`)) + "." + part(claims) + "." + part([]byte("none"))
}

// cosign3 runs cosign v3, which checks what it made against a trust root.
func (s *Signers) cosign3(t testing.TB, image, root string, args []string) {
	t.Helper()
	args = append(args, "--signing-config", s.file("signing.json"), "--trusted-root", s.file(root), "--yes", image)
	s.run(t, "cosign3", args...)
}

// Predicate writes a predicate to a file, and returns the options for it.
func (s *Signers) Predicate(t testing.TB, kind, content string) []string {
	t.Helper()
	writeFile(t, s.file(kind+".json"), []byte(content))
	return []string{"--type", kind, "--predicate", s.file(kind + ".json")}
}

// Notation signs with a key of signingkeys.json.
func Notation(format, key string, more ...string) VectorSigner {
	return func(t testing.TB, s *Signers, image string) {
		t.Helper()
		s.run(t, "notation", append([]string{"sign", "--insecure-registry", "--signature-format", format, "--key", key}, append(more, image)...)...)
	}
}

// NotationTimestamped is Notation with a timestamp.
func NotationTimestamped(format, key string) VectorSigner {
	return func(t testing.TB, s *Signers, image string) {
		t.Helper()
		Notation(format, key, "--timestamp-url", s.tsa.URL, "--timestamp-root-cert", s.file("tsa-root.crt"))(t, s, image)
	}
}

// Expire waits until the certificate that ends soon has ended.
func (s *Signers) Expire() { time.Sleep(time.Until(s.short.cert.NotAfter.Add(time.Second))) }
