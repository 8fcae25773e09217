package verify

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/verify/discover"
)

// selfTestName is the image of the self-test; its host can never exist (RFC 2606).
const selfTestName = "self-test.invalid/image"

// selfTest judges a good and a bad signature of either kind, made with keys of the
// moment. Judging images in memory leans on details of containers/image: were one
// of them to change, this says so at the start rather than by denying everything
// later.
func (e *Engine) selfTest() error {
	ref, err := reference.ParseNamed(selfTestName + ":v1")
	if err != nil {
		return err
	}
	image := []byte(`{"schemaVersion":2}`)
	s := Subject{Ref: ref, Digest: digest.FromBytes(image), Manifest: image}
	for _, kind := range []struct {
		name string
		sign func(payload []byte) (policy []byte, sig discover.Signature, err error)
	}{{"simple signing", signSimple}, {"sigstore", signSigstore}} {
		for _, c := range []struct {
			digest digest.Digest
			want   bool
		}{{s.Digest, true}, {digest.FromString("another manifest"), false}} {
			policy, sig, err := kind.sign(selfTestPayload(ref.String(), c.digest))
			if err != nil {
				return fmt.Errorf("%s: %w", kind.name, err)
			}
			got, err := e.judgeAlone(policy, s, sig)
			if err != nil {
				return fmt.Errorf("%s: %w", kind.name, err)
			}
			if got.Allowed != c.want {
				return fmt.Errorf("%s: expected allowed=%t, found %t: %v", kind.name, c.want, got.Allowed, got.Found)
			}
		}
	}
	return nil
}

// judgeAlone judges s with one signature by the default list of a policy.
func (e *Engine) judgeAlone(policy []byte, s Subject, sig discover.Signature) (Result, error) {
	l := &loader{now: e.now()}
	out := l.load(policy)
	if len(l.faults) > 0 {
		return Result{}, l.faults
	}
	p, err := newPolicy(l, out, &discover.Lookasides{}, nil)
	if err != nil {
		return Result{}, err
	}
	j, err := newJudged(s, e.now())
	if err != nil {
		return Result{}, err
	}
	if len(p.byDefault) != 1 {
		return Result{}, errors.New("expected one requirement")
	}
	o, err := e.evaluateOne(context.Background(), p, j, p.byDefault[0], discover.Found{Signatures: []discover.Signature{sig}}, false)
	return o.Result, err
}

// selfTestPayload is a simple signing payload as cosign writes it; containers-signature(5)
// differs from it in the type only.
func selfTestPayload(ref string, d digest.Digest) []byte {
	return fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":%q},"image":{"docker-manifest-digest":%q},"type":"%%s"},"optional":{}}`, ref, d)
}

// signSimple signs with a new OpenPGP key.
func signSimple(payload []byte) ([]byte, discover.Signature, error) {
	cfg := &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA}
	key, err := openpgp.NewEntity("self-test", "", "", cfg)
	if err != nil {
		return nil, discover.Signature{}, err
	}
	var ring, message bytes.Buffer
	if err := key.Serialize(&ring); err != nil {
		return nil, discover.Signature{}, err
	}
	w, err := openpgp.Sign(&message, key, nil, cfg)
	if err != nil {
		return nil, discover.Signature{}, err
	}
	if _, err := w.Write(bytes.ReplaceAll(payload, []byte("%s"), []byte("atomic container signature"))); err != nil {
		return nil, discover.Signature{}, err
	}
	if err := w.Close(); err != nil {
		return nil, discover.Signature{}, err
	}
	policy, err := json.Marshal(map[string]any{"default": []any{
		map[string]any{"type": typeSignedBy, "keyType": "GPGKeys", "keyData": ring.Bytes()}}})
	return policy, discover.Signature{Simple: message.Bytes()}, err
}

// signSigstore signs with a new sigstore key.
func signSigstore(payload []byte) ([]byte, discover.Signature, error) {
	payload = bytes.ReplaceAll(payload, []byte("%s"), []byte("cosign container image signature"))
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, discover.Signature{}, err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, discover.Signature{}, err
	}
	sum := sha256.Sum256(payload)
	sig, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		return nil, discover.Signature{}, err
	}
	policy, err := json.Marshal(map[string]any{"default": []any{
		map[string]any{"type": typeSigstore, "keyData": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})}}})
	return policy, discover.Signature{Sigstore: &discover.Sigstore{
		MIMEType: discover.SimpleSigningMIMEType, Payload: payload,
		Annotations: map[string]string{annotationSignature: base64.StdEncoding.EncodeToString(sig)},
	}}, err
}
