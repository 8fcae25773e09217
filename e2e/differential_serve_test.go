//go:build e2e

package e2e

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/e2e/harness"
)

// statusLine is the last one of what curl shows.
var statusLine = regexp.MustCompile(`HTTP/1\.1 (\d{3})`)

// serve runs the gate with the case's configuration and asks again: with curl, by
// HEAD and GET, and with skopeo, which pulls and accepts anything.
func (s *diffSite) serve(t *testing.T, want string) {
	t.Helper()
	s.gate.Process = harness.StartProcess(t, nil, harness.Binary(t, "pullgate"), "serve", "--config", s.gate.Config)
	s.gate.Process.WaitUntil(t, "readiness", func() bool {
		resp, err := http.Get(s.gate.AdminURL + "/readyz")
		if err == nil {
			resp.Body.Close()
		}
		return err == nil && resp.StatusCode == http.StatusOK
	})
	ref := s.ref
	if strings.Contains(ref.Registry, ":") {
		ref.Registry = "x" // the prefix, as a port cannot stand in a path
	}
	status := map[string]int{harness.Allowed: http.StatusOK, harness.Denied: http.StatusForbidden, harness.Inconclusive: http.StatusServiceUnavailable}[want]
	curl := harness.NewCurl(t)
	for _, options := range [][]string{{"--head"}, nil} {
		mark := s.gate.Mark(t)
		r := curl.Get(t, s.gate, ref, "manifests/"+ref.Reference(), options...)
		if got := lastStatus(r.Output); got != status {
			t.Errorf("curl %v: status %d, expected %d\n%s", options, got, status, r.Output)
		}
		s.gate.Expect(t, mark, want, s.ref)
	}
	mark := s.gate.Mark(t)
	if r := harness.NewSkopeo(t).Pull(t, s.gate, ref); (r.ExitCode == 0) != (want == harness.Allowed) {
		t.Errorf("skopeo: exit status %d, the gate says %s\n%s", r.ExitCode, want, r.Output)
	}
	s.gate.Expect(t, mark, want, s.ref)
}

func lastStatus(output string) int {
	all := statusLine.FindAllStringSubmatch(output, -1)
	if len(all) == 0 {
		return 0
	}
	n, _ := strconv.Atoi(all[len(all)-1][1])
	return n
}
