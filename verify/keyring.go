package verify

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// minRSABits is the least size of an RSA (or DSA) key that is accepted unless
// weak signatures are allowed.
const minRSABits = 2048

// armorMark starts an armored block (RFC 4880, 6.2).
const armorMark = "-----BEGIN PGP "

// keyring is a parsed set of OpenPGP keys and the bytes they were parsed from. It
// is only read after it is made.
type keyring struct {
	raw      []byte // binary packets, as handed to containers/image
	entities openpgp.EntityList
}

// errNoKey is a key file that parses to nothing.
var errNoKey = errors.New("holds no usable OpenPGP public key")

// parseKeyring reads one key file: binary packets, or any number of armored
// blocks, which become one set of binary packets.
func parseKeyring(b []byte) (*keyring, error) {
	raw := b
	if bytes.Contains(b, []byte(armorMark)) {
		var err error
		if raw, err = dearmor(b); err != nil {
			return nil, err
		}
	}
	entities, err := openpgp.ReadKeyRing(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoKey, err)
	}
	if len(entities) == 0 {
		return nil, errNoKey
	}
	return &keyring{raw: raw, entities: entities}, nil
}

// dearmor joins the contents of every armored block of b.
func dearmor(b []byte) ([]byte, error) {
	var out []byte
	for n := 1; ; n++ {
		start := bytes.Index(b, []byte(armorMark))
		if start < 0 {
			return out, nil
		}
		b = b[start:]
		end := len(b)
		if next := bytes.Index(b[len(armorMark):], []byte(armorMark)); next >= 0 {
			end = next + len(armorMark)
		}
		block, err := armor.Decode(bytes.NewReader(b[:end]))
		if err != nil {
			return nil, fmt.Errorf("armored block %d is damaged: %w", n, err)
		}
		if block.Type != openpgp.PublicKeyType && block.Type != openpgp.PrivateKeyType {
			return nil, fmt.Errorf("armored block %d: expected a %s, found a %s", n, openpgp.PublicKeyType, clean(block.Type))
		}
		content, err := io.ReadAll(block.Body)
		if err != nil {
			return nil, fmt.Errorf("armored block %d is damaged: %w", n, err)
		}
		out = append(out, content...)
		b = b[end:]
	}
}

// joinKeyrings makes one set of keys of several. It checks that joining the bytes
// neither loses nor changes a key: a damaged end of one file could swallow the
// beginning of the next.
func joinKeyrings(rings []*keyring) (*keyring, error) {
	if len(rings) == 1 {
		return rings[0], nil
	}
	var raw []byte
	var want []string
	for _, r := range rings {
		raw = append(raw, r.raw...)
		want = append(want, r.fingerprints()...)
	}
	joined, err := parseKeyring(raw)
	if err != nil {
		return nil, fmt.Errorf("key files do not join: %w", err)
	}
	if !slices.Equal(joined.fingerprints(), want) {
		return nil, errors.New("key files do not join: one of them is damaged at its end")
	}
	return joined, nil
}

// fingerprints lists the primary keys' fingerprints, in order.
func (k *keyring) fingerprints() []string {
	out := make([]string, len(k.entities))
	for i, e := range k.entities {
		out[i] = fingerprint(e)
	}
	return out
}

// names lists the keys for people.
func (k *keyring) names(withUser bool) []string {
	out := make([]string, len(k.entities))
	for i, e := range k.entities {
		out[i] = keyName(e.PrimaryKey.KeyId)
		if id := e.PrimaryIdentity(); withUser && id != nil {
			out[i] += " (" + clean(id.Name) + ")"
		}
	}
	return out
}

// problems lists what is wrong with single keys: too weak, expired, revoked, private.
func (k *keyring) problems(now time.Time) []string {
	var out []string
	for _, e := range k.entities {
		name := keyName(e.PrimaryKey.KeyId)
		if w := weakKey(e.PrimaryKey); w != "" {
			out = append(out, fmt.Sprintf("key %s is %s, under %d bits", name, w, minRSABits))
		}
		for _, s := range e.Subkeys {
			if w := weakKey(s.PublicKey); w != "" && s.Sig.FlagsValid && s.Sig.FlagSign {
				out = append(out, fmt.Sprintf("signing subkey %s of key %s is %s, under %d bits", keyName(s.PublicKey.KeyId), name, w, minRSABits))
			}
		}
		if e.PrivateKey != nil {
			out = append(out, fmt.Sprintf("the private key of %s is stored here; only the public key is needed", name))
		}
		self, _ := e.PrimarySelfSignature()
		switch {
		case e.Revoked(now):
			out = append(out, fmt.Sprintf("key %s is revoked", name))
		case self == nil:
			out = append(out, fmt.Sprintf("key %s has no valid self-signature", name))
		case e.PrimaryKey.KeyExpired(self, now):
			out = append(out, fmt.Sprintf("key %s is expired", name))
		}
	}
	return out
}

// fingerprint is the primary key's fingerprint in upper case hexadecimal.
func fingerprint(e *openpgp.Entity) string {
	return strings.ToUpper(fmt.Sprintf("%x", e.PrimaryKey.Fingerprint))
}

// keyName is a long key ID for people.
func keyName(id uint64) string { return fmt.Sprintf("0x%016X", id) }

// weakKey describes an RSA or DSA key that is too small, "RSA-1024"; it is empty
// for any other key.
func weakKey(k *packet.PublicKey) string {
	family := ""
	switch k.PubKeyAlgo {
	case packet.PubKeyAlgoRSA, packet.PubKeyAlgoRSASignOnly, packet.PubKeyAlgoRSAEncryptOnly:
		family = "RSA"
	case packet.PubKeyAlgoDSA:
		family = "DSA"
	default:
		return ""
	}
	bits, err := k.BitLength()
	if err != nil {
		return family + " of unknown size"
	}
	if bits >= minRSABits {
		return ""
	}
	return fmt.Sprintf("%s-%d", family, bits)
}

// weakHash names a hash that is too weak for a signature; empty for the others.
func weakHash(h crypto.Hash) string {
	switch h {
	case crypto.MD5, crypto.SHA1, crypto.RIPEMD160, crypto.MD5SHA1, crypto.MD4:
		return h.String()
	}
	return ""
}
