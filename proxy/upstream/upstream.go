// Package upstream talks to the registries behind the gate: over HTTP(S) with
// their own authentication, or to image layouts on the local disk.
//
// It promises bounded reads and waits, redirects that never leave the class of
// address they started from, and no secrets in errors. It never judges what it
// fetches: bytes are untrusted until the caller has hashed them.
//
// A registry is asked with the gate's own credentials or, where it is configured
// so, with those of the client that the request is made for (see
// [WithAuthorization]). Then the gate lends nothing of its own, neither password
// nor token nor certificate, what one client was allowed is never remembered for
// another, and the client's header goes to that registry's own scheme, host and
// port and to nobody else.
package upstream

import (
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// Kind says what became of a request to an upstream.
type Kind int

// Kinds of upstream errors. The zero value is the least specific one.
const (
	Unavailable     Kind = iota // no answer, 5xx, timeout: try again later
	NotFound                    // the upstream says that it does not exist
	TooManyRequests             // 429
	Refused                     // the upstream refuses our credentials, or a redirect was refused
	Invalid                     // an answer that cannot be right: oversize, wrong digest, malformed
	NotServed                   // the configuration does not let the gate reach this registry
	Unauthorized                // the registry asks the client to log in; see Error.Challenge
	Forbidden                   // the client's own credentials do not allow it, or cannot be passed on
)

// Error is what every method of [Client] returns on failure.
type Error struct {
	Kind       Kind
	Registry   string        // the registry's name
	Op         string        // what was asked, without host or query: "manifest library/nginx:1.27"
	Status     int           // HTTP status, 0 when there was none
	RetryAfter time.Duration // from a 429 or 503, 0 when not given
	// Challenge is how the registry wants the client to log in: the value of one
	// WWW-Authenticate header (RFC 9110, section 11.6.1) with one Basic or Bearer
	// challenge, at most 8 KiB of printable ASCII. It is set with Unauthorized
	// alone, and empty when the registry gave none that can be passed on.
	Challenge string
	Err       error // cause; holds no secrets
}

// Error names what was asked of which registry and what came back.
func (e *Error) Error() string {
	switch {
	case e.Err != nil && e.Status != 0:
		return fmt.Sprintf("%s from %s: status %d: %v", e.Op, e.Registry, e.Status, e.Err)
	case e.Err != nil:
		return fmt.Sprintf("%s from %s: %v", e.Op, e.Registry, e.Err)
	}
	return fmt.Sprintf("%s from %s: status %d", e.Op, e.Registry, e.Status)
}

// Unwrap returns the cause. A cause that would match fs.ErrNotExist stays hidden
// unless the upstream said that the thing asked for does not exist: that a file
// of ours is missing must never read as "there is no such signature".
func (e *Error) Unwrap() error {
	if e.Kind != NotFound && errors.Is(e.Err, fs.ErrNotExist) {
		return nil
	}
	return e.Err
}

// Is makes a NotFound match fs.ErrNotExist.
func (e *Error) Is(target error) bool { return target == fs.ErrNotExist && e.Kind == NotFound }
