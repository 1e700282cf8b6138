package look

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// How a stream of events behaves.
const (
	heartbeat = 15 * time.Second // between lines, so that what is dead is noticed
	liveFor   = 10 * time.Minute // the browser comes back by itself
	comeBack  = 5 * time.Second
	sendFor   = 20 * time.Second // to send one event
)

// Live serves parts of pages that change while somebody looks: server-sent
// events whose data is HTML. An element with data-live="PATH" on a page with the
// script live.js opens a stream, and each element that comes takes the place of
// the one with the same id. Without script, or with too many streams, pages stay
// as they were made. Its methods may be called concurrently.
type Live struct {
	slots chan struct{}

	mu  sync.Mutex // guards that nobody comes in after the end
	end chan struct{}
	on  sync.WaitGroup
}

// NewLive allows that many streams at once. Close it.
func NewLive(most int) *Live {
	return &Live{slots: make(chan struct{}, most), end: make(chan struct{})}
}

// Close ends all streams and waits for them.
func (l *Live) Close() {
	l.mu.Lock()
	select {
	case <-l.end:
	default:
		close(l.end)
	}
	l.mu.Unlock()
	l.on.Wait()
}

// enter counts a stream, unless this is the end.
func (l *Live) enter() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.end:
		return false
	default:
		l.on.Add(1)
		return true
	}
}

// Serve sends what next returns until the client leaves, next fails or Live is
// closed. next returns when there is something new to show, an HTML fragment,
// or when ctx ends. The first thing is best sent at once.
func (l *Live) Serve(w http.ResponseWriter, r *http.Request, next func(ctx context.Context) ([]byte, error)) {
	select {
	case l.slots <- struct{}{}:
		defer func() { <-l.slots }()
	default:
		w.Header().Set("Retry-After", "30")
		http.Error(w, "too many watch at once", http.StatusServiceUnavailable)
		return
	}
	if !l.enter() {
		http.Error(w, "the box is stopping", http.StatusServiceUnavailable)
		return
	}
	defer l.on.Done()
	ctx, cancel := context.WithTimeout(r.Context(), liveFor)
	defer cancel()

	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Accel-Buffering", "no") // a school's own proxy is not to hold it back
	w.WriteHeader(http.StatusOK)

	var sending sync.Mutex
	out := http.NewResponseController(w)
	// The connection may go on to serve other requests, which have none.
	defer func() {
		if err := out.SetWriteDeadline(time.Time{}); err != nil {
			return // then there was none either
		}
	}()
	send := func(text []byte) error {
		sending.Lock()
		defer sending.Unlock()
		// Not every writer knows deadlines; the stream's own end is one.
		if err := out.SetWriteDeadline(time.Now().Add(sendFor)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		if _, err := w.Write(text); err != nil {
			return err
		}
		return out.Flush()
	}
	if send(fmt.Appendf(nil, "retry: %d\n\n", comeBack.Milliseconds())) != nil {
		return
	}
	var beats sync.WaitGroup
	defer beats.Wait() // nothing writes once the handler has returned
	defer cancel()
	beats.Go(func() {
		tick := time.NewTicker(heartbeat)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-l.end:
				cancel()
				return
			case <-tick.C:
				if send([]byte(":\n\n")) != nil {
					cancel()
					return
				}
			}
		}
	})
	for ctx.Err() == nil {
		part, err := next(ctx)
		if err != nil || ctx.Err() != nil || send(event(part)) != nil {
			return
		}
	}
}

// event is one message of a stream: each line of data by itself.
func event(data []byte) []byte {
	var b bytes.Buffer
	for line := range bytes.Lines(data) {
		b.WriteString("data: ")
		b.Write(bytes.TrimRight(line, "\r\n"))
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	return b.Bytes()
}
