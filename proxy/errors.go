package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/distribution/reference"

	"github.com/pullgate/pullgate/proxy/upstream"
	"github.com/pullgate/pullgate/verify"
)

// Codes of the OCI distribution specification ("Error Codes") and of Docker's
// registry API.
const (
	codeUnauthorized       = "UNAUTHORIZED"
	codeNameInvalid        = "NAME_INVALID"
	codeNameUnknown        = "NAME_UNKNOWN"
	codeManifestInvalid    = "MANIFEST_INVALID"
	codeManifestUnknown    = "MANIFEST_UNKNOWN"
	codeManifestUnverified = "MANIFEST_UNVERIFIED"
	codeDigestInvalid      = "DIGEST_INVALID"
	codeBlobUnknown        = "BLOB_UNKNOWN"
	codeDenied             = "DENIED"
	codeUnsupported        = "UNSUPPORTED"
	codeTooManyRequests    = "TOOMANYREQUESTS"
	codeUnknown            = "UNKNOWN"
	codeUnavailable        = "UNAVAILABLE"
	codeRangeInvalid       = "RANGE_INVALID"
)

// retryAfter is what an inconclusive answer asks clients to wait.
const retryAfter = 5 * time.Second

// apiError is an answer that is not the content asked for. This file is the one
// place where conditions become status codes.
type apiError struct {
	status     int
	code       string
	message    string
	retryAfter time.Duration
	decision   string // for the audit log; empty when nothing was decided
	reasons    []string
	outcome    *Outcome        // of a denial by policy,
	ref        reference.Named // of this
	cause      error           // for the operator's log

	contentRange string // with a range that cannot be satisfied
	challenge    string // WWW-Authenticate, with 401
}

func (e *apiError) Error() string { return e.message }
func (e *apiError) Unwrap() error { return e.cause }

// Decisions as the audit log writes them.
const (
	decisionAllowed      = "allowed"
	decisionDenied       = "denied"
	decisionReportOnly   = "report-only"
	decisionInconclusive = "inconclusive"
)

func errNameInvalid(format string, args ...any) *apiError {
	return &apiError{status: http.StatusBadRequest, code: codeNameInvalid, message: fmt.Sprintf(format, args...)}
}

func errManifestInvalid(format string, args ...any) *apiError {
	return &apiError{status: http.StatusBadRequest, code: codeManifestInvalid, message: fmt.Sprintf(format, args...)}
}

func errDigestInvalid(format string, args ...any) *apiError {
	return &apiError{status: http.StatusBadRequest, code: codeDigestInvalid, message: fmt.Sprintf(format, args...)}
}

func errUnsupported(method string) *apiError {
	return &apiError{status: http.StatusMethodNotAllowed, code: codeUnsupported,
		message: fmt.Sprintf("%s is not supported: this gate only serves pulls (GET and HEAD)", shorten(method))}
}

func errNoRoute() *apiError {
	return &apiError{status: http.StatusNotFound, code: codeUnsupported,
		message: "not a path of the registry API that this gate serves: manifests, blobs, tags/list, referrers"}
}

func errNotServed(registry string) *apiError {
	text := fmt.Sprintf("registry %s is not served by this gate; its operator can list it under upstreams", registry)
	return &apiError{status: http.StatusForbidden, code: codeDenied, message: text, decision: decisionDenied, reasons: []string{text}}
}

// errNoSuchHost is about a name below a wildcard that stands for no registry.
func errNoSuchHost(host, wildcard string) *apiError {
	text := fmt.Sprintf("host %s is no registry: below %s, expected the name of a registry that is served, with - for . and :, like docker-io", shorten(host), wildcard)
	return &apiError{status: http.StatusForbidden, code: codeDenied, message: text, decision: decisionDenied, reasons: []string{text}}
}

// errMisdirected is about a connection that was opened for one registry and is used
// for another (RFC 9110, section 15.5.20): the client opens a new one.
func errMisdirected(name, host string) *apiError {
	text := fmt.Sprintf("the connection was opened for %s and the request is for %s, which is another registry", shorten(name), shorten(host))
	return &apiError{status: http.StatusMisdirectedRequest, code: codeNameInvalid, message: text, decision: decisionDenied, reasons: []string{text}}
}

// errLoop is about a request that this gate sent itself: the name of an upstream
// leads back to the gate.
func errLoop() *apiError {
	text := "the request came from this gate itself: where it looks up its upstreams, their names must not lead to the gate"
	return &apiError{status: http.StatusLoopDetected, code: codeUnknown, message: text, decision: decisionInconclusive, reasons: []string{text}}
}

// errMismatch is rule 9: bytes that are not what was asked for go nowhere.
func errMismatch(format string, args ...any) *apiError {
	text := fmt.Sprintf(format, args...)
	return &apiError{status: http.StatusBadGateway, code: codeUnknown, message: text, decision: decisionDenied, reasons: []string{text}}
}

func errBlobDenied(message string) *apiError {
	return &apiError{status: http.StatusForbidden, code: codeDenied, message: message, decision: decisionDenied, reasons: []string{message}}
}

// notFound gives a missing thing the code that fits the route.
func notFound(err error, code string) error {
	var e *upstream.Error
	if errors.As(err, &e) && e.Kind == upstream.NotFound {
		return &apiError{status: http.StatusNotFound, code: code, message: "not found: " + e.Op, cause: err}
	}
	return err
}

// toAPIError is the error table for everything that is not already an apiError.
func toAPIError(err error) *apiError {
	var e *upstream.Error
	var inconclusive *verify.Inconclusive
	switch {
	case errors.As(err, &inconclusive):
		return errInconclusive(err)
	case errors.As(err, &e):
		return fromUpstream(e, err)
	case errors.Is(err, context.Canceled):
		return errClientGoneAway(err)
	}
	return errInconclusive(err)
}

func errClientGoneAway(err error) *apiError {
	return &apiError{status: statusClientClosed, code: codeUnavailable, message: "the client went away", cause: err}
}

// statusClientClosed is never seen by anybody: the client that it is for is gone.
// nginx's number for it, for the log.
const statusClientClosed = 499

func errInconclusive(err error) *apiError {
	text := "could not decide: " + err.Error()
	return &apiError{status: http.StatusServiceUnavailable, code: codeUnavailable, message: text,
		retryAfter: retryAfter, decision: decisionInconclusive, reasons: []string{text}, cause: err}
}

func fromUpstream(e *upstream.Error, err error) *apiError {
	text := err.Error()
	switch e.Kind {
	case upstream.NotFound:
		return &apiError{status: http.StatusNotFound, code: codeManifestUnknown, message: "not found: " + e.Op, cause: err}
	case upstream.TooManyRequests:
		wait := e.RetryAfter
		if wait <= 0 {
			wait = retryAfter
		}
		return &apiError{status: http.StatusTooManyRequests, code: codeTooManyRequests, message: text,
			retryAfter: wait, decision: decisionInconclusive, reasons: []string{text}, cause: err}
	case upstream.Refused:
		return &apiError{status: http.StatusBadGateway, code: codeUnknown, message: text,
			decision: decisionInconclusive, reasons: []string{text}, cause: err}
	case upstream.Unauthorized:
		if e.Challenge == "" { // docker would ask its user for a password without an end
			return &apiError{status: http.StatusForbidden, code: codeDenied, message: text,
				decision: decisionDenied, reasons: []string{text}, cause: err}
		}
		return &apiError{status: http.StatusUnauthorized, code: codeUnauthorized, message: text, challenge: e.Challenge, cause: err}
	case upstream.Forbidden:
		return &apiError{status: http.StatusForbidden, code: codeDenied, message: text,
			decision: decisionDenied, reasons: []string{text}, cause: err}
	case upstream.Invalid:
		return &apiError{status: http.StatusBadGateway, code: codeUnknown, message: text,
			decision: decisionDenied, reasons: []string{text}, cause: err}
	case upstream.NotServed:
		return errNotServed(e.Registry)
	}
	out := errInconclusive(err)
	if e.RetryAfter > 0 {
		out.retryAfter = e.RetryAfter
	}
	return out
}

// errDenied is a refusal by policy.
func errDenied(ref reference.Named, out Outcome) *apiError {
	scope, reason := out.Verdict.Scope, reasonOf(out.Verdict)
	return &apiError{status: http.StatusForbidden, code: codeDenied, outcome: &out, ref: ref,
		message:  fmt.Sprintf("%s is denied by image policy %s: %s", ref, scope, reason),
		decision: decisionDenied, reasons: reasonsOf(out.Verdict)}
}
