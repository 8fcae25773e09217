package upstream

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
)

// put uploads one thing to a registry.
func put(t *testing.T, method, url, contentType string, body []byte) {
	t.Helper()
	req, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		t.Fatalf("%s %s: %s", method, url, resp.Status)
	}
}

func TestSmoke(t *testing.T) {
	srv := httptest.NewServer(registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0))))
	defer srv.Close()
	blob := []byte("{}")
	put(t, "POST", srv.URL+"/v2/a/b/blobs/uploads/?digest="+digest.FromBytes(blob).String(), "application/octet-stream", blob)
	man := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"%s","size":2},"layers":[]}`, digest.FromBytes(blob))
	put(t, "PUT", srv.URL+"/v2/a/b/manifests/v1", "application/vnd.oci.image.manifest.v1+json", []byte(man))
	c, err := New(Options{Registries: []Registry{{Name: "r.example", Endpoint: srv.URL}}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ref, _ := reference.ParseNamed("r.example/a/b:v1")
	m, err := c.Manifest(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	d, err := c.ResolveTag(t.Context(), ref.(reference.NamedTagged))
	t.Log(m.ContentType, len(m.Bytes), d, err)
	p, err := c.Tags(t.Context(), ref, 0, "")
	t.Log(p, err)
	can, _ := reference.WithDigest(reference.TrimNamed(ref), d)
	rs, err := c.Referrers(t.Context(), can)
	t.Log(rs, err)
	_, sup, err := c.ExtensionSignatures(t.Context(), can)
	t.Log(sup, err)
	mb, err := c.ManifestBytes(t.Context(), can)
	t.Log(len(mb), err)
}
