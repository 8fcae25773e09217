// Package audit records what the gate decided, one JSON object a line.
//
// It promises that a record whose Write returned nil has been handed to the
// operating system as one whole line: nothing is buffered, so nothing is lost
// when the process is killed, and lines are never mixed or torn by other
// records. Files may be rotated by renaming or removing them (noticed within a
// second, or at once by [File.Reopen]) and by copying and truncating them.
//
// Much of a record is chosen by clients. Every text is bounded, is made valid
// UTF-8 and cannot start a line or reach a terminal as a control sequence.
//
// It never decides anything and never holds a request back to write later: a
// record that cannot be written is an error, and what that means is the
// caller's to say.
package audit

import "time"

// Words of Record.Decision.
const (
	Allowed      = "allowed"
	Denied       = "denied"
	ReportOnly   = "report-only"  // would be denied, was forwarded
	Inconclusive = "inconclusive" // could not be decided, was not forwarded
	Error        = "error"        // was not judged: a bad request, an upstream's failure
)

// Words of Record.Kind.
const (
	KindManifest  = "manifest"
	KindBlob      = "blob"
	KindTags      = "tags"
	KindReferrers = "referrers"
	KindCanary    = "canary"  // the image that is always refused
	KindConnect   = "connect" // a connection that interception refused; Reference is host:port
	KindTunnel    = "tunnel"  // a connection that interception passed through; Reference is host:port
)

// Record is one decision. Fields without omitempty stand in every line.
type Record struct {
	// Time is when the request arrived; written in UTC, RFC 3339 with nanoseconds.
	Time time.Time `json:"time"`
	// RequestID is the id that the client was told.
	RequestID string `json:"request_id"`
	// Kind is what was asked for: one of the Kind words.
	Kind string `json:"kind,omitempty"`
	// Client is the address of the client, without port.
	Client string `json:"client,omitempty"`
	// Identity is who asked, as "user:alice", "certificate:node1.example" or
	// "network:10.0.0.7"; empty when nobody needs to say.
	Identity string `json:"identity,omitempty"`
	// Login is what the client showed a registry that is asked with its clients' own
	// credentials: "basic:alice", "bearer:alice" or "bearer:sha256:…". The registry
	// checked it, not the gate.
	Login string `json:"login,omitempty"`
	// Mode is the way in when it is not a plain listener: "intercept", "mirror".
	Mode string `json:"mode,omitempty"`
	// UserAgent is what the client says it is. Untrusted.
	UserAgent string `json:"user_agent,omitempty"`
	// Method is the HTTP method.
	Method string `json:"method,omitempty"`
	// Registry, Repository and Reference (tag or digest, as asked) make up the
	// logical reference that was judged, not the address of the gate.
	Registry   string `json:"registry,omitempty"`
	Repository string `json:"repository,omitempty"`
	Reference  string `json:"reference,omitempty"`
	// Digest is that of the bytes that were judged.
	Digest string `json:"digest,omitempty"`
	// Scope is the key of the policy that decided, "default" for its default.
	Scope string `json:"scope,omitempty"`
	// Decision is one of the decision words; Denied when empty.
	Decision string `json:"decision"`
	// Reasons say why, for people.
	Reasons []string `json:"reasons,omitempty"`
	// Signers are those whose signatures were accepted.
	Signers []string `json:"signers,omitempty"`
	// Evidence lists the digests of the documents that were accepted, where they are
	// stored under one.
	Evidence []string `json:"evidence,omitempty"`
	// Status is the HTTP status that the client got.
	Status int `json:"status"`
	// DurationMS is the time to the decision's answer in milliseconds, written to
	// the microsecond.
	DurationMS float64 `json:"duration_ms"`
	// Cached tells that the verdict was not made for this request.
	Cached bool `json:"cached"`
	// Revision is that of the policy that judged.
	Revision string `json:"revision,omitempty"`
}

// Sink takes records. It is safe for use by several goroutines.
type Sink interface {
	// Write records one decision before it returns. An error means that the record
	// may be missing.
	Write(Record) error
	// Close ends the sink. Later writes are errors that match [os.ErrClosed].
	Close() error
}
