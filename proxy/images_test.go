package proxy_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/verify"
)

// Media types that the tests write.
const (
	ociManifest    = "application/vnd.oci.image.manifest.v1+json"
	ociIndex       = "application/vnd.oci.image.index.v1+json"
	ociConfig      = "application/vnd.oci.image.config.v1+json"
	ociLayer       = "application/vnd.oci.image.layer.v1.tar"
	ociEmpty       = "application/vnd.oci.empty.v1+json"
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	schema1Signed  = "application/vnd.docker.distribution.manifest.v1+prettyjws"
	cosignPayload  = "application/vnd.dev.cosign.simplesigning.v1+json"
	inToto         = "application/vnd.in-toto+json"
)

// image is a manifest with what belongs to it.
type image struct {
	manifest []byte
	digest   digest.Digest
	blobs    [][]byte
	children []image
}

// object and list write JSON whose members keep the order of their names.
type (
	object = map[string]any
	list   = []any
)

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func digestOf(manifest []byte) digest.Digest {
	if d, err := verify.ManifestDigest(manifest, ""); err == nil {
		return d
	}
	return digest.FromBytes(manifest)
}

func descriptor(mediaType string, b []byte) object {
	return object{"mediaType": mediaType, "digest": digestOf(b).String(), "size": len(b)}
}

// with returns a copy of an object with one more member.
func with(o object, key string, value any) object {
	out := object{key: value}
	for k, v := range o {
		if k != key {
			out[k] = v
		}
	}
	return out
}

// imageOf is an image with one config and one small layer of its own.
func imageOf(text string) image {
	return imageWith([]byte(`{"architecture":"amd64","os":"linux","author":"`+text+`"}`), []byte("layer of "+text))
}

// imageWith is an image with a config and layers.
func imageWith(config []byte, layers ...[]byte) image {
	descriptors := list{}
	for _, l := range layers {
		descriptors = append(descriptors, descriptor(ociLayer, l))
	}
	return fromManifest(object{"schemaVersion": 2, "mediaType": ociManifest,
		"config": descriptor(ociConfig, config), "layers": descriptors}, append([][]byte{config}, layers...)...)
}

// fromManifest is an image of any manifest document.
func fromManifest(document any, blobs ...[]byte) image {
	b := mustJSON(document)
	return image{manifest: b, digest: digestOf(b), blobs: blobs}
}

// raw is an image whose manifest is any bytes.
func raw(manifest string) image {
	return image{manifest: []byte(manifest), digest: digestOf([]byte(manifest))}
}

func (i image) config() digest.Digest { return digest.FromBytes(i.blobs[0]) }
func (i image) layer() digest.Digest  { return digest.FromBytes(i.blobs[1]) }

// entry is how an index lists the image.
func (i image) entry() object {
	return object{"mediaType": ociManifest, "digest": i.digest.String(), "size": len(i.manifest)}
}

// indexOf is an index of images.
func indexOf(children ...image) image {
	entries := list{}
	for _, c := range children {
		e := c.entry()
		if bytes.Contains(c.manifest, []byte(`"manifests"`)) {
			e["mediaType"] = ociIndex
		}
		entries = append(entries, e)
	}
	return indexWith(entries, children...)
}

// indexWith is an index with the entries given.
func indexWith(entries list, children ...image) image {
	index := fromManifest(object{"schemaVersion": 2, "mediaType": ociIndex, "manifests": entries})
	index.children = children
	return index
}

// multiArch is an index of two images for different machines.
func multiArch(text string) image {
	amd, arm := imageOf(text+" amd64"), imageOf(text+" arm64")
	return indexWith(list{
		with(amd.entry(), "platform", object{"os": "linux", "architecture": "amd64"}),
		with(arm.entry(), "platform", object{"os": "linux", "architecture": "arm64"}),
	}, amd, arm)
}

// evidenceManifest is a manifest that holds payloads of one media type.
func evidenceManifest(mediaType string, payloads ...[]byte) image {
	layers := list{}
	for _, p := range payloads {
		layers = append(layers, descriptor(mediaType, p))
	}
	config := []byte("{}")
	return fromManifest(object{"schemaVersion": 2, "mediaType": ociManifest,
		"config": descriptor(ociEmpty, config), "layers": layers}, append([][]byte{config}, payloads...)...)
}

// referring is the image with a subject.
func (i image) referring(subject image) image {
	var document object
	if err := json.Unmarshal(i.manifest, &document); err != nil {
		panic(err)
	}
	out := fromManifest(with(document, "subject", subject.entry()), i.blobs...)
	out.children = i.children
	return out
}

// Payloads of evidence.

// payloadFor is a simple signing payload, as cosign and containers/image write
// it.
func payloadFor(kind, ref string, d digest.Digest) []byte {
	return mustJSON(object{"critical": object{"type": kind, "identity": object{"docker-reference": ref},
		"image": object{"docker-manifest-digest": d.String()}}, "optional": object{"creator": "test"}})
}

func cosignFor(ref string, d digest.Digest) []byte {
	return payloadFor("cosign container image signature", ref, d)
}

// statementFor is an in-toto statement about manifests.
func statementFor(digests ...digest.Digest) []byte {
	subjects := list{}
	for _, d := range digests {
		subjects = append(subjects, object{"name": "app", "digest": object{d.Algorithm().String(): d.Encoded()}})
	}
	return mustJSON(object{"_type": "https://in-toto.io/Statement/v0.1", "subject": subjects,
		"predicateType": "https://slsa.dev/provenance/v0.2", "predicate": object{"builder": object{"id": "test"}}})
}

// signer is an OpenPGP key.
type signer struct {
	entity *openpgp.Entity
	t      testing.TB
}

func pgpConfig() *packet.Config {
	return &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, DefaultHash: crypto.SHA256}
}

func newSigner(t testing.TB, name string) *signer {
	t.Helper()
	e, err := openpgp.NewEntity(name, "", "signer@example.com", pgpConfig())
	if err != nil {
		t.Fatal(err)
	}
	return &signer{e, t}
}

func (s *signer) public() []byte {
	var b bytes.Buffer
	if err := s.entity.Serialize(&b); err != nil {
		s.t.Fatal(err)
	}
	return b.Bytes()
}

// sign returns a simple signing signature of a manifest under a reference.
func (s *signer) sign(ref string, d digest.Digest) []byte {
	s.t.Helper()
	var b bytes.Buffer
	w, err := openpgp.Sign(&b, s.entity, &openpgp.FileHints{IsBinary: true}, pgpConfig())
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := w.Write(payloadFor("atomic container signature", ref, d)); err != nil {
		s.t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		s.t.Fatal(err)
	}
	return b.Bytes()
}

// Requirements of policy.json.

func signedBy(keys ...*signer) object { return signedByAs(nil, keys...) }

func signedByAs(identity object, keys ...*signer) object {
	var ring []byte
	for _, k := range keys {
		ring = append(ring, k.public()...)
	}
	r := object{"type": "signedBy", "keyType": "GPGKeys", "keyData": ring}
	if identity != nil {
		r["signedIdentity"] = identity
	}
	return r
}

var (
	matchExact = object{"type": "matchExact"}
	reject     = object{"type": "reject"}
	accept     = object{"type": "insecureAcceptAnything"}
)

// blobPath and manifestPath are paths of the registry API, below /v2/.
func blobPath(repo string, d digest.Digest) string { return "/v2/" + repo + "/blobs/" + d.String() }

func manifestPath(repo string, ref any) string {
	return "/v2/" + repo + "/manifests/" + fmt.Sprint(ref)
}

// lines joins what a person would read, for messages of tests.
func lines(all []string) string { return strings.Join(all, "\n\t") }

// cosigner is a sigstore key.
type cosigner struct {
	key *ecdsa.PrivateKey
	t   testing.TB
}

func newCosigner(t testing.TB) *cosigner {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &cosigner{k, t}
}

func (c *cosigner) pem() []byte {
	der, err := x509.MarshalPKIXPublicKey(c.key.Public())
	if err != nil {
		c.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// sign returns the attachment that signs img under ref.
func (c *cosigner) sign(ref string, img image) image {
	payload := cosignFor(ref, img.digest)
	sum := sha256.Sum256(payload)
	sig, err := ecdsa.SignASN1(rand.Reader, c.key, sum[:])
	if err != nil {
		c.t.Fatal(err)
	}
	config := []byte(`{"architecture":"","os":"","rootfs":{"type":"layers","diff_ids":[]}}`)
	layer := with(descriptor(cosignPayload, payload), "annotations", object{"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(sig)})
	return fromManifest(object{"schemaVersion": 2, "mediaType": ociManifest, "config": descriptor(ociConfig, config), "layers": list{layer}}, config, payload)
}
