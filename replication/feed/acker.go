package feed

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"
)

// An acker tells a server how far the copy is, once for all that comes within
// a second or so: a change that reaches three thousand boxes at once must not
// bring their answers back at once.
type acker struct {
	f    *Follower
	rt   http.RoundTripper
	base string
	news chan struct{}
}

// How often it is looked whether what the box holds has changed, and how long
// to wait after an acknowledgement that was not taken.
const (
	ackLook  = time.Minute
	ackAgain = 10 * time.Second
)

func (a *acker) tell() {
	select {
	case a.news <- struct{}{}:
	default:
	}
}

func (a *acker) run(ctx context.Context) {
	look := time.NewTicker(ackLook)
	defer look.Stop()
	held := a.f.region.Held()
	first := held != Held{}
	for {
		if !first {
			select {
			case <-ctx.Done():
				return
			case <-look.C:
				if a.f.region.Held() == held {
					continue
				}
			case <-a.news:
			}
		}
		first = false
		pause(ctx, a.f.cfg.Ack/2+rand.N(a.f.cfg.Ack))
		select {
		case <-a.news: // goes with it
		default:
		}
		now := a.f.region.Held()
		if err := a.post(ctx, now); err != nil {
			if ctx.Err() != nil {
				return
			}
			a.f.met.ackFailures.Inc()
			a.f.log.DebugContext(ctx, "acknowledgement not taken", "err", err)
			pause(ctx, ackAgain)
			a.tell()
			continue
		}
		held = now
	}
}

func (a *acker) post(ctx context.Context, held Held) error {
	cursor, _ := a.f.copy.Cursor()
	ctx, cancel := context.WithTimeout(ctx, a.f.cfg.Open)
	defer cancel()
	return Acknowledge(ctx, a.rt, a.base, Ack{Index: cursor.Index, Version: a.f.cfg.Version, Held: held})
}

// Acknowledge sends a to the server at base and waits for it to be taken.
func Acknowledge(ctx context.Context, rt http.RoundTripper, base string, a Ack) error {
	body, err := marshal(a)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, base+AckPath, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("acknowledge: %w", err)
	}
	r.Header.Set("Content-Type", ContentType)
	res, err := rt.RoundTrip(r)
	if err != nil {
		return fmt.Errorf("acknowledge: %w", err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 256))
	if err != nil {
		return fmt.Errorf("acknowledge: %w", err)
	}
	if res.StatusCode != http.StatusNoContent {
		return StatusError{Code: res.StatusCode, Text: string(text)}
	}
	return nil
}
