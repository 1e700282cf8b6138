package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"syscall"
)

// Cause says why a line is held to be down. The set is closed.
type Cause string

// The causes. The empty Cause belongs to a line that is up.
const (
	CauseRefused     Cause = "refused"      // the origin's port, or the proxy, turns us away
	CauseUnreachable Cause = "unreachable"  // no route: cable, router, network
	CauseTimeout     Cause = "timeout"      // a connection was not made in time
	CauseSilent      Cause = "silent"       // connected, then not a byte
	CauseReset       Cause = "reset"        // connections are made and cut
	CauseDNS         Cause = "dns"          // the name does not resolve
	CauseTLS         Cause = "tls"          // the handshake fails or the certificate is not good
	CauseServerError Cause = "server_error" // 502, 503, 504, or no HTTP at all
	CausePrivate     Cause = "private"      // the name leads to private addresses only, which are not connected to
)

var (
	// ErrLineDown is matched by every error that a request got because the
	// site's line is down. Details are in the *LineError.
	ErrLineDown = errors.New("line is down")

	// ErrStalled reports that a fetch was broken off because its own answer
	// did not come, on a line that is up.
	ErrStalled = errors.New("origin stalled")

	// ErrForeign reports a request for another scheme or host than the site's.
	ErrForeign = errors.New("not this site's origin")
)

// LineError is what a request gets from a line that is down. It matches
// ErrLineDown, and unwraps to Err where there is one.
type LineError struct {
	Cause Cause
	Err   error // what was seen on the network by this request or another; nil if a probe saw it
}

func (e *LineError) Error() string {
	s := ErrLineDown.Error() + " (" + string(e.Cause) + ")"
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap lets errors.Is and errors.As see both the sentinel and the cause.
func (e *LineError) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrLineDown}
	}
	return []error{ErrLineDown, e.Err}
}

// causeOf names what err says about the line. The empty Cause means that it
// says nothing: the fault is the box's own, or not known.
func causeOf(err error) Cause {
	if le, ok := errors.AsType[*LineError](err); ok {
		return le.Cause
	}
	if _, ok := errors.AsType[*PrivateError](err); ok {
		return CausePrivate
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return CauseDNS
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return CauseRefused
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETDOWN):
		return CauseUnreachable
	case isTLS(err):
		return CauseTLS
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.ECONNABORTED), errors.Is(err, syscall.EPIPE),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.ErrClosedPipe):
		return CauseReset
	}
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		return CauseTimeout
	}
	return ""
}

func isTLS(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return true
	}
	if _, ok := errors.AsType[tls.AlertError](err); ok {
		return true
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return true
	}
	_, ok := errors.AsType[x509.HostnameError](err)
	return ok
}

// ownFault reports errors that come from the box itself, short of descriptors,
// ports or memory. They say nothing about the line.
func ownFault(err error) bool {
	for _, no := range []syscall.Errno{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL,
	} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}
