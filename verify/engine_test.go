package verify

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/verify/discover"
)

const (
	repo = "registry.example.com/team/app"
	v1   = repo + ":v1"
	v2   = repo + ":v2"
)

// verify judges and expects an answer.
func verify(t testing.TB, e *Engine, s Subject) Verdict {
	t.Helper()
	v, err := e.Verify(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// reasons is everything that was found wrong, in one text.
func reasons(v Verdict) string {
	var out []string
	for _, r := range v.Requirements {
		out = append(out, r.Found...)
	}
	return strings.Join(out, "\n")
}

func byDigest() string { return repo + "@" + digest.FromBytes(theManifest).String() }

// TestSimpleSigningStories tells what becomes of images by their signatures.
func TestSimpleSigningStories(t *testing.T) {
	ours, other, expired := newGPG(t, "ed25519"), newGPG(t, "ed25519"), expiredGPG(t)
	actual := digest.FromBytes(theManifest).String()
	tampered := ours.sign(v1, theManifest)
	tampered[len(tampered)/2] ^= 1
	for name, c := range map[string]struct {
		sigs [][]byte
		ask  string
		want string // in the reasons; empty: allowed
	}{
		"signed":                        {[][]byte{ours.sign(v1, theManifest)}, v1, ""},
		"signed, by digest":             {[][]byte{ours.sign(v1, theManifest)}, byDigest(), ""},
		"second one is good":            {[][]byte{other.sign(v1, theManifest), ours.sign(v1, theManifest)}, v1, ""},
		"junk before a good one":        {[][]byte{{0xC4, 0}, ours.sign(v1, theManifest)}, v1, ""},
		"RSA 2048":                      {[][]byte{newGPG(t, "rsa2048").sign(v1, theManifest)}, v1, ""},
		"unsigned":                      {nil, v1, "no signatures found at https://sigs.example.com/s/team/app@sha256="},
		"another key":                   {[][]byte{other.sign(v1, theManifest)}, v1, "signed by key " + other.id() + ", which this scope does not trust"},
		"another tag":                   {[][]byte{ours.sign(v1, theManifest)}, v2, "signature is for " + v1 + ", asked for " + v2},
		"another repository":            {[][]byte{ours.sign("registry.example.com/other:v1", theManifest)}, v1, "signature is for registry.example.com/other:v1"},
		"another repository, by digest": {[][]byte{ours.sign("registry.example.com/other:v1", theManifest)}, byDigest(), "signature is for registry.example.com/other:v1"},
		"another manifest":              {[][]byte{ours.sign(v1, otherManifest)}, v1, "signature is for digest " + digest.FromBytes(otherManifest).String() + ", this manifest is " + actual},
		"expired key":                   {[][]byte{expired.sign(v1, theManifest)}, v1, "signed by key " + expired.id() + ", which is expired"},
		"tampered":                      {[][]byte{tampered}, v1, "does not verify"},
		"not a payload":                 {[][]byte{ours.message([]byte("hello"))}, v1, "malformed signature"},
		"payload with more":             {[][]byte{ours.message([]byte(`{"critical":{},"optional":{},"more":1}`))}, v1, "malformed signature"},
		"not an OpenPGP message":        {[][]byte{{0xC4, 0x01, 0x02}}, v1, "malformed signature"},
		"not signed at all":             {[][]byte{[]byte("\x00simple-signing\n\xCB\x08b\x00\x00\x00\x00\x00hi")}, v1, "not signed"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.store("team/app", c.sigs...)
			e := w.engine(policyFor(t, map[string]any{repo: []any{signedBy(nil, ours, expired, newGPG(t, "rsa2048"))}}))
			v := verify(t, e, subject(t, c.ask))
			if (v.Decision == Allowed) != (c.want == "") || !strings.Contains(reasons(v), c.want) {
				t.Errorf("expected %q, found %s: %s", c.want, v.Decision, reasons(v))
			}
			if v.Scope != repo || v.Revision != e.Revision() || len(v.Signatures) != len(c.sigs) {
				t.Errorf("%+v", v)
			}
			r := v.Requirements[0]
			if !strings.Contains(r.Required, ours.id()) || !strings.Contains(r.Required, "Test ed25519") {
				t.Errorf("required: %s", r.Required)
			}
			if v.Decision == Denied && !strings.Contains(r.WouldPass, "a simple signing signature for ") {
				t.Errorf("would pass: %s", r.WouldPass)
			}
			if v.Decision == Allowed && (len(v.Signers()) != 1 || !strings.HasPrefix(v.Signers()[0], "gpg:") || len(r.Found) > 0) {
				t.Errorf("signers %v, found %v", v.Signers(), r.Found)
			}
		})
	}
}

func TestSigstoreStories(t *testing.T) {
	ours, other, rsa := newSigstoreKey(t), newSigstoreKey(t), newSigstoreRSA(t, 2048)
	tampered := ours.sign(repo, theManifest)
	tampered.Payload = cosignPayload(repo, digest.FromBytes(otherManifest))
	huge := ours.signPayload(append(cosignPayload(repo, digest.FromBytes(theManifest)), bytes.Repeat([]byte(" "), maxPayload)...))
	relabelled := ours.sign(repo, theManifest)
	relabelled.Annotations = map[string]string{}
	for name, c := range map[string]struct {
		sigs     []*discover.Sigstore
		identity map[string]any
		want     string
	}{
		"signed":              {[]*discover.Sigstore{ours.sign(repo, theManifest)}, matchRepository, ""},
		"signed by RSA":       {[]*discover.Sigstore{rsa.sign(repo, theManifest)}, matchRepository, ""},
		"second one is good":  {[]*discover.Sigstore{other.sign(repo, theManifest), ours.sign(repo, theManifest)}, matchRepository, ""},
		"with tag":            {[]*discover.Sigstore{ours.sign(v1, theManifest)}, nil, ""},
		"unsigned":            {nil, matchRepository, "no signatures found at https://sigs.example.com/s/team/app@sha256="},
		"cosign, by default":  {[]*discover.Sigstore{ours.sign(repo, theManifest)}, nil, "signature is for " + repo + ", asked for " + v1},
		"another key":         {[]*discover.Sigstore{other.sign(repo, theManifest)}, matchRepository, "signed by a key that this scope does not trust"},
		"another repository":  {[]*discover.Sigstore{ours.sign("registry.example.com/x", theManifest)}, matchRepository, "signature is for registry.example.com/x"},
		"another manifest":    {[]*discover.Sigstore{ours.sign(repo, otherManifest)}, matchRepository, "signature is for digest"},
		"tampered":            {[]*discover.Sigstore{tampered}, matchRepository, "does not trust, or altered"},
		"without a signature": {[]*discover.Sigstore{relabelled}, matchRepository, "malformed signature: no base64"},
		"oversize payload":    {[]*discover.Sigstore{huge}, matchRepository, "malformed signature: its payload is larger"},
		"not a payload":       {[]*discover.Sigstore{{MIMEType: discover.SimpleSigningMIMEType, Payload: []byte("x")}}, matchRepository, "malformed signature: its payload"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if c.sigs != nil {
				w.attach(repo, c.sigs...)
			}
			v := verify(t, w.engine(policyFor(t, map[string]any{repo: []any{sigstoreSigned(c.identity, ours, rsa)}})), subject(t, v1))
			if (v.Decision == Allowed) != (c.want == "") || !strings.Contains(reasons(v), c.want) {
				t.Errorf("expected %q, found %s: %s", c.want, v.Decision, reasons(v))
			}
			tag := repo + ":sha256-" + digest.FromBytes(theManifest).Encoded() + ".sig"
			if len(v.Looked) != 2 || v.Looked[1] != tag {
				t.Errorf("looked at %v", v.Looked)
			}
			if v.Decision == Allowed && !strings.HasPrefix(v.Signers()[0], "sigstore-key:sha256:") {
				t.Errorf("signers %v", v.Signers())
			}
		})
	}
}

// TestSigstoreInLookaside accepts the stored form that containers/image writes.
func TestSigstoreInLookaside(t *testing.T) {
	w := newWorld(t)
	key := newSigstoreKey(t)
	blob, err := key.sign(repo, theManifest).Blob()
	if err != nil {
		t.Fatal(err)
	}
	w.store("team/app", blob)
	v := verify(t, w.engine(policyFor(t, map[string]any{repo: []any{sigstoreSigned(matchRepository, key)}})), subject(t, v1))
	if v.Decision != Allowed {
		t.Error(reasons(v))
	}
}

func TestExtensionSignaturesReplaceTheLookaside(t *testing.T) {
	w := newWorld(t)
	key := newGPG(t, "ed25519")
	w.store("team/app", key.sign(v1, theManifest))
	w.reg.supported = true
	e := w.engine(policyFor(t, map[string]any{repo: []any{signedBy(nil, key)}}))
	if v := verify(t, e, subject(t, v1)); v.Decision != Denied || len(w.web.asked) > 0 {
		t.Errorf("%s, asked %v", v.Decision, w.web.asked)
	}
	w.reg.extension = [][]byte{key.sign(v1, theManifest)}
	if v := verify(t, e, subject(t, v1)); v.Decision != Allowed {
		t.Error(reasons(v))
	}
}

// TestAllRequirementsAreNeeded ANDs a list and gives each its own result.
func TestAllRequirementsAreNeeded(t *testing.T) {
	a, b, c := newGPG(t, "ed25519"), newGPG(t, "ed25519"), newSigstoreKey(t)
	accept := map[string]any{"type": "insecureAcceptAnything"}
	for name, k := range map[string]struct {
		sigs   [][]byte
		cosign bool
		want   []bool // per requirement: a, b, cosign, accept
	}{
		"all":      {[][]byte{a.sign(v1, theManifest), b.sign(v1, theManifest)}, true, []bool{true, true, true, true}},
		"a only":   {[][]byte{a.sign(v1, theManifest)}, false, []bool{true, false, false, true}},
		"no b":     {[][]byte{a.sign(v1, theManifest)}, true, []bool{true, false, true, true}},
		"GPG only": {[][]byte{a.sign(v1, theManifest), b.sign(v1, theManifest)}, false, []bool{true, true, false, true}},
		"none":     {nil, false, []bool{false, false, false, true}},
	} {
		w := newWorld(t)
		w.store("team/app", k.sigs...)
		if k.cosign {
			w.attach(repo, c.sign(repo, theManifest))
		}
		v := verify(t, w.engine(policyFor(t, map[string]any{repo: []any{signedBy(nil, a), signedBy(nil, b), sigstoreSigned(matchRepository, c), accept}})), subject(t, v1))
		var got []bool
		for _, r := range v.Requirements {
			got = append(got, r.Allowed)
		}
		if !slices.Equal(got, k.want) || (v.Decision == Allowed) != !slices.Contains(k.want, false) {
			t.Errorf("%s: expected %v, found %v, %s", name, k.want, got, v.Decision)
		}
	}
}

// TestNoFetchingWithoutNeed: what signatures cannot change needs none.
func TestNoFetchingWithoutNeed(t *testing.T) {
	key := newGPG(t, "ed25519")
	accept, reject := map[string]any{"type": "insecureAcceptAnything"}, map[string]any{"type": "reject"}
	base := map[string]any{"type": "signedBaseLayer", "baseLayerIdentity": map[string]any{"type": "matchExact"}}
	ca := map[string]any{"type": "signedBy", "keyType": "signedByGPGKeys", "keyData": []byte("x")}
	for name, c := range map[string]struct {
		reqs []any
		want Decision
	}{
		"accept":            {[]any{accept}, Allowed},
		"accept twice":      {[]any{accept, accept}, Allowed},
		"reject":            {[]any{reject}, Denied},
		"signed and reject": {[]any{signedBy(nil, key), reject}, Denied},
		"accept and reject": {[]any{accept, reject}, Denied},
		"base layer":        {[]any{base}, Denied},
		"key type":          {[]any{ca, signedBy(nil, key)}, Denied},
	} {
		w := newWorld(t)
		w.reg.err = errors.New("must not be asked")
		v := verify(t, w.engine(policyFor(t, map[string]any{repo: c.reqs})), subject(t, v1))
		if v.Decision != c.want || len(v.Requirements) != len(c.reqs) || len(w.reg.asked)+len(w.web.asked) > 0 || len(v.Looked) > 0 {
			t.Errorf("%s: %+v, asked %v", name, v, w.reg.asked)
		}
		for _, r := range v.Requirements {
			if !r.Allowed && len(r.Found) == 0 {
				t.Errorf("%s: no reason: %+v", name, r)
			}
		}
	}
}

// TestScopeChoice finds the most specific scope.
func TestScopeChoice(t *testing.T) {
	all := []string{v1, repo, "registry.example.com/team", "registry.example.com", "*.example.com", "*.com", ""}
	accept := []any{map[string]any{"type": "insecureAcceptAnything"}}
	for i := range len(all) + 1 {
		scopes := map[string]any{"unrelated.example.org": accept}
		for _, s := range all[i:] {
			scopes[s] = accept
		}
		want, decision := DefaultScope, Denied
		if i < len(all) {
			want, decision = all[i], Allowed
		}
		if want == "" {
			want = "docker (transport default)"
		}
		v := verify(t, newWorld(t).engine(policyFor(t, scopes)), subject(t, v1))
		if v.Scope != want || v.Decision != decision {
			t.Errorf("expected %q %s, found %q %s", want, decision, v.Scope, v.Decision)
		}
	}
}

func TestAtomicTransportHasItsOwnScopes(t *testing.T) {
	e := newWorld(t).engine(`{"default":[{"type":"reject"}],"transports":{"docker":{"registry.example.com":[{"type":"reject"}]},
		"atomic":{"registry.example.com/team":[{"type":"insecureAcceptAnything"}]}}}`)
	s := subject(t, v1)
	if v := verify(t, e, s); v.Decision != Denied || v.Scope != "registry.example.com" {
		t.Errorf("%+v", v)
	}
	s.Transport = TransportAtomic
	if v := verify(t, e, s); v.Decision != Allowed || v.Scope != "registry.example.com/team" {
		t.Errorf("%+v", v)
	}
	s.Transport = "oci"
	if v, err := e.Verify(context.Background(), s); err == nil || v.Decision != Denied {
		t.Errorf("%+v, %v", v, err)
	}
}

// TestSubjectsThatDoNotHoldTogether are errors even where everything is accepted.
func TestSubjectsThatDoNotHoldTogether(t *testing.T) {
	e := newWorld(t).engine(`{"default":[{"type":"insecureAcceptAnything"}]}`)
	good := subject(t, v1)
	for name, edit := range map[string]func(*Subject){
		"other bytes":         func(s *Subject) { s.Manifest = otherManifest },
		"no bytes":            func(s *Subject) { s.Manifest = nil },
		"other digest":        func(s *Subject) { s.Digest = digest.FromBytes(otherManifest) },
		"no digest":           func(s *Subject) { s.Digest = "" },
		"malformed digest":    func(s *Subject) { s.Digest = "sha256:x" },
		"unknown algorithm":   func(s *Subject) { s.Digest = "md5:d41d8cd98f00b204e9800998ecf8427e" },
		"no reference":        func(s *Subject) { s.Ref = nil },
		"name only":           func(s *Subject) { s.Ref = named(t, repo) },
		"both tag and digest": func(s *Subject) { s.Ref = named(t, v1+"@"+string(s.Digest)) },
	} {
		s := good
		edit(&s)
		if v, err := e.Verify(context.Background(), s); err == nil || v.Decision != Denied {
			t.Errorf("%s: %s, %v", name, v.Decision, err)
		}
	}
	s := good
	s.Digest = digest.SHA512.FromBytes(theManifest)
	if v := verify(t, e, s); v.Decision != Allowed {
		t.Errorf("sha512: %+v", v)
	}
}

// TestSignaturesAreStoredUnderTheCanonicalDigest asks by sha512 and finds the
// signature where signers put it.
func TestSignaturesAreStoredUnderTheCanonicalDigest(t *testing.T) {
	w := newWorld(t)
	g, c := newGPG(t, "ed25519"), newSigstoreKey(t)
	w.store("team/app", g.sign(v1, theManifest))
	w.attach(repo, c.sign(repo, theManifest))
	s := subject(t, v1)
	s.Digest = digest.SHA512.FromBytes(theManifest)
	s.Ref = named(t, repo+"@"+string(s.Digest))
	v := verify(t, w.engine(policyFor(t, map[string]any{repo: []any{signedBy(nil, g), sigstoreSigned(matchRepository, c)}})), s)
	if v.Decision != Allowed {
		t.Error(reasons(v))
	}
}

// TestChildOfAnIndexIsJudgedUnderTheRequestedReference is tag confusion: an old
// signed child below a new tag.
func TestChildOfAnIndexIsJudgedUnderTheRequestedReference(t *testing.T) {
	w := newWorld(t)
	key := newGPG(t, "ed25519")
	w.store("team/app", key.sign(v1, theManifest))
	e := w.engine(policyFor(t, map[string]any{repo: []any{signedBy(nil, key)}}))
	if v := verify(t, e, subject(t, repo+":latest")); v.Decision != Denied {
		t.Error("an image signed as v1 passes as latest")
	}
	// Asked for by the digest of an index, the child may have any tag's signature.
	s := subject(t, v1)
	s.Ref = named(t, repo+"@"+digest.FromString("an index").String())
	if v := verify(t, e, s); v.Decision != Allowed {
		t.Error(reasons(v))
	}
}

// TestInconclusive lists failures that must neither allow nor deny.
func TestInconclusive(t *testing.T) {
	g, c := newGPG(t, "ed25519"), newSigstoreKey(t)
	for name, prepare := range map[string]func(w *world){
		"signature server down": func(w *world) {
			w.web.get = func(context.Context, string) (io.ReadCloser, error) { return nil, errors.New("status 503") }
		},
		"error page": func(w *world) {
			w.store("team/app", g.sign(v1, theManifest), []byte("<html>"))
		},
		"registry down": func(w *world) { w.reg.err = errors.New("status 500") },
		"attachment's blob is gone": func(w *world) {
			w.attach(repo, c.sign(repo, theManifest))
			clear(w.reg.blobs)
		},
	} {
		w := newWorld(t)
		prepare(w)
		e := w.engine(policyFor(t, map[string]any{repo: []any{signedBy(nil, g), sigstoreSigned(matchRepository, c)}}))
		v, err := e.Verify(context.Background(), subject(t, v1))
		var inc *Inconclusive
		if !errors.As(err, &inc) || inc.Place == "" || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: expected an inconclusive error, found %v", name, err)
			continue
		}
		if v.Decision != Denied || v.Scope != repo || v.Revision == "" || len(v.Looked) == 0 {
			t.Errorf("%s: %+v", name, v)
		}
		if strings.Contains(err.Error(), "secret") || strings.Contains(fmt.Sprint(v), "secret") {
			t.Errorf("%s: leaks: %v", name, err)
		}
	}
}

func TestCancelledRequestIsNoVerdict(t *testing.T) {
	w := newWorld(t)
	w.reg.delay = time.Minute
	key := newGPG(t, "ed25519")
	e := w.engine(policyFor(t, map[string]any{repo: []any{signedBy(nil, key)}, "open.example.com": []any{map[string]any{"type": "insecureAcceptAnything"}}}))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if v, err := e.Verify(ctx, subject(t, v1)); !errors.Is(err, context.DeadlineExceeded) || v.Decision != Denied {
		t.Errorf("%+v, %v", v, err)
	}
	if v, err := e.Verify(ctx, subject(t, "open.example.com/x:1")); err == nil || v.Decision != Denied {
		t.Errorf("%+v, %v", v, err)
	}
}

// TestCancelledWhileJudgingIsNoVerdict ends the request once everything is fetched.
func TestCancelledWhileJudgingIsNoVerdict(t *testing.T) {
	g, c := newGPG(t, "ed25519"), newSigstoreKey(t)
	for name, requirement := range map[string]any{"simple signing": signedBy(nil, g), "sigstore": sigstoreSigned(nil, c)} {
		w := newWorld(t)
		w.store("team/app", g.sign(v1, theManifest), stored(t, c.sign(v1, theManifest)))
		ctx, cancel := context.WithCancel(context.Background())
		files := w.web.files
		w.web.get = func(_ context.Context, u string) (io.ReadCloser, error) {
			for path, b := range files {
				if strings.Contains(u, path) {
					return io.NopCloser(bytes.NewReader(b)), nil
				}
			}
			cancel()
			return nil, fs.ErrNotExist
		}
		e := w.engine(policyFor(t, map[string]any{repo: []any{requirement}}))
		if v, err := e.Verify(ctx, subject(t, v1)); !errors.Is(err, context.Canceled) || v.Decision != Denied {
			t.Errorf("%s: %s, %v", name, v.Decision, err)
		}
	}
}

// TestNoTemporaryDirectoryIsNoVerdict loses the directory through which sigstore
// signatures pass.
func TestNoTemporaryDirectoryIsNoVerdict(t *testing.T) {
	w := newWorld(t)
	g, c := newGPG(t, "ed25519"), newSigstoreKey(t)
	w.attach(repo, c.sign(repo, theManifest))
	w.store("gpg", g.sign("registry.example.com/gpg:v1", theManifest))
	e := w.engine(policyFor(t, map[string]any{repo: []any{sigstoreSigned(matchRepository, c)}, "registry.example.com/gpg": []any{signedBy(nil, g)}}))
	e.tempDirs = []string{"/nonexistent"}
	if v, err := e.Verify(context.Background(), subject(t, v1)); err == nil || v.Decision != Denied {
		t.Errorf("%+v, %v", v, err)
	}
	if v := verify(t, e, subject(t, "registry.example.com/gpg:v1")); v.Decision != Allowed {
		t.Error("simple signing needs a temporary directory")
	}
	if e.selfTest() == nil {
		t.Error("the self-test does not notice")
	}
}

// TestJudgeAlone is what the self-test is made of: it must be able to say no.
func TestJudgeAlone(t *testing.T) {
	w := newWorld(t)
	e := w.engine(rejectAll)
	key := newGPG(t, "ed25519")
	policy := []byte(policyFor(t, map[string]any{}))
	sig := discover.Signature{Simple: key.sign(v1, theManifest)}
	if r, err := e.judgeAlone(policy, subject(t, v1), sig); err != nil || r.Allowed {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := e.judgeAlone([]byte("{}"), subject(t, v1), sig); err == nil {
		t.Error("expected an error for a broken policy")
	}
}

func TestEngineNeedsItsParts(t *testing.T) {
	w := newWorld(t)
	p, err := w.load(rejectAll)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewEngine(nil, w.reg, w.web); err == nil {
		t.Error("no policy")
	}
	if _, err := NewEngine(p, nil, w.web); err == nil {
		t.Error("no registry")
	}
	if _, err := NewEngine(p, w.reg, nil); err == nil {
		t.Error("no web")
	}
	if v, err := new(Engine).Verify(context.Background(), subject(t, v1)); err == nil || v.Decision != Denied {
		t.Error("the zero engine decides")
	}
}

func TestReplacePutsTheNewPolicyInForce(t *testing.T) {
	w := newWorld(t)
	e := w.engine(`{"default":[{"type":"insecureAcceptAnything"}]}`)
	before := e.Revision()
	p, err := w.load(rejectAll)
	if err != nil {
		t.Fatal(err)
	}
	e.Replace(p)
	e.Replace(nil)
	if v := verify(t, e, subject(t, v1)); v.Decision != Denied || e.Revision() == before || e.Policy() != p || v.Revision != p.Revision() {
		t.Errorf("%+v", v)
	}
}

// TestPanicNeitherAllowsNorKills has a parser trip over a signature.
func TestPanicNeitherAllowsNorKills(t *testing.T) {
	w := newWorld(t)
	key := newGPG(t, "ed25519")
	e := w.engine(policyFor(t, map[string]any{repo: []any{signedBy(nil, key)}}))
	w.store("team/app", key.sign(v1, theManifest))
	e.now = func() time.Time { panic("tripped\x1b[31m") }
	v, err := e.Verify(context.Background(), subject(t, v1))
	if err == nil || v.Decision != Denied || strings.ContainsRune(err.Error(), '\x1b') {
		t.Errorf("%+v, %v", v, err)
	}
}

// TestConcurrentVerificationAndReload judges while policies change.
func TestConcurrentVerificationAndReload(t *testing.T) {
	w := newWorld(t)
	g, c, other := newGPG(t, "ed25519"), newSigstoreKey(t), newGPG(t, "rsa2048")
	w.store("team/app", g.sign(v1, theManifest))
	w.attach(repo, c.sign(repo, theManifest))
	e := w.engine(policyFor(t, map[string]any{repo: []any{signedBy(nil, g, other), sigstoreSigned(matchRepository, c)}}))
	open := e.Policy()
	closed, err := w.load(policyFor(t, map[string]any{repo: []any{signedBy(nil, other)}}))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 20 {
				if i == 0 {
					e.Replace([]*Policy{open, closed}[n%2])
					continue
				}
				v, err := e.Verify(context.Background(), subject(t, v1))
				if err != nil || (v.Decision == Allowed) != (v.Revision == open.Revision()) {
					t.Errorf("%s by %s: %v", v.Decision, v.Revision, err)
				}
			}
		})
	}
	wg.Wait()
}

// A signed schema 1 manifest whose signatures state a payload of negative length
// makes their reader panic.
func TestDigestOfMalformedSchema1Signatures(t *testing.T) {
	protected := base64.RawURLEncoding.EncodeToString([]byte(`{"formatLength":-1,"formatTail":"fQ","time":"x"}`))
	m := `{"schemaVersion":1,"fsLayers":[],"signatures":[{"protected":"` + protected + `","signature":"eA"}]}`
	if d, err := ManifestDigest([]byte(m), ""); err == nil {
		t.Errorf("found %s", d)
	}
}
