package harness

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Names that cosign gave to its attachments.
const (
	CosignPayloadType   = "application/vnd.dev.cosign.simplesigning.v1+json"
	CosignSignatureNote = "dev.cosignproject.cosign/signature"
)

// SigstoreKey signs like cosign with a key pair (P-256, no transparency log).
type SigstoreKey struct{ private *ecdsa.PrivateKey }

// NewSigstoreKey makes a key pair.
func NewSigstoreKey(t testing.TB) *SigstoreKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &SigstoreKey{k}
}

// Public returns the public key as PEM.
func (k *SigstoreKey) Public(t testing.TB) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&k.private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// Signed is the requirement that this key signed with sigstore. The default
// identity matcher applies; cosign's identities without a tag need
// matchRepository.
func (k *SigstoreKey) Signed(t testing.TB) Requirement {
	t.Helper()
	return Requirement{"type": "sigstoreSigned", "keyData": encode(k.Public(t))}
}

// Layer is one signature as a layer of an attachment: payload and signature.
type Layer struct {
	Payload   []byte
	Signature string // base64
}

// Sign states that reference is the manifest with digest d.
func (k *SigstoreKey) Sign(t testing.TB, reference string, d digest.Digest) Layer {
	t.Helper()
	payload := claim(t, "cosign container image signature", reference, d, nil)
	sum := sha256.Sum256(payload)
	sig, err := ecdsa.SignASN1(rand.Reader, k.private, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return Layer{payload, encode(sig)}
}

// Attest wraps an in-toto statement in a DSSE envelope signed by the key, as cosign
// attest does (https://github.com/secure-systems-lab/dsse, protocol.md).
func (k *SigstoreKey) Attest(t testing.TB, statement []byte) []byte {
	t.Helper()
	const payloadType = "application/vnd.in-toto+json"
	sum := sha256.Sum256(fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(statement), statement))
	sig, err := ecdsa.SignASN1(rand.Reader, k.private, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Appendf(nil, `{"payloadType":%q,"payload":%q,"signatures":[{"keyid":"","sig":%q}]}`, payloadType, encode(statement), encode(sig))
}

// NewAttachment is the image that holds signatures, one a layer.
func NewAttachment(t testing.TB, layers ...Layer) Image {
	t.Helper()
	config := v1.Image{Platform: v1.Platform{}, RootFS: v1.RootFS{Type: "layers"}}
	m := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest}
	blobs := map[digest.Digest][]byte{}
	for _, l := range layers {
		d := digest.FromBytes(l.Payload)
		blobs[d] = l.Payload
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, d)
		m.Layers = append(m.Layers, v1.Descriptor{
			MediaType: CosignPayloadType, Digest: d, Size: int64(len(l.Payload)),
			Annotations: map[string]string{CosignSignatureNote: l.Signature},
		})
	}
	b, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	m.Config = v1.Descriptor{MediaType: v1.MediaTypeImageConfig, Digest: digest.FromBytes(b), Size: int64(len(b))}
	blobs[m.Config.Digest] = b
	img := fromManifest(t, v1.MediaTypeImageManifest, m)
	img.Blobs = blobs
	return img
}

// AttachmentTag is where cosign puts the signatures of a manifest.
func AttachmentTag(d digest.Digest) string {
	return strings.ReplaceAll(d.String(), ":", "-") + ".sig"
}

// Attach signs and pushes the attachment, next to the image.
func (k *SigstoreKey) Attach(t testing.TB, reg *Registry, repo, reference string, d digest.Digest) {
	t.Helper()
	reg.Push(t, repo, AttachmentTag(d), NewAttachment(t, k.Sign(t, reference, d)))
}
