package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"
)

// maxRetryAfter bounds how long an upstream can tell clients to stay away.
const maxRetryAfter = time.Hour

// Waits that ran out, as causes of a cancelled context.
var (
	errSlowBody   = errors.New("the answer's body did not arrive in time")
	errIdleBody   = errors.New("the answer's body stalled")
	errSlowAuth   = errors.New("the token server did not answer in time")
	errSlowAnswer = errors.New("the registry did not answer in time")
)

// localFault is trouble on our side of the wire: unreadable certificates,
// credentials that cannot be had. Its text is our own.
type localFault struct{ err error }

func (f *localFault) Error() string { return f.err.Error() }
func (f *localFault) Unwrap() error { return f.err }

// tokenFault is a token that could not be had, with what the token server said
// about trying again.
type tokenFault struct {
	err        error
	retryAfter time.Duration
}

func (f *tokenFault) Error() string { return f.err.Error() }
func (f *tokenFault) Unwrap() error { return f.err }

// asError turns a failed exchange into an *Error. Only causes that are known to
// hold no URL, token or password are told; ctx is the exchange's own.
func asError(ctx context.Context, registry, op string, err error) *Error {
	out := &Error{Kind: Unavailable, Registry: registry, Op: op}
	var (
		refused *refusal
		fault   *localFault
		token   *tokenFault
		answer  *errcode.ErrorResponse
	)
	if errors.As(err, &token) {
		out.RetryAfter = token.retryAfter
	}
	switch {
	case errors.As(err, &refused):
		out.Kind, out.Err = Refused, refused
		if refused.first {
			out.Kind = NotServed
		}
	case errors.As(err, &fault):
		out.Err = fault
	case errors.As(err, &answer):
		out.Status = answer.StatusCode
		out.Kind = kindOf(answer.StatusCode)
		if out.Kind == NotFound || out.Kind == Invalid {
			// The token server's 404 says nothing about the image.
			out.Kind = Refused
		}
		out.Err = errors.New("answer of the token server")
	case errors.Is(err, auth.ErrBasicCredentialNotFound):
		out.Kind, out.Status = Refused, http.StatusUnauthorized
		out.Err = errors.New("the registry asks for a login and there are no credentials for it")
	default:
		out.Err = cause(ctx, err)
	}
	return out
}

// cause finds the part of a transport's error that may be told.
func cause(ctx context.Context, err error) error {
	var (
		dns    *net.DNSError
		cert   *tls.CertificateVerificationError
		record tls.RecordHeaderError
		alert  tls.AlertError
		op     *net.OpError
		timed  net.Error
	)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, errSlowAuth):
		return errSlowAuth
	case errors.As(err, &dns):
		return dns
	case errors.As(err, &cert):
		return cert
	case errors.As(err, &record):
		return errors.New("expected TLS, found something else")
	case errors.As(err, &alert):
		return alert
	case errors.As(err, &op):
		return op
	case isEOF(err):
		return errors.New("the connection ended before the answer did")
	case errors.As(err, &timed) && timed.Timeout():
		return errors.New("no answer in time")
	}
	return errors.New("no usable answer")
}

func isEOF(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// kindOf maps the status of a final answer.
func kindOf(status int) Kind {
	switch {
	case status == http.StatusNotFound:
		return NotFound
	case status == http.StatusTooManyRequests:
		return TooManyRequests
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return Refused
	case status >= 500, status == http.StatusRequestTimeout:
		return Unavailable
	}
	return Invalid
}

// retryAfter reads a Retry-After header (RFC 9110, section 10.2.3): seconds or
// a date. It is at least 0 and at most an hour.
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if v == "" {
		return 0
	}
	if s, err := strconv.ParseUint(v, 10, 64); err == nil {
		return time.Duration(min(s, uint64(maxRetryAfter/time.Second))) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return min(max(t.Sub(now), 0), maxRetryAfter)
	}
	return 0
}

// unexpected is an answer that is well-formed HTTP and still cannot be right.
func unexpected(registry, op string, format string, args ...any) *Error {
	return &Error{Kind: Invalid, Registry: registry, Op: op, Err: fmt.Errorf(format, args...)}
}
