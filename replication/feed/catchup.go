package feed

import (
	"errors"
	"time"
)

// A stream that catches up gives its place to the next one after so much.
const (
	turnBytes = 4 << 20
	turnTime  = 2 * time.Second
)

// catchUp takes a turn at reading from the source, towards limit: changes with
// what is gone, or else a snapshot.
func (st *stream) catchUp(limit uint64, gone bool) error {
	if err := st.turn(); err != nil {
		return err
	}
	defer func() { <-st.s.slots }()
	kind, asOf := "snapshot", limit
	if gone {
		kind, asOf = "changes", 0
	}
	began, bytes := time.Now(), 0
	for st.seen.Load() < limit && bytes < turnBytes && time.Since(began) < turnTime {
		if err := st.ended(); err != nil {
			return err
		}
		b, err := st.s.shelf.get(st.seen.Load(), limit, gone, asOf)
		switch {
		case errors.Is(err, ErrPruned), errors.Is(err, ErrBehind):
			return errGoodbye(ReasonAgain)
		case err != nil:
			return err
		case !gone && b.floor > max(b.after, st.floor):
			// Purges that belong here were forgotten since the box was told
			// what it cannot know of. Its next hello tells it anew.
			return errGoodbye(ReasonAgain)
		}
		if err := st.send(b, kind); err != nil {
			return err
		}
		for _, p := range b.public {
			bytes += len(p.bytes)
		}
	}
	return nil
}

// turn waits for a place among those who catch up, in order of arrival.
func (st *stream) turn() error {
	select {
	case st.s.slots <- struct{}{}:
		return nil
	default:
	}
	st.s.met.waiting.Inc()
	defer st.s.met.waiting.Dec()
	for {
		select {
		case st.s.slots <- struct{}{}:
			return nil
		case <-st.wake:
		}
		if err := st.ended(); err != nil {
			return err
		}
		if st.beatDue() {
			if err := st.heartbeat(); err != nil {
				return err
			}
		}
	}
}
