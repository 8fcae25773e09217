package proxy

import (
	"crypto/rand"
	"encoding/hex"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/distribution/reference"

	"github.com/pullgate/pullgate/proxy/audit"
	"github.com/pullgate/pullgate/proxy/auth"
)

// manifestWriteTime bounds how long a client may take to read an answer that is
// sent from memory.
const manifestWriteTime = time.Minute

// exchange is one request with its answer and what is recorded about it.
type exchange struct {
	w        http.ResponseWriter
	r        *http.Request
	route    string
	vars     map[string]string
	start    time.Time
	status   int
	entry    Entry  // where it came in
	place    string // the registry that this stands for, "" when the name says it
	target   target
	record   audit.Record
	identity auth.Identity // who asks
	decided  bool          // record holds a decision that belongs into the audit log
}

func (h *Handler) newExchange(w http.ResponseWriter, r *http.Request) *exchange {
	x := &exchange{w: w, r: r, route: "other", start: time.Now(), entry: entryOf(r.Context())}
	x.record.RequestID = newRequestID()
	head := w.Header()
	head.Set("X-Request-Id", x.record.RequestID)
	head.Set("Docker-Distribution-Api-Version", "registry/2.0")
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Cache-Control", "no-cache") // nothing in between may answer for the gate
	if !r.ProtoAtLeast(1, 1) {
		// net/http passes over a Transfer-Encoding in HTTP/1.0, where others may read
		// one: what follows the request is not asked for (RFC 9112, section 6.1).
		head.Set("Connection", "close")
	}
	return x
}

func newRequestID() string {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// finish writes the audit record, when something was decided, and the metrics.
func (h *Handler) finish(x *exchange) {
	took := time.Since(x.start)
	h.opts.Metrics.Request(x.route, x.r.Method, x.status, took)
	if x.record.Decision == "" {
		return
	}
	h.opts.Metrics.Decision(x.record.Decision, x.record.Registry, x.record.Kind)
	if !x.decided {
		return
	}
	rec := &x.record
	rec.Time = x.start
	rec.Client = h.client(x.r)
	rec.Identity = x.identity.String()
	rec.Mode = x.entry.mode()
	rec.UserAgent = x.r.UserAgent()
	rec.Method = x.r.Method
	rec.Status = x.status
	rec.DurationMS = float64(took.Microseconds()) / 1000
	if err := h.opts.Audit.Write(*rec); err != nil {
		h.opts.Metrics.AuditError()
		h.opts.Logger.Error("audit record not written", "request_id", rec.RequestID, "error", err)
	}
}

// client is the address of whoever asks, for the record. When what a trusted proxy
// says about it cannot be read, it is the proxy's.
func (h *Handler) client(r *http.Request) string {
	if a := h.opts.Access.Client(r); a.IsValid() {
		return a.String()
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// about notes what the request is about, for the record.
func (x *exchange) about(kind string, ref reference.Named) {
	x.record.Kind = kind
	x.record.Registry = reference.Domain(ref)
	x.record.Repository = reference.Path(ref)
	x.record.Reference = strings.TrimPrefix(rootName(ref), ":")
	if c, ok := ref.(reference.Canonical); ok {
		x.record.Reference = c.Digest().String()
		x.record.Digest = c.Digest().String()
	}
}

// decide notes an outcome for the record; logged says whether it is worth a line
// of its own.
func (x *exchange) decide(out Outcome, logged bool) {
	x.decided = logged
	rec, v := &x.record, out.Verdict
	rec.Decision = out.Word()
	rec.Scope = v.Scope
	rec.Revision = v.Revision
	rec.Cached = v.Cached
	rec.Signers = v.Signers()
	rec.Evidence = v.Evidence()
	if out.Digest != "" {
		rec.Digest = out.Digest.String()
	}
	switch {
	case rec.Decision != decisionAllowed:
		rec.Reasons = reasonsOf(v)
	case out.Via != "":
		rec.Reasons = []string{out.Via}
	}
}

func (x *exchange) repository(names Names) (reference.Named, error) {
	x.target.name = x.vars["name"]
	query, err := url.ParseQuery(x.r.URL.RawQuery)
	if err != nil {
		// Leaving out what cannot be read would fall back to another registry.
		return nil, errNameInvalid("the query cannot be read: expected key=value pairs joined by &")
	}
	if x.entry.Only {
		query.Del("ns") // the host that the client connected to is what it means
	}
	if x.place, err = names.place(x.r, x.entry); err != nil {
		return nil, err
	}
	if ns := query.Get("ns"); ns != "" {
		x.place = ns
	}
	if isCanary(x.place, x.target.name) {
		return nil, x.refuseCanary(names.canaryRegistryOf(x.place, x.target.name))
	}
	repo, err := names.repository(x.target.name, query, x.place)
	if err != nil {
		// The name was not understood or not served: the record says how it was
		// asked for.
		x.record.Repository = x.target.name
		x.record.Reference = x.vars["reference"] + x.vars["digest"]
		return nil, err
	}
	x.target.ns = query.Get("ns")
	return repo, nil
}

// deadline bounds the writing of the answer. Every answer sets it anew: that of
// the answer before may have passed on a connection that was kept.
func (x *exchange) deadline() {
	_ = http.NewResponseController(x.w).SetWriteDeadline(time.Now().Add(manifestWriteTime)) // not every transport has deadlines
}

// writeBytes sends an answer that is in memory, without its body for HEAD.
func (x *exchange) writeBytes(status int, contentType string, b []byte) error {
	x.deadline()
	head := x.w.Header()
	head.Set("Content-Type", contentType)
	head.Set("Content-Length", strconv.Itoa(len(b)))
	x.status = status
	x.w.WriteHeader(status)
	if x.r.Method != http.MethodHead {
		_, _ = x.w.Write(b) // the client may be gone: there is nobody to tell
	}
	return nil
}

func (x *exchange) writeJSON(status int, b []byte) error {
	return x.writeBytes(status, "application/json", b)
}
