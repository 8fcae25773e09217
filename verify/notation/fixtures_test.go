package notation

import (
	"context"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corex509 "github.com/notaryproject/notation-core-go/x509"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func fixture(tb testing.TB, file string) []byte {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "notation-go", file))
	must(tb, err)
	return b
}

func fixtureCerts(tb testing.TB, files ...string) (out []*x509.Certificate) {
	tb.Helper()
	for _, f := range files {
		certs, err := corex509.ReadCertificateFile(filepath.Join("testdata", "notation-go", f))
		must(tb, err)
		out = append(out, certs...)
	}
	return out
}

func docker(hex string, size int64) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: "application/vnd.docker.distribution.manifest.v2+json", Digest: digest.NewDigestFromEncoded(digest.SHA256, hex), Size: size}
}

// The fixtures of notation-go, with the verdicts that its own tests expect.
func TestFixtures(t *testing.T) {
	mock := docker("60043cf45eaebc4c0867fea485a039b598f52fd09fd5b07b0b2d2f88fad9d74e", 528)
	stamped := docker("c0669ef34cdc14332c0f1ab0c2c01acb91d96014b172f1a76f3a39e63d1f0bda", 528)
	metadata := docker("5a07385af4e6b6af81b0ebfd435aedccdfa3507f0609c658209e1aba57159b2b", 942)
	plugin := docker("fe7e9333395060c2f5e63cf36a38fba10176f183b4163a5794e081a480abba5f", 942)
	layout := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: "sha256:19dbd2e48e921426ee8ace4dc892edfb2ecdc1d1a72d5416c83670c30acecef0", Size: 481}
	root, tsa := []string{"NotationTestRoot.pem"}, []string{"globalsignRoot.cer"}
	leaf := "x509.subject: C=US, ST=WA, O=Notary"
	for _, c := range []struct {
		file, mediaType string
		target          ocispec.Descriptor
		roots, tsa      []string // roots nil: the envelope's own root
		identity        string
		why             string
	}{
		{"ca_valid_sig_env.json", MediaTypeJWS, mock, root, nil, leaf, ""},
		{"ca_valid_sig_env.json", MediaTypeJWS, mock, []string{"GlobalSign.der"}, nil, leaf, "expected a chain with a certificate of the trust store ca"},
		{"ca_valid_sig_env.json", MediaTypeJWS, mock, root, nil, "x509.subject:CN=LOL,O=DummyOrg,L=Hyderabad,ST=TG,C=IN", "expected a signer"},
		{"ca_valid_sig_env.json", "application/unsupported+json", mock, root, nil, leaf, "expected an envelope of media type"},
		{"ca_valid_sig_env.json", MediaTypeJWS, metadata, root, nil, leaf, "expected a signature of"},
		{"ca_invalid_sig_env.json", MediaTypeJWS, mock, root, nil, leaf, "illegal base64 data at input byte 242"},
		{"ca_expired_sig_env.json", MediaTypeJWS, mock, root, nil, leaf, "expired"},
		{"ca_plugin_sig_env.json", MediaTypeJWS, mock, root, nil, leaf, `one that demands "plugin-name"`},
		{"sa_valid_sig_env.json", MediaTypeJWS, mock, root, nil, leaf, ""},
		{"sa_valid_sig_env.json", MediaTypeJWS, mock, []string{"GlobalSign.der"}, nil, leaf, "of the trust store signingAuthority"},
		{"sa_invalid_sig_env.json", MediaTypeJWS, mock, root, nil, leaf, "illegal base64 data at input byte 242"},
		{"sa_expired_sig_env.json", MediaTypeJWS, mock, root, nil, leaf, "expired"},
		{"sa_plugin_sig_env.json", MediaTypeJWS, mock, root, nil, leaf, `one that demands "plugin-name"`},
		{"ca_compatible_pluginver_sig_env_0.0.9.json", MediaTypeJWS, plugin, []string{"wabbit-networks.io.crt"}, nil, leaf, "plugins are never run"},
		{"sig_env_with_metadata.json", MediaTypeJWS, metadata, nil, nil, leaf, "expired"}, // its leaf ended in 2023
		{"jws_signature.sig", MediaTypeJWS, layout, nil, nil, leaf, ""},
		{"cose_signature.sig", MediaTypeCOSE, layout, nil, nil, leaf, ""},
		{"jwsWithTimestamp.sig", MediaTypeJWS, stamped, []string{"TestTimestamp.crt"}, tsa, leaf, ""},
		{"coseWithTimestamp.sig", MediaTypeCOSE, stamped, []string{"TestTimestamp.crt"}, tsa, leaf, ""},
		{"jwsExpiredWithTimestamp.sig", MediaTypeJWS, stamped, nil, tsa, leaf, ""},
		{"coseExpiredWithTimestamp.sig", MediaTypeCOSE, stamped, nil, tsa, leaf, ""},
		{"coseExpiredWithTimestamp.sig", MediaTypeCOSE, stamped, nil, nil, leaf, "expired"},
		{"coseExpiredWithTimestamp.sig", MediaTypeCOSE, stamped, nil, []string{"DigiCertTSARootSHA384.cer"}, leaf, "timestamp countersignature"},
		{"withoutTimestamp.sig", MediaTypeJWS, stamped, []string{"TestTimestamp.crt"}, tsa, leaf, "no timestamp countersignature"},
		{"withoutTimestamp.sig", MediaTypeJWS, stamped, []string{"TestTimestamp.crt"}, nil, leaf, ""},
		{"timestampBeforeNotBefore.sig", MediaTypeJWS, stamped, []string{"TestTimestampNotYetValid.crt"}, tsa, leaf, "timestamp can be before certificate"},
		{"timestampAfterNotAfter.sig", MediaTypeCOSE, stamped, nil, tsa, leaf, "timestamp can be after certificate"},
	} {
		t.Run(c.file, func(t *testing.T) {
			b := fixture(t, c.file)
			roots := fixtureCerts(t, c.roots...)
			if c.roots == nil {
				roots = ownRoot(t, b, c.mediaType)
			}
			trust := newTrust(t, Options{CA: roots, SigningAuthority: roots, TSA: fixtureCerts(t, c.tsa...), Identities: []string{c.identity}})
			in2025(t, func(t *testing.T) {
				v, err := Verify(context.Background(), b, c.mediaType, c.target, repo, trust)
				if c.why == "" {
					must(t, err)
					if want := c.tsa != nil || c.file == "sa_valid_sig_env.json"; (len(v.Times) == 1) != want {
						t.Errorf("expected a proven time: %t, got %v", want, v.Times)
					}
					return
				}
				denied(t, v, err, c.why)
			})
		})
	}
}

// Timestamps that are broken in one way each, put beside a good signature.
func TestFixtureTimestamps(t *testing.T) {
	stamped := docker("c0669ef34cdc14332c0f1ab0c2c01acb91d96014b172f1a76f3a39e63d1f0bda", 528)
	trust := newTrust(t, Options{CA: fixtureCerts(t, "TestTimestamp.crt"), TSA: fixtureCerts(t, "globalsignRoot.cer"), Identities: []string{"*"}})
	for file, why := range map[string]string{
		"TimeStampTokenWithInvalideContentType.p7s": "unexpected content type",
		"TimeStampTokenWithInvalidTSTInfo.p7s":      "cannot unmarshal TSTInfo",
		"TimeStampToken.p7s":                        "mismatched message",
		"TimeStampTokenWithoutCertificate.p7s":      "timestamp",
	} {
		t.Run(file, func(t *testing.T) {
			b := withToken(t, fixture(t, "withoutTimestamp.sig"), fixture(t, file))
			in2025(t, func(t *testing.T) {
				v, err := Verify(context.Background(), b, MediaTypeJWS, stamped, repo, trust)
				denied(t, v, err, why)
			})
		})
	}
}

// The certificates of trust stores that notation-go refuses for a TSA.
func TestFixtureStores(t *testing.T) {
	for _, file := range []string{"wabbit-networks.io.crt", "nonSelfIssued.crt"} {
		_, err := NewTrust(Options{CA: fixtureCerts(t, "NotationTestRoot.pem"), TSA: fixtureCerts(t, file), Identities: []string{"*"}})
		if err == nil || !strings.Contains(err.Error(), "trust store tsa: certificate 1: expected a") {
			t.Errorf("%s: expected a refusal of the certificate, got %v", file, err)
		}
	}
}

func ownRoot(tb testing.TB, b []byte, mediaType string) []*x509.Certificate {
	tb.Helper()
	u, err := decode(b, mediaType)
	must(tb, err)
	c, err := x509.ParseCertificate(u.certs[len(u.certs)-1])
	must(tb, err)
	return []*x509.Certificate{c}
}

// in2025 runs f at a time that the fixtures were made for, whatever the date is.
func in2025(t *testing.T, f func(*testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)))
		f(t)
	})
}
