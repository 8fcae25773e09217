package verify

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestBaseLayers: what the layers of an image say about its base.
func TestBaseLayers(t *testing.T) {
	for name, c := range map[string]struct {
		image recipe
		want  string
	}{
		"built on it":          {recipe{layers: []string{"os1", "os2", "app"}}, ""},
		"nothing added":        {recipe{layers: []string{"os1", "os2"}}, ""},
		"compressed anew":      {recipe{layers: []string{"os1", "os2!zstd", "app"}}, "layer 2 of the image has the content of base " + baseTag + ", compressed anew"},
		"squashed":             {recipe{layers: []string{"os1+os2+app"}}, "none of the 2 layers"},
		"squashed, same count": {recipe{layers: []string{"os1+os2", "app"}}, "none of the 2 layers"},
		"truncated":            {recipe{layers: []string{"os1"}}, "fewer than the 2"},
		"another layer":        {recipe{layers: []string{"os1", "evil", "app"}}, "layer 2 of the image is not the one of base"},
		"reordered":            {recipe{layers: []string{"os2", "os1", "app"}}, "another order"},
		"in between":           {recipe{layers: []string{"os1", "app", "os2"}}, "layer 2 of base " + baseTag + " is layer 3 of the image"},
		"below":                {recipe{layers: []string{"app", "os1", "os2"}}, "another order"},
		"not contained":        {recipe{layers: []string{"evil1", "evil2"}}, "none of the 2 layers"},
		"no layers":            {recipe{}, "none of the 2 layers"},
		// The manifest has the base's bytes, the config says that they unpack to something else.
		"other diff IDs":          {recipe{layers: []string{"os1", "os2", "app"}, diffs: []string{"os1", "evil", "app"}}, "expected diff ID"},
		"diff IDs of it":          {recipe{layers: []string{"evil1", "evil2"}, diffs: []string{"os1", "os2"}}, "compressed anew"},
		"too few diff IDs":        {recipe{layers: []string{"os1", "os2", "app"}, diffs: []string{"os1", "os2"}}, "names 2 diff IDs, the manifest 3 layers"},
		"too many diff IDs":       {recipe{layers: []string{"os1", "os2"}, diffs: []string{"os1", "os2", "app"}}, "names 3 diff IDs, the manifest 2 layers"},
		"left out layers":         {recipe{layers: []string{"os1", "os2", "app"}, mediaType: "application/octet-stream"}, "which clients may leave out"},
		"no platform":             {recipe{layers: []string{"os1", "os2"}, platform: "unknown/unknown"}, "neither operating system nor architecture"},
		"config is gone":          {recipe{layers: []string{"os1", "os2"}, noConfig: true}, "the config of the image does not exist"},
		"config says large":       {recipe{layers: []string{"os1", "os2"}, configSize: maxBaseConfig + 1}, "expected at most"},
		"config of nothing":       {recipe{layers: []string{"os1", "os2"}, configBytes: []byte(`[]`)}, "the config of the image cannot be read"},
		"config of many nothings": {recipe{layers: []string{"os1", "os2"}, configBytes: []byte(listOfNothing)}, "values, found more"},
		"no rootfs":               {recipe{layers: []string{"os1", "os2"}, configBytes: []byte(`{"os":"linux","architecture":"amd64"}`)}, "rootfs.type"},
		"two rootfs": {recipe{layers: []string{}, configBytes: []byte(`{"os":"linux","architecture":"amd64",` +
			`"rootfs":{"type":"layers","diff_ids":[]},"rootfs":{"type":"layers","diff_ids":[]}}`)}, "stands here twice"},
		"two spellings": {recipe{layers: []string{}, configBytes: []byte(`{"os":"linux","architecture":"amd64",` +
			`"rootfs":{"type":"layers","Diff_IDs":[]}}`)}, "expected diff_ids, found Diff_IDs"},
		"layers twice":        {recipe{layers: []string{"os1", "os2"}, extra: `"layers":[]`}, "stands here twice"},
		"layers and Layers":   {recipe{layers: []string{"os1", "os2"}, extra: `"Layers":[]`}, "expected layers, found Layers"},
		"image and index":     {recipe{layers: []string{"os1", "os2"}, extra: `"manifests":[]`}, "neither that of an image nor an index"},
		"image and schema 1":  {recipe{layers: []string{"os1", "os2"}, extra: `"fsLayers":[]`}, "Docker schema 1"},
		"diff ID is no hash":  {recipe{layers: []string{"x"}, configBytes: []byte(`{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["x"]}}`)}, "no digest"},
		"labels of all sorts": {recipe{layers: []string{"os1", "os2"}, annotations: map[string]string{"Layers": "x", "DIGEST": "y"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOnBase(t, exactly(baseTag))
			wantBased(t, o.judge(t, o.bake(appRepo, c.image)), c.want)
		})
	}
}

// TestLayeredRefuses what could be taken for something else.
func TestLayeredRefuses(t *testing.T) {
	const d = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
	const config = `"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"` + d + `","size":2}`
	for m, want := range map[string]string{
		`{"schemaVersion":2,` + config + `,"layers":[]}`: "",
		`{"schemaVersion":2,"manifests":[]}`:             "",
		`{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json",` + config + `,"layers":[]}`:          "",
		`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json",` + config + `,"layers":[]}`:                       "the members of another type",
		`{"schemaVersion":2,"mediaType":"",` + config + `,"layers":[]}`:                                                              "the members of another type",
		`{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"` + d + `","size":2},"layers":[]}`:   "it is no image",
		`{"schemaVersion":2,` + config + `,"layers":[{"digest":"sha256:1","size":2}]}`:                                               "digest sha256:1",
		`{"schemaVersion":2,` + config + `,"layers":[{"digest":"` + d + `","size":-1}]}`:                                             "size -1",
		`{"schemaVersion":2,` + config + `,"layers":[{"digest":"` + d + `","Digest":"` + d + `","size":1}]}`:                         "expected digest, found Digest",
		`{"schemaVersion":2,"manifests":[{"digest":"x","size":1}]}`:                                                                  "digest x",
		`{"schemaVersion":2,"manifests":[` + strings.TrimSuffix(strings.Repeat(`{"digest":"`+d+`"},`, maxBaseEntries+1), ",") + `]}`: "expected at most 1000",
		`{"schemaVersion":2,` + config + `}`:                "neither that of an image nor an index",
		`{"schemaVersion":3,` + config + `,"layers":[]}`:    "neither that of an image nor an index",
		`{"schemaVersion":1,` + config + `,"layers":[]}`:    "schema 1",
		`{"schemaVersion":2,` + config + `,"layers":[]} {}`: "found more",
		`{"schemaVersion":2,` + config + `,"layers":[],"x":` + strings.Repeat("[", maxNesting+1) + strings.Repeat("]", maxNesting+1) + `}`: "levels of nesting",
		`{"schemaVersion":2,` + config + `,"layers":{}}`: "cannot be read",
		``: "its manifest",
	} {
		_, err := readLayered([]byte(m))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.200s: expected %q, found %v", m, want, err)
		}
	}
}

// TestBaseAcceptance: an image with the base's layers is worth what the base is worth.
func TestBaseAcceptance(t *testing.T) {
	accept := []any{map[string]any{"type": "insecureAcceptAnything"}}
	for name, c := range map[string]struct {
		prepare func(o *onBase)
		want    string
	}{
		"signed":             {func(*onBase) {}, ""},
		"unsigned":           {func(o *onBase) { clear(o.web.files) }, "scope " + baseRepo + " denies it: signedBy: no signatures found"},
		"by another key":     {func(o *onBase) { o.signed(newGPG(t, "ed25519"), baseTag, o.base) }, "does not trust"},
		"as another image":   {func(o *onBase) { o.signed(o.key, baseRepo+":8", o.base) }, "signature is for " + baseRepo + ":8"},
		"rejected":           {func(o *onBase) { o.scopes[baseRepo] = []any{map[string]any{"type": "reject"}} }, "rejects every image"},
		"by default":         {func(o *onBase) { delete(o.scopes, baseRepo) }, "scope default denies it"},
		"accepted unsigned":  {func(o *onBase) { o.scopes[baseRepo] = accept }, "a base that nobody vouches for proves nothing"},
		"accepted by anyOf":  {func(o *onBase) { o.scopes[baseRepo] = []any{map[string]any{"type": "anyOf", "of": []any{accept}}} }, "nobody vouches"},
		"more specific":      {func(o *onBase) { o.scopes[baseTag] = []any{map[string]any{"type": "reject"}} }, "scope " + baseTag + " denies it"},
		"banned by digest":   {func(o *onBase) { o.scopes[baseRepo+"@"+o.digest.String()] = []any{map[string]any{"type": "reject"}} }, "denies it"},
		"does not exist":     {func(o *onBase) { clear(o.reg.manifests) }, "does not exist"},
		"no config":          {func(o *onBase) { delete(o.reg.blobs, configAt(o, o.base)) }, "the config of base " + baseTag + " does not exist"},
		"too large":          {func(o *onBase) { o.reg.manifests[baseTag] = make([]byte, maxBaseManifest+1) }, "larger than"},
		"schema 1":           {func(o *onBase) { o.push(baseTag, []byte(`{"schemaVersion":1,"fsLayers":[]}`)) }, "Docker schema 1"},
		"no image":           {func(o *onBase) { o.push(baseTag, []byte(`{"schemaVersion":2}`)) }, "neither that of an image nor an index"},
		"without layers":     {func(o *onBase) { o.replace(recipe{}) }, "has no layers"},
		"says large config":  {func(o *onBase) { o.replace(recipe{layers: []string{"os1", "os2"}, configSize: maxBaseConfig + 1}) }, "expected at most"},
		"diff IDs, layers":   {func(o *onBase) { o.replace(recipe{layers: []string{"os1", "os2"}, diffs: []string{"os1"}}) }, "names 1 diff IDs, the manifest 2 layers"},
		"shorter diff IDs":   {func(o *onBase) { o.replace(recipe{layers: []string{}, diffs: []string{"os1"}}) }, "names 1 diff IDs, the manifest 0 layers"},
		"attestation":        {func(o *onBase) { o.replace(recipe{layers: []string{"os1", "os2"}, platform: "unknown/unknown"}) }, "it is no image"},
		"moved on":           {func(o *onBase) { o.replace(recipe{layers: []string{"os1", "os2", "os3"}}) }, "not the one of base " + baseTag},
		"signed differently": {func(o *onBase) { o.scopes[baseRepo] = []any{signedBy(nil, newGPG(t, "ed25519"))} }, "does not trust"},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOnBase(t, exactly(baseTag))
			c.prepare(o)
			v := o.judge(t, o.bake(appRepo, recipe{layers: []string{"os1", "os2", "app"}}))
			wantBased(t, v, c.want)
		})
	}
}

// replace puts another signed image where the base was.
func (o *onBase) replace(r recipe) {
	o.base = o.bake(baseRepo, r)
	o.digest = o.push(baseTag, o.base)
	o.signed(o.key, baseTag, o.base)
}

func configAt(o *onBase, m []byte) string {
	var x imgspec.Manifest
	if err := json.Unmarshal(m, &x); err != nil {
		o.t.Fatal(err)
	}
	return baseRepo + "@" + x.Config.Digest.String()
}

// TestBaseAnnotations: with a repository in the policy, the image says which image
// of it is the base.
func TestBaseAnnotations(t *testing.T) {
	other := digest.FromString("another")
	for name, c := range map[string]struct {
		says func(d digest.Digest) map[string]string
		want string
	}{
		"name and digest":    {func(d digest.Digest) map[string]string { return builtOn(baseTag, d) }, ""},
		"name":               {func(digest.Digest) map[string]string { return builtOn(baseTag, "") }, ""},
		"digest":             {func(d digest.Digest) map[string]string { return builtOn("", d) }, ""},
		"repository, digest": {func(d digest.Digest) map[string]string { return builtOn(baseRepo, d) }, ""},
		"name with digest":   {func(d digest.Digest) map[string]string { return builtOn(baseTag+"@"+d.String(), d) }, ""},
		"nothing":            {func(digest.Digest) map[string]string { return nil }, "has no annotation org.opencontainers.image.base.name"},
		"repository only":    {func(digest.Digest) map[string]string { return builtOn(baseRepo, "") }, "expected a tag or a digest"},
		"two digests":        {func(d digest.Digest) map[string]string { return builtOn(baseTag+"@"+other.String(), d) }, "name two digests"},
		"another repository": {func(digest.Digest) map[string]string { return builtOn("base.example.com/base/other:9", "") }, "not of " + baseRepo},
		"another registry":   {func(digest.Digest) map[string]string { return builtOn("evil.example.com/base/os:9", "") }, "or the digest of an image of it in the annotation org.opencontainers.image.base.digest"},
		"below it":           {func(digest.Digest) map[string]string { return builtOn(baseRepo+"/evil:9", "") }, "not of " + baseRepo},
		"pulled elsewhere":   {func(d digest.Digest) map[string]string { return builtOn("gate.example/"+baseTag, d) }, ""},
		"of a port":          {func(d digest.Digest) map[string]string { return builtOn("127.0.0.1:15080/base/os:9", d) }, ""},
		"elsewhere, in name": {func(d digest.Digest) map[string]string { return builtOn("gate.example/base/os@"+d.String(), "") }, ""},
		"elsewhere, other": {func(digest.Digest) map[string]string { return builtOn("gate.example/base/os:9", other) },
			"does not exist: there is no " + baseRepo + "@" + other.String() + "; the image says that it is built on gate.example/base/os:9"},
		"elsewhere, two": {func(d digest.Digest) map[string]string { return builtOn("gate.example/base/os@"+other.String(), d) }, "name two digests"},
		"short name":     {func(d digest.Digest) map[string]string { return builtOn("os:9", d) }, "expected a full name"},
		"no name":        {func(d digest.Digest) map[string]string { return builtOn("\x1b[31m", d) }, "expected a full name"},
		"no digest":      {func(digest.Digest) map[string]string { return builtOn(baseTag, "latest") }, "expected a digest"},
		"digest is gone": {func(digest.Digest) map[string]string { return builtOn(baseTag, other) }, "does not exist"},
		"tag is gone":    {func(digest.Digest) map[string]string { return builtOn(baseRepo+":7", "") }, "does not exist"},
		// The bytes are those of :9; the signature is not for :8.
		"another tag": {func(d digest.Digest) map[string]string { return builtOn(baseRepo+":8", d) }, "signature is for " + baseTag},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOnBase(t, ofRepository(baseRepo))
			v := o.judge(t, o.bake(appRepo, recipe{layers: []string{"os1", "os2", "app"}, annotations: c.says(o.digest)}))
			wantBased(t, v, c.want)
			for _, a := range o.reg.asked {
				if !strings.Contains(a, baseRepo) && !strings.Contains(a, appRepo) {
					t.Errorf("an annotation led to %s", a)
				}
			}
		})
	}
}

// TestBaseOfAnotherRepository: the name of another repository never makes an image of
// that the base, and a digest from there is worth what it is worth in the policy's
// repository.
func TestBaseOfAnotherRepository(t *testing.T) {
	const evil = "evil.example.com/base/os"
	for name, c := range map[string]struct {
		prepare func(o *onBase) digest.Digest
		want    string
	}{
		// Signed by the very key, for the very name, and accepted by its own scope.
		"only there": {func(o *onBase) digest.Digest {
			o.scopes[evil] = []any{signedBy(nil, o.key)}
			m := o.bake(evil, recipe{layers: []string{"os1", "os2"}, annotations: map[string]string{"of": "evil"}})
			o.signed(o.key, evil+":9", m)
			return o.push(evil+":9", m)
		}, "does not exist: there is no " + baseRepo},
		"in both, unsigned": {func(o *onBase) digest.Digest {
			o.scopes[evil] = []any{signedBy(nil, o.key)}
			clear(o.web.files)
			return o.push(evil+":9", o.base)
		}, "scope " + baseRepo + " denies it"},
		"signed for the other name": {func(o *onBase) digest.Digest {
			clear(o.web.files)
			d := o.push(evil+":9", o.base)
			o.signed(o.key, evil+":9", o.base)
			return d
		}, "signature is for " + evil},
		"other layers": {func(o *onBase) digest.Digest {
			o.replace(recipe{layers: []string{"new1", "new2"}})
			return o.digest
		}, "; the image says that it is built on " + evil + ":9, whose digest alone was looked for in " + baseRepo},
		"banned by digest": {func(o *onBase) digest.Digest {
			o.scopes[baseRepo+"@"+o.digest.String()] = []any{map[string]any{"type": "reject"}}
			return o.digest
		}, "rejects every image"},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOnBase(t, ofRepository(baseRepo))
			d := c.prepare(o)
			v := o.judge(t, o.bake(appRepo, recipe{layers: []string{"os1", "os2", "app"}, annotations: builtOn(evil+":9", d)}))
			wantBased(t, v, c.want)
			for _, a := range o.reg.asked {
				if strings.Contains(a, "evil") {
					t.Errorf("an annotation led to %s", a)
				}
			}
		})
	}
}

// TestBaseTagMoved: the digest says on what the image was built, whatever the tag is
// now. A policy that names the tag itself means what it is now.
func TestBaseTagMoved(t *testing.T) {
	for name, c := range map[string]struct {
		requirement map[string]any
		want        string
	}{
		"repository":     {ofRepository(baseRepo), ""},
		"exactReference": {exactly(baseTag), "the image says that it is built on sha256:"},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOnBase(t, c.requirement)
			old := o.digest
			o.replace(recipe{layers: []string{"new1", "new2"}})
			v := o.judge(t, o.bake(appRepo, recipe{layers: []string{"os1", "os2", "app"}, annotations: builtOn(baseTag, old)}))
			wantBased(t, v, c.want)
		})
	}
}

// TestBaseTagDoesNotVouchForDigest: a digest that is not what the signed tag is has
// to be signed itself.
func TestBaseTagDoesNotVouchForDigest(t *testing.T) {
	o := newOnBase(t, ofRepository(baseRepo))
	evil := o.bake(baseRepo, recipe{layers: []string{"evil"}})
	d := o.push(baseRepo+":evil", evil)
	v := o.judge(t, o.bake(appRepo, recipe{layers: []string{"evil", "app"}, annotations: builtOn(baseTag, d)}))
	wantBased(t, v, "no signatures found")
}

func TestBaseByDigestInThePolicy(t *testing.T) {
	o := newOnBase(t, nil)
	o.scopes[appRepo] = []any{exactly(baseRepo + "@" + o.digest.String())}
	wantBased(t, o.judge(t, o.bake(appRepo, recipe{layers: []string{"os1", "os2", "app"}})), "")
}

func TestBaseInTheImagesOwnRepository(t *testing.T) {
	o := newOnBase(t, signedBaseLayer("matchRepository", "", ""))
	m := o.bake(appRepo, recipe{layers: []string{"os1", "os2", "app"}, annotations: builtOn(baseTag, o.digest)})
	wantBased(t, o.judge(t, m), "whose digest alone was looked for in "+appRepo)
	mine := o.bake(appRepo, recipe{layers: []string{"mine"}})
	o.push(appRepo+":base", mine)
	o.signed(o.key, appRepo+":base", mine)
	o.scopes[appRepo+":base"] = []any{signedBy(nil, o.key)}
	m = o.bake(appRepo, recipe{layers: []string{"mine", "app"}, annotations: builtOn(appRepo+":base", "")})
	wantBased(t, o.judge(t, m), "")
}

// TestBaseIdentitiesThatNameNoBase deny, and are warned about.
func TestBaseIdentitiesThatNameNoBase(t *testing.T) {
	d := digest.FromString("x").String()
	for name, r := range map[string]map[string]any{
		"matchExact":             signedBaseLayer("matchExact", "", ""),
		"matchRepoDigestOrExact": signedBaseLayer("matchRepoDigestOrExact", "", ""),
		"remapIdentity": {"type": "signedBaseLayer", "baseLayerIdentity": map[string]any{"type": "remapIdentity",
			"prefix": "registry.example.com", "signedPrefix": "base.example.com"}},
		"tag and digest": exactly(baseTag + "@" + d),
	} {
		w := newWorld(t)
		e := w.engine(policyFor(t, map[string]any{appRepo: []any{r}}))
		warnings := e.Policy().Warnings()
		v := verify(t, e, subjectOf(t, appTag, w.bake(appRepo, recipe{layers: []string{"a"}})))
		if v.Decision != Denied || len(warnings) != 1 || !strings.Contains(warnings[0].Error(), "denies every image") || len(w.reg.asked) > 0 {
			t.Errorf("%s: %+v, warnings %v", name, v, warnings)
		}
	}
	for _, r := range []map[string]any{exactly(baseTag), ofRepository(baseRepo), signedBaseLayer("matchRepository", "", "")} {
		scopes := map[string]any{appRepo: []any{r}, baseRepo: []any{signedBy(nil, newGPG(t, "ed25519"))}}
		if ws := newWorld(t).engine(policyFor(t, scopes)).Policy().Warnings(); len(ws) > 0 {
			t.Errorf("%v: warned about: %v", r, ws)
		}
	}
	if _, err := newWorld(t).load(`{"default":[{"type":"signedBaseLayer","baseLayerIdentity":{"type":"exactReference","dockerReference":"a.example.com/b:c"},"also":1}]}`); err == nil {
		t.Error("an unknown key was accepted")
	}
}

// FuzzLayered: whatever is read as an image has digests that are digests, and as many
// diff IDs as layers.
func FuzzLayered(f *testing.F) {
	w := newWorld(f)
	m := w.bake(baseRepo, recipe{layers: []string{"a", "b"}})
	f.Add(m, []byte(`{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[]}}`))
	f.Add(w.index([]string{amd64}, m), []byte(`{}`))
	f.Add([]byte(`{"schemaVersion":1,"fsLayers":[]}`), []byte(`{"Rootfs":{}}`))
	for _, b := range w.reg.blobs {
		f.Add(m, b)
	}
	f.Fuzz(func(t *testing.T, m, config []byte) {
		img, err := readLayered(m)
		if err != nil {
			return
		}
		if img.index != (img.config.Digest == "") {
			t.Fatalf("an index with a config, or an image without: %s", m)
		}
		img.forPlatform(imgspec.Platform{OS: "linux", Architecture: "arm64"})
		c, err := readContent(config, img.layers)
		if err != nil {
			return
		}
		if len(c.diffIDs) != len(c.layers) || c.platform.OS == "" {
			t.Fatalf("%+v", c)
		}
		if len(c.layers) > 0 && slices.ContainsFunc(c.layers, func(l imgspec.Descriptor) bool { return l.Digest.Validate() != nil }) {
			t.Fatalf("%+v", c)
		}
	})
}

// TestBaseOfTwoKinds: an index that has a part of an image could be read as one by
// somebody else.
func TestBaseOfTwoKinds(t *testing.T) {
	for _, members := range []string{`"config":{}`, `"layers":[]`, `"config":{},"layers":[]`} {
		if l, err := readLayered([]byte(`{"schemaVersion":2,"manifests":[],` + members + `}`)); err == nil {
			t.Errorf("%s: found %+v", members, l)
		}
	}
	if l, err := readLayered([]byte(`{"schemaVersion":2,"manifests":[]}`)); err != nil || !l.index {
		t.Errorf("an index: %v", err)
	}
}

// TestBaseOfTheVersion: of the images for one platform, the one for the version of the
// operating system that the image is for is the base.
func TestBaseOfTheVersion(t *testing.T) {
	windows := func(version string) *imgspec.Platform {
		return &imgspec.Platform{OS: "windows", Architecture: "amd64", OSVersion: version}
	}
	l := layered{index: true, entries: []imgspec.Descriptor{
		{Digest: digest.FromString("1"), Platform: windows("10.0.1")}, {Digest: digest.FromString("2"), Platform: windows("10.0.2")}}}
	for version, want := range map[string]string{"10.0.1": "1", "10.0.2": "2", "": "1"} {
		if e, ok := l.forPlatform(*windows(version)); !ok || e.Digest != digest.FromString(want) {
			t.Errorf("%s: found %v, %s", version, ok, e.Digest)
		}
	}
	if e, ok := l.forPlatform(*windows("10.0.3")); ok {
		t.Errorf("found %s for a version that is not there", e.Digest)
	}
}
