package fill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"preau/cache/block"
)

// readSize is how much of a stream is taken at a time: large enough that a
// fast line costs few wake-ups, small enough that a slow one is passed on as
// it comes.
const readSize = 32 << 10

var (
	// errEnough ends a fetch that has met bytes that are held or being fetched.
	errEnough = errors.New("met what is held")
	// errSilent ends a fetch that brings nothing.
	errSilent = errors.New("source is silent")
)

// segment is one fetch under way. pos and to are guarded by the body's lock.
type segment struct {
	ctx    context.Context
	quit   context.CancelCauseFunc
	silent *time.Timer // ends it when nothing comes
	asked  int64       // the first byte it was asked for
	until  int64       // and where it was asked to end; endless if it was not
	pos    int64       // of the next byte it brings
	to     int64       // where it ends; endless if not known
	proven bool

	known Compared // what it reads from, if that knows what it gives

	// The stored block that an unproven stream repeats now.
	repeated *[block.Size]byte
	repeats  int // its index; -1: none
}

// Feed hands the body a stream that is already open: the answer that told what
// the body is. The stream is closed in any case.
func (b *Body) Feed(st *Stream) { b.Expect(st).Feed() }

// Expected is a fetch that a body counts on and that has not begun.
type Expected struct {
	b  *Body
	s  *segment // nil if the body takes no more
	st *Stream
}

// Expect announces a stream that is already open: whoever reads from now on
// waits for it instead of having the same fetched once more. Feed begins it, or
// Drop gives the body up; one of the two must follow, once, and soon.
func (b *Body) Expect(st *Stream) *Expected {
	to := endless
	if st.To >= 0 {
		to = st.To
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return &Expected{b, b.enter(st.From, to), st}
}

// Feed begins the fetch. The stream is closed in any case.
func (e *Expected) Feed() {
	if e.s == nil {
		_ = e.st.Body.Close() // never read
		return
	}
	go e.b.run(e.s, e.st)
}

// Drop gives the body up for the reason why. The stream stays the caller's, and
// nothing of the body is asked of the source.
func (e *Expected) Drop(why error) {
	if e.s == nil {
		return
	}
	defer e.b.m.work.Done()
	defer e.b.m.metrics.fetching.Dec()
	e.b.fail(fmt.Errorf("%w: %w", ErrUnavailable, why))
	e.b.ended(e.s, context.Canceled)
}

// begin starts a fetch of from..to. Callers hold b.mu.
func (b *Body) begin(from, to int64) {
	if s := b.enter(from, to); s != nil {
		go b.run(s, nil)
	}
}

func (s *segment) cancel() { s.quit(nil) }

// enter puts a fetch of from..to among those under way, which run or Drop takes
// it from again; nil if the body takes no more. Callers hold b.mu.
func (b *Body) enter(from, to int64) *segment {
	if b.err != nil || !b.m.start() {
		return nil
	}
	s := &segment{asked: from, until: to, pos: from, to: to, repeats: -1}
	s.ctx, s.quit = context.WithCancelCause(b.m.ctx)
	if b.segs == nil {
		b.segs = map[*segment]struct{}{}
	}
	b.segs[s] = struct{}{}
	b.busy++
	b.m.metrics.fetching.Inc()
	b.m.metrics.fetches.Inc()
	if len(b.have) > 0 {
		b.m.metrics.resumes.Inc()
	}
	return s
}

// run carries s out, and what follows from its end.
func (b *Body) run(s *segment, st *Stream) {
	defer b.m.work.Done()
	defer b.m.metrics.fetching.Dec()
	s.silent = time.AfterFunc(b.m.cfg.Patience, func() { s.quit(errSilent) })
	err := b.fetch(s, st)
	s.silent.Stop()
	if s.ctx.Err() != nil && !errors.Is(err, ErrChanged) {
		err = context.Cause(s.ctx)
	}
	if s.repeated != nil {
		whole.Put(s.repeated)
	}
	b.ended(s, err)
}

// fetch brings the bytes of s.
func (b *Body) fetch(s *segment, st *Stream) error {
	if st == nil {
		to := s.to
		if to == endless {
			to = -1
		}
		var err error
		if st, err = b.spec.Source.Open(s.ctx, s.asked, to); err != nil {
			return err
		}
	}
	s.silent.Stop()                        // a wait for memory or the disk is not the source's silence
	defer func() { _ = st.Body.Close() }() // read to where it was needed
	// A stream that gives nothing would hold Read for ever: closing its body is
	// what ends it when the fetch is cancelled.
	defer context.AfterFunc(s.ctx, func() { _ = st.Body.Close() })()
	if err := b.adopt(s, st); err != nil {
		return err
	}
	s.known, _ = st.Body.(Compared) //nolint:errcheck // nil if it is none
	giver, _ := st.Body.(Giver)     //nolint:errcheck // nil if it is none
	buf := make([]byte, readSize)
	var line pace
	for {
		if b.m.memory.crowded() && b.begins(s) {
			if err := b.m.memory.ease(s.ctx); err != nil {
				return err
			}
		}
		room, err := b.room(s, st)
		if err != nil {
			return err
		}
		s.silent.Reset(b.m.cfg.Patience)
		if given, err := b.given(s, st, giver); err != nil {
			return err
		} else if given {
			if st.To >= 0 && s.pos >= st.To {
				return b.eof(s, st)
			}
			continue
		}
		n, rerr := st.Body.Read(buf[:room])
		s.silent.Stop()
		if n > 0 {
			if err := b.take(s, buf[:n]); err != nil {
				return err
			}
		}
		if err := s.ctx.Err(); err != nil {
			return err
		}
		switch {
		case rerr == nil:
		case !errors.Is(rerr, io.EOF):
			return fmt.Errorf("read body: %w", rerr)
		default:
			return b.eof(s, st)
		}
		if st.To >= 0 && s.pos >= st.To {
			return b.eof(s, st)
		}
		if d := line.rest(int64(n), room, time.Now()); d > 0 {
			sleep(s.ctx, d)
		}
	}
}

// sleep returns after d, or when ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// adopt checks the stream's word about the body against what is known.
func (b *Body) adopt(s *segment, st *Stream) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if st.Total >= 0 && st.To > st.Total {
		return fmt.Errorf("source sends up to byte %d of %d", st.To, st.Total)
	}
	switch {
	case st.Total < 0:
	case b.length < 0:
		if err := b.endsAt(st.Total); err != nil {
			return err
		}
	case b.length != st.Total:
		return fmt.Errorf("%w: length %d became %d", ErrChanged, b.length, st.Total)
	}
	switch {
	case st.Total >= 0 && st.Total <= s.asked:
		return errEnough // the end of the body is where we are
	case st.From > s.asked:
		return fmt.Errorf("source began at %d, asked for %d", st.From, s.asked)
	case st.To >= 0 && st.To <= s.asked:
		return fmt.Errorf("source ends at %d, asked for %d", st.To, s.asked)
	case !st.Proven && (st.From > 0 || b.blindHole()) && !b.spec.Closed:
		return errors.New("source sends a part that nothing vouches for")
	}
	if st.From < s.asked {
		// It does not do ranges, whatever it says. If another fetch is on its
		// way there, this one would only bring the same again.
		b.deaf = b.deaf || s.asked-st.From > b.m.cfg.Skip
		if b.planner().served(b.have, b.flying(s), s.asked, true) {
			return errEnough
		}
	}
	s.pos, s.proven = st.From, st.Proven
	if st.To >= 0 {
		s.to = st.To
	} else {
		s.to = b.end()
	}
	return nil
}

// endsAt takes note of the body's length. Callers hold b.mu.
func (b *Body) endsAt(length int64) error {
	if n := len(b.have); n > 0 && b.have[n-1].to > length {
		return fmt.Errorf("%w: more is held than its length of %d bytes", ErrChanged, length)
	}
	b.length, b.dirty = length, true
	for r := range b.readers {
		r.nudge() // those who wait at the end learn that it is one
	}
	return nil
}

// blindHole reports whether there is a hole before something that is held,
// other than blocks whose digests are known. Callers hold b.mu.
func (b *Body) blindHole() bool {
	var pos int64
	for _, p := range b.have {
		for ; pos < p.from; pos = (pos/block.Size + 1) * block.Size {
			if !b.doubted(int(pos / block.Size)) {
				return true
			}
		}
		pos = p.to
	}
	return false
}

// room says how much to read next: no further than to the next byte that is
// held, so that little comes twice.
func (b *Body) room(s *segment, st *Stream) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := int64(readSize)
	if st.To >= 0 {
		n = min(n, st.To-s.pos)
	}
	if held := b.have.end(s.pos); held > s.pos {
		if b.enough(s, held) {
			return 0, errEnough
		}
		return min(n, held-s.pos), nil
	}
	// At the very end: one more byte shows whether it is one.
	return max(1, b.have.next(s.pos, s.pos+n)-s.pos), nil
}

// eof is the end of a stream: of the body too, if that was not known before.
func (b *Body) eof(s *segment, st *Stream) error {
	b.mu.Lock()
	end := st.To
	if end < 0 {
		end = b.length
	}
	if end >= 0 && s.pos < end {
		b.mu.Unlock()
		return fmt.Errorf("stream ended at byte %d of %d: %w", s.pos, end, io.ErrUnexpectedEOF)
	}
	last := -1
	if end < 0 && s.pos != s.until { // else it is but the end of what was asked for
		if err := b.endsAt(s.pos); err != nil {
			b.mu.Unlock()
			return err
		}
		if s.pos%block.Size != 0 {
			last = int(s.pos / block.Size)
		}
	}
	whole := last >= 0 && b.wholePart(last)
	b.mu.Unlock()
	if whole {
		return b.keep(s, last)
	}
	return nil
}
