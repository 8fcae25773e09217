package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// maxKey bounds a key file.
const maxKey = 64 << 10

// loadKey reads the private key that signs tokens: one PEM block, an EC key on
// P-256 in SEC 1 or PKCS #8 form. Others than its owner and group must not be able
// to read it: who has it can pull as anybody.
func loadKey(file string) (*ecdsa.PrivateKey, error) {
	text, mode, err := readRegular(file, maxKey)
	if err != nil {
		return nil, fmt.Errorf("token key: %w", err)
	}
	if mode.Perm()&0o037 != 0 {
		return nil, fmt.Errorf("token key %s: mode %#o lets others at it: expected 0600, or 0640 for a group that may read it", file, mode.Perm())
	}
	key, err := parseKey(text)
	if err != nil {
		return nil, fmt.Errorf("token key %s: %w", file, err)
	}
	return key, nil
}

var errKeyKind = errors.New("expected one PEM block with an EC private key on P-256; openssl ecparam -name prime256v1 -genkey -noout makes one")

func parseKey(text []byte) (*ecdsa.PrivateKey, error) {
	block, rest := pem.Decode(text)
	if block != nil && block.Type == "EC PARAMETERS" { // openssl writes them before the key
		block, rest = pem.Decode(rest)
	}
	if block == nil {
		return nil, fmt.Errorf("%w; found none", errKeyKind)
	}
	if more, _ := pem.Decode(rest); more != nil {
		return nil, fmt.Errorf("%w; found several", errKeyKind)
	}
	var parsed any
	var err error
	switch block.Type {
	case "EC PRIVATE KEY":
		parsed, err = x509.ParseECPrivateKey(block.Bytes)
	case "PRIVATE KEY":
		parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("%w; found a block %.40q", errKeyKind, block.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("%w; found a block that cannot be read", errKeyKind)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%w; found a key of another algorithm", errKeyKind)
	}
	if key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("%w; found one on %s", errKeyKind, key.Curve.Params().Name)
	}
	return key, nil
}

// makeKey makes the key file when it is absent. Gates that start at the same time
// with the same file end with the same key: it appears whole or not at all, and
// whoever comes second leaves it alone.
func makeKey(file string) error {
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		return nil // there, or loadKey says what is wrong
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("token key %s: %w", file, err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("token key %s: %w", file, err)
	}
	if err := writeNew(file, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})); err != nil {
		return fmt.Errorf("token key %s is absent and cannot be made: %w", file, err)
	}
	return nil
}

// writeNew writes a file with mode 0600 unless there is one of that name.
func writeNew(file string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(file), ".token-key-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), file); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
