package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
)

// Fetch sends a request whose answer is going to be stored, and watches it. It
// is meant for requests without a body.
//
// It fails with an error that matches ErrLineDown as soon as a dial fails, or
// as soon as the line is found to be down while there is no response header
// yet: within SilenceAfter + ProbeTimeout of the line's death, and also for a
// Fetch that begins on a line that is known to be down (look at State first to
// spare the wait). Reads of the body fail in the same way, but only those that
// have waited for SilenceAfter: while bytes flow, they flow. A fetch that an
// origin in good health leaves waiting fails with ErrStalled after
// HeaderTimeout or BodyStall. Any other error concerns this request alone.
//
// The caller closes the body, and checks its length: a body that ends early
// is an error only where HTTP can tell.
func (u *Upstream) Fetch(req *http.Request) (*http.Response, error) {
	if err := u.checked(req); err != nil {
		return nil, err
	}
	parent := req.Context()
	ctx, cancel := context.WithCancelCause(parent)
	w := u.watch(cancel)
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		// An interim answer (RFC 9110 §15.2) proves the line as well as a final one.
		Got1xxResponse: func(int, textproto.MIMEHeader) error {
			w.waits()
			u.observe(event{kind: evAnswered})
			return nil
		},
	})
	resp, err := u.currentTransport().RoundTrip(req.WithContext(traced))
	if err != nil {
		w.end()
		result, err := u.failed(parent, ctx, err)
		cancel(nil)
		u.metrics.requests.WithLabelValues(result).Inc()
		return nil, fmt.Errorf("upstream %s: %w", u.cfg.Name, err)
	}
	w.resume()
	w.inBody.Store(true)
	u.answered(resp.StatusCode)
	resp.Request = req
	switch {
	case resp.StatusCode == http.StatusSwitchingProtocols:
		w.end() // not ours to watch any more; parent ends it
	case resp.Body == http.NoBody:
		w.end()
		cancel(nil)
	default:
		resp.Body = &body{ReadCloser: resp.Body, w: w, ctx: ctx, parent: parent}
	}
	return resp, nil
}

// RoundTrip passes a request through and observes its outcome: it makes the
// line known to be down, or up, but never ends the request itself. Errors of
// dials match ErrLineDown.
func (u *Upstream) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := u.checked(req); err != nil {
		return nil, err
	}
	ctx := req.Context()
	resp, err := u.currentTransport().RoundTrip(req)
	if err != nil {
		result, err := u.failed(ctx, ctx, err)
		u.metrics.requests.WithLabelValues(result).Inc()
		return nil, fmt.Errorf("upstream %s: %w", u.cfg.Name, err)
	}
	u.answered(resp.StatusCode)
	// An upgraded connection's body is also a writer, and must stay one.
	if resp.StatusCode != http.StatusSwitchingProtocols && resp.Body != http.NoBody {
		resp.Body = &passed{ReadCloser: resp.Body, u: u, ctx: ctx}
	}
	return resp, nil
}

// passed is the body of an answer that is passed through: a cut raises a doubt.
type passed struct {
	io.ReadCloser
	u   *Upstream
	ctx context.Context
}

func (p *passed) Read(b []byte) (int, error) {
	n, err := p.ReadCloser.Read(b)
	//nolint:errorlint // an end of file that is wrapped is not the end of the body
	if err != nil && err != io.EOF && !errors.Is(err, http.ErrBodyReadAfterClose) {
		_, err = p.u.failed(p.ctx, p.ctx, err)
	}
	return n, err
}

// gatewayError reports the statuses by which somebody between us and the
// origin, or the origin about itself, says that it can't be reached now (RFC
// 9110 §15.6.3 to §15.6.5). A plain 500 is an answer like others.
func gatewayError(status int) bool {
	return status == http.StatusBadGateway || status == http.StatusServiceUnavailable ||
		status == http.StatusGatewayTimeout
}

func (u *Upstream) answered(status int) {
	if gatewayError(status) {
		u.observe(event{kind: evDoubt})
		u.metrics.requests.WithLabelValues(resultGatewayError).Inc()
		return
	}
	u.observe(event{kind: evAnswered})
	u.metrics.requests.WithLabelValues(resultAnswered).Inc()
}

// failed sorts the error of a request or of its body and raises a doubt about
// the line where there is reason to. ctx is the one the request ran under and
// parent the caller's; both are the same for requests that are not watched.
func (u *Upstream) failed(parent, ctx context.Context, err error) (result string, _ error) {
	if ctx != parent {
		cause := context.Cause(ctx)
		if le, ok := errors.AsType[*LineError](cause); ok {
			return resultLineDown, le
		}
		if errors.Is(cause, ErrStalled) {
			return resultStalled, cause
		}
	}
	switch {
	case errors.Is(err, ErrLineDown):
		return resultLineDown, err
	case parent.Err() != nil:
		return resultCanceled, err
	case ownFault(err), errors.Is(err, http.ErrBodyReadAfterClose):
		return resultError, err
	}
	u.observe(event{kind: evDoubt})
	return resultCut, err
}
