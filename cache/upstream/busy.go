package upstream

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"preau/cache/rfc9111"
)

// quietMost bounds how long a site is left alone because of one answer: what is
// a slip of somebody's configuration must not cut a school off for a day.
const quietMost = 10 * time.Minute

// quietUnsaid is for how long a site is left alone that says it is asked too much
// (429) and not for how long.
const quietUnsaid = 10 * time.Second

// ErrBusy is matched by the errors of fetches that were not sent, so as not to
// ask too much of the site. Details are in the *BusyError.
var ErrBusy = errors.New("not asked, to spare the site")

// BusyError is what a fetch gets that would have had to wait for too long.
type BusyError struct {
	// Wait is when it makes sense to try again.
	Wait time.Duration
	// Asked says that the site wants it so (Retry-After); otherwise it is the
	// box's own bounds that are reached.
	Asked bool
}

func (e *BusyError) Error() string {
	why := "too many fetches at once: raise max_fetches or fetches_per_minute if the site allows it"
	if e.Asked {
		why = "the site asks for a pause (Retry-After)"
	}
	return fmt.Sprintf("%v for %s: %s", ErrBusy, e.Wait.Round(time.Second), why)
}

// Unwrap lets errors.Is see the sentinel.
func (e *BusyError) Unwrap() error { return ErrBusy }

// retryAfter reads the field Retry-After of a response that has just arrived
// (RFC 9110 §10.2.3). A date is taken as the site's clock has it: what counts
// is how far it lies after the response's own Date. Only without one is it
// compared with now, since the box's clock may be wrong.
func retryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	text := strings.Trim(h.Get("Retry-After"), " \t")
	if text == "" {
		return 0, false
	}
	if strings.Trim(text, "0123456789") == "" {
		seconds := time.Duration(0)
		for _, digit := range []byte(text) {
			seconds = min(seconds*10+time.Duration(digit-'0'), quietMost/time.Second)
		}
		return seconds * time.Second, true
	}
	at, ok := rfc9111.ParseTime(text, now)
	if !ok {
		return 0, false
	}
	if date, ok := rfc9111.ParseTime(strings.Trim(h.Get("Date"), " \t"), now); ok {
		now = date
	}
	return min(max(at.Sub(now), 0), quietMost), true
}

// heed has fetches and probes wait if resp says that the site needs a rest.
func (u *Upstream) heed(resp *http.Response) {
	if resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusServiceUnavailable {
		return
	}
	d, ok := retryAfter(resp.Header, time.Now())
	if !ok && resp.StatusCode == http.StatusTooManyRequests {
		d, ok = quietUnsaid, true
	}
	if !ok || d <= 0 {
		return
	}
	u.mu.Lock()
	now := u.meter.now()
	until := now + int64(d)
	rested := u.gate.quiet <= now
	if until > u.gate.quiet {
		u.gate.quiet = until
		u.line.quiet = u.meter.epoch.Add(time.Duration(until))
		if d > u.cfg.MaxWait {
			u.gate.dismiss(&BusyError{Wait: d, Asked: true})
		}
		u.arm(now)
	}
	u.mu.Unlock()
	if rested {
		u.log.Info("site asks for a pause", "status", resp.StatusCode, "dur", d)
	}
}

// busySeconds is how long the site wants to be left alone yet.
func (u *Upstream) busySeconds() float64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return max(0, time.Duration(u.gate.quiet-u.meter.now()).Seconds())
}
