//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pullgate/pullgate/e2e/harness"
)

// A changed policy is in force at once, for what was allowed before as well; a
// broken one is refused and the last good one stays.
func TestPolicyReload(t *testing.T) {
	o := newOutage(t)
	ref := o.publish(t, "app")
	other := harness.NewGPG(t).Key(t, harness.Ed25519)
	pull := func(decision string) harness.Record {
		t.Helper()
		mark := o.gate.Mark(t)
		r := o.curl.Pull(t, o.gate, ref)
		if (r.ExitCode == 0) != (decision == harness.Allowed) {
			t.Errorf("exit status %d, expected %s\n%s", r.ExitCode, decision, r.Output)
		}
		return o.gate.Expect(t, mark, decision, ref)
	}
	before := pull(harness.Allowed)

	if now := o.gate.SetPolicy(t, harness.PolicyFor(honest, other.SignedBy(t))); now.PolicyError != "" || now.Revision == before.Revision {
		t.Errorf("readiness %+v after a new policy", now)
	}
	if rec := pull(harness.Denied); rec.Revision == before.Revision {
		t.Error("denied by the policy that allowed before")
	}

	broken := o.gate.SetPolicyBytes(t, []byte(`{"default": [{"type": "signedBy"}]}`))
	if !broken.Ready || broken.PolicyError == "" {
		t.Errorf("readiness %+v with a broken policy, expected ready with the last one, and the error", broken)
	}
	if got := o.gate.Metric(t, "pullgate_policy_reloads_total", `result="error"`); got < 1 {
		t.Errorf("%v failed reloads counted", got)
	}
	pull(harness.Denied)

	o.gate.WritePolicy(t, harness.PolicyFor(honest, o.key.SignedBy(t)).JSON(t)) // no signal: the gate looks by itself
	o.gate.Await(t, func(now harness.Readiness) bool { return now.PolicyError == "" && now.Revision == before.Revision })
	pull(harness.Allowed)
}

// A reload ends the verdicts of the scopes that it changes. Those of others are known
// still: nothing is asked for them.
func TestPolicyReloadEndsWhatItChanges(t *testing.T) {
	o := newOutage(t)
	one, two := o.publish(t, "one/app"), o.publish(t, "two/app")
	policy := harness.Policy{Default: all(harness.Reject())}.With(honest+"/one", o.key.SignedBy(t))
	o.gate.SetPolicy(t, policy.With(honest+"/two", o.key.SignedBy(t)))
	pull := func(ref harness.Ref, decision string) harness.Record {
		t.Helper()
		mark := o.gate.Mark(t)
		o.curl.Pull(t, o.gate, ref)
		return o.gate.Expect(t, mark, decision, ref)
	}
	pull(one, harness.Allowed)
	pull(two, harness.Allowed)
	other := harness.NewGPG(t).Key(t, harness.Ed25519)
	now := o.gate.SetPolicy(t, policy.With(honest+"/two", other.SignedBy(t)))
	if rec := pull(one, harness.Allowed); !rec.Cached || rec.Revision != now.Revision {
		t.Errorf("expected the verdict of the scope that stayed as it was, found cached %t under revision %s", rec.Cached, rec.Revision)
	}
	if rec := pull(two, harness.Denied); rec.Cached {
		t.Error("expected a new verdict for the scope that was changed")
	}
}

// SIGTERM ends the gate in order, and the audit log has every decision.
func TestStop(t *testing.T) {
	o := newOutage(t)
	ref := o.publish(t, "app")
	for range 5 {
		o.curl.Pull(t, o.gate, ref)
	}
	o.gate.Stop(t)
	if n := o.gate.Audit(t).Decisions(harness.Allowed); n != 5 {
		t.Errorf("%d decisions in the audit log, expected 5:\n%s", n, o.gate.Audit(t))
	}
}

// The audit log can be moved away while the gate works.
func TestAuditLogRotation(t *testing.T) {
	o := newOutage(t)
	ref := o.publish(t, "app")
	o.curl.Pull(t, o.gate, ref)
	o.gate.Expect(t, 0, harness.Allowed, ref)
	log := filepath.Join(o.gate.Dir, "audit.jsonl")
	if err := os.Rename(log, log+".1"); err != nil {
		t.Fatal(err)
	}
	harness.WaitFor(t, "new audit log", 10*time.Second, func() bool {
		o.curl.Pull(t, o.gate, ref)
		_, err := os.Stat(log)
		return err == nil
	})
	o.gate.Expect(t, 0, harness.Allowed, ref)
}

// A scope that is only reported on lets everything through and says what it
// would have said.
func TestReportOnly(t *testing.T) {
	key, reg := harness.NewGPG(t).Key(t, harness.Ed25519), harness.NewGoRegistry(t)
	gate := harness.StartGate(t, harness.GateConfig{
		Upstreams:  []harness.Upstream{{Registry: honest, Endpoint: reg.URL}},
		Policy:     harness.PolicyFor(honest, key.SignedBy(t)).With(honest+"/trial", key.SignedBy(t)),
		ReportOnly: []string{honest + "/trial"},
	})
	for repo, want := range map[string]string{"trial": harness.ReportOnly, "app": harness.Denied} {
		reg.Push(t, repo, "v1", harness.NewImage(t, repo))
		ref := harness.Tagged(honest, repo, "v1")
		mark := gate.Mark(t)
		r := harness.NewCurl(t).Pull(t, gate, ref)
		rec := gate.Expect(t, mark, want, ref)
		if len(rec.Reasons) == 0 || (want == harness.ReportOnly) != strings.Contains(r.Output, "Warning: 299") || (want == harness.ReportOnly) != (r.ExitCode == 0) {
			t.Errorf("%s: exit status %d, record %s\n%s", ref, r.ExitCode, rec, r.Output)
		}
	}
}

// pullgate check says what the server would do, in words and exit status.
func TestCheck(t *testing.T) {
	o := newOutage(t)
	signed := o.publish(t, "app")
	o.reg.Push(t, "plain", "v1", harness.NewImage(t, "plain"))
	unsigned := harness.Tagged(honest, "plain", "v1")
	check := func(want int, words string, args ...string) {
		t.Helper()
		r := o.gate.Command(t, append([]string{"check"}, args...)...)
		if r.ExitCode != want || !strings.Contains(r.Output, words) {
			t.Errorf("check %v: exit status %d, expected %d and %q:\n%s", args, r.ExitCode, want, words, r.Output)
		}
	}
	check(0, "ALLOWED", signed.String())
	check(0, `"decision": "allowed"`, signed.String(), "--json")
	check(1, "no signatures found", unsigned.String())
	check(1, `"decision": "denied"`, unsigned.String(), "--json")
	o.sigs.Fail(harness.FaultStatus(500))
	check(2, "500", signed.String())
}

// A configuration with faults stops the gate before it listens; every fault is
// named, with what would be right.
func TestFaultsOfConfiguration(t *testing.T) {
	gate := harness.WriteConfig(t, harness.GateConfig{
		Upstreams: []harness.Upstream{{Registry: honest, Endpoint: "ftp://127.0.0.1"}},
		Extra:     "liston: 127.0.0.1:1\nlog: {level: loud}",
	})
	for _, command := range [][]string{{"config", "check"}, {"serve"}} {
		r := gate.Command(t, command...)
		if r.ExitCode == 0 {
			t.Errorf("%v: exit status 0", command)
		}
		for _, word := range []string{"liston", "upstreams[0].endpoint", "loud", gate.Config} {
			if !strings.Contains(r.Output, word) {
				t.Errorf("%v does not mention %q:\n%s", command, word, r.Output)
			}
		}
	}
	good := harness.WriteConfig(t, harness.GateConfig{Upstreams: []harness.Upstream{{Registry: honest, Endpoint: "http://127.0.0.1:1"}}})
	if r := good.Command(t, "config", "check"); r.ExitCode != 0 {
		t.Errorf("config check of a good one: exit status %d\n%s", r.ExitCode, r.Output)
	}
}
