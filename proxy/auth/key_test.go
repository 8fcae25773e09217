package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func pemOf(t *testing.T, kind string, der []byte, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func TestKeyFiles(t *testing.T) {
	p256 := ecKey(t, elliptic.P256())
	sec1 := func(k *ecdsa.PrivateKey) string {
		der, err := x509.MarshalECPrivateKey(k)
		return pemOf(t, "EC PRIVATE KEY", der, err)
	}
	pkcs8 := func(k any) string {
		der, err := x509.MarshalPKCS8PrivateKey(k)
		return pemOf(t, "PRIVATE KEY", der, err)
	}
	public, err := x509.MarshalPKIXPublicKey(&p256.PublicKey)
	publicPEM := pemOf(t, "PUBLIC KEY", public, err)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	params := pemOf(t, "EC PARAMETERS", []byte{6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7}, nil)
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
		says string // "": passes
	}{
		"SEC 1":           {sec1(p256), 0o600, ""},
		"PKCS 8":          {pkcs8(p256), 0o400, ""},
		"openssl":         {params + sec1(p256), 0o600, ""},
		"group":           {sec1(p256), 0o640, ""},
		"world":           {sec1(p256), 0o644, "mode 0644"},
		"group can write": {sec1(p256), 0o660, "mode 0660"},
		"another curve":   {sec1(ecKey(t, elliptic.P384())), 0o600, "found one on P-384"},
		"ed25519":         {pkcs8(ed), 0o600, "another algorithm"},
		"public":          {publicPEM, 0o600, `found a block "PUBLIC KEY"`},
		"two":             {sec1(p256) + sec1(p256), 0o600, "found several"},
		"empty":           {"", 0o600, "found none"},
		"garbage":         {"secret", 0o600, "found none"},
		"broken":          {strings.Replace(sec1(p256), "M", "N", 1), 0o600, "cannot be read"},
		"large":           {strings.Repeat(" ", maxKey+1), 0o600, "larger than"},
	} {
		file := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, c.mode); err != nil {
			t.Fatal(err)
		}
		key, err := loadKey(file)
		switch {
		case c.says == "" && (err != nil || !key.Equal(p256)):
			t.Errorf("%s: %v", name, err)
		case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), file) || strings.Contains(err.Error(), "secret")):
			t.Errorf("%s: %v, expected %q", name, err, c.says)
		}
	}
	if _, err := loadKey(t.TempDir()); err == nil {
		t.Error("a directory was taken for a key")
	}
}

func TestKeyIsMadeOnce(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "token.key")
	var wg sync.WaitGroup
	keys := make([]*ecdsa.PrivateKey, 8)
	for i := range keys {
		wg.Go(func() {
			err := makeKey(file)
			if err == nil {
				keys[i], err = loadKey(file)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, k := range keys {
		if k == nil || !k.Equal(keys[0]) {
			t.Fatal("gates that started together have different keys")
		}
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("%v %v", left, err)
	}
	// What is there is never written over, even when it is no key.
	if err := os.WriteFile(file, []byte("something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := makeKey(file); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(file); string(b) != "something else" {
		t.Error("written over")
	}
	dangling := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(dir, "nowhere"), dangling); err != nil {
		t.Fatal(err)
	}
	if err := makeKey(dangling); err != nil {
		t.Fatal(err)
	}
	if _, err := loadKey(dangling); err == nil {
		t.Error("a link to nowhere gave a key")
	}
}
