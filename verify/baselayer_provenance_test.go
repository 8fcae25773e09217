package verify

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/verify/attest"
	"github.com/pullgate/pullgate/verify/discover"
)

// used is a material: a URI and the sha256 of it, if any.
type used struct {
	uri    string
	digest digest.Digest
}

// provenanceOf is a statement of SLSA provenance about an image.
func (w *world) provenanceOf(kind string, about digest.Digest, materials ...used) []byte {
	var list []any
	for _, m := range materials {
		item := map[string]any{"uri": m.uri}
		if m.digest != "" {
			item["digest"] = map[string]any{m.digest.Algorithm().String(): m.digest.Encoded()}
		}
		list = append(list, item)
	}
	predicate := map[string]any{"builder": map[string]any{"id": ""}, "buildType": "https://mobyproject.org/buildkit@v1", "materials": list}
	if kind == attest.ProvenanceV1 {
		predicate = map[string]any{"buildDefinition": map[string]any{"buildType": "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md",
			"resolvedDependencies": list}, "runDetails": map[string]any{"builder": map[string]any{"id": ""}}}
	}
	return w.json(map[string]any{"_type": attest.StatementV01, "predicateType": kind, "predicate": predicate,
		"subject": []any{map[string]any{"name": "_", "digest": map[string]any{about.Algorithm().String(): about.Encoded()}}}})
}

// attestation makes a manifest in the image's repository with a statement in it.
func (w *world) attestation(mediaType string, statement []byte, subject digest.Digest) []byte {
	d := digest.FromBytes(statement)
	w.reg.blobs[appRepo+"@"+d.String()] = statement
	m := imgspec.Manifest{MediaType: imgspec.MediaTypeImageManifest, Config: imgspec.DescriptorEmptyJSON,
		Layers: []imgspec.Descriptor{{MediaType: mediaType, Digest: d, Size: int64(len(statement)),
			Annotations: map[string]string{"in-toto.io/predicate-type": attest.ProvenanceV1}}}}
	m.SchemaVersion = 2
	if subject != "" {
		m.Subject = &imgspec.Descriptor{MediaType: imgspec.MediaTypeImageManifest, Digest: subject, Size: 1}
	}
	return w.json(m)
}

const (
	statementType = "application/vnd.in-toto+json"
	envelopeType  = "application/vnd.dsse.envelope.v1+json"
)

// envelope wraps a statement. Nobody that the policy knows signed it.
func envelope(statement []byte) []byte {
	return fmt.Appendf(nil, `{"payloadType":"application/vnd.in-toto+json","payload":%q,"signatures":[{"keyid":"","sig":"AAAA"}]}`,
		base64.StdEncoding.EncodeToString(statement))
}

// refers stores an attestation that says to be about subject.
func (w *world) refers(mediaType string, document []byte, subject digest.Digest) {
	m := w.attestation(mediaType, document, subject)
	d := w.push(appRepo+":attestation", m)
	w.reg.referrers = append(w.reg.referrers, imgspec.Descriptor{MediaType: imgspec.MediaTypeImageManifest, Digest: d, Size: int64(len(m))})
}

// inIndex lists an image and, as BuildKit does, the statement about it.
func (w *world) inIndex(image, statement []byte) []byte {
	a := w.attestation(statementType, statement, "")
	d := w.push(appRepo+":attestation", a)
	return w.json(imgspec.Index{MediaType: imgspec.MediaTypeImageIndex, Manifests: []imgspec.Descriptor{
		{MediaType: imgspec.MediaTypeImageManifest, Digest: digest.FromBytes(image), Size: int64(len(image)), Platform: &imgspec.Platform{OS: "linux", Architecture: "amd64"}},
		{MediaType: imgspec.MediaTypeImageManifest, Digest: d, Size: int64(len(a)), Platform: &imgspec.Platform{OS: "unknown", Architecture: "unknown"},
			Annotations: map[string]string{"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": digest.FromBytes(image).String()}},
	}})
}

func (o *onBase) judgeIn(t testing.TB, m, index []byte) Verdict {
	t.Helper()
	s := subjectOf(t, appTag, m)
	s.Index = index
	return verify(t, o.engine(policyFor(t, o.scopes)), s)
}

// purl is a base as BuildKit names it.
func purl(ref string) string {
	return "pkg:docker/" + strings.Replace(ref, ":", "@", 1) + "?platform=linux%2Famd64"
}

// TestBaseProvenance: without annotations, the materials say which image of the
// repository is the base.
func TestBaseProvenance(t *testing.T) {
	other := digest.FromString("other")
	for name, c := range map[string]struct {
		used func(d digest.Digest) []used
		want string
	}{
		"BuildKit":         {func(d digest.Digest) []used { return []used{{purl(baseTag), d}} }, ""},
		"BuildKit, pinned": {func(d digest.Digest) []used { return []used{{"pkg:docker/" + baseRepo + "?digest=" + d.String(), d}} }, ""},
		"Tekton":           {func(d digest.Digest) []used { return []used{{"oci://" + baseRepo, d}} }, ""},
		"reference":        {func(d digest.Digest) []used { return []used{{baseRepo + "@" + d.String(), ""}} }, ""},
		"tag only":         {func(digest.Digest) []used { return []used{{"docker://" + baseTag, ""}} }, ""},
		"oci purl": {func(d digest.Digest) []used {
			return []used{{"pkg:oci/os@" + d.String() + "?repository_url=" + baseRepo, ""}}
		}, ""},
		"several stages": {func(d digest.Digest) []used {
			return []used{{purl("docker.io/library/golang:1"), other}, {purl(baseTag), d}}
		}, ""},
		"several of it":  {func(d digest.Digest) []used { return []used{{purl(baseRepo + ":8"), other}, {purl(baseTag), d}} }, ""},
		"the same again": {func(d digest.Digest) []used { return slices.Repeat([]used{{purl(baseTag), d}}, 20) }, ""},
		"among others": {func(d digest.Digest) []used {
			return append(slices.Repeat([]used{{"git+https://x.example/y", ""}}, 500), used{purl(baseTag), d})
		}, ""},
		"nothing":            {func(digest.Digest) []used { return nil }, "its SLSA provenance names no materials"},
		"the source":         {func(d digest.Digest) []used { return []used{{"git+https://github.com/acme/app@refs/heads/main", ""}} }, "names none either, but git+https://github.com/acme/app"},
		"another repository": {func(d digest.Digest) []used { return []used{{purl("base.example.com/base/other:9"), d}} }, "names none either, but pkg:docker/base.example.com/base/other"},
		"below it":           {func(d digest.Digest) []used { return []used{{purl(baseRepo + "/evil:9"), d}} }, "names none either"},
		"another registry":   {func(d digest.Digest) []used { return []used{{purl("evil.example.com/base/os:9"), d}} }, "names none either"},
		"no tag or digest":   {func(digest.Digest) []used { return []used{{"oci://" + baseRepo, ""}} }, "has neither tag nor digest"},
		"two digests":        {func(d digest.Digest) []used { return []used{{"oci://" + baseRepo + "@" + d.String(), other}} }, "two digests for one image"},
		"a blob":             {func(d digest.Digest) []used { return []used{{"pkg:docker/" + baseRepo + "?ref_type=blob", d}} }, "names none either"},
		"it is gone":         {func(digest.Digest) []used { return []used{{purl(baseTag), other}} }, "does not exist"},
		"another tag":        {func(d digest.Digest) []used { return []used{{purl(baseRepo + ":8"), d}} }, "signature is for " + baseTag},
	} {
		for _, kind := range []string{attest.ProvenanceV02, attest.ProvenanceV1} {
			t.Run(name+" "+kind, func(t *testing.T) {
				o := newOnBase(t, ofRepository(baseRepo))
				m := o.bake(appRepo, recipe{layers: []string{"os1", "os2", "app"}})
				p := o.provenanceOf(kind, digest.FromBytes(m), c.used(o.digest)...)
				o.refers(envelopeType, envelope(p), digest.FromBytes(m))
				v := o.judge(t, m)
				wantBased(t, v, c.want)
				if source := digest.FromBytes(envelope(p)).String(); (c.want == "") != slices.Contains(v.Evidence(), source) {
					t.Errorf("expected provenance %s recorded when it was used, found %v", source, v.Evidence())
				}
				for _, a := range o.reg.asked {
					if !strings.Contains(a, baseRepo+":") && !strings.Contains(a, baseRepo+"@") && !strings.Contains(a, appRepo) {
						t.Errorf("a material led to %s", a)
					}
				}
			})
		}
	}
}

// TestBaseProvenancePlaces: where provenance of an image is, signed or not.
func TestBaseProvenancePlaces(t *testing.T) {
	bundled := func(p []byte) []byte {
		return fmt.Appendf(nil, `{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","dsseEnvelope":%s}`, envelope(p))
	}
	const bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"
	for name, c := range map[string]struct {
		store func(o *onBase, image, p []byte) (index []byte)
		about string
		want  string
	}{
		"bundle":           {func(o *onBase, m, p []byte) []byte { o.refers(bundleType, bundled(p), digest.FromBytes(m)); return nil }, "image", ""},
		"statement":        {func(o *onBase, m, p []byte) []byte { o.refers(statementType, p, digest.FromBytes(m)); return nil }, "image", ""},
		"attestation tag":  {func(o *onBase, m, p []byte) []byte { o.atTag(m, p); return nil }, "image", ""},
		"BuildKit's index": {func(o *onBase, m, p []byte) []byte { return o.inIndex(m, p) }, "image", ""},
		"about the index": {func(o *onBase, m, p []byte) []byte {
			x := o.index([]string{amd64}, m)
			o.refers(envelopeType, envelope(p), digest.FromBytes(x))
			return x
		}, "index", ""},
		"tag of the index":   {func(o *onBase, m, p []byte) []byte { x := o.index([]string{amd64}, m); o.atTag(x, p); return x }, "index", ""},
		"nowhere":            {func(*onBase, []byte, []byte) []byte { return nil }, "image", "no SLSA provenance found at " + appRepo},
		"in another's index": {func(o *onBase, m, p []byte) []byte { o.inIndex(m, p); return o.index([]string{amd64}, []byte("other")) }, "image", "no SLSA provenance found"},
		"of another image":   {func(o *onBase, m, p []byte) []byte { o.refers(statementType, p, digest.FromBytes(m)); return nil }, "other", "it is about another image"},
		"another's in index": {func(o *onBase, m, p []byte) []byte { return o.inIndex(m, p) }, "other", "it is about another image"},
		"about another's index": {func(o *onBase, _, _ []byte) []byte {
			x := o.index([]string{amd64}, []byte("other"))
			o.refers(statementType, o.provenanceOf(attest.ProvenanceV1, digest.FromBytes(x), used{purl(baseTag), o.digest}), digest.FromBytes(x))
			return x
		}, "image", "no SLSA provenance found"},
		// What is stored beside the image has to be about the image, not its index, and
		// the other way round.
		"mixed up": {func(o *onBase, m, p []byte) []byte {
			x := o.index([]string{amd64}, m)
			o.refers(statementType, p, digest.FromBytes(m))
			return x
		}, "index", "it is about another image"},
		"mixed up2": {func(o *onBase, m, p []byte) []byte { x := o.index([]string{amd64}, m); o.atTag(x, p); return x }, "image", "it is about another image"},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOnBase(t, ofRepository(baseRepo))
			m := o.bake(appRepo, recipe{layers: []string{"os1", "os2", "app"}})
			about := map[string]digest.Digest{"image": digest.FromBytes(m), "other": digest.FromString("other"),
				"index": digest.FromBytes(o.index([]string{amd64}, m))}[c.about]
			index := c.store(o, m, o.provenanceOf(attest.ProvenanceV1, about, used{purl(baseTag), o.digest}))
			wantBased(t, o.judgeIn(t, m, index), c.want)
		})
	}
}

// atTag stores an envelope at the .att tag of a manifest.
func (w *world) atTag(m, p []byte) {
	w.reg.manifests[appRepo+":sha256-"+digest.FromBytes(m).Encoded()+".att"] = w.attestation(envelopeType, envelope(p), "")
}

// TestBaseProvenanceProvesNothing: whoever writes provenance cannot make an image pass
// that is not built on an accepted base.
func TestBaseProvenanceProvesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		layers  []string
		prepare func(o *onBase) used
		want    string
	}{
		"not contained": {[]string{"evil", "app"}, func(o *onBase) used { return used{purl(baseTag), o.digest} }, "none of the 2 layers of base"},
		"prefix broken": {[]string{"os1", "evil", "os2"}, func(o *onBase) used { return used{purl(baseTag), o.digest} }, "is layer 3 of the image"},
		"not signed": {[]string{"evil", "app"}, func(o *onBase) used {
			return used{purl(baseTag), o.push(baseRepo+":evil", o.bake(baseRepo, recipe{layers: []string{"evil"}}))}
		}, "no signatures found"},
		"banned": {[]string{"os1", "os2"}, func(o *onBase) used {
			o.scopes[baseRepo+"@"+o.digest.String()] = []any{map[string]any{"type": "reject"}}
			return used{purl(baseTag), o.digest}
		}, "rejects every image"},
		"in the image's repository": {[]string{"evil", "app"}, func(o *onBase) used {
			return used{purl(appTag), o.push(appRepo+":evil", o.bake(appRepo, recipe{layers: []string{"evil"}}))}
		}, "names none either"},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOnBase(t, ofRepository(baseRepo))
			u := c.prepare(o)
			m := o.bake(appRepo, recipe{layers: c.layers})
			wantBased(t, o.judgeIn(t, m, o.inIndex(m, o.provenanceOf(attest.ProvenanceV1, digest.FromBytes(m), u))), c.want)
		})
	}
}

// TestBaseAnnotationsDecide: where there is an annotation, provenance is not asked for.
// It could otherwise replace what the image itself says.
func TestBaseAnnotationsDecide(t *testing.T) {
	for want, annotations := range map[string]map[string]string{
		"not of " + baseRepo:  builtOn("evil.example.com/base/os:9", ""),
		"does not exist":      builtOn("", digest.FromString("other")),
		"expected a digest":   builtOn("", "latest"),
		"expected a full nam": builtOn("os:9", ""),
		"":                    builtOn(baseTag, ""),
	} {
		o := newOnBase(t, ofRepository(baseRepo))
		m := o.bake(appRepo, recipe{layers: []string{"os1", "os2", "app"}, annotations: annotations})
		p := o.provenanceOf(attest.ProvenanceV1, digest.FromBytes(m), used{purl(baseTag), o.digest})
		o.refers(statementType, p, digest.FromBytes(m))
		wantBased(t, o.judgeIn(t, m, o.inIndex(m, p)), want)
		if slices.ContainsFunc(o.reg.asked, func(a string) bool { return strings.HasPrefix(a, "referrers") || strings.HasSuffix(a, ".att") }) {
			t.Errorf("%v: asked for provenance: %v", annotations, o.reg.asked)
		}
	}
	o := newOnBase(t, exactly(baseTag))
	wantBased(t, o.judge(t, o.bake(appRepo, recipe{layers: []string{"os1", "os2", "app"}})), "")
	if slices.ContainsFunc(o.reg.asked, func(a string) bool { return strings.HasPrefix(a, "referrers") }) {
		t.Errorf("exactReference: asked for provenance: %v", o.reg.asked)
	}
}

// TestBaseProvenanceMalformed is left out and said to be; good provenance beside it
// still counts.
func TestBaseProvenanceMalformed(t *testing.T) {
	o := newOnBase(t, ofRepository(baseRepo))
	m := o.bake(appRepo, recipe{layers: []string{"os1", "os2", "app"}})
	good := string(o.provenanceOf(attest.ProvenanceV1, digest.FromBytes(m), used{purl(baseTag), o.digest}))
	bad := map[string]string{
		"not one JSON document":  `{"a":`,
		"expected a statement":   `[]`,
		"more than once":         strings.Replace(good, `"resolvedDependencies"`, `"resolvedDependencies":[],"resolvedDependencies"`, 1),
		"which some read as":     strings.Replace(good, `"resolvedDependencies"`, `"ResolvedDependencies"`, 1),
		"in lower case hex":      strings.Replace(good, `"digest":{"sha256":"`+o.digest.Encoded(), `"digest":{"sha256":"`+strings.ToUpper(o.digest.Encoded()), 1),
		"expected a digest":      strings.Replace(good, "@9", "@sha256:1", 1),
		"nested more than 64":    strings.Replace(good, `"runDetails":`, `"x":`+strings.Repeat("[", 100)+strings.Repeat("]", 100)+`,"runDetails":`, 1),
		"is no package URL":      strings.Replace(good, "pkg:docker/", "pkg:docker/%zz", 1),
		"expected buildDefiniti": strings.Replace(good, `"buildDefinition"`, `"build"`, 1),
	}
	for want, s := range bad {
		o.reg.referrers = nil
		o.refers(statementType, []byte(s), digest.FromBytes(m))
		wantBased(t, o.judge(t, m), want)
		o.refers(envelopeType, []byte(s), digest.FromBytes(m))
		o.refers(envelopeType, envelope([]byte(good)), digest.FromBytes(m))
		wantBased(t, o.judge(t, m), "")
	}
}

// TestBaseProvenanceBounds: no more images are looked at than the bounds say.
func TestBaseProvenanceBounds(t *testing.T) {
	for n, want := range map[int]string{maxBaseCandidates: "", maxBaseCandidates + 1: "names more than 8 images"} {
		o := newOnBase(t, ofRepository(baseRepo))
		m := o.bake(appRepo, recipe{layers: []string{"os1", "os2", "app"}})
		var all []used
		for i := range n - 1 {
			all = append(all, used{purl(fmt.Sprintf("%s:%d", baseRepo, i+100)), ""})
		}
		all = append(all, used{purl(baseTag), o.digest})
		v := o.judgeIn(t, m, o.inIndex(m, o.provenanceOf(attest.ProvenanceV1, digest.FromBytes(m), all...)))
		wantBased(t, v, want)
		if want != "" && slices.ContainsFunc(o.reg.asked, func(a string) bool { return strings.Contains(a, baseRepo) }) {
			t.Errorf("asked %v", o.reg.asked)
		}
	}
}

// TestBaseProvenanceOfThePublisher: what somebody adds beside the image does not keep the
// provenance in its index from being believed.
func TestBaseProvenanceOfThePublisher(t *testing.T) {
	o := newOnBase(t, ofRepository(baseRepo))
	m := o.bake(appRepo, recipe{layers: []string{"os1", "os2", "app"}})
	index := o.inIndex(m, o.provenanceOf(attest.ProvenanceV1, digest.FromBytes(m), used{purl(baseTag), o.digest}))
	var many []used
	for i := range maxBaseCandidates + 1 {
		many = append(many, used{purl(fmt.Sprintf("%s:no%d", baseRepo, i)), ""})
	}
	o.refers(statementType, o.provenanceOf(attest.ProvenanceV1, digest.FromBytes(m), many...), digest.FromBytes(m))
	wantBased(t, o.judge(t, m), "names more than 8 images")
	wantBased(t, o.judgeIn(t, m, index), "")
}

// TestBaseTries: bases whose provenance names several bases each do not multiply.
func TestBaseTries(t *testing.T) {
	o := newOnBase(t, nil)
	repo := func(level int) string {
		if level == 0 {
			return appRepo
		}
		return fmt.Sprintf("base.example.com/level/l%d", level)
	}
	var below []used
	for level := maxBaseDepth; level >= 0; level-- {
		o.scopes[repo(level)] = []any{ofRepository(repo(level + 1))}
		var made []used
		for i := range maxBaseCandidates {
			m := o.bake(repo(level), recipe{layers: []string{"os1"}, annotations: map[string]string{"n": fmt.Sprint(i)}})
			tag := fmt.Sprintf("%s:%d", repo(level), i)
			made = append(made, used{purl(tag), o.push(tag, m)})
			p := o.provenanceOf(attest.ProvenanceV1, digest.FromBytes(m), below...)
			a := o.attestation(envelopeType, envelope(p), "")
			for k, b := range o.reg.blobs {
				if _, d, _ := strings.Cut(k, "@"); strings.HasPrefix(k, appRepo) {
					o.reg.blobs[repo(level)+"@"+d] = b
				}
			}
			o.reg.manifests[repo(level)+":sha256-"+digest.FromBytes(m).Encoded()+".att"] = a
		}
		below = made
	}
	m := o.reg.manifests[appRepo+":0"]
	v := o.judge(t, m)
	wantBased(t, v, "more than 32 images may be its base")
	n := 0
	for _, a := range o.reg.asked {
		if strings.HasPrefix(a, "blob base.example.com/level/") {
			n++
		}
	}
	if n > 4*maxBaseTries { // a config, and a statement when it is judged
		t.Errorf("%d blobs of bases were fetched", n)
	}
}

// TestBaseProvenanceOutages: provenance, or a base that it names, that could not be
// asked for is no absence. One base that can be looked at is enough.
func TestBaseProvenanceOutages(t *testing.T) {
	for name, c := range map[string]struct {
		down  string
		index bool // whose provenance is the only one
		fine  bool
	}{
		"attestation tag":   {"manifest " + appRepo + ":sha256-", false, false},
		"attestations":      {"manifest " + appRepo + "@", false, false},
		"the statement":     {"blob " + appRepo, false, false},
		"the base":          {"manifest " + baseRepo + "@", false, false},
		"tag of the index":  {"", true, false},
		"another candidate": {"manifest " + baseRepo + ":8", false, true},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOnBase(t, ofRepository(baseRepo))
			m := o.bake(appRepo, recipe{layers: []string{"os1", "os2", "app"}})
			s := subjectOf(t, appTag, m)
			p := o.provenanceOf(attest.ProvenanceV1, s.Digest, used{purl(baseRepo + ":8"), ""}, used{purl(baseTag), o.digest})
			s.Index = o.inIndex(m, p)
			if c.index {
				s.Index = o.index([]string{amd64}, m)
				c.down = "manifest " + appRepo + ":sha256-" + digest.FromBytes(s.Index).Encoded()
			}
			policy, err := o.load(policyFor(t, o.scopes))
			if err != nil {
				t.Fatal(err)
			}
			e, err := NewEngine(policy, down{o.reg, c.down, errors.New("429 too many requests")}, o.web)
			if err != nil {
				t.Fatal(err)
			}
			v, err := e.Verify(context.Background(), s)
			if c.fine {
				if err != nil {
					t.Fatal(err)
				}
				wantBased(t, v, "")
				return
			}
			var inc *Inconclusive
			if !errors.As(err, &inc) || errors.Is(err, fs.ErrNotExist) || v.Decision != Denied || !strings.Contains(err.Error(), "429") {
				t.Errorf("expected an inconclusive error, found %v, %+v", err, v)
			}
		})
	}
}

// TestBaseOfSchema2: Docker's manifests have no annotations, so provenance is all
// there is.
func TestBaseOfSchema2(t *testing.T) {
	o := newOnBase(t, ofRepository(baseRepo))
	m := []byte(strings.NewReplacer(imgspec.MediaTypeImageManifest, "application/vnd.docker.distribution.manifest.v2+json",
		imgspec.MediaTypeImageConfig, "application/vnd.docker.container.image.v1+json",
		imgspec.MediaTypeImageLayerGzip, "application/vnd.docker.image.rootfs.diff.tar.gzip").
		Replace(string(o.bake(appRepo, recipe{layers: []string{"os1", "os2", "app"}}))))
	wantBased(t, o.judge(t, m), "no SLSA provenance found")
	o.refers(statementType, o.provenanceOf(attest.ProvenanceV02, digest.FromBytes(m), used{purl(baseTag), o.digest}), digest.FromBytes(m))
	wantBased(t, o.judge(t, m), "")
}

// TestStatementsMeetNothingElse: a statement that nobody signed is found for the base,
// and counts for no other requirement.
func TestStatementsMeetNothingElse(t *testing.T) {
	o := newOnBase(t, nil)
	m := o.bake(appRepo, recipe{layers: []string{"os1", "os2", "app"}})
	index := o.inIndex(m, o.provenanceOf(attest.ProvenanceV1, digest.FromBytes(m), used{purl(baseTag), o.digest}))
	key := newSigstoreKey(t).pem()
	for _, kind := range []string{"attested", "bundleSigned"} {
		r := map[string]any{"type": kind, "keyData": key}
		if kind == "attested" {
			r = map[string]any{"type": kind, "predicateType": attest.ProvenanceV1, "signedBy": map[string]any{"keyData": key}, "condition": "true"}
		}
		o.scopes[appRepo] = []any{ofRepository(baseRepo), r}
		v := o.judgeIn(t, m, index)
		if v.Decision != Denied || !v.Requirements[0].Allowed || v.Requirements[1].Allowed {
			t.Errorf("%s: %+v", kind, v)
		}
		if len(v.Signatures) != 1 || v.Signatures[0].Kind != KindStatement || v.Signatures[0].Digest != digest.FromBytes(m).String() {
			t.Errorf("%s: expected the statement as what it is, found %+v", kind, v.Signatures)
		}
	}
}

// TestBaseProvenanceElsewhere: with a signature repository, provenance of the image and
// of its index is there, and what lies beside the image is not asked for.
func TestBaseProvenanceElsewhere(t *testing.T) {
	const elsewhere = "signatures.example.com/all"
	for _, of := range []string{"image", "index", "nothing"} {
		o := newOnBase(t, ofRepository(baseRepo))
		m := o.bake(appRepo, recipe{layers: []string{"os1", "os2", "app"}})
		s := subjectOf(t, appTag, m)
		s.Index = o.index([]string{amd64}, m)
		about := map[string][]byte{"image": m, "index": s.Index, "nothing": nil}[of]
		p := envelope(o.provenanceOf(attest.ProvenanceV1, digest.FromBytes(about), used{purl(baseTag), o.digest}))
		a := o.attestation(envelopeType, p, "")
		o.reg.blobs[elsewhere+"@"+digest.FromBytes(p).String()] = p
		o.reg.manifests[elsewhere+":sha256-"+digest.FromBytes(about).Encoded()+".att"] = a
		o.atTag(m, o.provenanceOf(attest.ProvenanceV1, s.Digest, used{purl(baseTag), o.digest}))
		o.write("policy.json", policyFor(t, o.scopes))
		options := o.options()
		options.SignatureRepositories = map[string]string{appRepo: elsewhere}
		e := o.engineWith(options)
		wantBased(t, verify(t, e, s), map[string]string{"nothing": "no SLSA provenance found at " + elsewhere}[of])
	}
}

// TestProvenanceIsReadWhileSomebodyWaits: anybody may push documents that take seconds
// to read, and they are not read for nobody.
func TestProvenanceIsReadWhileSomebodyWaits(t *testing.T) {
	w := newWorld(t)
	base := named(t, baseRepo)
	theDigest := digest.FromBytes(theManifest)
	statement := w.provenanceOf(attest.ProvenanceV1, theDigest, used{"docker://" + baseRepo + ":9", ""})
	document := discover.Document{Kind: discover.KindStatement, Bytes: statement, Digest: digest.FromBytes(statement)}
	ctx, cancel := context.WithCancel(t.Context())
	p := &provenance{repo: base}
	if err := p.read(ctx, []discover.Document{document}, theDigest); err != nil || p.found != 1 || len(p.hints) != 1 {
		t.Fatalf("%d documents, %d hints, %v", p.found, len(p.hints), err)
	}
	cancel()
	p = &provenance{repo: base}
	if err := p.read(ctx, []discover.Document{document}, theDigest); !errors.Is(err, context.Canceled) || p.found != 0 {
		t.Errorf("read %d documents, %v", p.found, err)
	}
}

// TestHintsAreFew: each is compared with those before it, and strangers say how many
// there are.
func TestHintsAreFew(t *testing.T) {
	w := newWorld(t)
	var materials []used
	for i := range 5000 {
		materials = append(materials, used{fmt.Sprintf("docker://%s:%d", baseRepo, i), ""})
	}
	about := digest.FromBytes(theManifest)
	p := &provenance{repo: named(t, baseRepo)}
	document := discover.Document{Kind: discover.KindStatement, Bytes: w.provenanceOf(attest.ProvenanceV1, about, materials...)}
	if err := p.read(t.Context(), []discover.Document{document}, about); err != nil || len(p.hints) != maxBaseCandidates+1 {
		t.Errorf("%d hints, %v", len(p.hints), err)
	}
}
