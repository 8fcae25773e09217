package discover

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
)

const elsewhere = "signatures.example.net/store/app"

var (
	sigTag    = ":sha256-" + hexD + ".sig"
	attTag    = ":sha256-" + hexD + ".att"
	lookaside = &url.URL{Scheme: "file", Path: "/nonexistent"}
)

func TestOnlyWhatIsAskedForIsAsked(t *testing.T) {
	at := "@" + judged.String()
	all := Query{Stored: true, Attachments: true, Attestations: true, Referrers: true, Lookaside: lookaside}
	foreign := all
	foreign.Repository = named(t, elsewhere+":ignored")
	for name, c := range map[string]struct {
		q      Query
		want   []string
		looked []string
	}{
		"nothing":      {Query{}, nil, nil},
		"stored":       {Query{Stored: true, Lookaside: lookaside}, []string{"extension " + repo + at}, []string{"the signature API of registry.example.com"}},
		"attachments":  {Query{Attachments: true}, []string{"manifest " + repo + sigTag}, []string{repo + sigTag}},
		"attestations": {Query{Attestations: true}, []string{"manifest " + repo + attTag}, []string{repo + attTag}},
		"referrers":    {Query{Referrers: true}, []string{"referrers " + repo + at}, []string{"the referrers of " + repo + at}},
		"all": {all, []string{"extension " + repo + at, "manifest " + repo + attTag, "manifest " + repo + sigTag, "referrers " + repo + at},
			[]string{"the signature API of registry.example.com", repo + sigTag, repo + attTag, "the referrers of " + repo + at}},
		"signature repository": {foreign,
			[]string{"extension " + repo + at, "manifest " + elsewhere + attTag, "manifest " + elsewhere + sigTag, "referrers " + elsewhere + at},
			[]string{"the signature API of registry.example.com", elsewhere + sigTag, elsewhere + attTag, "the referrers of " + elsewhere + at}},
	} {
		h := newHub()
		found, err := h.find(t, c.q)
		if err != nil || len(found.Signatures)+len(found.Documents) != 0 {
			t.Errorf("%s: %+v, %v", name, found, err)
		}
		slices.Sort(h.asked)
		if !slices.Equal(h.asked, c.want) {
			t.Errorf("%s: expected %q, asked %q", name, c.want, h.asked)
		}
		if !slices.Equal(found.Looked, c.looked) {
			t.Errorf("%s: expected %q, looked at %q", name, c.looked, found.Looked)
		}
	}
}

// TestSignatureRepository finds evidence in another registry, and takes none from
// the judged repository instead.
func TestSignatureRepository(t *testing.T) {
	q := Query{Attachments: true, Attestations: true, Referrers: true, Repository: named(t, elsewhere)}
	fill := func(h *hub, repo string) {
		h.manifests[repo+sigTag] = h.holds(t, repo, []content{{mediaType: SimpleSigningMIMEType, body: "sig in " + repo}}, nil)
		h.manifests[repo+attTag] = h.holds(t, repo, []content{{mediaType: typeDSSE, body: "att in " + repo}}, nil)
		h.refers(repo, h.holds(t, repo, []content{bundle("bundle in " + repo)}, nil))
	}
	h := newHub()
	fill(h, repo)
	found, err := h.find(t, q)
	if err != nil || len(found.Signatures)+len(found.Documents) != 0 {
		t.Errorf("%+v, %v", found, err)
	}
	fill(h, elsewhere)
	found, err = h.find(t, q)
	if err != nil || len(found.Signatures) != 1 || len(found.Documents) != 2 {
		t.Fatalf("%+v, %v", found, err)
	}
	for _, s := range []string{string(found.Signatures[0].Sigstore.Payload), string(found.Documents[0].Bytes), string(found.Documents[1].Bytes)} {
		if !strings.HasSuffix(s, " in "+elsewhere) {
			t.Errorf("found %s", s)
		}
	}
	for _, op := range []string{"manifest ", "blob ", "referrers "} {
		h.fail[op+elsewhere] = errors.New("dial tcp: connection refused")
		found, err = h.find(t, q)
		wantInconclusive(t, found, err, elsewhere)
		if len(found.Looked) != 3 {
			t.Errorf("looked at %q", found.Looked)
		}
		delete(h.fail, op+elsewhere)
	}
}

// asClients is asked for everything with the credentials of clients.
type asClients struct{ *hub }

func (asClients) ClientCredentials(string) bool { return true }

// stores has one signature in its API.
type stores struct{ asClients }

func (stores) ExtensionSignatures(context.Context, reference.Canonical) ([][]byte, bool, error) {
	return [][]byte{[]byte("s")}, true, nil
}

// TestSignatureRepositoryHiddenFromAClient: that one client is shown no signature says
// nothing to the others, unless it could see any; in the image's own repository it can.
func TestSignatureRepositoryHiddenFromAClient(t *testing.T) {
	h := newHub()
	f := Finder{Registry: asClients{h}, Web: web{}}
	own := Query{Ref: named(t, repo), Digest: judged, Attachments: true, Attestations: true, Referrers: true}
	if found, err := f.Find(t.Context(), own); err != nil || len(found.Looked) != 3 {
		t.Errorf("its own repository: %+v, %v", found, err)
	}
	q := own
	q.Repository = named(t, elsewhere)
	found, err := f.Find(t.Context(), q)
	wantInconclusive(t, found, err, elsewhere)
	if len(found.Looked) != 3 {
		t.Errorf("looked at %q", found.Looked)
	}
	if found, err := (Finder{Registry: h, Web: web{}}).Find(t.Context(), q); err != nil {
		t.Errorf("with the gate's credentials: %+v, %v", found, err)
	}
	// What is in the image's own repository does not show that the other one can be seen.
	beside := q
	beside.Statements, beside.Index = true, h.listed(t, judged, h.holds(t, repo, []content{provenance("p")}, inBuildKit))
	found, err = f.Find(t.Context(), beside)
	wantInconclusive(t, found, err, elsewhere)
	beside = q
	beside.Stored, beside.Lookaside = true, lookaside
	found, err = (Finder{Registry: stores{asClients{h}}, Web: web{}}).Find(t.Context(), beside)
	wantInconclusive(t, found, err, elsewhere)
	h.manifests[elsewhere+sigTag] = h.holds(t, elsewhere, []content{{mediaType: SimpleSigningMIMEType, body: "sig"}}, nil)
	if found, err := f.Find(t.Context(), q); err != nil || len(found.Signatures) != 1 {
		t.Errorf("one is shown: %+v, %v", found, err)
	}
}

// TestOnePlaceDown has evidence in all places; each place in turn is down.
func TestOnePlaceDown(t *testing.T) {
	for op, where := range map[string]string{
		"extension":                 "signature API",
		"manifest " + repo + sigTag: ".sig",
		"manifest " + repo + attTag: ".att",
		"referrers":                 "referrers",
	} {
		h := newHub()
		h.manifests[repo+sigTag] = h.holds(t, repo, []content{{mediaType: SimpleSigningMIMEType, body: "1"}}, nil)
		h.manifests[repo+attTag] = h.holds(t, repo, []content{{mediaType: typeDSSE, body: "2"}}, nil)
		h.refers(repo, h.holds(t, repo, []content{bundle("3")}, nil))
		q := Query{Stored: true, Lookaside: lookaside, Attachments: true, Attestations: true, Referrers: true}
		if found, err := h.find(t, q); err != nil || len(found.Signatures) != 1 || len(found.Documents) != 2 {
			t.Fatalf("%+v, %v", found, err)
		}
		h.fail[op] = errors.New("status 503")
		found, err := h.find(t, q)
		wantInconclusive(t, found, err, where)
		if len(found.Looked) != 4 {
			t.Errorf("%s: looked at %q", op, found.Looked)
		}
	}
}

// TestPlacesAreAskedAtOnce has each place wait for the others.
func TestPlacesAreAskedAtOnce(t *testing.T) {
	h := newHub()
	var all sync.WaitGroup
	all.Add(4)
	h.onAsk = func(ctx context.Context, _ string) error {
		all.Done()
		done := make(chan struct{})
		go func() { all.Wait(); close(done) }()
		select {
		case <-done:
			return nil
		case <-time.After(5 * time.Second):
			return errors.New("alone")
		}
	}
	if _, err := h.find(t, Query{Stored: true, Lookaside: lookaside, Attachments: true, Attestations: true, Referrers: true}); err != nil {
		t.Error(err)
	}
}

// TestFanOutIsBounded counts how many requests of one place are under way.
func TestFanOutIsBounded(t *testing.T) {
	h := newHub()
	for _, c := range bundles(MaxReferrers) {
		h.refers(repo, h.holds(t, repo, []content{c}, nil))
	}
	var mu sync.Mutex
	running, most := 0, 0
	h.onAsk = func(context.Context, string) error {
		mu.Lock()
		running++
		most = max(most, running)
		mu.Unlock()
		time.Sleep(100 * time.Microsecond)
		mu.Lock()
		running--
		mu.Unlock()
		return nil
	}
	found, err := h.find(t, Query{Referrers: true})
	if err != nil || len(found.Documents) != MaxReferrers || most > fetches {
		t.Errorf("%d documents, %d at once, %v", len(found.Documents), most, err)
	}
}

// TestAFailureEndsTheSearch has one place fail while another hangs.
func TestAFailureEndsTheSearch(t *testing.T) {
	h := newHub()
	h.onAsk = func(ctx context.Context, what string) error {
		if strings.HasPrefix(what, "referrers") {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(10 * time.Second):
				return errors.New("not ended")
			}
		}
		return errors.New("status 429")
	}
	found, err := h.find(t, Query{Attestations: true, Referrers: true})
	wantInconclusive(t, found, err, ".att")
}

func TestAttestations(t *testing.T) {
	cert := map[string]string{"dev.sigstore.cosign/certificate": "PEM"}
	dsse := content{typeDSSE, "envelope", cert}
	for name, c := range map[string]struct {
		layers []content
		edit   func(*imgspec.Manifest)
		want   int
		bad    bool
	}{
		"one":                {layers: []content{dsse}, want: 1},
		"two":                {layers: []content{dsse, {mediaType: typeDSSE, body: "other"}}, want: 2},
		"a bundle":           {layers: []content{dsse, bundle("b")}, want: 2},
		"no subject":         {layers: []content{dsse}, edit: func(m *imgspec.Manifest) { m.Subject = nil }, want: 1},
		"others are ignored": {layers: []content{dsse, {mediaType: SimpleSigningMIMEType, body: "s"}, {mediaType: typeJOSE, body: "j"}}, want: 1},
		"stored elsewhere":   {layers: []content{dsse}, edit: func(m *imgspec.Manifest) { m.Layers[0].URLs = []string{"https://x.example"} }},
		"huge":               {layers: []content{dsse}, edit: func(m *imgspec.Manifest) { m.Layers[0].Size = MaxSignatureBytes + 1 }, bad: true},
		"negative":           {layers: []content{dsse}, edit: func(m *imgspec.Manifest) { m.Layers[0].Size = -1 }, bad: true},
		"gone":               {layers: []content{dsse}, edit: func(m *imgspec.Manifest) { m.Layers[0].Digest = digest.FromString("gone") }, bad: true},
		"too many":           {layers: bundles(MaxSignatures + 1), bad: true},
		"too large together": {layers: bundles(5), edit: largest, bad: true},
		"an index":           {edit: func(m *imgspec.Manifest) { m.MediaType = imgspec.MediaTypeImageIndex }, bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHub()
			h.manifests[repo+attTag] = h.holds(t, repo, c.layers, c.edit)
			found, err := h.find(t, Query{Attestations: true})
			if c.bad {
				wantInconclusive(t, found, err, repo+attTag)
				return
			}
			if err != nil || len(found.Documents) != c.want || len(found.Signatures) != 0 {
				t.Fatalf("%+v, %v", found, err)
			}
			if c.want > 0 {
				d := found.Documents[0]
				if d.Kind != KindDSSE || d.Origin != OriginAttestations || d.Annotations["dev.sigstore.cosign/certificate"] != "PEM" ||
					!strings.HasPrefix(d.Source, repo+attTag) {
					t.Errorf("%+v", d)
				}
			}
		})
	}
}

// TestBundlesInTheSigTag are read only by a query that can use bundles: otherwise
// .sig is read as containers/image reads it, and what else is there cannot fail it.
func TestBundlesInTheSigTag(t *testing.T) {
	h := newHub()
	h.manifests[repo+sigTag] = h.holds(t, repo, []content{{mediaType: SimpleSigningMIMEType, body: "s"}, bundle("b")}, nil)
	for _, referrers := range []bool{false, true} {
		found, err := h.find(t, Query{Attachments: true, Referrers: referrers})
		if err != nil || len(found.Signatures) != 1 || (len(found.Documents) == 1) != referrers {
			t.Errorf("referrers %t: %+v, %v", referrers, found, err)
		}
		if n := h.count("blob " + repo + "@" + digest.FromString("b").String()); (n > 0) != referrers {
			t.Errorf("referrers %t: the bundle was fetched %d times", referrers, n)
		}
	}
}

// TestDuplicatesAreKeptOnce stores the same evidence in many places. Only what says
// the same is a duplicate.
func TestDuplicatesAreKeptOnce(t *testing.T) {
	cert := map[string]string{"dev.sigstore.cosign/certificate": "PEM"}
	signed := map[string]string{"dev.cosignproject.cosign/signature": "MEUC"}
	h := newHub()
	h.manifests[repo+sigTag] = h.holds(t, repo, []content{
		{SimpleSigningMIMEType, "payload", signed}, {SimpleSigningMIMEType, "payload", signed}}, nil)
	h.manifests[repo+attTag] = h.holds(t, repo, []content{bundle("b"), {typeDSSE, "d", nil}}, nil)
	for i := range 2 {
		h.refers(repo, h.holds(t, repo, []content{
			{typeBundle, "b", map[string]string{"n": fmt.Sprint(i)}},
			{SimpleSigningMIMEType, "payload", signed},
			{SimpleSigningMIMEType, "payload", map[string]string{"dev.cosignproject.cosign/signature": "other"}},
			{typeDSSE, "d", map[string]string{}},
			{typeDSSE, "d", cert}}, func(m *imgspec.Manifest) { m.ArtifactType = fmt.Sprint("application/x", i) }))
	}
	found, err := h.find(t, Query{Attachments: true, Attestations: true, Referrers: true})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range found.Signatures {
		got = append(got, fmt.Sprintf("%s %s", s.Origin, s.Sigstore.Annotations["dev.cosignproject.cosign/signature"]))
	}
	for _, d := range found.Documents {
		got = append(got, fmt.Sprintf("%s %s %s", d.Origin, d.Bytes, d.Annotations["dev.sigstore.cosign/certificate"]))
	}
	want := []string{"attachments MEUC", "attachments MEUC", "referrers other",
		"attestations b ", "attestations d ", "referrers d PEM"}
	if !slices.Equal(got, want) {
		t.Errorf("expected %q, found %q", want, got)
	}
}

func TestQueriesThatCannotBeMeant(t *testing.T) {
	ref := named(t, repo)
	for name, q := range map[string]Query{
		"zero":              {},
		"no digest":         {Ref: ref},
		"malformed digest":  {Ref: ref, Digest: "sha256:x"},
		"no repository":     {Digest: judged},
		"another subject":   {Ref: ref, Digest: judged, Subject: imgspec.Descriptor{Digest: digest.FromString("x")}},
		"stored, but where": {Ref: ref, Digest: judged, Stored: true},
	} {
		h := newHub()
		if _, err := (Finder{h, web{}}).Find(context.Background(), q); err == nil || len(h.asked) > 0 {
			t.Errorf("%s: %v, asked %q", name, err, h.asked)
		}
	}
}

// toldVia is a registry that says how it looks for referrers.
type toldVia struct{ Registry }

func (r toldVia) ReferrersVia(ctx context.Context, subject reference.Canonical) ([]imgspec.Descriptor, string, error) {
	list, err := r.Referrers(ctx, subject)
	return list, "no referrers API, so tag sha256-0", err
}

// TestLookedSaysHow: that nothing was found is worth what was asked.
func TestLookedSaysHow(t *testing.T) {
	d := digest.FromString("manifest")
	ref, err := reference.ParseNamed("registry.example.com/app")
	if err != nil {
		t.Fatal(err)
	}
	for fault, want := range map[error]bool{nil: true, errors.New("status 429"): false} {
		reg := &registry{errs: map[string]error{"referrers": fault}}
		found, err := Finder{Registry: toldVia{reg}}.Find(t.Context(), Query{Ref: ref, Digest: d, Referrers: true})
		if (err == nil) != want || len(found.Looked) != 1 || !strings.HasSuffix(found.Looked[0], "(no referrers API, so tag sha256-0)") {
			t.Errorf("%q, %v", found.Looked, err)
		}
		if err != nil && !strings.Contains(err.Error(), "so tag sha256-0") {
			t.Errorf("%v", err)
		}
	}
}
