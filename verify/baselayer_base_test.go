package verify

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/verify/discover"
)

// TestBaseIndex takes the image of an index for the platform.
func TestBaseIndex(t *testing.T) {
	for name, c := range map[string]struct {
		platform string
		sign     string // "index", "amd64", "arm64", "none"
		want     string
	}{
		"index signed":             {amd64, "index", ""},
		"index signed, arm":        {"linux/arm64", "index", ""},
		"index signed, variant":    {"linux/arm64/v8", "index", ""},
		"instance signed":          {amd64, "amd64", ""},
		"another instance signed":  {amd64, "arm64", "no signatures found"},
		"nothing signed":           {amd64, "none", "no signatures found"},
		"no image of the platform": {"linux/s390x", "index", "is an index without an image for linux/s390x"},
		"other variant":            {"linux/arm64/v9", "index", "is an index without an image for linux/arm64/v9"},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOnBase(t, ofRepository(baseRepo))
			clear(o.web.files)
			manifests := map[string][]byte{
				"amd64": o.bake(baseRepo, recipe{layers: []string{"os-amd64"}}),
				"arm64": o.bake(baseRepo, recipe{layers: []string{"os-arm64"}, platform: "linux/arm64"}),
			}
			note := o.bake(baseRepo, recipe{layers: []string{"statement"}, platform: "unknown/unknown"})
			manifests["index"] = o.index([]string{"unknown/unknown", "linux/ppc64le", amd64, "linux/arm64"}, note, note, manifests["amd64"], manifests["arm64"])
			for _, m := range manifests {
				o.push(baseTag, m)
			}
			d := o.push(baseTag, manifests["index"])
			if c.sign != "none" {
				o.signed(o.key, baseTag, manifests[c.sign])
			}
			layer := "os-" + strings.Split(c.platform, "/")[1]
			m := o.bake(appRepo, recipe{layers: []string{layer, "app"}, platform: c.platform, annotations: builtOn(baseTag, d)})
			v := o.judge(t, m)
			wantBased(t, v, c.want)
			if c.want == "" && !slices.Contains(v.Requirements[0].Evidence, d.String()) {
				t.Errorf("the base is not recorded: %+v", v.Requirements[0])
			}
		})
	}
}

// TestBaseIndexBan: a scope for the very digest of the image in an index decides.
func TestBaseIndexBan(t *testing.T) {
	for _, banned := range []string{"index", "instance"} {
		o := newOnBase(t, ofRepository(baseRepo))
		x := o.index([]string{amd64}, o.base)
		d := o.push(baseTag, x)
		o.signed(o.key, baseTag, x)
		m := o.bake(appRepo, recipe{layers: []string{"os1", "os2", "app"}, annotations: builtOn(baseTag, d)})
		wantBased(t, o.judge(t, m), "")
		ban := map[string]digest.Digest{"index": d, "instance": o.digest}[banned]
		o.scopes[baseRepo+"@"+ban.String()] = []any{map[string]any{"type": "reject"}}
		wantBased(t, o.judge(t, m), "rejects every image")
	}
}

// TestBaseIndexOfIndexes and an entry that is gone are no bases.
func TestBaseIndexOfIndexes(t *testing.T) {
	o := newOnBase(t, exactly(baseTag))
	m := o.bake(appRepo, recipe{layers: []string{"os1", "os2", "app"}})
	inner := o.index([]string{amd64}, o.base)
	outer := o.index([]string{amd64}, inner)
	o.push(baseTag, inner)
	o.signed(o.key, baseTag, outer)
	o.push(baseTag, outer)
	wantBased(t, o.judge(t, m), "is an index in an index")
	lost := o.index([]string{amd64}, []byte("gone"))
	o.push(baseTag, lost)
	wantBased(t, o.judge(t, m), "does not exist")
}

// TestIndexOnBase: an index has no layers; whoever asks judges its images.
func TestIndexOnBase(t *testing.T) {
	o := newOnBase(t, exactly(baseTag))
	m := o.bake(appRepo, recipe{layers: []string{"os1", "os2"}})
	wantBased(t, o.judge(t, o.index([]string{amd64}, m)), "its images are judged one by one")
	s1 := []byte(`{"schemaVersion":1,"name":"team/app","tag":"v1","architecture":"amd64","fsLayers":[],"history":[]}`)
	wantBased(t, o.judge(t, s1), "Docker schema 1")
}

// TestNestedBases: the scope of a base may ask for a base.
func TestNestedBases(t *testing.T) {
	const teamRepo = "base.example.com/base/team"
	nested := func(t *testing.T, sign bool) (*onBase, []byte) {
		o := newOnBase(t, ofRepository(teamRepo))
		if !sign {
			clear(o.web.files)
		}
		o.scopes[teamRepo] = []any{ofRepository(baseRepo)}
		team := o.bake(teamRepo, recipe{layers: []string{"os1", "os2", "team"}, annotations: builtOn(baseTag, o.digest)})
		d := o.push(teamRepo+":1", team)
		return o, o.bake(appRepo, recipe{layers: []string{"os1", "os2", "team", "app"}, annotations: builtOn(teamRepo+":1", d)})
	}
	o, m := nested(t, true)
	v := o.judge(t, m)
	wantBased(t, v, "")
	if s := strings.Join(v.Signers(), " "); !strings.Contains(s, baseTag) || !strings.Contains(s, teamRepo) || !strings.HasPrefix(s, "gpg:") {
		t.Errorf("expected the signer with both bases, found %s", s)
	}
	if !slices.Contains(v.Requirements[0].Evidence, o.digest.String()) {
		t.Errorf("expected the innermost base as evidence, found %+v", v.Requirements[0].Evidence)
	}
	o, m = nested(t, false)
	wantBased(t, o.judge(t, m), "no signatures found")
}

// TestBaseDepth: a chain of bases is followed as far as the bound says.
func TestBaseDepth(t *testing.T) {
	for depth, want := range map[int]string{maxBaseDepth: "", maxBaseDepth + 1: "nested deeper than 4"} {
		o := newOnBase(t, nil)
		layers, at, d := []string{"os1", "os2"}, baseTag, o.digest
		var m []byte
		for i := 1; i <= depth; i++ {
			repo := fmt.Sprintf("base.example.com/level/l%d", i)
			if i == depth {
				repo = appRepo
			}
			o.scopes[repo] = []any{ofRepository(strings.TrimSuffix(strings.TrimSuffix(at, ":9"), ":1"))}
			layers = append(layers, fmt.Sprintf("l%d", i))
			m = o.bake(repo, recipe{layers: layers, annotations: builtOn(at, d)})
			at = repo + ":1"
			d = o.push(at, m)
		}
		wantBased(t, o.judge(t, m), want)
	}
}

// TestBaseCycle: an image cannot be its own base, nor the base of its base.
func TestBaseCycle(t *testing.T) {
	o := newOnBase(t, exactly(appTag))
	m := o.bake(appRepo, recipe{layers: []string{"os1"}})
	o.push(appTag, m)
	wantBased(t, o.judge(t, m), "is the image itself")

	o = newOnBase(t, exactly(baseTag))
	o.scopes[baseRepo] = []any{exactly(appTag)}
	m = o.bake(appRepo, recipe{layers: []string{"os1", "os2"}, annotations: map[string]string{"a": "b"}})
	o.push(appTag, m)
	wantBased(t, o.judge(t, m), "is the image itself, or built on it")
}

// down is a registry of which something cannot be read.
type down struct {
	*fakeRegistry
	what string
	err  error
}

func (d down) ManifestBytes(ctx context.Context, ref reference.Named) ([]byte, error) {
	if strings.HasPrefix("manifest "+ref.String(), d.what) {
		return nil, d.err
	}
	return d.fakeRegistry.ManifestBytes(ctx, ref)
}

func (d down) BlobBytes(ctx context.Context, ref reference.Canonical, limit int64) ([]byte, error) {
	if strings.HasPrefix("blob "+ref.String(), d.what) {
		return nil, d.err
	}
	return d.fakeRegistry.BlobBytes(ctx, ref, limit)
}

func (d down) Transport(string) string { return "" }

// TestBaseOutages: what could not be read is neither a denial nor an approval.
func TestBaseOutages(t *testing.T) {
	for name, what := range map[string]string{
		"the base's manifest": "manifest " + baseRepo,
		"the base's config":   "blob " + baseRepo,
		"the image's config":  "blob " + appRepo,
	} {
		o := newOnBase(t, exactly(baseTag))
		p, err := o.load(policyFor(t, o.scopes))
		if err != nil {
			t.Fatal(err)
		}
		e, err := NewEngine(p, down{o.reg, what, errors.New("429 too many requests")}, o.web)
		if err != nil {
			t.Fatal(err)
		}
		v, err := e.Verify(context.Background(), subjectOf(t, appTag, o.bake(appRepo, recipe{layers: []string{"os1", "os2", "app"}})))
		var inc *Inconclusive
		if !errors.As(err, &inc) || errors.Is(err, fs.ErrNotExist) || v.Decision != Denied || !strings.Contains(err.Error(), "429") {
			t.Errorf("%s: expected an inconclusive error, found %v, %+v", name, err, v)
		}
	}
}

// TestBaseOfAnotherRepositoryOutage: that the policy's repository cannot be asked for the
// digest that an image pulled from elsewhere names is no denial.
func TestBaseOfAnotherRepositoryOutage(t *testing.T) {
	o := newOnBase(t, ofRepository(baseRepo))
	p, err := o.load(policyFor(t, o.scopes))
	if err != nil {
		t.Fatal(err)
	}
	e, err := NewEngine(p, down{o.reg, "manifest " + baseRepo + "@", errors.New("429 too many requests")}, o.web)
	if err != nil {
		t.Fatal(err)
	}
	m := o.bake(appRepo, recipe{layers: []string{"os1", "os2", "app"}, annotations: builtOn("gate.example/"+baseTag, o.digest)})
	v, err := e.Verify(t.Context(), subjectOf(t, appTag, m))
	var inc *Inconclusive
	if !errors.As(err, &inc) || v.Decision != Denied || !strings.Contains(err.Error(), "429") {
		t.Errorf("expected an inconclusive error, found %v, %+v", err, v)
	}
}

// TestBaseTakesTooLong: a registry that never answers decides nothing.
func TestBaseTakesTooLong(t *testing.T) {
	o := newOnBase(t, exactly(baseTag))
	e := o.engine(policyFor(t, o.scopes))
	s := subjectOf(t, appTag, o.bake(appRepo, recipe{layers: []string{"os1", "os2", "app"}}))
	o.reg.delay = 24 * time.Hour
	synctest.Test(t, func(t *testing.T) {
		from := time.Now()
		v, err := e.Verify(context.Background(), s)
		if !errors.Is(err, context.DeadlineExceeded) || v.Decision != Denied || time.Since(from) > 2*baseTimeout {
			t.Errorf("expected the end of time after %s, found %v after %s, %+v", baseTimeout, err, time.Since(from), v)
		}
	})
}

// TestBaseSignaturesDown: nor are signatures of the base that cannot be read.
func TestBaseSignaturesDown(t *testing.T) {
	o := newOnBase(t, exactly(baseTag))
	e := o.engine(policyFor(t, o.scopes))
	o.reg.blobs["x"] = nil
	m := o.bake(appRepo, recipe{layers: []string{"os1", "os2", "app"}})
	e.finder = discover.Finder{Registry: signaturesDown{o.reg}, Web: o.web}
	_, err := e.Verify(context.Background(), subjectOf(t, appTag, m))
	var inc *Inconclusive
	if !errors.As(err, &inc) || !strings.Contains(err.Error(), "base "+baseTag) {
		t.Errorf("expected an inconclusive error about the base, found %v", err)
	}
}

type signaturesDown struct{ *fakeRegistry }

func (signaturesDown) ExtensionSignatures(context.Context, reference.Canonical) ([][]byte, bool, error) {
	return nil, false, errors.New("503")
}

// TestBaseHiddenFromAClient: that one client is told that there is no base is no
// verdict, which would be for all clients.
func TestBaseHiddenFromAClient(t *testing.T) {
	for name, c := range map[string]struct {
		registry string // that is asked with the client's credentials
		remove   func(*onBase)
		hidden   bool
	}{
		"manifest":        {"base.example.com", func(o *onBase) { clear(o.reg.manifests) }, true},
		"config":          {"base.example.com", func(o *onBase) { delete(o.reg.blobs, configAt(o, o.base)) }, true},
		"with the gate's": {"registry.example.com", func(o *onBase) { clear(o.reg.manifests) }, false},
		"config of its own": {"registry.example.com", func(o *onBase) {
			for ref := range o.reg.blobs {
				if strings.HasPrefix(ref, appRepo) {
					delete(o.reg.blobs, ref)
				}
			}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOnBase(t, exactly(baseTag))
			m := o.bake(appRepo, recipe{layers: []string{"os1", "os2", "app"}})
			c.remove(o)
			e := o.engine(policyFor(t, o.scopes))
			e.finder = discover.Finder{Registry: asClients{o.reg, c.registry}, Web: o.web}
			v, err := e.Verify(t.Context(), subjectOf(t, appTag, m))
			var inc *Inconclusive
			if !c.hidden {
				if err != nil || v.Decision != Denied {
					t.Errorf("expected a denial, found %v, %v", v.Decision, err)
				}
			} else if !errors.As(err, &inc) || v.Decision != Denied || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("expected an inconclusive error, found %v, %v", v.Decision, err)
			}
		})
	}
}

// asClients is asked for one registry with the credentials of clients.
type asClients struct {
	*fakeRegistry
	registry string
}

func (a asClients) ClientCredentials(registry string) bool { return registry == a.registry }

// TestBaseOversizeConfig: a config that is larger than it says is not read.
func TestBaseOversizeConfig(t *testing.T) {
	o := newOnBase(t, exactly(baseTag))
	large := fmt.Appendf(nil, `{"os":"linux","architecture":"amd64","x":%q,"rootfs":{"type":"layers","diff_ids":[]}}`, strings.Repeat("x", maxBaseConfig))
	m := o.bake(appRepo, recipe{layers: []string{"os1"}, configBytes: large, configSize: 100})
	if v, err := o.engine(policyFor(t, o.scopes)).Verify(context.Background(), subjectOf(t, appTag, m)); err == nil || v.Decision != Denied {
		t.Errorf("expected an error, found %+v", v)
	}
}

// TestBaseBytesAreChecked: a registry that sends other bytes than those of the digest
// decides nothing.
func TestBaseBytesAreChecked(t *testing.T) {
	for _, what := range []string{"manifest", "config"} {
		o := newOnBase(t, ofRepository(baseRepo))
		m := o.bake(appRepo, recipe{layers: []string{"evil", "app"}, annotations: builtOn(baseTag, o.digest)})
		forged := o.bake(baseRepo, recipe{layers: []string{"evil"}})
		if what == "manifest" {
			o.reg.manifests[baseRepo+"@"+o.digest.String()] = forged
		} else {
			o.reg.blobs[configAt(o, o.base)] = o.reg.blobs[configAt(o, forged)]
		}
		v, err := o.engine(policyFor(t, o.scopes)).Verify(context.Background(), subjectOf(t, appTag, m))
		if err == nil || v.Decision != Denied || !strings.Contains(err.Error(), "expected bytes of sha256:") {
			t.Errorf("%s: expected an error, found %v, %+v", what, err, v)
		}
	}
}

// TestBaseVerdictEnds with the evidence of the base.
func TestBaseVerdictEnds(t *testing.T) {
	o := newOnBase(t, exactly(baseTag))
	until := time.Now().Add(time.Hour).Truncate(time.Second).UTC()
	o.scopes[baseRepo] = []any{map[string]any{"type": "anyOf", "of": []any{map[string]any{"type": "allOf",
		"of": []any{signedBy(nil, o.key)}, "until": until.Format(time.RFC3339)}}}}
	v := o.judge(t, o.bake(appRepo, recipe{layers: []string{"os1", "os2", "app"}}))
	wantBased(t, v, "")
	if !v.Expires.Equal(until) {
		t.Errorf("expected the end of the base's evidence %s, found %s", until, v.Expires)
	}
}

// TestBaseBesideOthers: signedBaseLayer is one requirement among others.
func TestBaseBesideOthers(t *testing.T) {
	o := newOnBase(t, exactly(baseTag))
	m := o.bake(appRepo, recipe{layers: []string{"os1", "os2", "app"}})
	o.scopes[appRepo] = []any{exactly(baseTag), signedBy(nil, o.key)}
	if v := o.judge(t, m); v.Decision != Denied || !v.Requirements[0].Allowed || v.Requirements[1].Allowed {
		t.Errorf("expected the signature to be missed, found %+v", v)
	}
	o.signed(o.key, appTag, m)
	wantBased(t, o.judge(t, m), "")
	o.scopes[appRepo] = []any{map[string]any{"type": "anyOf", "of": []any{[]any{signedBy(nil, newGPG(t, "ed25519"))}, []any{exactly(baseTag)}}}}
	wantBased(t, o.judge(t, m), "")
	o.scopes[appRepo] = []any{exactly(baseTag), map[string]any{"type": "reject"}}
	asked := len(o.reg.asked)
	if v := o.judge(t, m); v.Decision != Denied || len(o.reg.asked) != asked {
		t.Errorf("expected a denial that asks for nothing, found %+v, asked %v", v, o.reg.asked[asked:])
	}
}

// TestBaseTransport: the base is judged by the section of policy.json that its
// registry is configured for.
func TestBaseTransport(t *testing.T) {
	o := newOnBase(t, exactly(baseTag))
	m := o.bake(appRepo, recipe{layers: []string{"os1", "os2", "app"}})
	p, err := o.load(string(o.json(map[string]any{
		"default": []any{map[string]any{"type": "reject"}},
		"transports": map[string]any{
			"docker": map[string]any{appRepo: []any{exactly(baseTag)}, baseRepo: []any{map[string]any{"type": "reject"}}},
			"atomic": map[string]any{baseRepo: []any{signedBy(nil, o.key)}}}})))
	if err != nil {
		t.Fatal(err)
	}
	for transport, want := range map[string]string{"atomic": "", "docker": "rejects every image"} {
		e, err := NewEngine(p, configured{o.reg, transport}, o.web)
		if err != nil {
			t.Fatal(err)
		}
		wantBased(t, verify(t, e, subjectOf(t, appTag, m)), want)
	}
}

// TestBaseBanOfAnUnnamedTransport: where the configuration names no section, scopes
// for the very digest of a base are looked for in docker's.
func TestBaseBanOfAnUnnamedTransport(t *testing.T) {
	o := newOnBase(t, exactly(baseTag))
	o.scopes[baseRepo+"@"+o.digest.String()] = []any{map[string]any{"type": "reject"}}
	e := o.engine(policyFor(t, o.scopes))
	e.finder = discover.Finder{Registry: configured{o.reg, ""}, Web: o.web}
	m := o.bake(appRepo, recipe{layers: []string{"os1", "os2", "app"}})
	wantBased(t, verify(t, e, subjectOf(t, appTag, m)), "rejects every image")
}

type configured struct {
	*fakeRegistry
	transport string
}

func (c configured) Transport(registry string) string {
	if registry == "base.example.com" {
		return c.transport
	}
	return ""
}

// TestBaseIsPartOfWhatWasLookedAt: a verdict says where the base's signatures were
// looked for, whatever became of it.
func TestBaseIsPartOfWhatWasLookedAt(t *testing.T) {
	for name, c := range map[string]struct {
		requirement map[string]any
		decision    Decision
		prepare     func(o *onBase)
	}{
		"signed":      {exactly(baseTag), Allowed, func(*onBase) {}},
		"unsigned":    {exactly(baseTag), Denied, func(o *onBase) { clear(o.web.files) }},
		"alternative": {map[string]any{"type": "anyOf", "of": []any{[]any{map[string]any{"type": "reject"}}, []any{exactly(baseTag)}}}, Allowed, func(*onBase) {}},
		"alternative, unsigned": {map[string]any{"type": "anyOf", "of": []any{[]any{exactly(baseTag)}, []any{map[string]any{"type": "reject"}}}}, Denied,
			func(o *onBase) { clear(o.web.files) }},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOnBase(t, c.requirement)
			c.prepare(o)
			v := o.judge(t, o.bake(appRepo, recipe{layers: []string{"os1", "os2", "app"}}))
			at := slices.IndexFunc(v.Looked, func(p string) bool { return strings.Contains(p, strings.Replace(o.digest.String(), ":", "=", 1)) })
			if v.Decision != c.decision || at < 0 {
				t.Errorf("%v, looked at %q", v.Decision, v.Looked)
			}
		})
	}
}
