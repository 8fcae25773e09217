package bundle

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
)

// Limits of one document, checked before the library sees it. What exceeds one is
// refused, never cut off.
const (
	maxDocument         = 4 << 20  // bytes of a bundle, envelope or payload
	maxTLogEntries      = 32       // transparency log entries
	maxTLogBody         = 32 << 10 // bytes of one entry's body: it holds a key or certificate and hashes, never the artifact
	maxProofHashes      = 64       // of one inclusion proof: a tree of 2^64 leaves
	maxCheckpoint       = 16 << 10 // bytes of the checkpoint of one proof
	maxTimestamps       = 16       // RFC 3161 timestamps
	maxTimestamp        = 32 << 10 // bytes of one timestamp, certificates included
	maxCertificates     = 16       // certificates of the signer
	maxCertificateBytes = 256 << 10
	maxSignature        = 16 << 10 // bytes of a signature
)

// errTooMany words a limit that was exceeded.
func errTooMany(what string, limit, found int) error {
	return fmt.Errorf("expected at most %d %s, found %d", limit, what, found)
}

// checkLimits holds a bundle against the limits.
func checkLimits(b *protobundle.Bundle) error {
	vm := b.GetVerificationMaterial()
	if err := checkTLog(vm.GetTlogEntries()); err != nil {
		return err
	}
	stamps := vm.GetTimestampVerificationData().GetRfc3161Timestamps()
	if len(stamps) > maxTimestamps {
		return errTooMany("timestamps", maxTimestamps, len(stamps))
	}
	for _, s := range stamps {
		if n := len(s.GetSignedTimestamp()); n > maxTimestamp {
			return errTooMany("bytes of a timestamp", maxTimestamp, n)
		}
	}
	certs := vm.GetX509CertificateChain().GetCertificates()
	if len(certs) > maxCertificates {
		return errTooMany("certificates", maxCertificates, len(certs))
	}
	total := len(vm.GetCertificate().GetRawBytes())
	for _, c := range certs {
		total += len(c.GetRawBytes())
	}
	if total > maxCertificateBytes {
		return errTooMany("bytes of certificates", maxCertificateBytes, total)
	}
	return checkSignatures(b)
}

// checkNoRoots refuses a chain that holds a root certificate: what is trusted comes
// from the trust root, and a bundle must not offer one of its own (the protobuf
// specification of bundles, X509CertificateChain).
func checkNoRoots(b *protobundle.Bundle) error {
	for i, raw := range b.GetVerificationMaterial().GetX509CertificateChain().GetCertificates() {
		c, err := x509.ParseCertificate(raw.GetRawBytes())
		if err != nil {
			return fmt.Errorf("certificate %d of the chain: %w", i+1, err)
		}
		if c.IsCA && bytes.Equal(c.RawSubject, c.RawIssuer) {
			return fmt.Errorf("expected no root certificate in the chain, found %.100q", c.Subject)
		}
	}
	return nil
}

// checkSignatures wants one signature, of a size that a signature can have.
func checkSignatures(b *protobundle.Bundle) error {
	sig := b.GetMessageSignature().GetSignature()
	if env := b.GetDsseEnvelope(); env != nil {
		if n := len(env.GetSignatures()); n != 1 {
			return fmt.Errorf("expected exactly one signature in the DSSE envelope, found %d", n)
		}
		sig = env.GetSignatures()[0].GetSig()
	}
	if len(sig) == 0 {
		return errors.New("expected a signature, found none")
	}
	if len(sig) > maxSignature {
		return errTooMany("bytes of a signature", maxSignature, len(sig))
	}
	return nil
}

// checkTLog holds log entries against the limits.
func checkTLog(entries []*protorekor.TransparencyLogEntry) error {
	if len(entries) > maxTLogEntries {
		return errTooMany("transparency log entries", maxTLogEntries, len(entries))
	}
	for _, e := range entries {
		if n := len(e.GetCanonicalizedBody()); n > maxTLogBody {
			return errTooMany("bytes of a log entry's body", maxTLogBody, n)
		}
		if n := len(e.GetInclusionProof().GetHashes()); n > maxProofHashes {
			return errTooMany("hashes of an inclusion proof", maxProofHashes, n)
		}
		if n := len(e.GetInclusionProof().GetCheckpoint().GetEnvelope()); n > maxCheckpoint {
			return errTooMany("bytes of a checkpoint", maxCheckpoint, n)
		}
		if err := checkEntry(e.GetCanonicalizedBody()); err != nil {
			return fmt.Errorf("transparency log entry: %w", err)
		}
	}
	return nil
}

// checkEntry refuses a body of a log entry that is work to read. The library does that
// before anything is trusted, and some forms make it verify signatures with the keys in
// them: every signature with every key where the body is one that was proposed to a log
// (dsse's proposedContent) or has many signatures (intoto), which takes minutes. What a
// log gives back has one signature, as bundles have.
func checkEntry(body []byte) error {
	if err := checkJSON(body); err != nil {
		return err
	}
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		return fmt.Errorf("malformed JSON: %w", err)
	}
	return checkEntryValue(v)
}

// checkEntryValue looks at every value in v, whose depth [checkJSON] has bounded.
func checkEntryValue(v any) error {
	switch v := v.(type) {
	case string:
		return checkEntryKey(v)
	case []any:
		if len(v) > 1 {
			return errTooMany("signatures in one list", 1, len(v))
		}
		for _, e := range v {
			if err := checkEntryValue(e); err != nil {
				return err
			}
		}
	case map[string]any:
		for name, e := range v {
			if fold(name) == fold("proposedContent") {
				return errors.New("expected an entry as logs give it back, found one that is proposed")
			}
			if err := checkEntryValue(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkEntryKey refuses a huge RSA key, with which one signature takes seconds to
// verify. Whatever member holds it, a key is a JSON string that is the base64 of PEM.
func checkEntryKey(s string) error {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil
	}
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if bits := rsaBits(block.Bytes); bits > maxRSABits {
			return fmt.Errorf("expected RSA keys of at most %d bits, found %d", maxRSABits, bits)
		}
	}
	return nil
}

// rsaBits is the size of the RSA key in a certificate or public key, 0 when der
// holds none.
func rsaBits(der []byte) int {
	var pub crypto.PublicKey
	if c, err := x509.ParseCertificate(der); err == nil {
		pub = c.PublicKey
	} else if pub, err = x509.ParsePKIXPublicKey(der); err != nil {
		if pub, err = x509.ParsePKCS1PublicKey(der); err != nil {
			return 0
		}
	}
	if k, ok := pub.(*rsa.PublicKey); ok {
		return k.N.BitLen()
	}
	return 0
}

// parseChain reads a PEM list of certificates.
func parseChain(text string) ([]*x509.Certificate, error) {
	if len(text) > maxCertificateBytes {
		return nil, errTooMany("bytes of certificates", maxCertificateBytes, len(text))
	}
	var out []*x509.Certificate
	rest := []byte(text)
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("expected PEM certificates, found a %.40q", block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		if out = append(out, c); len(out) > maxCertificates {
			return nil, errTooMany("certificates", maxCertificates, len(out))
		}
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("expected PEM certificates, found something else after them")
	}
	return out, nil
}
