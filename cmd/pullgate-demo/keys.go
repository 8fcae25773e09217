package main

import (
	"bytes"
	"crypto"
	"encoding/json"
	"fmt"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/opencontainers/go-digest"
)

// key is an OpenPGP signing key that lives for one demonstration.
type key struct{ entity *openpgp.Entity }

// pgpConfig asks for Ed25519, which is made in no time, and SHA-256.
func pgpConfig() *packet.Config {
	return &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, DefaultHash: crypto.SHA256}
}

func newKey(name string) (*key, error) {
	e, err := openpgp.NewEntity(name, "", "demo@demo.example", pgpConfig())
	if err != nil {
		return nil, fmt.Errorf("key %q: %w", name, err)
	}
	return &key{e}, nil
}

// id is the key ID in the long form that people and the gate print.
func (k *key) id() string { return "0x" + k.entity.PrimaryKey.KeyIdString() }

// armored returns the public key as gpg --export --armor writes it.
func (k *key) armored() ([]byte, error) {
	var b bytes.Buffer
	w, err := armor.Encode(&b, openpgp.PublicKeyType, nil)
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	if err := k.entity.Serialize(w); err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// payload is what a simple signing signature says (containers-signature(5)).
type payload struct {
	Critical struct {
		Identity struct {
			Reference string `json:"docker-reference"`
		} `json:"identity"`
		Image struct {
			Digest digest.Digest `json:"docker-manifest-digest"`
		} `json:"image"`
		Type string `json:"type"`
	} `json:"critical"`
	Optional struct {
		Creator   string `json:"creator"`
		Timestamp int64  `json:"timestamp"`
	} `json:"optional"`
}

// sign returns a simple signing signature: an OpenPGP message, which holds the
// statement that reference is the manifest with digest d.
func (k *key) sign(reference string, d digest.Digest) ([]byte, error) {
	var p payload
	p.Critical.Type = "atomic container signature"
	p.Critical.Identity.Reference = reference
	p.Critical.Image.Digest = d
	p.Optional.Creator = "pullgate-demo"
	p.Optional.Timestamp = time.Now().Unix()
	text, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	w, err := openpgp.Sign(&b, k.entity, &openpgp.FileHints{IsBinary: true}, pgpConfig())
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(text); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
