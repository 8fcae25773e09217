package proxy

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pullgate/pullgate/verify"
)

// Bounds of what a refusal says.
const (
	maxPhrase  = 400  // of an HTTP/1.1 reason phrase
	maxMessage = 2000 // of a message
	maxFound   = 20   // reasons a requirement
)

// refuse turns an error into the answer that the client understands and notes it
// for the record. It is the only place where that happens.
func (h *Handler) refuse(x *exchange, err error) {
	var e *apiError
	if !errors.As(err, &e) {
		e = toAPIError(err)
	}
	if e.decision == decisionInconclusive && x.r.Context().Err() != nil {
		e = errClientGoneAway(err) // what was asked for in its name was cut off with it
	}
	if e.decision != "" && x.record.Decision != decisionDenied {
		x.decided = true
		x.record.Decision = e.decision
		x.record.Reasons = e.reasons
		if x.record.Kind == "" {
			x.record.Kind = x.route
		}
		if x.record.Revision == "" {
			x.record.Revision = h.opts.Verifier.Revision()
		}
	}
	if e.status >= 500 {
		h.opts.Logger.Warn("request not answered", "request_id", x.record.RequestID, "path", shorten(x.r.URL.Path), "status", e.status, "error", err)
	}
	body := marshalRefusal(refusalBody(x, e))
	status, phrase := e.status, phraseOf(e)
	switch {
	case x.entry.Mirror && graphDriver(x.r.UserAgent()):
		status, phrase = http.StatusInternalServerError, mirrorPhrase(e, phrase)
	case x.entry.Mirror && status == http.StatusUnauthorized:
		status, e.challenge = http.StatusForbidden, ""
	}
	head := x.w.Header()
	for _, k := range []string{"Docker-Content-Digest", "Accept-Ranges", "Content-Range", "Warning"} {
		head.Del(k)
	}
	if e.retryAfter > 0 {
		head.Set("Retry-After", strconv.Itoa(int((e.retryAfter+time.Second-1)/time.Second)))
	}
	if e.status == http.StatusMethodNotAllowed {
		head.Set("Allow", "GET, HEAD")
	}
	if e.contentRange != "" {
		head.Set("Content-Range", e.contentRange)
	}
	if e.challenge != "" && status == http.StatusUnauthorized {
		head.Set("WWW-Authenticate", e.challenge)
	}
	head.Set("Cache-Control", "no-store")
	if phrase != "" && x.writeWithPhrase(status, phrase, body) {
		return
	}
	_ = x.writeJSON(status, body)
}

// stopsFallback makes dockerd's graph driver give up instead of asking the
// registry that is mirrored: its pull looks for this text, that of ESRCH, in errors
// (continueOnError in distribution/pull.go of moby), and a status of 5xx puts the
// status line into the error.
const stopsFallback = "no such process"

// mirrorPhrase is the reason phrase for whatever dockerd does not get from a
// mirror. It would go around the gate for what is not there or broken just as for
// what is refused.
func mirrorPhrase(e *apiError, phrase string) string {
	if phrase == "" {
		phrase = e.message
	}
	return clip(plainText(phrase), maxPhrase-len(stopsFallback)-3) + " (" + stopsFallback + ")"
}

// graphDriver tells dockerd with its own image store from other clients.
func graphDriver(userAgent string) bool {
	return strings.HasPrefix(userAgent, "docker/") && !strings.Contains(userAgent, "containerd-client")
}

// refusal is one entry of the "errors" list that registries answer with.
type refusal struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Detail  any    `json:"detail,omitempty"`
}

// refusalDetail says what was asked, what policy requires, what was found and
// what would pass.
type refusalDetail struct {
	Reference    string          `json:"reference,omitempty"`
	Digest       string          `json:"digest,omitempty"`
	Scope        string          `json:"scope,omitempty"`
	Requirements []verify.Result `json:"requirements,omitempty"`
	RequestID    string          `json:"requestId"`
}

func refusalBody(x *exchange, e *apiError) map[string][]refusal {
	r := refusal{Code: e.code, Message: clip(e.message, maxMessage)}
	detail := refusalDetail{RequestID: x.record.RequestID}
	if e.status == http.StatusForbidden {
		r.Code = deniedCode(x.r.UserAgent())
	}
	if out := e.outcome; out != nil {
		if pass := wouldPass(out.Verdict); pass != "" {
			r.Message += "; what would pass: " + clip(pass, maxMessage)
		}
		detail.Reference, detail.Digest = e.ref.String(), out.Digest.String()
		detail.Scope = out.Verdict.Scope
		detail.Requirements = clipResults(out.Verdict.Requirements)
	}
	if e.decision != "" {
		r.Message += " (request " + x.record.RequestID + ")"
	}
	r.Detail = detail
	return map[string][]refusal{"errors": {r}}
}

// marshalRefusal writes < and > as they are: people read it.
func marshalRefusal(body map[string][]refusal) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(body) // strings and numbers always encode
	return bytes.TrimRight(b.Bytes(), "\n")
}

// deniedCode is the code that the client prints best. dockerd's graph driver says
// "manifest unverified: …"; podman would ask three times for that code, so
// everybody else gets DENIED.
func deniedCode(userAgent string) string {
	if graphDriver(userAgent) {
		return codeManifestUnverified
	}
	return codeDenied
}

// phraseOf is the reason phrase of a decision that stops a pull.
func phraseOf(e *apiError) string {
	switch {
	case e.outcome != nil:
		return reasonIn(e.outcome.Verdict, fmt.Sprintf("Denied by image policy %s: ", e.outcome.Verdict.Scope))
	case e.status == http.StatusForbidden:
		return "Denied: " + e.message
	case e.decision != "" && e.status >= 500:
		return "Not verified: " + e.message
	}
	return ""
}

// writeWithPhrase writes a refusal whose HTTP/1.1 status line carries the reason:
// clients that decide by HEAD show nothing else. net/http has no way to say it, so
// the connection is taken over and closed afterwards. It returns false when that
// is not possible (HTTP/2, which has no reason phrase), having written nothing.
func (x *exchange) writeWithPhrase(status int, phrase string, body []byte) bool {
	if x.r.ProtoMajor != 1 {
		return false
	}
	head := x.w.Header().Clone()
	head.Set("Content-Type", "application/json")
	head.Set("Content-Length", strconv.Itoa(len(body)))
	head.Set("Connection", "close")
	head.Set("Date", time.Now().UTC().Format(http.TimeFormat))

	var answer bytes.Buffer
	fmt.Fprintf(&answer, "HTTP/1.%d %d %s\r\n", x.r.ProtoMinor, status, clip(plainText(phrase), maxPhrase))
	if err := head.Write(&answer); err != nil {
		return false
	}
	answer.WriteString("\r\n")
	if x.r.Method != http.MethodHead {
		answer.Write(body)
	}
	conn, _, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		return false
	}
	defer conn.Close()
	x.status = status
	_ = conn.SetDeadline(time.Now().Add(manifestWriteTime))
	_, _ = conn.Write(answer.Bytes()) // the client may be gone: there is nobody to tell
	return true
}

// warn tells clients of a report-only scope what enforcement would have said
// (Warning, RFC 7234 section 5.5: skopeo, podman, crane and others print it).
func (x *exchange) warn(out Outcome) {
	text := reasonIn(out.Verdict, fmt.Sprintf("report only: would be denied by image policy %s: ", out.Verdict.Scope))
	text = strings.NewReplacer(`\`, `'`, `"`, `'`).Replace(plainText(text))
	x.w.Header().Set("Warning", `299 - "`+clip(text, maxPhrase)+`"`)
}

// reasonOf is the shortest true account of why a verdict denies.
func reasonOf(v verify.Verdict) string { return strings.Join(firstReasons(v), "; ") }

// firstReasons are those of the first requirement that is not met.
func firstReasons(v verify.Verdict) []string {
	for _, r := range v.Requirements {
		if !r.Allowed {
			if len(r.Found) > 0 {
				return r.Found[:min(len(r.Found), 3)]
			}
			return []string{"requires " + r.Required}
		}
	}
	return []string{"no requirement was met"}
}

// reasonIn is start and what [reasonOf] says, in the room of a reason phrase: each
// reason has its share of it, so that a long one does not push the next ones out.
func reasonIn(v verify.Verdict, start string) string {
	const least = 60 // behind a long name of a scope
	reasons := slices.Clone(firstReasons(v))
	room := max(maxPhrase-len(start), least) - len("; ")*(len(reasons)-1)
	order := make([]int, len(reasons)) // the short ones first: they leave room to the others
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(len(reasons[a]), len(reasons[b])) })
	for n, i := range order {
		reasons[i] = clip(reasons[i], room/(len(order)-n))
		room -= len(reasons[i])
	}
	return start + strings.Join(reasons, "; ")
}

// reasonsOf lists everything that speaks against a verdict, for the audit log.
func reasonsOf(v verify.Verdict) []string {
	var out []string
	for _, r := range v.Requirements {
		if r.Allowed {
			continue
		}
		if len(r.Found) == 0 {
			out = append(out, "requires "+r.Required)
		}
		for _, f := range r.Found[:min(len(r.Found), maxFound)] {
			out = append(out, r.Type+": "+f)
		}
	}
	if len(out) == 0 && v.Decision != verify.Allowed {
		out = append(out, "no requirement was met")
	}
	return out
}

func wouldPass(v verify.Verdict) string {
	var out []string
	for _, r := range v.Requirements {
		if !r.Allowed && r.WouldPass != "" {
			out = append(out, r.WouldPass)
		}
	}
	return strings.Join(out, ", and ")
}

// clipResults bounds what a refusal carries, however many signatures there were.
func clipResults(results []verify.Result) []verify.Result {
	out := make([]verify.Result, len(results))
	copy(out, results)
	for i := range out {
		if n := len(out[i].Found); n > maxFound {
			out[i].Found = append(out[i].Found[:maxFound:maxFound], fmt.Sprintf("… and %d more", n-maxFound))
		}
	}
	return out
}

// plainText keeps what may stand in a status line or a header: printable ASCII.
func plainText(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\u2026':
			return '.'
		case r < ' ' || r == 0x7f:
			return ' '
		case r > 0x7f:
			return '?'
		}
		return r
	}, s)
}

func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most-3], "") + "..."
}
