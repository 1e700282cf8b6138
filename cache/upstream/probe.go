package upstream

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	// probeTries: an origin that cuts connections now and then may cut a
	// probe's too, so one cut is not enough.
	probeTries = 3

	// probeLimit bounds, in ProbeTimeouts, a probe that gets no answer while
	// bytes keep coming.
	probeLimit = 5
)

var (
	errProbeSilent  = errors.New("no byte from the origin")
	errProbeUnclear = errors.New("bytes, but no answer")
)

// probe asks the origin for the head of ProbePath on a new connection and
// reports what that proves. Any status but a gateway error proves the line.
//
// ProbeTimeout counts from the last byte received on any of the site's
// connections: on a satellite line, or one that a class is filling to the brim,
// a handshake takes several round trips of half a second, and a probe that
// ignored that would cut a class off a line that works.
func (u *Upstream) probe(ctx context.Context) event {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	begun := u.meter.now()
	var connected atomic.Int64
	p := newPatience(u.cfg.ProbeTimeout, func() time.Duration {
		now := u.meter.now()
		quiet := time.Duration(now - max(begun, connected.Load(), u.meter.lastAt.Load()))
		switch {
		case quiet >= u.cfg.ProbeTimeout:
			cancel(errProbeSilent)
			return 0
		case time.Duration(now-begun) >= probeLimit*u.cfg.ProbeTimeout:
			cancel(errProbeUnclear)
			return 0
		}
		return u.cfg.ProbeTimeout - quiet
	})
	defer p.stop()

	t := u.newTransport(func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := u.dialTwice(ctx, network, addr)
		if err == nil {
			connected.Store(u.meter.now())
		}
		return c, err
	})
	t.DisableKeepAlives = true
	t.ForceAttemptHTTP2 = false
	defer t.CloseIdleConnections()

	var ev event
	for range probeTries {
		ev = verdict(u.probeOnce(ctx, t))
		if ev.kind != evProbeDown || ev.cause != CauseReset {
			break
		}
	}
	switch cause := context.Cause(ctx); {
	case ev.kind == evProbeUp: // whatever ended right after it
	case errors.Is(cause, errProbeSilent) && connected.Load() > 0:
		ev = event{kind: evProbeDown, cause: CauseSilent}
	case errors.Is(cause, errProbeSilent):
		ev = event{kind: evProbeDown, cause: CauseTimeout}
	case cause != nil: // unclear, or Run is ending
		ev = event{kind: evProbeUnclear}
	}
	u.metrics.probes.WithLabelValues(probeResult(ev.kind)).Inc()
	u.log.DebugContext(ctx, "probe", "result", probeResult(ev.kind), "cause", ev.cause)
	return ev
}

func (u *Upstream) probeOnce(ctx context.Context, t *http.Transport) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, u.URL(u.cfg.ProbePath, "").String(), nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("User-Agent", "preau-probe")
	resp, err := u.send(t, req)
	if err != nil {
		return 0, err
	}
	u.heed(resp)
	return resp.StatusCode, resp.Body.Close()
}

// verdict says what one answer, or the lack of one, proves.
func verdict(status int, err error) event {
	switch {
	case status != 0 && gatewayError(status):
		return event{kind: evProbeDown, cause: CauseServerError}
	case status != 0:
		return event{kind: evProbeUp}
	case ownFault(err):
		return event{kind: evProbeUnclear}
	}
	if ce, ok := errors.AsType[*connectError](err); ok {
		if gatewayError(ce.status) {
			return event{kind: evProbeDown, cause: CauseServerError}
		}
		return event{kind: evProbeDown, cause: CauseRefused}
	}
	if cause := causeOf(err); cause != "" {
		return event{kind: evProbeDown, cause: cause}
	}
	return event{kind: evProbeDown, cause: CauseServerError} // it speaks, but not HTTP
}

func probeResult(k eventKind) string {
	switch k {
	case evProbeUp:
		return "up"
	case evProbeDown:
		return "down"
	default:
		return "unclear"
	}
}
