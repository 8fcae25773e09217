package proxy

import (
	"archive/tar"
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/proxy/upstream"
)

var fuzzNames = Names{Default: "docker.io", Registries: []RegistryName{
	{Name: "docker.io", Host: "registry-1.docker.io"},
	{Name: "registry.example.com", Prefix: "corp", Host: "10.1.2.3:5000"},
	{Name: "quay.example:5000", Prefix: "quay", Host: "quay.internal"},
	{Name: "[2001:db8::1]:5000", Prefix: "six"},
}}

// What a request's name is mapped to is served under that name, and means the same
// to whoever reads it next.
func FuzzRepositoryName(f *testing.F) {
	for _, name := range []string{"nginx", "library/nginx", "docker.io/nginx", "corp/team/app", "quay/x", "registry.example.com/a/b", "index.docker.io/x/y",
		"localhost/x", "a.b/c", "a//b", "A/b", "a/../b", "-a/b", "a_b/c__d/e--f", "sha256/x", "ab.example.com./x", strings.Repeat("a", 300)} {
		for _, query := range []string{"", "ns=docker.io", "ns=registry.example.com:443", "ns=quay.example:5000", "ns=10.1.2.3:5000", "ns=other.example", "ns=a&ns=b",
			"ns=[2001:db8::1]:5000", "ns=[2001:db8:0::1]:5000", "ns=[::ffff:10.1.2.3]:5000", "ns=quay.example:05000", "ns=QUAY.example:5000", "ns=x@y", "ns=x/y", "ns=", "ns=;", "ns=%00", "ns=docker.io:443:443"} {
			f.Add(name, query)
		}
	}
	f.Fuzz(func(t *testing.T, name, rawQuery string) {
		query, err := url.ParseQuery(rawQuery)
		if err != nil {
			return
		}
		for _, others := range []bool{false, true} {
			n := fuzzNames
			n.Others = others
			repo, err := n.repository(name, query, "")
			if err != nil {
				continue
			}
			domain, path := reference.Domain(repo), reference.Path(repo)
			configured := slices.ContainsFunc(n.Registries, func(r RegistryName) bool { return r.Name == domain })
			alias := hubNames[domain] || slices.ContainsFunc(n.Registries, func(r RegistryName) bool {
				return r.Host == domain || r.Host+":443" == domain || r.Name+":443" == domain
			})
			if !configured && (!others || alias || !plainHost(domain)) {
				t.Errorf("%q %q: mapped to %s, which is not served under that name", name, rawQuery, repo)
			}
			again, err := n.inRegistry(domain, path)
			if err != nil || again.String() != repo.String() {
				t.Errorf("%q %q: %s is read again as %v, %v", name, rawQuery, repo, again, err)
			}
			parsed, err := reference.ParseNamed(repo.String())
			if err != nil || parsed.String() != repo.String() || !reference.IsNameOnly(parsed) {
				t.Errorf("%q %q: %s is parsed as %v, %v", name, rawQuery, repo, parsed, err)
			}
		}
	})
}

func FuzzReference(f *testing.F) {
	for _, s := range []string{"v1", "latest", "-x", ".x", "sha256:" + strings.Repeat("a", 64), "sha512:" + strings.Repeat("0", 128), "sha256:A", "sha384:" + strings.Repeat("a", 96), "a@b", "", ":", strings.Repeat("x", 129)} {
		f.Add(s)
	}
	repo, err := reference.WithName("registry.example.com/team/app")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := withReference(repo, s)
		if err != nil {
			return
		}
		again, err := fromRootName(repo, rootName(ref))
		if err != nil || again.String() != ref.String() || reference.TrimNamed(ref).String() != repo.String() {
			t.Errorf("%q: %s is remembered as %v, %v", s, ref, again, err)
		}
		if c, ok := ref.(reference.Canonical); ok && !supportedDigest(c.Digest()) || ok && c.Digest().String() != s {
			t.Errorf("%q became %s", s, ref)
		}
	})
}

const someDigest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func manifestSeeds() []string {
	d := `{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"` + someDigest + `","size":3}`
	image := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":` + d + `,"layers":[` + d + `]}`
	protected := base64.RawURLEncoding.EncodeToString([]byte(`{"formatLength":-1,"formatTail":"fQ","time":"x"}`))
	return []string{
		image, image + " ", image + "x", strings.Replace(image, "layers", "Layers", 1), strings.Replace(image, "layers", "layerſ", 1),
		strings.Replace(image, `"config"`, `"manifests":[],"config"`, 1), strings.Replace(image, `"config"`, `"config":{},"config"`, 1),
		strings.Replace(image, `"config"`, `"subject":`+d+`,"annotations":{"Layers":"x"},"config"`, 1),
		`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[` + d + `]}`,
		`{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.list.v2+json","manifests":[]}`,
		`{"mediaType":"application/vnd.oci.artifact.manifest.v1+json","blobs":[` + d + `]}`,
		`{"schemaVersion":1,"name":"x","tag":"y","fsLayers":[{"blobSum":"` + someDigest + `"}],"history":[{"v1Compatibility":"{}"}]}`,
		`{"schemaVersion":1,"fsLayers":[],"signatures":[]}`,
		`{"schemaVersion":1,"fsLayers":[],"signatures":[{"header":{},"signature":"AAAA","protected":"` + protected + `"}]}`,
		`{}`, `[]`, `null`, ``, `{"a":` + strings.Repeat("[", 100), "\xff", `{"\ud800":1}`,
	}
}

// What is accepted as a manifest reads the same to a reader that minds case and to
// one that does not, and is of exactly one kind.
func FuzzDocument(f *testing.F) {
	for _, s := range manifestSeeds() {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		doc, err := parseDocument(b)
		if err != nil {
			return
		}
		var exact map[string]json.RawMessage
		if err := json.Unmarshal(b, &exact); err != nil {
			t.Fatalf("accepted, and not JSON: %v", err)
		}
		kinds := 0
		for _, key := range []string{"layers", "manifests", "blobs", "fsLayers"} {
			if v, ok := exact[key]; ok && string(v) != "null" {
				kinds++
			}
		}
		if kinds != 1 || !isManifestType(doc.mediaType) || doc.index != (exact["manifests"] != nil && string(exact["manifests"]) != "null") {
			t.Errorf("%d kinds, taken for %s", kinds, doc.mediaType)
		}
		key := map[bool]string{true: "manifests", false: "layers"}[doc.index]
		var listed []map[string]json.RawMessage
		if v, ok := exact[key]; ok {
			_ = json.Unmarshal(v, &listed)
		}
		have := doc.children
		if !doc.index && doc.config != nil {
			have = doc.blobs[1:]
		}
		if (doc.index || doc.config != nil) && len(listed) != len(have) {
			t.Fatalf("%d entries, read as %d", len(listed), len(have))
		}
		for i, e := range listed {
			var d digest.Digest
			if err := json.Unmarshal(e["digest"], &d); err != nil || d != have[i].Digest || !supportedDigest(d) {
				t.Errorf("entry %d is %s, read as %s", i, d, have[i].Digest)
			}
		}
		if len(doc.children) > maxIndexEntries || len(doc.blobs) > maxManifestLayers {
			t.Errorf("%d children and %d blobs", len(doc.children), len(doc.blobs))
		}
		if !looksLikeManifest(b) && doc.mediaType != mediaTypeArtifact {
			t.Errorf("a manifest that could be served as a blob: %q", b)
		}
		if !strings.Contains(doc.mediaType, "v1+prettyjws") {
			ref, _ := reference.ParseNamed("registry.example.com/x@" + digest.FromBytes(b).String())
			if m, err := newManifest(reference.TrimNamed(ref), ref, upstream.Manifest{Bytes: b}); err != nil || m.digest != digest.FromBytes(b) {
				t.Errorf("read as a manifest, refused by its digest: %v", err)
			}
		}
	})
}

// fuzzEvidence fuzzes one parser. What it accepts is about something, and nothing
// may stand after it.
func fuzzEvidence(f *testing.F, parse func([]byte) ([]digest.Digest, error), seeds ...string) {
	for _, s := range seeds {
		if _, err := parse([]byte(s)); err != nil {
			f.Errorf("%q: %v", s, err)
		}
		f.Add([]byte(s))
		f.Add([]byte(s + " "))
		f.Add([]byte(s[:len(s)/2]))
		f.Add([]byte(strings.ToUpper(s)))
	}
	f.Add([]byte(nil))
	f.Add([]byte("{}"))
	f.Add([]byte("\xd2\x84"))
	f.Fuzz(func(t *testing.T, b []byte) {
		about, err := parse(b)
		if err != nil {
			return
		}
		if len(about) == 0 || slices.ContainsFunc(about, func(d digest.Digest) bool { return !supportedDigest(d) }) {
			t.Errorf("about %v", about)
		}
		for _, tail := range []string{"{", "}", "]", ",", "x", "\x00", "}x"} {
			if _, err := parse(append(bytes.Clone(b), tail...)); err == nil {
				t.Errorf("%q after it is accepted", tail)
			}
		}
		if looksLikeManifest(b) {
			t.Errorf("a manifest is accepted: %q", b)
		}
	})
}

const (
	simpleSeed    = `{"critical":{"type":"cosign container image signature","image":{"docker-manifest-digest":"` + someDigest + `"},"identity":{"docker-reference":"x"}},"optional":null}`
	statementSeed = `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"x","digest":{"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}}],"predicateType":"https://slsa.dev/provenance/v1","predicate":{"A":1,"a":2}}`
	notationSeed  = `{"targetArtifact":{"mediaType":"x","digest":"` + someDigest + `","size":1}}`
)

func dsseSeed() string {
	return fmt.Sprintf(`{"payloadType":"application/vnd.in-toto+json","payload":%q,"signatures":[{"keyid":"","sig":"AA=="}]}`, base64.StdEncoding.EncodeToString([]byte(statementSeed)))
}

func FuzzSimpleSigning(f *testing.F) { fuzzEvidence(f, simpleSigningSubjects, simpleSeed) }
func FuzzDSSE(f *testing.F)          { fuzzEvidence(f, dsseSubjects, dsseSeed()) }
func FuzzStatement(f *testing.F)     { fuzzEvidence(f, statementSubjects, statementSeed) }

func FuzzBundle(f *testing.F) {
	fuzzEvidence(f, bundleSubjects,
		`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{},"dsseEnvelope":`+dsseSeed()+`}`,
		`{"mediaType":"application/vnd.dev.sigstore.bundle+json;version=0.1","verificationMaterial":{},"messageSignature":{"messageDigest":{"algorithm":"SHA2_256","digest":"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="},"signature":"AA=="}}`)
}

func FuzzJWS(f *testing.F) {
	fuzzEvidence(f, jwsSubjects, fmt.Sprintf(`{"payload":%q,"protected":"e30","header":{"x5c":[]},"signature":"AA"}`, base64.RawURLEncoding.EncodeToString([]byte(notationSeed))))
}

func FuzzCOSE(f *testing.F) {
	b, err := hex.DecodeString("d284" + "41a0" + "a0" + fmt.Sprintf("58%02x%x", len(notationSeed), notationSeed) + "4101")
	if err != nil {
		f.Fatal(err)
	}
	fuzzEvidence(f, coseSubjects, string(b))
}

// Whatever a tar reader unpacks is known for an archive.
func FuzzArchive(f *testing.F) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := w.WriteHeader(&tar.Header{Name: "bin/sh", Mode: 0o755, Size: 3}); err != nil {
		f.Fatal(err)
	}
	_, _ = w.Write([]byte("abc"))
	_ = w.Close()
	f.Add(archive.Bytes())
	for _, sum := range []string{"\x00 ", "  ", "x ", "\x00\x00", "\x00x", " \x00"} {
		b := bytes.Clone(archive.Bytes())
		copy(b[154:], sum)
		f.Add(b)
	}
	f.Add([]byte(simpleSeed + strings.Repeat(" ", 600)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := tar.NewReader(bytes.NewReader(b)).Next(); err == nil && !looksLikeArchive(b) {
			t.Errorf("an archive is not known for one: %q", b[:min(len(b), 512)])
		}
	})
}

func FuzzRange(f *testing.F) {
	for _, s := range []string{"bytes=0-0", "bytes=-1", "bytes=5-", "bytes=-", "bytes=0-1,2-3", "bytes=9223372036854775807-", "bytes=-9223372036854775807", "bytes=1-0", "x", ""} {
		f.Add(s, int64(10))
		f.Add(s, int64(0))
		f.Add(s, int64(1)<<62)
	}
	f.Fuzz(func(t *testing.T, spec string, size int64) {
		if size < 0 {
			return
		}
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			r := &http.Request{Method: method, Header: http.Header{"Range": {spec}}}
			span, err := rangeOf(r, size)
			switch {
			case err != nil && (method == http.MethodHead || errRange(size).Error() != err.Error()):
				t.Errorf("%s %q of %d: %v", method, spec, size, err)
			case err == nil && !span.partial && (span.first != 0 || span.last != size-1):
				t.Errorf("%s %q of %d: the whole is %+v", method, spec, size, span)
			case err == nil && span.partial && (method == http.MethodHead || span.first < 0 || span.first > span.last || span.last >= size):
				t.Errorf("%s %q of %d: %+v", method, spec, size, span)
			}
		}
	})
}

// Each bound of what is read of a document holds by itself.
func TestBoundsOfDocuments(t *testing.T) {
	for name, tt := range map[string]struct {
		document, reason string
	}{
		"entries of a list":     {`{"x":[` + strings.Repeat("1,", maxManifestLayers) + `1]}`, "entries"},
		"values in short lists": {`{"x":[` + strings.Repeat("["+strings.Repeat("1,", 99)+"1],", maxManifestValues/100) + `1]}`, "values"},
		"objects in objects":    {strings.Repeat(`{"x":`, maxManifestNesting+1) + `1` + strings.Repeat("}", maxManifestNesting+1), "deeper"},
		"lists in lists":        {`{"x":` + strings.Repeat("[", maxManifestNesting+1) + strings.Repeat("]", maxManifestNesting+1) + `}`, "deeper"},
	} {
		if err := unambiguousJSON([]byte(tt.document), manifestSpelling); err == nil || !strings.Contains(err.Error(), tt.reason) {
			t.Errorf("%s: %v", name, err)
		}
	}
	within := `{"x":[` + strings.Repeat("1,", maxManifestLayers-1) + `1],"y":` + strings.Repeat("[", maxManifestNesting-2) + strings.Repeat("]", maxManifestNesting-2) + `}`
	if err := unambiguousJSON([]byte(within), manifestSpelling); err != nil {
		t.Error(err)
	}
}
