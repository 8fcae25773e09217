package verify

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sigstore/sigstore-go/pkg/root"

	"github.com/pullgate/pullgate/verify/trustroot"
)

// oneRoot is a trust root as a test says it is.
type oneRoot struct {
	trustroot.Root
	generation string
}

func (r *oneRoot) Get(name string) (trustroot.Root, bool) { return r.Root, name == "public-good" }
func (r *oneRoot) Generation() string                     { return r.generation }

// someAuthority is a trust root with a certificate authority, which nothing here is of.
type someAuthority struct{ root.BaseTrustedMaterial }

func (*someAuthority) FulcioCertificateAuthorities() []root.CertificateAuthority {
	return []root.CertificateAuthority{&root.FulcioCertificateAuthority{}}
}

// TestTrustRootsThatAreTooOldAreInconclusive: nobody can tell by a root that may have
// been withdrawn, whatever the image carries.
func TestTrustRootsThatAreTooOldAreInconclusive(t *testing.T) {
	const by = `"trustRoot":"public-good","identities":[{"issuer":"https://i.example","subject":"s"}]`
	for _, requirement := range []string{`{"type":"bundleSigned",` + by + `}`, `{"type":"attested","predicateType":"t","signedBy":{` + by + `}}`} {
		for _, carries := range []bool{true, false} {
			w := newWorld(t)
			e := w.engine(`{"default":[` + requirement + `]}`)
			r := &oneRoot{Root: trustroot.Root{Material: &someAuthority{}}}
			e.UseRoots(r)
			if carries {
				w.refer(bundleType, newBundleSigner(t).sign(theManifest))
			}
			if v, err := e.Verify(t.Context(), subject(t, v1)); err != nil || v.Decision == Allowed {
				t.Fatalf("a root that is good: %v, %v", v.Decision, err)
			}
			r.Stale, r.Problem = true, "it is older than 720h"
			if v, err := e.Verify(t.Context(), subject(t, v1)); err == nil || v.Decision == Allowed || !strings.Contains(err.Error(), "older than 720h") {
				t.Errorf("%s: %v, %v", requirement, v.Decision, err)
			}
		}
	}
}

// swapped is a trust root that is replaced while images are judged by it.
type swapped struct {
	left  int // times
	given string
}

func (r *swapped) Generation() string { return fmt.Sprint(r.left) }

func (r *swapped) Get(string) (trustroot.Root, bool) {
	if r.left > 0 {
		r.left--
	}
	r.given = r.Generation()
	return trustroot.Root{Material: &someAuthority{}}, true
}

// TestVerdictIsOfTheRootsThatJudged: a verdict that was made by a root is never filed
// under another one, which may come back.
func TestVerdictIsOfTheRootsThatJudged(t *testing.T) {
	const policy = `{"default":[{"type":"bundleSigned","trustRoot":"public-good","identities":[{"issuer":"https://i.example","subject":"s"}]}]}`
	w := newWorld(t)
	w.refer(bundleType, newBundleSigner(t).sign(theManifest))
	e := w.engine(policy)
	r := &swapped{left: 1}
	e.UseRoots(r)
	v, err := e.Verify(t.Context(), subject(t, v1))
	if err != nil || r.given != r.Generation() || v.Revision != e.Revision() {
		t.Errorf("judged by root %s, now is %s; verdict of %s, now is %s; %v", r.given, r.Generation(), v.Revision, e.Revision(), err)
	}
	r.left = 100
	if v, err := e.Verify(t.Context(), subject(t, v1)); err == nil || v.Decision == Allowed || r.left < 100-10*maxJudged {
		t.Errorf("%d swaps: %v, %v", 100-r.left, v.Decision, err)
	}
}

// TestRevisionCoversTrustRoots: verdicts of another root are stale.
func TestRevisionCoversTrustRoots(t *testing.T) {
	w := newWorld(t)
	e := w.engine(rejectAll)
	without := e.Revision()
	r := &oneRoot{generation: "one"}
	e.UseRoots(r)
	first := e.Revision()
	r.generation = "two"
	if v := verify(t, e, subject(t, v1)); first == without || e.Revision() == first || v.Revision != e.Revision() {
		t.Errorf("%s, %s, %s; verdict of %s", without, first, e.Revision(), v.Revision)
	}
	second := e.Revision()
	p, err := w.load(`{"default":[{"type":"insecureAcceptAnything"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	if e.Replace(p); e.Revision() == second {
		t.Error("another policy has the same revision")
	}
}

// TestAStaleRootIsAnotherBasis: what was decided by a root ends when it gets stale,
// though its bytes are the same.
func TestAStaleRootIsAnotherBasis(t *testing.T) {
	w := newWorld(t)
	e := w.engine(`{"default":[{"type":"bundleSigned","trustRoot":"public-good","identities":[{"issuer":"https://i.example","subject":"s"}]}]}`)
	r := &oneRoot{Root: trustroot.Root{Material: &root.BaseTrustedMaterial{}, Generation: "1"}}
	e.UseRoots(r)
	_, before := e.Basis(subject(t, v1))
	r.Stale = true
	if _, after := e.Basis(subject(t, v1)); after == before || after == "" {
		t.Errorf("basis %q, before %q", after, before)
	}
}

// TestIdentitiesNeedAnAuthority: a root that only proves times says nothing about
// certificates, neither that they are good nor that they are not.
func TestIdentitiesNeedAnAuthority(t *testing.T) {
	w := newWorld(t)
	e := w.engine(`{"default":[{"type":"bundleSigned","trustRoot":"public-good","identities":[{"issuer":"https://i.example","subject":"s"}]}]}`)
	e.UseRoots(&oneRoot{Root: trustroot.Root{Material: &root.BaseTrustedMaterial{}}})
	w.refer(bundleType, newBundleSigner(t).sign(theManifest))
	if v, err := e.Verify(t.Context(), subject(t, v1)); err == nil || !strings.Contains(err.Error(), "no certificate authority") {
		t.Errorf("%v, %v", v.Decision, err)
	}
}
