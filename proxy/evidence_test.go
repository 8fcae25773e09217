package proxy_test

import (
	"archive/tar"
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/proxy/audit"
)

// Rule 6: evidence passes when its content is checked to be evidence and what it
// is about may be pulled.

// Payloads of evidence, as the tools write them.

func dsseOf(statement []byte) []byte {
	return mustJSON(object{"payloadType": inToto, "payload": statement, "signatures": list{object{"keyid": "", "sig": "MEUCIQ=="}}})
}

func bundleOf(member string, content any) []byte {
	return mustJSON(object{"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
		"verificationMaterial": object{"publicKey": object{"hint": "x"}, "tlogEntries": list{}}, member: content})
}

func messageSignature(d digest.Digest) object {
	sum := make([]byte, 32)
	fmt.Sscanf(d.Encoded(), "%x", &sum)
	return object{"messageDigest": object{"algorithm": "SHA2_256", "digest": sum}, "signature": []byte("sig")}
}

func notationPayload(d digest.Digest) []byte {
	return mustJSON(object{"targetArtifact": object{"mediaType": ociManifest, "digest": d.String(), "size": 123}})
}

func jwsOf(payload []byte) []byte {
	b64 := base64.RawURLEncoding.EncodeToString
	return mustJSON(object{"payload": b64(payload), "protected": b64([]byte(`{"alg":"ES256"}`)), "header": object{"x5c": list{"AAAA"}}, "signature": b64([]byte("sig"))})
}

func coseOf(protected, payload []byte) []byte {
	b, err := cbor.Marshal(cbor.Tag{Number: 18, Content: []any{protected, map[any]any{}, payload, []byte("sig")}})
	if err != nil {
		panic(err)
	}
	return b
}

// evidenceKinds make evidence of every kind about a manifest.
var evidenceKinds = map[string]struct {
	mediaType string
	payload   func(d digest.Digest) []byte
}{
	"cosign signature":     {cosignPayload, func(d digest.Digest) []byte { return cosignFor(app, d) }},
	"DSSE attestation":     {"application/vnd.dsse.envelope.v1+json", func(d digest.Digest) []byte { return dsseOf(statementFor(d)) }},
	"in-toto statement":    {inToto, func(d digest.Digest) []byte { return statementFor(d) }},
	"in-toto, two digests": {inToto, func(d digest.Digest) []byte { return statementFor(d, digest.SHA512.FromString("x")) }},
	"sigstore bundle, DSSE": {"application/vnd.dev.sigstore.bundle.v0.3+json", func(d digest.Digest) []byte {
		return bundleOf("dsseEnvelope", object{"payloadType": inToto, "payload": statementFor(d), "signatures": list{object{"sig": "MEUCIQ=="}}})
	}},
	"sigstore bundle, digest": {"application/vnd.dev.sigstore.bundle.v0.3+json", func(d digest.Digest) []byte { return bundleOf("messageSignature", messageSignature(d)) }},
	"sigstore bundle, old":    {"application/vnd.dev.sigstore.bundle+json;version=0.2", func(d digest.Digest) []byte { return bundleOf("messageSignature", messageSignature(d)) }},
	"notation JWS":            {"application/jose+json", func(d digest.Digest) []byte { return jwsOf(notationPayload(d)) }},
	"notation COSE":           {"application/cose", func(d digest.Digest) []byte { return coseOf([]byte{0xa0}, notationPayload(d)) }},
}

func sigTag(d digest.Digest) string { return d.Algorithm().String() + "-" + d.Encoded() + ".sig" }

func TestEvidencePassesWithWhatItIsAbout(t *testing.T) {
	for name, kind := range evidenceKinds {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, uncached)
			signed := w.signed(imageOf("signed"), "v1")
			unsigned := w.unsigned(imageOf("unsigned"), "v2")
			for _, declared := range []bool{false, true} {
				for _, about := range []image{signed, unsigned} {
					evidence := evidenceManifest(kind.mediaType, kind.payload(about.digest))
					if declared {
						evidence = evidence.referring(about)
					}
					w.unsigned(evidence, sigTag(about.digest))
					byTag, byDigest := manifestPath(app, sigTag(about.digest)), manifestPath(app, evidence.digest)
					payload, config := blobPath(app, evidence.layer()), blobPath(app, evidence.config())
					if about.digest == signed.digest {
						w.wantManifest(byTag, evidence)
						w.wantManifest(byDigest, evidence)
						w.wantBlob(payload, evidence.blobs[1])
						w.wantBlob(config, evidence.blobs[0])
						if r := w.recordOf(w.get(byDigest)); lines(r.Reasons) != "evidence for "+signed.digest.String() {
							t.Errorf("audit record %+v", r)
						}
						w.engine.Replace(w.load(object{registryName: list{signedBy(w.stranger)}}, reject))
						w.wantDenied(byTag)
						w.wantDenied(byDigest)
						w.wantDenied(payload)
						w.engine.Replace(w.load(object{registryName: list{signedBy(w.key)}}, reject))
						w.registry.drop(manifestPath(repo, sigTag(about.digest)))
						continue
					}
					w.wantDenied(byTag)
					w.wantDenied(byDigest)
					w.wantDenied(payload)
				}
			}
		})
	}
}

func TestEvidenceOfSeveralPayloads(t *testing.T) {
	w := newWorld(t)
	signed, unsigned := w.signed(imageOf("signed"), "v1"), w.unsigned(imageOf("unsigned"), "v2")
	both := evidenceManifest(cosignPayload, cosignFor(app, signed.digest), cosignFor(app+":v1", signed.digest))
	w.unsigned(both, "both.sig")
	w.wantManifest(manifestPath(app, "both.sig"), both)
	mixed := evidenceManifest(cosignPayload, cosignFor(app+":mixed", signed.digest), cosignFor(app, unsigned.digest))
	w.unsigned(mixed, "mixed.sig")
	w.wantDenied(manifestPath(app, "mixed.sig"))
	w.wantDenied(blobPath(app, mixed.layer()))
	most := make([][]byte, 128)
	for i := range most {
		most[i] = cosignFor(fmt.Sprint(app, ":", i), signed.digest)
	}
	many := evidenceManifest(cosignPayload, most[:127]...)
	w.unsigned(many, "127.sig")
	w.wantManifest(manifestPath(app, "127.sig"), many)
	w.unsigned(evidenceManifest(cosignPayload, most...), "128.sig")
	w.wantDenied(manifestPath(app, "128.sig"))
}

// A tag, a media type or a subject says nothing about content.
func TestWhatIsNotEvidenceIsDenied(t *testing.T) {
	w := newWorld(t)
	signed := w.signed(imageOf("signed"), "v1")
	unsigned := w.unsigned(imageOf("unsigned"), "v2")
	good := cosignFor(app, signed.digest)
	layer := randomBytes(2048, 9)
	withConfig := func(config []byte) image {
		return fromManifest(object{"schemaVersion": 2, "mediaType": ociManifest, "config": descriptor(ociEmpty, config),
			"layers": list{descriptor(cosignPayload, good)}}, config, good)
	}
	tests := map[string]image{
		"an image":                         imageOf("evil"),
		"an image with a subject":          imageOf("evil").referring(signed),
		"an index":                         multiArch("evil"),
		"no layers":                        evidenceManifest(cosignPayload),
		"signature and layer":              fromManifest(object{"schemaVersion": 2, "mediaType": ociManifest, "config": descriptor(ociEmpty, []byte("{}")), "layers": list{descriptor(cosignPayload, good), descriptor(ociLayer, layer)}}, []byte("{}"), good, layer),
		"about an unsigned image":          evidenceManifest(cosignPayload, cosignFor(app, unsigned.digest)),
		"said to be about a signed one":    evidenceManifest(cosignPayload, cosignFor(app, unsigned.digest)).referring(signed),
		"said to be about an unsigned one": evidenceManifest(cosignPayload, good).referring(unsigned),
		"about what is not there":          evidenceManifest(cosignPayload, cosignFor(app, digest.FromString("nothing"))),
		"about no digest":                  evidenceManifest(cosignPayload, cosignFor(app, "sha256:short")),
		"about an unknown algorithm":       evidenceManifest(cosignPayload, cosignFor(app, digest.Digest("md5:"+strings.Repeat("a", 32)))),
		"bytes after it":                   evidenceManifest(cosignPayload, append(bytes.Clone(good), layer...)),
		"one byte after it":                evidenceManifest(cosignPayload, append(bytes.Clone(good), 'x')),
		"a brace and bytes after it":       evidenceManifest(cosignPayload, append(append(bytes.Clone(good), '}'), layer...)),
		"a bracket and bytes after":        evidenceManifest(inToto, append(append(statementFor(signed.digest), ']'), layer...)),
		"JSON after it":                    evidenceManifest(cosignPayload, append(bytes.Clone(good), good...)),
		"NUL after it":                     evidenceManifest(cosignPayload, append(bytes.Clone(good), 0)),
		"bytes before it":                  evidenceManifest(cosignPayload, append(bytes.Clone(layer), good...)),
		"in a list":                        evidenceManifest(cosignPayload, []byte("["+string(good)+"]")),
		"empty":                            evidenceManifest(cosignPayload, nil),
		"a member that it has not":         evidenceManifest(cosignPayload, []byte(strings.Replace(string(good), `{"critical"`, `{"layer":"AAAA","critical"`, 1))),
		"a member twice":                   evidenceManifest(cosignPayload, []byte(strings.Replace(string(good), `{"critical"`, `{"critical":{},"critical"`, 1))),
		"a member in upper case too":       evidenceManifest(cosignPayload, []byte(strings.Replace(string(good), `{"critical"`, `{"CRITICAL":{},"critical"`, 1))),
		"statement with two subjects":      evidenceManifest(inToto, []byte(strings.Replace(string(statementFor(signed.digest)), `"subject"`, `"subject":[],"subject"`, 1))),
		"statement without a type":         evidenceManifest(inToto, []byte(strings.Replace(string(statementFor(signed.digest)), "https://in-toto.io/Statement/", "x", 1))),
		"statement about nothing":          evidenceManifest(inToto, statementFor()),
		"another kind of evidence":         evidenceManifest(inToto, good),
		"of an unknown type":               evidenceManifest("application/vnd.example+json", good),
		"in upper case":                    evidenceManifest(strings.ToUpper(cosignPayload), good),
		"unsigned envelope":                evidenceManifest("application/vnd.dsse.envelope.v1+json", mustJSON(object{"payloadType": inToto, "payload": statementFor(signed.digest), "signatures": list{}})),
		"envelope of something else":       evidenceManifest("application/vnd.dsse.envelope.v1+json", mustJSON(object{"payloadType": "text/plain", "payload": statementFor(signed.digest), "signatures": list{object{}}})),
		"bundle of both":                   evidenceManifest("application/vnd.dev.sigstore.bundle.v0.3+json", mustJSON(object{"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "verificationMaterial": object{}, "messageSignature": messageSignature(signed.digest), "dsseEnvelope": object{"payloadType": inToto, "payload": statementFor(unsigned.digest), "signatures": list{object{}}}})),
		"JWS of nothing":                   evidenceManifest("application/jose+json", mustJSON(object{"payload": "", "protected": "x", "signature": "x"})),
		"COSE with a tail":                 evidenceManifest("application/cose", append(coseOf([]byte{0xa0}, notationPayload(signed.digest)), layer...)),
		"COSE without its tag":             evidenceManifest("application/cose", coseOf([]byte{0xa0}, notationPayload(signed.digest))[1:]),
		"config is no JSON":                withConfig([]byte("not JSON")),
		"config is a list":                 withConfig([]byte("[]")),
		"config is null":                   withConfig([]byte("null")),
		"config is a manifest":             withConfig(unsigned.manifest),
		"config is huge":                   withConfig([]byte(`{"a":"` + strings.Repeat("x", 70<<10) + `"}`)),
		"huge":                             evidenceManifest(cosignPayload, append([]byte(strings.TrimSuffix(string(good), "}")+`,"optional2":"`), append(bytes.Repeat([]byte("x"), 5<<20), '"', '}')...)),
	}
	for name := range evidenceKinds {
		tests["layer relabelled as "+name] = evidenceManifest(evidenceKinds[name].mediaType, layer)
		tests["text relabelled as "+name] = evidenceManifest(evidenceKinds[name].mediaType, []byte("#!/bin/sh\n"))
	}
	for name, img := range tests {
		t.Run(name, func(t *testing.T) {
			w.t = t
			w.unsigned(img, sigTag(signed.digest))
			w.wantDenied(manifestPath(app, img.digest))
			if len(img.blobs) > 1 && !bytes.Equal(img.blobs[1], good) {
				w.wantDenied(blobPath(app, img.layer()))
			}
			fresh := sigTag(img.digest) // a tag that nobody asked for before
			w.unsigned(img, fresh)
			w.wantDenied(manifestPath(app, fresh))
		})
	}
}

// polyglots are layers that a tar reader can unpack and that are also evidence of
// a kind, word for word.
func polyglots(t *testing.T, d digest.Digest) map[string][]byte {
	header := func(start string, size int) []byte {
		h := bytes.Repeat([]byte("a"), 512)
		copy(h, start)
		copy(h[100:], fmt.Sprintf("%07o %07o %07o %011o %011o         0", 0o755, 0, 0, size, 0))
		sum := 0
		for _, c := range h {
			sum += int(c)
		}
		copy(h[148:], fmt.Sprintf("%06o  ", sum))
		return h
	}
	// JSON: the header and the file are one long string in it.
	begin, end := `{"predicate":"`, `","_type":"https://in-toto.io/Statement/v1","predicateType":"x","subject":[{"digest":{"sha256":"`+d.Encoded()+`"}}]}`
	script := "#!/bin/sh -c id;" + end
	script += strings.Repeat(" ", 1024-len(script))
	statement := append(header(begin, len(script)), script...)

	// COSE: any bytes at all may stand where the protected header does.
	start := "\xd2\x84\x59\x04\x01"
	protected := append(header(start, 1024)[len(start):], bytes.Repeat([]byte{0x7f, 'E', 'L', 'F'}, 256)...)[:1025]
	cose := coseOf(protected, notationPayload(d))
	cose = append(cose[:len(cose)-4], 0x59, 0x04, 0x00)
	cose = append(cose, bytes.Repeat([]byte{1}, 1024)...)
	if !bytes.HasPrefix(cose, []byte(start)) {
		t.Fatalf("the polyglot starts with %x", cose[:8])
	}
	out := map[string][]byte{inToto: statement, "application/cose": cose}
	for mediaType, b := range out {
		r := tar.NewReader(bytes.NewReader(b))
		h, err := r.Next()
		if err != nil {
			t.Fatalf("%s: no archive: %v", mediaType, err)
		}
		if content, err := io.ReadAll(r); err != nil || len(content) != int(h.Size) || h.Size == 0 {
			t.Fatalf("%s: no archive: %d bytes of %d, %v", mediaType, len(content), h.Size, err)
		}
	}
	return out
}

func TestAnArchiveThatIsEvidenceTooIsDenied(t *testing.T) {
	w := newWorld(t)
	signed := w.signed(imageOf("signed"), "v1")
	for mediaType, b := range polyglots(t, signed.digest) {
		evidence := evidenceManifest(mediaType, b)
		w.unsigned(evidence, "evil")
		w.wantDenied(manifestPath(app, evidence.digest))
		w.wantDenied(blobPath(app, evidence.layer()))
	}
}

func TestEvidenceThatCannotBeReadIsInDoubt(t *testing.T) {
	w := newWorld(t, uncached)
	signed := w.signed(imageOf("signed"), "v1")
	evidence := w.unsigned(evidenceManifest(cosignPayload, cosignFor(app, signed.digest)), "x.sig")
	path, payload := manifestPath(app, "x.sig"), blobPath(repo, evidence.layer())

	w.registry.answer(payload, status(500))
	w.wantUnavailable(path)
	w.wantDenied(blobPath(app, evidence.layer())) // nothing is known about it
	w.registry.answer(payload, bytesOf(bytes.Repeat([]byte("x"), 300)))
	w.wantStatus(path, 502)
	w.registry.answer(payload, http.HandlerFunc(endless).ServeHTTP)
	w.wantStatus(path, 502)
	w.registry.answer(payload, status(404))
	w.wantDenied(path)
	w.registry.answer(payload, nil)
	w.sigs.answer(signaturePath(app, signed.digest, 1), status(500))
	w.wantUnavailable(path)
	w.sigs.answer(signaturePath(app, signed.digest, 1), nil)
	w.wantManifest(path, evidence)
	w.registry.answer(manifestPath(repo, signed.digest), status(500))
	w.wantManifest(path, evidence) // what it is about is in memory
}

func TestEvidenceOfASignedManifestNeedsNoPull(t *testing.T) {
	// cosign reads the signature of a digest that nobody has pulled.
	w := newWorld(t)
	img := w.signed(imageOf("signed"), "v1")
	evidence := w.unsigned(evidenceManifest(cosignPayload, cosignFor(app, img.digest)), sigTag(img.digest))
	w.wantManifest(manifestPath(app, sigTag(img.digest)), evidence)
	w.registry.drop(manifestPath(repo, img.digest))
	w.registry.push("team/moved", evidence, sigTag(img.digest))
	w.wantDenied(manifestPath(registryName+"/team/moved", sigTag(img.digest)))
}

// Where there is no referrers API, clients keep the list of referrers under a
// tag.
func TestTheFallbackTagListsEvidence(t *testing.T) {
	w := newWorld(t)
	signed, unsigned := w.signed(imageOf("signed"), "v1"), w.unsigned(imageOf("unsigned"), "v2")
	about := func(img image) image {
		return evidenceManifest("application/vnd.dsse.envelope.v1+json", dsseOf(statementFor(img.digest))).referring(img)
	}
	sig := evidenceManifest(cosignPayload, cosignFor(app, signed.digest)).referring(signed)
	fallback := strings.TrimSuffix(sigTag(signed.digest), ".sig")

	index := w.unsigned(indexOf(sig, about(signed)), fallback)
	w.wantManifest(manifestPath(app, fallback), index)
	w.wantManifest(manifestPath(app, index.digest), index)
	w.wantManifest(manifestPath(app, sig.digest), sig)
	w.wantBlob(blobPath(app, sig.layer()), sig.blobs[1])
	for name, listed := range map[string]image{
		"an image":                     indexOf(sig, imageOf("evil").referring(signed)),
		"an unsigned image's evidence": indexOf(sig, about(unsigned)),
		"unsigned evidence first":      indexOf(about(unsigned), sig),
		"an image with nothing to run": indexOf(sig, evidenceManifest(ociLayer, []byte("layer")).referring(signed)),
		"an image first":               indexOf(imageOf("evil").referring(signed), sig),
		"a relabelled layer":           indexOf(sig, evidenceManifest(inToto, []byte("layer")).referring(signed)),
		"an index of evidence":         indexOf(sig, indexOf(about(signed))),
		"what is not there":            indexWith(list{sig.entry(), about(signed).entry(), imageOf("not there").entry()}, sig, about(signed)),
		"nothing":                      indexOf(),
	} {
		w.unsigned(listed, strings.ReplaceAll(strings.ReplaceAll(name, " ", "-"), "'", ""))
		t.Log(name)
		w.wantDenied(manifestPath(app, listed.digest))
	}
	w.engine.Replace(w.load(object{registryName: list{signedBy(w.stranger)}}, reject))
	w.wantDenied(manifestPath(app, fallback))
	if r := w.recordOf(w.get(manifestPath(app, fallback))); r.Decision != audit.Denied {
		t.Errorf("audit record %+v", r)
	}
}
