package upstream_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"preau/cache/upstream"
)

// rated lets so many bytes a second through, of a rate that may change.
type rated struct {
	mu   sync.Mutex
	rate int
	held bool // nothing comes
	n    int
}

func (r *rated) set(rate int, held bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rate, r.held = rate, held
}

func (r *rated) WaitN(ctx context.Context, n int) error {
	r.mu.Lock()
	r.n += n
	wait := time.Duration(n) * time.Second / time.Duration(r.rate)
	if r.held {
		wait = time.Hour
	}
	r.mu.Unlock()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(wait):
		return nil
	}
}

// endless gives as much as is asked for.
type endless struct{ closed chan struct{} }

func (e endless) Read(p []byte) (int, error) {
	select {
	case <-e.closed:
		return 0, io.ErrClosedPipe
	default:
		return len(p), nil
	}
}

func (e endless) Close() error { close(e.closed); return nil }

func TestWhatNobodyWaitsForComesAtItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limit := &rated{rate: 1000}
		p := upstream.NewPace(limit)
		body := p.Body(endless{make(chan struct{})})
		read := func(n int) time.Duration {
			t.Helper()
			began := time.Now()
			if _, err := io.CopyN(io.Discard, struct{ io.Reader }{body}, int64(n)); err != nil {
				t.Fatal(err)
			}
			return time.Since(began)
		}
		if took := read(60_000); took != time.Minute {
			t.Errorf("60 kB at 1 kB/s took %v", took)
		}
		limit.set(4000, false)
		if took := read(60_000); took != 15*time.Second {
			t.Errorf("60 kB at 4 kB/s took %v", took)
		}
		time.AfterFunc(time.Second, p.Hurry)
		limit.set(4000, true) // nothing may come in the background
		if took := read(60_000); took != time.Second {
			t.Errorf("what somebody waits for since a second took %v", took)
		}
		if took := read(600_000); took != 0 {
			t.Errorf("what somebody waits for took %v more", took)
		}
		if other := p.Body(io.NopCloser(bytes.NewReader(make([]byte, 5000)))); p.Taken() != 780_000 {
			t.Errorf("%d bytes have come", p.Taken())
		} else if _, err := io.ReadAll(other); err != nil || p.Taken() != 785_000 {
			t.Errorf("%d bytes have come, %v", p.Taken(), err)
		}
		if limit.n >= 300_000 {
			t.Errorf("%d bytes are taken for the background's, though somebody waited", limit.n)
		}
	})
}

func TestAPacedBodyThatIsClosedEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := upstream.NewPace(&rated{rate: 1, held: true}).Body(endless{make(chan struct{})})
		began := time.Now()
		time.AfterFunc(time.Second, func() {
			if err := body.Close(); err != nil {
				t.Error(err)
			}
		})
		if _, err := io.Copy(io.Discard, body); !errors.Is(err, io.ErrClosedPipe) || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestAPaceGoesWithARequest(t *testing.T) {
	p := upstream.NewPace(&rated{rate: 1})
	if got := upstream.PaceOf(upstream.WithPace(t.Context(), p)); got != p || upstream.PaceOf(t.Context()) != nil {
		t.Errorf("%v", got)
	}
}
