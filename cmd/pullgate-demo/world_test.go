package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/opencontainers/go-digest"
)

// serve builds the demonstration's content and serves it.
func serve(t *testing.T) (*world, *servers) {
	t.Helper()
	w, err := buildWorld(hostArchitecture())
	if err != nil {
		t.Fatal(err)
	}
	s, err := serveWorld(w)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return w, s
}

func get(t *testing.T, url string) (int, []byte, http.Header) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, b, resp.Header
}

// Each image's signatures tell the story that the guide tells.
func TestSignatures(t *testing.T) {
	w, s := serve(t)
	ring, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(w.trusted))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		repo    string
		exists  bool // a signature lies where the gate looks
		trusted bool
		fits    bool // it is for the manifest that the tag leads to
	}{
		{repo: signedRepo, exists: true, trusted: true, fits: true},
		{repo: multiarchRepo, exists: true, trusted: true, fits: true},
		{repo: unsignedRepo},
		{repo: wrongkeyRepo, exists: true, fits: true},
		{repo: tamperedRepo, exists: true, trusted: true},
	} {
		t.Run(c.repo, func(t *testing.T) {
			status, manifest, header := get(t, s.registry+"/v2/"+c.repo+"/manifests/"+tag)
			served := digest.FromBytes(manifest)
			if status != http.StatusOK || header.Get("Docker-Content-Digest") != served.String() {
				t.Fatalf("manifest: status %d, digest %s in the header, %s of the bytes", status, header.Get("Docker-Content-Digest"), served)
			}
			base := s.signatures + "/" + c.repo + "@sha256=" + served.Encoded()
			status, sig, _ := get(t, base+"/signature-1")
			if !c.exists {
				if status != http.StatusNotFound {
					t.Errorf("signature-1: status %d, expected 404", status)
				}
				return
			}
			if next, _, _ := get(t, base+"/signature-2"); status != http.StatusOK || next != http.StatusNotFound {
				t.Fatalf("signature-1: status %d, signature-2: %d", status, next)
			}
			checkSignature(t, sig, ring, c.trusted, registryName+"/"+c.repo+":"+tag, c.fits, served)
		})
	}
}

func checkSignature(t *testing.T, sig []byte, ring openpgp.EntityList, trusted bool, reference string, fits bool, served digest.Digest) {
	t.Helper()
	md, err := openpgp.ReadMessage(bytes.NewReader(sig), ring, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(md.UnverifiedBody)
	if err != nil {
		t.Fatal(err)
	}
	if (md.SignedBy != nil && md.SignatureError == nil) != trusted {
		t.Errorf("signed by %x, error %v, expected trusted %v", md.SignedByKeyId, md.SignatureError, trusted)
	}
	var p payload
	if err := json.Unmarshal(text, &p); err != nil {
		t.Fatal(err)
	}
	if p.Critical.Identity.Reference != reference || p.Critical.Type != "atomic container signature" {
		t.Errorf("payload %s", text)
	}
	if (p.Critical.Image.Digest == served) != fits {
		t.Errorf("signature is for %s, the tag leads to %s", p.Critical.Image.Digest, served)
	}
}

// Of the multi-arch image, only the index has a signature.
func TestPlatformImagesAreNotSigned(t *testing.T) {
	w, s := serve(t)
	for _, child := range w.image(multiarchRepo).Children {
		if status, _, _ := get(t, s.signatures+"/"+multiarchRepo+"@sha256="+child.Digest.Encoded()+"/signature-1"); status != http.StatusNotFound {
			t.Errorf("%s: status %d, expected 404", child.Digest, status)
		}
		if status, b, _ := get(t, s.registry+"/v2/"+multiarchRepo+"/manifests/"+child.Digest.String()); status != http.StatusOK || !bytes.Equal(b, child.Manifest) {
			t.Errorf("manifest %s: status %d", child.Digest, status)
		}
	}
}

// By the digest that was signed, the registry lies.
func TestTamperedByDigest(t *testing.T) {
	w, s := serve(t)
	_, b, header := get(t, s.registry+"/v2/"+tamperedRepo+"/manifests/"+w.original.Digest.String())
	if header.Get("Docker-Content-Digest") != w.original.Digest.String() || digest.FromBytes(b) == w.original.Digest {
		t.Errorf("%s sent as %s, expected a lie", digest.FromBytes(b), header.Get("Docker-Content-Digest"))
	}
	if !bytes.Equal(b, w.image(tamperedRepo).Manifest) {
		t.Error("not the altered manifest")
	}
}

// Every blob that an image needs is there.
func TestBlobs(t *testing.T) {
	w, s := serve(t)
	for _, e := range w.entries {
		for d, want := range e.image.Blobs {
			if status, b, _ := get(t, s.registry+"/v2/"+e.repo+"/blobs/"+d.String()); status != http.StatusOK || !bytes.Equal(b, want) {
				t.Errorf("%s blob %s: status %d, %d bytes", e.repo, d, status, len(b))
			}
		}
	}
}

func TestSettings(t *testing.T) {
	dir := t.TempDir()
	s := settings{dir: dir, listen: "127.0.0.1:1", admin: "127.0.0.1:2", registry: "http://127.0.0.1:3", signatures: "http://127.0.0.1:4", trusted: []byte("key")}
	config, err := s.write()
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		config:                                          `endpoint: "http://127.0.0.1:3"`,
		filepath.Join(dir, "policy.json"):               filepath.Join(dir, "release-key.asc"),
		filepath.Join(dir, "release-key.asc"):           "key",
		filepath.Join(dir, "registries.d", "demo.yaml"): "demo.example:\n    lookaside: http://127.0.0.1:4",
	} {
		b, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(b), want) {
			t.Errorf("%s: %v, expected %q in:\n%s", file, err, want, b)
		}
	}
	var policy map[string]any
	b, _ := os.ReadFile(filepath.Join(dir, "policy.json"))
	if err := json.Unmarshal(b, &policy); err != nil || policy["default"] == nil || policy["transports"] == nil {
		t.Errorf("policy %s: %v", b, err)
	}
}
