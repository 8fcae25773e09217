package doctor

import (
	"context"
	"errors"
	"strings"
)

// family is how a client's text is to be read.
type family int

const (
	// familyFirst clients print the first host's error after asking the others
	// (containerd, docker's containerd store, BuildKit): the gate's refusal in it does
	// not show that nobody else was asked. The configuration has to show that.
	familyFirst family = iota
	// familyContainers clients print every mirror's error, and behind them that of
	// the registry itself.
	familyContainers
	// familyDocker clients print the last endpoint's error.
	familyDocker
)

// mirrorStop is in the reason phrase by which a listener for mirrors stops docker's
// graph driver.
const mirrorStop = "no such process"

// wantsCredentials is the reason of a pull that ended with a question for a password.
const wantsCredentials = "the gate or a registry wants credentials"

// classify tells what the end of a pull of the canary shows. Only the gate's
// refusal as the last word, and a registry that the client's own configuration
// blocks, count as closed.
func classify(f family, r ran) (verdict, reason string) {
	text := lastError(r.output)
	refused := strings.Contains(text, canaryWord)
	switch {
	case r.exit == 0 && r.err == nil:
		return VerdictArrived, "the image that the gate always refuses was pulled"
	case strings.Contains(r.output, "Source image rejected"):
		return VerdictArrived, "the client got the manifest from somewhere, and only its own signature policy refused it"
	case errors.Is(r.err, context.DeadlineExceeded):
		return VerdictNotRun, "the client did not end in time"
	case r.err != nil:
		return VerdictNotRun, "the client could not be run: " + clip(clean(r.err.Error()), 200)
	case f == familyContainers:
		return classifyContainers(text)
	case refused:
		return VerdictRefused, "the gate refused it, and nothing else was said"
	case f == familyDocker && strings.Contains(text, mirrorStop):
		return VerdictRefused, "the gate's listener for mirrors refused it in the form that stops docker's fallback"
	case strings.Contains(r.output, canaryWord):
		return VerdictFellBack, "the gate refused it, and the client went on: " + elsewhere(text)
	}
	return VerdictElsewhere, elsewhere(text)
}

// classifyContainers reads `(Mirrors also failed: [a: …; b: …]): error of the
// registry itself`.
func classifyContainers(text string) (verdict, reason string) {
	const open, shut = "Mirrors also failed: [", "]): "
	last, mirrors := text, ""
	if i := strings.Index(text, open); i >= 0 {
		if j := strings.LastIndex(text, shut); j > i {
			mirrors, last = text[i+len(open):j], text[j+len(shut):]
		}
	}
	blocked := strings.Contains(last, " is blocked in ")
	switch {
	case blocked && strings.Contains(mirrors, canaryWord):
		return VerdictRefused, "the gate refused it, and the registry itself is blocked"
	case blocked && mirrors != "":
		return VerdictElsewhere, "the registry itself is blocked, and what the mirrors said is not the gate's refusal"
	case blocked:
		return VerdictBlocked, "the client's own configuration blocks the registry"
	case strings.Contains(last, canaryWord):
		return VerdictRefused, "the gate refused it, and nobody was asked after it"
	case strings.Contains(mirrors, canaryWord):
		return VerdictFellBack, "the gate refused it, and the client asked the registry itself: " + elsewhere(last)
	}
	return VerdictElsewhere, elsewhere(last)
}

// lastError is the last line that is about the canary, for clients write the errors
// of earlier attempts too; all of the text when no line is.
func lastError(output string) string {
	lines := strings.Split(strings.TrimSpace(output), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if strings.Contains(lines[i], canary) || strings.Contains(lines[i], canaryWord) {
			return lines[i]
		}
	}
	return output
}

// elsewhere says what kind of error it is that is not the gate's.
func elsewhere(text string) string {
	l := strings.ToLower(text)
	for _, k := range []struct {
		why   string
		marks []string
	}{
		// The gate says there which ways in there are, certificates among them.
		{wantsCredentials, []string{"unauthorized", "authentication required", "407 ", "in the url of the proxy"}},
		{"a certificate was not trusted (see the CA stores)", []string{"x509:", "certificate", "tls:"}},
		{"a name could not be resolved", []string{"no such host", "server misbehaving", "temporary failure in name resolution"}},
		{"nothing could be reached", []string{"timeout", "deadline exceeded", "connection refused", "unreachable", ": eof", "unexpected eof", "reset by peer"}},
		{"a proxy refused the connection", []string{"proxyconnect", "502 bad gateway", "503 service", "forbidden"}},
		{"a registry that is not the gate answered that it does not have it, so the client reaches one", []string{
			"not found", "manifest unknown", "name unknown", "does not exist", "access to the resource is denied", "pull access denied", "insufficient_scope",
		}},
	} {
		for _, m := range k.marks {
			if strings.Contains(l, m) {
				return "the last word was not the gate's: " + k.why
			}
		}
	}
	return "the last word was not the gate's"
}

// clip shortens text for a report at its middle, where least is lost: the error is
// at the end.
func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	half := limit / 2
	return strings.ToValidUTF8(s[:half], "") + " […] " + strings.ToValidUTF8(s[len(s)-half:], "")
}
