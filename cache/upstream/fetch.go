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
// HeaderTimeout or BodyStall. One that would have to wait for longer than
// MaxWait, since enough is asked of the site or since the site has asked for a
// pause, fails with ErrBusy before anything is sent. Any other error concerns
// this request alone.
//
// The caller closes the body, and checks its length: a body that ends early
// is an error only where HTTP can tell.
func (u *Upstream) Fetch(req *http.Request) (*http.Response, error) {
	if err := u.checked(req, u.metrics.fetches); err != nil {
		return nil, err
	}
	parent := req.Context()
	ctx, cancel := context.WithCancelCause(parent)
	w, err := u.watch(parent, cancel)
	if err != nil {
		cancel(nil)
		result, err := u.failed(parent, parent, err)
		u.metrics.fetches[result].Inc()
		return nil, fmt.Errorf("upstream %s: %w", u.cfg.Name, err)
	}
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		// An interim answer (RFC 9110 §15.2) proves the line as well as a final one.
		Got1xxResponse: func(int, textproto.MIMEHeader) error {
			w.waits()
			u.observe(event{kind: evAnswered})
			return nil
		},
	})
	resp, err := u.send(u.currentTransport(), req.WithContext(traced))
	if err != nil {
		w.end()
		result, err := u.failed(parent, ctx, err)
		cancel(nil)
		u.metrics.fetches[result].Inc()
		return nil, fmt.Errorf("upstream %s: %w", u.cfg.Name, err)
	}
	w.resume()
	w.inBody.Store(true)
	u.metrics.fetches[u.answered(resp)].Inc()
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
// line known to be down, or up, but never ends the request itself, and never has it
// wait for others. Errors of dials match ErrLineDown.
func (u *Upstream) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := u.checked(req, u.metrics.passes); err != nil {
		return nil, err
	}
	ctx := req.Context()
	resp, err := u.send(u.currentTransport(), req)
	if err != nil {
		result, err := u.failed(ctx, ctx, err)
		u.metrics.passes[result].Inc()
		return nil, fmt.Errorf("upstream %s: %w", u.cfg.Name, err)
	}
	u.metrics.passes[u.answered(resp)].Inc()
	resp.Request = req
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

// send sends one request by t, or through a tunnel where only that will do.
func (u *Upstream) send(t *http.Transport, req *http.Request) (*http.Response, error) {
	if u.cfg.Forwarded == ForwardedBox {
		req = req.WithContext(req.Context()) // the caller's is not ours to change
		req.Header = req.Header.Clone()
		req.Header.Set("Forwarded", "for=_preau")
	}
	if u.tunnels(req) {
		t = u.tunnel
	}
	resp, err := t.RoundTrip(req)
	if err == nil && u.proxy != nil && resp.StatusCode == http.StatusProxyAuthRequired {
		_ = resp.Body.Close() // the proxy's, not the site's
		return nil, &connectError{status: resp.StatusCode}
	}
	return resp, err
}

// answered takes note of what an answer says about the line and the site.
func (u *Upstream) answered(resp *http.Response) (result string) {
	u.heed(resp)
	if gatewayError(resp.StatusCode) {
		u.observe(event{kind: evDoubt})
		return resultGatewayError
	}
	u.observe(event{kind: evAnswered})
	return resultAnswered
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
	case errors.Is(err, ErrBusy):
		return resultBusy, err
	case parent.Err() != nil:
		return resultCanceled, err
	case ownFault(err), errors.Is(err, http.ErrBodyReadAfterClose):
		return resultError, err
	}
	if ce, ok := errors.AsType[*connectError](err); ok && ce.tunnel {
		return resultError, err
	}
	u.observe(event{kind: evDoubt})
	return resultCut, err
}
