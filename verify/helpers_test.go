package verify

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/verify/discover"
)

// theManifest is a manifest, and otherManifest another one.
var (
	theManifest   = []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}`)
	otherManifest = []byte(`{"schemaVersion":2,"layers":[]}`)
)

func named(t testing.TB, s string) reference.Named {
	t.Helper()
	ref, err := reference.ParseNamed(s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func subject(t testing.TB, ref string) Subject {
	t.Helper()
	return Subject{Ref: named(t, ref), Digest: digest.FromBytes(theManifest), Manifest: theManifest}
}

// fakeRegistry is a registry in memory.
type fakeRegistry struct {
	mu        sync.Mutex
	manifests map[string][]byte // by reference
	blobs     map[string][]byte // by reference
	extension [][]byte          // signatures of the extension API
	supported bool
	err       error // what every request fails with
	delay     time.Duration
	referrers []imgspec.Descriptor
	asked     []string
}

func (r *fakeRegistry) ask(ctx context.Context, what string) error {
	r.mu.Lock()
	r.asked = append(r.asked, what)
	r.mu.Unlock()
	if r.delay > 0 {
		select {
		case <-time.After(r.delay):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return r.err
}

func (r *fakeRegistry) ManifestBytes(ctx context.Context, ref reference.Named) ([]byte, error) {
	if err := r.ask(ctx, "manifest "+ref.String()); err != nil {
		return nil, err
	}
	if b, ok := r.manifests[ref.String()]; ok {
		return b, nil
	}
	return nil, fs.ErrNotExist
}

func (r *fakeRegistry) BlobBytes(ctx context.Context, ref reference.Canonical, limit int64) ([]byte, error) {
	if err := r.ask(ctx, "blob "+ref.String()); err != nil {
		return nil, err
	}
	b, ok := r.blobs[ref.String()]
	if !ok {
		return nil, fs.ErrNotExist
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("blob is larger than %d", limit)
	}
	return b, nil
}

func (r *fakeRegistry) ExtensionSignatures(ctx context.Context, ref reference.Canonical) ([][]byte, bool, error) {
	if err := r.ask(ctx, "extension "+ref.String()); err != nil {
		return nil, false, err
	}
	return r.extension, r.supported, nil
}

func (r *fakeRegistry) Referrers(ctx context.Context, ref reference.Canonical) ([]imgspec.Descriptor, error) {
	return r.referrers, r.ask(ctx, "referrers "+ref.String())
}

// fakeWeb is a signature server in memory.
type fakeWeb struct {
	mu    sync.Mutex
	files map[string][]byte // by path
	get   func(ctx context.Context, u string) (io.ReadCloser, error)
	asked []string
}

func (w *fakeWeb) Get(ctx context.Context, u string) (io.ReadCloser, error) {
	w.mu.Lock()
	w.asked = append(w.asked, u)
	w.mu.Unlock()
	if w.get != nil {
		return w.get(ctx, u)
	}
	parsed, err := url.Parse(u)
	if err != nil {
		return nil, err
	}
	if b, ok := w.files[parsed.Path]; ok {
		return io.NopCloser(bytes.NewReader(b)), nil
	}
	return nil, fs.ErrNotExist
}

// world is a policy, keys and places for one test.
type world struct {
	t   testing.TB
	dir string
	reg *fakeRegistry
	web *fakeWeb
}

// newWorld has a lookaside at https://sigs.example.com/s and no signatures.
func newWorld(t testing.TB) *world {
	w := &world{t: t, dir: t.TempDir(),
		reg: &fakeRegistry{manifests: map[string][]byte{}, blobs: map[string][]byte{}},
		web: &fakeWeb{files: map[string][]byte{}}}
	w.write("registries.d/default.yaml", "default-docker:\n  lookaside: https://user:secret@sigs.example.com/s?token=secret\n")
	return w
}

func (w *world) write(name, content string) string {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		w.t.Fatal(err)
	}
	return path
}

func (w *world) options() Options {
	return Options{PolicyFile: filepath.Join(w.dir, "policy.json"), RegistriesDir: filepath.Join(w.dir, "registries.d"), TrustRoots: []string{"public-good"}}
}

// load writes policy.json and loads it.
func (w *world) load(policy string) (*Policy, error) {
	w.t.Helper()
	w.write("policy.json", policy)
	return LoadPolicy(w.options())
}

// engine loads a policy that has no fault.
func (w *world) engine(policy string) *Engine {
	w.t.Helper()
	p, err := w.load(policy)
	if err != nil {
		w.t.Fatal(err)
	}
	e, err := NewEngine(p, w.reg, w.web)
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

// store puts simple signing signatures of the image into the lookaside.
func (w *world) store(name string, blobs ...[]byte) {
	w.storeOf(digest.FromBytes(theManifest), name, blobs...)
}

// storeOf puts signatures of manifest d into the lookaside.
func (w *world) storeOf(d digest.Digest, name string, blobs ...[]byte) {
	for i, b := range blobs {
		w.web.files[fmt.Sprintf("/s/%s@sha256=%s/signature-%d", name, d.Encoded(), i+1)] = b
	}
}

// attach puts sigstore signatures beside an image of the registry.
func (w *world) attach(repository string, sigs ...*discover.Sigstore) {
	w.t.Helper()
	w.attachTo(digest.FromBytes(theManifest), repository, sigs...)
}

// attachTo puts sigstore signatures beside manifest d.
func (w *world) attachTo(d digest.Digest, repository string, sigs ...*discover.Sigstore) {
	w.t.Helper()
	m := imgspec.Manifest{MediaType: imgspec.MediaTypeImageManifest}
	m.SchemaVersion = 2
	m.Config = imgspec.Descriptor{MediaType: imgspec.MediaTypeImageConfig, Digest: digest.FromString("{}"), Size: 2}
	for _, s := range sigs {
		payload := digest.FromBytes(s.Payload)
		w.reg.blobs[repository+"@"+payload.String()] = s.Payload
		m.Layers = append(m.Layers, imgspec.Descriptor{MediaType: s.MIMEType, Digest: payload, Size: int64(len(s.Payload)), Annotations: s.Annotations})
	}
	b, err := json.Marshal(m)
	if err != nil {
		w.t.Fatal(err)
	}
	w.reg.manifests[repository+":sha256-"+d.Encoded()+".sig"] = b
}

// gpgKey is an OpenPGP key.
type gpgKey struct {
	*openpgp.Entity
	t   testing.TB
	cfg *packet.Config
}

var (
	keyCache   = map[string]*openpgp.Entity{}
	keyCacheMu sync.Mutex
)

// newGPG makes an OpenPGP key: "ed25519", "rsa2048", "rsa4096", "rsa1024". RSA keys
// are made once for all tests.
func newGPG(t testing.TB, kind string) *gpgKey {
	t.Helper()
	cfg := &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA}
	if bits, ok := strings.CutPrefix(kind, "rsa"); ok {
		cfg = &packet.Config{Algorithm: packet.PubKeyAlgoRSA}
		fmt.Sscan(bits, &cfg.RSABits)
		keyCacheMu.Lock()
		defer keyCacheMu.Unlock()
		if e := keyCache[kind]; e != nil {
			return &gpgKey{e, t, cfg}
		}
	}
	e, err := openpgp.NewEntity("Test "+kind, "", kind+"@example.com", cfg)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.RSABits != 0 {
		keyCache[kind] = e
	}
	return &gpgKey{e, t, cfg}
}

// expiredGPG makes a key that has run out.
func expiredGPG(t testing.TB) *gpgKey {
	t.Helper()
	past := time.Now().Add(-48 * time.Hour)
	cfg := &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, KeyLifetimeSecs: 3600, Time: func() time.Time { return past }}
	e, err := openpgp.NewEntity("Expired", "", "expired@example.com", cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &gpgKey{e, t, cfg}
}

func (k *gpgKey) id() string { return keyName(k.PrimaryKey.KeyId) }

// public is the binary public key.
func (k *gpgKey) public() []byte {
	var b bytes.Buffer
	if err := k.Serialize(&b); err != nil {
		k.t.Fatal(err)
	}
	return b.Bytes()
}

// armored is the ASCII public key.
func (k *gpgKey) armored() []byte {
	var b bytes.Buffer
	w, err := armor.Encode(&b, openpgp.PublicKeyType, nil)
	if err != nil {
		k.t.Fatal(err)
	}
	if err := k.Serialize(w); err != nil {
		k.t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		k.t.Fatal(err)
	}
	return append(b.Bytes(), '\n')
}

// message signs any content.
func (k *gpgKey) message(content []byte) []byte {
	k.t.Helper()
	var b bytes.Buffer
	w, err := openpgp.Sign(&b, k.Entity, nil, k.cfg)
	if err != nil {
		k.t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		k.t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		k.t.Fatal(err)
	}
	return b.Bytes()
}

// sign makes a simple signing signature of a manifest under a reference.
func (k *gpgKey) sign(ref string, manifest []byte) []byte {
	k.t.Helper()
	return k.message(simplePayload(ref, digest.FromBytes(manifest)))
}

func simplePayload(ref string, d digest.Digest) []byte {
	return bytes.ReplaceAll(selfTestPayload(ref, d), []byte("%s"), []byte("atomic container signature"))
}

func cosignPayload(ref string, d digest.Digest) []byte {
	return bytes.ReplaceAll(selfTestPayload(ref, d), []byte("%s"), []byte("cosign container image signature"))
}

// signedBy is a signedBy requirement with inline keys; identity may be nil.
func signedBy(identity map[string]any, keys ...*gpgKey) map[string]any {
	var ring []byte
	for _, k := range keys {
		ring = append(ring, k.public()...)
	}
	r := map[string]any{"type": "signedBy", "keyType": "GPGKeys", "keyData": ring}
	if identity != nil {
		r["signedIdentity"] = identity
	}
	return r
}

// policyFor is a policy that rejects everything but the scopes of docker given.
func policyFor(t testing.TB, scopes map[string]any) string {
	t.Helper()
	b, err := json.Marshal(map[string]any{
		"default":    []any{map[string]any{"type": "reject"}},
		"transports": map[string]any{"docker": scopes}})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// sigstoreKeyPair is a sigstore key.
type sigstoreKeyPair struct {
	crypto.Signer
	t testing.TB
}

func newSigstoreKey(t testing.TB) *sigstoreKeyPair {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &sigstoreKeyPair{k, t}
}

func newSigstoreRSA(t testing.TB, bits int) *sigstoreKeyPair {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return &sigstoreKeyPair{k, t}
}

func (k *sigstoreKeyPair) pem() []byte {
	der, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		k.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// sign makes an attachment for a manifest under a reference.
func (k *sigstoreKeyPair) sign(ref string, manifest []byte) *discover.Sigstore {
	k.t.Helper()
	return k.signPayload(cosignPayload(ref, digest.FromBytes(manifest)))
}

// signPayload makes an attachment for any payload.
func (k *sigstoreKeyPair) signPayload(payload []byte) *discover.Sigstore {
	k.t.Helper()
	sum := sha256.Sum256(payload)
	sig, err := k.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		k.t.Fatal(err)
	}
	return &discover.Sigstore{MIMEType: discover.SimpleSigningMIMEType, Payload: payload,
		Annotations: map[string]string{annotationSignature: base64.StdEncoding.EncodeToString(sig)}}
}

// sigstoreSigned is a sigstoreSigned requirement with inline keys.
func sigstoreSigned(identity map[string]any, keys ...*sigstoreKeyPair) map[string]any {
	var datas [][]byte
	for _, k := range keys {
		datas = append(datas, k.pem())
	}
	r := map[string]any{"type": "sigstoreSigned", "keyDatas": datas}
	if identity != nil {
		r["signedIdentity"] = identity
	}
	return r
}

var matchRepository = map[string]any{"type": "matchRepository"}
