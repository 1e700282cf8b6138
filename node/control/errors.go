package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"preau/replication/enrol"
	"preau/replication/wire"
)

// ErrNoIdentity reports a folder that holds no identity.
var ErrNoIdentity = errors.New("not enrolled")

// Error is a server's answer that is not a success, or what the region said of
// an identity.
type Error struct {
	Status int    // of HTTP; 0 if the connection itself was refused
	Code   string // for programs
	Detail string // for people
	cause  error
}

// Codes that this package acts on or makes itself.
const (
	CodeUndecided   = "undecided"      // no leader or no majority; it may still be carried out
	CodeInternal    = "internal"       // a server's own failure
	CodeFewCopies   = "too_few_copies" // too few servers could keep a file
	CodeNotFound    = "not_found"
	CodeUnexpected  = "unexpected"  // no answer of a server that knows the question
	CodeUnavailable = "unavailable" // the region could not decide on an enrolment
	CodeToken       = "token"       // a text that is no token
	CodeCertificate = "certificate" // the region does not take ours
	CodeForeign     = "foreign"     // we don't take theirs
)

// Error implements error.
func (e *Error) Error() string { return e.Detail }

// Unwrap returns the cause, if there is one here.
func (e *Error) Unwrap() error { return e.cause }

// Attempt is a server that was asked in vain.
type Attempt struct {
	Server string
	Err    error
}

// String says it in a few words.
func (a Attempt) String() string { return fmt.Sprintf("%s (%s)", a.Server, Why(a.Err)) }

// UnreachableError reports that no server answered.
type UnreachableError struct{ Tried []Attempt }

// Error names each server and what happened.
func (e *UnreachableError) Error() string {
	if len(e.Tried) == 0 {
		return "no server of the region is known here: name one with --region HOST:PORT"
	}
	var tried []string
	for _, a := range e.Tried {
		tried = append(tried, a.String())
	}
	return "no server of the region answers: " + strings.Join(tried, ", ") +
		". Are they running, and is the line up? Another address can be given with --region HOST:PORT"
}

// Unwrap returns what happened with each.
func (e *UnreachableError) Unwrap() []error {
	var errs []error
	for _, a := range e.Tried {
		errs = append(errs, a.Err)
	}
	return errs
}

// LostError reports a server that was lost before it answered, when the same
// request again could do the same thing twice.
type LostError struct{ Attempt }

// Error says what is uncertain.
func (e *LostError) Error() string {
	return fmt.Sprintf("%s was lost before it answered: it may have been done, or not. Look before you try again", e.Attempt)
}

// Unwrap returns the cause.
func (e *LostError) Unwrap() error { return e.Err }

// Undecided reports whether err means that the region could not be reached or
// could not decide, rather than that it said no.
func Undecided(err error) bool {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code == CodeUndecided || e.Code == CodeFewCopies || e.Code == CodeUnavailable || e.Status == http.StatusServiceUnavailable
	}
	_, unreachable := errors.AsType[*UnreachableError](err)
	_, lost := errors.AsType[*LostError](err)
	return unreachable || lost
}

// Refused reports whether the region said no, or has no such thing.
func Refused(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && !Undecided(err) && e.Status < http.StatusInternalServerError
}

// Why is what went wrong with a connection, in a few words.
func Why(err error) string {
	if number, ok := errors.AsType[syscall.Errno](err); ok {
		return number.Error()
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return "no such host: " + dns.Name
	}
	switch {
	case errors.Is(err, wire.ErrRefused):
		return "it refuses our certificate"
	case errors.Is(err, wire.ErrForeign):
		return "it is a server of another region"
	case errors.Is(err, wire.ErrRole):
		return "it is not a server of the region"
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return "no answer in time"
	}
	return strings.Join(strings.Fields(err.Error()), " ")
}

// certificateError is what to say when servers were there and the certificates
// did not fit: nil if that is not what happened.
func (c *Client) certificateError(tried []Attempt) error {
	var refused, foreign *Attempt
	for i, a := range tried {
		switch {
		case errors.Is(a.Err, wire.ErrRefused):
			refused = &tried[i]
		case errors.Is(a.Err, wire.ErrForeign), errors.Is(a.Err, wire.ErrRole):
			foreign = &tried[i]
		}
	}
	id, until := c.me.Identity(), c.me.Certificate().NotAfter
	switch {
	case refused != nil && time.Now().After(until):
		return &Error{Code: CodeCertificate, cause: refused.Err, Detail: fmt.Sprintf(
			"the certificate of %s %s in %s has run out on %s: ask another operator for a token and enrol again with --replace",
			id.Role, id.Name, c.me.Dir(), until.Local().Format(time.DateOnly))}
	case refused != nil:
		return &Error{Code: CodeCertificate, cause: refused.Err, Detail: fmt.Sprintf(
			"the region refuses the certificate of %s %s in %s: it was revoked; ask another operator for a token and enrol again with --replace",
			id.Role, id.Name, c.me.Dir())}
	case foreign != nil:
		return &Error{Code: CodeForeign, cause: foreign.Err, Detail: fmt.Sprintf(
			"what answers at %s is not a server of region %s, to which the identity in %s belongs: is the address right, and the folder?",
			foreign.Server, id.Region, c.me.Dir())}
	}
	return nil
}

// Explain turns what replication/enrol says of a failed enrolment into an
// *Error that tells what to do. Other errors stay as they are.
func Explain(err error) error {
	if err == nil {
		return nil
	}
	for _, known := range []struct {
		is     error
		code   string
		status int
		detail string
	}{
		{enrol.ErrTokenTruncated, CodeToken, 0, "the token is cut off: copy all of it, from PREAU1- to its end"},
		{enrol.ErrTokenMistyped, CodeToken, 0, "the token is mistyped: copy it again, from PREAU1- to its end"},
		{enrol.ErrTokenVersion, CodeToken, 0, "this is no token, or one of another version of preau: a token begins with PREAU1-"},
		{enrol.ErrTokenUnknown, "token_unknown", http.StatusForbidden, "the region does not know this token: ask for a new one (preau region token)"},
		{enrol.ErrTokenUsed, "token_used", http.StatusForbidden, "the token was used already: each is for one machine. Ask for another (preau region token)"},
		{enrol.ErrTokenExpired, "token_expired", http.StatusForbidden, "the token has run out: ask for a new one (preau region token)"},
		{enrol.ErrNotForThis, "not_for_this", http.StatusForbidden, last(err) + ". Ask for one that fits (preau region token)"},
		{enrol.ErrNameTaken, "name_taken", http.StatusConflict, "another machine has this name already: choose another with --name (--server for a server), or have it revoked and readmitted first"},
		{enrol.ErrRevoked, "revoked", http.StatusForbidden, "the region has revoked this name: an operator can readmit it (preau readmit NAME, with --role server for a server)"},
		{enrol.ErrBadRequest, "invalid", http.StatusBadRequest, "the region can't make sense of the request: " + last(err)},
		{enrol.ErrEnrolled, "enrolled", http.StatusConflict, tail(err) + ". To give that identity up for a new one, enrol with --replace; a server takes another folder"},
		{enrol.ErrUnavailable, CodeUnavailable, http.StatusServiceUnavailable, "the region could not decide now: most of its servers must be up. The same command can be given again"},
	} {
		if errors.Is(err, known.is) {
			return &Error{Status: known.status, Code: known.code, Detail: known.detail, cause: err}
		}
	}
	if errors.Is(err, wire.ErrForeign) {
		return &Error{Code: CodeForeign, cause: err, Detail: "what answers is not a server of the region that the token names: " + tail(err)}
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return &Error{Status: http.StatusServiceUnavailable, Code: CodeUnavailable, cause: err,
			Detail: "no server of the region answers: " + tail(err) + ". Other addresses can be given with --region HOST:PORT; the same token can be used again"}
	}
	return err
}

// tail is an error of several lines in one.
func tail(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// last is the part of an error that is nearest to its cause.
func last(err error) string {
	text := tail(err)
	if i := strings.LastIndex(text, ": "); i >= 0 {
		return text[i+2:]
	}
	return text
}
