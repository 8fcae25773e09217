package conformance_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"math/big"
	"strings"
	"testing"
	"time"
)

// firstTime leaves the first of two timestamps, secondTime the second.
func firstTime(b *document)  { b.set(stamps, []any{b.get(stamps + ".0")}) }
func secondTime(b *document) { b.set(stamps, []any{b.get(stamps + ".1")}) }

// bareTime takes the certificates out of the timestamp, which its signature does not
// cover (RFC 5652, SignedData.certificates).
func bareTime(b *document) {
	const place = stamps + ".0.signedTimestamp"
	raw, err := base64.StdEncoding.DecodeString(b.text(place))
	must(b.t, err)
	var response struct{ Status, Token asn1.RawValue }
	unmarshal(b.t, raw, &response)
	var token struct {
		Type asn1.ObjectIdentifier
		Data struct {
			Version             int
			Algorithms, Content asn1.RawValue
			Certificates        asn1.RawValue `asn1:"optional,tag:0"`
			Signers             asn1.RawValue
		} `asn1:"explicit,tag:0"`
	}
	unmarshal(b.t, response.Token.FullBytes, &token)
	if len(token.Data.Certificates.FullBytes) == 0 {
		b.t.Fatal("the timestamp holds no certificates")
	}
	token.Data.Certificates = asn1.RawValue{}
	response.Token.FullBytes, err = asn1.Marshal(token)
	must(b.t, err)
	raw, err = asn1.Marshal(response)
	must(b.t, err)
	b.set(place, base64.StdEncoding.EncodeToString(raw))
}

func unmarshal(t *testing.T, der []byte, v any) {
	t.Helper()
	rest, err := asn1.Unmarshal(der, v)
	must(t, err)
	if len(rest) > 0 {
		t.Fatalf("%d bytes more than expected", len(rest))
	}
}

// note splits a signature line of a checkpoint into name and bytes: four of the key
// hint, then the signature (the signed note format, C2SP.org/signed-note).
func note(line string) (name string, sig []byte) {
	f := strings.Fields(line) // — name base64
	sig, _ = base64.StdEncoding.DecodeString(f[2])
	return f[1], sig
}

func noteLine(name string, sig []byte) string {
	return "— " + name + " " + base64.StdEncoding.EncodeToString(sig)
}

// editNote changes the last signature of a checkpoint.
func editNote(edit func(name string, sig []byte) string) func([]string) []string {
	return func(lines []string) []string {
		last := len(lines) - 2 // the text ends with a newline
		lines[last] = edit(note(lines[last]))
		return lines
	}
}

var (
	otherHint      = editNote(func(n string, s []byte) string { s[0] ^= 1; return noteLine(n, s) })
	otherSignature = editNote(func(n string, s []byte) string { s[len(s)-1] ^= 1; return noteLine(n, s) })
)

// witness is the line of a cosigner whose key nobody trusts.
func witness(name string) string {
	return noteLine(name, append([]byte{1, 2, 3, 4}, bytes.Repeat([]byte{7}, 72)...))
}

// editBody changes the body of the log entry as text.
func editBody(b *document, edit func(string) string) {
	b.t.Helper()
	body, err := base64.StdEncoding.DecodeString(b.text(entry + ".canonicalizedBody"))
	must(b.t, err)
	changed := edit(string(body))
	if changed == string(body) {
		b.t.Fatal("the body was not changed")
	}
	b.set(entry+".canonicalizedBody", base64.StdEncoding.EncodeToString([]byte(changed)))
}

// otherKeyInEntry puts the certificate of another signing into the entry.
func otherKeyInEntry(b *document) {
	editBody(b, func(body string) string {
		const before = `"publicKey":{"content":"`
		i := strings.Index(body, before) + len(before)
		j := i + strings.IndexByte(body[i:], '"')
		block := "-----BEGIN PUBLIC KEY-----\n" + read(b.t, "trusted_root.json").text("tlogs.0.publicKey.rawBytes") + "\n-----END PUBLIC KEY-----\n"
		return body[:i] + base64.StdEncoding.EncodeToString([]byte(block)) + body[j:]
	})
}

// otherDigest lets the message signature speak of another digest.
func otherDigest(b *document, d string) {
	raw, err := hex.DecodeString(strings.TrimPrefix(d, "sha256:"))
	must(b.t, err)
	b.set("messageSignature.messageDigest.digest", base64.StdEncoding.EncodeToString(raw))
}

// moreSpace changes the payload of an envelope and not what it says.
func moreSpace(b *document) {
	const place = "dsseEnvelope.payload"
	payload, err := base64.StdEncoding.DecodeString(b.text(place))
	must(b.t, err)
	b.set(place, base64.StdEncoding.EncodeToString(append(payload, ' ')))
}

// twin replaces an ECDSA P-256 signature by the other one that is as good: s by n-s.
func twin(b *document, place string) {
	b.t.Helper()
	sig, err := base64.StdEncoding.DecodeString(b.text(place))
	must(b.t, err)
	var rs struct{ R, S *big.Int }
	_, err = asn1.Unmarshal(sig, &rs)
	must(b.t, err)
	rs.S.Sub(elliptic.P256().Params().N, rs.S)
	sig, err = asn1.Marshal(rs)
	must(b.t, err)
	b.set(place, base64.StdEncoding.EncodeToString(sig))
}

// decoyFirst puts before the authorities of the root one whose intermediate has the
// name of the real one and another key.
func decoyFirst(r *document) {
	const authorities = "certificateAuthorities"
	raw, err := base64.StdEncoding.DecodeString(r.text(authorities + ".1.certChain.certificates.0.rawBytes"))
	must(r.t, err)
	real, err := x509.ParseCertificate(raw)
	must(r.t, err)
	decoy := selfSigned(r.t, real)
	authority := map[string]any{
		"subject":   map[string]any{"organization": "sigstore.dev", "commonName": "sigstore"},
		"uri":       "https://fulcio.sigstore.dev",
		"certChain": map[string]any{"certificates": []any{map[string]any{"rawBytes": base64.StdEncoding.EncodeToString(decoy)}}},
		"validFor":  map[string]any{"start": "2021-03-07T03:20:29Z"},
	}
	r.set(authorities, append([]any{authority}, r.get(authorities).([]any)...))
}

// selfSigned is a certificate authority with the name of another.
func selfSigned(t *testing.T, like *x509.Certificate) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), RawSubject: like.RawSubject, NotBefore: like.NotBefore, NotAfter: like.NotAfter.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	must(t, err)
	return der
}
