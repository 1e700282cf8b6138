package wire

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// again says whether a request that failed may be sent once more, and whether
// that is worth it.
func again(r *http.Request, err error, direct bool) bool {
	for _, final := range []error{ErrRefused, ErrForeign, ErrRole} {
		if errors.Is(err, final) {
			return false
		}
	}
	if unsent(err) {
		_, dialled := errors.AsType[*dialError](err)
		return !dialled || direct && errors.Is(err, errStale)
	}
	return repeatable(r) && lostConnection(err)
}

// repeatable is RFC 9110 §9.2.2.
func repeatable(r *http.Request) bool {
	switch r.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// refusedQUIC says that a server has no room, rather than that the way is closed.
func refusedQUIC(err error) bool {
	remote, ok := errors.AsType[*quic.TransportError](err)
	return ok && remote.Remote
}

// quicLost is lostConnection of QUIC.
func quicLost(err error) bool {
	if app, ok := errors.AsType[*quic.ApplicationError](err); ok {
		return app.ErrorCode != quic.ApplicationErrorCode(http3.ErrCodeExcessiveLoad)
	}
	_, idle := errors.AsType[*quic.IdleTimeoutError](err)
	_, reset := errors.AsType[*quic.StatelessResetError](err)
	return idle || reset || errors.Is(err, quic.ErrTransportClosed)
}

// lostConnection says that a connection ended under a request, rather than that
// the other side is silent: that has cost its time already.
func lostConnection(err error) bool {
	for _, cause := range []error{syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNREFUSED, io.EOF, io.ErrUnexpectedEOF} {
		if errors.Is(err, cause) {
			return true
		}
	}
	return quicLost(err)
}

// unsent says that the server has done nothing about a request that failed, so
// that it may be sent again whatever it is.
func unsent(err error) bool {
	if _, ok := errors.AsType[*dialError](err); ok {
		return true
	}
	if remote, ok := errors.AsType[*quic.TransportError](err); ok && remote.Remote && remote.ErrorCode == quic.ConnectionRefused {
		return true // it has not even looked at the connection
	}
	if remote, ok := errors.AsType[*http3.Error](err); ok && remote.Remote && remote.ErrorCode == http3.ErrCodeRequestRejected {
		return true // RFC 9114 §4.1.1
	}
	// The library has no name for it.
	return err != nil && strings.Contains(err.Error(), "http3: conn unusable")
}

// dialError is a failure to get a connection.
type dialError struct{ err error }

func (e *dialError) Error() string { return e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }
