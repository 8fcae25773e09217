package verify

import (
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
	w := newWorld(t)
	e := w.engine(`{"default":[{"type":"bundleSigned","trustRoot":"public-good","identities":[{"issuer":"https://i.example","subject":"s"}]}]}`)
	r := &oneRoot{Root: trustroot.Root{Material: &someAuthority{}}}
	e.UseRoots(r)
	w.refer(bundleType, newBundleSigner(t).sign(theManifest))
	if v, err := e.Verify(t.Context(), subject(t, v1)); err != nil || v.Decision == Allowed {
		t.Fatalf("a root that is good: %v, %v", v.Decision, err)
	}
	r.Material = &root.BaseTrustedMaterial{}
	if v, err := e.Verify(t.Context(), subject(t, v1)); err == nil || v.Decision == Allowed || !strings.Contains(err.Error(), "no certificate authority") {
		t.Errorf("a root without authorities: %v, %v", v.Decision, err)
	}
	r.Material = &someAuthority{}
	r.Stale, r.Problem = true, "it is older than 720h"
	if v, err := e.Verify(t.Context(), subject(t, v1)); err == nil || v.Decision == Allowed || !strings.Contains(err.Error(), "older than 720h") {
		t.Errorf("%v, %v", v.Decision, err)
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
}
