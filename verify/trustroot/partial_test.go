package trustroot_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"path/filepath"
	"testing"
	"time"
)

// partialRoot is a trusted_root.json with one list alone: timestampAuthorities, tlogs
// or ctlogs.
func partialRoot(t testing.TB, list string) []byte {
	t.Helper()
	if list == "timestampAuthorities" {
		return bytes.Replace(trustedRoot(t, "tsa"), []byte(`"certificateAuthorities"`), []byte(`"timestampAuthorities"`), 1)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	id := sha256.Sum256(der)
	return fmt.Appendf(nil, `{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1",`+
		`"%s":[{"baseUrl":"https://log.example","hashAlgorithm":"SHA2_256","publicKey":{"rawBytes":"%s",`+
		`"keyDetails":"PKIX_ECDSA_P256_SHA_256","validFor":{"start":"2020-01-01T00:00:00Z"}},"logId":{"keyId":"%s"}}]}`,
		list, base64.StdEncoding.EncodeToString(der), base64.StdEncoding.EncodeToString(id[:]))
}

// A root may prove times alone, for signatures by keys: by timestamp authorities or by
// logs. Logs of certificates alone prove nothing.
func TestRootsWithoutCertificateAuthorities(t *testing.T) {
	file := filepath.Join(t.TempDir(), "root")
	for list, want := range map[string][2]int{"timestampAuthorities": {1, 0}, "tlogs": {0, 1}} {
		s, err := fileSet(t, &clock{t: time.Now()}, 0, write(t, file, partialRoot(t, list)))
		if err != nil {
			t.Errorf("%s: %v", list, err)
			continue
		}
		m := get(t, s, "r0").Material
		if found := [2]int{len(m.TimestampingAuthorities()), len(m.RekorLogs())}; found != want || len(m.FulcioCertificateAuthorities()) != 0 {
			t.Errorf("%s: expected %v timestamp authorities and logs, found %v", list, want, found)
		}
	}
	const media = `{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1",`
	for name, content := range map[string][]byte{
		"certificate logs alone":    partialRoot(t, "ctlogs"),
		"empty lists":               []byte(media + `"timestampAuthorities":[],"tlogs":[]}`),
		"empty timestamp authority": []byte(media + `"timestampAuthorities":[{}]}`),
		"null timestamp authority":  []byte(media + `"timestampAuthorities":[null]}`),
	} {
		if _, err := fileSet(t, &clock{t: time.Now()}, 0, write(t, file, content)); err == nil {
			t.Errorf("%s: was read", name)
		}
	}
}
