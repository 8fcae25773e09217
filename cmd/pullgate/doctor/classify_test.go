package doctor

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// What clients print, verbatim, and what it shows. REF is the canary's reference,
// SAYS the gate's message.
func TestClassify(t *testing.T) {
	const (
		blocked = `Error: initializing source docker://REF: (Mirrors also failed: [gate.example/REF: reading manifest TAG in gate.example/docker.io/pullgate.invalid/canary/unsigned: denied: SAYS]): REF: registry docker.io is blocked in /etc/containers/registries.conf.d/gate.conf`
		hub     = `Error: initializing source docker://REF: (Mirrors also failed: [gate.example/REF: reading manifest TAG in gate.example/docker.io/pullgate.invalid/canary/unsigned: denied: SAYS]): REF: reading manifest TAG in docker.io/pullgate.invalid/canary/unsigned: requested access to the resource is denied`
	)
	for _, test := range []struct {
		name    string
		f       family
		exit    int
		err     error
		says    string
		verdict string
	}{
		{"docker: arrived", familyDocker, 0, nil, "Status: Downloaded newer image for REF", VerdictArrived},
		{"docker: the gate, graph driver", familyDocker, 1, nil, "Error response from daemon: manifest unverified: SAYS", VerdictRefused},
		{"docker: a listener for mirrors", familyDocker, 1, nil, "received unexpected HTTP status: 500 no such process: SAYS", VerdictRefused},
		{"docker: a listener for mirrors, no text", familyDocker, 1, nil, "received unexpected HTTP status: 500 no such process", VerdictRefused},
		{"docker: fell back from a mirror", familyDocker, 1, nil, "pull access denied for pullgate.invalid/canary/unsigned, repository does not exist or may require 'docker login': denied: requested access to the resource is denied", VerdictElsewhere},
		{"docker: a name", familyDocker, 1, nil, `Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io: no such host`, VerdictElsewhere},
		{"docker: a certificate", familyDocker, 1, nil, `Get "https://registry-1.docker.io/v2/": tls: failed to verify certificate: x509: certificate signed by unknown authority`, VerdictElsewhere},
		{"docker: containerd store", familyFirst, 1, nil, `failed to resolve reference "REF": unexpected status from HEAD request to https://gate.example/v2/pullgate.invalid/canary/unsigned/manifests/TAG?ns=docker.io: 403 SAYS`, VerdictRefused},
		{"no such process from elsewhere", familyFirst, 1, nil, "received unexpected HTTP status: 500 no such process", VerdictElsewhere},
		{"ctr: the gate", familyFirst, 1, nil, `ctr: failed to resolve reference "REF": pulling from host 127.0.0.1:5080 failed with status code [manifests TAG]: 403 SAYS`, VerdictRefused},
		{"crictl: the gate", familyFirst, 1, nil, `time="2026-01-01T00:00:00Z" level=fatal msg="pulling image: rpc error: code = Unknown desc = failed to pull and unpack image \"REF\": failed to resolve reference \"REF\": unexpected status from HEAD request to https://gate.example/v2/: 403 SAYS"`, VerdictRefused},
		{"crictl: Hub", familyFirst, 1, nil, `pulling image: failed to pull and unpack image "REF": pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed`, VerdictElsewhere},
		{"crictl: a warning of a refusal, then another error", familyFirst, 1, nil, "warning: SAYS\nERROR: REF: not found", VerdictFellBack},
		{"podman: rewritten to the gate", familyContainers, 125, nil, "Trying to pull REF...\nError: initializing source docker://REF: reading manifest TAG in gate.example/docker.io/pullgate.invalid/canary/unsigned: denied: SAYS", VerdictRefused},
		{"podman: blocked behind the gate", familyContainers, 125, nil, "Trying to pull REF...\n" + blocked, VerdictRefused},
		{"podman: fell back", familyContainers, 125, nil, "Trying to pull REF...\n" + hub, VerdictFellBack},
		{"podman: fell back, and the network stopped it", familyContainers, 125, nil, strings.Replace(hub, "requested access to the resource is denied", "dial tcp: lookup registry-1.docker.io: no such host", 1), VerdictFellBack},
		{"podman: the mirror is not the gate", familyContainers, 125, nil, strings.Replace(blocked, "SAYS", "not here", 1), VerdictElsewhere},
		{"podman: blocked", familyContainers, 125, nil, "Error: initializing source docker://REF: registry docker.io is blocked in /etc/containers/registries.conf", VerdictBlocked},
		{"podman: Hub alone", familyContainers, 125, nil, "Error: initializing source docker://REF: reading manifest TAG in docker.io/pullgate.invalid/canary/unsigned: requested access to the resource is denied", VerdictElsewhere},
		{"podman: its own policy", familyContainers, 125, nil, "Trying to pull REF...\nError: Source image rejected: Running image docker://REF is rejected by policy.", VerdictArrived},
		{"podman: did not start", familyContainers, 125, nil, "Error: the specified runroot is longer than 50 characters", VerdictElsewhere},
		{"skopeo: the gate", familyContainers, 1, nil, `time="2026-01-01T00:00:00Z" level=fatal msg="initializing source docker://REF: reading manifest TAG in gate.example/docker.io/pullgate.invalid/canary/unsigned: denied: SAYS"`, VerdictRefused},
		{"buildctl: the gate", familyFirst, 1, nil, "#2 [internal] load metadata for REF\nerror: failed to solve: REF: failed to resolve source metadata for REF: unexpected status from HEAD request to https://gate.example/v2/: 403 SAYS", VerdictRefused},
		{"in time", familyFirst, -1, context.DeadlineExceeded, "403 SAYS", VerdictNotRun},
		{"not started", familyFirst, -1, errors.New("no such file"), "", VerdictNotRun},
		{"arrived, and said otherwise", familyContainers, 0, nil, "denied: SAYS", VerdictArrived},
	} {
		says := strings.NewReplacer("REF", "docker.io/"+canary+":c0123456789abcde", "TAG", "c0123456789abcde",
			"SAYS", "pullgate canary c0123456789abcde: this image is always refused").Replace(test.says)
		verdict, reason := classify(test.f, ran{output: says, exit: test.exit, err: test.err})
		if verdict != test.verdict || reason == "" {
			t.Errorf("%s: %s (%s), expected %s", test.name, verdict, reason, test.verdict)
		}
	}
}

// A refusal that is the first of several errors is no proof for a client that tells
// the first: what is configured decides.
func TestAProofDoesNotOverruleWhatIsConfigured(t *testing.T) {
	refused := []Proof{{Registry: "docker.io", Verdict: VerdictRefused}}
	for _, test := range []struct {
		name     string
		finding  Finding
		proofs   []Proof
		expected string
	}{
		{"a fallback that a file allows", Finding{Severity: SeverityOpen, registry: "docker.io"}, refused, ResultOpenByConfiguration},
		{"nothing configured, and refused", Finding{Severity: SeverityOpen, registry: "docker.io", settled: true}, refused, ResultClosedProven},
		{"nothing configured, and not refused", Finding{Severity: SeverityOpen, registry: "docker.io", settled: true}, nil, ResultOpenByConfiguration},
		{"refused under another registry", Finding{Severity: SeverityOpen, registry: "quay.io", settled: true}, refused, ResultOpenByConfiguration},
		{"something could not be read", Finding{Severity: SeverityWarning, unsure: true}, refused, ResultNotProven},
		{"a warning", Finding{Severity: SeverityWarning}, refused, ResultClosedProven},
		{"a warning, and nothing pulled", Finding{Severity: SeverityWarning}, nil, ResultNotProven},
		{"a warning, and elsewhere", Finding{Severity: SeverityWarning}, []Proof{{Registry: "docker.io", Verdict: VerdictElsewhere}}, ResultNotProven},
		{"a warning, and arrived", Finding{Severity: SeverityWarning}, []Proof{{Registry: "docker.io", Verdict: VerdictArrived}}, ResultOpen},
		{"a warning, and a new verdict", Finding{Severity: SeverityWarning}, []Proof{{Registry: "docker.io", Verdict: "?"}}, ResultNotProven},
	} {
		c := Client{Findings: []Finding{test.finding}, Proofs: test.proofs}
		conclude(&c, []string{"docker.io"})
		if c.Result != test.expected {
			t.Errorf("%s: %s, expected %s", test.name, c.Result, test.expected)
		}
	}
	both := Client{Proofs: refused}
	if conclude(&both, []string{"docker.io", "quay.io"}); both.Result != ResultNotProven {
		t.Errorf("refused under one of two registries: %s", both.Result)
	}
}

func TestSummary(t *testing.T) {
	for _, test := range []struct {
		results []string
		refuses bool
		exit    int
	}{
		{[]string{ResultClosedProven, ResultNotFound}, true, ExitClosed},
		{[]string{ResultClosedProven}, false, ExitNotProven},
		{[]string{ResultClosedProven, ResultNotProven}, true, ExitNotProven},
		{[]string{ResultClosedProven, ResultOpen}, true, ExitOpen},
		{[]string{ResultOpenByConfiguration, ResultNotProven}, false, ExitOpen},
		{[]string{ResultNotFound}, true, ExitNotProven},
		{[]string{"", ResultClosedProven}, true, ExitNotProven},
		{nil, true, ExitNotProven},
	} {
		r := Report{Gate: Gate{Refuses: test.refuses}}
		for _, result := range test.results {
			r.Clients = append(r.Clients, Client{Result: result})
		}
		if r.summarize(); r.Summary.Exit != test.exit || r.Summary.Message == "" {
			t.Errorf("%v: %+v", test.results, r.Summary)
		}
	}
}
