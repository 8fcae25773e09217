package proxy_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/containers/libtrust"
	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/proxy/audit"
)

// Rule 9: bytes that are not what they should be go nowhere. Here: manifests that
// two readers could take for two things, however well they are signed.

// schema1Payload is a schema 1 manifest before it is signed.
func schema1Payload(layers ...[]byte) []byte {
	fs, history := list{}, list{}
	for i, l := range layers {
		fs = append(fs, object{"blobSum": digest.FromBytes(l).String()})
		history = append(history, object{"v1Compatibility": fmt.Sprintf(`{"id":"%064x"}`, i)})
	}
	b, err := json.MarshalIndent(object{"schemaVersion": 1, "name": repo, "tag": "v1", "architecture": "amd64", "fsLayers": fs, "history": history}, "", "   ")
	if err != nil {
		panic(err)
	}
	return b
}

// schema1Of signs a schema 1 manifest as docker did.
func schema1Of(t testing.TB, payload []byte, layers ...[]byte) image {
	t.Helper()
	key, err := libtrust.GenerateECP256PrivateKey()
	if err != nil {
		t.Fatal(err)
	}
	js, err := libtrust.NewJSONSignature(payload)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.Sign(key); err != nil {
		t.Fatal(err)
	}
	b, err := js.PrettySignature("signatures")
	if err != nil {
		t.Fatal(err)
	}
	return image{manifest: b, digest: digest.FromBytes(payload), blobs: layers}
}

func TestEveryKindOfManifest(t *testing.T) {
	config, layer := []byte("{}"), []byte("layer")
	dockerConfig := "application/vnd.docker.container.image.v1+json"
	parts := func(extra object) object {
		o := object{"schemaVersion": 2, "config": descriptor(ociConfig, config), "layers": list{descriptor(ociLayer, layer)}}
		for k, v := range extra {
			o[k] = v
		}
		return o
	}
	child := imageOf("child")
	tests := map[string]struct {
		img       image
		mediaType string
	}{
		"OCI":                        {fromManifest(parts(object{"mediaType": ociManifest}), config, layer), ociManifest},
		"OCI without a type":         {fromManifest(parts(nil), config, layer), ociManifest},
		"OCI artifact":               {fromManifest(parts(object{"mediaType": ociManifest, "artifactType": "application/x", "subject": child.entry()}), config, layer), ociManifest},
		"docker":                     {fromManifest(parts(object{"mediaType": dockerManifest}), config, layer), dockerManifest},
		"docker without a type":      {fromManifest(parts(object{"config": descriptor(dockerConfig, config)}), config, layer), dockerManifest},
		"OCI index":                  {indexOf(child), ociIndex},
		"OCI index without a type":   {image{manifest: mustJSON(object{"schemaVersion": 2, "manifests": list{child.entry()}}), children: []image{child}}, ociIndex},
		"docker list":                {image{manifest: mustJSON(object{"schemaVersion": 2, "mediaType": dockerList, "manifests": list{child.entry()}}), children: []image{child}}, dockerList},
		"artifact manifest":          {fromManifest(object{"mediaType": "application/vnd.oci.artifact.manifest.v1+json", "artifactType": "x", "blobs": list{descriptor(ociLayer, layer)}}, nil, layer), "application/vnd.oci.artifact.manifest.v1+json"},
		"schema 1":                   {image{manifest: schema1Payload(layer), blobs: [][]byte{nil, layer}}, "application/vnd.docker.distribution.manifest.v1+json"},
		"schema 1, signed":           {schema1Of(t, schema1Payload(layer), nil, layer), schema1Signed},
		"with members of no meaning": {fromManifest(parts(object{"mediaType": ociManifest, "x-vendor": object{"Anything": list{1, object{"a": nil}}}}), config, layer), ociManifest},
		"with odd annotations":       {fromManifest(parts(object{"mediaType": ociManifest, "annotations": object{"Layers": "x", "digest": "y", "Digest": "z"}}), config, layer), ociManifest},
		"OCI by sha512":              {fromManifest(parts(object{"mediaType": ociManifest, "layers": list{object{"mediaType": ociLayer, "size": 5, "digest": digest.SHA512.FromBytes(layer).String()}}}), config, layer), ociManifest},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if tt.img.digest == "" {
				tt.img.digest = digestOf(tt.img.manifest)
			}
			w.signed(tt.img, "v1")
			w.registry.put(blobPath(repo, digest.SHA512.FromBytes(layer)), layer)
			w.wantManifest(manifestPath(app, "v1"), tt.img)
			w.wantManifest(manifestPath(app, tt.img.digest), tt.img)
			if got := w.get(manifestPath(app, "v1")).Header.Get("Content-Type"); got != tt.mediaType {
				t.Errorf("media type %q, want %q", got, tt.mediaType)
			}
			switch {
			case len(tt.img.children) > 0:
				w.wantManifest(manifestPath(app, child.digest), child)
			case name == "OCI by sha512":
				w.wantBlob(blobPath(app, digest.SHA512.FromBytes(layer)), layer)
				w.wantDenied(blobPath(app, tt.img.layer()))
			default:
				w.wantBlob(blobPath(app, tt.img.layer()), layer)
			}
		})
	}
}

func TestManifestsBySHA512(t *testing.T) {
	w := newWorld(t)
	img := w.signed(imageOf("signed"), "v1")
	other := w.unsigned(imageOf("unsigned"), "v2")
	for _, i := range []image{img, other} {
		w.registry.put(manifestPath(repo, digest.SHA512.FromBytes(i.manifest)), i.manifest)
	}
	got := w.get(manifestPath(app, digest.SHA512.FromBytes(img.manifest)))
	if got.StatusCode != 200 || !bytes.Equal(got.body, img.manifest) || got.Header.Get("Docker-Content-Digest") != digest.SHA512.FromBytes(img.manifest).String() {
		t.Errorf("got %s", got)
	}
	w.wantBlob(blobPath(app, img.layer()), img.blobs[1])
	w.wantDenied(manifestPath(app, digest.SHA512.FromBytes(other.manifest)))
	w.registry.put(manifestPath(repo, digest.SHA512.FromString("x")), img.manifest)
	w.wantStatus(manifestPath(app, digest.SHA512.FromString("x")), 502)
}

// tampered replaces one text in a manifest, which must hold it.
func tampered(t testing.TB, img image, old, new string) string {
	t.Helper()
	if !bytes.Contains(img.manifest, []byte(old)) {
		t.Fatalf("%s does not hold %q", img.manifest, old)
	}
	return strings.Replace(string(img.manifest), old, new, 1)
}

func TestManifestsThatCouldBeTwoThingsAreRefused(t *testing.T) {
	img, evil := imageOf("image"), imageOf("evil")
	layer, evilLayers := []byte("layer"), string(mustJSON(list{descriptor(ociLayer, evil.blobs[1])}))
	signed1 := schema1Of(t, schema1Payload(layer), layer)
	member := func(name, value string) string { return tampered(t, img, `{"config"`, `{`+name+`:`+value+`,"config"`) }
	formatted := func(length, tail string) string { // a schema 1 signature with a protected header of the attacker's
		protected := joseEncode([]byte(`{"formatLength":` + length + `,"formatTail":"` + tail + `","time":"2020-01-01T00:00:00Z"}`))
		return strings.TrimSuffix(string(schema1Payload(layer)), "\n}") +
			`,"signatures":[{"header":{"alg":"ES256"},"signature":"AAAA","protected":"` + protected + `"}]}`
	}
	tests := map[string]string{
		"layers and manifests":                member(`"manifests"`, `[]`),
		"layers and an image in manifests":    member(`"manifests"`, string(mustJSON(list{evil.entry()}))),
		"layers and fsLayers":                 member(`"fsLayers"`, `[]`),
		"layers and blobs":                    member(`"blobs"`, `[]`),
		"index with config":                   tampered(t, indexOf(img), `{"manifests"`, `{"config":{},"manifests"`),
		"index with layers":                   tampered(t, indexOf(img), `{"manifests"`, `{"layers":[],"manifests"`),
		"Layers":                              member(`"Layers"`, evilLayers),
		"LAYERS":                              member(`"LAYERS"`, evilLayers),
		"layerſ":                              member(`"layerſ"`, evilLayers),
		"escaped layers":                      member(`"\u006cayers"`, evilLayers),
		"escaped Layers":                      member(`"\u004cayers"`, evilLayers),
		"Config":                              member(`"Config"`, `{}`),
		"MediaType":                           member(`"MediaType"`, `"`+ociIndex+`"`),
		"Manifests":                           member(`"Manifests"`, `[]`),
		"manifeſts":                           member(`"manifeſts"`, `[]`),
		"SchemaVersion":                       member(`"SchemaVersion"`, `1`),
		"layers twice":                        member(`"layers"`, evilLayers),
		"mediaType twice":                     member(`"mediaType"`, `"`+ociIndex+`"`),
		"digest twice in a layer":             tampered(t, img, `"layers":[{`, `"layers":[{"digest":"`+evil.layer().String()+`",`),
		"Digest in a layer":                   tampered(t, img, `"layers":[{`, `"layers":[{"Digest":"`+evil.layer().String()+`",`),
		"member of no meaning twice":          member(`"x":1,"x"`, `2`),
		"nested without end":                  member(`"x"`, strings.Repeat("[", 5000)+strings.Repeat("]", 5000)),
		"objects nested without end":          member(`"x"`, strings.Repeat(`{"x":`, 5000)+"1"+strings.Repeat("}", 5000)),
		"image that claims to be an index":    tampered(t, img, ociManifest+`","schemaVersion"`, ociIndex+`","schemaVersion"`),
		"image that claims to be a list":      tampered(t, img, ociManifest+`","schemaVersion"`, dockerList+`","schemaVersion"`),
		"image that claims to be schema 1":    tampered(t, img, ociManifest+`","schemaVersion"`, schema1Signed+`","schemaVersion"`),
		"index that claims to be an image":    tampered(t, indexOf(img), ociIndex+`","schemaVersion"`, ociManifest+`","schemaVersion"`),
		"image that claims to be text":        tampered(t, img, ociManifest+`","schemaVersion"`, `text/plain","schemaVersion"`),
		"schema version 1":                    tampered(t, img, `"schemaVersion":2`, `"schemaVersion":1`),
		"schema version 3":                    tampered(t, img, `"schemaVersion":2`, `"schemaVersion":3`),
		"schema version as text":              tampered(t, img, `"schemaVersion":2`, `"schemaVersion":"2"`),
		"no schema version":                   tampered(t, img, `,"schemaVersion":2`, ``),
		"no config":                           `{"schemaVersion":2,"mediaType":"` + ociManifest + `","layers":[]}`,
		"no layers":                           `{"schemaVersion":2,"mediaType":"` + ociManifest + `","config":{}}`,
		"layers of null":                      `{"schemaVersion":2,"mediaType":"` + ociManifest + `","config":{},"layers":null}`,
		"manifests of null":                   `{"schemaVersion":2,"mediaType":"` + ociIndex + `","manifests":null}`,
		"nothing":                             `{}`,
		"null":                                `null`,
		"a list":                              `[]`,
		"text":                                `"` + ociManifest + `"`,
		"empty":                               ``,
		"not JSON":                            `<html>`,
		"two documents":                       string(img.manifest) + string(evil.manifest),
		"bytes after it":                      string(img.manifest) + "x",
		"NUL after it":                        string(img.manifest) + "\x00",
		"a bracket after it":                  string(img.manifest) + "}",
		"layer without a digest":              tampered(t, img, `"layers":[{`, `"layers":[{},{`),
		"layer by md5":                        tampered(t, img, `"layers":[{`, `"layers":[{"digest":"md5:d41d8cd98f00b204e9800998ecf8427e","mediaType":"x","size":1},{`),
		"layer of negative size":              tampered(t, img, `"layers":[{`, `"layers":[{"digest":"`+evil.layer().String()+`","mediaType":"x","size":-1},{`),
		"layer with a path as digest":         tampered(t, img, `"layers":[{`, `"layers":[{"digest":"sha256:../../../etc/passwd","mediaType":"x","size":1},{`),
		"child without a digest":              tampered(t, indexOf(img), `"manifests":[{`, `"manifests":[{},{`),
		"child by an unknown algorithm":       tampered(t, indexOf(img), `"manifests":[{`, `"manifests":[{"digest":"sha384:`+strings.Repeat("a", 96)+`","mediaType":"x","size":1},{`),
		"subject without a digest":            member(`"subject"`, `{}`),
		"artifact manifest without a type":    `{"artifactType":"x","blobs":[]}`,
		"schema 1, more around it":            tampered(t, signed1, `"signatures"`, `"x": 1, "signatures"`),
		"schema 1, layers of schema 2 around": tampered(t, signed1, `"signatures"`, `"layers": [], "config": {}, "signatures"`),
		"schema 1, FSLayers around it":        tampered(t, signed1, `"signatures"`, `"FSLayers": [], "signatures"`),
		"schema 1, fsLayers again around it":  tampered(t, signed1, `"signatures"`, `"fsLayers": [{"blobSum":"`+evil.layer().String()+`"}], "signatures"`),
		"schema 1, signatures of null":        strings.TrimSuffix(string(schema1Payload(layer)), "\n}") + `,"signatures":null}`,
		"schema 1, no signatures":             strings.TrimSuffix(string(schema1Payload(layer)), "\n}") + `,"signatures":[]}`,
		"schema 1, odd signatures":            strings.TrimSuffix(string(schema1Payload(layer)), "\n}") + `,"signatures":{"a":1}}`,
		"schema 1, signed beginning is short": formatted("1", joseEncode([]byte("}"))),
		"schema 1, signed beginning is all":   formatted("99999999", "AAAA"),
		"schema 1, signed payload is no JSON": formatted("10", "AAAA"),
		"schema 1, signed payload is evil":    formatted("0", joseEncode(schema1Payload(evil.blobs[1]))),
	}
	w := newWorld(t, func(_ *world, s *settings) { s.policy[registryName] = list{accept} })
	for name, manifest := range tests {
		t.Run(name, func(t *testing.T) {
			w.t = t
			bad := raw(manifest)
			tag := fmt.Sprintf("t%x", bad.digest.Encoded()[:12])
			w.unsigned(bad, tag)
			for _, ref := range []string{tag, bad.digest.String()} {
				got := w.wantStatus(manifestPath(app, ref), 502)
				if len(got.wire) != 1 || got.wire[0].Code != "UNKNOWN" {
					t.Errorf("got %s", got)
				}
				if r := w.recordOf(got); r.Decision != audit.Denied || r.Status != 502 {
					t.Errorf("audit record %+v", r)
				}
			}
			if got := w.get(blobPath(app, evil.layer())); got.StatusCode != 403 {
				t.Errorf("what it lists: %s", got)
			}
		})
	}
}

func joseEncode(b []byte) string { return strings.TrimRight(base64URL(b), "=") }

// A parser that trips must not take the gate down, and decides nothing.
func TestManifestsThatTripAParser(t *testing.T) {
	w := newWorld(t, func(_ *world, s *settings) { s.policy[registryName] = list{accept} })
	for _, length := range []string{"-1", "-1000000", "-1e300", "1e300"} {
		protected := joseEncode([]byte(`{"formatLength":` + length + `,"formatTail":"AAAA","time":"x"}`))
		bad := []byte(`{"schemaVersion":1,"fsLayers":[],"history":[],"signatures":[{"header":{},"signature":"AAAA","protected":"` + protected + `"}]}`)
		tag := "t" + digest.FromBytes(bad).Encoded()[:8]
		w.registry.put(manifestPath(repo, tag), bad)
		if got := w.get(manifestPath(app, tag)); got.StatusCode != 502 && got.StatusCode != 503 {
			t.Errorf("formatLength %s: %s", length, got)
		}
	}
	img := w.signed(imageOf("good"), "v1")
	w.wantManifest(manifestPath(app, "v1"), img)
}

func base64URL(b []byte) string { return base64.URLEncoding.EncodeToString(b) }
