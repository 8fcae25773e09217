package bundle

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"

	"github.com/pullgate/pullgate/verify/discover"
)

// Annotations of the layers of .sig and .att attachments (cosign,
// SIGNATURE_SPEC.md and pkg/oci/static).
const (
	signatureAnnotation   = "dev.cosignproject.cosign/signature"
	certificateAnnotation = "dev.sigstore.cosign/certificate"
	chainAnnotation       = "dev.sigstore.cosign/chain"
	rekorAnnotation       = "dev.sigstore.cosign/bundle"
	timestampAnnotation   = "dev.sigstore.cosign/rfc3161timestamp"
)

// attachmentVersion is the kind of bundle that an attachment can be written as: its
// log entries have a signed promise and no proof of inclusion.
const attachmentVersion = "application/vnd.dev.sigstore.bundle+json;version=0.1"

// sigBundle writes a .sig attachment as a bundle with a message signature over the
// payload.
func sigBundle(s *discover.Sigstore, byKey bool) (*protobundle.Bundle, []*x509.Certificate, error) {
	if len(s.Payload) > maxDocument {
		return nil, nil, errTooMany("bytes of a payload", maxDocument, len(s.Payload))
	}
	sig, err := decodeAnnotation(s.Annotations, signatureAnnotation, 2*maxSignature)
	if err != nil {
		return nil, nil, err
	}
	sum := sha256.Sum256(s.Payload)
	b := &protobundle.Bundle{MediaType: attachmentVersion, Content: &protobundle.Bundle_MessageSignature{
		MessageSignature: &protocommon.MessageSignature{
			MessageDigest: &protocommon.HashOutput{Algorithm: protocommon.HashAlgorithm_SHA2_256, Digest: sum[:]},
			Signature:     sig,
		}}}
	chain, err := addMaterial(b, s.Annotations, byKey)
	return b, chain, err
}

// attBundle writes an .att attachment as a bundle with a DSSE envelope.
func attBundle(envelope []byte, annotations map[string]string, byKey bool) (*protobundle.Bundle, []*x509.Certificate, error) {
	b, err := bareEnvelope(envelope)
	if err != nil {
		return nil, nil, err
	}
	chain, err := addMaterial(b, annotations, byKey)
	return b, chain, err
}

// addMaterial puts the certificate, log entry and timestamp of annotations into b
// and returns the chain that came with them. With byKey the trusted keys are what
// verifies, so certificates are left out.
func addMaterial(b *protobundle.Bundle, annotations map[string]string, byKey bool) ([]*x509.Certificate, error) {
	vm := &protobundle.VerificationMaterial{}
	b.VerificationMaterial = vm
	if text := annotations[rekorAnnotation]; text != "" {
		entry, err := rekorEntry(text)
		if err != nil {
			return nil, fmt.Errorf("annotation %s: %w", rekorAnnotation, err)
		}
		vm.TlogEntries = []*protorekor.TransparencyLogEntry{entry}
	}
	if text := annotations[timestampAnnotation]; text != "" {
		stamp, err := rfc3161(text)
		if err != nil {
			return nil, fmt.Errorf("annotation %s: %w", timestampAnnotation, err)
		}
		vm.TimestampVerificationData = &protobundle.TimestampVerificationData{
			Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: stamp}}}
	}
	if byKey {
		vm.Content = &protobundle.VerificationMaterial_PublicKey{PublicKey: &protocommon.PublicKeyIdentifier{}}
		return nil, nil
	}
	return addCertificate(vm, annotations)
}

// addCertificate puts the signer's certificate into vm and returns its chain.
func addCertificate(vm *protobundle.VerificationMaterial, annotations map[string]string) ([]*x509.Certificate, error) {
	leaf, err := parseChain(annotations[certificateAnnotation])
	if err != nil {
		return nil, fmt.Errorf("annotation %s: %w", certificateAnnotation, err)
	}
	if len(leaf) != 1 {
		return nil, fmt.Errorf("annotation %s: expected one certificate, found %d; a signature by a key has none", certificateAnnotation, len(leaf))
	}
	vm.Content = &protobundle.VerificationMaterial_Certificate{Certificate: &protocommon.X509Certificate{RawBytes: leaf[0].Raw}}
	chain, err := parseChain(annotations[chainAnnotation])
	if err == nil {
		// Before anything is verified with them.
		err = checkStrongAll(chain)
	}
	if err != nil {
		return nil, fmt.Errorf("annotation %s: %w", chainAnnotation, err)
	}
	return chain, nil
}

// rekorEntry reads what cosign stores of a log entry: its body and the log's signed
// promise.
func rekorEntry(text string) (*protorekor.TransparencyLogEntry, error) {
	var stored struct {
		SignedEntryTimestamp []byte
		Payload              struct {
			Body           []byte `json:"body"`
			IntegratedTime int64  `json:"integratedTime"`
			LogIndex       int64  `json:"logIndex"`
			LogID          string `json:"logID"`
		}
	}
	if err := decodeJSON(text, 2*maxTLogBody, &stored); err != nil {
		return nil, err
	}
	id, err := hex.DecodeString(stored.Payload.LogID)
	if err != nil {
		return nil, errors.New("logID: expected hexadecimal digits")
	}
	var kind struct{ Kind, APIVersion string }
	if err := json.Unmarshal(stored.Payload.Body, &kind); err != nil {
		return nil, errors.New("body: expected JSON")
	}
	return &protorekor.TransparencyLogEntry{
		LogIndex:          stored.Payload.LogIndex,
		LogId:             &protocommon.LogId{KeyId: id},
		KindVersion:       &protorekor.KindVersion{Kind: kind.Kind, Version: kind.APIVersion},
		IntegratedTime:    stored.Payload.IntegratedTime,
		InclusionPromise:  &protorekor.InclusionPromise{SignedEntryTimestamp: stored.SignedEntryTimestamp},
		CanonicalizedBody: stored.Payload.Body,
	}, nil
}

// rfc3161 reads what cosign stores of a timestamp.
func rfc3161(text string) ([]byte, error) {
	var stored struct{ SignedRFC3161Timestamp []byte }
	if err := decodeJSON(text, 2*maxTimestamp, &stored); err != nil {
		return nil, err
	}
	return stored.SignedRFC3161Timestamp, nil
}

// decodeJSON reads a JSON annotation of at most limit bytes strictly.
func decodeJSON(text string, limit int, to any) error {
	if len(text) > limit {
		return errTooMany("bytes", limit, len(text))
	}
	if err := checkJSON([]byte(text)); err != nil {
		return err
	}
	return json.Unmarshal([]byte(text), to)
}

// decodeAnnotation reads a base64 annotation of at most limit characters.
func decodeAnnotation(annotations map[string]string, name string, limit int) ([]byte, error) {
	text := annotations[name]
	if len(text) > limit {
		return nil, fmt.Errorf("annotation %s: %w", name, errTooMany("characters", limit, len(text)))
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(b) == 0 {
		return nil, fmt.Errorf("annotation %s: expected a signature in base64", name)
	}
	return b, nil
}
