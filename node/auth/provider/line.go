package provider

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// maxAnswer is how much any answer of a provider may have.
const maxAnswer = 1 << 20

// line is the way to the provider: each answer has a bound, closing it ends what
// is under way, and it notes how far the provider's clock is from this one.
type line struct {
	next http.RoundTripper
	life context.Context
	end  context.CancelCauseFunc

	mu   sync.Mutex
	skew time.Duration
}

var (
	errClosed  = errors.New("the box stops")
	errTooLong = errors.New("the answer is too long")
)

func newLine(next http.RoundTripper) *line {
	l := &line{next: next}
	l.life, l.end = context.WithCancelCause(context.Background())
	return l
}

func (l *line) close() { l.end(errClosed) }

// RoundTrip implements http.RoundTripper.
func (l *line) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(r.Context())
	stop := context.AfterFunc(l.life, func() { cancel(errClosed) }) //nolint:contextcheck // the life of the client, not of the request
	done := func() { stop(); cancel(nil) }
	resp, err := l.next.RoundTrip(r.WithContext(ctx))
	if err != nil {
		done()
		return nil, err
	}
	if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		l.mu.Lock()
		l.skew = time.Until(at)
		l.mu.Unlock()
	}
	resp.Body = &bounded{body: resp.Body, left: maxAnswer, done: done}
	return resp, nil
}

// redirect lets a provider move, but not to somewhere less safe.
func (l *line) redirect(r *http.Request, via []*http.Request) error {
	if len(via) >= 3 {
		return errors.New("too many redirections")
	}
	if via[0].Method != http.MethodGet || via[0].URL.Scheme == "https" && r.URL.Scheme != "https" {
		return fmt.Errorf("a redirection to %s, which is not followed", r.URL.Redacted())
	}
	return nil
}

// off is how far the provider's clock was from this box's when it last answered.
func (l *line) off() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.skew
}

type bounded struct {
	body io.ReadCloser
	left int
	done func()
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLong
	}
	n, err := b.body.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

func (b *bounded) Close() error {
	defer b.done()
	return b.body.Close()
}

// tolerated is how far clocks may be apart before one of them is wrong.
const tolerated = 2 * time.Minute

// explain says what a failure is: of the clock where that is what made it, and
// else of the kind given.
func (c *Client) explain(doing string, err, kind error) error {
	var dates x509.CertificateInvalidError
	if errors.As(err, &dates) && dates.Reason == x509.Expired {
		// A certificate that has really expired looks the same: the box's time says
		// which it is.
		return fmt.Errorf("%w, or the provider's certificate has expired: it says %s: %s: %w", ErrClock, time.Now().UTC().Format(time.RFC3339), doing, err)
	}
	// go-oidc puts whole answers into its errors.
	return fmt.Errorf("%w: %s: %s", kind, doing, printable(err.Error()))
}

// late explains a token whose dates don't fit.
func (c *Client) late(doing string, err error) error {
	if off := c.line.off(); off.Abs() > tolerated {
		return fmt.Errorf("%w: it says %s, %v from the provider's: %s: %w", ErrClock, time.Now().UTC().Format(time.RFC3339), off.Round(time.Second), doing, err)
	}
	return fmt.Errorf("%w: %s: %w", ErrUntrue, doing, err)
}

// printable bounds what a provider says of an error, for the log.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	return s[:min(len(s), 300)]
}
