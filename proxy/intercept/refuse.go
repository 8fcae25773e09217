package intercept

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/pullgate/pullgate/proxy/audit"
	"github.com/pullgate/pullgate/proxy/auth"
)

const (
	maxPhrase   = 400                    // of a reason phrase, in bytes
	answerWait  = 10 * time.Second       // for a client to take an answer
	lingerWait  = 500 * time.Millisecond // for what a refused client still sends,
	lingerBytes = 64 << 10               // at most so much of it
)

// mode is audit.Record.Mode of everything that comes in here.
const mode = "intercept"

// refusal is an answer that is not what the client asked for.
type refusal struct {
	status    int
	reason    string // what was expected and what was found
	pass      string // what would pass
	challenge string // of Proxy-Authenticate
	cause     error  // for the operator's log
}

func (e *refusal) Error() string { return e.reason }
func (e *refusal) Unwrap() error { return e.cause }

func refusef(status int, reason, pass string) *refusal {
	return &refusal{status: status, reason: reason, pass: pass}
}

// fromAuth turns a refusal of who asks into an answer.
func fromAuth(err error) *refusal {
	var e *auth.Refusal
	if errors.As(err, &e) && e.Status >= http.StatusBadRequest {
		out := &refusal{status: e.Status, reason: e.Message, challenge: e.Challenge, cause: err}
		if out.challenge != "" {
			out.pass = "a user name and password that the gate knows, in the URL of the proxy: http://user:password@host:port"
		}
		return out
	}
	return &refusal{status: http.StatusServiceUnavailable, cause: err,
		reason: "it cannot be told who asks", pass: "ask again later; the gate's log says why"}
}

// exchange is one request, to the proxy or inside a terminated connection, with
// what is recorded about it.
type exchange struct {
	h      *Handler
	w      http.ResponseWriter
	r      *http.Request
	record audit.Record
	id     auth.Identity
	client netip.Addr // X-Forwarded-For of trusted proxies counted
}

func (h *Handler) newExchange(w http.ResponseWriter, r *http.Request) *exchange {
	x := &exchange{h: h, w: w, r: r, client: peer(r.RemoteAddr)}
	x.record = audit.Record{Time: time.Now(), RequestID: newRequestID(), Kind: audit.KindConnect, Mode: mode,
		UserAgent: r.UserAgent(), Method: r.Method, Reference: place(r)}
	return x
}

func (x *exchange) identified(id auth.Identity) {
	x.id = id
	x.record.Identity = id.String()
	if id.Addr.IsValid() {
		x.client = id.Addr
	}
}

// place is where a request wants to go, for the record: no path, no query, no user
// name, as these may be secrets.
func place(r *http.Request) string {
	if r.Method != http.MethodConnect && r.URL.Host == "" {
		return r.Host
	}
	return r.URL.Host
}

func peer(remote string) netip.Addr {
	a, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap()
}

func newRequestID() string {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// write writes the record of a decision.
func (x *exchange) write(decision string, status int, reasons ...string) error {
	x.record.Decision, x.record.Status, x.record.Reasons = decision, status, reasons
	if x.client.IsValid() {
		x.record.Client = x.client.String()
	}
	x.record.DurationMS = float64(time.Since(x.record.Time).Microseconds()) / 1000
	err := x.h.opts.Audit.Write(x.record)
	if err != nil {
		x.h.opts.Logger.Error("audit record not written", "request_id", x.record.RequestID, "error", err)
	}
	return err
}

// decisionOf is the word for an answer: what could not be found out is not denied,
// and did not pass either.
func decisionOf(status int) string {
	if status >= http.StatusInternalServerError && status != http.StatusHTTPVersionNotSupported {
		return audit.Inconclusive
	}
	return audit.Denied
}

// refuse records a refusal and answers with it. It is the only place where a
// request is refused.
func (x *exchange) refuse(err error) {
	var e *refusal
	if !errors.As(err, &e) {
		e = &refusal{status: http.StatusServiceUnavailable, reason: "the gate could not serve this", pass: "ask again later; the gate's log says why", cause: err}
	}
	_ = x.write(decisionOf(e.status), e.status, e.reason) // refused all the same
	if e.cause != nil {
		x.h.opts.Logger.Warn("connection refused", "request_id", x.record.RequestID, "to", quote(x.record.Reference), "reason", e.reason, "error", e.cause)
	}
	body := "pullgate: " + e.reason + "\n"
	if e.pass != "" {
		body += "What would pass: " + e.pass + "\n"
	}
	body += "Request " + x.record.RequestID + "\n"
	x.answer(e, []byte(body))
}

// answer sends a refusal whose status line carries the reason: clients of proxies
// show nothing else. net/http has no way to say it, so the connection is taken
// over and ends with the answer.
func (x *exchange) answer(e *refusal, body []byte) {
	head := http.Header{"Content-Type": {"text/plain; charset=utf-8"}, "Content-Length": {strconv.Itoa(len(body))},
		"Cache-Control": {"no-store"}, "X-Content-Type-Options": {"nosniff"}, "X-Request-Id": {x.record.RequestID}}
	if e.challenge != "" {
		head.Set("Proxy-Authenticate", e.challenge)
	}
	if e.status == http.StatusServiceUnavailable {
		head.Set("Retry-After", "5")
	}
	conn, _, err := http.NewResponseController(x.w).Hijack()
	if err != nil { // HTTP/2, or the connection is gone
		for k, v := range head {
			x.w.Header()[k] = v
		}
		x.w.WriteHeader(e.status)
		_, _ = x.w.Write(body)
		return
	}
	defer conn.Close()
	head.Set("Connection", "close")
	head.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	phrase := e.reason
	if e.pass != "" {
		phrase += "; what would pass: " + e.pass
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", e.status, plainText(phrase))
	_ = head.Write(&b) // to memory
	b.WriteString("\r\n")
	if x.r.Method != http.MethodHead {
		b.Write(body)
	}
	_ = conn.SetDeadline(time.Now().Add(answerWait))
	if _, err := conn.Write(b.Bytes()); err == nil {
		linger(conn)
	}
}

// linger lets a client read its answer: closing while it still sends would reset
// the connection under it.
func linger(conn net.Conn) {
	c, ok := conn.(interface{ CloseWrite() error })
	if !ok || c.CloseWrite() != nil {
		return
	}
	_ = conn.SetReadDeadline(time.Now().Add(lingerWait))
	_, _ = io.CopyN(io.Discard, conn, lingerBytes)
}

// plainText keeps what may stand in a status line: printable ASCII.
func plainText(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r < ' ' || r == 0x7f:
			return ' '
		case r > 0x7f:
			return '?'
		}
		return r
	}, s)
	if len(s) > maxPhrase {
		s = s[:maxPhrase-3] + "..."
	}
	return s
}
