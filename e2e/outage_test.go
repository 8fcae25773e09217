//go:build e2e

package e2e

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/e2e/harness"
)

// outage is a gate, a registry and a signature server that can be put out of
// order.
type outage struct {
	gate *harness.Gate
	key  *harness.Key
	reg  *harness.Registry
	down harness.Switch // the registry's
	sigs *harness.Lookaside
	curl *harness.Curl
}

func newOutage(t *testing.T) *outage {
	t.Helper()
	o := &outage{key: harness.NewGPG(t).Key(t, harness.Ed25519), sigs: harness.NewWebLookaside(t), curl: harness.NewCurl(t)}
	o.reg = harness.NewGoRegistry(t, o.down.Middleware)
	o.gate = harness.StartGate(t, harness.GateConfig{
		Upstreams:   []harness.Upstream{{Registry: honest, Endpoint: o.reg.URL}},
		Policy:      harness.PolicyFor(honest, o.key.SignedBy(t)),
		RegistriesD: harness.RegistriesD{honest: {Lookaside: o.sigs.URL}},
	})
	return o
}

// publish pushes a signed image.
func (o *outage) publish(t *testing.T, repo string) harness.Ref {
	t.Helper()
	img, ref := harness.NewImage(t, repo), harness.Tagged(honest, repo, "v1")
	o.reg.Push(t, repo, "v1", img)
	o.sigs.Put(t, repo, img.Digest, o.key.Sign(t, ref.String(), img.Digest))
	return ref
}

// A signature server that is out of order never makes an image unsigned, and
// never lets one pass: the answer is "could not decide, try again", and it is
// forgotten at once.
func TestSignatureServerOutOfOrder(t *testing.T) {
	o := newOutage(t)
	for name, fault := range map[string]http.Handler{
		"500":                harness.FaultStatus(http.StatusInternalServerError),
		"401":                harness.FaultStatus(http.StatusUnauthorized),
		"403":                harness.FaultStatus(http.StatusForbidden),
		"429":                harness.FaultStatus(http.StatusTooManyRequests),
		"a page for people":  harness.FaultHTML(),
		"an endless answer":  harness.FaultEndless(0),
		"endless signatures": harness.FaultSame([]byte("\xc0junk")),
	} {
		t.Run(name, func(t *testing.T) { o.signatureFault(t, strings.ReplaceAll(name, " ", "-"), fault) })
	}
}

// The one that takes the gate's whole patience (30 s).
func TestSignatureServerDoesNotAnswer(t *testing.T) {
	t.Parallel()
	newOutage(t).signatureFault(t, "silent", harness.FaultHang())
}

func (o *outage) signatureFault(t *testing.T, repo string, fault http.Handler) {
	ref := o.publish(t, repo)
	mark := o.gate.Mark(t)
	o.sigs.Fail(fault)
	r := o.curl.Pull(t, o.gate, ref)
	o.sigs.Heal()
	rec := o.gate.Expect(t, mark, harness.Inconclusive, ref)
	if r.ExitCode == 0 || rec.Status != http.StatusServiceUnavailable || !strings.Contains(r.Output, "Retry-After: ") {
		t.Errorf("exit status %d, record %s, expected a 503 with Retry-After:\n%s", r.ExitCode, rec, r.Output)
	}
	if r := o.curl.Pull(t, o.gate, ref); r.ExitCode != 0 {
		t.Errorf("after the outage: exit status %d\n%s", r.ExitCode, r.Output)
	}
}

// The same for the registry: what it cannot tell is no verdict.
func TestUpstreamOutOfOrder(t *testing.T) {
	o := newOutage(t)
	ref := o.publish(t, "app")
	for _, c := range []struct {
		upstream, client int
		hint             string
	}{
		{http.StatusNotFound, http.StatusNotFound, "MANIFEST_UNKNOWN"},
		{http.StatusInternalServerError, http.StatusServiceUnavailable, "Retry-After: "},
		{http.StatusTooManyRequests, http.StatusTooManyRequests, "Retry-After: "},
		{http.StatusForbidden, http.StatusBadGateway, "UNKNOWN"},
	} {
		t.Run(strconv.Itoa(c.upstream), func(t *testing.T) {
			mark := o.gate.Mark(t)
			o.down.Set(harness.FaultStatus(c.upstream))
			r := o.curl.Pull(t, o.gate, ref)
			o.down.Set(nil)
			if r.ExitCode == 0 || !strings.Contains(r.Output, "HTTP/1.1 "+strconv.Itoa(c.client)) || !strings.Contains(r.Output, c.hint) {
				t.Errorf("exit status %d, expected status %d and %q:\n%s", r.ExitCode, c.client, c.hint, r.Output)
			}
			if records := o.gate.Since(t, mark); records.Decisions(harness.Allowed) > 0 {
				t.Errorf("allowed:\n%s", records)
			}
			if r := o.curl.Pull(t, o.gate, ref); r.ExitCode != 0 {
				t.Errorf("after the outage: exit status %d\n%s", r.ExitCode, r.Output)
			}
		})
	}
}
